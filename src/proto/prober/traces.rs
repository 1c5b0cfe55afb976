//! Paths: the part of the surface that has the hops of flows learnt.

use super::{Prober, flow_of};
use crate::proto::flow::Flow;
use crate::proto::output::Output;
use crate::proto::owner::{Owner, Timer};
use crate::proto::path::{HopAnswer, PathOptions, Why};
use crate::proto::sample::{FlowKind, Origin};
use crate::proto::time::Now;
use crate::proto::tracer::{Seen, Taken, Tracer};
use crate::proto::transmit::{Arrival, SocketId, StampKey, Transmit, Wanted};

impl Prober {
    /// Traces paths by these options from here on. Without a call nothing is traced.
    pub fn trace_paths(&mut self, now: Now, options: PathOptions) {
        self.context.now = now;
        if self.tracer.options == options {
            return;
        }
        self.tracer.set_options(options);
        let flows = self.targets.iter_mut().flat_map(|(_, t)| &mut t.flows);
        for flow in flows {
            Tracer::forget(&mut flow.path);
            if flow.tuple().is_some() {
                self.tracer
                    .handle_opened(flow.window.this(), &mut flow.path, now.mono);
            }
        }
        self.turn_traces();
    }

    /// Wishes for the path of the UDP flow of this origin to be traced because of an event, or because somebody asks.
    /// Events that the options do not name call for nothing, nor do those that follow each other closely.
    pub fn trace(&mut self, now: Now, origin: Origin, why: Why) {
        self.context.now = now;
        if why != Why::Asked && !self.tracer.is_for(why) {
            return;
        }
        let mut flows = self.targets.iter_mut().flat_map(|(_, t)| &mut t.flows);
        let is_it =
            |flow: &&mut Flow| flow.window.origin == origin && flow.window.kind == FlowKind::Udp;
        if let Some(flow) = flows.find(is_it)
            && (self.tracer).want(flow.window.this(), why, &mut flow.path, now.mono)
        {
            self.turn_traces();
        }
    }

    /// True while an ICMP error may tell a hop: it is to be given to [`handle_hop`](Self::handle_hop) with what it
    /// quotes.
    pub fn awaits_hops(&self) -> bool {
        self.tracer.awaits_answers(self.context.now.mono)
    }

    /// An ICMP error has come about a datagram of this socket. False if it is about a probe.
    pub fn handle_hop(
        &mut self,
        arrival: Arrival,
        socket: SocketId,
        answer: &HopAnswer<'_>,
    ) -> bool {
        self.context.now = arrival.now;
        let Some(Owner::Flow(flow)) = self.context.owner(socket) else {
            return false;
        };
        let Some((flow, _)) = flow_of(&mut self.targets, flow) else {
            return false;
        };
        let (tracer, epoch) = (&mut self.tracer, self.context.clock_epoch);
        if tracer.handle_icmp(arrival, epoch, socket, answer, &flow.path) == Taken::Other {
            return false;
        }
        self.turn_traces();
        true
    }

    /// The kernel did not take the datagram of a [`Transmit::Hop`]. It is sent again after its time.
    pub fn handle_hop_unsent(&mut self, socket: SocketId) {
        self.tracer.handle_unsent(socket);
    }

    /// True if a datagram returns one of a trace.
    pub(super) fn is_echo(&mut self, arrival: Arrival, socket: SocketId, payload: &[u8]) -> bool {
        let epoch = self.context.clock_epoch;
        let is_echo = self.tracer.handle_echo(arrival, epoch, socket, payload) == Taken::Answer;
        if is_echo {
            self.turn_traces();
        }
        is_echo
    }

    /// Has traces begin, go on and end, and arms the timer for what comes next.
    pub(super) fn turn_traces(&mut self) {
        let now = self.context.now.mono;
        self.context.wheel.cancel(self.tracer.timer.take());
        while let Some((wanted, why)) = self.tracer.next_wanted(now) {
            if let Some((flow, _)) = flow_of(&mut self.targets, wanted) {
                let subject = flow.traced();
                (self.tracer).begin(wanted, why, subject, &mut flow.path, now);
            }
        }
        let mut turn = self.tracer.turn(now);
        for ended in turn.ended() {
            if let Some((flow, _)) = flow_of(&mut self.targets, ended.flow()) {
                let seen = Seen {
                    replies: flow.window.counters.received,
                    routers: flow.window.routers,
                    last: flow.window.last_trip(),
                };
                let path = ended.finish(&mut flow.path, &seen);
                self.context.outputs.push_back(Output::Path(Box::new(path)));
            }
        }
        self.context.is_hop_due = self.tracer.is_due(now);
        // What has ended has made room for others.
        let wake = if self.tracer.has_next(now) {
            Some(now)
        } else {
            turn.wake
        };
        self.tracer.timer = wake.map(|at| self.context.wheel.insert(at, Timer::Trace));
    }

    /// Builds the datagram that is to be sent for a trace now.
    pub(super) fn poll_hop(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let context = &mut self.context;
        let mut transmit = None;
        while let Some((wanted, tuple)) = self.tracer.next_due(context.now.mono) {
            let found = flow_of(&mut self.targets, wanted);
            let Some((flow, _)) = found.filter(|(flow, _)| flow.tuple() == Some(tuple)) else {
                self.tracer.give_up();
                continue;
            };
            let sent = (self.tracer).send(context.now, context.clock_epoch, &mut flow.path, buffer);
            transmit = sent.map(|(trace, packet, ttl)| Transmit::Hop {
                socket: tuple.socket,
                ttl,
                key: Some(StampKey(Wanted::Hop { trace, packet })),
            });
            break;
        }
        self.turn_traces();
        transmit
    }
}
