//! One target while it is probed: its flows, what they share, and where it is.

use std::net::IpAddr;
use std::sync::Arc;

use crate::proto::backoff::Backoff;
use crate::proto::connect::ConnectFlow;
use crate::proto::context::Context;
use crate::proto::flow::Flow;
use crate::proto::owner::FlowRef;
use crate::proto::peer::Peer;
use crate::proto::sample::{FlowKind, Labels};
use crate::proto::target::{Host, TargetSpec};
use crate::proto::tcp::TcpFlow;
use crate::proto::time::Mono;
use crate::proto::transmit::{TargetId, Transmit};
use crate::proto::udp::UdpFlow;
use crate::proto::wheel::TimerKey;
use crate::proto::wire::text;

/// A name that failed to resolve, or whose target failed, is looked up again after this at first.
pub(crate) const RESOLVE_AGAIN_NS: u64 = 1_000_000_000;

/// How a target's probes speak, the same on all its flows.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) name: Arc<str>,
    /// As they stand on the text wire.
    pub(crate) tags: Box<str>,
    pub(crate) size: Option<usize>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) host: Host,
    voice: Voice,
    pub(crate) peer: Peer,
    pub(crate) address: Option<IpAddr>,
    pub(crate) resolving: bool,
    pub(crate) resolve_timer: Option<TimerKey>,
    /// No look-up because of failures before this.
    pub(crate) resolve_after: Mono,
    /// The look-up under way was asked for because of a failure.
    pub(crate) because_failed: bool,
    /// Between look-ups that do not help: names that fail, or lead to where nobody answers.
    pub(crate) backoff: Backoff,
    pub(crate) udp: Option<UdpFlow>,
    pub(crate) tcp: Option<TcpFlow>,
    pub(crate) connect: Option<ConnectFlow>,
}

impl Target {
    /// A target at this place in the table, with the flows that it asks for, and no address yet. Its
    /// name is looked up again after `again_most_ns` at most.
    pub(crate) fn new(
        (slot, id): (u32, TargetId),
        (own_name, again_most_ns): (&Arc<str>, u64),
        spec: TargetSpec,
        context: &mut Context,
    ) -> Self {
        let labels = Arc::new(Labels::new(own_name, &spec.label, &spec.tags));
        let mut begin = |kind, wanted: Option<u16>| {
            let port = wanted?;
            let this = FlowRef {
                slot,
                target: id,
                kind,
            };
            let origin = context.open_origin(labels.clone());
            let published = spec.rtt || kind == FlowKind::Connect;
            let times = (spec.interval_ns, spec.timeout_ns);
            let first_due = context.next_due(spec.interval_ns);
            let flow = Flow::new(context, this, origin, published, times, first_due);
            Some((this, flow, port))
        };
        let udp = begin(FlowKind::Udp, spec.udp_port);
        let tcp = begin(FlowKind::Tcp, spec.tcp_port);
        let connect = begin(FlowKind::Connect, spec.connect_port);
        let limits = (spec.max_lost, spec.timeout_ns);
        let protocol = spec.protocol;
        Self {
            id,
            peer: Peer::new(
                own_name.clone(),
                &spec.label,
                &spec.tags,
                spec.owd_corrected,
                spec.interval_ns,
            ),
            host: spec.host,
            voice: Voice {
                name: own_name.clone(),
                tags: text::encode_tags(&spec.tags).into(),
                size: spec.size,
            },
            address: None,
            resolving: false,
            resolve_timer: None,
            resolve_after: Mono::ZERO,
            because_failed: false,
            backoff: Backoff::new(RESOLVE_AGAIN_NS, again_most_ns),
            udp: udp.map(|(this, flow, port)| {
                UdpFlow::new(context, this, flow, port, limits, protocol)
            }),
            tcp: tcp.map(|(this, flow, port)| {
                TcpFlow::new(context, this, flow, port, limits, protocol)
            }),
            connect: connect
                .map(|(this, flow, port)| ConnectFlow::new(this, flow, port, spec.max_lost)),
        }
    }

