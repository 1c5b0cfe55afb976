//! Datagrams, which both engines read by readiness: an event queue tells which UDP sockets have something, and one call
//! takes many datagrams, or many stamps, of one of them.
//!
//! A ring could receive them without being asked each time. But then each datagram, and each stamp, is woken for and
//! completed by itself, which takes more of the processor than these calls (docs/design/engines.md).

pub(super) mod lazy;
pub(super) mod watch;

use std::collections::VecDeque;
use std::io;

use mio::{Interest, Registry};

use self::lazy::{Lazy, Plan, READ_TOGETHER_MAX};
use self::watch::{Left, Readiness, Source, register};
use crate::clock::Clock;
use crate::engine::batch::Header;
use crate::engine::shared_udp::SharedSocket;
use crate::engine::sockets::{Kind, Sockets, Toward};
use crate::engine::udp_port::UdpPort;
use crate::engine::{Core, EngineConfig, EngineError};
use crate::limits::{
    DATAGRAMS_PER_CALL_MAX, EVENTS_PER_POLL_MAX, MESSAGE_BYTES_MAX, RECEIVES_PER_TURN_MAX,
};
use crate::proto::{Mono, Now, SocketId, StampKey};
use crate::sys::batch::Inbox;
use crate::sys::events::{Event, EventQueue};

/// What an engine keeps with a socket, with what reading datagrams keeps there.
pub(super) trait Waits: Default {
    /// Returns the latter.
    fn readiness(&mut self) -> &mut Readiness;
}

impl Waits for Readiness {
    fn readiness(&mut self) -> &mut Readiness {
        self
    }
}

/// See the [module](self). An engine may have the queue tell of other descriptors, too.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) queue: EventQueue,
    pub(super) lazy: Lazy,
    /// What may have more to read.
    ready: VecDeque<Source>,
    /// What is to be read again in the next turn.
    unwatched: Vec<Source>,
    /// Datagrams that were received together.
    inbox: Inbox,
}

/// What a read of a UDP socket has left in the inbox.
struct Read {
    count: usize,
    /// When it was there.
    now: Now,
    left: Left,
}

impl Reader {
    /// Makes one that is told of the UDP listeners. `waits`: the engine waits at its queue.
    pub(super) fn new<W: Waits>(
        config: &EngineConfig,
        sockets: &mut Sockets<W>,
        waits: bool,
    ) -> Result<Self, EngineError> {
        let setup = |operation| move |source| EngineError::Setup { operation, source };
        let make = if waits {
            EventQueue::new
        } else {
            EventQueue::inner
        };
        let queue = make(EVENTS_PER_POLL_MAX).map_err(setup("make an event queue"))?;
        // A stamp of our own must be made at once.
        let is_late = !sockets.stamping.is_ours();
        let within_ns = if is_late { config.receive_within_ns } else { 0 };
        let lazy = Lazy::new(within_ns).map_err(setup("make an event queue"))?;
        sockets.defers_stamps = lazy.is_on();
        for (place, port) in sockets.listeners.udp.iter_mut().enumerate() {
            let (socket, source) = (&mut port.stamped.socket, Source::Listener(place));
            register(queue.registry(), socket, source, Interest::READABLE)
                .map_err(setup("watch a listener"))?;
        }
        Ok(Self {
            queue,
            lazy,
            ready: VecDeque::new(),
            unwatched: Vec::new(),
            inbox: Inbox::new(DATAGRAMS_PER_CALL_MAX, MESSAGE_BYTES_MAX + 1),
        })
    }

    /// Returns where the sockets of our flows are registered.
    pub(super) fn registry(&self) -> &Registry {
        self.lazy.registry(self.queue.registry())
    }

    /// Says what to do before a sleep until `deadline`.
    pub(super) fn plan<W: Waits>(
        &self,
        core: &Core<'_>,
        sockets: &Sockets<W>,
        deadline: Option<Mono>,
    ) -> Plan {
        let (now, is_awaited) = (core.clock.mono(), core.prober.awaits_arrivals());
        let (room_bytes, places) = (sockets.room_bytes(), sockets.shared.places().len());
        self.lazy
            .plan(now, deadline, is_awaited, room_bytes, places)
    }

