//! Uses the library as a program does: targets are added and removed while a monitor runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use latency_monitor::config::ConfigError;
use latency_monitor::monitor::{RunError, StartError, TargetError};
use latency_monitor::publish::{Backend, PublishError};
use latency_monitor::record::{Mode, SinkConfig};
use latency_monitor::{Config, LatencyMonitor, Record, TargetOptions};

fn monitor(name: &str) -> LatencyMonitor {
    LatencyMonitor::new(Config::default().with_name(name).with_ports(0, 0))
}

/// The next record that `wanted` is true of.
fn next(records: &Receiver<Record>, wanted: impl Fn(&Record) -> bool) -> Record {
    records
        .iter()
        .find(|record| wanted(record))
        .expect("the monitor runs")
}

fn has_tag(record: &Record, tag: &str) -> bool {
    record.tags().any(|found| found.to_string() == tag)
}

#[test]
fn targets_are_added_and_removed_while_it_runs() {
    let (mut near, mut far) = (monitor("near"), monitor("far"));
    let far_records = far.start().expect("free ports");
    let (udp, tcp) = (far.listening().udp[0].port(), far.listening().tcp[0].port());
    let before = TargetOptions::new("127.0.0.1")
        .label("tcp")
        .port(tcp)
        .interval_ms(5.0);
    let first = near
        .add_tcp_target(before.tags(["isp:a"]))
        .expect("a right target");
    let records = near.start().expect("free ports");
    for metric in ["tcp.wan.rtt", "tcp.wan.latency"] {
        let sample = next(&records, |record| record.metric() == metric);
        assert!(
            sample.value().is_some_and(|ns| ns > 0) && has_tag(&sample, "isp:a"),
            "{sample:?}"
        );
    }
    let owd = next(&far_records, |record| record.metric() == "tcp.wan.owd");
    assert!(has_tag(&owd, "source:near") && has_tag(&owd, "target:far") && has_tag(&owd, "isp:a"));

    let while_running = TargetOptions::new("127.0.0.1")
        .label("udp")
        .port(udp)
        .interval_ms(5.0);
    near.add_udp_target(while_running).expect("a right target");
    next(&records, |record| {
        record.metric() == "udp.wan.rtt" && has_tag(record, "target:udp")
    });
    assert!(near.remove(first));
    assert!(!near.remove(first), "it is gone");
    next(&far_records, |record| record.metric() == "udp.wan.owd");

    near.stop().expect("it ends in order");
    let last: Vec<Record> = records.iter().collect();
    let sent =
        |record: &&Record| record.metric() == "tcp.wan.sent" && has_tag(record, "target:tcp");
    assert!(
        last.iter().any(|record| sent(&record)),
        "a removed target's counts are not lost"
    );
}

#[test]
fn it_can_be_started_again_with_its_targets() {
    let (mut near, mut far) = (monitor("near"), monitor("far"));
    let _far_records = far.start().expect("free ports");
    let port = far.listening().udp[0].port();
    let target = TargetOptions::new("127.0.0.1").port(port).interval_ms(5.0);
    near.add_udp_target(target).expect("a right target");
    for _ in 0..2 {
        let records = near.start().expect("free ports");
        assert!(matches!(near.start(), Err(StartError::Running)));
        next(&records, |record| record.metric() == "udp.wan.rtt");
        near.stop().expect("it ends in order");
    }
}

/// A backend with a bug.
struct Broken;

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        panic!("a bug in the face of {}", record.metric());
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

#[test]
fn a_backend_that_panics_is_no_secret() {
    let mut near = monitor("near");
    let sink = SinkConfig::new(Mode::Samples, 1_000_000);
    near.start_with(vec![(sink, Box::new(Broken))], || ())
        .expect("free ports");
    while !near.has_failed() {
        std::thread::yield_now();
    }
    assert!(matches!(near.stop(), Err(RunError::Panicked)));
}

/// Takes nothing while the other end is there.
struct Hanging(Receiver<()>);

impl Backend for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    fn publish(&mut self, _: &Record) -> Result<(), PublishError> {
        let _ = self.0.recv();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

/// Tells of each record, and at the end which time it has.
struct Telling(Sender<Option<Duration>>);

impl Backend for Telling {
    fn name(&self) -> &'static str {
        "telling"
    }

    fn publish(&mut self, _: &Record) -> Result<(), PublishError> {
        let _ = self.0.send(None);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        let _ = self.0.send(Some(timeout));
        Ok(())
    }
}

#[test]
fn a_backend_that_hangs_takes_no_time_of_another_at_the_end() {
    let mut config = Config::default().with_name("near").with_ports(0, 0);
    config.shutdown_timeout = Duration::from_secs(2);
    let mut near = LatencyMonitor::new(config);
    let (release, held) = channel();
    let (told, tells) = channel();
    let small = SinkConfig {
        ring_records: 0,
        ..SinkConfig::new(Mode::Samples, 1_000_000)
    };
    let sink = SinkConfig::new(Mode::Samples, 1_000_000_000);
    let backends: Vec<(SinkConfig, Box<dyn Backend>)> = vec![
        (small, Box::new(Hanging(held))),
        (sink, Box::new(Telling(told))),
    ];
    near.start_with(backends, || ()).expect("free ports");
    let port = near.listening().udp[0].port();
    let target = TargetOptions::new("127.0.0.1").port(port).interval_ms(1.0);
    near.add_udp_target(target).expect("a right target");
    // By then the ring of the other one is full, and the last interval finds no room in it.
    assert_eq!(tells.iter().take(1_000).flatten().count(), 0);
    near.stop().expect("it ends in order");
    let left = tells
        .iter()
        .flatten()
        .next()
        .expect("it was asked to finish");
    assert!(left > Duration::from_millis(100), "{left:?} of two seconds");
    drop(release);
}

#[test]
fn wrong_options_are_told_and_change_nothing() {
    let mut near = monitor("near");
    let wrong = near.add_target(TargetOptions::new("not a host"));
    let Err(TargetError::Config(ConfigError::Invalid { problems, .. })) = wrong else {
        panic!("{wrong:?}");
    };
    assert!(
        problems[0]
            .text
            .starts_with("`host` must be an IP address or a host name")
    );
    let records = near.start().expect("free ports");
    near.stop().expect("it ends in order");
    assert!(
        records
            .iter()
            .all(|record| record.metric().starts_with("monitor."))
    );
}
