//! What a ping shows of fixed records, which the recorder has made.

use std::net::IpAddr;
use std::sync::Arc;

use super::figures::TICK;
use super::*;
use crate::config::{Loss, Part, Threshold};
use crate::proto::Subject as FlowSubject;
use crate::proto::prober::SelfCounters;
use crate::proto::{
    ClockEstimate, CloseReason, Counters, Direction, FlowKind, IcmpType, Labels, Metric, Now,
    OneWay, Origin, Outcome, Output, Protocol, Refused, Sample, Spoken, StampSource, Wall,
};
use crate::record::{Burst, Event, EventKind, Evidence, HostGauges, Recorder, Suspect};

const PROBE: Origin = Origin(0);
const REPLY: Origin = Origin(1);

fn at(ms: u64) -> Now {
    let ns = ms * 1_000_000;
    Now {
        mono: Mono::from_nanos(ns),
        wall: Wall::from_unix_nanos(1_768_219_134_000_000_000 + ns.cast_signed()),
    }
}

fn subject(kind: FlowKind, protocol: Protocol) -> Subject {
    Subject {
        host: "fra1".into(),
        remote: "192.0.2.7:8001".parse().unwrap(),
        others: vec!["2001:db8::7".parse().unwrap()],
        kind,
        protocol,
        has_key: false,
        is_raw: false,
    }
}

fn sorting(kind: FlowKind) -> Sorting {
    Sorting {
        kind,
        label: "fra1".into(),
        is_corrected: true,
    }
}

fn sample(origin: Origin, metric: Metric, value_ns: i64, seq: u64, is_corrected: bool) -> Output {
    Output::Sample(Sample {
        origin,
        metric,
        outcome: Outcome::Received,
        value_ns,
        at: at(seq).wall,
        seq,
        stamp: StampSource::Kernel,
        dwell_ns: Some(9_000),
        is_corrected,
    })
}

/// Returns the records of some probes on the native wire, a tenth of a second of them, with these counters.
fn records(mode: Mode, probes: u64, counters: Counters) -> Vec<Record> {
    let mut recorder = Recorder::new("near-ping", at(0));
    let choice = Choice::of(&METRICS).expect("metrics of the table");
    let mut feed = recorder.add_sink(SinkConfig {
        choice,
        ..SinkConfig::new(mode, TICK_NS)
    });
    for (origin, source, target) in [(PROBE, "near-ping", "fra1"), (REPLY, "far", "near-ping")] {
        recorder.handle_output(&Output::Opened {
            origin,
            labels: Arc::new(Labels::new::<&str>(source, target, &[])),
        });
    }
    for seq in 0..probes {
        let spread = (seq * seq % 97).cast_signed() * 700;
        recorder.handle_output(&sample(PROBE, Metric::UdpRtt, 60_000 + spread, seq, false));
        recorder.handle_output(&sample(
            REPLY,
            Metric::UdpOwd,
            29_000 + spread / 3,
            seq,
            true,
        ));
        for (direction, delay_ns) in [
            (Direction::Forward, 31_000 + spread / 3 * 2),
            (Direction::Reverse, 29_000 + spread / 3),
        ] {
            recorder.handle_output(&Output::OneWay(OneWay {
                origin: PROBE,
                kind: FlowKind::Udp,
                direction,
                seq,
                delay_ns,
                at: at(seq).wall,
                stamp: StampSource::Kernel,
            }));
        }
        recorder.handle_output(&sample(
            PROBE,
            Metric::UdpOwd,
            31_000 + spread / 3 * 2,
            seq,
            true,
        ));
        recorder.handle_output(&Output::Lateness(4_000 + seq * 10));
    }
    if probes > 0 {
        recorder.handle_output(&Output::Clock {
            origin: PROBE,
            estimate: ClockEstimate {
                offset_ns: 1_234_567,
                skew_ppb: 12,
                error_ns: 30_500,
            },
        });
    }
    let flows = [(PROBE, FlowKind::Udp, &counters)];
    let own = SelfCounters::default();
    recorder.handle_timeout(at(100), flows, &own, HostGauges::default);
    std::iter::from_fn(|| feed.poll()).collect()
}

