//! `monitor.backend.*`: how delivery goes, to every sink.

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
