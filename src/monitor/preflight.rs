//! What would go wrong with a configuration on this host, as far as that can be seen without starting.

use std::io;
use std::path::Path;

use crate::config::{BackendSettings, Config, MetricsConfig, Word as _};
use crate::engine::EngineError;
use crate::limits::PUSHGATEWAY_SERIES_MAX;
use crate::monitor::{RunError, StartError, resolver};
use crate::proto::{FlowKind, TargetSpec};
use crate::publish;
use crate::record::{Metric, TagSet};
use crate::sys;

/// Returns why the daemon would end at once on this host: its log file cannot be written, an address to
/// listen on is not there. Starts nothing, and leaves no file.
pub fn check(config: &Config) -> Result<(), RunError> {
    if let Some(path) = &config.log_file {
        can_log_to(path).map_err(|source| RunError::LogFile {
            path: path.clone(),
            source,
        })?;
    }
    let addresses = resolver::own_addresses(&config.addresses)?;
    for address in addresses {
        // A free port, since the daemon itself may run and have its own.
        let address = address.at(0);
        sys::udp::listen(address, true).map_err(|source| {
            StartError::Engine(EngineError::Listen {
                protocol: "UDP",
                address,
                source,
            })
        })?;
    }
    Ok(())
}

/// Returns all that there is to say of a configuration which the daemon would start with, a line each.
pub fn report(config: &Config) -> String {
    let found = [warnings(config), backends(config)].concat();
    let lines = config.warnings.iter().chain(&found);
    let mut lines: Vec<String> = lines.map(|text| format!("warning: {text}\n")).collect();
    let (targets, series) = (config.targets.len(), series(config));
    lines.push(format!(
        "{targets} targets: up to {series} series, and those of hosts that probe this one\n"
    ));
    lines.concat()
}

/// Returns what the daemon would go on without.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(folder) = &config.burst.dump_dir
        && let Err(error) = sys::process::can_write(folder)
    {
        let folder = folder.display();
        warnings.push(format!(
            "`dump_dir` {folder} cannot be written: {error}; dumps will be lost"
        ));
    }
    for metrics in &config.metrics {
        if let Some(folder) = &metrics.delivery.spool_dir
            && let Err(error) = sys::process::can_write(folder)
        {
            let folder = folder.display();
            warnings.push(format!(
                "`spool_dir` {folder} cannot be written: {error}; batches will wait in memory"
            ));
        }
        if matches!(metrics.settings, BackendSettings::Pushgateway(_)) {
            let series = series(config);
            if series > PUSHGATEWAY_SERIES_MAX {
                warnings.push(format!(
                    "the targets make up to {series} series, and {PUSHGATEWAY_SERIES_MAX} have room in a \
                     push to the gateway: the rest is left out"
                ));
            }
        }
    }
    warnings
}

/// Returns what the backends will find wrong, and say themselves once they run.
fn backends(config: &Config) -> Vec<String> {
    let look = |metrics: &MetricsConfig| {
        let mut faults = Vec::new();
        #[cfg(feature = "http-backends")]
        {
            let name = metrics.settings.backend().as_word();
            let folder = metrics.delivery.spool_dir.as_deref();
            faults.extend(folder.and_then(|folder| publish::delivery::look_at_spool(folder, name)));
            let look = publish::look_at_certificates;
            faults.extend(match &metrics.settings {
                BackendSettings::ClickHouse(to) => look(&to.server, to.ca_file.as_deref()),
                BackendSettings::Pushgateway(to) => look(&to.gateway, to.ca_file.as_deref()),
                BackendSettings::Datadog(to) => look(to.base(), to.ca_file.as_deref()),
                _ => None,
            });
        }
        faults
    };
    config.metrics.iter().flat_map(look).collect()
}

/// Returns how many series the targets make at most, with those of this host itself. Those of senders
/// that this host answers come on top.
pub fn series(config: &Config) -> usize {
    let targets: usize = config.targets.iter().map(series_of).sum();
    let is_own = |metric: &&Metric| matches!(metric.tags, TagSet::Host | TagSet::Backend);
    targets + Metric::all().filter(is_own).count()
}

fn series_of(target: &TargetSpec) -> usize {
    let has = |kind: Option<FlowKind>| match kind {
        Some(FlowKind::Udp) => target.udp_port.is_some(),
        Some(FlowKind::Tcp) => target.tcp_port.is_some(),
        Some(FlowKind::Connect) => target.connect_port.is_some(),
        None => true,
    };
    let each = |metric: &Metric| match metric.tags {
        TagSet::Flow if has(metric.flow) => 1,
        TagSet::Direction if has(metric.flow) => 2,
        _ => 0,
    };
    Metric::all().map(each).sum()
}

/// Tries to append to a file, or in the first folder on the way to it that is there.
fn can_log_to(path: &Path) -> io::Result<()> {
    if path.exists() {
        return std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map(drop);
    }
    sys::process::can_write(path.parent().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn parse(text: &str) -> Config {
        Config::parse(text, &Overrides::default()).unwrap()
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let new = folder.path().join("new").join("er");
        let dumps = |path: &Path| parse(&format!("[burst]\ndump_dir = '{}'", path.display()));
        for wrong in [file.clone(), file.join("below")] {
            let told = warnings(&dumps(&wrong));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].contains("cannot be written: Not a directory"),
                "{told:?}"
            );
        }
        for right in [folder.path(), &new] {
            assert_eq!(warnings(&dumps(right)), [""; 0]);
        }
        assert!(!new.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let log = |path: &Path| check(&parse(&format!("log_file = '{}'", path.display())));
        assert!(log(&file).is_ok() && log(&new).is_ok());
        for wrong in [file.join("log"), folder.path().to_owned()] {
            let told = log(&wrong).unwrap_err().to_string();
            assert!(told.starts_with("cannot open the log file"), "{told}");
        }
    }

    #[cfg(feature = "http-backends")]
    #[test]
    fn a_spool_is_looked_at_as_well() {
        let told = warnings(&parse(
            "[metrics]\nbackend = 'pushgateway'\nspool_dir = '/etc/hosts'",
        ));
        assert!(
            told[0].starts_with("`spool_dir` /etc/hosts cannot be written"),
            "{told:?}"
        );
    }

    #[test]
    fn an_address_of_another_host_cannot_be_listened_on() {
        for address in ["127.0.0.1", "::", "localhost"] {
            check(&parse(&format!("address = '{address}'"))).unwrap();
        }
        for address in [
            "203.0.113.5",
            "no-such-host.invalid",
            "fe80::1%no-such-link",
        ] {
            let told = check(&parse(&format!("address = '{address}'"))).unwrap_err();
            assert!(told.to_string().contains(address), "{told}");
        }
    }

    #[test]
    fn series_are_those_of_the_flows_that_there_are() {
        let with = |rest: &str| series(&parse(&format!("[[targets]]\nhost = '192.0.2.1'\n{rest}")));
        let none = series(&parse(""));
        let (udp, tcp) = (with("type = 'udp'") - none, with("type = 'tcp'") - none);
        let shared = udp + tcp - (with("") - none);
        assert!(udp > shared && tcp > udp, "{udp} {tcp} {shared}");
        assert!(with("type = 'tcp'\ntcp_latency = false") - none < tcp);
        let two = "[[targets]]\nhost = '192.0.2.1'\n[[targets]]\nhost = '192.0.2.2'";
        assert_eq!(series(&parse(two)) - none, 2 * (with("") - none));
    }
}
