//! The table of backends: from what the configuration says to something that publishes.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "http-backends")]
use crate::clock::Clock;
use crate::config::{BackendSettings, MetricsConfig};
use crate::monitor::{StartError, logging};
use crate::publish::{self, Backend, PublishError};
#[cfg(feature = "http-backends")]
use crate::publish::{Delivery, Encode, Transport};
use crate::record::{BackendStats, Record, SinkConfig};

/// The backends. A new one is a file in `publish` and a line here.
pub(super) fn backend(
    metrics: &MetricsConfig,
    sink: &SinkConfig,
    own_name: &str,
    log: &logging::Log,
) -> Result<Box<dyn Backend>, StartError> {
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
                encoder,
                publish::DatadogTransport::new(settings.clone()),
            )
        }
        #[cfg(feature = "http-backends")]
        BackendSettings::ClickHouse(settings) => {
            let transport = publish::ClickHouseTransport::new(name, settings.clone());
            queued(metrics, publish::ClickHouseEncoder::default(), transport)
        }
        #[cfg(feature = "http-backends")]
        BackendSettings::Otlp(settings) => {
            let (interval, began) = (metrics.delivery.send_interval, Clock::new().now().wall);
            let encoder = publish::OtlpEncoder::new(own_name, settings, interval, began);
            queued(
                metrics,
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
    encoder: E,
    transport: T,
) -> Result<Box<dyn Backend>, String> {
    let stats = Arc::new(BackendStats::new(&metrics.name));
    let delivery = &metrics.delivery;
    boxed(Delivery::new(encoder, Box::new(transport), delivery, stats))
}

fn boxed<B: Backend + 'static, E: Display>(made: Result<B, E>) -> Result<Box<dyn Backend>, String> {
    match made {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error) => Err(error.to_string()),
    }
}
