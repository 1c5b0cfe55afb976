//! A configuration that is read again while the monitor runs: what of it changes, and what only a restart can.
//!
//! A target that is as before is not touched: it keeps its sockets, numbers, clocks and windows.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigError, Membership};
use crate::monitor::changing::{Changed, Make};
use crate::monitor::commands::{Answering, Command};
use crate::monitor::discovery::{Found, Tell};
use crate::monitor::{LatencyMonitor, RunError, TargetHandle, burst_rules, descriptors, preflight};
use crate::proto::{Host, TargetSpec};
use crate::sys::icmp;

/// What a [reload](LatencyMonitor::reload) has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Targets that are as before.
    pub kept: usize,
    /// Targets that are called otherwise, by label or tags: their flows go on, and other series begin. Some may
    /// have another key as well.
    pub relabelled: usize,
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
    /// Their flows go on, under another label, with other tags or another key.
    relabelled: Vec<(TargetHandle, TargetSpec)>,
    rekeyed: Vec<(TargetHandle, TargetSpec)>,
    removed: Vec<TargetHandle>,
    added: Vec<TargetSpec>,
}

impl Changes {
    /// Of several targets at a host one that is as before is kept first. Then one goes on that is called as before, one
    /// that has the label of before, and any whose flows are the same.
    fn between(before: &BTreeMap<TargetHandle, TargetSpec>, after: &[TargetSpec]) -> Self {
        let mut changes = Self::default();
        let mut old = Old::default();
        for (handle, spec) in before {
            let called = (&*spec.label, &*spec.tags);
            let at_host = old.entry(Way::of(spec)).or_default();
            at_host.entry(called).or_default().push((*handle, spec));
        }
        let mut left: Vec<&TargetSpec> = after.iter().collect();
        left.retain(|new| {
            let is_kept = take(&mut old, new, Alike::Called, PartialEq::eq).is_some();
            changes.kept += usize::from(is_kept);
            !is_kept
        });
        for alike in [Alike::Called, Alike::Labelled, Alike::AtHost] {
            left.retain(|new| {
                let Some(handle) = take(&mut old, new, alike, have_one_flow) else {
                    return true;
                };
                let goes_on = match alike {
                    Alike::Called => &mut changes.rekeyed,
                    Alike::Labelled | Alike::AtHost => &mut changes.relabelled,
                };
                goes_on.push((handle, (*new).clone()));
                false
            });
        }
        changes.added = left.into_iter().cloned().collect();
        let gone = old.into_values().flat_map(BTreeMap::into_values).flatten();
        changes.removed = gone.map(|(handle, _)| handle).collect();
        changes
    }
}

/// What a flow cannot change, most of it: thousands of targets may be one host.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way<'a> {
    host: &'a Host,
    ports: [Option<u16>; 3],
    interval_ns: u64,
    timeout_ns: u64,
    size: Option<usize>,
}

impl<'a> Way<'a> {
    fn of(spec: &'a TargetSpec) -> Self {
        Self {
            host: &spec.host,
            ports: [spec.udp_port, spec.tcp_port, spec.connect_port],
            interval_ns: spec.interval_ns,
            timeout_ns: spec.timeout_ns,
            size: spec.size,
        }
    }
}

/// Targets that are probed, by the way and by what they are called there.
type Old<'a> = BTreeMap<Way<'a>, BTreeMap<Called<'a>, Vec<(TargetHandle, &'a TargetSpec)>>>;

/// A target's label and tags.
type Called<'a> = (&'a str, &'a [Box<str>]);

/// What an old target has in common with the new one that goes on with its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alike {
    /// Label and tags.
    Called,
    Labelled,
    AtHost,
}

/// Takes an old target that is the same as a new one.
fn take<'a>(
    old: &mut Old<'a>,
    new: &'a TargetSpec,
    alike: Alike,
    is_same: fn(&TargetSpec, &TargetSpec) -> bool,
) -> Option<TargetHandle> {
    let at_host = old.get_mut(&Way::of(new))?;
    let from: Called<'_> = match alike {
        Alike::Called => (&new.label, &new.tags),
        Alike::Labelled => (&new.label, &[]),
        Alike::AtHost => ("", &[]),
    };
    let is_alike = |called: &Called<'_>| match alike {
        Alike::Called => *called == from,
        Alike::Labelled => called.0 == from.0,
        Alike::AtHost => true,
    };
    let mut range = at_host.range_mut(from..);
    let found = range
        .by_ref()
        .map_while(|(called, targets)| is_alike(called).then_some((*called, targets)));
    for (called, targets) in found {
        if let Some(place) = targets.iter().position(|(_, old)| is_same(old, new)) {
            let (handle, _) = targets.remove(place);
            if targets.is_empty() {
                at_host.remove(&called);
            }
            return Some(handle);
        }
    }
    None
}

