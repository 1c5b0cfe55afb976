//! A configuration that is read again while the monitor runs: what of it changes, and what only a restart can.
//!
//! A target that is as before is not touched: it keeps its sockets, numbers, clocks and windows.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigError, Membership};
use crate::monitor::commands::{Answering, Command};
use crate::monitor::{LatencyMonitor, TargetHandle, descriptors, preflight};
use crate::proto::TargetSpec;

/// What a [reload](LatencyMonitor::reload) has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Targets that are as before.
    pub kept: usize,
    /// Targets that have another key, and are otherwise as before.
    pub rekeyed: usize,
    /// Targets that are probed from now on.
    pub added: usize,
    /// Targets that are probed no more.
    pub removed: usize,
    /// Keys of the configuration that have changed, and hold from the next start on.
    pub at_restart: Vec<&'static str>,
}

/// How to come from some targets to others.
#[derive(Debug, Default)]
struct Changes {
    kept: usize,
    rekeyed: Vec<(TargetHandle, TargetSpec)>,
    removed: Vec<TargetHandle>,
    added: Vec<TargetSpec>,
}

impl Changes {
    /// Of two targets that cannot be told apart by their tags one that is as before is kept first.
    fn between(before: &BTreeMap<TargetHandle, TargetSpec>, after: &[TargetSpec]) -> Self {
        let mut changes = Self::default();
        let mut old = Old::default();
        for (handle, spec) in before {
            old.entry(called(spec)).or_default().push((*handle, spec));
        }
        let mut others = Vec::new();
        for new in after {
            match take(&mut old, new, PartialEq::eq) {
                Some(_) => changes.kept += 1,
                None => others.push(new),
            }
        }
        for new in others {
            match take(&mut old, new, differ_by_key) {
                Some(handle) => changes.rekeyed.push((handle, new.clone())),
                None => changes.added.push(new.clone()),
            }
        }
        let gone = old.into_values().flatten();
        changes.removed = gone.map(|(handle, _)| handle).collect();
        changes
    }
}

/// Targets that are probed, by what they are called.
type Old<'a> = BTreeMap<Called<'a>, Vec<(TargetHandle, &'a TargetSpec)>>;

/// Takes one that is the same as a new target.
fn take<'a>(
    old: &mut Old<'a>,
    new: &'a TargetSpec,
    is_same: fn(&TargetSpec, &TargetSpec) -> bool,
) -> Option<TargetHandle> {
    let found = old.get_mut(&called(new))?;
    let place = found.iter().position(|(_, old)| is_same(old, new))?;
    Some(found.swap_remove(place).0)
}

/// A target's label and tags.
type Called<'a> = (&'a str, &'a [Box<str>]);

fn called(spec: &TargetSpec) -> Called<'_> {
    (&spec.label, &spec.tags)
}

/// True for two targets with keys that are otherwise the same.
fn differ_by_key(one: &TargetSpec, other: &TargetSpec) -> bool {
    let key = one.key.clone();
    key.is_some()
        && other.key.is_some()
        && *one
            == TargetSpec {
                key,
                ..other.clone()
            }
}

/// Returns the names of what has changed, and only a restart changes.
fn at_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let same = [
        ("name", before.name == after.name),
        ("address", before.addresses == after.addresses),
        ("tcp", before.tcp == after.tcp),
        ("udp", before.udp == after.udp),
        ("tcp_port", before.tcp_port == after.tcp_port),
        ("udp_port", before.udp_ports == after.udp_ports),
        ("timestamps", before.timestamps == after.timestamps),
        (
            "resolve_interval",
            before.resolve_interval == after.resolve_interval,
        ),
        ("log_level", before.log_level == after.log_level),
        ("log_file", before.log_file == after.log_file),
        ("[engine]", before.engine == after.engine),
        ("[burst]", before.burst == after.burst),
        ("[http]", before.http == after.http),
        ("[[metrics]]", before.metrics == after.metrics),
    ];
    let changed = same.into_iter().filter(|(_, is_same)| !is_same);
    changed.map(|(name, _)| name).collect()
}

