//! Judges events by what the two hosts have shown in their time; see `docs/design/bursts.md`.

mod spans;

use std::collections::VecDeque;

use spans::{MARGIN_NS, Span, Spans, between};

use crate::limits::{HELD_KEPT, HOST_READINGS_KEPT, ORIGINS_MAX, PEER_HELD_KEPT};
use crate::proto::{Held, HeldBy, Origin, PeerHeld, StampSource, Wall};
use crate::record::event::{Burst, Departure};
use crate::record::evidence::{Evidence, HostEvidence, HostReading, Suspect};

/// Less steal time than this explains nothing: systems count it by 10 ms, so some of it may be of another time.
const STEAL_SURE_NS: u64 = 20_000_000;

/// Nor does steal time within this factor of the usual: where a hypervisor always takes a little, that is no stop.
const STEAL_OVER: u64 = 4;

/// Readings over less nanoseconds do not tell what is usual.
const STEAL_USUAL_NS: u64 = 1_000_000_000;

/// Keeps what hosts show for some seconds.
#[derive(Debug)]
pub(super) struct Witness {
    kept: Spans,
    arrivals: Spans,
    departures: Spans,
    stolen: Spans,
    readings: VecDeque<(Wall, HostReading)>,
    /// By origin, from the first word of its peer on.
    peers: Vec<Option<Box<Spans>>>,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            kept: Spans::new(HELD_KEPT),
            arrivals: Spans::new(HELD_KEPT),
            departures: Spans::new(HELD_KEPT),
            stolen: Spans::new(HELD_KEPT),
            readings: VecDeque::with_capacity(HOST_READINGS_KEPT),
            peers: Vec::new(),
        }
    }
}

impl Witness {
    /// This host was late.
    pub(super) fn handle_held(&mut self, held: &Held) {
        let back_ns = i64::try_from(held.ns).unwrap_or(i64::MAX);
        let span = Span {
            from: held.until.plus(-back_ns),
            until: held.until,
            ns: held.ns,
            steal_ns: None,
            joined: None,
        };
        let spans = match held.by {
            HeldBy::Host => &mut self.kept,
            HeldBy::Arrival => &mut self.arrivals,
            HeldBy::Departure => &mut self.departures,
            HeldBy::Hypervisor => &mut self.stolen,
        };
        spans.push(span);
    }

    /// Packets have stamps that show how long they wait for this process.
    pub(super) fn note_arrivals(&mut self) {
        self.arrivals.is_known = true;
    }

    /// Packets have stamps that show how long they take to leave.
    pub(super) fn note_departures(&mut self) {
        self.departures.is_known = true;
    }

    /// Takes what the system says of this host.
    pub(super) fn handle_reading(&mut self, at: Wall, reading: HostReading) {
        if self.readings.len() == HOST_READINGS_KEPT {
            self.readings.pop_front();
        }
        self.readings.push_back((at, reading));
    }

