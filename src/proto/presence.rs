//! How long this process was kept from running, as its own loop sees it.
//!
//! The process is late if it wakes after its deadline, if what it does after a wake-up takes long, or if a packet waits
//! long between the kernel's stamp and this process. A stopped process shows only so, and so does a hypervisor that
//! takes the processor away without telling. Every host has some lateness at all times, so only what is over the quiet
//! level counts, and no time counts twice.
//!
//! A process that merely waits for its turn leaves the kernel's stamps as they are: packets that come meanwhile have
//! theirs, and the system says how long others had the processor. If the loop woke late, nobody else had the processor
//! and no packet was stamped in that time, the kernel stood still, too.

use std::collections::VecDeque;

use crate::proto::output::{Held, HeldBy};
use crate::proto::time::{Mono, Now, Wall};

/// Less is never over the quiet level: timers are no better on a busy system.
const QUIET_NS: u64 = 50_000;

/// Lateness over the mean by this factor is over the quiet level.
const OVER: u64 = 4;

/// So many counted times are kept. A longer wait adds what is missing between them and before them.
const COUNTED_KEPT: usize = 16;

/// The mean is over about so many values.
const MEAN_OF: u64 = 64;

/// What a host says of itself: running totals in microseconds, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTotals {
    /// How long its process was kept from running.
    pub kept_us: u32,
    /// How long its kernel stood still, too, as where a hypervisor takes the processors away; `None` if it does not
    /// know.
    pub steal_us: Option<u32>,
}

/// The usual size of something, in nanoseconds.
#[derive(Debug, Default)]
struct Level {
    mean_ns: u64,
}

impl Level {
    /// Takes one value. True if it is over the quiet level. A value that is counts only as far as that level, so that
    /// a few do not raise it, and many do.
    fn is_over(&mut self, ns: u64) -> bool {
        let quiet_ns = self.quiet_ns();
        self.mean_ns = (self.mean_ns * (MEAN_OF - 1) + ns.min(quiet_ns)) / MEAN_OF;
        ns > quiet_ns
    }

    fn quiet_ns(&self) -> u64 {
        QUIET_NS.max(self.mean_ns.saturating_mul(OVER))
    }
}

/// How long packets usually wait. All that waited at the same time as one that was over the quiet level are one
/// value: a stop of a quarter of a second holds up hundreds, which would make it the usual, and the next would not
/// count.
#[derive(Debug, Default)]
struct Waits {
    level: Level,
    /// When the last packet waited that was over the quiet level.
    told: Option<[Wall; 2]>,
}

impl Waits {
    /// A packet waited from then on for `ns`. True if that is over the quiet level.
    fn is_over(&mut self, from: Wall, ns: u64) -> bool {
        let until = from.plus(i64::try_from(ns).unwrap_or(i64::MAX));
        let is_same = |[begun, ended]: [Wall; 2]| from <= ended && until >= begun;
        if self.told.is_some_and(is_same) {
            return ns > self.level.quiet_ns();
        }
        let is_over = self.level.is_over(ns);
        if is_over {
            self.told = Some([from, until]);
        }
        is_over
    }
}

/// The times for which the process was kept from running, as far back as one may still be added to.
#[derive(Debug)]
struct Counted {
    /// One after the other, and apart.
    spans: VecDeque<[Mono; 2]>,
    /// Everything before is taken for counted.
    since: Mono,
}

/// What of a time is new, before what was counted last and after it: for how long, and up to when.
type Fresh = [Option<(u64, Mono)>; 2];

impl Default for Counted {
    fn default() -> Self {
        Self {
            // Nothing is allocated later.
            spans: VecDeque::with_capacity(COUNTED_KEPT),
            since: Mono::ZERO,
        }
    }
}

impl Counted {
    /// Adds a time. Returns what of it was not counted before: what precedes the last time that was counted and is met
    /// by it, and what follows that. A wait may reach further back than the last that was counted: a timer was due
    /// within a stop, and a packet has waited since before. Several gaps that precede it are told as one.
    fn add(&mut self, from: Mono, until: Mono) -> Fresh {
        // The clock was read before what was counted last.
        if until < self.until() {
            return [None; 2];
        }
        let from = from.max(self.since);
        let (mut begun, mut edge) = (from, until);
        // The end of each gap is the beginning of the span behind it.
        let (mut last_begun, mut before_ns, mut after_ns) = (None, 0, 0);
        while let Some(&[span_begun, span_ended]) = self.spans.back() {
            if span_ended < from {
                break;
            }
            self.spans.pop_back();
            let gap_ns = edge.since(span_ended);
            if last_begun.is_none() {
                (last_begun, after_ns) = (Some(span_begun), gap_ns);
            } else {
                before_ns += gap_ns;
            }
            edge = span_begun;
            begun = begun.min(span_begun);
        }
        let first_ns = edge.since(from);
        match last_begun {
            Some(_) => before_ns += first_ns,
            None => after_ns = first_ns,
        }
        if until > begun {
            if self.spans.len() == COUNTED_KEPT {
                let oldest = self.spans.pop_front();
                self.since = oldest.map_or(self.since, |[_, ended]| ended);
            }
            self.spans.push_back([begun, until]);
        }
        let fresh = |ns: u64, until: Mono| (ns > 0).then_some((ns, until));
        [
            last_begun.and_then(|begun| fresh(before_ns, begun)),
            fresh(after_ns, until),
        ]
    }

