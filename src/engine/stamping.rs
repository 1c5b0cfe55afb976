//! Stamps of packets: having them made, taking them off error queues, and judging them.

use crate::engine::interfaces::survey;
use crate::engine::stamp_choice::choose;
use crate::engine::stamp_queue::StampQueue;
use crate::engine::{Core, Timestamps};
use crate::limits::{
    DATAGRAMS_PER_CALL_MAX, QUOTE_BYTES_MAX, REPORTS_PER_TURN_MAX, STAMPS_OUTSTANDING_MAX,
    STAMPS_OUTSTANDING_UDP_MAX, STAMPS_OVERTAKING_MAX,
};
use crate::proto::{Arrival, Now, Stamp, StampKey};
use crate::sys;
use crate::sys::batch::Inbox;
use crate::sys::sockets::Socket;
use crate::sys::stamp::{Keeper, enable, keep, renumber};
use crate::sys::words::{Level, Numbers, Report, Stamps};

/// After this many packets in a row whose stamps by the interface are of another clock, the
/// interface is no longer asked to stamp.
const ASTRAY_MAX: u32 = 16;

/// A socket whose packets are stamped, with its transmit stamp queue.
#[derive(Debug)]
pub(super) struct Stamped<S> {
    pub(super) socket: S,
    pub(super) stamps: StampQueue<StampKey>,
}

impl<S> Stamped<S> {
    /// Tells the core of the stamps that will not come.
    fn report_missing(&mut self, core: &mut Core<'_>) {
        for key in self.stamps.given_up.drain(..) {
            core.prober.handle_stamp_missing(key);
        }
    }
}

/// Who stamps packets, and what that takes.
#[derive(Debug)]
pub(super) struct Stamping {
    /// `None` if this process makes the stamps.
    level: Option<Level>,
    /// Asks from the start to the end.
    keeper: Option<Keeper>,
    /// Entries of error queues. What ICMP errors quote is read while it may tell a hop.
    entries: Inbox,
    /// The engine is told of the stamps of streams as they come, so nobody has to look for those.
    are_told: bool,
    /// ICMP errors whose flows have not been looked up yet. Only shared UDP sockets queue them.
    pub(super) reports: Vec<Report>,
    astray: u32,
}

