//! `monitor.backend.*`: how delivery goes, to every sink.

use std::sync::mpsc::sync_channel;

use super::*;

#[test]
fn every_sink_says_how_every_backend_does() {
    let mut rig = Rig::new(Mode::Windows);
    let (up, down) = (
        Arc::new(BackendStats::new("clickhouse")),
        Arc::new(BackendStats::new("datadog")),
    );
    rig.recorder.add_backend(Arc::clone(&up));
    rig.recorder.add_backend(Arc::clone(&down));
    up.count_sent(7);
    down.set_queued(Queued {
        bytes: 1_000,
        oldest: Some(second(0).mono.plus(400_000_000)),
    });
    for _ in 0..3 {
        down.count_retried(1);
    }
    down.count_dropped(5);
    let records = rig.end(1);
    assert_eq!(counts(&records, "monitor.backend.sent"), [7, 0]);
    assert_eq!(counts(&records, "monitor.backend.retried"), [0, 3]);
    assert_eq!(counts(&records, "monitor.backend.dropped"), [0, 5]);
    assert_eq!(counts(&records, "monitor.backend.queued_bytes"), [0, 1_000]);
    assert_eq!(counts(&records, "monitor.backend.oldest"), [0, 600_000_000]);
    let record = records.last().unwrap();
    let tags: Vec<_> = record.tags().map(|tag| tag.to_string()).collect();
    assert_eq!(tags, ["source:a", "backend:datadog"]);

    up.count_sent(2);
    down.set_queued(Queued::default());
    let records = rig.end(2);
    assert_eq!(counts(&records, "monitor.backend.sent"), [2, 0]);
    assert_eq!(counts(&records, "monitor.backend.dropped"), [0, 0]);
    assert_eq!(counts(&records, "monitor.backend.queued_bytes"), [0, 0]);
    assert_eq!(counts(&records, "monitor.backend.oldest"), [0, 0]);
}

#[test]
fn backends_wait_for_room_in_the_ring_one_by_one() {
    let mut config = SinkConfig::new(Mode::Windows, SECOND_NS);
    config.ring_records = 0;
    let mut rig = Rig::with(config);
    for number in 0..100 {
        let stats = BackendStats::new(&format!("backend-{number}"));
        stats.count_sent(number);
        rig.recorder.add_backend(Arc::new(stats));
    }
    let records = rig.end(1);
    let expected: Vec<i64> = (0..100).collect();
    assert_eq!(counts(&records, "monitor.backend.sent"), expected);
    assert_eq!(counts(&rig.end(2), "monitor.samples_dropped"), [0]);
}

#[test]
fn what_one_backend_does_not_take_is_told_to_all() {
    let mut rig = Rig::new(Mode::Windows);
    let stats = Arc::new(BackendStats::new("hung"));
    let mut config = SinkConfig::new(Mode::Samples, SECOND_NS);
    config.ring_records = 0;
    let hung = rig.recorder.add_sink_of(config, Arc::clone(&stats));
    rig.recorder.add_backend(Arc::clone(&stats));
    // Of these one is left without room, whatever the size of the ring.
    rig.take([opened(0, "b")]);
    rig.take((0..10_000).map(|value| sample(0, Metric::UdpRtt, value)));
    let overrun = stats.overrun();
    assert!(overrun > 0);
    // The rig ends an interval once every sink has handed it over.
    drop(hung);
    let told = counts(&rig.end(1), "monitor.backend.samples_dropped");
    assert_eq!(told, [i64::try_from(overrun).unwrap()]);
}

/// The records of a feed so far.
fn drain(feed: &mut Feed) -> Vec<Record> {
    std::iter::from_fn(|| feed.poll()).collect()
}