    /// Returns up to when something was counted last.
    fn until(&self) -> Mono {
        self.spans.back().map_or(self.since, |[_, ended]| *ended)
    }
}

/// What a packet that came is for us. Replies may be read late (`receive_within_us`) and requests are not, so each has
/// a usual wait of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Request,
    Reply,
}

/// Packets that came while the loop was late are read within so many nanoseconds of its waking.
const READ_WITHIN_NS: u64 = 1_000_000;

/// A time for which the loop was late, of which the packets that came in it are still to tell.
#[derive(Clone, Copy, Debug)]
struct Late {
    from: Mono,
    /// When the loop woke.
    until: Mono,
    /// When the kernel stamped the first packet in it.
    stamped: Mono,
    /// For how many nanoseconds others had the processor that the loop waited for: the system ran.
    queued_ns: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Presence {
    lateness: Level,
    work: Level,
    requests: Waits,
    replies: Waits,
    departures: Waits,
    /// When the loop woke, until its turn begins.
    woken: Option<Mono>,
    counted: Counted,
    kept_ns: u64,
    /// The kernel stamps packets here.
    has_stamps: bool,
    late: Option<Late>,
    /// For how long the loop has waited for a processor, as told last.
    queued_ns: Option<u64>,
    /// How long the kernel stood still, too.
    stolen_ns: u64,
}

impl Presence {
    /// Returns the totals that replies carry.
    pub(crate) fn totals(&self) -> HostTotals {
        HostTotals {
            kept_us: low_us(self.kept_ns),
            steal_us: self.has_stamps.then(|| low_us(self.stolen_ns)),
        }
    }

    /// The loop has woken, which was to be at `deadline` at the latest.
    pub(crate) fn handle_woken(&mut self, now: Now, deadline: Mono) -> [Option<Held>; 2] {
        self.woken = Some(now.mono);
        // Something that came has ended the wait, and says nothing of timers.
        if now.mono < deadline || !self.lateness.is_over(now.mono.since(deadline)) {
            return [None; 2];
        }
        if self.has_stamps {
            self.late = Some(Late {
                from: deadline.max(self.counted.until()),
                until: now.mono,
                stamped: now.mono,
                queued_ns: 0,
            });
        }
        self.count(deadline, now)
    }

    /// True if it is to be known for how long the loop has waited for a processor.
    pub(crate) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// So many nanoseconds in all has the loop waited for a processor that others had.
    pub(crate) fn handle_queued(&mut self, total_ns: u64) {
        let since_ns = total_ns.saturating_sub(self.queued_ns.unwrap_or(total_ns));
        if let Some(late) = &mut self.late {
            late.queued_ns += since_ns;
        }
        self.queued_ns = Some(total_ns);
    }

    /// Everything that had come by `caught_up` was read. Returns how long the kernel stood still, too, if that has
    /// become known.
    pub(crate) fn settle(&mut self, now: Now, caught_up: Mono) -> Option<Held> {
        let read = |late: &mut Late| {
            now.mono.since(late.until) >= READ_WITHIN_NS && caught_up >= late.until
        };
        let late = self.late.take_if(read)?;
        let ns = late.stamped.since(late.from);
        let ns = ns.saturating_sub(late.queued_ns);
        if ns < QUIET_NS {
            return None;
        }
        self.stolen_ns += ns;
        let ago_ns = i64::try_from(now.mono.since(late.stamped)).unwrap_or(i64::MAX);
        Some(Held {
            by: HeldBy::Hypervisor,
            until: now.wall.plus(-ago_ns),
            ns,
        })
    }

    /// The next turn begins: what the wake-up was for is done.
    pub(crate) fn handle_turn(&mut self, now: Now) -> [Option<Held>; 2] {
        match self.woken.take() {
            Some(woken) if self.work.is_over(now.mono.since(woken)) => self.count(woken, now),
            _ => [None; 2],
        }
    }

