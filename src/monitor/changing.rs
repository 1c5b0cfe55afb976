//! Backends that come, change and go while the monitor runs.
//!
//! One that goes gets the interval that runs, and has its time to send what waits. One in its place begins to gather at
//! once, and is made when that one has ended: both may have the same spool, port or group of a gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::config::{BackendSettings, MetricsConfig};
use crate::limits::LINGER_S_MAX;
use crate::monitor::commands::Command;
use crate::monitor::{LatencyMonitor, StartError, sink_config};
use crate::publish::{Backend, Flusher};
use crate::record::{BackendStats, Feed, Joining};

/// Makes a backend with these figures.
pub(super) type Make<'a> =
    &'a dyn Fn(&MetricsConfig, &Arc<BackendStats>) -> Result<Box<dyn Backend>, StartError>;

/// The poll thread takes a backend in within a turn. One that does not for this long is stuck.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Backends between two configurations.
#[derive(Debug, Default)]
pub(super) struct Changing {
    leaving: Vec<Flusher>,
    waiting: Vec<Waiting>,
}

/// A backend that gathers, and is made when the one before it has ended.
#[derive(Debug)]
struct Waiting {
    metrics: MetricsConfig,
    stats: Arc<BackendStats>,
    feed: Feed,
}

impl Changing {
    /// The daemon ends: returns those that still send. What others have gathered nobody takes.
    pub(super) fn end(self) -> Vec<Flusher> {
        self.leaving
    }
}

/// How many backends a reload has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) added: usize,
    pub(super) replaced: usize,
    pub(super) removed: usize,
}

/// What comes, and what goes.
#[derive(Debug, PartialEq)]
struct Plan {
    gone: Vec<MetricsConfig>,
    /// With whether there is one of its name that goes.
    new: Vec<(MetricsConfig, bool)>,
}

impl Plan {
    fn between(before: &[MetricsConfig], after: &[MetricsConfig]) -> Self {
        let gone = before.iter().filter(|old| !after.contains(old));
        let gone: Vec<MetricsConfig> = gone.cloned().collect();
        let new = after.iter().filter(|new| !before.contains(new));
        let new = new.map(|new| {
            let replaces = gone.iter().any(|old| old.name == new.name);
            (new.clone(), replaces)
        });
        Self {
            new: new.collect(),
            gone,
        }
    }
}

/// True if batches of a backend wait in memory: it goes on until they are sent, beside the one in its place.
fn lingers(metrics: &MetricsConfig) -> bool {
    let is_queued = matches!(
        metrics.settings,
        BackendSettings::ClickHouse(_) | BackendSettings::Datadog(_) | BackendSettings::Otlp(_)
    );
    is_queued && metrics.delivery.spool_dir.is_none()
}

impl LatencyMonitor {
    /// Publishes to these backends from now on. One that is as before is not touched. If a new one cannot be made,
    /// nothing changes.
    pub(super) fn change_backends(
        &mut self,
        after: Vec<MetricsConfig>,
        make: Make<'_>,
        on_closed: impl Fn() + Clone + Send + 'static,
    ) -> Result<Changed, StartError> {
        let Plan { gone, new } = Plan::between(&self.config.metrics, &after);
        let mut made = Vec::new();
        for (metrics, replaces) in new {
            let stats = Arc::new(BackendStats::new(&metrics.name));
            let before = gone.iter().find(|old| old.name == metrics.name);
            let waits = before.is_some_and(|before| !lingers(before));
            let backend = if waits {
                None
            } else {
                Some(make(&metrics, &stats)?)
            };
            made.push((metrics, stats, backend, replaces));
        }
        let mut changed = Changed {
            removed: gone.len(),
            ..Changed::default()
        };
        let ended = gone.iter().map(|metrics| {
            let is_replaced = made.iter().any(|(new, ..)| new.name == metrics.name);
            (&metrics.name, self.end_backend(metrics, is_replaced))
        });
        let ended: BTreeMap<_, _> = ended.collect();
        for (metrics, stats, backend, replaces) in made {
            let after = ended.get(&metrics.name).cloned().flatten();
            if let Err(error) = self.bring(metrics, stats, backend, after, on_closed.clone()) {
                // Nobody comes in the place of those any more, and they have been asked to end.
                ended.values().flatten().for_each(|stats| self.leave(stats));
                return Err(error);
            }
            changed.replaced += usize::from(replaces);
            changed.added += usize::from(!replaces);
        }
        changed.removed -= changed.replaced;
        self.config.metrics = after;
        Ok(changed)
    }

    /// Has a backend gather, in the place of the one of the figures `after`, and publish. Without a backend that begins
    /// when that one has ended.
    fn bring(
        &mut self,
        metrics: MetricsConfig,
        stats: Arc<BackendStats>,
        backend: Option<Box<dyn Backend>>,
        after: Option<Arc<BackendStats>>,
        on_closed: impl Fn() + Send + 'static,
    ) -> Result<(), StartError> {
        let feed = self.join(&metrics, &stats, after)?;
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        match backend {
            Some(backend) => {
                let flusher = Flusher::spawn(feed, backend, on_closed);
                running.flushers.push(flusher.map_err(StartError::Thread)?);
            }
            None => running.changing.waiting.push(Waiting {
                metrics,
                stats,
                feed,
            }),
        }
        Ok(())
    }

