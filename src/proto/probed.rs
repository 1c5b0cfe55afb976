//! One target while it is probed: its flows, what they share, and where it is.

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::ends::{Ends, Identity};
use crate::proto::flow::Flow;
use crate::proto::life::{LifeEvent, Subject};
use crate::proto::lookup::Lookup;
use crate::proto::peer::Peer;
use crate::proto::sample::{FlowKind, Labels};
use crate::proto::target::{Address, TargetSpec};
use crate::proto::transmit::{FlowRef, TargetId};
use crate::proto::wire::text;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) ends: Ends,
    pub(crate) flows: Box<[Flow]>,
    lookup: Lookup,
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
            subject: Subject::new(labels, None),
        };
        if let Some(address) = target.lookup.begin(context) {
            target.move_to(address, context);
        }
        target
    }

    /// The timer of the look-up fired.
    pub(crate) fn handle_resolve_timer(&mut self, context: &mut Context) {
        self.lookup.handle_timer(context);
    }

    /// A flow of the target has failed: its name may point elsewhere by now.
    pub(crate) fn handle_failure(&mut self, context: &mut Context) {
        self.lookup.handle_failure(context);
    }

    /// The target's name was looked up.
    pub(crate) fn handle_resolved(&mut self, addresses: &[Address], context: &mut Context) {
        let before = self.lookup.address();
        if let Some(address) = self.lookup.handle_resolved(addresses, context) {
            let event = LifeEvent::Resolved { address, before };
            context.tell(&self.subject, event);
            self.move_to(address, context);
        }
    }

    /// The target is at `address` now: its flows move there.
    fn move_to(&mut self, address: Address, context: &mut Context) {
        for flow in &mut self.flows {
            flow.handle_address(address, &mut self.ends, context);
        }
        // After the flows have settled what came from the old one.
        self.ends.peer.handle_move(context);
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

    /// Ends the target: it is probed no more.
    pub(crate) fn end(mut self, context: &mut Context) {
        self.settle(context);
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