/// True for two targets of which one can go on with the other's flows: they differ by what they are called, or by the
/// key that both have.
fn have_one_flow(one: &TargetSpec, other: &TargetSpec) -> bool {
    let other = TargetSpec {
        label: one.label.clone(),
        tags: one.tags.clone(),
        key: one.key.clone().filter(|_| other.key.is_some()),
        ..other.clone()
    };
    *one == other
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
        ("[sandbox]", before.sandbox == after.sandbox),
        (
            "`dump_dir` and `dumps_max` of [burst]",
            before.burst.dump_dir == after.burst.dump_dir
                && before.burst.dumps_max == after.burst.dumps_max,
        ),
        ("[http]", before.http == after.http),
        ("[history]", before.history == after.history),
        ("[[metrics]]", before.metrics == after.metrics),
    ];
    let changed = same.into_iter().filter(|(_, is_same)| !is_same);
    changed.map(|(name, _)| name).collect()
}

impl LatencyMonitor {
    /// Takes another configuration. Targets that are as before keep everything; others begin, end, or go on under
    /// another name or with another key. Who may ask, how often, under which name and with which key changes at once,
    /// and a key that has another one in its place holds beside that until the next reload. What cannot change while it
    /// runs is named, and stays. All targets are the configuration's then, and no others.
    pub fn reload(&mut self, config: Config) -> Result<Reloaded, ConfigError> {
        let reloaded = self.change_to(config);
        let is_ok = reloaded.is_ok();
        self.command(Command::ConfigRead { is_ok });
        reloaded
    }

    fn change_to(&mut self, config: Config) -> Result<Reloaded, ConfigError> {
        config.check()?;
        self.check_name(&config)?;
        let mut at_restart = at_restart(&self.config, &config);
        if self.protocol != config.protocol() {
            at_restart.push("protocol");
        }
        self.take(config);
        self.discovery.keep(&self.config);
        let reloaded = self.take_targets();
        if let Err(error) = self.discovery.restart(&self.config) {
            tracing::error!(%error, "cannot look for targets where they are listed");
        }
        Ok(Reloaded {
            at_restart,
            ..reloaded
        })
    }

    /// Comes from the targets that are probed to those of the configuration and of the lists.
    fn take_targets(&mut self) -> Reloaded {
        let wanted = self.discovery.beside(&self.config.targets);
        let changes = Changes::between(&self.targets, &wanted);
        let reloaded = Reloaded {
            kept: changes.kept,
            relabelled: changes.relabelled.len(),
            rekeyed: changes.rekeyed.len(),
            added: changes.added.len(),
            removed: changes.removed.len(),
            at_restart: Vec::new(),
        };
        for handle in changes.removed {
            self.remove(handle);
        }
        for (handle, spec) in changes.relabelled.into_iter().chain(changes.rekeyed) {
            self.change(handle, spec);
        }
        for spec in changes.added {
            let handle = self.next_handle();
            self.command(Command::Add(handle, spec.clone()));
            self.targets.insert(handle, spec);
        }
        // With the targets the longest timeout may be another one.
        let rules = burst_rules(&self.config.burst);
        self.command(Command::FindBursts(rules, self.margins()));
        if icmp::TELL_HOPS {
            self.command(Command::TracePaths(self.config.path.options()));
        }
        if self.running.is_some() && reloaded.added > 0 {
            descriptors::prepare(self.targets.values(), self.listeners());
        }
        reloaded
    }

    /// Looks for targets where the configuration says that they are listed, and hands over what is found.
    pub(super) fn discover(&mut self, tell: Tell) {
        if let Err(error) = self.discovery.start(&self.config, tell) {
            tracing::error!(%error, "cannot look for targets where they are listed");
        }
    }

