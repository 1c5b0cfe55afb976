//! Outages as the network had them: runs of a flow's slots of which none was answered. What the flow tells of
//! its outages is held against them.
//!
//! A slot was answered if a reply to its probe reached the probe's socket within the timeout. The network knows
//! that: which datagram answers which, and which bytes of a stream do. Of the flow is taken only at which of its
//! slots a probe left, and over which socket.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use latency_monitor::proto::{FlowKind, Labels, Now, Outage, Outcome, SocketId, TargetSpec};

/// Slots in a row that are an outage, if one of them was lost.
const OUTAGE_SLOTS: usize = 3;
/// Fewer are one too where probes could not leave, if it lasts for so long.
const CUT_OFF_NS: u64 = 1_000_000_000;

/// An instant of a host, and how often its wall clock had been set by then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) now: Now,
    pub(crate) steps: u32,
}

impl Moment {
    fn since(&self, earlier: &Self) -> u64 {
        self.now.mono.since(earlier.now.mono)
    }
}

/// How a probe leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    /// What the network knows it by on that socket. `None`: it does not know which reply is its.
    pub(crate) number: Option<u64>,
}

impl Sent {
    pub(crate) const fn new(socket: SocketId, number: u64) -> Self {
        let number = Some(number);
        Self { socket, number }
    }
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The flow's probe of this number left.
    Open(u64, Sent),
    Answered,
    Lost,
    /// Nothing left.
    Unsent,
}

/// Slots in a row of which none was answered.
#[derive(Clone)]
struct Run {
    slots: Vec<Moment>,
    lost: usize,
    /// When a later slot was answered, or the flow ended.
    ended: Option<Moment>,
}

impl fmt::Debug for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, ended) = (
            self.slots[0].now,
            self.ended.map(|end| end.since(&self.slots[0])),
        );
        let (count, lost, ns) = (self.slots.len(), self.lost, self.length_ns());
        write!(
            out,
            "{count} slots, {lost} lost, {ns} ns from {first:?}, ended after {ended:?}"
        )
    }
}

impl Run {
    fn length_ns(&self) -> u64 {
        self.until_ns(None)
    }

    /// Until an instant, or else its last slot.
    fn until_ns(&self, end: Option<Moment>) -> u64 {
        let end = end.as_ref().unwrap_or(&self.slots[self.slots.len() - 1]);
        end.since(&self.slots[0])
    }

    /// Whether it is an outage. `None`: that depends on what the system has said of it.
    fn is_outage(&self) -> Option<bool> {
        let is_cut_off = self.lost < self.slots.len();
        let lasts_ns = self.until_ns(self.ended);
        if self.slots.len() >= OUTAGE_SLOTS && self.lost > 0
            || is_cut_off && self.length_ns() >= CUT_OFF_NS
        {
            Some(true)
        } else if self.slots.len() < OUTAGE_SLOTS && !(is_cut_off && lasts_ns >= CUT_OFF_NS) {
            Some(false)
        } else {
            None
        }
    }
}

/// An outage as the flow tells it.
#[derive(Clone, Copy, Debug)]
struct Told {
    outage: Outage,
    at: Moment,
}

impl Told {
    /// How long after a slot it began, in nanoseconds.
    fn after_ns(&self, slot: &Moment) -> i64 {
        let wall = if self.at.steps == slot.steps {
            slot.now.wall
        } else {
            self.at.now.wall.plus(-signed(self.at.since(slot)))
        };
        self.outage.start.since(wall)
    }
}

/// The slots of one flow.
#[derive(Debug)]
pub(crate) struct Slots {
    label: String,
    kind: FlowKind,
    interval_ns: u64,
    timeout_ns: u64,
    /// Replies may wait so long until they are read; `None`: they are read as they come.
    reads_within_ns: Option<u64>,
    /// Those of which it is not known yet to which run they belong.
    slots: VecDeque<(Moment, Fate)>,
    run: Option<Run>,
    runs: Vec<Run>,
    told: Vec<Told>,
    /// The number of the next probe.
    next: u64,
    /// The host was stalled: what it tells is late.
    was_frozen: bool,
    /// Probes that were answered in time, of which the flow has not said so.
    answered: BTreeSet<u64>,
    /// The socket in use.
    socket: Option<SocketId>,
    /// A reply has come over it.
    is_answered: bool,
}

