//! Delivers batches from an encoder to a transport: a queue in memory or on disk, and a thread
//! that sends.
//!
//! ```text
//! flush thread: record -> Encode -> batch -> queue (memory, or a file) -> sender thread: Transport
//! ```
//!
//! The flush thread gathers and closes batches, and never waits for the network. The sender
//! thread sends the oldest batch until the backend takes it, or refuses it for good.
//! `docs/design/delivery.md` says what is lost when.

mod parts;
mod queue;
mod sender;
mod settings;
mod shared;
mod spool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::Level;

use crate::clock::Clock;
use crate::proto::Mono;
use crate::publish::delivery::sender::Sender;
use crate::publish::delivery::shared::{Shared, World};
use crate::publish::delivery::spool::Spool;
use crate::publish::retry::nanos;
use crate::publish::{Backend, Batch, BatchId, Encode, Payload, PublishError, Transport, Tried};
use crate::record::{BackendStats, Record};

pub use settings::DeliverySettings;

/// With a spool, a batch is closed at least this often. A kill loses no more than that.
const SPOOL_INTERVAL: Duration = Duration::from_secs(1);

/// The part of the time to finish that is kept for writing down what is left.
const LEAVE_MARGIN: Duration = Duration::from_millis(200);

/// Returns the name of a spool's file: that of the backend's kind, and behind it another name that was given. So no
/// kind ever reads the batches of another, and two of one kind have a file each.
pub fn spool_name(kind: &str, name: &str) -> String {
    if kind == name {
        return kind.to_owned();
    }
    format!("{kind}-{name}")
}

/// Says what is wrong with the spool that a backend has left under this [name](spool_name) in a folder, if anything
/// is, and changes nothing.
pub fn look_at_spool(folder: &Path, name: &str) -> Option<String> {
    Spool::new(folder, name).look()
}

/// Why a delivery cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The system gives no random numbers for identities.
    #[error("cannot read the system's random source: {0}")]
    Random(getrandom::Error),
}

/// A backend that sends over the network; see the [module](self). If it is dropped without
/// [`finish`](Backend::finish), pending batches stay on disk, and those in memory are lost.
pub struct Delivery<E> {
    encoder: E,
    gathering: Gathering,
    ids: Ids,
    shared: Arc<Shared>,
    payloads: Vec<Payload>,
}

impl<E> fmt::Debug for Delivery<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.shared.stats;
        out.debug_tuple("Delivery").field(stats).finish()
    }
}

impl<E: Encode> Delivery<E> {
    /// Starts to send; batches that a spool holds from the last run go first. `stats` has the
    /// name of the backend, which its log lines and its thread bear, and its spool file as [`spool_name`] says.
    pub fn new(
        encoder: E,
        transport: Box<dyn Transport>,
        settings: &DeliverySettings,
        stats: Arc<BackendStats>,
    ) -> Result<Self, DeliveryError> {
        let name: Arc<str> = stats.name().into();
        let clock = Mutex::new(Clock::new());
        let world = World {
            now: Box::new(move || {
                let clock = clock.lock();
                clock.refresh(clock.mono());
                clock.now()
            }),
            say: Box::new(move |level, message| log(&name, level, message)),
        };
        let (delivery, sender) = Self::with(encoder, transport, settings, stats, world)?;
        thread::Builder::new()
            .name(format!("send-{}", delivery.shared.stats.name()))
            .spawn(move || sender.run())
            .map_err(DeliveryError::Thread)?;
        Ok(delivery)
    }