    pub(crate) fn flow_mut(&mut self, kind: FlowKind) -> Option<&mut Flow> {
        match kind {
            FlowKind::Udp => self.udp.as_mut().map(|udp| &mut udp.flow),
            FlowKind::Tcp => self.tcp.as_mut().map(|tcp| &mut tcp.flow),
            FlowKind::Connect => self.connect.as_mut().map(|connect| &mut connect.flow),
        }
    }

    pub(crate) fn flows(&self) -> impl Iterator<Item = (FlowKind, &Flow)> {
        let udp = self.udp.as_ref().map(|udp| (FlowKind::Udp, &udp.flow));
        let tcp = self.tcp.as_ref().map(|tcp| (FlowKind::Tcp, &tcp.flow));
        let connect = self
            .connect
            .as_ref()
            .map(|connect| (FlowKind::Connect, &connect.flow));
        udp.into_iter().chain(tcp).chain(connect)
    }

    /// The target is at `address` now: its flows move there.
    pub(crate) fn handle_address(&mut self, address: IpAddr, context: &mut Context) {
        self.address = Some(address);
        let peer = &mut self.peer;
        if let Some(udp) = &mut self.udp {
            udp.handle_address(address, peer, context);
        }
        if let Some(tcp) = &mut self.tcp {
            tcp.handle_address(address, peer, context);
        }
        if let Some(connect) = &mut self.connect {
            connect.handle_address(address);
        }
        // After the flows have settled what came from the old one.
        peer.handle_move(context);
    }

    /// Builds the probe of a flow whose slot is due.
    pub(crate) fn poll_transmit(
        &mut self,
        kind: FlowKind,
        context: &mut Context,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let slot = self.flow_mut(kind)?.take_slot()?;
        let spoken = (&self.voice, &mut self.peer);
        match kind {
            FlowKind::Udp => {
                let udp = self.udp.as_mut()?;
                udp.poll_transmit(slot, spoken, context, buffer)
            }
            FlowKind::Tcp => {
                let tcp = self.tcp.as_mut()?;
                tcp.poll_transmit(slot, spoken, context, buffer)
            }
            FlowKind::Connect => self.connect.as_mut()?.poll_transmit(slot, context),
        }
    }

    /// The expiry timer of a flow fired. True if its losses call for a look at the target's name.
    pub(crate) fn handle_expiry(&mut self, kind: FlowKind, context: &mut Context) -> bool {
        let peer = &mut self.peer;
        match kind {
            FlowKind::Udp => self
                .udp
                .as_mut()
                .is_some_and(|udp| udp.handle_expiry(peer, context)),
            FlowKind::Tcp => self
                .tcp
                .as_mut()
                .is_some_and(|tcp| tcp.handle_expiry(peer, context)),
            FlowKind::Connect => self
                .connect
                .as_mut()
                .is_some_and(|connect| connect.handle_expiry(context)),
        }
    }

    /// The reopen timer of a flow fired. True if an attempt has failed.
    pub(crate) fn handle_reopen(&mut self, kind: FlowKind, context: &mut Context) -> bool {
        let peer = &mut self.peer;
        match kind {
            FlowKind::Udp => {
                if let Some(udp) = &mut self.udp {
                    udp.handle_reopen(peer, context);
                }
                false
            }
            FlowKind::Tcp => self
                .tcp
                .as_mut()
                .is_some_and(|tcp| tcp.handle_reopen(peer, context)),
            FlowKind::Connect => false,
        }
    }

    /// What waits for a transmit stamp takes what there is.
    pub(crate) fn settle_all(&mut self, context: &mut Context) {
        if let Some(udp) = &mut self.udp {
            udp.settle_all(&mut self.peer, context);
        }
        if let Some(tcp) = &mut self.tcp {
            tcp.settle_all(&mut self.peer, context);
        }
    }

    /// It is probed no more.
    pub(crate) fn end(mut self, context: &mut Context) {
        self.settle_all(context);
        for (kind, flow) in self.flows() {
            context.close_origin(flow.origin, Some((kind, flow.counters)));
        }
        self.peer.end(context);
        if let Some(udp) = &mut self.udp {
            udp.end(context);
        }
        if let Some(tcp) = &mut self.tcp {
            tcp.end(context);
        }
        if let Some(connect) = &mut self.connect {
            connect.end(context);
        }
        if let Some(timer) = self.resolve_timer {
            context.wheel.cancel(timer);
        }
    }
}