    /// Gives a flow a shared socket.
    pub(super) fn open<W: Waits>(
        &mut self,
        sockets: &mut Sockets<W>,
        id: SocketId,
        to: &Toward,
    ) -> io::Result<()> {
        let registry = self.registry();
        sockets.open_udp(id, to, |port, place| {
            let (socket, source) = (&mut port.stamped.socket, Source::Shared(place));
            register(registry, socket, source, Interest::READABLE)
        })
    }

    /// Returns where a request of so many `bytes` leaves and goes to.
    pub(super) fn request<W: Waits>(
        &mut self,
        sockets: &mut Sockets<W>,
        id: SocketId,
        key: Option<StampKey>,
        bytes: usize,
        at_once: bool,
    ) -> Option<Header> {
        let Some(Kind::Udp(flow)) = sockets.table.get_mut(id) else {
            return None;
        };
        if !at_once {
            self.lazy.note_request(&mut flow.wait.readiness().late);
        }
        self.lazy.note_sent(bytes);
        Some(Header::request(flow, id, key))
    }

    /// The same for a datagram that learns a hop of a flow's path.
    pub(super) fn hop<W: Waits>(
        &mut self,
        now: Mono,
        sockets: &mut Sockets<W>,
        id: SocketId,
        ttl: u8,
        key: Option<StampKey>,
        bytes: usize,
    ) -> Option<Header> {
        let Some(Kind::Udp(flow)) = sockets.table.get_mut(id) else {
            return None;
        };
        self.lazy.note_sent(bytes);
        self.lazy.note_hop(now);
        Some(Header::hop(flow, id, ttl, key))
    }

    /// True if nothing is known that could be read now.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Has a socket read in this turn.
    pub(super) fn enqueue(&mut self, wait: &mut Readiness, source: Source) {
        if !std::mem::replace(&mut wait.is_queued, true) {
            self.ready.push_back(source);
        }
    }

    /// Has every shared socket read in this turn, as asking whether one has something costs as much.
    pub(super) fn enqueue_shared<W: Waits>(&mut self, sockets: &mut Sockets<W>) {
        for place in sockets.shared.places() {
            if let Some(shared) = sockets.shared.get_mut(place) {
                self.enqueue(shared.port.wait.readiness(), Source::Shared(place));
            }
        }
    }