impl Stamping {
    /// Finds out who can stamp, and logs what is lost.
    pub(super) fn new(wanted: Timestamps) -> Self {
        let mut stamping = Self {
            level: None,
            keeper: None,
            entries: Inbox::new(DATAGRAMS_PER_CALL_MAX, QUOTE_BYTES_MAX),
            are_told: false,
            reports: Vec::new(),
            astray: 0,
        };
        if wanted == Timestamps::User {
            return stamping;
        }
        match keep() {
            Ok(keeper) => {
                stamping.keeper = Some(keeper);
                stamping.level = Some(Level::Software);
            }
            // The start has said it.
            Err(_) if sys::LACKS.is_some() => {}
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the kernel does not stamp packets (SO_TIMESTAMPING; a sandbox may forbid it): \
                     this process does, so its own delays are part of what is measured"
                );
            }
        }
        if wanted == Timestamps::Auto && stamping.level.is_some() {
            stamping.look_for_hardware();
        }
        stamping
    }

    fn look_for_hardware(&mut self) {
        let survey = survey();
        if !survey.lost.is_empty() {
            tracing::info!(
                lost = survey.lost.join("; "),
                "some interfaces could stamp packets and do not; there the kernel does"
            );
        }
        if !survey.used.is_empty() {
            tracing::info!(
                used = survey.used.join("; "),
                "interfaces stamp packets themselves, where their clock follows the system's"
            );
            self.level = Some(Level::Hardware);
        }
    }

    /// Has an established stream stamped from here on, if it can be.
    pub(super) fn begin_stream(&self, socket: &impl Socket) -> StampQueue<StampKey> {
        self.begin_with(socket, Numbers::Bytes, STAMPS_OUTSTANDING_MAX, 0)
    }

    /// Has a UDP socket stamped from here on, if it can be.
    pub(super) fn begin_udp(&self, socket: &impl Socket) -> StampQueue<StampKey> {
        let max = STAMPS_OUTSTANDING_UDP_MAX;
        self.begin_with(socket, Numbers::Datagrams, max, STAMPS_OVERTAKING_MAX)
    }

    fn begin_with(
        &self,
        socket: &impl Socket,
        numbers: Numbers,
        max: usize,
        patience: u32,
    ) -> StampQueue<StampKey> {
        let level = self.level.filter(|level| {
            let enabled = enable(socket, *level, numbers);
            if let Err(error) = &enabled {
                tracing::debug!(%error, "the kernel does not stamp the packets of a socket");
            }
            enabled.is_ok()
        });
        StampQueue::new(level, numbers, max, patience)
    }

    /// Returns the key if a stamp for it can come at all.
    pub(super) fn wanted(&self, key: Option<StampKey>) -> Option<StampKey> {
        key.filter(|_| self.level.is_some())
    }

    /// True if this process makes the stamps itself: then nothing may wait once it has one.
    pub(super) fn is_ours(&self) -> bool {
        self.level.is_none()
    }

    /// Judges the stamps of a received packet, which this process saw at `now`.
    pub(super) fn arrival(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        stamps: Stamps,
    ) -> Arrival {
        let stamp = self.judge(core, now, stamps);
        if stamp.is_none() && self.level.is_some() {
            core.prober.handle_unstamped();
        }
        Arrival {
            now: *now,
            stamp,
            tos: None,
        }
    }

    /// Begins the numbers of a UDP socket anew: the kernel has refused a datagram, and may have
    /// used up a number for it. Empties the error queue, where the cause may be.
    pub(super) fn handle_unsent<S: Socket>(&mut self, core: &mut Core<'_>, port: &mut Stamped<S>) {
        self.empty(core, port);
        if let Some(level) = port.stamps.level {
            let level = renumber(&port.socket, level).ok().map(|()| level);
            port.stamps.handle_renumbered(level);
            port.report_missing(core);
        }
    }

    /// Takes stamps off the error queue, as long as the kernel owes some.
    pub(super) fn collect<S: Socket>(&mut self, core: &mut Core<'_>, from: &mut Stamped<S>) {
        from.report_missing(core);
        let is_told = self.are_told && from.stamps.numbers == Numbers::Bytes;
        while !is_told && !from.stamps.is_empty() && self.take(core, from) {}
        let level = from.stamps.level;
        if level != self.level && level.is_some() {
            // The interface's clock was found to be another one.
            if let Some(level) = self.level
                && enable(&from.socket, level, from.stamps.numbers).is_ok()
            {
                from.stamps.level = self.level;
            }
        }
    }

    /// Takes everything off the error queue, also stamps that nobody waits for: a segment sent
    /// again is stamped again. After many ICMP errors some may be left, of which the kernel tells
    /// again.
    pub(super) fn empty(&mut self, core: &mut Core<'_>, from: &mut Stamped<impl Socket>) {
        while self.take(core, from) {}
    }

    /// Takes entries off the error queue, many in a call. False if there are no more, or enough.
    fn take(&mut self, core: &mut Core<'_>, from: &mut Stamped<impl Socket>) -> bool {
        let Ok((count, has_more)) =
            (self.entries).receive_errors(&from.socket, core.prober.awaits_hops())
        else {
            return false;
        };
        let mut now = core.clock.now();
        for index in 0..count {
            let Some((number, stamps)) = self.entries.transmitted(index) else {
                self.reports.extend(self.entries.reported(index));
                continue;
            };
            self.answer(core, &mut now, &mut from.stamps, number, stamps);
        }
        from.report_missing(core);
        has_more && self.reports.len() < REPORTS_PER_TURN_MAX
    }

    fn answer(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        queue: &mut StampQueue<StampKey>,
        number: u32,
        stamps: Stamps,
    ) {
        let Some(key) = queue.handle_number(number) else {
            return;
        };
        match self.judge(core, now, stamps) {
            Some(stamp) => core.prober.handle_stamp(key, stamp),
            None => core.prober.handle_stamp_missing(key),
        }
    }

    /// Returns the stamp to believe, if there is one. A stamp may be the first to show that the
    /// system's clock was set. Then the core is told first, and `now` is read again.
    pub(super) fn judge(
        &mut self,
        core: &mut Core<'_>,
        now: &mut Now,
        stamps: Stamps,
    ) -> Option<Stamp> {
        if let Some(step_ns) = stamps
            .software
            .and_then(|at| core.clock.check(now.wall, at))
        {
            *now = core.clock.now();
            core.prober.handle_clock_step(*now, step_ns);
        }
        let choice = choose(stamps, now.wall);
        if let Some(follows) = choice.follows {
            self.watch_hardware(follows);
        }
        choice
            .stamp
            .filter(|stamp| core.clock.can_have_said(now.wall, stamp.at))
    }

    #[cfg(all(test, target_os = "linux", not(latency_monitor_portable)))]
    pub(super) fn pretend_hardware(&mut self) {
        self.level = Some(Level::Hardware);
    }

    fn watch_hardware(&mut self, follows: bool) {
        self.astray = if follows { 0 } else { self.astray + 1 };
        if self.astray >= ASTRAY_MAX && self.level == Some(Level::Hardware) {
            self.level = Some(Level::Software);
            tracing::warn!(
                "an interface's clock is not the system's, so its stamps are not used: have \
                 phc2sys keep it to the system's clock, and restart"
            );
        }
    }
}

/// For an engine that is told of stamps.
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
impl Stamping {
    /// Has the error queues of streams left alone: the engine brings every stamp
    /// ([`handle_transmitted`](Self::handle_transmitted)).
    pub(super) fn leave_to_engine(&mut self) {
        self.are_told = true;
    }

    /// Has stamps taken off the error queues after all.
    pub(super) fn take_from_queues(&mut self) {
        self.are_told = false;
    }

    /// Tells the core of the transmit stamp with this number.
    pub(super) fn handle_transmitted<S>(
        &mut self,
        core: &mut Core<'_>,
        from: &mut Stamped<S>,
        number: u32,
        stamps: Stamps,
    ) {
        let mut now = core.clock.now();
        self.answer(core, &mut now, &mut from.stamps, number, stamps);
        from.report_missing(core);
    }
}
