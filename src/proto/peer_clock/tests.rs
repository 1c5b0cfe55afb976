//! Clocks whose truth is known, over links that delay, lose and reorder: after every estimate the
//! truth must be within its error.

use proptest::prelude::*;

use super::bounds::STAMP_ERROR_NS;
use super::*;
use crate::proto::rng::Jitter as Rng;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

/// The peer's clock less ours, as nobody on the link can know it.
#[derive(Clone, Copy, Debug)]
struct Truth {
    offset_ns: i64,
    skew_ppb: i64,
    /// The rate changes at this instant by so much.
    bend: Option<(u64, i64)>,
    /// The clock is set at this instant by so much.
    step: Option<(u64, i64)>,
}

impl Truth {
    fn steady(offset_ns: i64, skew_ppb: i64) -> Self {
        Self {
            offset_ns,
            skew_ppb,
            bend: None,
            step: None,
        }
    }

    fn at(&self, ns: u64) -> i64 {
        let drift = |since: u64, ppb: i64| {
            let passed = i128::from(ns.saturating_sub(since));
            i64::try_from((passed * i128::from(ppb)).div_euclid(1_000_000_000)).expect("small")
        };
        let bend = self.bend.map_or(0, |(since, ppb)| drift(since, ppb));
        let step = self.step.filter(|(since, _)| ns >= *since);
        self.offset_ns + drift(0, self.skew_ppb) + bend + step.map_or(0, |(_, by)| by)
    }
}

#[derive(Clone, Copy, Debug)]
enum Jitter {
    Uniform,
    Exponential,
}

/// A path and the schedule on it.
#[derive(Clone, Copy, Debug)]
struct Link {
    seed: u64,
    interval_ns: u64,
    /// The least delay forward and in reverse.
    base_ns: [u64; 2],
    jitter: Jitter,
    /// Its mean, or half of its range.
    jitter_ns: u64,
    loss_percent: u64,
    noise_ns: u64,
}

impl Link {
    fn quiet(interval_ns: u64, base_ns: [u64; 2]) -> Self {
        Self {
            seed: 1,
            interval_ns,
            base_ns,
            jitter: Jitter::Uniform,
            jitter_ns: base_ns[0].min(base_ns[1]) / 50,
            loss_percent: 0,
            noise_ns: 0,
        }
    }

    fn delay(&self, base_ns: u64, rng: &mut Rng) -> u64 {
        if self.jitter_ns == 0 {
            return base_ns;
        }
        match self.jitter {
            Jitter::Uniform => base_ns + rng.draw() % (2 * self.jitter_ns),
            Jitter::Exponential => {
                #[expect(clippy::cast_precision_loss, reason = "a random number")]
                let unit = (rng.draw() >> 11) as f64 / (1_u64 << 53) as f64;
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a random delay"
                )]
                let jitter_ns = (-(1.0 - unit).ln() * self.jitter_ns as f64) as u64;
                base_ns + jitter_ns
            }
        }
    }

    /// The exchanges begun from `from` to `until`, in the order in which their replies come.
    fn exchanges(&self, truth: &Truth, from: u64, until: u64) -> Vec<Exchange> {
        let mut rng = Rng::new(self.seed ^ from);
        let mut exchanges = Vec::new();
        let mut begin = from;
        while begin < until {
            let forward_ns = self.delay(self.base_ns[0], &mut rng);
            let dwell_ns = 5 * US + rng.draw() % (50 * US);
            let reverse_ns = self.delay(self.base_ns[1], &mut rng);
            let mut noise = |ns: u64| {
                let ns = i64::try_from(ns).expect("a delay");
                let range = self.noise_ns.cast_signed();
                ns + (rng.draw() % (2 * self.noise_ns + 1)).cast_signed() - range
            };
            let reached = begin + forward_ns;
            let left = reached + dwell_ns;
            let at = left + reverse_ns;
            let exchange = Exchange {
                at: Mono::from_nanos(at),
                forward_ns: noise(forward_ns) + truth.at(reached),
                reverse_ns: noise(reverse_ns) - truth.at(left),
                took_ns: at - begin,
            };
            if rng.draw() % 100 >= self.loss_percent {
                exchanges.push(exchange);
            }
            begin += self.interval_ns;
        }
        exchanges.sort_by_key(|exchange| exchange.at);
        exchanges
    }
}