    /// The queue tells of a UDP socket, or of a TCP listener.
    pub(super) fn handle_event<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        source: Source,
        event: Event,
    ) {
        match source {
            Source::Listener(place) => self.handle_listener_event(core, sockets, place, event),
            Source::Shared(place) => self.handle_shared_event(core, sockets, place, event),
            Source::Acceptor(place) => {
                let wait = sockets.listeners.tcp[place].wait.readiness();
                self.enqueue(wait, source);
            }
            Source::Waker | Source::Replies | Source::Stream(_) => {}
        }
    }

    /// A UDP listener has requests, or stamps of replies have come for it.
    fn handle_listener_event<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
        event: Event,
    ) {
        let port = &mut sockets.listeners.udp[place];
        if event.is_error() {
            sockets.stamping.empty(core, &mut port.stamped);
        }
        if event.is_readable() || !event.is_error() {
            self.enqueue(port.wait.readiness(), Source::Listener(place));
        }
    }

    /// A shared UDP socket has replies, or its error queue has stamps or ICMP errors.
    fn handle_shared_event<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
        event: Event,
    ) {
        let Some(shared) = sockets.shared.get_mut(place) else {
            return;
        };
        let port = &mut shared.port;
        if event.is_error() {
            sockets.stamping.empty(core, &mut port.stamped);
            // If the error queue had no room, an error is left without its entry. The next call
            // would fail of it, whoever that is for.
            let _ = port.stamped.socket.take_error();
        }
        if event.is_readable() {
            self.enqueue(port.wait.readiness(), Source::Shared(place));
        }
        self.report_icmp(core, sockets, place);
    }

    /// Looks at the queue of our flows' sockets. Returns how many [events](Self::reply_event) it has.
    pub(super) fn look_at_replies(&mut self) -> io::Result<usize> {
        let Some(queue) = &mut self.lazy.queue else {
            return Ok(0);
        };
        queue.look()?;
        Ok(queue.len())
    }

    /// Returns one of them, unless it is of no use.
    pub(super) fn reply_event(&self, index: usize) -> Option<(Source, Event)> {
        let event = self.lazy.queue.as_ref()?.event(index);
        let source = Source::of(event.token());
        // While nobody wakes for replies, datagrams are read in their time, whatever is told.
        let is_of_use = self.lazy.is_watched || !matches!(source, Source::Shared(_));
        is_of_use.then_some((source, event))
    }

    /// Takes the stamps of datagrams, if a flow's next request is to carry them.
    pub(super) fn take_due_stamps<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
    ) {
        if self.lazy.are_stamps_due() {
            self.take_stamps(core, sockets);
        }
    }

    /// Takes the stamps of all datagrams that our flows have sent.
    fn take_stamps<W: Waits>(&mut self, core: &mut Core<'_>, sockets: &mut Sockets<W>) {
        for place in sockets.shared.places() {
            if let Some(shared) = sockets.shared.get_mut(place) {
                sockets.stamping.collect(core, &mut shared.port.stamped);
                self.report_icmp(core, sockets, place);
            }
        }
        self.lazy.note_stamps_taken();
    }

    /// Everything that had come for our flows by `at` was read.
    pub(super) fn note_read(&mut self, core: &mut Core<'_>, at: Mono) {
        self.lazy.note_read(at);
        core.prober.handle_caught_up(at);
    }

    /// Wakes for replies from here on. What has come unread is told at once.
    pub(super) fn watch_replies<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
    ) -> io::Result<()> {
        if !self.lazy.is_on() {
            return Ok(());
        }
        // Once many are told of, each stamp is as well: going through all sockets before each sleep would cost more.
        let is_crowd = sockets.shared.places().len() > READ_TOGETHER_MAX;
        if !(is_crowd && self.lazy.is_watched) {
            self.resume(core, sockets);
        }
        if let Some(queue) = &self.lazy.queue
            && !std::mem::replace(&mut self.lazy.is_watched, true)
        {
            self.queue.watch(queue, Source::Replies.token())?;
        }
        Ok(())
    }

    /// Has the queue tell of all shared sockets.
    fn resume<W: Waits>(&mut self, core: &mut Core<'_>, sockets: &mut Sockets<W>) {
        // A stamp on an error queue would end the sleep.
        self.take_stamps(core, sockets);
        let Some(queue) = &self.lazy.queue else {
            return;
        };
        for place in sockets.shared.places() {
            if let Some(SharedSocket { port, .. }) = sockets.shared.get_mut(place) {
                let (socket, source) = (&mut port.stamped.socket, Source::Shared(place));
                let watch = &mut port.wait.readiness().watch;
                watch.resume(queue.registry(), socket, source);
            }
        }
    }

    /// Wakes for no reply from here on.
    pub(super) fn unwatch_replies(&mut self) -> io::Result<()> {
        let lazy = &mut self.lazy;
        if let Some(queue) = &lazy.queue
            && std::mem::replace(&mut lazy.is_watched, false)
        {
            self.queue.unwatch(queue)?;
        }
        Ok(())
    }

    /// Reports the ICMP errors of a shared socket.
    fn report_icmp<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
    ) {
        if sockets.report_icmp(core, place) {
            self.lazy.note_icmp(core.clock.mono());
        }
    }

    /// Returns how much may be read in this turn.
    ///
    /// Every socket that had something by now is read once at least. With a fixed number, a turn
    /// that was long because many probes were due would take in no more than a short one. What
    /// comes would then pile up for good once the host was slow for a moment.
    pub(super) fn budget(&self) -> usize {
        // A stream's message counts beside its read, and datagrams come as long as streams are
        // read.
        RECEIVES_PER_TURN_MAX + 4 * self.ready.len()
    }

    /// Returns the socket that is to be read next.
    pub(super) fn next(&mut self) -> Option<Source> {
        self.ready.pop_front()
    }

    /// A socket was read.
    pub(super) fn handle_left(&mut self, source: Source, left: Left) {
        match left {
            Left::Nothing => {}
            Left::More => self.ready.push_back(source),
            Left::Unwatched => self.unwatched.push(source),
        }
    }

    /// Nothing more is read in this turn.
    pub(super) fn end_turn(&mut self) {
        self.ready.extend(self.unwatched.drain(..));
    }

    /// Reads a batch of datagrams from a UDP socket.
    pub(super) fn receive<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        source: Source,
        budget: &mut usize,
    ) -> Left {
        match source {
            Source::Shared(place) => self.receive_replies(core, sockets, place, budget),
            Source::Listener(place) => self.receive_requests(core, sockets, place, budget),
            Source::Waker | Source::Replies | Source::Acceptor(_) | Source::Stream(_) => {
                Left::Nothing
            }
        }
    }

    /// Reads a batch of replies from a shared socket.
    fn receive_replies<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
        budget: &mut usize,
    ) -> Left {
        let Some(shared) = sockets.shared.get_mut(place) else {
            return Left::Nothing;
        };
        // A request's own stamp goes before its reply.
        sockets.stamping.collect(core, &mut shared.port.stamped);
        self.report_icmp(core, sockets, place);
        let Some(shared) = sockets.shared.get_mut(place) else {
            return Left::Nothing;
        };
        let (port, source) = (&mut shared.port, Source::Shared(place));
        let registry = self.lazy.registry(self.queue.registry());
        let mut read = read_port(&mut self.inbox, core.clock, registry, port, source, budget);
        for index in 0..read.count {
            let incoming = self.inbox.datagram(index);
            sockets.handle_reply(core, &mut read.now, place, &incoming);
        }
        // A late read takes every socket, whoever tells of it.
        if read.left == Left::Unwatched && self.lazy.is_on() {
            if let Some(shared) = sockets.shared.get_mut(place) {
                shared.port.wait.readiness().is_queued = false;
            }
            return Left::Nothing;
        }
        read.left
    }

    /// Reads a batch of requests from a listener.
    fn receive_requests<W: Waits>(
        &mut self,
        core: &mut Core<'_>,
        sockets: &mut Sockets<W>,
        place: usize,
        budget: &mut usize,
    ) -> Left {
        let port = &mut sockets.listeners.udp[place];
        if port.wait.readiness().watch.is_off() {
            // Nobody else tells of stamps that come late.
            sockets.stamping.collect(core, &mut port.stamped);
        }
        let source = Source::Listener(place);
        let registry = self.queue.registry();
        let mut read = read_port(&mut self.inbox, core.clock, registry, port, source, budget);
        for index in 0..read.count {
            let incoming = self.inbox.datagram(index);
            sockets.handle_request(core, &mut read.now, place, &incoming);
        }
        read.left
    }
}

/// Reads a batch of datagrams into the inbox, and takes it off the turn's budget.
fn read_port<W: Waits>(
    inbox: &mut Inbox,
    clock: &Clock,
    registry: &Registry,
    port: &mut UdpPort<W>,
    source: Source,
    budget: &mut usize,
) -> Read {
    let received = inbox.receive(&port.stamped.socket, *budget);
    let now = clock.now();
    let wait = port.wait.readiness();
    let left = (wait.watch).after(&received, registry, &mut port.stamped.socket, source);
    wait.is_queued = left != Left::Nothing;
    let count = received.map_or(0, |(count, _)| count);
    // A read that finds nothing is not free either.
    *budget -= count.clamp(1, *budget);
    Read { count, now, left }
}
