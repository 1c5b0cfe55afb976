//! What would go wrong with a configuration on this host, as far as that can be seen without starting.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::config::{BackendSettings, Config, EngineKind, MetricsConfig, Word as _};
use crate::engine::{EngineError, Kind};
use crate::history::{Load, estimate};
use crate::limits::EVERY_ADDRESS_MAX;
use crate::monitor::{RunError, StartError, engines, resolver, sandbox};
use crate::proto::{FlowKind, Marks, Protocol, TargetSpec};
use crate::publish;
use crate::record::{DSCP, HTTP, Metric, MetricKind, TagSet};
use crate::sys;

/// Returns why the daemon would end at once on this host: its log file cannot be written, an address to
/// listen on is not there, its engine is refused. Starts nothing, and leaves no file.
pub fn check(config: &Config) -> Result<(), RunError> {
    if let Some(path) = &config.log_file {
        can_log_to(path).map_err(|source| RunError::LogFile {
            path: path.clone(),
            source,
        })?;
    }
    if let Some(history) = &config.history {
        sys::process::can_write(&history.dir).map_err(|error| StartError::Backend {
            name: "history".to_owned(),
            reason: format!("cannot write to {}: {error}", history.dir.display()),
        })?;
    }
    if config.engine.kind == EngineKind::IoUring {
        Kind::IoUring.try_out().map_err(StartError::Engine)?;
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

/// Returns all that there is to say of a configuration which the daemon would start with, a line each; only what
/// holds on every host unless `is_here`.
pub fn report(config: &Config, is_here: bool) -> String {
    let found = if is_here {
        [warnings(config), backends(config)].concat()
    } else {
        Vec::new()
    };
    let lines = config.warnings.iter().chain(&found);
    let mut lines: Vec<String> = lines.map(|text| format!("warning: {text}\n")).collect();
    lines.extend(unmeasured(config));
    lines.extend(pools(config));
    let each = |metrics: &MetricsConfig| {
        let name = metrics.settings.backend().as_word();
        format!("{} series in {name}", series(config, metrics))
    };
    let each: Vec<String> = config.metrics.iter().map(each).collect();
    lines.push(format!(
        "{} targets: up to {}, and those of hosts that probe this one\n",
        config.targets.len(),
        each.join(", ")
    ));
    lines.extend(kept(config));
    if is_here {
        let engines::Choice { kind, why } = engines::choose(config);
        lines.push(format!("engine: {} ({why})\n", kind.word()));
        lines.push(format!("sandbox: {}\n", sandbox::outlook(config)));
    }
    lines.concat()
}

/// Returns what cannot be measured of targets because of what they speak, a line for each such wire.
fn unmeasured(config: &Config) -> impl Iterator<Item = String> {
    let wires = [
        (
            Protocol::Text,
            "no dwell and no one-way delays of replies, no direction of losses, nothing of their clocks",
        ),
        (
            Protocol::Stamp,
            "no TCP and no connects; losses have a direction if the reflector counts its replies, hops are known if \
             it returns the TTL, and the time at which a reply left comes after it only with a `size` of 64 and more",
        ),
    ];
    wires.into_iter().filter_map(|(wire, lacks)| {
        let mut labels = config
            .targets
            .iter()
            .filter(|target| target.protocol == wire);
        let first = &labels.next()?.label;
        let others = match labels.count() {
            0 => String::new(),
            count => format!(" and {count} others"),
        };
        let wire = wire.as_word();
        Some(format!(
            "note: \"{first}\"{others} with `protocol` {wire:?}: {lacks}\n"
        ))
    })
}

/// Returns how large the history of the targets is, if it is kept.
fn kept(config: &Config) -> Option<String> {
    let history = config.history.as_ref()?;
    let is_delay = |metric: &&Metric| {
        let kinds = [
            MetricKind::Delay,
            MetricKind::SignedDelay,
            MetricKind::Window,
        ];
        kinds.contains(&metric.kind) && metric.flow.is_some() && history.choice.has(metric)
    };
    let delays: Vec<&Metric> = Metric::all().filter(is_delay).collect();
    let each = config.targets.iter().map(|target| Load {
        windows: delays.iter().map(|metric| series_of(target, metric)).sum(),
        interval_ns: target.interval_ns,
    });
    let bytes = estimate(each, history.interval, history.keep);
    let mib = bytes.div_ceil(1024 * 1024);
    let days = history.keep.as_secs() / 86_400;
    let max_mib = history.max_mib;
    let over = if mib > max_mib.into() {
        format!(", and `max_mib` is {max_mib}: the oldest goes sooner")
    } else {
        String::new()
    };
    Some(format!(
        "history: some {mib} MiB for {days} days of these targets{over}\n"
    ))
}

/// Returns which targets stand for several, if any do.
fn pools(config: &Config) -> Option<String> {
    let mut pools = config.targets.iter().filter(|target| target.every_address);
    let first = &pools.next()?.label;
    let others = match pools.count() {
        0 => String::new(),
        count => format!(" and {count} others"),
    };
    Some(format!(
        "note: \"{first}\"{others} with `every_address`: each address of the name, {EVERY_ADDRESS_MAX} at most, is a \
         target and has as many series as are counted here for one\n"
    ))
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
    warnings.extend(ways(config));
    for metrics in &config.metrics {
        if let Some(folder) = &metrics.delivery.spool_dir
            && let Err(error) = sys::process::can_write(folder)
        {
            let folder = folder.display();
            warnings.push(format!(
                "`spool_dir` {folder} cannot be written: {error}; batches will wait in memory"
            ));
        }
    }
    warnings
}

/// Returns the ways by which targets are to be probed and that this host does not have now, a line each.
fn ways(config: &Config) -> impl Iterator<Item = String> {
    let mut ways = BTreeMap::<Marks, Vec<&TargetSpec>>::new();
    for target in &config.targets {
        let Marks {
            source, interface, ..
        } = (*target.marks).clone();
        let way = Marks {
            source,
            interface,
            ..Marks::default()
        };
        if way != Marks::default() {
            ways.entry(way).or_default().push(target);
        }
    }
    ways.into_iter().filter_map(|(way, targets)| {
        let error = sys::marks::try_out(&way).err()?;
        let why = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "this host does not have that address".to_owned(),
            _ => error.to_string(),
        };
        let given =
            |key: &str, value: Option<String>| value.map(|value| format!("`{key}` {value}"));
        let interface = given("interface", way.interface.as_deref().map(str::to_owned));
        let source = given("source", way.source.map(|source| source.to_string()));
        let way: Vec<String> = source.into_iter().chain(interface).collect();
        let others = match targets.len() {
            1 => String::new(),
            count => format!(" and {} others", count - 1),
        };
        Some(format!(
            "{}: {why}; no probe of \"{}\"{others} can leave",
            way.join(" with "),
            targets[0].label
        ))
    })
}

/// Returns what the backends will find wrong, and say themselves once they run.
fn backends(config: &Config) -> Vec<String> {
    let look = |metrics: &MetricsConfig| {
        let mut faults = Vec::new();
        #[cfg(feature = "http-backends")]
        {
            let kind = metrics.settings.backend().as_word();
            let name = publish::delivery::spool_name(kind, &metrics.name);
            let folder = metrics.delivery.spool_dir.as_deref();
            faults
                .extend(folder.and_then(|folder| publish::delivery::look_at_spool(folder, &name)));
            let look = publish::look_at_certificates;
            faults.extend(match &metrics.settings {
                BackendSettings::ClickHouse(to) => look(&to.server, to.ca_file.as_deref()),
                BackendSettings::Pushgateway(to) => look(&to.gateway, to.ca_file.as_deref()),
                BackendSettings::Datadog(to) => look(to.base(), to.ca_file.as_deref()),
                BackendSettings::Otlp(to) => look(&to.endpoint, to.ca_file.as_deref()),
                _ => None,
            });
        }
        faults
    };
    config.metrics.iter().flat_map(look).collect()
}

/// Kinds of events that any target may have: burst, outage, its beginning, change of route, clock step.
const EVENTS_OF_TARGET: usize = 5;

/// Returns how many series a backend gets at most of the targets and of this host itself. Those of
/// senders that this host answers come on top.
pub fn series(config: &Config, metrics: &MetricsConfig) -> usize {
    let is_gateway = matches!(metrics.settings, BackendSettings::Pushgateway(_));
    let is_sent = |metric: &&Metric| {
        let is = |other: &Metric| other.name == metric.name;
        let is_alien = || {
            if is_gateway {
                HTTP.iter().any(is)
            } else {
                Metric::of_prometheus().any(is)
            }
        };
        metrics.choice.has(metric) && !is_alien()
    };
    let sent: Vec<&Metric> = Metric::all().filter(is_sent).collect();
    let of_target = |target| -> usize { sent.iter().map(|it| series_of(target, it)).sum() };
    let own = |metric: &&Metric| match metric.tags {
        TagSet::Host | TagSet::Event => 1,
        TagSet::Backend => config.metrics.len(),
        TagSet::Flow | TagSet::Direction => 0,
    };
    config.targets.iter().map(of_target).sum::<usize>() + sent.iter().map(own).sum::<usize>()
}

/// Returns how many series of a metric a target makes at most.
fn series_of(target: &TargetSpec, metric: &Metric) -> usize {
    let has_flow = match metric.flow {
        Some(FlowKind::Udp) => target.udp_port.is_some(),
        Some(FlowKind::Tcp) => target.tcp_port.is_some(),
        Some(FlowKind::Connect) => target.connect_port.is_some(),
        None => true,
    } && (target.flows > 1 || !metric.name.contains(".worst."));
    let own = if target.per_flow && target.flows > 1 {
        usize::from(target.flows)
    } else {
        0
    };
    // Each of several flows by itself, and all of them; connects are one.
    let is_whole = metric.flow == Some(FlowKind::Connect) || metric.name.contains(".worst.");
    let times = if is_whole { 1 } else { 1 + own };
    let once = match metric.tags {
        _ if !has_flow => 0,
        _ if DSCP.iter().any(|it| it.name == metric.name) && target.marks.dscp.is_none() => 0,
        // Until the difference of the clocks is known it is not taken out.
        TagSet::Flow if metric.kind == MetricKind::SignedDelay && target.owd_corrected => 2,
        TagSet::Flow => 1,
        TagSet::Direction => 2,
        TagSet::Event => EVENTS_OF_TARGET + usize::from(target.marks.dscp.is_some()),
        TagSet::Host | TagSet::Backend => 0,
    };
    once * times
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
    fn a_way_that_this_host_does_not_have_is_told_once() {
        let config = parse(
            "source = '192.0.2.99'
            targets = [{ host = '192.0.2.1' }, { host = '192.0.2.2' }, { host = '192.0.2.3', source = '127.0.0.1' }]",
        );
        let told = "`source` 192.0.2.99: this host does not have that address; no probe of \"192.0.2.1\" and 1 others \
                    can leave";
        assert_eq!(warnings(&config), [told]);
        let config = parse(
            "targets = [{ host = '192.0.2.1', interface = 'no-such-thing', source = '127.0.0.1' }]",
        );
        let told = warnings(&config);
        assert_eq!(told.len(), 1, "{told:?}");
        let way = "`source` 127.0.0.1 with `interface` no-such-thing: ";
        assert!(told[0].starts_with(way), "{told:?}");
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
    fn what_a_wire_cannot_tell_is_told() {
        let text = "udp_port = 862\ntargets = [{ host = '192.0.2.1', protocol = 'stamp' }, \
                    { host = '192.0.2.2', protocol = 'stamp' }, { host = '192.0.2.3' }]";
        let told = report(&parse(text), true);
        assert!(
            told.contains("note: \"192.0.2.1\" and 1 others with `protocol` \"stamp\": no TCP"),
            "{told}"
        );
        assert_eq!(told.matches("note: ").count(), 1, "{told}");
    }

    #[test]
    fn names_that_stand_for_several_targets_are_told() {
        let text = "every_address = true\ntargets = [{ host = 'a.example' }, { host = 'b.example' }, \
                    { host = '192.0.2.1' }]";
        let told = report(&parse(text), true);
        assert!(
            told.contains("note: \"a.example\" and 1 others with `every_address`: each address"),
            "{told}"
        );
        assert_eq!(told.matches("every_address").count(), 1, "{told}");
    }

    #[test]
    fn series_are_those_of_the_flows_that_there_are() {
        let of = |text: &str| {
            let config = parse(text);
            series(&config, &config.metrics[0])
        };
        let with = |rest: &str| of(&format!("[[targets]]\nhost = '192.0.2.1'\n{rest}"));
        let none = of("");
        let (udp, tcp) = (with("type = 'udp'") - none, with("type = 'tcp'") - none);
        let shared = udp + tcp - (with("") - none);
        assert!(udp > shared && tcp > udp, "{udp} {tcp} {shared}");
        assert!(with("type = 'tcp'\ntcp_latency = false") - none < tcp);
        let two = "[[targets]]\nhost = '192.0.2.1'\n[[targets]]\nhost = '192.0.2.2'";
        assert_eq!(of(two) - none, 2 * (with("") - none));
        // Of one-way delays there are two until the clocks are known.
        assert_eq!(with("owd = 'corrected'"), with("") + 2);
        let chosen = |names: &str| with(&format!("[metrics]\nmetrics = [{names}]"));
        assert_eq!(chosen("'udp.wan.rtt', 'udp.wan.owd'"), 2);
        assert_eq!(chosen("'*.ipdv', 'monitor.cpu'"), 5);
        assert_eq!(chosen("'!udp.wan.rtt', '!tcp.wan.pdv'"), with("") - 3);
        // A backend that takes events makes no series of them.
        assert_eq!(chosen("'monitor.events', 'udp.wan.burst'"), 0);
    }

    #[cfg(feature = "http-backends")]
    #[test]
    fn check_tells_the_series_of_each_backend() {
        let file = parse(
            "[[targets]]
            host = '192.0.2.1'
            type = 'udp'
            [[metrics]]
            metrics = ['udp.wan.rtt']
            [[metrics]]
            backend = 'pushgateway'
            metrics = ['udp.wan.burst', 'monitor.events', 'monitor.backend.sent']",
        );
        let told = report(&file, true);
        let series =
            "1 targets: up to 1 series in cli, 10 series in pushgateway, and those of hosts";
        assert!(told.starts_with(series), "{told}");
    }
}