fn counters(sent: u64) -> Counters {
    Counters {
        sent,
        received: sent,
        sent_native: sent,
        ..Counters::default()
    }
}

fn figures(records: &[Record]) -> Figures {
    let mut figures = Figures::default();
    for record in records {
        figures.add(record, &sorting(FlowKind::Udp));
    }
    figures
}

/// A hundred probes, of which two are lost and one came twice.
fn lossy() -> Figures {
    let counters = Counters {
        received: 98,
        lost: 2,
        lost_forward: 1,
        late: 1,
        duplicate: 1,
        sent_native: 99,
        ..counters(100)
    };
    figures(&records(Mode::Windows, 98, counters))
}

const TOOK: Duration = Duration::from_millis(1_050);

#[test]
fn the_summary_has_both_directions_and_what_became_of_every_probe() {
    let subject = subject(FlowKind::Udp, Protocol::Auto);
    insta::assert_snapshot!(lines::summary(&subject, TOOK, &lossy(), 80));
}

#[test]
fn bursts_are_told_by_direction_with_the_highest() {
    let mut figures = lossy();
    for (peak_ns, suspect, lost) in [
        (3_000_000, Some(Suspect::Network), 0),
        (9_000_000, Some(Suspect::Local), 1),
        // Nothing came through: that is an outage, and its losses are told.
        (5, None, 40),
    ] {
        let burst = Burst {
            flow: FlowKind::Udp,
            direction: Some(Direction::Forward),
            duration_ns: 2 * peak_ns,
            peak_ns,
            mean_ns: 1,
            base_ns: 0,
            probes: 40,
            lost,
            incident: 0,
            stamp: StampSource::Kernel,
            suspect,
            evidence: Evidence::default(),
        };
        let event = Event {
            at: at(1).wall,
            kind: EventKind::Burst(burst),
            tags: Arc::new(crate::record::Tags::Host("near-ping".into())),
            flow: None,
        };
        figures.add(&Record::Event(Arc::new(event)), &sorting(FlowKind::Udp));
    }
    let subject = subject(FlowKind::Udp, Protocol::Auto);
    let text = lines::summary(&subject, TOOK, &figures, 80);
    let told = "2 bursts forward: the highest waited 9.000 ms in a queue, 18.00 ms long; the network is suspected of 1.\n";
    assert!(
        text.contains(told) && !text.contains("bursts reverse"),
        "{text}"
    );
    let json = json::summary(&subject, TOOK, &figures, None);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["forward_bursts"]["peak"], 9_000_000);
    assert_eq!(read["reverse_bursts"]["count"], 0);
    let forward = &figures.forward.all;
    assert_eq!(read["forward_pdv"]["max"], forward.max() - forward.min());
    assert_eq!(read["forward_pdv"]["min"], 0);
}

#[test]
fn a_line_of_a_second_and_one_of_a_probe() {
    let figures = lossy();
    let raw = Probe {
        seq: 17,
        at: 0,
        round_trip: Some(61_234),
        forward: Some(-1_200_345),
        reverse: Some(1_261_579),
        stamp: StampSource::Hw,
    };
    let text = Probe {
        forward: None,
        reverse: None,
        stamp: StampSource::User,
        ..raw
    };
    let shown = [
        lines::header(
            &subject(FlowKind::Udp, Protocol::Auto),
            Duration::from_micros(250),
            4,
        ),
        lines::second(3, &figures, false),
        lines::second(4, &figures, true),
        lines::probe(&raw, figures.clock, true),
        lines::probe(&raw, figures.clock, false),
        lines::probe(&text, figures.clock, false),
    ];
    insta::assert_snapshot!(shown.concat());
}

#[test]
fn the_samples_of_a_probe_are_one_line() {
    let mut probes = Probes::default();
    let records = records(Mode::Both, 3, counters(3));
    let sorting = sorting(FlowKind::Udp);
    let mut found: Vec<Probe> = records
        .iter()
        .filter_map(|record| probes.add(record, &sorting))
        .collect();
    found.extend(probes.end());
    let parts: Vec<_> = found
        .iter()
        .map(|probe| (probe.seq, probe.round_trip, probe.forward, probe.reverse))
        .collect();
    assert_eq!(
        parts,
        [
            (0, Some(60_000), Some(31_000), Some(29_000)),
            (1, Some(60_700), Some(31_466), Some(29_233)),
            (2, Some(62_800), Some(32_866), Some(29_933)),
        ]
    );
}

