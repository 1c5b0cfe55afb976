//! The `pushgateway` backend: totals since the process began, as Prometheus keeps them.
//!
//! Records add up in one entry a series, for the life of the process. The end of each interval
//! pushes the whole state, so there is no queue: the next push repairs one that failed, and a
//! gateway that lost its state gets the full counts again. The flush thread writes the text; a
//! thread of its own pushes the latest, and nobody waits for it.

mod settings;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use reqwest::Url;

use crate::clock::Clock;
use crate::publish::http::SetupError;
use crate::publish::prometheus::{Added, Own, Rounds, Sets, Shape, State, TextFormat, Writer};
use crate::publish::pushgateway::transport::{NAME, Sender, Text};
use crate::publish::{Backend, PublishError, Tried};
use crate::record::{PUSHGATEWAY, Record, SinkConfig};

pub use settings::PushgatewaySettings;

/// Pushes the totals since the process began.
#[derive(Debug)]
pub struct Pushgateway {
    state: Arc<Mutex<State>>,
    writer: Writer,
    sender: Sender,
    rounds: Rounds,
    /// A record came since the last push.
    is_dirty: bool,
    /// Records in the totals.
    added: u64,
    delete_on_stop: bool,
}

impl Pushgateway {
    /// Starts the thread that pushes. `name` is the name of this host, `sink` says what the records
    /// to come are.
    pub fn new(
        settings: &PushgatewaySettings,
        name: &str,
        sink: &SinkConfig,
    ) -> Result<Self, SetupError> {
        Self::named(NAME, settings, name, sink)
    }

    /// Makes the same under another name in messages than that of its kind: one of several.
    pub fn named(
        given: &str,
        settings: &PushgatewaySettings,
        name: &str,
        sink: &SinkConfig,
    ) -> Result<Self, SetupError> {
        let url = group_url(settings, name);
        let shape = Shape::classic(settings.buckets.as_ref());
        let now = Clock::new().now().wall;
        let state = State::new(shape, Sets::new(name), sink, now);
        let state = Arc::new(Mutex::new(state));
        let failed = Arc::new(AtomicU64::new(0));
        Ok(Self {
            writer: Writer::new(
                Arc::clone(&state),
                Own::new(PUSHGATEWAY, name, Arc::clone(&failed)),
            ),
            sender: Sender::spawn(given, url, settings, failed)?,
            state,
            rounds: Rounds::default(),
            is_dirty: false,
            added: 0,
            delete_on_stop: settings.delete_on_stop,
        })
    }

    /// Returns the whole state as it would be pushed now.
    pub fn text(&mut self) -> String {
        self.writer.write(TextFormat::Prometheus)
    }

    fn push(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            let text = self.text();
            self.state.lock().end_round();
            let records = self.added;
            self.sender.put(Text { text, records });
        }
    }
}

impl Backend for Pushgateway {
    fn name(&self) -> &'static str {
        NAME
    }

    fn last_try(&self) -> Tried {
        Tried::of(self.sender.last_try())
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        let added = self.state.lock().add(record);
        self.is_dirty |= added == Added::Yes;
        self.added += u64::from(added == Added::Yes);
        self.rounds.handle_record(record);
        match added {
            Added::Refused => Err(PublishError::Full),
            Added::Yes | Added::Ignored => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        if self.rounds.is_complete() {
            self.push();
        }
        Ok(())
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        self.push();
        // The rest of the time is for telling what came of it.
        let result = self.sender.finish(timeout.saturating_sub(timeout / 8));
        let lost = self.added - self.sender.pushed();
        match result {
            Err(reason) => Err(PublishError::other(lost, reason)),
            Ok(()) if lost > 0 && !self.delete_on_stop => {
                let reason = "the gateway did not take the last pushes";
                Err(PublishError::other(lost, reason))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Returns the URL of the group of this instance.
fn group_url(settings: &PushgatewaySettings, instance: &str) -> Url {
    let job = settings.job.as_str();
    let labels = [label("job", job), label("instance", instance)].concat();
    let path = ["metrics"].into_iter();
    let gateway = settings.gateway.clone().without("metrics");
    gateway.join(path.chain(labels.iter().map(String::as_str)))
}

/// Returns a label of the group as two parts of a path, in base64 if a path cannot have its
/// value.
fn label(name: &str, value: &str) -> [String; 2] {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let means_itself = value.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if means_itself && value.bytes().all(is_plain) {
        return [name.to_owned(), value.to_owned()];
    }
    let value = match value {
        // The form of the gateway for an empty value.
        "" => "=".to_owned(),
        value => URL_SAFE_NO_PAD.encode(value),
    };
    [format!("{name}@base64"), value]
}
