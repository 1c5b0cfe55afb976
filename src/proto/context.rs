//! The one argument that goes down through the core: the time of the event, the queues toward engine
//! and recorder, the timer wheel, the generator, the table of sockets and the numbers of origins.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use slab::Slab;

use crate::limits::{CONNECTIONS_EVERY_NS, REPLIES_QUEUED_MAX, REPLY_BYTES_QUEUED_MAX};
use crate::proto::life::{Life, LifeEvent, Subject};
use crate::proto::output::{Held, HeldBy, Member, Output, Relabelled};
use crate::proto::owner::{Owner, Timer};
use crate::proto::presence::{Presence, Purpose};
use crate::proto::rng::{Identifiers, Jitter, Role};
use crate::proto::sample::{Counters, FlowKind, Labels, Origin, SelfCounters};
use crate::proto::time::{Mono, Now, Wall};
use crate::proto::transmit::{Arrival, FlowRef, SocketId, Transmit};
use crate::proto::wheel::Wheel;
use crate::proto::wire::native::ErrorEstimate;

/// Where a reply goes.
#[derive(Clone, Debug)]
pub(crate) struct QueuedReply {
    pub(crate) transmit: Transmit,
    bytes: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) wheel: Wheel<Timer>,
    /// Sockets to open and close, names to resolve; before any payload.
    pub(crate) actions: VecDeque<Transmit>,
    /// Flows with a slot to send.
    pub(crate) due: VecDeque<FlowRef>,
    /// A datagram of a trace is to be sent.
    pub(crate) is_hop_due: bool,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: SelfCounters,
    /// How long this process was kept from running.
    pub(crate) presence: Presence,
    /// For cookies and session identifiers of our flows.
    pub(crate) flow_ids: Identifiers,
    /// For session numbers of our reflector.
    pub(crate) session_ids: Identifiers,
    /// For backoff; never shown.
    pub(crate) jitter: Jitter,
    /// The time of the event that is being handled.
    pub(crate) now: Now,
    /// When the packet that is being handled arrived: before `now` if it was read late.
    pub(crate) arrived: Mono,
    /// Everything that had arrived by then was given to the core.
    pub(crate) caught_up: Mono,
    /// Flows whose oldest probe has had its time, though its reply may have come unread.
    pub(crate) expiring: VecDeque<FlowRef>,
    /// How often our wall clock has been set.
    pub(crate) clock_epoch: u32,
    /// What is said of our wall clock in every packet.
    pub(crate) clock_error: ErrorEstimate,
    /// Room for the open packet in an authenticated one, while that is handled.
    pub(crate) opened: Vec<u8>,
    replies: VecDeque<QueuedReply>,
    reply_bytes: Vec<u8>,
    sockets: Slab<(u32, Owner)>,
    generation: u32,
    /// The labels of ours; none of remote senders'.
    origins: Slab<Option<Arc<Labels>>>,
    /// Labels of our flows and of our peers' packets, with the number of their origins.
    own_labels: BTreeMap<Arc<Labels>, u32>,
    /// How often one of those was opened.
    pub(crate) own_opened: u64,
    /// Flows begun so far, by interval, for their phases.
    phases: BTreeMap<u64, u64>,
    /// The first turn to open a connection that nobody has taken yet.
    next_turn: Mono,
}

