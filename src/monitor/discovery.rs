//! Targets that files and servers list. Each source has a thread that looks at it by time, and files also when their
//! folder changes. What it finds goes to the main thread, which changes targets as a reload does.
//!
//! A source that fails leaves its targets as they were, and is told once.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::clock::Clock;
use crate::config::{Config, DiscoveryConfig};
use crate::limits::{DISCOVERY_STACK_BYTES, TARGETS_MAX};
use crate::monitor::discovery::source::Source;
use crate::monitor::nanos;
use crate::proto::TargetSpec;
use crate::sys::folders::FolderWatch;

/// A source is looked at no sooner after it was looked at last, however often its folder changes.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

const FOLDERS: Token = Token(0);
const STOP: Token = Token(1);

/// What a source lists now.
#[derive(Debug)]
pub(super) struct Found {
    generation: u64,
    source: usize,
    targets: Vec<TargetSpec>,
}

/// Takes what was found; called on the threads of the sources.
pub(super) type Tell = Arc<dyn Fn(Found) + Send + Sync>;

/// The sources of a configuration, and what they have listed so far.
#[derive(Default)]
pub(super) struct Discovery {
    tell: Option<Tell>,
    /// Another one with every configuration: what comes of those before is not taken.
    generation: u64,
    lookers: Vec<Looker>,
    found: BTreeMap<usize, (String, Vec<TargetSpec>)>,
}

/// The thread of a source, which ends after its look.
struct Looker {
    is_over: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // It would end at its next look.
        let _ = self.waker.wake();
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self
            .found
            .values()
            .map(|(name, targets)| (name, targets.len()));
        out.debug_map().entries(found).finish()
    }
}

impl Discovery {
    /// Begins to look at the sources of a configuration.
    pub(super) fn start(&mut self, config: &Config, tell: Tell) -> io::Result<()> {
        self.tell = Some(tell);
        self.restart(config)
    }

    /// Looks at the sources of another configuration, at once. What those that stay have listed holds until they have
    /// been looked at.
    pub(super) fn restart(&mut self, config: &Config) -> io::Result<()> {
        let Some(tell) = &self.tell else {
            return Ok(());
        };
        self.generation += 1;
        self.lookers.clear();
        for (number, discovery) in config.discovery.iter().enumerate() {
            let generation = self.generation;
            let tell = tell.clone();
            let tell = move |targets| {
                tell(Found {
                    generation,
                    source: number,
                    targets,
                });
            };
            let known = self.found.get(&number).map(|(_, targets)| targets.clone());
            let source = Source::new(config, discovery, known);
            self.lookers.push(look_at(source, discovery, tell)?);
        }
        Ok(())
    }

    /// Forgets what sources have listed that another configuration does not have.
    pub(super) fn keep(&mut self, config: &Config) {
        let names: Vec<String> = config.discovery.iter().map(DiscoveryConfig::name).collect();
        self.found
            .retain(|number, (name, _)| names.get(*number) == Some(name));
    }

    /// Takes what a source lists. Returns what the source is called, if it is one of this configuration still.
    pub(super) fn take(&mut self, config: &Config, found: Found) -> Option<String> {
        let source = config.discovery.get(found.source)?;
        if found.generation != self.generation {
            return None;
        }
        let name = source.name();
        self.found
            .insert(found.source, (name.clone(), found.targets));
        Some(name)
    }

    /// Returns these targets, and behind them those that are listed besides, up to the maximum of all.
    pub(super) fn beside(&self, targets: &[TargetSpec]) -> Vec<TargetSpec> {
        let called = |spec: &TargetSpec| (spec.host.clone(), spec.label.clone(), spec.tags.clone());
        let mut seen: BTreeSet<_> = targets.iter().map(called).collect();
        let mut all = targets.to_vec();
        let mut left_out = 0_usize;
        for (_, listed) in self.found.values() {
            for spec in listed {
                // One target in two lists is one.
                if !seen.insert(called(spec)) {
                    continue;
                }
                if all.len() < TARGETS_MAX {
                    all.push(spec.clone());
                } else {
                    left_out += 1;
                }
            }
        }
        if left_out > 0 {
            tracing::error!(
                left_out,
                "there are more targets than {TARGETS_MAX}: the last ones that were discovered are not probed"
            );
        }
        all
    }
}

/// Starts the thread of a source.
fn look_at(
    mut source: Source,
    discovery: &DiscoveryConfig,
    tell: impl Fn(Vec<TargetSpec>) + Send + 'static,
) -> io::Result<Looker> {
    let mut poll = Poll::new()?;
    let looker = Looker {
        is_over: Arc::default(),
        waker: Arc::new(Waker::new(poll.registry(), STOP)?),
    };
    // A host may be out of watches: then the files are looked at by time alone.
    let watch = (!discovery.files.is_empty())
        .then(FolderWatch::new)
        .and_then(Result::ok);
    if let Some(watch) = &watch {
        watch.register(poll.registry(), FOLDERS)?;
    }
    let (is_over, refresh) = (looker.is_over.clone(), discovery.refresh);
    let folders: Vec<_> = discovery
        .files
        .iter()
        .map(|glob| glob.folder.clone())
        .collect();
    let body = move || {
        let clock = Clock::new();
        let mut events = Events::with_capacity(8);
        while !is_over.load(Ordering::Acquire) {
            if let Some(watch) = &watch {
                for folder in &folders {
                    // One that is not there yet is watched from the next look on.
                    let _ = watch.add(folder);
                }
                let _ = watch.drain();
            }
            let began = clock.mono_for_sure();
            if let Some(targets) = source.look()
                && !is_over.load(Ordering::Acquire)
            {
                tell(targets);
            }
            // A folder that changes again and again must not have us look all the time.
            let mut due_ns = nanos(refresh);
            while !is_over.load(Ordering::Acquire) {
                let passed_ns = clock.mono_for_sure().since(began);
                if passed_ns >= due_ns {
                    break;
                }
                let left = Duration::from_nanos(due_ns - passed_ns);
                if poll.poll(&mut events, Some(left)).is_err() {
                    // A signal: what is left of the time is waited for again.
                    continue;
                }
                if events.iter().any(|event| event.token() == FOLDERS) {
                    due_ns = LOOK_EVERY_NS.min(due_ns);
                }
            }
        }
    };
    let builder = thread::Builder::new().name("lm-discover".into());
    builder.stack_size(DISCOVERY_STACK_BYTES).spawn(body)?;
    Ok(looker)
}