fn at(ns: u64) -> Mono {
    Mono::from_nanos(ns)
}

fn wrong_by(estimate: &ClockEstimate, truth: &Truth, ns: u64) -> u64 {
    estimate.offset_ns.abs_diff(truth.at(ns))
}

/// Feeds all of them; at every estimate the truth must be within the error. Gives the last one.
fn follow(clock: &mut PeerClock, truth: &Truth, exchanges: &[Exchange]) -> ClockEstimate {
    let mut last = None;
    for exchange in exchanges {
        let seen = clock.handle_exchange(*exchange);
        assert_eq!(seen, Seen::Estimating, "{exchange:?}");
        if clock.is_due(exchange.at) {
            last = Some(check(clock, truth, exchange.at.as_nanos()));
        }
    }
    last.expect("there was an estimate")
}

fn check(clock: &mut PeerClock, truth: &Truth, ns: u64) -> ClockEstimate {
    let estimate = clock.estimate(at(ns)).expect("there is an estimate");
    let wrong_ns = wrong_by(&estimate, truth, ns);
    assert!(
        wrong_ns <= estimate.error_ns,
        "{estimate:?} is {wrong_ns} off at {ns}"
    );
    estimate
}

#[test]
fn comes_close_on_a_quiet_link_within_a_minute() {
    for (interval_ns, base_ns) in [(10 * MS, 250 * US), (MS, 20 * US), (S, 15 * MS)] {
        let link = Link::quiet(interval_ns, [base_ns, base_ns]);
        for skew_ppb in [0, 30_000, -100_000, 500_000] {
            let truth = Truth::steady(7 * HOUR_NS, skew_ppb);
            let mut clock = PeerClock::new(interval_ns);
            let estimate = follow(&mut clock, &truth, &link.exchanges(&truth, 0, 61 * S));
            let least_ns = base_ns + 28 * US / 1_000 + STAMP_ERROR_NS;
            assert!(estimate.error_ns >= base_ns, "{estimate:?}");
            assert!(
                estimate.error_ns <= least_ns * 6 / 5 + US,
                "{skew_ppb} ppb, {base_ns} ns: {estimate:?}"
            );
            // The middle is much better than what is certain.
            let off_ppb = estimate.skew_ppb.abs_diff(skew_ppb);
            assert!(off_ppb <= 300 + base_ns / 40, "{off_ppb} ppb: {estimate:?}");
        }
    }
}

#[test]
fn an_uneven_path_shifts_the_offset_and_never_past_the_error() {
    let truth = Truth::steady(-3 * HOUR_NS, 20_000);
    let link = Link::quiet(10 * MS, [100 * US, 1_900 * US]);
    let mut clock = PeerClock::new(link.interval_ns);
    let exchanges = link.exchanges(&truth, 0, 60 * S);
    let estimate = follow(&mut clock, &truth, &exchanges);
    let now = exchanges.last().expect("some").at.as_nanos();
    let wrong_ns = wrong_by(&estimate, &truth, now);
    assert!(wrong_ns.abs_diff(900 * US) < 20 * US, "{wrong_ns}");
    assert!(estimate.error_ns < 1_050 * US, "{estimate:?}");
}

#[test]
fn an_outage_widens_the_error_and_is_no_step() {
    for outage_ns in [30 * S, 150 * S, 3_600 * S] {
        let truth = Truth::steady(HOUR_NS, -80_000);
        let link = Link::quiet(100 * MS, [MS, MS]);
        let mut clock = PeerClock::new(link.interval_ns);
        let before = follow(&mut clock, &truth, &link.exchanges(&truth, 0, 60 * S));
        let mut last_ns = check(&mut clock, &truth, 60 * S).error_ns;
        assert!(!clock.is_due(at(90 * S)), "there is nothing new");
        for part in 1..=10 {
            let estimate = check(&mut clock, &truth, 60 * S + outage_ns / 10 * part);
            assert!(estimate.error_ns > last_ns, "{estimate:?} after {last_ns}");
            last_ns = estimate.error_ns;
        }
        let from = 60 * S + outage_ns;
        let after = link.exchanges(&truth, from, from + 60 * S);
        let after = follow(&mut clock, &truth, &after);
        assert!(after.error_ns < before.error_ns * 6 / 5, "{after:?}");
    }
}

