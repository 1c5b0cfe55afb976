//! The table of backends: from what the configuration says to something that publishes.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "http-backends")]
use crate::clock::Clock;
use crate::config::{BackendSettings, HistoryConfig, MetricsConfig};
use crate::monitor::{StartError, logging, nanos, sink_config};
use crate::publish::{self, Backend, PublishError, Tried};
#[cfg(feature = "http-backends")]
use crate::publish::{Delivery, Encode, Transport};
use crate::record::{BackendStats, Mode, Record, SinkConfig};
use crate::sys::sandbox;

/// The backends. A new one is a file in `publish` and a line here.
pub(super) fn backend(
    metrics: &MetricsConfig,
    own_name: &str,
    log: &logging::Log,
    stats: &Arc<BackendStats>,
) -> Result<Box<dyn Backend>, StartError> {
    let sink = &sink_config(metrics);
    let (level, name) = (metrics.level.tracing(), &*metrics.name);
    let made: Result<Box<dyn Backend>, String> = match &metrics.settings {
        BackendSettings::Cli => boxed(publish::Cli::stdout()),
        BackendSettings::Log => Ok(Box::new(publish::Log::new(level, log.dropped()))),
        #[cfg(feature = "zeromq")]
        BackendSettings::ZeroMq(settings) => boxed(publish::ZeroMq::bind(settings)),
        #[cfg(feature = "http-backends")]
        BackendSettings::Pushgateway(settings) => {
            boxed(publish::Pushgateway::named(name, settings, own_name, sink))
        }
        #[cfg(feature = "http-backends")]
        BackendSettings::Datadog(settings) => {
            let interval = metrics.delivery.send_interval;
            let encoder = publish::DatadogEncoder::new(own_name, metrics.mode, interval);
            queued(
                metrics,
                stats,
                encoder,
                publish::DatadogTransport::new(settings.clone()),
            )
        }
        #[cfg(feature = "http-backends")]
        BackendSettings::ClickHouse(settings) => {
            let transport = publish::ClickHouseTransport::new(name, settings.clone());
            queued(
                metrics,
                stats,
                publish::ClickHouseEncoder::default(),
                transport,
            )
        }
        #[cfg(feature = "http-backends")]
        BackendSettings::Otlp(settings) => {
            let (interval, began) = (metrics.delivery.send_interval, Clock::new().now().wall);
            let encoder = publish::OtlpEncoder::new(own_name, settings, interval, began);
            queued(
                metrics,
                stats,
                encoder,
                publish::OtlpTransport::new(name, settings.clone()),
            )
        }
        #[cfg(not(all(feature = "zeromq", feature = "http-backends")))]
        settings => Err(settings.backend().lacking().unwrap_or_default()),
    };
    let backend = made.map_err(|reason| StartError::Backend {
        name: name.to_owned(),
        reason,
    })?;
    if backend.name() == name {
        return Ok(backend);
    }
    let name = name.into();
    Ok(Box::new(Named { name, backend }))
}

/// The backend that keeps what is measured on this host's disk, and what it gets.
pub(super) fn history(
    config: &HistoryConfig,
) -> Result<(SinkConfig, Box<dyn Backend>), StartError> {
    let long = |duration| i64::try_from(nanos(duration)).unwrap_or(i64::MAX);
    let settings = publish::HistorySettings {
        folder: config.dir.clone(),
        keep_ns: long(config.keep),
        bytes_max: config.bytes_max(),
        interval_ns: long(config.interval),
    };
    let stats = Arc::new(BackendStats::new("history"));
    let backend =
        publish::History::open(settings, stats).map_err(|reason| StartError::Backend {
            name: "history".to_owned(),
            reason,
        })?;
    let sink = SinkConfig {
        choice: config.choice.clone(),
        ..SinkConfig::new(Mode::Windows, nanos(config.interval))
    };
    Ok((sink, Box::new(backend)))
}

/// A backend under a name that was given.
struct Named {
    name: Box<str>,
    backend: Box<dyn Backend>,
}

impl Backend for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn stats(&self) -> Option<Arc<BackendStats>> {
        self.backend.stats()
    }

    fn last_try(&self) -> Tried {
        self.backend.last_try()
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.backend.publish(record)
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        self.backend.flush()
    }

    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        self.backend.finish(timeout)
    }
}

/// A backend whose batches wait in a queue and are sent by a thread of their own.
#[cfg(feature = "http-backends")]
fn queued<E: Encode + 'static, T: Transport + 'static>(
    metrics: &MetricsConfig,
    stats: &Arc<BackendStats>,
    encoder: E,
    transport: T,
) -> Result<Box<dyn Backend>, String> {
    let delivery = &metrics.delivery;
    boxed(Delivery::new(
        encoder,
        Box::new(transport),
        delivery,
        Arc::clone(stats),
    ))
}

fn boxed<B: Backend + 'static, E: Display>(made: Result<B, E>) -> Result<Box<dyn Backend>, String> {
    match made {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error) => Err(explained(error.to_string())),
    }
}

/// Adds to what a backend says what may be behind it.
fn explained(reason: String) -> String {
    if reason.contains("Permission denied") {
        reason + sandbox::hint()
    } else {
        reason
    }
}