impl LatencyMonitor {
    /// Takes another configuration. Targets that are as before keep everything; others begin, end, or go on with
    /// another key. Who may ask, how often, under which name and with which key changes at once, and a key that has
    /// another one in its place holds beside that until the next reload. What cannot change while it runs is named,
    /// and stays. All targets are the configuration's then, and no others.
    pub fn reload(&mut self, config: Config) -> Result<Reloaded, ConfigError> {
        config.check()?;
        self.check_name(&config)?;
        let changes = Changes::between(&self.targets, &config.targets);
        let mut reloaded = Reloaded {
            kept: changes.kept,
            rekeyed: changes.rekeyed.len(),
            added: changes.added.len(),
            removed: changes.removed.len(),
            at_restart: at_restart(&self.config, &config),
        };
        if self.protocol != config.protocol() {
            reloaded.at_restart.push("protocol");
        }
        self.take(config);
        for handle in changes.removed {
            self.remove(handle);
        }
        for (handle, spec) in changes.rekeyed {
            if let Some(key) = spec.key.clone() {
                self.command(Command::SetKey(handle, key));
            }
            self.targets.insert(handle, spec);
        }
        for spec in changes.added {
            let handle = self.next_handle();
            self.command(Command::Add(handle, spec.clone()));
            self.targets.insert(handle, spec);
        }
        if self.running.is_some() && reloaded.added > 0 {
            descriptors::prepare(self.targets.values(), self.listeners());
        }
        Ok(reloaded)
    }

    /// A host finds its targets in a mesh by its name. Under another one it would probe those of another host, and
    /// go on to be called as before.
    fn check_name(&self, config: &Config) -> Result<(), ConfigError> {
        let (now, new) = (&self.config.name, &config.name);
        if now == new || config.membership == Membership::NoMesh {
            return Ok(());
        }
        Err(ConfigError::told([format!(
            "`name` is {new:?} now, by which this host would find itself in [[mesh]], and it runs as {now:?}: only a \
             restart takes another name"
        )]))
    }