#[test]
fn a_step_is_seen_at_the_second_exchange_after_it() {
    let steps = [HOUR_NS, -HOUR_NS, 20_000_000, -20_000_000, 3_500_000];
    for (step_ns, interval_ns) in steps
        .into_iter()
        .flat_map(|step| [10 * MS, S, 10 * S].map(|interval_ns| (step, interval_ns)))
    {
        let truth = Truth {
            step: Some((60 * S + 1, step_ns)),
            ..Truth::steady(-2 * HOUR_NS, 40_000)
        };
        let link = Link::quiet(interval_ns, [500 * US, 700 * US]);
        let mut clock = PeerClock::new(interval_ns);
        follow(&mut clock, &truth, &link.exchanges(&truth, 0, 60 * S));
        // Before a step is beyond doubt, the clock may have run at the limit of its rate.
        let may_drift_ns = step_ns.unsigned_abs() <= 2 * interval_ns / 1_000 + 1_000 * US;
        if may_drift_ns {
            continue;
        }
        let after = link.exchanges(&truth, 60 * S + 2, 60 * S + 300 * interval_ns);
        assert_eq!(clock.handle_exchange(after[0]), Seen::Suspicious);
        assert!(!clock.is_due(after[0].at.plus(S)));
        assert_eq!(clock.estimate(after[0].at.plus(S)), None);
        let Seen::Stepped(size_ns) = clock.handle_exchange(after[1]) else {
            panic!("{step_ns} at {interval_ns} is not seen");
        };
        let wrong_ns = size_ns.abs_diff(step_ns);
        assert!(wrong_ns < 700 * US + interval_ns / 1_000, "{size_ns}");
        assert!(clock.is_due(after[1].at), "the new offset does not wait");
        check(&mut clock, &truth, after[1].at.as_nanos());
        follow(&mut clock, &truth, &after[2..]);
    }
}

#[test]
fn a_step_among_overtaking_exchanges_is_reported_once() {
    for seed in 0..20 {
        let step_ns = if seed % 2 == 0 { HOUR_NS } else { -HOUR_NS };
        let truth = Truth {
            step: Some((5 * S, step_ns)),
            ..Truth::steady(HOUR_NS, 40_000)
        };
        let link = Link {
            seed,
            jitter: Jitter::Exponential,
            jitter_ns: 50 * MS,
            loss_percent: 5,
            ..Link::quiet(MS, [5 * MS, 5 * MS])
        };
        let mut clock = PeerClock::new(link.interval_ns);
        let mut steps = Vec::new();
        for exchange in link.exchanges(&truth, 0, 20 * S) {
            if let Seen::Stepped(size_ns) = clock.handle_exchange(exchange) {
                steps.push(size_ns);
            }
            if exchange.at >= at(7 * S) && clock.is_due(exchange.at) {
                check(&mut clock, &truth, exchange.at.as_nanos());
            }
        }
        let [size_ns] = steps[..] else {
            panic!("{steps:?}");
        };
        assert!(size_ns.abs_diff(step_ns) < 200 * MS, "{size_ns}");
    }
}

#[test]
fn one_wild_exchange_changes_nothing() {
    let truth = Truth::steady(HOUR_NS, 10_000);
    let link = Link::quiet(100 * MS, [MS, MS]);
    for shift_ns in [HOUR_NS, -HOUR_NS, 30_000_000, -30_000_000, 3_000_000] {
        let exchanges = link.exchanges(&truth, 0, 120 * S);
        let (mut clock, mut other) = (PeerClock::new(1), PeerClock::new(1));
        for (index, exchange) in exchanges.iter().enumerate() {
            assert_eq!(other.handle_exchange(*exchange), Seen::Estimating);
            if index % 50 == 40 {
                let wild = Exchange {
                    forward_ns: exchange.forward_ns + shift_ns,
                    reverse_ns: exchange.reverse_ns - shift_ns,
                    ..*exchange
                };
                assert_eq!(clock.handle_exchange(wild), Seen::Suspicious);
                assert_eq!(clock.estimate(wild.at), None);
            }
            assert_eq!(clock.handle_exchange(*exchange), Seen::Estimating);
            assert_eq!(clock.estimate(exchange.at), other.estimate(exchange.at));
        }
    }
}