impl Context {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            wheel: Wheel::new(Mono::ZERO),
            actions: VecDeque::new(),
            due: VecDeque::new(),
            is_hop_due: false,
            outputs: VecDeque::new(),
            counters: SelfCounters::default(),
            presence: Presence::default(),
            flow_ids: Identifiers::new(seed, Role::Flows),
            session_ids: Identifiers::new(seed, Role::Sessions),
            jitter: Jitter::beside(seed),
            now: Now::default(),
            arrived: Mono::ZERO,
            caught_up: Mono::MAX,
            expiring: VecDeque::new(),
            clock_epoch: 0,
            clock_error: ErrorEstimate::from_nanos(false, u64::MAX),
            opened: Vec::new(),
            replies: VecDeque::new(),
            reply_bytes: Vec::new(),
            sockets: Slab::new(),
            generation: 0,
            origins: Slab::new(),
            own_labels: BTreeMap::new(),
            own_opened: 0,
            phases: BTreeMap::new(),
            next_turn: Mono::ZERO,
        }
    }

    /// A name for a new socket.
    pub(crate) fn open_socket(&mut self, owner: Owner) -> SocketId {
        self.generation = self.generation.wrapping_add(1);
        SocketId {
            index: small(self.sockets.insert((self.generation, owner))),
            generation: self.generation,
        }
    }

    /// Whose socket this is, if it is still anyone's.
    pub(crate) fn owner(&self, socket: SocketId) -> Option<Owner> {
        let (generation, owner) = self.sockets.get(socket.index as usize)?;
        (*generation == socket.generation).then_some(*owner)
    }

    /// The engine has closed the socket.
    pub(crate) fn forget_socket(&mut self, socket: SocketId) {
        if self.owner(socket).is_some() {
            self.sockets.remove(socket.index as usize);
        }
    }

    /// Something was received: how long it took from the kernel's stamp to this process.
    pub(crate) fn note_arrival(&mut self, arrival: &Arrival, purpose: Purpose) {
        self.now = arrival.now;
        self.arrived = arrival.mono();
        if let Some(stamp) = arrival.stamp
            && let Ok(gap_ns) = u64::try_from(arrival.now.wall.since(stamp.at))
        {
            self.outputs.push_back(Output::ReceiveGap(gap_ns));
            if self.presence.is_late_arrival(purpose, gap_ns, self.now) {
                self.tell_late_arrival(purpose, gap_ns);
            }
        }
    }

    #[cold]
    fn tell_late_arrival(&mut self, purpose: Purpose, gap_ns: u64) {
        self.tell_held(HeldBy::Arrival, gap_ns);
        let held = self.presence.count_last(purpose, gap_ns, self.now);
        let held = held.into_iter().flatten();
        self.outputs.extend(held.map(Output::Held));
    }

    /// The transmit stamp came of a packet whose sending began then: how long it took to leave.
    pub(crate) fn note_departure(&mut self, begun: Wall, gap_ns: u64) {
        self.outputs.push_back(Output::SendGap(gap_ns));
        if self.presence.is_late_departure(begun, gap_ns) {
            self.tell_held(HeldBy::Departure, gap_ns);
        }
    }

    fn tell_held(&mut self, by: HeldBy, ns: u64) {
        let until = self.now.wall;
        self.outputs.push_back(Output::Held(Held { by, until, ns }));
    }

    /// Tells what happened to a flow. That is rare, and boxed so that the other outputs stay small.
    pub(crate) fn tell(&mut self, subject: &Subject, event: LifeEvent) {
        let subject = subject.clone();
        let life = Box::new(Life { subject, event });
        self.outputs.push_back(Output::Life(life));
    }

    /// Has the engine close the socket, unless it has already. The actions are a queue, so its index may be used again.
    pub(crate) fn close_socket(&mut self, socket: SocketId) {
        if self.owner(socket).is_some() {
            self.sockets.remove(socket.index as usize);
            self.actions.push_back(Transmit::Close { socket });
        }
    }

    /// A turn to open a lasting connection, as early as there is one. All flows take theirs here, at
    /// the start and after a peer was away alike: ten thousand at once would be a flood of SYNs that no
    /// listener's queue holds.
    pub(crate) fn take_turn(&mut self) -> Mono {
        let turn = self.next_turn.max(self.now.mono);
        self.next_turn = turn.plus(CONNECTIONS_EVERY_NS);
        turn
    }

    /// A number for what is published under `labels` of ours from here on.
    pub(crate) fn open_origin(&mut self, labels: Arc<Labels>) -> Origin {
        self.claim_own(&labels);
        self.insert_origin(Some(labels.clone()), labels)
    }

    /// The same for labels that a remote sender has chosen.
    pub(crate) fn open_remote(&mut self, labels: Arc<Labels>) -> Origin {
        self.insert_origin(None, labels)
    }

    fn insert_origin(&mut self, own: Option<Arc<Labels>>, labels: Arc<Labels>) -> Origin {
        let origin = Origin(small(self.origins.insert(own)));
        self.outputs.push_back(Output::Opened { origin, labels });
        origin
    }

    /// True if we publish something of our own under these labels.
    pub(crate) fn has_own(&self, labels: &Labels) -> bool {
        self.own_labels.contains_key(labels)
    }

    /// What is published of this origin of ours has these labels from here on.
    pub(crate) fn relabel_origin(
        &mut self,
        origin: Origin,
        labels: Arc<Labels>,
        last: Option<(FlowKind, Counters)>,
    ) {
        let Some(own) = self.origins.get_mut(origin.0 as usize) else {
            return;
        };
        let before = own.replace(labels.clone());
        *self.own_labels.entry(labels.clone()).or_insert(0) += 1;
        self.own_opened += 1;
        self.forget_own(before);
        let relabelled = Relabelled {
            origin,
            labels,
            last,
        };
        self.outputs
            .push_back(Output::Relabelled(Box::new(relabelled)));
    }

    /// Something of ours is published under these labels that is no origin's alone.
    pub(crate) fn claim_own(&mut self, labels: &Arc<Labels>) {
        *self.own_labels.entry(labels.clone()).or_insert(0) += 1;
        self.own_opened += 1;
    }

    /// An origin publishes as one of several.
    pub(crate) fn join_total(&mut self, member: Member) {
        self.outputs.push_back(Output::Member(Box::new(member)));
    }

    /// One origin less of ours has these labels.
    pub(crate) fn forget_own(&mut self, labels: Option<Arc<Labels>>) {
        if let Some(labels) = labels
            && let Some(count) = self.own_labels.get_mut(&labels)
        {
            *count -= 1;
            if *count == 0 {
                self.own_labels.remove(&labels);
            }
        }
    }

    /// Nothing more is published of this origin.
    pub(crate) fn close_origin(&mut self, origin: Origin, last: Option<(FlowKind, Counters)>) {
        let own = self.origins.remove(origin.0 as usize);
        self.forget_own(own);
        let last = last.map(Box::new);
        self.outputs.push_back(Output::Closed { origin, last });
    }

    /// When a new flow's first slot is. Its place in the interval, counted from the clock's start
    /// whenever the flow was added, is a multiple of the golden ratio: that keeps any number of flows
    /// spread evenly, without moving those that are there.
    pub(crate) fn next_due(&mut self, interval_ns: u64) -> Mono {
        let count = self.phases.entry(interval_ns).or_insert(0);
        let fraction = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        *count += 1;
        let phase = ((u128::from(fraction) * u128::from(interval_ns)) >> 64) as u64;
        let now = self.now.mono;
        let of_now = now.as_nanos() % interval_ns;
        now.plus((phase + interval_ns - of_now) % interval_ns)
    }

    /// True unless too many replies are queued already.
    pub(crate) fn has_room_for_reply(&self) -> bool {
        self.replies.len() < REPLIES_QUEUED_MAX && self.reply_bytes.len() < REPLY_BYTES_QUEUED_MAX
    }

    /// Queues a reply whose payload `write` appends, and returns whether it has: without one nothing
    /// is queued. What goes to one stream without a key is sent together.
    pub(crate) fn queue_reply(
        &mut self,
        transmit: Transmit,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let start = self.reply_bytes.len();
        if !write(&mut self.reply_bytes) {
            self.reply_bytes.truncate(start);
            return false;
        }
        let end = self.reply_bytes.len();
        match self.replies.back_mut() {
            Some(last)
                if matches!(transmit, Transmit::Stream { key: None, .. })
                    && last.transmit == transmit =>
            {
                last.bytes.end = end;
            }
            _ => self.replies.push_back(QueuedReply {
                transmit,
                bytes: start..end,
            }),
        }
        true
    }

    /// True if nothing is to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        let has_none = self.actions.is_empty() && self.due.is_empty() && !self.is_hop_due;
        has_none && self.replies.is_empty()
    }

    /// The oldest reply, its payload copied into `buffer`.
    pub(crate) fn poll_reply(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let QueuedReply { transmit, bytes } = self.replies.pop_front()?;
        buffer.extend_from_slice(&self.reply_bytes[bytes]);
        if self.replies.is_empty() {
            self.reply_bytes.clear();
        }
        Some(transmit)
    }
}

/// A slab key as the 32 bits that the bounds in `limits` keep it within.
pub(crate) fn small(key: usize) -> u32 {
    u32::try_from(key).expect("tables are bounded far below 2^32 entries")
}