impl Slots {
    pub(crate) fn new(
        labels: &Labels,
        kind: FlowKind,
        spec: &TargetSpec,
        reads_within_ns: Option<u64>,
    ) -> Self {
        Self {
            label: format!("{} -> {} {kind:?}", labels.source, labels.target).to_lowercase(),
            kind,
            interval_ns: spec.interval_ns,
            timeout_ns: spec.timeout_ns,
            reads_within_ns,
            slots: VecDeque::new(),
            run: None,
            runs: Vec::new(),
            told: Vec::new(),
            next: 0,
            was_frozen: false,
            answered: BTreeSet::new(),
            socket: None,
            is_answered: false,
        }
    }

    /// The next probe leaves.
    pub(crate) fn handle_send(&mut self, at: Moment, sent: Sent) {
        if self.socket.replace(sent.socket) != Some(sent.socket) {
            self.is_answered = false;
        }
        self.push(at, Fate::Open(self.next, sent));
        self.next += 1;
    }

    /// The kernel did not take the last probe.
    pub(crate) fn handle_refused(&mut self) {
        self.slots.back_mut().expect("it was sent").1 = Fate::Unsent;
    }

    /// Nothing leaves at a slot. It is none for an outage if the flow has a connection, which `has_room`, and waits for
    /// the first reply over it.
    pub(crate) fn handle_skip(&mut self, at: Moment, has_room: impl Fn(SocketId) -> bool) {
        self.judge(at);
        let waits = self.socket.is_some_and(|socket| {
            let mut slots = self.slots.iter().filter(|_| self.kind == FlowKind::Tcp);
            let is_on_it =
                |fate: Fate| matches!(fate, Fate::Open(_, sent) if sent.socket == socket);
            !self.is_answered && has_room(socket) && slots.any(|slot| is_on_it(slot.1))
        });
        if !waits {
            self.push(at, Fate::Unsent);
        }
    }

    fn push(&mut self, at: Moment, fate: Fate) {
        self.judge(at);
        self.slots.push_back((at, fate));
    }

    /// A reply comes over a socket, to the probe that it knows by this number.
    pub(crate) fn handle_reply(&mut self, at: Moment, socket: SocketId, number: u64) {
        self.is_answered |= self.socket == Some(socket);
        let sent = Sent::new(socket, number);
        self.answer(at, |_, other| other == sent);
    }

    /// A reply comes over a socket, and the network does not know to which probe.
    pub(crate) fn handle_unknown_replies(&mut self, socket: SocketId) {
        for (_, fate) in &mut self.slots {
            if let Fate::Open(_, sent) = fate
                && sent.socket == socket
            {
                sent.number = None;
            }
        }
    }

    /// The flow says that a probe was answered late: perhaps over the socket in use, if the network does not know.
    pub(crate) fn handle_late(&mut self) {
        self.is_answered |= self.slots.iter().any(|(_, fate)| {
            matches!(*fate, Fate::Open(_, sent) if Some(sent.socket) == self.socket && sent.number.is_none())
        });
    }

    /// The flow says what became of a probe: what the network says, if that knows.
    pub(crate) fn handle_outcome(&mut self, at: Moment, probe: u64, outcome: Outcome) {
        if outcome == Outcome::Received {
            self.answer(at, |other, sent| other == probe && sent.number.is_none());
        } else if self.reads_within_ns.is_some() {
            for (_, fate) in &mut self.slots {
                if let Fate::Open(other, sent) = *fate
                    && other == probe
                    && sent.number.is_none()
                {
                    *fate = Fate::Lost;
                }
            }
        }
        let is_received = outcome == Outcome::Received;
        assert_eq!(
            self.answered.remove(&probe),
            is_received,
            "{}: probe {probe}",
            self.label
        );
    }

    fn answer(&mut self, at: Moment, is_it: impl Fn(u64, Sent) -> bool) {
        let open = self
            .slots
            .iter_mut()
            .find_map(|(sent_at, fate)| match *fate {
                Fate::Open(probe, sent) if is_it(probe, sent) => {
                    Some((*sent_at, fate, probe, sent))
                }
                _ => None,
            });
        // When it came is not known if it was read late, and the flow is taken at its word.
        let is_late = self.reads_within_ns.is_some();
        if let Some((sent_at, fate, probe, Sent { socket, number })) = open
            && (at.since(&sent_at) < self.timeout_ns || is_late && number.is_none())
        {
            *fate = Fate::Answered;
            self.is_answered |= self.socket == Some(socket);
            self.answered.insert(probe);
        }
    }

    /// A socket is closed: nothing comes over it any more.
    pub(crate) fn handle_closed(&mut self, socket: SocketId) {
        for (_, fate) in &mut self.slots {
            if matches!(*fate, Fate::Open(_, sent) if sent.socket == socket) {
                *fate = Fate::Lost;
            }
        }
    }

