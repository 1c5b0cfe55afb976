//! Records for the tests of the backends.

#[cfg(feature = "http-backends")]
use std::io::BufRead;
use std::sync::Arc;

use crate::proto::prober::SelfCounters;
use crate::proto::{Labels, Metric, Mono, Now, Origin, Outcome, Output, Sample, StampSource, Wall};
use crate::record::{self, HostGauges, Mode, Record, Recorder, SinkConfig, Tags};

/// A gauge; only its value tells it from others.
pub(super) fn gauge(value: i64) -> Record {
    Record::Gauge {
        metric: metric("clock.offset"),
        tags: Arc::new(Tags::Host("a".into())),
        at: Wall::from_unix_nanos(1_768_219_134_587_069_267),
        value,
    }
}

/// A metric of the table.
pub(super) fn metric(name: &str) -> &'static record::Metric {
    record::Metric::named(name).expect("a metric of the table")
}

/// The instant that tests begin at, plus `seconds`.
pub(super) fn at(seconds: i64) -> Now {
    let ns = seconds * 1_000_000_000;
    Now {
        mono: Mono::from_nanos(ns.unsigned_abs()),
        wall: Wall::from_unix_nanos(1_768_219_134_587_069_267 + ns),
    }
}

/// The records of one interval of ten seconds with these delays to a target.
pub(super) fn records(mode: Mode, metric: Metric, labels: Labels, values: &[i64]) -> Vec<Record> {
    let mut recorder = Recorder::new("a", at(0));
    let mut feed = recorder.add_sink(SinkConfig::new(mode, 10_000_000_000));
    recorder.handle_output(&Output::Opened {
        origin: Origin(0),
        labels: Arc::new(labels),
    });
    for (seq, &value_ns) in (17..).zip(values) {
        recorder.handle_output(&Output::Sample(Sample {
            origin: Origin(0),
            metric,
            outcome: Outcome::Received,
            value_ns,
            at: at(0).wall,
            seq,
            stamp: StampSource::Kernel,
            dwell_ns: None,
            is_corrected: false,
        }));
    }
    recorder.handle_timeout(at(10), [], &SelfCounters::default(), HostGauges::default);
    std::iter::from_fn(|| feed.poll()).collect()
}

/// A window of these one-way delays.
pub(super) fn window(values: &[i64]) -> Record {
    let labels = Labels::new("a", "b", &["isp:local"]);
    let records = records(Mode::Windows, Metric::UdpOwd, labels, values);
    records.into_iter().next().expect("a window")
}

/// A count of a flow.
pub(super) fn count(name: &str, value: u64) -> Record {
    Record::Count {
        metric: metric(name),
        tags: Arc::new(Tags::Flow(Arc::new(Labels::new("a", "b", &["isp:local"])))),
        at: at(10).wall,
        value,
    }
}

/// Reads one request of HTTP: its head as it was sent, and its body. `None` once the stream has ended.
#[cfg(feature = "http-backends")]
pub(super) fn read_request(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
