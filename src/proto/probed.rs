//! One target while it is probed: its flows, what they share, and where it is.

use std::sync::Arc;

use crate::proto::addresses::{Addresses, Stay};
use crate::proto::context::Context;
use crate::proto::ends::{Ends, Identity};
use crate::proto::families::Filter;
use crate::proto::flow::{Flow, Way};
use crate::proto::life::{LifeEvent, Subject};
use crate::proto::lookup::{Answer, Lookup};
use crate::proto::output::Member;
use crate::proto::owner::Timer;
use crate::proto::peer::Peer;
use crate::proto::sample::{FlowKind, FlowNumber, Labels};
use crate::proto::schedule::Phase;
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
    /// Each of several flows is published by itself as well.
    is_apart: bool,
    lookup: Lookup,
    filter: Filter,
    addresses: Addresses,
    subject: Subject,
}

impl Target {
    /// A target at place `slot` of the table, with the flows that it asks for. Moves to its address at
    /// once if that is a literal or given as `at`; a name is looked up every `resolve_interval_ns`.
    pub(crate) fn new(
        slot: u32,
        id: TargetId,
        own_name: &Arc<str>,
        resolve_interval_ns: u64,
        spec: TargetSpec,
        at: Option<Address>,
        context: &mut Context,
    ) -> Self {
        let labels = Arc::new(Labels::new(own_name, &spec.label, &spec.tags));
        let is_apart = spec.per_flow && spec.flows > 1;
        let mut flows = Vec::with_capacity(usize::from(spec.flow_count()));
        let wanted = [
            (FlowKind::Udp, spec.udp_port, spec.flows),
            (FlowKind::Tcp, spec.tcp_port, spec.flows),
            // They have another 5-tuple each.
            (FlowKind::Connect, spec.connect_port, 1),
        ];
        for (kind, port, of) in wanted {
            let Some(port) = port else { continue };
            let phase = Phase::new(spec.interval_ns, context);
            for number in 1..=of {
                let this = FlowRef {
                    slot,
                    index: flows.len().try_into().unwrap_or(u16::MAX),
                    target: id,
                };
                let number = FlowNumber { number, of };
                let way = Way {
                    kind,
                    number,
                    port,
                    phase,
                };
                flows.push(Flow::new(this, way, &spec, labels.clone(), context));
            }
        }
        let literal = at.or_else(|| match spec.host {
            Host::Address(address) => Some(address.into()),
            Host::Name(_) => None,
        });
        let mut target = Self {
            id,
            ends: Ends {
                identity: Identity {
                    name: own_name.clone(),
                    tags: text::encode_tags(&spec.tags).into(),
                    size: spec.size,
                },
                peer: Peer::new(own_name.clone(), id, &spec),
                publishes_forward: spec.visit.is_some(),
            },
            flows: flows.into(),
            is_apart,
            lookup: Lookup::new(Timer::Resolve(slot), id, spec.host, resolve_interval_ns),
            filter: Filter::new(spec.family),
            addresses: Addresses::default(),
            subject: Subject::new(labels, None),
        };
        let origins = target.flows.iter().map(|flow| flow.window.origin);
        target.ends.peer.set_origins(origins);
        target.name_flows(&spec.tags, false, context);
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

    /// Says which flows are several of one kind, and under which labels each is published: those of the target, or
    /// where each is published by itself, with its tag, at the other end too.
    fn name_flows(&mut self, tags: &[Box<str>], is_relabelled: bool, context: &mut Context) {
        let total = &self.subject.labels;
        for flow in &mut self.flows {
            let window = &mut flow.window;
            let is_several = !window.number.is_only();
            let is_apart = self.is_apart && is_several;
            let mut labels = total.clone();
            if is_apart {
                let mut tags = tags.to_vec();
                tags.push(window.number.tag());
                window.wire_tags = Some(text::encode_tags(&tags).into());
                Arc::make_mut(&mut labels).append(window.number);
            }
            if is_apart || is_relabelled {
                window.subject.labels = labels.clone();
                let last = Some((window.kind, window.counters));
                context.relabel_origin(window.origin, labels, last);
            }
            if is_several {
                context.join_total(Member {
                    origin: window.origin,
                    target: self.id,
                    kind: Some(window.kind),
                    number: window.number,
                    total: is_apart.then(|| total.clone()),
                });
            }
        }
        if self.is_apart {
            context.claim_own(total);
        }
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
        // Of several flows one may fail on its path alone: that is to be seen, and no reason to go elsewhere.
        let is_one_path = self.flows.get(place).is_some_and(|failed| {
            let kind = failed.window.kind;
            let others = self.flows.iter().filter(|flow| flow.window.kind == kind);
            others.filter(|flow| flow.works(now)).count() > 0
        });
        let is_undecided = self.flows.iter().any(is_undecided);
        let may_go = is_down && !is_one_path && (stay.is_answered || !is_undecided);
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
            flow.reopen_if_silent(stay.working == 0, &mut self.ends, context);
        }
    }

    /// The target's name was looked up.
    pub(crate) fn handle_resolved(&mut self, addresses: &[Address], context: &mut Context) {
        let (addresses, told) = self.filter.sift(addresses);
        if let Some(event) = told {
            context.tell(&self.subject, event);
        }
        let before = self.addresses.current();
        let now = context.now.mono;
        let moved = self.addresses.take_answer(&addresses, self.stay(now), now);
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
        let working = self.flows.iter().filter(|flow| flow.works(now));
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
        let before = std::mem::replace(&mut self.subject.labels, labels);
        self.name_flows(tags, true, context);
        if self.is_apart {
            context.forget_own(Some(before));
        }
        self.ends.identity.tags = text::encode_tags(tags).into();
        self.ends.peer.handle_labels(label, tags, context);
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
        if self.is_apart {
            context.forget_own(Some(self.subject.labels.clone()));
        }
        for flow in &mut self.flows {
            flow.end(context);
        }
        self.lookup.end(context);
    }
}