#[test]
fn two_wild_exchanges_that_disagree_change_nothing() {
    let truth = Truth::steady(0, 0);
    let link = Link::quiet(100 * MS, [MS, MS]);
    let exchanges = link.exchanges(&truth, 0, 30 * S);
    let mut clock = PeerClock::new(link.interval_ns);
    follow(&mut clock, &truth, &exchanges);
    for shift_ns in [HOUR_NS, -HOUR_NS, 2 * HOUR_NS] {
        let last = exchanges.last().expect("some");
        let wild = Exchange {
            forward_ns: last.forward_ns + shift_ns,
            reverse_ns: last.reverse_ns - shift_ns,
            ..*last
        };
        assert_eq!(clock.handle_exchange(wild), Seen::Suspicious);
    }
    let after = link.exchanges(&truth, 31 * S, 60 * S);
    follow(&mut clock, &truth, &after);
}

#[test]
fn a_wrong_stamp_is_passed_over() {
    let truth = Truth::steady(0, 0);
    let link = Link::quiet(100 * MS, [MS, MS]);
    let exchanges = link.exchanges(&truth, 0, 30 * S);
    let mut clock = PeerClock::new(link.interval_ns);
    follow(&mut clock, &truth, &exchanges);
    let last = *exchanges.last().expect("some");
    let before = clock.estimate(last.at);
    for forward_ns in [-HOUR_NS, -20_000_000, i64::MIN, i64::MAX] {
        let wrong = Exchange { forward_ns, ..last };
        assert_eq!(clock.handle_exchange(wrong), Seen::Estimating);
    }
    assert!(!clock.is_due(last.at.plus(10 * S)));
    assert_eq!(clock.estimate(last.at), before);
}

/// Of two exchanges each was fast one way only: together they say more than either, which is no
/// reason to believe neither.
#[test]
fn two_uneven_exchanges_are_no_bend() {
    let exchange = |now, forward_ns, reverse_ns| Exchange {
        at: at(now),
        forward_ns,
        reverse_ns,
        took_ns: 41 * MS,
    };
    let mut clock = PeerClock::new(100 * MS);
    clock.handle_exchange(exchange(S, 1_000_000, 40_000_000));
    clock.handle_exchange(exchange(S + 100 * MS, 40_000_000, 1_000_000));
    let estimate = clock.estimate(at(S + 100 * MS));
    let estimate = estimate.expect("there is an estimate");
    assert!(estimate.offset_ns.unsigned_abs() < MS, "{estimate:?}");
    assert!(estimate.error_ns >= 20_500_000, "{estimate:?}");
}

/// A bend contradicts no bounds for some time. The error covers it from the first exchange on, and
/// the rate is the new one once the bounds from before are forgotten.
#[test]
fn a_bend_is_followed() {
    for bend_ppb in [5_000, -5_000, 300, -100_000, 400_000] {
        let truth = Truth {
            bend: Some((100 * S, bend_ppb)),
            ..Truth::steady(0, 12_000)
        };
        let link = Link::quiet(10 * MS, [50 * US, 50 * US]);
        let mut clock = PeerClock::new(link.interval_ns);
        let exchanges = link.exchanges(&truth, 0, 400 * S);
        for exchange in &exchanges {
            assert_eq!(clock.handle_exchange(*exchange), Seen::Estimating);
            if clock.is_due(exchange.at) {
                let estimate = check(&mut clock, &truth, exchange.at.as_nanos());
                assert!(estimate.error_ns >= 50 * US, "{estimate:?}");
            }
        }
        let now = exchanges.last().expect("some").at;
        let estimate = clock.estimate(now).expect("there is an estimate");
        let off_ppb = estimate.skew_ppb.abs_diff(12_000 + bend_ppb);
        assert!(off_ppb < 300, "{off_ppb} ppb after {bend_ppb}");
        assert!(estimate.error_ns < 60 * US, "{estimate:?}");
    }
}