    /// Takes a configuration that was read again. One with a mistake changes nothing. Returns what the log says, too.
    pub(super) fn reload_asked(
        &mut self,
        read: Result<Config, ConfigError>,
    ) -> Result<String, String> {
        let warnings = read.as_ref().map_or_else(
            |_| Vec::new(),
            |config| [config.warnings.clone(), preflight::warnings(config)].concat(),
        );
        match read.and_then(|config| self.reload(config)) {
            Ok(reloaded) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                let Reloaded {
                    kept,
                    rekeyed,
                    added,
                    removed,
                    ref at_restart,
                } = reloaded;
                tracing::info!(
                    kept,
                    rekeyed,
                    added,
                    removed,
                    "the configuration is read again"
                );
                let mut said = format!(
                    "targets: {kept} kept, {rekeyed} rekeyed, {added} added, {removed} removed"
                );
                if !at_restart.is_empty() {
                    let keys = at_restart.join(", ");
                    let text = format!("changed, but only a restart takes it: {keys}");
                    tracing::warn!("{text}");
                    said.extend(["\n", &text]);
                }
                Ok(said)
            }
            Err(error) => {
                let text = format!(
                    "the configuration is not read again, and nothing has changed: {error}"
                );
                tracing::error!("{text}");
                Err(text)
            }
        }
    }

    /// Takes what may change of a configuration.
    fn take(&mut self, mut config: Config) {
        config.keys.succeed(&self.config.keys);
        let answering = Answering::of(&config);
        self.command(Command::Answer(Box::new(answering)));
        let before = std::mem::replace(&mut self.config, config);
        let now = &mut self.config;
        now.name = before.name;
        now.addresses = before.addresses;
        (now.tcp, now.udp) = (before.tcp, before.udp);
        (now.tcp_port, now.udp_ports) = (before.tcp_port, before.udp_ports);
        now.timestamps = before.timestamps;
        now.resolve_interval = before.resolve_interval;
        (now.log_level, now.log_file) = (before.log_level, before.log_file);
        now.engine = before.engine;
        now.burst = before.burst;
        now.http = before.http;
        now.metrics = before.metrics;
    }

    /// Gives the poll thread a command, if it runs.
    fn command(&self, command: Command) {
        let running = self.running.as_ref();
        if running.is_some_and(|running| !running.commands.push(command)) {
            tracing::error!(
                "the poll thread takes no more commands; a target or a key is not changed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn targets(text: &str) -> Vec<TargetSpec> {
        let config = Config::parse(text, &Overrides::default());
        config.expect("a right file").targets
    }

    fn of(text: &str) -> BTreeMap<TargetHandle, TargetSpec> {
        (0..).map(TargetHandle).zip(targets(text)).collect()
    }

    fn key(byte: u8) -> Option<std::sync::Arc<crate::proto::Key>> {
        crate::proto::Key::new(&[byte; 32]).map(Into::into)
    }

    #[test]
    fn what_is_as_before_is_kept_and_nothing_else() {
        let before = of("targets = [
            { host = '192.0.2.1' },
            { host = '192.0.2.2' },
            { host = '192.0.2.3', tags = ['a:b'] },
            { host = '192.0.2.4', label = 'same' },
            { host = '192.0.2.5', label = 'same' },
            { host = '192.0.2.6' }]");
        let after = targets(
            "targets = [
            { host = '192.0.2.5', label = 'same' },
            { host = '192.0.2.6', interval = 20 },
            { host = '192.0.2.3', tags = ['a:c'] },
            { host = '192.0.2.7', label = 'same' },
            { host = '192.0.2.1' },
            { host = '192.0.2.1' }]",
        );
        let mut changes = Changes::between(&before, &after);
        changes.removed.sort();
        assert_eq!(changes.kept, 2);
        assert_eq!(changes.removed, [1, 2, 3, 5].map(TargetHandle));
        assert_eq!(
            changes.added,
            [1, 2, 3, 5].map(|place| after[place].clone())
        );
        assert!(changes.rekeyed.is_empty());
    }

    #[test]
    fn a_target_with_another_key_goes_on() {
        let mut before = of("targets = [{ host = '192.0.2.1', protocol = 'native' }]");
        let handle = TargetHandle(0);
        let keyed = |byte| TargetSpec {
            key: key(byte),
            ..targets("targets = [{ host = '192.0.2.1', protocol = 'native' }]")[0].clone()
        };
        before.insert(handle, keyed(1));
        let changes = Changes::between(&before, &[keyed(2)]);
        assert_eq!(changes.rekeyed, [(handle, keyed(2))]);
        assert!(changes.added.is_empty() && changes.removed.is_empty());
        // With no key it is another one: it may speak what nobody has authenticated.
        let open = TargetSpec {
            key: None,
            ..keyed(1)
        };
        let changes = Changes::between(&before, std::slice::from_ref(&open));
        assert_eq!((changes.added, changes.removed), (vec![open], vec![handle]));
    }

    #[test]
    fn where_there_is_a_mesh_another_name_needs_a_restart() {
        let read = |text: &str| Config::parse(text, &Overrides::default()).expect("a right file");
        let mesh = "\n[[mesh]]\nname = 'm'\nmembers = [{ name = 'a', address = '192.0.2.1' }, \
                    { name = 'b', address = '192.0.2.2' }]";
        let of = |name: &str, more: &str| read(&format!("name = '{name}'{more}"));
        let mut monitor = LatencyMonitor::new(of("a", mesh));
        let told = monitor
            .reload(of("b", mesh))
            .expect_err("it is another host");
        assert!(
            told.to_string().starts_with("`name` is \"b\" now"),
            "{told}"
        );
        assert_eq!(&*monitor.targets[&TargetHandle(1)].label, "b");
        let third = mesh.replace("}]", "}, { name = 'c', address = '192.0.2.3' }]");
        let reloaded = monitor
            .reload(of("a", &third))
            .expect("a right configuration");
        assert_eq!((reloaded.kept, reloaded.added), (1, 1));
        let reloaded = monitor.reload(of("b", "")).expect("it has no mesh");
        assert_eq!(reloaded.at_restart, ["name"]);
    }

    #[test]
    fn what_only_a_restart_changes_is_named_each_time() {
        let read = |text: &str| Config::parse(text, &Overrides::default()).expect("a right file");
        let mut monitor = LatencyMonitor::new(read("targets = [{ host = '192.0.2.1' }]"));
        let other = "protocol = 'text'\nudp_port = 1\ntargets = [{ host = '192.0.2.1', udp_port = 8001 }]\n\
                     [engine]\nspin_us = 5";
        for _ in 0..2 {
            let reloaded = monitor.reload(read(other)).expect("a right configuration");
            assert_eq!(reloaded.at_restart, ["udp_port", "[engine]", "protocol"]);
            assert_eq!(monitor.config.udp_ports, [8001]);
        }
        let back = monitor.reload(read("targets = [{ host = '192.0.2.1' }]"));
        assert_eq!(back.expect("a right configuration").at_restart, [""; 0]);
    }
}
