//! The flight recorder with made traces, in virtual time.

use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::limits::FLIGHT_PROBES_LEAST;
use crate::proto::{Direction, Outcome, Stamp, StampSource, Trace};
use crate::record::event::Burst;
use crate::record::evidence::Evidence;
use crate::record::series::Tags;
use crate::record::{BurstRules, Recorder};

const MS: i64 = 1_000_000;
const CONFIG: FlightConfig = FlightConfig {
    pre_ns: 20 * MS as u64,
    post_ns: 10 * MS as u64,
    settle_ns: 100 * MS as u64,
};

fn at(ms: i64) -> Now {
    Now {
        mono: Mono::from_nanos(u64::try_from(ms * MS).unwrap()),
        wall: Wall::from_unix_nanos(ms * MS),
    }
}

fn labels() -> Arc<Labels> {
    Arc::new(Labels::new("a", "b", &["isp:local"]))
}

fn recorder(queue: usize) -> (FlightRecorder, Receiver<Order>) {
    let (writer, orders) = sync_channel(queue);
    let mut recorder = FlightRecorder::new(CONFIG, writer);
    open(&mut recorder, 3);
    (recorder, orders)
}

fn open(recorder: &mut FlightRecorder, origin: u32) {
    recorder.handle_output(&Output::Opened {
        origin: Origin(origin),
        labels: labels(),
    });
}

fn trace(origin: u32, seq: u64, outcome: Outcome) -> Trace {
    let sent = i64::try_from(seq).unwrap() * MS;
    let stamp = |ns| {
        Some(Stamp {
            at: Wall::from_unix_nanos(sent + ns),
            source: StampSource::Kernel,
        })
    };
    let is_lost = outcome == Outcome::Lost;
    let stamps = if is_lost {
        [stamp(0), None, None, None]
    } else {
        [stamp(0), stamp(10), stamp(30), stamp(45)]
    };
    Trace {
        origin: Origin(origin),
        kind: FlowKind::Udp,
        seq,
        stamps,
        outcome,
        lost_on: None,
    }
}

fn run(recorder: &mut FlightRecorder, origin: u32, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        recorder.handle_output(&Output::Trace(trace(origin, seq, Outcome::Received)));
    }
}

fn burst(start_ms: i64, duration_ms: i64) -> Arc<Event> {
    Arc::new(Event {
        at: Wall::from_unix_nanos(start_ms * MS),
        kind: EventKind::Burst(Burst {
            flow: FlowKind::Udp,
            direction: Some(Direction::Forward),
            duration_ns: u64::try_from(duration_ms * MS).unwrap(),
            peak_ns: 5,
            mean_ns: 3,
            base_ns: 10,
            probes: 4,
            lost: 1,
            incident: 1,
            stamp: StampSource::Kernel,
            suspect: None,
            evidence: Evidence::default(),
        }),
        tags: Arc::new(Tags::Flow(labels())),
        flow: None,
    })
}

fn burst_dump(order: Order) -> Dump {
    match order {
        Order::Burst(dump) => *dump,
        other => panic!("no burst: {other:?}"),
    }
}

fn seqs(dump: &Dump) -> Vec<u64> {
    dump.probes.iter().map(|probe| probe.seq).collect()
}

#[test]
fn a_burst_is_dumped_with_what_was_before_and_after_it_once_that_is_decided() {
    let (mut recorder, orders) = recorder(4);
    run(&mut recorder, 3, 0..105);
    recorder.handle_event(&burst(100, 5), Origin(3));
    recorder.handle_timeout(at(106));
    // A loss is known a timeout later, behind probes that were sent after it.
    run(&mut recorder, 3, 106..150);
    recorder.handle_output(&Output::Trace(trace(3, 105, Outcome::Lost)));
    assert_eq!(
        recorder.poll_timeout(),
        Some(at(215).mono),
        "5 + 10 + 100 ms on"
    );
    recorder.handle_timeout(at(214));
    assert!(orders.try_recv().is_err());
    recorder.handle_output(&Output::LossPlaced {
        origin: Origin(3),
        kind: FlowKind::Udp,
        seq: 105,
        direction: Direction::Reverse,
    });
    recorder.handle_timeout(at(215));
    let dump = burst_dump(orders.try_recv().unwrap());
    assert_eq!(seqs(&dump), (80..=115).collect::<Vec<_>>());
    assert!(dump.is_complete);
    let lost = dump.probes[25];
    assert_eq!((lost.seq, lost.outcome()), (105, Outcome::Lost));
    assert_eq!(lost.lost_on(), Some(Direction::Reverse));
    assert_eq!(
        dump.probes[0].stamps(),
        trace(3, 80, Outcome::Received).stamps
    );
    assert_eq!(recorder.poll_timeout(), None);
}