/// Faster than any rate that is believed: there may be no estimate, but none is wrong.
#[test]
fn a_clock_that_is_slewed_hard_is_not_reported_as_stepping() {
    let truth = Truth {
        bend: Some((30 * S, 50_000_000)),
        ..Truth::steady(0, 0)
    };
    let link = Link::quiet(10 * MS, [MS, MS]);
    let mut clock = PeerClock::new(link.interval_ns);
    for exchange in link.exchanges(&truth, 0, 60 * S) {
        let seen = clock.handle_exchange(exchange);
        assert!(!matches!(seen, Seen::Stepped(_)));
        if let Some(estimate) = clock.estimate(exchange.at) {
            let wrong_ns = wrong_by(&estimate, &truth, exchange.at.as_nanos());
            assert!(wrong_ns <= estimate.error_ns + MS, "{wrong_ns}");
        }
    }
}

/// The path gets slow, then the clock is set by less than the new round trip: no exchange
/// contradicts those before.
#[test]
fn a_step_within_the_round_trip_is_within_the_error() {
    for step_ns in [30_000_000, -30_000_000, 70_000_000, -70_000_000] {
        let truth = Truth {
            step: Some((40 * S, step_ns)),
            ..Truth::steady(HOUR_NS, 30_000)
        };
        let fast = Link::quiet(50 * MS, [MS, MS]);
        let slow = Link::quiet(50 * MS, [80 * MS, 80 * MS]);
        let mut clock = PeerClock::new(fast.interval_ns);
        follow(&mut clock, &truth, &fast.exchanges(&truth, 0, 30 * S));
        follow(
            &mut clock,
            &truth,
            &slow.exchanges(&truth, 30 * S, 40 * S - 50 * MS),
        );
        let after = slow.exchanges(&truth, 40 * S, 120 * S);
        let estimate = follow(&mut clock, &truth, &after);
        assert!(estimate.error_ns >= 80 * MS, "{estimate:?}");
        // A fast path again tells at once where the clock is.
        let after = fast.exchanges(&truth, 121 * S, 200 * S);
        let estimate = follow(&mut clock, &truth, &after);
        assert!(estimate.error_ns < 2 * MS, "{estimate:?}");
    }
}

/// An estimate rests on one exchange, so it waits for a fast one.
#[test]
fn an_estimate_waits_for_narrow_bounds_and_for_a_second_at_the_most() {
    let exchange = |now, delay_ns: u64| Exchange {
        at: at(now),
        forward_ns: delay_ns.cast_signed(),
        reverse_ns: MS.cast_signed(),
        took_ns: delay_ns + MS,
    };
    let mut clock = PeerClock::new(100 * MS);
    clock.handle_exchange(exchange(10 * S, MS));
    assert!(clock.is_due(at(10 * S)), "the first one does not wait");
    clock.estimate(at(10 * S));
    clock.handle_exchange(exchange(10 * S + 500 * MS, MS));
    assert!(!clock.is_due(at(10 * S + 500 * MS)));
    clock.handle_exchange(exchange(11 * S, 20 * MS));
    assert!(
        !clock.is_due(at(11 * S)),
        "a slow one, and there was a fast one"
    );
    let mut fast = clock.clone();
    fast.handle_exchange(exchange(11 * S + 100 * MS, MS));
    assert!(fast.is_due(at(11 * S + 100 * MS)));
    let estimate = fast.estimate(at(11 * S + 100 * MS));
    assert!(estimate.expect("there is one").error_ns < 2 * MS);
    clock.handle_exchange(exchange(12 * S, 20 * MS));
    assert!(clock.is_due(at(12 * S)), "it has waited long enough");
    let estimate = clock.estimate(at(12 * S)).expect("there is one");
    assert!(estimate.error_ns >= 10 * MS, "{estimate:?}");
}