#[test]
fn one_that_joins_has_nothing_of_before_and_one_that_leaves_all_until_then() {
    let mut rig = Rig::new(Mode::Windows);
    let first = Arc::new(BackendStats::new("first"));
    let mut leaving = rig.recorder.add_sink_of(
        SinkConfig::new(Mode::Windows, 10 * SECOND_NS),
        Arc::clone(&first),
    );
    rig.recorder.add_backend(Arc::clone(&first));
    first.count_sent(40);
    rig.take([opened(0, "b"), sample(0, Metric::UdpRtt, 5)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(100)));
    rig.end(1);
    // Between two intervals; the caller takes the counters first.
    let now = Now {
        mono: second(1).mono.plus(SECOND_NS / 2),
        wall: second(1).wall.plus(500_000_000),
    };
    let counters = sent(110);
    rig.recorder
        .handle_counters([(Origin(0), FlowKind::Udp, &counters)]);
    let second_stats = Arc::new(BackendStats::new("second"));
    let (reply, joined) = sync_channel(1);
    let joining = Joining {
        config: SinkConfig::new(Mode::Windows, SECOND_NS),
        stats: Arc::clone(&second_stats),
        after: None,
        reply,
    };
    rig.recorder.join(joining, now, &rig.own, rig.host);
    let mut joined = joined.try_recv().unwrap();
    rig.take([sample(0, Metric::UdpRtt, 7)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(115)));
    rig.recorder.leave(&first);
    // It leaves in its own time, not at the end of its ten seconds.
    rig.turn(second(2));
    let last = drain(&mut leaving);
    let window = last.iter().find_map(Record::window).unwrap();
    assert_eq!((window.count(), window.min(), window.max()), (2, 5, 7));
    assert_eq!(counts(&last, "udp.wan.sent"), [115]);
    assert!(leaving.is_complete());
    // The first interval is half a second, and ends with those of the others.
    let news = drain(&mut joined);
    let window = news.iter().find_map(Record::window).unwrap();
    assert_eq!((window.count(), window.min()), (1, 7));
    assert_eq!(window.end(), second(2).wall);
    assert_eq!(counts(&news, "udp.wan.sent"), [5]);
    rig.turn(second(3));
    let news = drain(&mut joined);
    assert_eq!(counts(&news, "udp.wan.sent"), [0]);
    let of = |records: &[Record], backend: &str| {
        let is_of = |record: &&Record| {
            record.metric() == "monitor.backend.sent"
                && record
                    .tags()
                    .any(|tag| tag.to_string() == format!("backend:{backend}"))
        };
        records.iter().filter(is_of).count()
    };
    assert_eq!((of(&news, "first"), of(&news, "second")), (0, 1));
    // Those that were there go on as before, without what has left.
    second_stats.count_sent(3);
    rig.drain();
    rig.turn(second(4));
    let records = rig.drain();
    assert_eq!((of(&records, "first"), of(&records, "second")), (0, 1));
}

/// Every value and every count is told by the one that goes or by the one in its place, and not by both.
#[test]
fn one_in_the_place_of_another_begins_where_that_one_ends() {
    let mut rig = Rig::new(Mode::Windows);
    let first = Arc::new(BackendStats::new("store"));
    let config = || SinkConfig::new(Mode::Both, 10 * SECOND_NS);
    let mut before = rig.recorder.add_sink_of(config(), Arc::clone(&first));
    rig.take([opened(0, "b"), sample(0, Metric::UdpRtt, 1)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(10)));
    let (reply, joined) = sync_channel(1);
    let joining = Joining {
        config: config(),
        stats: Arc::new(BackendStats::new("store")),
        after: Some(first),
        reply,
    };
    rig.recorder.join(joining, second(1), &rig.own, rig.host);
    assert!(joined.try_recv().is_err(), "the other one still gathers");
    rig.take([sample(0, Metric::UdpRtt, 2)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(12)));
    rig.turn(second(2));
    let mut after = joined.try_recv().unwrap();
    rig.take([sample(0, Metric::UdpRtt, 3)]);
    rig.flows.insert(0, (FlowKind::Udp, sent(15)));
    rig.turn(second(10));
    let (before, after) = (drain(&mut before), drain(&mut after));
    let samples = |records: &[Record]| {
        let of = records
            .iter()
            .filter(|it| matches!(it, Record::Sample { .. }));
        of.filter_map(Record::value).collect::<Vec<_>>()
    };
    assert_eq!((samples(&before), samples(&after)), (vec![1, 2], vec![3]));
    let windowed = |records: &[Record]| records.iter().find_map(Record::window).map(Window::count);
    assert_eq!((windowed(&before), windowed(&after)), (Some(2), Some(1)));
    assert_eq!(counts(&before, "udp.wan.sent"), [12]);
    assert_eq!(counts(&after, "udp.wan.sent"), [3]);
}

#[test]
fn one_that_nobody_waits_for_any_more_leaves_nothing_behind() {
    let mut rig = Rig::new(Mode::Windows);
    let (reply, joined) = sync_channel(1);
    drop(joined);
    let joining = Joining {
        config: SinkConfig::new(Mode::Windows, SECOND_NS),
        stats: Arc::new(BackendStats::new("late")),
        after: None,
        reply,
    };
    rig.recorder.join(joining, second(0), &rig.own, rig.host);
    assert_eq!(counts(&rig.end(1), "monitor.backend.sent"), [0; 0]);
}