#[test]
fn a_tick_is_the_last_of_an_interval_of_what_is_told() {
    let records = records(Mode::Both, 3, counters(3));
    let ticks = records.iter().filter(|record| record.metric() == TICK);
    assert_eq!(ticks.count(), 1);
    assert_eq!(records.last().map(Record::metric), Some(TICK));
}

#[test]
fn figures_of_tenths_of_a_second_add_up_to_those_of_one_window() {
    let parts = records(Mode::Windows, 40, counters(40));
    let others = records(Mode::Windows, 97, counters(97));
    let mut sum = figures(&parts);
    for record in &others {
        sum.add(record, &sorting(FlowKind::Udp));
    }
    let trip = &sum.round_trip.all;
    let mut values: Vec<i64> = (0..40_i64)
        .chain(0..97)
        .map(|seq| 60_000 + seq * seq % 97 * 700)
        .collect();
    values.sort_unstable();
    assert_eq!(trip.count(), 137);
    assert_eq!([trip.min(), trip.max()], [values[0], values[136]]);
    let mean = values.iter().sum::<i64>() * 10 / 137;
    assert_eq!(trip.mean(), (mean + 5) / 10);
    let middle = trip.quantile(0.5);
    assert!(
        middle.abs_diff(values[68]) <= values[68].unsigned_abs() / 1_000,
        "{middle}"
    );
    assert_eq!(sum.counts.sent, 137);
    assert_eq!(sum.ticks, 2);
}

#[test]
fn json_has_the_same_figures() {
    let subject = subject(FlowKind::Udp, Protocol::Auto);
    let figures = lossy();
    let lines = [
        json::second(3, &figures),
        json::summary(&subject, TOOK, &figures, None),
    ];
    let read = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    for line in &read {
        assert_eq!(line["sent"], 100);
        assert_eq!(line["rtt"]["max"], figures.round_trip.all.max());
        assert_eq!(line["forward"]["p50"], figures.forward.all.quantile(0.5));
        assert_eq!(line["clock"]["error"], 30_500);
    }
    let bins = read[1]["histogram"].as_array().unwrap();
    let in_bins: u64 = bins.iter().map(|bin| bin[2].as_u64().unwrap()).sum();
    assert_eq!(in_bins, 98);
}

#[test]
fn a_text_peer_is_told_of_and_no_direction_is_made_up() {
    let text = Counters {
        sent_native: 0,
        lost: 1,
        received: 2,
        ..counters(3)
    };
    let mut found = figures(&records(Mode::Windows, 2, text));
    // As on the text wire: round trips alone.
    (found.forward, found.reverse) = (figures::Values::default(), figures::Values::default());
    found.forward_variation = figures::Values::default();
    found.reverse_variation = figures::Values::default();
    found.clock = None;
    let subject = subject(FlowKind::Udp, Protocol::Auto);
    insta::assert_snapshot!(lines::summary(&subject, TOOK, &found, 80));
    assert_eq!(found.loss_percent(Loss::Forward), None);
}

fn judged(figures: &Figures, thresholds: &[&str]) -> (u8, String) {
    let thresholds: Vec<Threshold> = thresholds
        .iter()
        .map(|text| text.parse().expect("a threshold"))
        .collect();
    let subject = subject(FlowKind::Udp, Protocol::Auto);
    let (state, line) = verdict::judge(&subject, figures, &thresholds);
    (state.code(), line)
}