/// With slow probes the last exchange with four stamps is old when its T3 comes. The reply that
/// brings it bounds the clock as it is now.
#[test]
fn an_unsettled_reply_bounds_the_clock_as_it_is_now() {
    let truth = Truth {
        bend: Some((30 * S, 900_000)),
        ..Truth::steady(0, 0)
    };
    let link = Link::quiet(S, [100 * US, 100 * US]);
    let mut clock = PeerClock::new(link.interval_ns);
    let exchanges = link.exchanges(&truth, 0, 60 * S);
    for pair in exchanges.windows(2) {
        let reply = pair[1];
        let early_ns = 20_000;
        clock.handle_unsettled(Exchange {
            reverse_ns: reply.reverse_ns + early_ns,
            ..reply
        });
        assert_eq!(clock.handle_exchange(pair[0]), Seen::Estimating);
        let estimate = check(&mut clock, &truth, reply.at.as_nanos());
        assert!(estimate.error_ns < 300 * US, "{estimate:?}");
    }
}

#[test]
fn our_own_step_starts_over() {
    let before = Truth::steady(HOUR_NS, 50_000);
    let after = Truth::steady(-HOUR_NS, 50_000);
    let link = Link::quiet(100 * MS, [40 * MS, 40 * MS]);
    let mut clock = PeerClock::new(link.interval_ns);
    follow(&mut clock, &before, &link.exchanges(&before, 0, 60 * S));
    let late = link.exchanges(&before, 60 * S, 60 * S + 1)[0];
    clock.restart(at(60 * S + 30 * MS));
    assert_eq!(clock.estimate(at(60 * S + 30 * MS)), None);
    assert_eq!(clock.handle_exchange(late), Seen::Estimating);
    assert_eq!(
        clock.estimate(late.at),
        None,
        "it began before the clock was set"
    );
    follow(&mut clock, &after, &link.exchanges(&after, 61 * S, 120 * S));
}

#[test]
fn the_window_is_a_hundred_seconds_and_longer_for_slow_probes() {
    for (interval_ns, window_ns) in [(100 * MS, 100 * S), (10 * S, 640 * S)] {
        let truth = Truth::steady(0, 0);
        let link = Link::quiet(interval_ns, [MS, MS]);
        let mut clock = PeerClock::new(interval_ns);
        let exchanges = link.exchanges(&truth, 0, 2 * window_ns);
        follow(&mut clock, &truth, &exchanges);
        assert_eq!(clock.filled().count(), CLOCK_BINS);
        let oldest = clock.filled().last().expect("some").high.at;
        let age_ns = exchanges.last().expect("some").at.since(oldest);
        assert!(age_ns <= window_ns && age_ns >= window_ns / 64 * 62);
        // After a silence longer than that, what was before it does not count.
        let after = link.exchanges(&truth, 4 * window_ns, 4 * window_ns + 1);
        clock.handle_exchange(after[0]);
        assert_eq!(clock.filled().count(), 1);
    }
}

#[test]
fn an_estimate_is_due_once_a_second() {
    let truth = Truth::steady(0, 0);
    let link = Link::quiet(10 * MS, [MS, MS]);
    let mut clock = PeerClock::new(link.interval_ns);
    assert!(!clock.is_due(at(5 * S)), "there was no exchange");
    let mut estimates = 0;
    for exchange in link.exchanges(&truth, 0, 60 * S) {
        clock.handle_exchange(exchange);
        if clock.is_due(exchange.at) {
            clock.estimate(exchange.at);
            estimates += 1;
        }
    }
    assert!((58..=60).contains(&estimates), "{estimates}");
}