    /// A packet has waited so long for this process. True if that is over the quiet level.
    pub(crate) fn is_late_arrival(&mut self, purpose: Purpose, gap_ns: u64, now: Now) -> bool {
        self.has_stamps = true;
        if let Some(late) = &mut self.late {
            let stamped = Mono::from_nanos(now.mono.as_nanos().saturating_sub(gap_ns));
            late.stamped = late.stamped.min(stamped).max(late.from);
        }
        let back_ns = i64::try_from(gap_ns).unwrap_or(i64::MAX);
        let waits = match purpose {
            Purpose::Request => &mut self.requests,
            Purpose::Reply => &mut self.replies,
        };
        waits.is_over(now.wall.plus(-back_ns), gap_ns)
    }

    /// A packet has left so long after the send call was begun. True if that is over the quiet level.
    pub(crate) fn is_late_departure(&mut self, begun: Wall, gap_ns: u64) -> bool {
        self.departures.is_over(begun, gap_ns)
    }

    /// Counts the time up to now during which something waited for `ns`.
    pub(crate) fn count_last(&mut self, purpose: Purpose, ns: u64, now: Now) -> [Option<Held>; 2] {
        let from = Mono::from_nanos(now.mono.as_nanos().saturating_sub(ns));
        match purpose {
            Purpose::Request => self.count(from, now),
            // A loop that runs may leave a reply unread for a while.
            Purpose::Reply => self.count(from.max(self.counted.until()), now),
        }
    }