#[test]
fn a_plugin_says_one_line_with_its_data_and_ends_with_what_it_means() {
    let lossy = lossy();
    let silent = figures(&records(
        Mode::Windows,
        0,
        Counters {
            received: 0,
            lost: 100,
            ..counters(100)
        },
    ));
    let cases = [
        (&lossy, &["rtt.p99=5ms,20ms", "loss=5,10"][..]),
        (&lossy, &["rtt=50us,1ms", "loss=5,10"]),
        (&lossy, &["forward.max=10us,20us", "loss.forward=1,2"]),
        (
            &lossy,
            &["forward.pdv.p99=10us,50us", "reverse.pdv.max=1ms,2ms"],
        ),
        (&silent, &["rtt=1s,2s", "loss=100,100"]),
        (&silent, &["rtt=1s,2s"]),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(figures, thresholds)| {
            let (code, line) = judged(figures, thresholds);
            format!("{code} {line}")
        })
        .collect();
    insta::assert_snapshot!(told.concat());
    let line = verdict::unknown("two\nlines | more");
    assert_eq!(line, "PING UNKNOWN - two; lines / more\n");
}

#[test]
fn what_a_wire_does_not_tell_is_unknown_and_not_well() {
    let text = Counters {
        sent_native: 0,
        ..counters(3)
    };
    let figures = figures(&records(Mode::Windows, 3, text));
    let (code, line) = judged(&figures, &["loss.forward=1,2"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("loss.forward=U;1;2;0;100"), "{line}");
}

/// Returns what is said of a host that did not answer.
fn meaning(
    subject: &Subject,
    counts: Counters,
    refused: Option<(&str, (u8, u8))>,
    trouble: Option<CloseReason>,
) -> String {
    let figures = figures(&records(Mode::Windows, 0, counts));
    let labels = Arc::new(Labels::new::<&str>("near-ping", "fra1", &[]));
    let flow = FlowSubject {
        labels,
        kind: Some(subject.kind),
        number: None,
        remote: Some(subject.remote),
        local: Some("192.0.2.1:40000".parse().unwrap()),
    };
    let mut view = FlowView::new(flow, Spoken::Text, Counters::default());
    view.refused = refused.map(|(by, (kind, code))| Refused {
        by: by.parse::<IpAddr>().ok(),
        icmp: IcmpType {
            is_v6: false,
            kind,
            code,
        },
    });
    view.trouble = trouble;
    silence::meaning(subject, &figures, &[view])
}

#[test]
fn silence_has_a_meaning() {
    let lost = Counters {
        received: 0,
        lost: 3,
        sent_native: 0,
        ..counters(3)
    };
    let unsent = Counters {
        unsent: 3,
        ..Counters::default()
    };
    let corrupt = Counters { corrupt: 3, ..lost };
    let elsewhere = Counters {
        misaddressed: 3,
        ..lost
    };
    let udp = Subject {
        others: Vec::new(),
        ..subject(FlowKind::Udp, Protocol::Auto)
    };
    let of = |kind, protocol| Subject {
        kind,
        protocol,
        ..udp.clone()
    };
    let (tcp, connect) = (
        of(FlowKind::Tcp, Protocol::Auto),
        of(FlowKind::Connect, Protocol::Auto),
    );
    let keyed = Subject {
        has_key: true,
        ..udp.clone()
    };
    let text = [
        meaning(&subject(FlowKind::Udp, Protocol::Auto), lost, None, None),
        meaning(&of(FlowKind::Udp, Protocol::Native), lost, None, None),
        meaning(&of(FlowKind::Udp, Protocol::Stamp), lost, None, None),
        meaning(&keyed, lost, None, None),
        meaning(&udp, corrupt, None, None),
        meaning(&udp, elsewhere, None, None),
        meaning(&udp, lost, Some(("192.0.2.7", (3, 3))), None),
        meaning(&udp, lost, Some(("192.0.2.254", (3, 3))), None),
        meaning(&udp, lost, Some(("192.0.2.1", (3, 1))), None),
        meaning(&udp, lost, Some(("192.0.2.254", (3, 0))), None),
        meaning(&udp, lost, Some(("192.0.2.254", (3, 13))), None),
        meaning(&udp, lost, Some(("192.0.2.254", (11, 0))), None),
        meaning(&udp, unsent, None, Some(CloseReason::NoRoute)),
        meaning(&udp, unsent, None, Some(CloseReason::Denied)),
        meaning(&tcp, unsent, None, Some(CloseReason::Reset)),
        meaning(&tcp, unsent, None, Some(CloseReason::Finished)),
        meaning(&tcp, unsent, None, None),
        meaning(&connect, lost, None, Some(CloseReason::Reset)),
        meaning(&connect, lost, None, None),
    ];
    insta::assert_snapshot!(text.concat());
}

#[test]
fn the_text_of_others_obeys_nobody() {
    let hostile = "a\x1b[2J\u{202e}b\u{200b}\n\u{7}'\"\\";
    let text = words::shown(hostile);
    assert_eq!(text, "a\\u{1b}[2J\\u{202e}b\\u{200b}\\n\\u{7}'\"\\\\");
    assert_eq!(words::shown("münchen-日本.example"), "münchen-日本.example");
}

#[test]
fn times_have_four_digits_and_a_unit_that_fits() {
    let cases = [
        (0, "0 ns"),
        (-17, "-17 ns"),
        (999, "999 ns"),
        (1_000, "1.000 us"),
        (61_234, "61.23 us"),
        (-1_200_345, "-1.200 ms"),
        (999_999, "1000.0 us"),
        (12_345_678, "12.35 ms"),
        (999_949_999, "999.9 ms"),
        (1_000_000_000, "1.000 s"),
        (i64::MIN, "-9223372037 s"),
    ];
    for (ns, shown) in cases {
        assert_eq!(words::time(ns), shown);
    }
    let shares = [
        (0.0, "0 %"),
        (0.013, "0.013 %"),
        (33.333, "33.3 %"),
        (100.0, "100 %"),
    ];
    for (share, shown) in shares {
        assert_eq!(words::percent(share), shown);
    }
}

#[test]
fn bins_hold_every_value_and_are_few() {
    let sets: [&[i64]; 5] = [
        &[0, 1, 2],
        &[60_000, 61_000, 90_000],
        &[1_000, 60_000_000_000],
        &[5_000_000],
        &[1, 10, 100, 1_000, 10_000, 100_000],
    ];
    for values in sets {
        let mut recorder = Recorder::new("near-ping", at(0));
        let mut feed = recorder.add_sink(SinkConfig::new(Mode::Windows, TICK_NS));
        recorder.handle_output(&Output::Opened {
            origin: PROBE,
            labels: Arc::new(Labels::new::<&str>("near-ping", "fra1", &[])),
        });
        for value in values {
            recorder.handle_output(&sample(PROBE, Metric::UdpRtt, *value, 0, false));
        }
        let own = SelfCounters::default();
        recorder.handle_timeout(at(100), [], &own, HostGauges::default);
        let all: Vec<Record> = std::iter::from_fn(|| feed.poll()).collect();
        let found = figures(&all);
        let bins = histogram::bins(&found.round_trip.all);
        let inside: u64 = bins.iter().map(|bin| bin.count).sum();
        assert_eq!(inside, values.len() as u64, "{bins:?}");
        assert!(bins.len() <= 14, "{bins:?}");
        assert!(bins.is_sorted_by(|one, next| one.to == next.from));
        assert!(
            bins[0].count > 0 && bins[bins.len() - 1].count > 0,
            "{bins:?}"
        );
    }
}

#[test]
fn a_delay_belongs_to_the_direction_that_its_tags_say() {
    let labels = |source: &str, target: &str| {
        crate::record::Tags::Flow(Arc::new(Labels::new::<&str>(source, target, &[])))
    };
    let raw = Sorting {
        is_corrected: false,
        ..sorting(FlowKind::Udp)
    };
    let part = |metric, tags| raw.part(metric, &tags);
    assert_eq!(
        part("udp.wan.owd", labels("near-ping", "fra1")),
        Some(Part::Forward)
    );
    assert_eq!(
        part("udp.wan.owd", labels("fra1", "near-ping")),
        Some(Part::Reverse)
    );
    assert_eq!(
        part("udp.wan.rtt", labels("near-ping", "fra1")),
        Some(Part::RoundTrip)
    );
    assert_eq!(part("tcp.wan.latency", labels("near-ping", "fra1")), None);
    // Both were measured with the clocks as they are, and are no part of the corrected ones.
    let corrected = sorting(FlowKind::Udp);
    assert_eq!(
        corrected.part("udp.wan.owd", &labels("near-ping", "fra1")),
        None
    );
}
