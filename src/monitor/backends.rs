//! The table of backends: from what the configuration says to something that publishes.

use crate::config::{BackendSettings, MetricsConfig, Word as _};
use crate::monitor::{StartError, logging};
use crate::publish::{self, Backend};

/// The backends. A new one is a file in `publish` and a line here.
pub(super) fn backend(
    metrics: &MetricsConfig,
    own_name: &str,
    log: &logging::Log,
) -> Result<Box<dyn Backend>, StartError> {
    let level = metrics.level.tracing();
    let made: Result<Box<dyn Backend>, String> = match &metrics.settings {
        BackendSettings::Cli => Ok(Box::new(publish::Cli::stdout())),
        BackendSettings::Log => Ok(Box::new(publish::Log::new(level).counting(log.dropped()))),
        BackendSettings::ZeroMq(settings) => boxed(publish::ZeroMq::bind(settings)),
        BackendSettings::ClickHouse(_)
        | BackendSettings::Pushgateway(_)
        | BackendSettings::Datadog(_) => queued(metrics, own_name),
    };
    made.map_err(|reason| StartError::Backend {
        name: metrics.backend.as_word(),
        reason,
    })
}

/// MERGE: the lines of the backends with a queue, which are written beside this. Each is
/// `boxed(Delivery::new(encoder, transport, &metrics.delivery, stats))`.
fn queued(_: &MetricsConfig, _own_name: &str) -> Result<Box<dyn Backend>, String> {
    Err("this build does not have it yet".to_owned())
}

fn boxed<B: Backend + 'static, E: std::fmt::Display>(
    made: Result<B, E>,
) -> Result<Box<dyn Backend>, String> {
    match made {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error) => Err(error.to_string()),
    }
}
