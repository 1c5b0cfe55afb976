//! Stamps of packets: having them made, judging them, and taking them off error queues.

use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Socket, Type};

use crate::engine::interfaces::survey;
use crate::engine::stamp_choice::choose;
use crate::engine::stamp_queue::StampQueue;
use crate::engine::{Core, Timestamps};
use crate::limits::{
    DATAGRAMS_PER_CALL_MAX, REPORTS_PER_TURN_MAX, STAMPS_OUTSTANDING_MAX,
    STAMPS_OUTSTANDING_UDP_MAX, STAMPS_OVERTAKING_MAX,
};
use crate::proto::{Arrival, Now, Stamp, StampKey};
use crate::sys::batch::Inbox;
use crate::sys::icmp::Report;
use crate::sys::stamp::{Control, Level, Numbers, Stamps, enable, renumber};

/// After so many packets in a row whose stamps by the interface are of another clock, they are not
/// asked for any more.
const ASTRAY_MAX: u32 = 16;

/// Who stamps, and what that takes.
#[derive(Debug)]
pub(super) struct Stamping {
    /// `None`: this process does.
    level: Option<Level>,
    /// The kernel begins to stamp a moment after the first socket has asked, and ends with the last:
    /// this one is never the last.
    keeper: Option<Socket>,
    pub(super) control: Control,
    /// Entries of error queues, which bear no payload.
    entries: Inbox,
    /// What the network has said of packets that did not get there, until it is told whose they are.
    /// Only sockets that flows share are asked to queue that.
    pub(super) reports: Vec<Report>,
    astray: u32,
}

impl Stamping {
    /// Finds out what there is, and says what is lost.
    pub(super) fn new(wanted: Timestamps) -> Self {
        let mut stamping = Self {
            level: None,
            keeper: None,
            control: Control::new(),
            entries: Inbox::new(DATAGRAMS_PER_CALL_MAX, 0),
            reports: Vec::new(),
            astray: 0,
        };
        if wanted == Timestamps::User {
            return stamping;
        }
        let kept = Socket::new(Domain::IPV4, Type::DGRAM, None)
            .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None))
            .and_then(|socket| {
                enable(&socket, Level::Software, Numbers::Datagrams)?;
                Ok(socket)
            });
        match kept {
            Ok(socket) => {
                stamping.keeper = Some(socket);
                stamping.level = Some(Level::Software);
            }
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

    /// A queue for a stream, which is stamped from here on if it can be.
    pub(super) fn begin_stream(&self, socket: &impl AsFd) -> StampQueue<StampKey> {
        self.begin_with(socket, Numbers::Bytes, STAMPS_OUTSTANDING_MAX, 0)
    }

    /// The same for a UDP socket.
    pub(super) fn begin_udp(&self, socket: &impl AsFd) -> StampQueue<StampKey> {
        let max = STAMPS_OUTSTANDING_UDP_MAX;
        self.begin_with(socket, Numbers::Datagrams, max, STAMPS_OVERTAKING_MAX)
    }

    fn begin_with(
        &self,
        socket: &impl AsFd,
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

    /// The key, if a stamp for it can come at all.
    pub(super) fn wanted(&self, key: Option<StampKey>) -> Option<StampKey> {
        key.filter(|_| self.level.is_some())
    }

    /// Whether this process makes the stamps itself, so that nothing may wait once it has one.
    pub(super) fn is_ours(&self) -> bool {
        self.level.is_none()
    }

    /// Something was received, with these stamps; this process saw it at `now`.
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
        Arrival { now: *now, stamp }
    }

    /// The kernel has not taken a datagram, but may have used up a number for it. What it may have
    /// failed of is taken off the error queue.
    pub(super) fn handle_unsent<S: AsRawFd + AsFd>(
        &mut self,
        core: &mut Core<'_>,
        socket: &S,
        queue: &mut StampQueue<StampKey>,
    ) {
        self.empty(core, socket, queue);
        if let Some(level) = queue.level {
            let level = renumber(socket, level).ok().map(|()| level);
            queue.handle_renumbered(level, |key| core.prober.handle_stamp_missing(key));
        }
    }

    /// Takes the stamps off the error queue, as long as some are under way.
    pub(super) fn collect<S: AsRawFd + AsFd>(
        &mut self,
        core: &mut Core<'_>,
        socket: &S,
        queue: &mut StampQueue<StampKey>,
    ) {
        while !queue.is_empty() && self.take(core, socket, queue) {}
        if queue.level != self.level && queue.level.is_some() {
            // The interface's clock was found to be another one.
            if let Some(level) = self.level
                && enable(socket, level, queue.numbers).is_ok()
            {
                queue.level = self.level;
            }
        }
    }

    /// Takes everything off the error queue, whether it was waited for or not: a segment sent again
    /// is stamped again. After many reports some may be left, of which the kernel tells again.
    pub(super) fn empty<S: AsRawFd + AsFd>(
        &mut self,
        core: &mut Core<'_>,
        socket: &S,
        queue: &mut StampQueue<StampKey>,
    ) {
        while self.take(core, socket, queue) {}
    }

    /// Takes entries off the error queue, many in a call. False if there are no more, or enough.
    fn take<S: AsRawFd>(
        &mut self,
        core: &mut Core<'_>,
        socket: &S,
        queue: &mut StampQueue<StampKey>,
    ) -> bool {
        let Ok((count, has_more)) = self.entries.receive_errors(socket) else {
            return false;
        };
        let mut now = core.clock.now();
        for index in 0..count {
            let Some((number, stamps)) = self.entries.transmitted(index) else {
                self.reports.extend(self.entries.reported(index));
                continue;
            };
            let Some(key) =
                queue.handle_number(number, |key| core.prober.handle_stamp_missing(key))
            else {
                continue;
            };
            match self.judge(core, &mut now, stamps) {
                Some(stamp) => core.prober.handle_stamp(key, stamp),
                None => core.prober.handle_stamp_missing(key),
            }
        }
        has_more && self.reports.len() < REPORTS_PER_TURN_MAX
    }

    /// The stamp to believe, if there is one. A stamp may be the first to show that the system's
    /// clock was set; then the core is told first, and `now` is read again.
    fn judge(&mut self, core: &mut Core<'_>, now: &mut Now, stamps: Stamps) -> Option<Stamp> {
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

    #[cfg(test)]
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