    /// Takes what the host at the other end says of itself.
    pub(super) fn handle_peer(&mut self, held: &PeerHeld) {
        if held.origin.0 >= ORIGINS_MAX {
            return;
        }
        let index = held.origin.0 as usize;
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, Default::default);
        }
        let span = Span {
            from: held.from,
            until: held.until,
            ns: held.kept_ns,
            steal_ns: held.steal_ns,
            joined: None,
        };
        let new = || Box::new(Spans::new(PEER_HELD_KEPT));
        self.peers[index]
            .get_or_insert_with(new)
            .push_or_extend(span);
    }

    /// The host at the other end says nothing of itself any more, or is another one.
    pub(super) fn forget_peer(&mut self, origin: Origin) {
        if let Some(peer) = self.peers.get_mut(origin.0 as usize) {
            *peer = None;
        }
    }

    /// This host's clock was set.
    pub(super) fn step(&mut self, ns: i64) {
        let Self {
            kept,
            arrivals,
            departures,
            stolen,
            ..
        } = self;
        let own = [kept, arrivals, departures, stolen];
        let peers = self.peers.iter_mut().flatten().map(|peer| &mut **peer);
        own.into_iter()
            .chain(peers)
            .for_each(|spans| spans.step(ns));
        for (at, _) in &mut self.readings {
            *at = at.plus(ns);
        }
    }

    /// Adds to an event that began at `start` what speaks against the hosts, and whom that suspects. A probe took
    /// `lag_ns` there and back before it.
    pub(super) fn judge(&self, origin: Origin, start: Wall, lag_ns: i64, burst: &mut Burst) {
        let length = burst.duration_ns.saturating_add(burst.peak_ns);
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let from = start.plus(-MARGIN_NS);
        let until = start
            .plus(length)
            .plus(lag_ns.max(0).saturating_add(MARGIN_NS));
        burst.evidence = Evidence {
            local: self.local(from, until),
            peer: self.peer(origin, from, until),
        };
        burst.suspect = suspect(burst);
    }

    /// The same for one of several flows that departs from the others since `start`.
    pub(super) fn judge_departure(&self, origin: Origin, start: Wall, departure: &mut Departure) {
        let length = i64::try_from(departure.noticed_ns).unwrap_or(i64::MAX);
        let from = start.plus(-MARGIN_NS);
        let until = start.plus(length.saturating_add(MARGIN_NS));
        departure.evidence = Evidence {
            local: self.local(from, until),
            peer: self.peer(origin, from, until),
        };
        let peer = self.peers.get(origin.0 as usize).and_then(Option::as_ref);
        let there = peer.map_or(u64::MAX, |spans| spans.known(from, until));
        let here = self.kept.known(from, until);
        departure.suspect = suspect_departed(departure, [here, there]);
    }

    fn local(&self, from: Wall, until: Wall) -> HostEvidence {
        // From the last reading before to the first one after.
        let after = self.readings.iter().position(|(at, _)| *at >= until);
        let last = after.or_else(|| self.readings.len().checked_sub(1));
        let first = self.readings.iter().rposition(|(at, _)| *at <= from);
        let read = |place: Option<usize>| self.readings.get(place?).copied();
        let ends = [read(first.or(Some(0))), read(last)];
        let drops = || {
            let [(_, first), (_, last)] = [ends[0]?, ends[1]?];
            Some(last.drops?.saturating_sub(first.drops?))
        };
        let told_ns = self.told_steal_ns(from, until, ends);
        let seen_ns = self.stolen.sum(from, until);
        let seen_ns = self.arrivals.is_known.then_some(seen_ns);
        HostEvidence {
            kept_waiting_ns: Some(self.kept.sum(from, until)),
            steal_ns: told_ns.max(seen_ns),
            receive_gap_ns: self.arrivals.longest(from, until),
            send_gap_ns: self.departures.longest(from, until),
            drops: drops(),
        }
    }

    /// Returns how much steal time of an event the system tells, by the readings around it; 0 if it may be of another
    /// time.
    fn told_steal_ns(
        &self,
        from: Wall,
        until: Wall,
        [first, last]: [Option<(Wall, HostReading)>; 2],
    ) -> Option<u64> {
        let ((began, first), (ended, last)) = (first?, last?);
        let told_ns = last.steal_ns?.saturating_sub(first.steal_ns?);
        let between_ns = between(began, ended);
        let share = |of_ns: u64, in_ns: u64, ns: u64| {
            let part = u128::from(of_ns) * u128::from(ns) / u128::from(in_ns.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let usual_ns = || {
            let (oldest_at, oldest) = self.readings.front().copied()?;
            let known_ns = between(oldest_at, began);
            let steal_ns = first.steal_ns?.saturating_sub(oldest.steal_ns?);
            (known_ns >= STEAL_USUAL_NS).then(|| share(steal_ns, known_ns, between_ns))
        };
        let quiet_ns = usual_ns().unwrap_or(0).saturating_mul(STEAL_OVER);
        if told_ns < quiet_ns.max(STEAL_SURE_NS) {
            return Some(0);
        }
        // It is not told when: as much of it counts as the event has of the time between the readings.
        let own_ns = between(from, until).min(between_ns);
        Some(share(told_ns, between_ns, own_ns))
    }

    fn peer(&self, origin: Origin, from: Wall, until: Wall) -> HostEvidence {
        let Some(Some(spans)) = self.peers.get(origin.0 as usize) else {
            return HostEvidence::default();
        };
        // Between two replies nobody knows when it was.
        let met = || spans.meeting(from, until);
        let kept = met().map(|span| span.share(span.ns, from, until)).sum();
        let tells_steal = spans.last().is_some_and(|span| span.steal_ns.is_some());
        let steal = met().filter_map(|span| Some(span.share(span.steal_ns?, from, until)));
        HostEvidence {
            kept_waiting_ns: Some(kept),
            steal_ns: tells_steal.then(|| steal.sum()),
            ..HostEvidence::default()
        }
    }
}

/// Returns how long a host waited, as far as that may explain an event. A process that waits makes no delay between
/// stamps of the kernel.
fn waited(host: &HostEvidence, is_between_kernels: bool) -> u64 {
    let of_process = host.kept_waiting_ns.max(host.receive_gap_ns);
    let of_process = of_process.filter(|_| !is_between_kernels);
    of_process.max(host.steal_ns).unwrap_or(0)
}

/// Returns whom the evidence of a flow's departure suspects. A host that waits keeps all flows waiting: it explains the
/// departure of one only if it did so for half of the time of which that is known, or has dropped half of the packets
/// that were lost.
fn suspect_departed(departure: &Departure, known: [u64; 2]) -> Option<Suspect> {
    let Evidence { local, peer } = &departure.evidence;
    // In thousandths of that time.
    let share = |host, known: u64| waited(host, false).saturating_mul(1_000) / known.max(1);
    let [here, there] = [share(local, known[0]), share(peer, known[1])];
    let lost = departure.lost.unwrap_or(0);
    explained([here, there], 500, lost, local.drops).or_else(|| {
        let is_known = peer.kept_waiting_ns.is_some();
        is_known.then_some(Suspect::Network)
    })
}

/// Returns the host that waited as much as is needed, or whose queues dropped half of the packets that were lost.
fn explained(
    [here, there]: [u64; 2],
    needed: u64,
    lost: u64,
    drops: Option<u64>,
) -> Option<Suspect> {
    if here.max(there) >= needed {
        return Some(if here >= there {
            Suspect::Local
        } else {
            Suspect::Peer
        });
    }
    let has_dropped = lost > 0 && drops.is_some_and(|drops| drops >= lost.div_ceil(2));
    has_dropped.then_some(Suspect::Local)
}

/// Returns whom the evidence of an event suspects. A host explains an event if it waited for at least half of its
/// duration and half of its peak, or has dropped half of the packets that were lost.
fn suspect(burst: &Burst) -> Option<Suspect> {
    let Evidence { local, peer } = &burst.evidence;
    let needed = burst.duration_ns.max(burst.peak_ns).div_ceil(2).max(1);
    // A loss is no delay, whatever stamped the probes: any wait is longer than a timeout, perhaps.
    let (is_delay, has_kernels) = (!burst.is_outage(), burst.stamp != StampSource::User);
    let waited = |host| waited(host, is_delay && has_kernels);
    let both = [waited(local), waited(peer)];
    explained(both, needed, burst.lost.into(), local.drops).or_else(|| {
        let is_known = peer.kept_waiting_ns.is_some() && (has_kernels || !is_delay);
        is_known.then_some(Suspect::Network)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Direction, FlowKind};

    const MS: u64 = 1_000_000;
    const ORIGIN: Origin = Origin(3);

    fn at(ms: i64) -> Wall {
        Wall::from_unix_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn held(by: HeldBy, until_ms: i64, ms: u64) -> Held {
        let (until, ns) = (at(until_ms), ms * MS);
        Held { by, until, ns }
    }

    fn told(from_ms: i64, until_ms: i64, kept_ms: u64) -> PeerHeld {
        PeerHeld {
            origin: ORIGIN,
            from: at(from_ms),
            until: at(until_ms),
            kept_ns: kept_ms * MS,
            steal_ns: Some(kept_ms * MS),
        }
    }

    /// A host whose peer tells how it is.
    fn witness() -> Witness {
        let mut witness = Witness::default();
        witness.handle_peer(&told(0, 0, 0));
        witness
    }

    fn burst(ms: u64, peak_ms: u64) -> Burst {
        Burst {
            flow: FlowKind::Udp,
            direction: Some(Direction::Forward),
            duration_ns: ms * MS,
            peak_ns: peak_ms * MS,
            mean_ns: 0,
            base_ns: 0,
            probes: 20,
            lost: 0,
            incident: 1,
            stamp: StampSource::Kernel,
            suspect: None,
            evidence: Evidence::default(),
        }
    }

    fn outage(ms: u64, lost: u32) -> Burst {
        Burst {
            probes: lost,
            lost,
            ..burst(ms, 0)
        }
    }

    /// Whom a burst from 100 ms on suspects.
    fn judged(witness: &Witness, mut burst: Burst) -> Option<Suspect> {
        witness.judge(ORIGIN, at(100), 2_000_000, &mut burst);
        burst.suspect
    }

    #[test]
    fn a_queue_is_the_networks() {
        let mut witness = witness();
        assert_eq!(judged(&witness, burst(16, 16)), Some(Suspect::Network));
        // Some of it, and all of it at another time, do not explain it.
        witness.note_arrivals();
        witness.handle_held(&held(HeldBy::Hypervisor, 110, 7));
        witness.handle_held(&held(HeldBy::Hypervisor, 98, 30));
        // Nor does a process that waits, between stamps of the kernel.
        witness.handle_held(&held(HeldBy::Host, 116, 16));
        witness.handle_held(&held(HeldBy::Arrival, 116, 16));
        witness.handle_peer(&told(109, 110, 7));
        witness.handle_peer(&told(20, 60, 30));
        assert_eq!(judged(&witness, burst(16, 16)), Some(Suspect::Network));
    }

    #[test]
    fn a_host_that_stood_still_has_caused_it() {
        let mut witness = witness();
        witness.note_arrivals();
        witness.handle_held(&held(HeldBy::Hypervisor, 110, 6));
        witness.handle_held(&held(HeldBy::Hypervisor, 116, 5));
        assert_eq!(judged(&witness, burst(16, 12)), Some(Suspect::Local));
        witness.handle_peer(&told(101, 121, 19));
        assert_eq!(judged(&witness, burst(16, 12)), Some(Suspect::Peer));
        let mut witness = self::witness();
        witness.handle_held(&held(HeldBy::Arrival, 118, 18));
        assert_eq!(judged(&witness, outage(15, 15)), Some(Suspect::Local));
    }

    /// What stood still answers all that waited at once, and each answer tells a little more.
    #[test]
    fn many_answers_at_once_push_out_nothing() {
        let mut witness = witness();
        witness.handle_peer(&told(99, 120, 15));
        let us = |us: i64| at(120).plus(us * 1_000);
        for answer in 0..50 {
            witness.handle_peer(&PeerHeld {
                origin: ORIGIN,
                from: us(answer * 100),
                until: us(answer * 100 + 100),
                kept_ns: 90_000,
                steal_ns: None,
            });
        }
        let mut found = outage(15, 16);
        witness.judge(ORIGIN, at(100), 10 * 1_000_000, &mut found);
        // Of what is told later, as much as is in the event's time.
        let kept_ns = found.evidence.peer.kept_waiting_ns.unwrap();
        assert!((19 * MS..20 * MS).contains(&kept_ns), "{kept_ns}");
        assert_eq!(found.suspect, Some(Suspect::Peer));
    }

    /// Each turn of a noisy host has something to say.
    #[test]
    fn the_noise_after_a_long_wait_does_not_push_it_out() {
        for noise_ms in [15, 150, 1_500] {
            let mut witness = witness();
            witness.note_arrivals();
            witness.handle_peer(&told(100, 120, 19));
            for ms in 120..120 + noise_ms {
                witness.handle_peer(&PeerHeld {
                    origin: ORIGIN,
                    from: at(ms),
                    until: at(ms + 1),
                    kept_ns: MS / 5,
                    steal_ns: Some(MS / 10),
                });
            }
            let mut found = outage(15, 15);
            witness.judge(ORIGIN, at(100), 10 * 1_000_000, &mut found);
            assert_eq!(found.suspect, Some(Suspect::Peer), "{noise_ms} ms of noise");
            let kept_ns = found.evidence.peer.kept_waiting_ns.unwrap();
            assert!((19 * MS..25 * MS).contains(&kept_ns), "{kept_ns}");
        }
        let mut witness = witness();
        witness.handle_held(&held(HeldBy::Hypervisor, 120, 19));
        witness.handle_held(&held(HeldBy::Arrival, 120, 18));
        for ms in 121..3_000 {
            for by in [HeldBy::Hypervisor, HeldBy::Arrival] {
                let ns = MS / 5;
                witness.handle_held(&Held {
                    by,
                    until: at(ms),
                    ns,
                });
            }
        }
        let mut found = burst(15, 15);
        witness.judge(ORIGIN, at(100), 0, &mut found);
        let local = found.evidence.local;
        assert_eq!(found.suspect, Some(Suspect::Local));
        assert_eq!(
            local.receive_gap_ns,
            Some(18 * MS),
            "the longest, and no sum"
        );
        let mut later = burst(15, 15);
        witness.judge(ORIGIN, at(2_980), 0, &mut later);
        assert_eq!(later.evidence.local.receive_gap_ns, Some(MS / 5));
        assert_eq!(later.suspect, Some(Suspect::Network));
    }

    /// A peer counts steal time only once it has answered what waited for it.
    #[test]
    fn steal_time_that_is_told_after_a_stop_is_of_the_stop() {
        for noise_ms in [0, 100, 1_000] {
            let mut witness = witness();
            let mut tell = |from_ms: i64, kept_ns: u64, steal_ns: u64| {
                witness.handle_peer(&PeerHeld {
                    origin: ORIGIN,
                    from: at(from_ms),
                    until: at(from_ms + 1),
                    kept_ns,
                    steal_ns: Some(steal_ns),
                });
            };
            tell(120, 20 * MS, 0);
            tell(121, 0, 20 * MS);
            (122..122 + noise_ms).for_each(|ms| tell(ms, MS / 5, 0));
            assert_eq!(judged(&witness, burst(20, 20)), Some(Suspect::Peer));
            let evidence = witness.peer(ORIGIN, at(100), at(140));
            assert_eq!(evidence.steal_ns, Some(20 * MS));
        }
    }

    /// A wait that is long or of another size is no noise, and is not made one with what follows it.
    #[test]
    fn what_is_no_noise_stays_where_it_was() {
        for (wait_ns, every_ms) in [(19 * MS, 20), (5 * MS, 3), (MS / 2, 1)] {
            let mut witness = witness();
            let mut tell = |ms: i64, kept_ns: u64| {
                witness.handle_peer(&PeerHeld {
                    origin: ORIGIN,
                    from: at(ms),
                    until: at(ms + 1),
                    kept_ns,
                    steal_ns: None,
                });
            };
            tell(0, wait_ns);
            (1..2_000).for_each(|turn| tell(turn * every_ms, MS / 10));
            let last_ms = 2_000 * every_ms;
            let later = witness.peer(ORIGIN, at(last_ms - 20), at(last_ms));
            let kept_ns = later.kept_waiting_ns.unwrap();
            assert!(kept_ns <= 22 * MS / 10, "{kept_ns}: {wait_ns}, {every_ms}");
        }
    }

    #[test]
    fn part_of_a_long_wait_counts_within_the_event() {
        let mut witness = witness();
        // It stood still for a second that ended as the burst began.
        witness.handle_held(&held(HeldBy::Host, 101, 1_000));
        let mut found = burst(16, 16);
        witness.judge(ORIGIN, at(100), 0, &mut found);
        assert_eq!(found.evidence.local.kept_waiting_ns, Some(2 * MS));
        assert_eq!(found.suspect, Some(Suspect::Network));
    }

    #[test]
    fn without_evidence_nobody_is_suspected() {
        let mut witness = witness();
        let user = Burst {
            stamp: StampSource::User,
            ..burst(16, 16)
        };
        assert_eq!(judged(&witness, user), None);
        assert_eq!(judged(&witness, outage(20, 20)), Some(Suspect::Network));
        witness.forget_peer(ORIGIN);
        assert_eq!(judged(&witness, burst(16, 16)), None, "a peer that is mute");
        assert_eq!(judged(&witness, outage(20, 20)), None);
        witness.handle_held(&held(HeldBy::Host, 118, 20));
        assert_eq!(judged(&witness, user), Some(Suspect::Local));
    }

    #[test]
    fn the_system_tells_steal_time_and_drops() {
        let mut witness = witness();
        let reading = |steal_ms: u64, drops| HostReading {
            steal_ns: Some(steal_ms * MS),
            drops: Some(drops),
        };
        for (ms, read) in [
            (0, reading(500, 10)),
            (90, reading(500, 10)),
            (190, reading(510, 19)),
        ] {
            witness.handle_reading(at(ms), read);
        }
        let mut found = burst(16, 16);
        witness.judge(ORIGIN, at(100), 0, &mut found);
        let local = found.evidence.local;
        assert_eq!((local.steal_ns, local.drops), (Some(0), Some(9)));
        assert_eq!(found.suspect, Some(Suspect::Network), "a tick may be older");
        assert_eq!(judged(&witness, outage(20, 18)), Some(Suspect::Local));
        assert_eq!(judged(&witness, outage(20, 19)), Some(Suspect::Network));
        witness.handle_reading(at(195), reading(530, 19));
        assert_eq!(
            judged(&witness, burst(16, 16)),
            Some(Suspect::Network),
            "that was later"
        );
        let mut sure = self::witness();
        for (ms, read) in [(190, reading(510, 19)), (230, reading(530, 19))] {
            sure.handle_reading(at(ms), read);
        }
        sure.judge(ORIGIN, at(191), 0, &mut found);
        assert_eq!(found.suspect, Some(Suspect::Local));
        // In a longer time the same may have been before or after.
        witness.handle_reading(at(290), reading(530, 19));
        witness.judge(ORIGIN, at(196), 0, &mut found);
        assert_eq!(found.suspect, Some(Suspect::Network));
    }

    /// On a shared host some processor is always away, on a large one of many more often than not.
    #[test]
    fn the_usual_steal_time_explains_nothing() {
        let mut witness = witness();
        let mut total_ms = 0;
        let mut pass = |until: i64, steal_ms: u64| {
            total_ms += steal_ms;
            let reading = HostReading {
                steal_ns: Some(total_ms * MS),
                drops: None,
            };
            witness.handle_reading(at(until), reading);
            let mut found = burst(16, 16);
            witness.judge(ORIGIN, at(until - 60), 0, &mut found);
            (found.evidence.local.steal_ns, found.suspect)
        };
        let network = (Some(0), Some(Suspect::Network));
        for turn in 1..=30 {
            // While nothing is known, much is taken for what it seems.
            let found = pass(turn * 100, 25);
            assert!(turn < 12 || found == network, "{turn}: {found:?}");
        }
        assert_eq!(pass(3_100, 99), network);
        // A third of the time between the readings.
        let (steal_ns, suspect) = pass(3_200, 120);
        assert!(
            steal_ns.is_some_and(|ns| (40 * MS..42 * MS).contains(&ns)),
            "{steal_ns:?}"
        );
        assert_eq!(suspect, Some(Suspect::Local));
    }

    #[test]
    fn a_clock_that_is_set_takes_all_along() {
        let mut witness = witness();
        witness.note_arrivals();
        witness.handle_held(&held(HeldBy::Hypervisor, 118, 20));
        witness.step(3_600_000_000_000);
        assert_eq!(judged(&witness, burst(16, 16)), Some(Suspect::Network));
        let mut found = burst(16, 16);
        witness.judge(ORIGIN, at(3_600_100), 0, &mut found);
        assert_eq!(found.suspect, Some(Suspect::Local));
    }
}
