//! Descriptors: how many this process may open, its targets need, and remote senders may take.

use crate::limits::{CONNECTS_IN_FLIGHT_MAX, DESCRIPTORS_OWN};
use crate::proto::TargetSpec;
use crate::sys::host::raise_descriptor_limit;

/// The limit to reckon with if the system does not tell its own.
const LIMIT_LEAST: u64 = 256;

/// How many descriptors a set of targets needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    /// While every target answers at once: one for each lasting connection, and those of the
    /// process.
    least: u64,
    /// While no target answers: a connect probe holds one until its timeout.
    most: u64,
}

impl Need {
    fn of<'a>(targets: impl IntoIterator<Item = &'a TargetSpec>, listeners: u64) -> Self {
        let (mut lasting, mut silent, mut shared) = (0, 0, 0);
        for target in targets {
            lasting += target.tcp_port.map_or(0, |_| u64::from(target.flows));
            // Flows to one address share no socket; one socket is among the process's own.
            shared = shared.max(target.udp_port.map_or(0, |_| u64::from(target.flows - 1)));
            if target.connect_port.is_some() {
                let in_flight = target.timeout_ns / target.interval_ns.max(1) + 1;
                silent += in_flight.min(CONNECTS_IN_FLIGHT_MAX as u64);
            }
        }
        let least = DESCRIPTORS_OWN + listeners + lasting + shared;
        Self {
            least,
            most: least + silent,
        }
    }

    /// Returns how many connections remote senders may hold: what our own flows leave, less an
    /// eighth of the limit for connect probes and later targets; and that eighth at least.
    const fn left_for_others(self, limit: u64) -> u64 {
        let eighth = limit / 8;
        let left = limit.saturating_sub(self.least).saturating_sub(eighth);
        if left > eighth { left } else { eighth }
    }
}

/// Raises the limit as far as it may be raised, and logs it if it is too low for these targets.
/// Returns how many connections remote senders may hold.
pub(super) fn prepare<'a>(
    targets: impl IntoIterator<Item = &'a TargetSpec>,
    listeners: usize,
) -> usize {
    let limit = raise_descriptor_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        LIMIT_LEAST
    });
    let need = Need::of(targets, listeners as u64);
    if limit < need.least {
        tracing::error!(
            needed = need.least,
            limit,
            "the hard limit of open files is too low for a TCP connection to each target: some \
             targets are not probed over TCP; raise the limit (`ulimit -Hn`, or `LimitNOFILE=` in \
             a systemd unit), or probe fewer targets over TCP"
        );
    } else if limit < need.most {
        tracing::warn!(
            needed = need.most,
            limit,
            "the hard limit of open files is too low if all targets fall silent, for a connect \
             probe holds a descriptor until its timeout; raise the limit (`ulimit -Hn`, or \
             `LimitNOFILE=` in a systemd unit)"
        );
    }
    usize::try_from(need.left_for_others(limit)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TargetOptions};

    #[test]
    fn what_targets_need_follows_from_their_flows() {
        let config = Config::default();
        let mut targets = Vec::new();
        for options in [
            TargetOptions::new("192.0.2.1"),
            TargetOptions::new("192.0.2.2").udp_only(),
            TargetOptions::new("192.0.2.3").interval_ms(1.0),
        ] {
            targets.push(config.target(options).expect("it is a target"));
        }
        let need = Need::of(&targets, 2);
        assert_eq!(need.least, DESCRIPTORS_OWN + 2 + 2);
        // At a second one is under way and the next begins as its time ends; at a millisecond there
        // would be a thousand.
        assert_eq!(need.most, need.least + 2 + CONNECTS_IN_FLIGHT_MAX as u64);
        // Sixteen connections, and fifteen UDP sockets more, which other targets share.
        let many = TargetOptions::new("192.0.2.4").flows(16);
        targets.extend([many.clone(), many].map(|it| config.target(it).expect("it is a target")));
        assert_eq!(Need::of(&targets, 2).least, need.least + 2 * 16 + 15);
    }

    #[test]
    fn others_have_what_our_flows_leave_and_never_nothing() {
        let reflector = Need::of([], 2);
        let left = 20_000 - 2_500 - DESCRIPTORS_OWN - 2;
        assert_eq!(reflector.left_for_others(20_000), left);
        let prober = Need {
            least: 30_000,
            most: 60_000,
        };
        assert_eq!(prober.left_for_others(20_000), 2_500);
        assert_eq!(prober.left_for_others(60_000), 22_500);
    }
}