    /// A source lists other targets. All the others stay as they are.
    pub(super) fn take_found(&mut self, found: Found) {
        let Some(source) = self.discovery.take(&self.config, found) else {
            return;
        };
        let Reloaded {
            kept,
            relabelled,
            rekeyed,
            added,
            removed,
            ..
        } = self.take_targets();
        tracing::info!(
            source,
            kept,
            relabelled,
            rekeyed,
            added,
            removed,
            "targets are listed"
        );
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
        make: Make<'_>,
        on_closed: impl Fn() + Clone + Send + 'static,
    ) -> Result<String, String> {
        let warnings = read.as_ref().map_or_else(
            |_| Vec::new(),
            |config| [config.warnings.clone(), preflight::warnings(config)].concat(),
        );
        let read = read.map_err(RunError::from).and_then(|config| {
            config.check()?;
            self.check_name(&config)?;
            let changed = self.change_backends(config.metrics.clone(), make, on_closed)?;
            Ok((self.reload(config)?, changed))
        });
        if read.is_err() {
            self.command(Command::ConfigRead { is_ok: false });
        }
        match read {
            Ok((reloaded, backends)) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                let Reloaded {
                    kept,
                    relabelled,
                    rekeyed,
                    added,
                    removed,
                    ref at_restart,
                } = reloaded;
                tracing::info!(
                    kept,
                    relabelled,
                    rekeyed,
                    added,
                    removed,
                    "the configuration is read again"
                );
                let mut said = format!(
                    "targets: {kept} kept, {relabelled} relabelled, {rekeyed} rekeyed, {added} added, \
                     {removed} removed"
                );
                if backends != Changed::default() {
                    let Changed {
                        added,
                        replaced,
                        removed,
                    } = backends;
                    tracing::info!(added, replaced, removed, "backends have changed");
                    let text = format!(
                        "\nbackends: {added} added, {replaced} replaced, {removed} removed"
                    );
                    said.push_str(&text);
                }
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

    /// Has the flows of a target go on as those of another one.
    fn change(&mut self, handle: TargetHandle, spec: TargetSpec) {
        let Some(before) = self.targets.get_mut(&handle) else {
            return;
        };
        let mut commands = Vec::new();
        if (&before.label, &before.tags) != (&spec.label, &spec.tags) {
            let (label, tags) = (spec.label.clone(), spec.tags.clone());
            commands.push(Command::SetLabels(handle, label, tags));
        }
        if let Some(key) = spec.key.clone()
            && before.key.as_ref() != Some(&key)
        {
            commands.push(Command::SetKey(handle, key));
        }
        *before = spec;
        for command in commands {
            self.command(command);
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
        now.burst.dump_dir = before.burst.dump_dir;
        now.burst.dumps_max = before.burst.dumps_max;
        now.http = before.http;
        now.history = before.history;
        now.metrics = before.metrics;
    }

    /// Gives the poll thread a command, if it runs.
    pub(super) fn command(&self, command: Command) {
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
            { host = '192.0.2.3', tags = ['a:b'], size = 500 },
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
        assert!(changes.rekeyed.is_empty() && changes.relabelled.is_empty());
    }

    #[test]
    fn targets_that_differ_in_marks_alone_are_others() {
        let of_all = |marks: [&str; 3]| {
            marks
                .map(|marks| format!("{{ host = '192.0.2.1', type = 'udp'{marks} }}"))
                .join(", ")
        };
        let file = |marks| format!("targets = [{}]", of_all(marks));
        let before = of(&file(["", ", dscp = 'ef'", ", ttl = 4"]));
        let same = Changes::between(&before, &targets(&file([", ttl = 4", "", ", dscp = 46"])));
        assert_eq!((same.kept, same.added.len(), same.removed.len()), (3, 0, 0));
        for other in [
            ", ttl = 5",
            ", df = true",
            ", source_port = 9",
            ", interface = 'eth0'",
            ", source = '192.0.2.9'",
        ] {
            let after = targets(&file(["", ", dscp = 'ef'", other]));
            let changes = Changes::between(&before, &after);
            assert_eq!(
                (changes.kept, changes.removed),
                (2, vec![TargetHandle(2)]),
                "{other}"
            );
            assert_eq!(changes.added, [after[2].clone()]);
            assert!(changes.relabelled.is_empty(), "{other}");
        }
    }

    #[test]
    fn a_target_that_is_called_otherwise_goes_on() {
        let before = of("targets = [
            { host = '192.0.2.1' },
            { host = '192.0.2.2', label = 'b', tags = ['a:1'] },
            { host = '192.0.2.3', label = 'c' },
            { host = '192.0.2.3', label = 'd' },
            { host = '192.0.2.3', label = 'e', interval = 5 }]");
        let after = targets(
            "targets = [
            { host = '192.0.2.3', label = 'new', interval = 5 },
            { host = '192.0.2.3', label = 'd', tags = ['a:2'] },
            { host = '192.0.2.3', label = 'c' },
            { host = '192.0.2.3', label = 'e' },
            { host = '192.0.2.2', label = 'b', tags = ['a:2', 'a:1'] },
            { host = '192.0.2.1', label = 'a' }]",
        );
        let changes = Changes::between(&before, &after);
        assert_eq!((changes.kept, changes.removed.len()), (1, 0));
        let goes_on = |handle, place: usize| (TargetHandle(handle), after[place].clone());
        // Those that have kept their label come first.
        assert_eq!(
            changes.relabelled,
            [goes_on(3, 1), goes_on(1, 4), goes_on(4, 0), goes_on(0, 5)]
        );
        assert_eq!(changes.added, [after[3].clone()]);
        assert!(changes.rekeyed.is_empty());
    }

    #[test]
    fn among_many_at_one_host_each_goes_on_with_its_own_label() {
        let of_tag = |tag: &str| {
            let target = |port: usize| {
                format!("{{ host = 'a.example', label = 'p{port}', tags = ['{tag}'] }}")
            };
            let all: Vec<String> = (0..2_000).map(target).collect();
            format!("targets = [{}]", all.join(", "))
        };
        let before = of(&of_tag("t:1"));
        let changes = Changes::between(&before, &targets(&of_tag("t:2")));
        assert_eq!(changes.relabelled.len(), 2_000);
        for (handle, spec) in &changes.relabelled {
            assert_eq!(before[handle].label, spec.label);
        }
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
        // It may have another name at once.
        let other = TargetSpec {
            label: "other".into(),
            ..keyed(2)
        };
        let changes = Changes::between(&before, std::slice::from_ref(&other));
        assert_eq!(changes.relabelled, [(handle, other)]);
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