    /// The flow gives its 5-tuple up.
    pub(crate) fn leave(&mut self) {
        self.socket = None;
    }

    pub(crate) fn handle_told(&mut self, outage: Outage, at: Moment) {
        self.told.push(Told { outage, at });
    }

    /// Adds the slots up to the first one that may still be answered to their runs.
    fn judge(&mut self, at: Moment) {
        while let Some((sent, fate)) = self.slots.front().copied() {
            match fate {
                Fate::Open(..) if at.since(&sent) < self.timeout_ns => break,
                Fate::Open(_, sent) if self.reads_within_ns.is_some() && sent.number.is_none() => {
                    break;
                }
                Fate::Answered => self.end_run(at),
                Fate::Open(..) | Fate::Lost | Fate::Unsent => {
                    let run = self.run.get_or_insert_with(|| Run {
                        slots: Vec::new(),
                        lost: 0,
                        ended: None,
                    });
                    run.slots.push(sent);
                    run.lost += usize::from(fate != Fate::Unsent);
                }
            }
            self.slots.pop_front();
        }
    }

    fn end_run(&mut self, at: Moment) {
        if let Some(run) = self.run.take() {
            let ended = Some(at);
            let run = Run { ended, ..run };
            if run.is_outage() != Some(false) {
                self.runs.push(run);
            }
        }
    }

    /// The flow ends: of what is in flight nothing is known. Gives how many outages were compared.
    pub(crate) fn finish(mut self, at: Moment, was_frozen: bool) -> u64 {
        self.judge(at);
        self.slots.retain(|slot| !matches!(slot.1, Fate::Open(..)));
        self.judge(at);
        self.end_run(at);
        self.was_frozen = was_frozen;
        let told = std::mem::take(&mut self.told).into_iter();
        let (mut begun, mut ended): (Vec<Told>, Vec<Told>) =
            told.partition(|told| told.outage.duration_ns.is_none());
        let mut count = 0;
        for run in &self.runs {
            let is_told = self.check(run, &mut begun, &mut ended);
            let expected = run.is_outage().unwrap_or(is_told);
            assert_eq!(is_told, expected, "{}: {run:?}", self.label);
            count += u64::from(is_told);
        }
        assert!(begun.is_empty(), "{}: none began: {begun:?}", self.label);
        assert!(
            ended.is_empty(),
            "{}: there was none: {ended:?}",
            self.label
        );
        count
    }

    /// Takes what was told of a run, which is as it was. False if nothing was told.
    fn check(&self, run: &Run, begun: &mut Vec<Told>, ended: &mut Vec<Told>) -> bool {
        let (label, length_ns) = (&self.label, signed(run.length_ns()));
        // A stamp of the kernel's is a little later than its slot.
        let near_ns = signed(self.interval_ns / 2);
        let is_near = |told: &Told, to_ns: i64| {
            (-near_ns..=to_ns + near_ns).contains(&told.after_ns(&run.slots[0]))
        };
        let ends: Vec<Told> = ended.extract_if(.., |told| is_near(told, 0)).collect();
        let begins: Vec<Told> = begun
            .extract_if(.., |told| is_near(told, length_ns))
            .collect();
        let ([begin], [end]) = (&*begins, &*ends) else {
            assert!(
                begins.is_empty() && ends.is_empty(),
                "{label}: {begins:?}, {ends:?} of {run:?}"
            );
            return false;
        };
        let duration_ns = signed(end.outage.duration_ns.expect("an end"));
        assert!(begin.at.now.mono <= end.at.now.mono);
        if !self.was_frozen {
            // What was sent with the slot that makes it one has had its time.
            let third = run.slots.get(OUTAGE_SLOTS - 1);
            let is_one_ns = run.until_ns(third.copied()).max(CUT_OFF_NS);
            let told_ns = begin.at.since(&run.slots[0]);
            let wait_ns = self.timeout_ns + self.interval_ns + self.reads_within_ns.unwrap_or(0);
            assert!(
                told_ns <= is_one_ns + wait_ns,
                "{label}: {begin:?} of {run:?}"
            );
            if let Some(ended) = run.ended {
                // A reply may wait for T3.
                let told_ns = end.at.now.mono.since(ended.now.mono);
                assert!(told_ns <= 2 * wait_ns, "{label}: {end:?} of {run:?}");
            }
        }
        assert_eq!(duration_ns, length_ns, "{label}: {end:?} of {run:?}");
        assert_eq!(
            end.outage.slots as usize,
            run.slots.len(),
            "{label}: {end:?} of {run:?}"
        );
        true
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).expect("virtual time fits")
}