    /// Makes the same with another clock and log, and with a sender that does not run yet.
    fn with(
        encoder: E,
        transport: Box<dyn Transport>,
        settings: &DeliverySettings,
        stats: Arc<BackendStats>,
        world: World,
    ) -> Result<(Self, Sender), DeliveryError> {
        let folder = settings.spool_dir.as_deref();
        let name = spool_name(encoder.name(), stats.name());
        let spool = folder.map(|folder| Spool::new(folder, &name));
        let bytes_max = u64::from(settings.buffer_mib) * 1024 * 1024;
        let shared = Arc::new(Shared::new(stats, bytes_max, spool, world));
        let every = match settings.spool_dir {
            Some(_) => settings.send_interval.min(SPOOL_INTERVAL),
            None => settings.send_interval,
        };
        let seed = getrandom::u64().map_err(DeliveryError::Random)?;
        let delivery = Self {
            encoder,
            gathering: Gathering::new(nanos(every), shared.now().mono),
            ids: Ids::new()?,
            shared: Arc::clone(&shared),
            payloads: Vec::new(),
        };
        Ok((delivery, Sender::new(shared, transport, seed)))
    }

    /// Closes the current batch.
    fn cut(&mut self) {
        let now = self.shared.now();
        self.gathering.cut(now.mono);
        self.encoder.take(&mut self.payloads);
        if self.payloads.is_empty() {
            return;
        }
        let ids = &mut self.ids;
        let batches = self.payloads.drain(..).map(|payload| Batch {
            id: ids.next(),
            payload,
        });
        self.shared.push(batches.collect(), now);
    }
}

impl<E: Encode> Backend for Delivery<E> {
    fn name(&self) -> &str {
        self.shared.stats.name()
    }

    fn stats(&self) -> Option<Arc<BackendStats>> {
        Some(Arc::clone(&self.shared.stats))
    }

    fn last_try(&self) -> Tried {
        Tried::of(self.shared.stats.last_try())
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        if self.encoder.add(record) {
            self.gathering.add(record);
        } else {
            self.shared.stats.count_left_out(1);
        }
        if self.encoder.is_full() {
            self.cut();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        assert!(
            !self.shared.has_failed(),
            "the sender of {} has failed",
            self.shared.stats.name()
        );
        if self.gathering.is_due(self.shared.now().mono) {
            self.cut();
        }
        Ok(())
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        self.cut();
        self.shared
            .close(timeout.saturating_sub(LEAVE_MARGIN.min(timeout / 4)));
        self.shared.leave(true);
        Ok(())
    }
}

impl<E> Drop for Delivery<E> {
    fn drop(&mut self) {
        self.shared.leave(false);
    }
}

/// Decides when a batch that is not full is closed: once all that comes at the end of an interval
/// is there, and after `every_ns` at the latest.
#[derive(Debug)]
struct Gathering {
    every_ns: u64,
    due: Mono,
    /// The batch has windows, counts or gauges.
    has_ends: bool,
    /// Some of them came since `is_due` was last called.
    has_fresh_ends: bool,
}

impl Gathering {
    const fn new(every_ns: u64, now: Mono) -> Self {
        Self {
            every_ns,
            due: now.plus(every_ns),
            has_ends: false,
            has_fresh_ends: false,
        }
    }

    const fn add(&mut self, record: &Record) {
        if matches!(
            record,
            Record::Window(_) | Record::Count { .. } | Record::Gauge { .. }
        ) {
            self.has_ends = true;
            self.has_fresh_ends = true;
        }
    }

    fn is_due(&mut self, now: Mono) -> bool {
        let is_complete = self.has_ends && !std::mem::take(&mut self.has_fresh_ends);
        is_complete || now >= self.due
    }

    const fn cut(&mut self, now: Mono) {
        *self = Self::new(self.every_ns, now);
    }
}

/// Identities of batches, which no other run gives.
#[derive(Debug)]
struct Ids(u128);

impl Ids {
    fn new() -> Result<Self, DeliveryError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(DeliveryError::Random)?;
        Ok(Self(u128::from_ne_bytes(bytes)))
    }

    const fn next(&mut self) -> BatchId {
        self.0 = self.0.wrapping_add(1);
        BatchId(self.0)
    }
}

fn log(backend: &str, level: Level, message: &str) {
    match level {
        Level::ERROR => tracing::error!(backend, "{message}"),
        Level::WARN => tracing::warn!(backend, "{message}"),
        _ => tracing::info!(backend, "{message}"),
    }
}