fn link() -> impl Strategy<Value = Link> {
    let interval = prop_oneof![
        Just(MS),
        Just(20 * MS),
        Just(100 * MS),
        Just(S),
        Just(3 * S),
        Just(10 * S)
    ];
    let jitter = prop_oneof![Just(Jitter::Uniform), Just(Jitter::Exponential)];
    let base = prop_oneof![5 * US..500 * US, 500 * US..100 * MS];
    (
        any::<u64>(),
        interval,
        [base.clone(), base],
        jitter,
        0.0_f64..10.0,
        prop_oneof![Just(0_u64), Just(STAMP_ERROR_NS)],
    )
        .prop_map(
            |(seed, interval_ns, base_ns, jitter, factor, noise_ns)| Link {
                seed,
                interval_ns,
                base_ns,
                jitter,
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a fraction of a second"
                )]
                jitter_ns: (base_ns[0].min(base_ns[1]) as f64 * factor) as u64,
                loss_percent: 5,
                noise_ns,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_truth_is_within_the_error(
        link in link(),
        offset_ns in -20 * HOUR_NS..20 * HOUR_NS,
        skew_ppb in prop_oneof![-100_000_i64..100_000, -1_000_000_i64..=1_000_000],
        waits in prop::collection::vec(0..2 * S, 64),
    ) {
        let truth = Truth::steady(offset_ns, skew_ppb);
        let mut clock = PeerClock::new(link.interval_ns);
        let duration_ns = (20_000 * link.interval_ns).clamp(40 * S, 3_000 * S);
        let exchanges = link.exchanges(&truth, 3 * S, duration_ns);
        let mut last = Mono::ZERO;
        let mut count = 0;
        for exchange in &exchanges {
            prop_assert_eq!(clock.handle_exchange(*exchange), Seen::Estimating);
            if exchange.at.since(last) >= S / 3 {
                // At once, some time later, and a little too early.
                last = exchange.at;
                count += 1;
                let now = last.as_nanos();
                check(&mut clock, &truth, now);
                check(&mut clock, &truth, now + waits[count % waits.len()]);
                check(&mut clock, &truth, now - waits[count % waits.len()]);
            }
        }
        prop_assert!(count > 30);
    }

    /// Whatever the clock and the path do, and however well that fits together: an estimate holds
    /// the truth if the exchange that brings it began after the last step.
    #[test]
    fn the_truth_is_within_the_error_after_any_step(
        before in link(),
        after in link(),
        step_ns in prop_oneof![-200_000_000_i64..200_000_000, -2_000_000_i64..2_000_000],
        bend_ppb in -900_000_i64..900_000,
        at_s in 20_u64..40,
    ) {
        let truth = Truth {
            bend: Some((30 * S, bend_ppb)),
            step: Some((at_s * S, step_ns)),
            ..Truth::steady(HOUR_NS, 50_000)
        };
        let after = Link { interval_ns: before.interval_ns, ..after };
        let mut clock = PeerClock::new(before.interval_ns);
        let mut exchanges = before.exchanges(&truth, 0, 30 * S);
        exchanges.extend(after.exchanges(&truth, 30 * S, 90 * S));
        exchanges.sort_by_key(|exchange| exchange.at);
        for exchange in &exchanges {
            clock.handle_exchange(*exchange);
            let is_from_before = exchange.began() < at(at_s * S) && exchange.at >= at(at_s * S);
            if is_from_before || !clock.is_due(exchange.at) {
                continue;
            }
            if let Some(estimate) = clock.estimate(exchange.at) {
                let wrong_ns = wrong_by(&estimate, &truth, exchange.at.as_nanos());
                prop_assert!(wrong_ns <= estimate.error_ns, "{:?} is {} off", estimate, wrong_ns);
            }
        }
    }

    #[test]
    fn any_numbers_are_taken(
        exchanges in prop::collection::vec(
            (
                prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 0..100 * S],
                prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -9_i64..9],
                prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -9_i64..9],
                prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)],
                any::<bool>(),
            ),
            0..200,
        ),
        interval_ns in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(S)],
    ) {
        let mut clock = PeerClock::new(interval_ns);
        for (now, forward_ns, reverse_ns, took_ns, mirrored) in exchanges {
            // As they are; or so that they can be true, at any distance.
            let reverse_ns = if mirrored { forward_ns.saturating_neg() } else { reverse_ns };
            let exchange = Exchange { at: at(now), forward_ns, reverse_ns, took_ns };
            clock.handle_exchange(exchange);
            clock.is_due(at(took_ns));
            clock.estimate(at(now));
            clock.estimate(at(took_ns));
            if now % 16 == 0 {
                clock.restart(at(now));
            }
        }
    }
}
