//! The totals as whoever asks for them gets them: Prometheus scrapes, or somebody looks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::proto::{Labels, Wall};
use crate::publish::prometheus::family::Own;
use crate::publish::prometheus::histogram::Shape;
use crate::publish::prometheus::labels::labels;
use crate::publish::prometheus::series::{Added, Last, State};
use crate::publish::prometheus::sets::Sets;
use crate::publish::prometheus::text::{self, TextFormat, Writer};
use crate::publish::prometheus::{Rounds, protobuf};
use crate::publish::scrape::{HistogramKind, ScrapeSettings};
use crate::publish::{Backend, Encoder, Live, PublishError, Watch};
use crate::record::{HTTP, Metric, Record, SinkConfig};

/// The name in messages.
const NAME: &str = "http";

/// A format of the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text. Histograms have classic buckets.
    Text,
    /// The text of `OpenMetrics` 1.0. Histograms have classic buckets.
    OpenMetrics,
    /// Prometheus' protobuf messages, with native histograms.
    Protobuf,
}

/// Names of formats in `Accept`, and what else they must have.
const MEDIA: [(&str, &str, Format); 5] = [
    (
        "application/vnd.google.protobuf",
        "proto=io.prometheus.client.MetricFamily",
        Format::Protobuf,
    ),
    ("application/openmetrics-text", "", Format::OpenMetrics),
    ("text/plain", "", Format::Text),
    ("text/*", "", Format::Text),
    ("*/*", "", Format::Text),
];

impl Format {
    /// Returns the format that a request's header `Accept` asks for: of those with the greatest weight (RFC 9110,
    /// section 12.5.1) the first one that we have. Whoever asks for none of them gets text.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (0, Self::Text);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let is_asked = |name: &str, must: &str| {
                media.eq_ignore_ascii_case(name) && (must.is_empty() || parameters.contains(&must))
            };
            let found = MEDIA.iter().find(|(name, must, _)| is_asked(name, must));
            let weight = parameters
                .iter()
                .find_map(|parameter| parameter.strip_prefix("q="));
            let weight = weight.map_or(1_000, thousandths);
            if let Some((.., format)) = found
                && weight > best.0
            {
                best = (weight, *format);
            }
        }
        best.1
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => protobuf::CONTENT_TYPE,
        }
    }
}

/// Parses a weight of up to three digits after the point. One that is none is no weight.
fn thousandths(weight: &str) -> u32 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    let number = |text: &str| text.parse::<u32>().ok();
    number(whole)
        .zip(number(&part))
        .map_or(0, |(whole, part)| (whole.min(1) * 1_000 + part).min(1_000))
}

/// The totals since the process began, which a flush thread fills and others read. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Exposition {
    state: Arc<Mutex<State>>,
    writer: Arc<Mutex<Writer>>,
    own: Own,
    scrapes: Arc<AtomicU64>,
    live: Live,
}

impl Exposition {
    /// `name` is the name of this host, `sink` says what the records to come are.
    pub fn new(settings: &ScrapeSettings, name: &str, sink: &SinkConfig, now: Wall) -> Self {
        let bounds = settings.buckets.as_ref();
        let shape = match settings.histograms {
            HistogramKind::Classic => Shape::classic(bounds),
            HistogramKind::Native => Shape::native(settings.scale),
            HistogramKind::Both => Shape::classic(bounds).and_native(settings.scale),
        };
        let state = State::new(shape, Sets::new(name), sink, now).keeping_last();
        let state = Arc::new(Mutex::new(state));
        let scrapes = Arc::new(AtomicU64::new(0));
        let own = Own::new(HTTP, name, Arc::clone(&scrapes));
        Self {
            writer: Arc::new(Mutex::new(Writer::new(Arc::clone(&state), own.clone()))),
            state,
            own,
            scrapes,
            live: Live::new(name, sink.window_ns),
        }
    }

    /// Answers from what is kept in this folder, too.
    #[must_use]
    pub fn keeping_in(self, folder: &Path) -> Self {
        let live = self.live.keeping_in(folder);
        Self { live, ..self }
    }

    /// Returns the backend that fills it, and that tells `watch` what happens.
    pub fn backend(&self, watch: impl Watch + 'static) -> Box<dyn Backend> {
        Box::new(Filler {
            state: Arc::clone(&self.state),
            rounds: Rounds::default(),
            encoder: Encoder::new(),
            line: Vec::new(),
            live: self.live.clone(),
            watch: Box::new(watch),
        })
    }

    /// Returns all series as they are now. The flush thread waits for that time; nobody else does.
    pub fn write(&self, format: Format) -> Vec<u8> {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        let text = |format| self.writer.lock().write(format).into_bytes();
        match format {
            Format::Text => text(TextFormat::Prometheus),
            Format::OpenMetrics => text(TextFormat::OpenMetrics),
            Format::Protobuf => protobuf::encode(&self.state.lock(), &self.own),
        }
    }

    /// Returns what is shown live of the same records.
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Returns what the last interval with values had of a metric of these labels.
    pub fn last(&self, metric: &'static Metric, of: &Labels) -> Option<Last> {
        self.state.lock().last(metric, labels(of.iter()))
    }
}

/// The flush thread's side.
struct Filler {
    state: Arc<Mutex<State>>,
    rounds: Rounds,
    encoder: Encoder,
    line: Vec<u8>,
    live: Live,
    watch: Box<dyn Watch>,
}

impl Backend for Filler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.rounds.handle_record(record);
        if let Record::Event(_) = record {
            self.line.clear();
            self.encoder.encode(record, &mut self.line);
            let line = self.line.trim_ascii_end();
            self.live.add_event(record, line);
            self.watch.event(line);
        }
        let mut state = self.state.lock();
        match state.add(record) {
            Added::Refused => Err(PublishError::Full),
            Added::Ignored => Ok(()),
            Added::Yes => {
                // What finds no room among the series finds none here: this has the same bounds.
                let values = state.distribution();
                self.live.add(record, values, &mut *self.watch);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        if self.rounds.is_complete() {
            self.state.lock().end_round();
            self.live.end_interval(&mut *self.watch);
        }
        Ok(())
    }

    fn finish(&mut self, _: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}