    /// Has the poll thread gather no more for the backend of these figures.
    fn leave(&self, stats: &Arc<BackendStats>) {
        if let Some(running) = &self.running {
            running.commands.push(Command::Leave(Arc::clone(stats)));
        }
    }

    /// Has a backend send what it has, and end. Returns its figures. One that is replaced gathers until the one in its
    /// place does.
    fn end_backend(
        &mut self,
        metrics: &MetricsConfig,
        is_replaced: bool,
    ) -> Option<Arc<BackendStats>> {
        let timeout = if lingers(metrics) {
            Duration::from_secs(LINGER_S_MAX)
        } else {
            self.config.shutdown_timeout
        };
        let running = self.running.as_mut()?;
        let waiting = &mut running.changing.waiting;
        // It has not even begun: what it has gathered is lost, and told.
        if let Some(place) = waiting.iter().position(|it| it.metrics == *metrics) {
            let Waiting { stats, .. } = waiting.remove(place);
            tracing::warn!(
                backend = stats.name(),
                "is gone before the one in whose place it is has ended: what it has gathered is lost"
            );
            running.commands.push(Command::Leave(Arc::clone(&stats)));
            return Some(stats);
        }
        let is_it = |flusher: &Flusher| flusher.stats().name() == metrics.name;
        let place = running.flushers.iter().position(is_it)?;
        let flusher = running.flushers.remove(place);
        let stats = Arc::clone(flusher.stats());
        flusher.stop(timeout);
        running.changing.leaving.push(flusher);
        if !is_replaced {
            self.leave(&stats);
        }
        Some(stats)
    }

    /// Has the poll thread gather for a backend from now on.
    fn join(
        &self,
        metrics: &MetricsConfig,
        stats: &Arc<BackendStats>,
        after: Option<Arc<BackendStats>>,
    ) -> Result<Feed, StartError> {
        let (reply, joined) = sync_channel(1);
        let joining = Joining {
            config: sink_config(metrics),
            stats: Arc::clone(stats),
            after,
            reply,
        };
        let is_asked = self
            .running
            .as_ref()
            .is_some_and(|running| running.commands.push(Command::Join(Box::new(joining))));
        let feed = is_asked.then(|| joined.recv_timeout(JOIN_TIMEOUT).ok());
        feed.flatten().ok_or_else(|| StartError::Backend {
            name: metrics.name.clone(),
            reason: "the one before it does not take its last records, or the poll thread is stuck"
                .to_owned(),
        })
    }

    /// Forgets backends that have ended, and makes those that wait for that.
    pub(super) fn tend_backends(
        &mut self,
        make: Make<'_>,
        on_closed: impl Fn() + Clone + Send + 'static,
    ) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Changing { leaving, waiting } = &mut running.changing;
        let ended = leaving.extract_if(.., |flusher| flusher.has_ended());
        for flusher in ended.collect::<Vec<_>>() {
            let name = flusher.stats().name().to_owned();
            flusher.join(Duration::ZERO);
            tracing::info!(backend = name, "has ended");
        }
        let still = |name: &str| leaving.iter().any(|it| it.stats().name() == name);
        let ready = waiting.extract_if(.., |it| !still(it.stats.name()));
        for Waiting {
            metrics,
            stats,
            feed,
        } in ready.collect::<Vec<_>>()
        {
            let made = make(&metrics, &stats);
            let spawned = made.and_then(|backend| {
                Flusher::spawn(feed, backend, on_closed.clone()).map_err(StartError::Thread)
            });
            match spawned {
                Ok(flusher) => running.flushers.push(flusher),
                Err(error) => {
                    tracing::error!("{error}; it publishes nothing until the next reload");
                    running.commands.push(Command::Leave(stats));
                    // A reload of the same file tries again.
                    self.config.metrics.retain(|other| *other != metrics);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides};

    fn metrics(text: &str) -> Vec<MetricsConfig> {
        let config = Config::parse(text, &Overrides::default());
        config.expect("a right file").metrics
    }

    #[test]
    fn what_is_as_before_is_kept_and_a_name_is_what_is_replaced() {
        let before = metrics("[[metrics]]\nbackend = 'cli'\n[[metrics]]\nbackend = 'log'");
        let after = metrics(
            "[[metrics]]\nbackend = 'log'\nlevel = 'ERROR'\n[[metrics]]\nbackend = 'zeromq'\n[[metrics]]\nbackend = 'cli'",
        );
        let plan = Plan::between(&before, &after);
        assert_eq!(plan.gone, before[1..]);
        assert_eq!(
            plan.new,
            [(after[0].clone(), true), (after[1].clone(), false)]
        );
        let same = Plan::between(&before, &before);
        assert!(same.gone.is_empty() && same.new.is_empty());
    }

    #[test]
    fn only_what_waits_in_memory_lingers() {
        for (text, expected) in [
            ("backend = 'clickhouse'", true),
            ("backend = 'otlp'", true),
            ("backend = 'datadog'\napi_key = 'x'", true),
            ("backend = 'clickhouse'\nspool_dir = '/tmp'", false),
            ("backend = 'pushgateway'", false),
            ("backend = 'cli'", false),
        ] {
            let metrics = metrics(&format!("[metrics]\n{text}"));
            assert_eq!(lingers(&metrics[0]), expected, "{text}");
        }
    }
}
