//! What is not known is not published, and what is known is a value that somebody measured.

use super::*;
use crate::proto::ClockEstimate;

/// Every value of the metrics of this process and its host, by name.
fn gauges(records: &[Record]) -> BTreeMap<&'static str, i64> {
    let found = records.iter().filter_map(|record| match record {
        Record::Gauge { metric, value, .. } => Some((metric.name, *value)),
        _ => None,
    });
    found.collect()
}

#[test]
fn a_host_of_which_nothing_is_known_has_no_gauges_but_its_steps() {
    let mut rig = Rig::new(Mode::Windows);
    assert_eq!(
        gauges(&rig.end(1)),
        BTreeMap::from([("monitor.clock_steps", 0)])
    );
    rig.host = HostGauges {
        clock: Some(ClockState::default()),
        ..HostGauges::default()
    };
    // An error of 0 that the kernel vouches for is one.
    let known = [
        ("monitor.clock.error", 0),
        ("monitor.clock.synchronised", 0),
        ("monitor.clock_steps", 0),
    ];
    assert_eq!(gauges(&rig.end(2)), BTreeMap::from(known));
    rig.host.clock = None;
    assert_eq!(
        gauges(&rig.end(3)).len(),
        1,
        "the last word is no word of now"
    );
}

#[test]
fn processor_time_that_was_not_known_for_an_interval_is_in_the_next_one() {
    let mut rig = Rig::new(Mode::Windows);
    let mut cpu_ns = |seconds, total_ns| {
        rig.host.cpu_ns = total_ns;
        gauges(&rig.end(seconds)).get("monitor.cpu").copied()
    };
    assert_eq!(cpu_ns(1, Some(70)), Some(70));
    assert_eq!(cpu_ns(2, None), None);
    assert_eq!(cpu_ns(3, Some(100)), Some(30));
}

/// No gauge of a flow, a backend or this host has a value before there is one, and none has the end of a type's
/// range.
#[test]
fn no_gauge_is_the_end_of_a_range() {
    let mut rig = Rig::new(Mode::Both);
    rig.recorder
        .add_backend(Arc::new(BackendStats::new("clickhouse")));
    rig.take([opened(0, "b")]);
    rig.flows.insert(0, (FlowKind::Udp, Counters::default()));
    let records = rig.end(1);
    let found = gauges(&records);
    assert!(
        !found.keys().any(|name| name.starts_with("clock.")),
        "{found:?}"
    );
    assert_eq!(found["monitor.backend.oldest"], 0);
    assert_eq!(found["udp.wan.lost.unattributed"], 0);
    let estimate = ClockEstimate {
        offset_ns: -5,
        skew_ppb: 3,
        error_ns: 7,
    };
    rig.take([Output::Clock {
        origin: Origin(0),
        estimate,
    }]);
    let records = rig.end(2);
    assert_eq!(gauges(&records)["clock.error"], 7);
    assert!(
        !gauges(&rig.end(3)).contains_key("clock.error"),
        "of this interval nothing is known"
    );
    let of_range = |value: &i64| value.unsigned_abs() > u64::try_from(i64::MAX).unwrap() / 2;
    assert!(!gauges(&records).values().any(of_range));
}