#[test]
fn a_ring_is_as_long_as_its_flow_is_fast() {
    let (mut recorder, _orders) = recorder(1);
    open(&mut recorder, 4);
    run(&mut recorder, 3, 0..20_000);
    for second in 0..100 {
        let seq = second * 1_000;
        recorder.handle_output(&Output::Trace(trace(4, seq, Outcome::Received)));
    }
    let capacity = |origin: usize| {
        recorder.flights[origin].rings[0]
            .as_ref()
            .unwrap()
            .capacity()
    };
    // Of 2.13 s the next power of two at 1 ms; the least at 1 s.
    assert_eq!(capacity(3), 4_096);
    assert_eq!(capacity(4), FLIGHT_PROBES_LEAST);
    assert_eq!(
        recorder.room,
        FLIGHT_PROBES_TOTAL_MAX - 4_096 - FLIGHT_PROBES_LEAST
    );
}

#[test]
fn rings_do_not_grow_past_the_room_and_dumps_say_so() {
    let (mut recorder, orders) = recorder(1);
    recorder.room = 100;
    run(&mut recorder, 3, 0..500);
    recorder.handle_event(&burst(450, 40), Origin(3));
    recorder.finish(at(500));
    let dump = burst_dump(orders.try_recv().unwrap());
    // 16 + 16 + 32, of the 100; the 70 from 430 to 500 do not fit.
    assert_eq!(seqs(&dump), (436..500).collect::<Vec<_>>());
    assert!(!dump.is_complete);
    recorder.handle_output(&Output::Closed {
        origin: Origin(3),
        last: None,
    });
    assert_eq!(recorder.room, 100, "a ring that ends gives its room back");
}

#[test]
fn a_copy_takes_turns_and_what_is_replaced_meanwhile_is_left_out() {
    let (mut recorder, orders) = recorder(1);
    run(&mut recorder, 3, 0..4_096);
    recorder.handle_snapshot(at(4_096));
    recorder.copying = recorder.begin(at(4_096));
    let copying = recorder.copying.take().unwrap();
    recorder.copy(copying, 1_000);
    run(&mut recorder, 3, 4_096..6_096);
    assert_eq!(
        recorder.poll_timeout(),
        Some(Mono::ZERO),
        "there is more to copy"
    );
    recorder.handle_timeout(at(6_100));
    let Order::Part(asked, dump) = orders.try_recv().unwrap() else {
        panic!("a part of a snapshot");
    };
    assert_eq!(asked, at(4_096).wall);
    let kept: Vec<u64> = (0..1_000).chain(2_000..4_096).collect();
    assert_eq!(seqs(&dump), kept);
}

#[test]
fn a_snapshot_has_every_flow_and_waits_for_a_slow_writer() {
    let (mut recorder, orders) = recorder(1);
    open(&mut recorder, 7);
    run(&mut recorder, 3, 0..10);
    run(&mut recorder, 7, 0..20);
    recorder.handle_snapshot(at(30));
    let mut told = Vec::new();
    let mut turns = 0;
    while recorder.poll_timeout().is_some() {
        turns += 1;
        recorder.handle_timeout(at(30 + 10 * turns));
        told.extend(orders.try_iter());
    }
    let lengths: Vec<usize> = told
        .iter()
        .map(|order| match order {
            Order::Part(_, dump) => dump.probes.len(),
            _ => 0,
        })
        .collect();
    assert_eq!(lengths, [10, 20, 0], "two parts and the end");
    assert_eq!(recorder.dropped(), 0);
}

#[test]
fn bursts_beyond_what_the_writer_takes_are_dropped_and_counted() {
    let (mut recorder, orders) = recorder(1);
    run(&mut recorder, 3, 0..100);
    for _ in 0..DUMPS_PENDING_MAX + 2 {
        recorder.handle_event(&burst(50, 5), Origin(3));
    }
    assert_eq!(recorder.dropped(), 2);
    let mut ms = 1_000;
    while recorder.poll_timeout().is_some() {
        recorder.handle_timeout(at(ms));
        ms += 200;
    }
    assert_eq!(recorder.dropped(), 1 + DUMPS_PENDING_MAX as u64);
    assert!(matches!(orders.try_recv(), Ok(Order::Burst(_))));
}

#[test]
fn at_the_end_what_waits_is_dumped_at_once_and_nothing_is_dropped() {
    let (mut recorder, orders) = recorder(1);
    run(&mut recorder, 3, 0..100);
    for _ in 0..3 {
        recorder.handle_event(&burst(90, 5), Origin(3));
    }
    let mut told = 0;
    while !recorder.finish(at(100)) {
        told += orders.try_iter().count();
    }
    told += orders.try_iter().count();
    assert_eq!((told, recorder.dropped()), (3, 0));
}

#[test]
fn a_flow_that_ends_leaves_its_burst() {
    let (mut recorder, orders) = recorder(1);
    run(&mut recorder, 3, 0..100);
    recorder.handle_event(&burst(95, 4), Origin(3));
    recorder.handle_output(&Output::Closed {
        origin: Origin(3),
        last: None,
    });
    assert_eq!(
        seqs(&burst_dump(orders.try_recv().unwrap())),
        (75..100).collect::<Vec<_>>()
    );
    assert_eq!(recorder.poll_timeout(), None);
}

