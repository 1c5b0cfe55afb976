//! What a host does that reads late.

use std::collections::VecDeque;

use latency_monitor::proto::SocketId;

use super::{Input, Place, ProberHost, Socket, UDP_PORT, stamp};
use crate::clock::HostClock;
use crate::late::{Plan, Waiting};
use crate::network::{Event, Network, Side};

impl ProberHost {
    /// Something reaches a socket of the kernel's. Gives it back if that is none of a flow of ours that is read late,
    /// else whether the host wakes for it.
    pub(crate) fn take_in(
        &mut self,
        clock: &HostClock,
        net: &mut Network,
        event: Event,
    ) -> Result<bool, Box<Event>> {
        let Some(late) = &mut self.late else {
            return Err(event.into());
        };
        let socket = match &event {
            Event::Datagram(datagram) if datagram.to.port() != UDP_PORT => {
                self.by_port.get(&datagram.to.port())
            }
            Event::Data(connection, side @ Side::Client, ..)
            | Event::Closed(connection, side @ Side::Client, _) => {
                self.by_stream.get(&(*connection, *side))
            }
            _ => None,
        };
        let Some(socket) = socket.copied() else {
            return Err(event.into());
        };
        let wakes = late.is_watched || late.is_at_once(socket);
        self.outages
            .begin_turn(clock.now(net.now_ns), self.account.was_frozen);
        let waiting = match event {
            Event::Datagram(datagram) => {
                if let Some(Socket::Udp { remote, .. }) = self.sockets.get(&socket)
                    && *remote == datagram.from
                {
                    let numbers = datagram.answers.as_slice();
                    self.outages.handle_replies(socket, numbers);
                }
                Waiting::Datagram(datagram)
            }
            Event::Data(connection, _, bytes, arrived) => {
                self.note_bytes(net, (connection, Side::Client), socket, bytes.len());
                Waiting::Data(connection, bytes, arrived)
            }
            Event::Closed(connection, _, ending) => Waiting::Closed(connection, ending),
            other => return Err(other.into()),
        };
        if let Some(late) = &mut self.late {
            late.waiting.push_back(waiting);
        }
        Ok(wakes)
    }

    /// A turn begins: a host that woke for replies reads them before anything else.
    pub(super) fn begin_turn(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        input: &Input<'_>,
    ) {
        let Some(late) = &mut self.late else { return };
        late.begin_turn();
        if late.is_watched {
            self.read(at, clock, net);
        } else if let Input::ClockStep(_) = input {
            // It is told at this very instant here, and what waits bears stamps from before.
            self.read_of(at, clock, net, None);
        } else {
            let streams = self.by_stream.values().copied();
            let at_once: Vec<_> = streams.filter(|id| late.is_at_once(*id)).collect();
            for id in at_once {
                self.read_of(at, clock, net, Some(id));
            }
        }
    }

    /// A turn ends: the host reads until it may sleep.
    pub(super) fn end_turn(&mut self, at: Place, clock: &HostClock, net: &mut Network) {
        loop {
            let deadline_ns = self.timeout_ns(clock);
            let is_awaited = self.prober.awaits_arrivals();
            let Some(late) = &mut self.late else { return };
            let plan = late.plan(net.now_ns, deadline_ns, is_awaited);
            late.is_watched = plan == Plan::Watch;
            if plan == Plan::Sleep {
                if late.are_stamps_due() {
                    self.take_stamps(net.now_ns, None);
                }
                return;
            }
            self.read(at, clock, net);
            self.prober.handle_timeout(clock.now(net.now_ns));
            self.transmit(at, clock, net);
            if plan == Plan::Watch && !self.prober.awaits_arrivals() {
                return;
            }
        }
    }

    /// Reads everything that has come.
    fn read(&mut self, at: Place, clock: &HostClock, net: &mut Network) {
        self.read_of(at, clock, net, None);
        if let Some(late) = &mut self.late {
            late.note_read(net.now_ns);
        }
        self.prober.handle_caught_up(clock.now(net.now_ns).mono);
    }

    /// Reads what has come for one stream, or for all flows.
    pub(super) fn read_of(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        of: Option<SocketId>,
    ) {
        self.take_stamps(net.now_ns, of);
        let Some(late) = &mut self.late else { return };
        let (taken, kept): (VecDeque<Waiting>, _) = std::mem::take(&mut late.waiting)
            .into_iter()
            .partition(|waiting| {
                let stream = match waiting {
                    Waiting::Datagram(_) => None,
                    Waiting::Data(connection, ..) | Waiting::Closed(connection, _) => {
                        self.by_stream.get(&(*connection, Side::Client)).copied()
                    }
                };
                of.is_none() || stream == of
            });
        late.waiting = kept;
        for waiting in joined(taken) {
            match waiting {
                Waiting::Datagram(datagram) => {
                    self.deliver(at, clock, net, &Input::Datagram(&datagram));
                    net.recycle(datagram.payload);
                }
                Waiting::Data(connection, bytes, arrived) => {
                    let input = Input::Data(connection, Side::Client, &bytes, arrived);
                    self.deliver(at, clock, net, &input);
                    net.recycle(bytes);
                }
                Waiting::Closed(connection, ending) => {
                    let input = Input::Closed(connection, Side::Client, ending);
                    self.deliver(at, clock, net, &input);
                    net.close(connection, Side::Client, ending);
                }
            }
        }
    }

    /// Takes the transmit stamps of one socket, or of all.
    fn take_stamps(&mut self, now_ns: u64, of: Option<SocketId>) {
        if let Some(late) = &mut self.late {
            for (key, left) in late.take_stamps(now_ns, of) {
                self.prober.handle_stamp(key, stamp(left));
            }
        }
    }

    /// Makes way for a probe on a stream of ours: the reply to the one before is read, so that each is read by itself.
    pub(super) fn settle_stream(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        socket: SocketId,
        at_once: bool,
    ) {
        let Some(late) = &self.late else { return };
        if !at_once && late.owes_reply(socket) {
            self.read_of(at, clock, net, Some(socket));
        }
        let is_blocked = self.blocked.contains(&socket);
        let Some(late) = &mut self.late else { return };
        late.judge_write(socket, !at_once && !is_blocked);
        if late.is_at_once(socket) {
            self.read_of(at, clock, net, Some(socket));
        }
    }
}

/// Bytes of a stream that are read together have the stamp of the last.
fn joined(waiting: VecDeque<Waiting>) -> Vec<Waiting> {
    let mut joined: Vec<Waiting> = Vec::new();
    for waiting in waiting {
        if let Waiting::Data(connection, more, later) = &waiting {
            let is_same =
                |other: &&mut Waiting| matches!(other, Waiting::Data(of, ..) if of == connection);
            if let Some(Waiting::Data(_, bytes, arrived)) = joined.iter_mut().find(is_same) {
                bytes.extend_from_slice(more);
                *arrived = *later;
                continue;
            }
        }
        joined.push(waiting);
    }
    joined
}
