//! Which engine runs, and why.

use crate::config::{Config, EngineKind};
use crate::engine::{EngineError, Kind};
use crate::limits::RING_CONNECTS_PER_SECOND;
use crate::proto::TargetSpec;

/// An engine, and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) kind: Kind,
    pub(super) why: String,
}

impl Choice {
    /// Logs it, and returns the engine.
    pub(super) fn tell(self) -> Kind {
        tracing::info!("the engine is {}: {}", self.kind.word(), self.why);
        self.kind
    }
}

/// Chooses the engine for a configuration. With `auto` it may find out what the system allows.
pub(super) fn choose(config: &Config) -> Choice {
    choose_by(config.engine.kind, connects(&config.targets), || {
        Kind::IoUring.try_out()
    })
}

fn choose_by(
    kind: EngineKind,
    connects: u64,
    try_out: impl FnOnce() -> Result<(), EngineError>,
) -> Choice {
    let (kind, why) = match kind {
        EngineKind::Mio => (Kind::Mio, "as configured".to_owned()),
        EngineKind::IoUring => (Kind::IoUring, "as configured".to_owned()),
        EngineKind::Auto => {
            let load = format!("{connects} connect probes a second");
            if connects < RING_CONNECTS_PER_SECOND {
                let why = format!(
                    "{load}; from {RING_CONNECTS_PER_SECOND} on io_uring takes less processor time"
                );
                (Kind::Mio, why)
            } else {
                match try_out() {
                    Ok(()) => (Kind::IoUring, load),
                    Err(error) => (Kind::Mio, format!("{load}, but {error}")),
                }
            }
        }
    };
    Choice { kind, why }
}

/// Returns how many connect probes a second the targets get.
fn connects(targets: &[TargetSpec]) -> u64 {
    let probed = targets
        .iter()
        .filter(|target| target.connect_port.is_some());
    probed
        .map(|target| 1_000_000_000 / target.interval_ns.max(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::Overrides;

    fn refused() -> Result<(), EngineError> {
        Err(EngineError::Ring {
            what: "make a ring",
            source: io::ErrorKind::PermissionDenied.into(),
            hint: "somebody forbids it",
        })
    }

    fn config(targets: usize, rest: &str) -> Config {
        let target = |number: usize| {
            format!("[[targets]]\nhost = '192.0.2.1'\nlabel = 't{number}'\n{rest}\n")
        };
        let text: String = (0..targets).map(target).collect();
        Config::parse(&text, &Overrides::default()).expect("a right file")
    }

    #[test]
    fn what_is_configured_is_taken_without_asking_the_system() {
        let chosen = |kind| choose_by(kind, 1_000_000, || panic!("nothing is asked")).kind;
        assert_eq!(chosen(EngineKind::Mio), Kind::Mio);
        assert_eq!(chosen(EngineKind::IoUring), Kind::IoUring);
    }

    #[test]
    fn auto_takes_the_ring_for_connects_in_numbers_if_the_system_allows_it() {
        let chosen = |connects, try_out: fn() -> _| {
            let choice = choose_by(EngineKind::Auto, connects, try_out);
            (choice.kind, choice.why)
        };
        let few = chosen(RING_CONNECTS_PER_SECOND - 1, || panic!("nothing is asked"));
        assert_eq!(few.0, Kind::Mio);
        assert!(few.1.contains("29999 connect probes a second"), "{}", few.1);
        let many = chosen(RING_CONNECTS_PER_SECOND, || Ok(()));
        assert_eq!(many.0, Kind::IoUring);
        assert!(
            many.1.contains("30000 connect probes a second"),
            "{}",
            many.1
        );
        let refused = chosen(RING_CONNECTS_PER_SECOND, refused);
        assert_eq!(refused.0, Kind::Mio);
        assert!(refused.1.contains("somebody forbids it"), "{}", refused.1);
    }

    #[test]
    fn connects_are_counted_of_targets_that_have_them() {
        let counted = |targets, rest| connects(&config(targets, rest).targets);
        assert_eq!(counted(3, "interval = 1"), 3_000);
        assert_eq!(counted(3, "interval = 1\ntcp_latency = false"), 0);
        assert_eq!(counted(3, "interval = 1\ntype = 'udp'"), 0);
        assert_eq!(counted(10, "interval = 200"), 50);
    }
}
