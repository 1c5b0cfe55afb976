//! One target while it is probed: its flows, what they share, and where it is.

use std::sync::Arc;

use crate::proto::addresses::{Addresses, Stay};
use crate::proto::context::Context;
use crate::proto::ends::{Ends, Identity};
use crate::proto::flow::Flow;
use crate::proto::life::{LifeEvent, Subject};
use crate::proto::lookup::{Answer, Lookup};
use crate::proto::peer::Peer;
use crate::proto::sample::{FlowKind, Labels};
use crate::proto::target::{Address, Host, TargetSpec};
use crate::proto::time::Mono;
use crate::proto::transmit::{FlowRef, TargetId};
use crate::proto::wire::native::authenticated::Key;
use crate::proto::wire::text;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) ends: Ends,
    pub(crate) flows: Box<[Flow]>,
    lookup: Lookup,
    addresses: Addresses,
    subject: Subject,
}

impl Target {
    /// A target at place `slot` of the table, with the flows that it asks for. Moves to its address at
    /// once if that is a literal; a name is looked up every `resolve_interval_ns`.
    pub(crate) fn new(
        slot: u32,
        id: TargetId,
        own_name: &Arc<str>,
        resolve_interval_ns: u64,
        spec: TargetSpec,
        context: &mut Context,
    ) -> Self {
        let labels = Arc::new(Labels::new(own_name, &spec.label, &spec.tags));
        let wanted = [
            (FlowKind::Udp, spec.udp_port),
            (FlowKind::Tcp, spec.tcp_port),
            (FlowKind::Connect, spec.connect_port),
        ];
        let wanted = wanted
            .into_iter()
            .filter_map(|(kind, port)| Some((kind, port?)));
        let flows = (0..).zip(wanted).map(|(index, (kind, port))| {
            let this = FlowRef {
                slot,
                index,
                target: id,
            };
            Flow::new(this, kind, port, &spec, labels.clone(), context)
        });
        let flows = flows.collect();
        let literal = match spec.host {
            Host::Address(address) => Some(address.into()),
            Host::Name(_) => None,
        };
        let mut target = Self {
            id,
            ends: Ends {
                identity: Identity {
                    name: own_name.clone(),
                    tags: text::encode_tags(&spec.tags).into(),
                    size: spec.size,
                },
                peer: Peer::new(own_name.clone(), &spec),
            },
            flows,
            lookup: Lookup::new(slot, id, spec.host, resolve_interval_ns),
            addresses: Addresses::default(),
            subject: Subject::new(labels, None),
        };
        let now = context.now.mono;
        let first = target
            .addresses
            .take_answer(literal.as_slice(), Stay::default(), now);
        match first {
            Some(address) => target.move_to(address, context),
            None => target.lookup.ask(context),
        }
        target
    }

    /// The timer of the look-up fired.
    pub(crate) fn handle_resolve_timer(&mut self, context: &mut Context) {
        self.lookup.handle_timer(context);
    }

    /// The flow at this place has failed. Its target's name may lead elsewhere by now, and another one of
    /// its addresses may answer. If there is none, the flow takes a fresh 5-tuple where that may help.
    pub(crate) fn handle_failure(&mut self, index: u16, context: &mut Context) {
        self.lookup.handle_failure(context);
        let now = context.now.mono;
        let stay = self.stay(now);
        let (place, before) = (usize::from(index), self.addresses.current());
        let is_down = self.flows.get(place).is_some_and(|flow| flow.is_down(now));
        let is_undecided = |flow: &Flow| flow.is_undecided(now);
        let may_go = is_down && (stay.is_answered || !self.flows.iter().any(is_undecided));
        let next = may_go.then(|| self.addresses.next(stay, now)).flatten();
        if let Some((address, before)) = next.zip(before) {
            let event = LifeEvent::NextAddress {
                address,
                before,
                had_replies: stay.is_answered,
                is_first_use: self.addresses.is_first_use(),
            };
            context.tell(&self.subject, event);
            self.move_to(address, context);
        } else if let Some(flow) = self.flows.get_mut(place) {
            flow.reopen_if_silent(&mut self.ends, context);
        }
    }

    /// The target's name was looked up.
    pub(crate) fn handle_resolved(&mut self, addresses: &[Address], context: &mut Context) {
        let before = self.addresses.current();
        let now = context.now.mono;
        let moved = self.addresses.take_answer(addresses, self.stay(now), now);
        let answer = match moved {
            _ if addresses.is_empty() => Answer::Nothing,
            Some(_) => Answer::Other,
            None => Answer::Same,
        };
        self.lookup.handle_answer(answer, context);
        if let Some(address) = moved {
            let event = LifeEvent::Resolved { address, before };
            context.tell(&self.subject, event);
            self.move_to(address, context);
        }
    }

    /// How its flows do at the address in use.
    fn stay(&self, now: Mono) -> Stay {
        let flows = self.flows.iter();
        let working = flows.filter(|flow| flow.window.is_answered() && !flow.is_down(now));
        Stay {
            is_answered: self.flows.iter().any(|flow| flow.window.is_answered()),
            working: working.count(),
        }
    }

    /// The target is at `address` now: its flows move there.
    fn move_to(&mut self, address: Address, context: &mut Context) {
        let is_trial = self.addresses.is_trial();
        for flow in &mut self.flows {
            flow.handle_address(address, is_trial, &mut self.ends, context);
        }
        // After the flows have settled what came from the old one.
        self.ends.peer.handle_move(context);
    }

    /// The target has another key.
    pub(crate) fn handle_key(&mut self, key: &Arc<Key>, context: &mut Context) {
        for flow in &mut self.flows {
            flow.handle_key(key, &mut self.ends, context);
        }
    }

    /// The target is called otherwise: what is published of it from here on has this label and these tags, at the other
    /// end, too, what is in flight included.
    pub(crate) fn handle_labels(&mut self, label: &str, tags: &[Box<str>], context: &mut Context) {
        let labels = Arc::new(Labels::new(&self.ends.identity.name, label, tags));
        for flow in &mut self.flows {
            let window = &mut flow.window;
            window.subject.labels = labels.clone();
            let last = Some((window.kind, window.counters));
            context.relabel_origin(window.origin, labels.clone(), last);
        }
        self.ends.identity.tags = text::encode_tags(tags).into();
        self.ends.peer.handle_labels(label, tags, context);
        self.subject.labels = labels;
    }

    /// This host's wall clock was set. What is pending has all its stamps from before.
    pub(crate) fn handle_clock_step(&mut self, context: &mut Context) {
        self.settle(context);
        self.ends.peer.handle_clock_step(context);
    }

    /// Settles what is pending on its flows.
    pub(crate) fn settle(&mut self, context: &mut Context) {
        for flow in &mut self.flows {
            flow.settle(&mut self.ends, context);
        }
    }

    /// Settles what is pending, and ends outages that last: nothing more is to come.
    pub(crate) fn finish(&mut self, context: &mut Context) {
        self.settle(context);
        for flow in &mut self.flows {
            flow.window.finish(context);
        }
    }

    /// Ends the target: it is probed no more.
    pub(crate) fn end(mut self, context: &mut Context) {
        self.finish(context);
        for flow in &self.flows {
            let window = &flow.window;
            context.close_origin(window.origin, Some((window.kind, window.counters)));
        }
        self.ends.peer.end(context);
        for flow in &mut self.flows {
            flow.end(context);
        }
        self.lookup.end(context);
    }
}