    fn count(&mut self, from: Mono, now: Now) -> [Option<Held>; 2] {
        let fresh = self.counted.add(from, now.mono);
        self.kept_ns += fresh.iter().flatten().map(|(ns, _)| ns).sum::<u64>();
        fresh.map(|part| {
            let (ns, until) = part?;
            let ago_ns = i64::try_from(now.mono.since(until)).unwrap_or(i64::MAX);
            Some(Held {
                by: HeldBy::Host,
                until: now.wall.plus(-ago_ns),
                ns,
            })
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
const fn low_us(ns: u64) -> u32 {
    (ns / 1_000) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ns: u64) -> Now {
        Now {
            mono: Mono::from_nanos(ns),
            wall: Wall::from_unix_nanos(i64::try_from(ns).unwrap()),
        }
    }

    /// A loop that wakes each millisecond, 60 us late.
    fn running() -> (Presence, u64) {
        let mut presence = Presence::default();
        for turn in 1..1_000 {
            let due = turn * MS;
            presence.handle_woken(at(due + 60_000), Mono::from_nanos(due));
            presence.handle_turn(at(due + 70_000));
        }
        let begun = presence.kept_ns;
        (presence, begun)
    }

    #[test]
    fn the_usual_lateness_is_no_absence_and_a_stop_is() {
        let (mut presence, begun) = running();
        let quiet = presence.handle_woken(at(1_000 * MS + 100_000), Mono::from_nanos(1_000 * MS));
        assert_eq!(quiet, [None; 2]);
        let held = presence.handle_woken(at(1_021 * MS), Mono::from_nanos(1_001 * MS));
        assert_eq!(
            held.map(|held| held.map(|held| held.ns)),
            [None, Some(20 * MS)]
        );
        let kept_us = u32::try_from((begun + 20 * MS) / 1_000).unwrap();
        assert_eq!(presence.totals().kept_us, kept_us);
    }

    #[test]
    fn no_time_counts_twice() {
        let (mut presence, begun) = running();
        presence.handle_woken(at(1_021 * MS), Mono::from_nanos(1_001 * MS));
        // Packets have waited for the same stop, the first from a millisecond before the deadline on.
        assert!(presence.is_late_arrival(Purpose::Request, 21 * MS, at(1_021 * MS)));
        let earlier = presence.count_last(Purpose::Request, 21 * MS, at(1_021 * MS));
        let told = earlier.map(|held| held.map(|held| (held.ns, held.until)));
        assert_eq!(told, [Some((MS, at(1_001 * MS).wall)), None]);
        let again = presence.count_last(Purpose::Request, 20 * MS, at(1_021 * MS));
        assert_eq!(again, [None; 2]);
        let unread = presence.count_last(Purpose::Reply, 40 * MS, at(1_021 * MS));
        assert_eq!(
            unread, [None; 2],
            "the loop ran before, and had not read it"
        );
        let work = presence.handle_turn(at(1_024 * MS));
        assert_eq!(
            work.map(|held| held.map(|held| held.ns)),
            [None, Some(3 * MS)]
        );
        assert_eq!(presence.kept_ns - begun, 24 * MS);
    }

    /// A timer may be due at any time within a stop, and packets have waited since it began.
    #[test]
    fn a_stop_is_as_long_as_packets_have_waited_whenever_a_timer_was_due() {
        for due_ms in 1_001..1_021 {
            let (mut presence, begun) = running();
            presence.is_late_arrival(Purpose::Request, 10_000, at(999 * MS));
            presence.handle_woken(at(1_021 * MS), Mono::from_nanos(due_ms * MS));
            let more_ms = stopped(&mut presence, 1_021, 20);
            assert_eq!(more_ms, due_ms - 1_001);
            assert_eq!((presence.kept_ns - begun) / MS, 20, "{due_ms}");
        }
    }

    proptest! {
        /// What is counted is the union of what is added, each instant once; what is told lies within what is added.
        #[test]
        fn counted_is_the_union(
            added in vec((prop_oneof![8 => 0_u64..3, 1 => 0_u64..60], 0_u64..6), 1..100),
        ) {
            let (mut counted, mut now) = (Counted::default(), 100);
            let (mut union, mut sum) = (BTreeSet::new(), 0);
            for (back, on) in added {
                now += on;
                let from = (now - back).max(counted.since.as_nanos());
                let last = counted.spans.back().map(|span| span[0]);
                union.extend(from..now);
                let [begun, ended] = [now - back, now].map(Mono::from_nanos);
                let [before, after] = counted.add(begun, ended);
                if let Some((ns, until)) = before {
                    prop_assert_eq!(Some(until), last);
                    prop_assert!(until.as_nanos() - ns >= from);
                    sum += ns;
                }
                if let Some((ns, until)) = after {
                    prop_assert_eq!(until.as_nanos(), now);
                    prop_assert!(now - ns >= from);
                    sum += ns;
                }
                prop_assert_eq!(sum, union.len() as u64);
                prop_assert!(counted.spans.len() <= COUNTED_KEPT);
                let spans: Vec<[Mono; 2]> = counted.spans.iter().copied().collect();
                prop_assert!(spans.windows(2).all(|pair| pair[0][1] < pair[1][0]));
                prop_assert!(spans.iter().all(|[begun, ended]| begun < ended));
            }
        }
    }

    #[test]
    fn a_level_follows_what_stays() {
        let mut level = Level::default();
        assert!(level.is_over(MS), "nothing is known of the host");
        assert!(!(0..2_000).map(|_| level.is_over(MS)).last().unwrap());
        assert!(level.is_over(5 * MS));
        assert!(!level.is_over(MS));
    }

    /// A reflector that was stopped for so many milliseconds reads the packets of a flow that waited; returns for how
    /// many the first of them shows that.
    fn stopped(presence: &mut Presence, until_ms: u64, ms: u64) -> u64 {
        let now = at(until_ms * MS);
        let before = presence.kept_ns;
        for gap_ms in (1..=ms).rev() {
            if presence.is_late_arrival(Purpose::Request, gap_ms * MS, now) {
                presence.count_last(Purpose::Request, gap_ms * MS, now);
            }
        }
        (presence.kept_ns - before) / MS
    }

    /// However many packets have waited for it.
    #[test]
    fn a_long_stop_is_not_made_the_usual() {
        let (mut presence, _) = running();
        for ms in 1_000..1_100 {
            assert!(!presence.is_late_arrival(Purpose::Request, 10_000, at(ms * MS)));
        }
        assert_eq!(stopped(&mut presence, 1_400, 300), 300);
        for ms in 1_401..1_405 {
            assert!(
                !presence.is_late_arrival(Purpose::Request, 10_000, at(ms * MS)),
                "{ms}"
            );
        }
        assert_eq!(stopped(&mut presence, 1_425, 20), 20);
        assert_eq!(stopped(&mut presence, 1_430, 1), 1);
    }

    /// Packets that wait one after the other, each for as long, wait as usual.
    #[test]
    fn packets_of_a_host_that_is_always_late_wait_as_usual() {
        for every_us in [100_u64, 1_000] {
            let mut presence = Presence::default();
            let mut is_late = |turn: u64| {
                presence.is_late_arrival(Purpose::Request, MS, at(MS + turn * every_us * 1_000))
            };
            assert!(is_late(1));
            let late = (2..5_000).filter(|turn| is_late(*turn)).last();
            assert!(late.is_some_and(|turn| turn < 4_000), "{late:?}");
        }
    }

    /// A host that probes reads replies late, and requests of others at once, which are many more.
    #[test]
    fn replies_that_are_read_late_are_no_waiting_beside_requests() {
        let mut presence = Presence::default();
        let mut late = 0;
        for turn in 0..2_000 {
            for tenth in 0..10 {
                let now = at((turn * 2_000 + tenth * 200) * 1_000);
                assert!(!presence.is_late_arrival(Purpose::Request, 30_000, now));
            }
            let now = at((turn + 1) * 2 * MS);
            for gap_ns in [MS * 19 / 10, MS * 9 / 10] {
                let is_late = presence.is_late_arrival(Purpose::Reply, gap_ns, now);
                late += u64::from(is_late && turn >= 1_000);
            }
        }
        assert_eq!(late, 0);
        let now = at(5_000 * MS);
        assert!(presence.is_late_arrival(Purpose::Request, MS, now));
        assert!(presence.is_late_arrival(Purpose::Reply, 20 * MS, now));
    }

    /// Packets that leave with one call leave one after the other.
    #[test]
    fn the_last_of_many_that_leave_together_leaves_as_usual() {
        let mut presence = Presence::default();
        let mut late = 0;
        for turn in 0..100 {
            for number in 0..64 {
                let begun = at(turn * 10 * MS + number * 500).wall;
                let is_late = presence.is_late_departure(begun, 30_000 + number * 1_500);
                late += u64::from(is_late && turn >= 10);
            }
        }
        assert_eq!(late, 0);
    }

    /// Nor are packets that left with one call, and were all held up by the same.
    #[test]
    fn packets_that_leave_together_are_one_departure() {
        let mut presence = Presence::default();
        for turn in 0..200 {
            let begun = at(turn * 10 * MS).wall;
            // Hundreds send at once, and every tenth time something holds that up.
            let gap_ns = if turn % 10 == 9 { 8 * MS } else { 5_000 };
            for number in 0..400 {
                let is_late = presence.is_late_departure(begun, gap_ns + number);
                assert_eq!(is_late, turn % 10 == 9, "{turn}, {number}");
            }
        }
    }

    /// What a loop that was late for 20 ms has to say a millisecond later, if a packet was stamped so long after its
    /// deadline.
    fn stolen(stamped_ms: Option<u64>) -> Option<u64> {
        let (mut presence, _) = running();
        presence.is_late_arrival(Purpose::Request, 10_000, at(999 * MS));
        let woken = at(1_021 * MS);
        presence.handle_woken(woken, Mono::from_nanos(1_001 * MS));
        if let Some(stamped_ms) = stamped_ms {
            presence.is_late_arrival(Purpose::Request, (20 - stamped_ms) * MS, woken);
        }
        assert_eq!(
            presence.settle(woken, Mono::MAX),
            None,
            "all is to be read first"
        );
        assert_eq!(
            presence.settle(at(1_022 * MS), Mono::from_nanos(1_020 * MS)),
            None
        );
        let held = presence.settle(at(1_022 * MS), Mono::MAX);
        assert_eq!(
            presence.settle(at(1_022 * MS), Mono::MAX),
            None,
            "it is told once"
        );
        held.map(|held| held.ns / MS)
    }

    #[test]
    fn a_kernel_that_stamps_meanwhile_runs() {
        assert_eq!(stolen(None), Some(20));
        assert_eq!(stolen(Some(20)), Some(20));
        assert_eq!(stolen(Some(5)), Some(5));
        assert_eq!(stolen(Some(0)), None);
    }

    #[test]
    fn a_process_in_a_queue_for_the_processor_is_no_host_that_stands_still() {
        let (mut presence, _) = running();
        presence.is_late_arrival(Purpose::Request, 10_000, at(999 * MS));
        presence.handle_queued(70 * MS);
        let late = |presence: &mut Presence, ms: u64, queued_ms: u64| {
            presence.handle_woken(at((ms + 20) * MS), Mono::from_nanos(ms * MS));
            assert!(presence.is_late());
            presence.handle_queued(queued_ms * MS);
            let held = presence.settle(at((ms + 21) * MS), Mono::MAX);
            assert!(!presence.is_late());
            held.map(|held| held.ns / MS)
        };
        assert_eq!(late(&mut presence, 1_001, 90), None);
        assert_eq!(late(&mut presence, 1_101, 95), Some(15));
        assert_eq!(late(&mut presence, 1_201, 95), Some(20));
    }

    #[test]
    fn totals_wrap() {
        assert_eq!(low_us((1 << 32) * 1_000 + 7_000), 7);
    }
}