#[test]
fn a_responder_on_the_text_wire_dumps_by_its_own_clock() {
    let (mut recorder, orders) = recorder(1);
    // The sender's clock is an hour ahead of ours.
    for seq in 0..100 {
        let mut trace = trace(3, seq, Outcome::Received);
        trace.stamps[2..].fill(None);
        if let Some(t1) = &mut trace.stamps[0] {
            t1.at = t1.at.plus(3_600_000 * MS);
        }
        recorder.handle_output(&Output::Trace(trace));
    }
    recorder.handle_event(&burst(50, 5), Origin(3));
    recorder.finish(at(101));
    assert_eq!(
        seqs(&burst_dump(orders.try_recv().unwrap())),
        (30..65).collect::<Vec<_>>()
    );
}

#[test]
fn a_burst_that_ends_with_its_flow_is_dumped_too() {
    let (writer, orders) = sync_channel(4);
    let mut recorder = Recorder::new("a", at(0));
    recorder.find_bursts(BurstRules {
        threshold_ns: Some(1_000_000),
        quiet_ns: 5_000_000,
    });
    recorder.record_flights(CONFIG, writer);
    recorder.handle_output(&Output::Opened {
        origin: Origin(3),
        labels: labels(),
    });
    for seq in 0..3_005 {
        let mut trace = trace(3, seq, Outcome::Received);
        for stamp in trace.stamps[1..].iter_mut().flatten() {
            stamp.at = stamp.at.plus(if seq < 3_000 { 0 } else { 5 * MS });
        }
        recorder.handle_output(&Output::Trace(trace));
    }
    recorder.handle_output(&Output::Closed {
        origin: Origin(3),
        last: None,
    });
    let found: Vec<Order> = orders.try_iter().collect();
    let [order] = <[Order; 1]>::try_from(found).expect("one dump");
    let dump = burst_dump(order);
    assert_eq!(seqs(&dump), (2_980..3_005).collect::<Vec<_>>());
}

/// The clock is set by an hour between the probes of an outage: its dump has those on either side, and the ring is
/// as long as it was.
#[test]
fn a_dump_reaches_over_a_step_of_the_clock() {
    let hour = 3_600_000 * MS;
    for step_ns in [-hour, hour] {
        let (mut recorder, orders) = recorder(4);
        let take = |recorder: &mut FlightRecorder, seq: u64, set_ns: i64| {
            let mut trace = trace(3, seq, Outcome::Received);
            for stamp in trace.stamps.iter_mut().flatten() {
                stamp.at = stamp.at.plus(set_ns);
            }
            recorder.handle_output(&Output::Trace(trace));
        };
        let now = |ms: i64| Now {
            wall: at(ms).wall.plus(step_ns),
            ..at(ms)
        };
        let set = |recorder: &mut FlightRecorder, ms: i64| {
            recorder.handle_output(&Output::ClockStep {
                origin: None,
                at: now(ms),
                step_ns,
            });
        };
        (0..10_000).for_each(|seq| take(&mut recorder, seq, 0));
        set(&mut recorder, 10_000);
        let length = |recorder: &FlightRecorder| FLIGHT_PROBES_TOTAL_MAX - recorder.room;
        let before = length(&recorder);
        (10_000..20_000).for_each(|seq| take(&mut recorder, seq, step_ns));
        assert_eq!(length(&recorder), before, "set by {step_ns}");

        // An event before a step, and the step before what follows it.
        recorder.handle_event(&burst(19_990, 5), Origin(3));
        recorder.handle_event(&moved(19_990, 5, step_ns), Origin(3));
        recorder.handle_timeout(now(20_000));
        while recorder.poll_timeout().is_some() {
            recorder.handle_timeout(now(20_200));
        }
        let dumps: Vec<_> = std::iter::from_fn(|| orders.try_recv().ok()).collect();
        let found: Vec<_> = dumps.into_iter().map(burst_dump).collect();
        let [none, one] = &found[..] else {
            panic!("two dumps");
        };
        assert!(none.probes.is_empty(), "nothing was sent at that time");
        assert_eq!(seqs(one), (19_970..20_000).collect::<Vec<_>>());
        assert!(one.is_complete);

        recorder.handle_event(&moved(19_995, 30, step_ns), Origin(3));
        set(&mut recorder, 20_000);
        (20_000..20_100).for_each(|seq| take(&mut recorder, seq, 2 * step_ns));
        while !recorder.finish(now(20_300)) {}
        let dump = burst_dump(orders.try_recv().unwrap());
        assert_eq!(seqs(&dump), (19_975..=20_035).collect::<Vec<_>>());
        assert!(dump.is_complete);
    }
}

fn moved(start_ms: i64, duration_ms: i64, by_ns: i64) -> Arc<Event> {
    let mut event = Arc::unwrap_or_clone(burst(start_ms, duration_ms));
    event.at = event.at.plus(by_ns);
    Arc::new(event)
}
