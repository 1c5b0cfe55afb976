//! What the daemon keeps itself from once it runs: the policy for what `sys::sandbox` can restrict.
//!
//! It has two steps. The first comes before any thread is made, and so before anything of the network is read:
//! Landlock and capabilities hold for threads that are made later, and for no others. The second takes away what only
//! the start needed. docs/design/sandbox.md has the reasons.

mod paths;

use std::io;

use crate::config::{BackendSettings, Config, SandboxKind, Timestamps};
use crate::engine;
use crate::limits::UDP_BUFFER_BYTES;
use crate::sys::sandbox;
use crate::sys::words::{Allowed, Privilege};

/// The first port that needs no privilege.
const FREE_PORT: u16 = 1024;

const FILES: &str = "files (Landlock)";
const CALLS: &str = "system calls (seccomp)";

/// What a daemon keeps itself from.
#[derive(Debug)]
pub struct Sandbox {
    /// What it says of that, beginning with what holds.
    told: Vec<String>,
    /// What it may open; `None`: anything.
    allowed: Option<Vec<Allowed>>,
    /// System calls are restricted.
    has_filters: bool,
    /// A backend listens, and does so anew with a reload that changes it.
    listens: bool,
}

impl Sandbox {
    /// Restricts the calling thread, and all that it makes. The process must have no other thread yet.
    pub fn enter(config: &Config) -> Self {
        let mut entered = Self {
            told: Vec::new(),
            allowed: None,
            has_filters: false,
            listens: listens(config),
        };
        if config.sandbox == SandboxKind::Off {
            entered
                .told
                .push("the sandbox is off, as configured".to_owned());
            return entered;
        }
        if config.timestamps == Timestamps::Auto {
            // It needs a privilege once: what is switched on stays so.
            engine::stamp_by_interfaces();
        }
        let kept = privileges(config);
        paths::make_folders(config);
        let allowed = paths::allowed(config);
        let (mut holds, mut lacks) = (Vec::new(), Vec::new());
        match sandbox::files(&allowed) {
            Ok(()) => {
                entered.allowed = Some(allowed);
                holds.push(files_word());
            }
            Err(error) => lacks.push(lacking(FILES, &error)),
        }
        let capabilities = match sandbox::privileges(&kept) {
            Ok(held) => format!("; capabilities: {}", names(&held)),
            Err(error) => {
                lacks.push(lacking("capabilities", &error));
                String::new()
            }
        };
        match sandbox::calls() {
            Ok(()) => {
                entered.has_filters = true;
                holds.push(CALLS.to_owned());
            }
            Err(error) => lacks.push(lacking(CALLS, &error)),
        }
        entered
            .told
            .push(format!("the sandbox {}{capabilities}", restricts(&holds)));
        entered.told.extend(lacks);
        entered
    }

    /// Returns the version of Landlock that restricts which files are opened, if one does.
    pub fn landlock(&self) -> Option<i32> {
        sandbox::files_version().filter(|_| self.allowed.is_some())
    }

    /// Logs what holds, and what does not.
    pub(super) fn tell(&self) {
        for line in &self.told {
            tracing::info!("{line}");
        }
    }

    /// Takes away what only the start needed, from all threads.
    pub fn close(&self) {
        if self.has_filters
            && let Err(error) = sandbox::calls_after_start(self.listens)
        {
            tracing::warn!(%error, "the sandbox still allows the system calls of the start");
        }
    }

    /// Returns the names of system calls that were refused and that this has not returned before.
    pub fn refused(&self) -> Vec<String> {
        sandbox::refused()
    }

    /// Warns of system calls that were refused, of each once.
    pub(super) fn tell_refused(&self) {
        for name in self.refused() {
            tracing::warn!("the sandbox has refused the system call {name}");
        }
    }

    /// Returns what a configuration that is read again names, and the sandbox does not allow.
    pub(super) fn beyond(&self, config: &Config) -> Vec<String> {
        let allowed = self.allowed.iter();
        let allowed = allowed.flat_map(|allowed| paths::beyond(allowed, config));
        let tell = |what| format!("the sandbox does not allow {what}: a restart does");
        allowed.map(tell).collect()
    }
}

/// Returns what `check` says: what would hold here.
pub(super) fn outlook(config: &Config) -> String {
    if config.sandbox == SandboxKind::Off {
        return "off, as configured".to_owned();
    }
    let held = sandbox::held();
    let mut kept = privileges(config);
    kept.retain(|one| held.contains(one));
    let kinds = [
        (sandbox::files_version().is_some(), files_word()),
        (sandbox::can_filter(), CALLS.to_owned()),
    ];
    let (holds, lacks): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|(has, _)| *has);
    let words = |kinds: Vec<(bool, String)>| -> Vec<String> {
        kinds.into_iter().map(|(_, word)| word).collect()
    };
    let mut told = format!(
        "{}; capabilities: {}",
        restricts(&words(holds)),
        names(&kept)
    );
    for word in words(lacks) {
        told += "; this system cannot restrict ";
        told += &word;
    }
    told
}

fn restricts(holds: &[String]) -> String {
    let holds = if holds.is_empty() {
        "nothing".to_owned()
    } else {
        holds.join(" and ")
    };
    format!("restricts {holds}")
}

fn files_word() -> String {
    match sandbox::files_version() {
        Some(version) => format!("files (Landlock {version})"),
        None => FILES.to_owned(),
    }
}

fn names(privileges: &[Privilege]) -> String {
    let names: Vec<&str> = privileges.iter().map(|one| one.name()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn lacking(what: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::Unsupported {
        format!(
            "the sandbox does not restrict {what}: this system does not have that, or does not allow it"
        )
    } else {
        format!("the sandbox does not restrict {what}: {error}")
    }
}

/// True if a backend listens.
fn listens(config: &Config) -> bool {
    let is_listener = |settings: &BackendSettings| matches!(settings, BackendSettings::ZeroMq(_));
    (config.metrics.iter()).any(|metrics| is_listener(&metrics.settings))
}

/// Returns the privileges that the configuration may need while it runs.
fn privileges(config: &Config) -> Vec<Privilege> {
    let engine = &config.engine;
    let bytes =
        |kib: Option<u32>| kib.map_or(UDP_BUFFER_BYTES, |kib| (kib as usize).saturating_mul(1024));
    let has_buffers = sandbox::are_buffers_free(
        bytes(engine.receive_buffer_kib),
        bytes(engine.send_buffer_kib),
    );
    let mut targets = config.targets.iter();
    let wanted = [
        (
            Privilege::LowPorts,
            ports(config).any(|port| (1..FREE_PORT).contains(&port)),
        ),
        (
            Privilege::Network,
            engine.busy_poll_us > 0 || config.udp && !has_buffers,
        ),
        (
            Privilege::Interfaces,
            targets.any(|target| target.marks.interface.is_some()),
        ),
        (Privilege::LockMemory, engine.lock_memory),
        (Privilege::Schedule, engine.realtime.is_some()),
    ];
    let wanted = wanted
        .into_iter()
        .filter_map(|(one, is_wanted)| is_wanted.then_some(one));
    wanted
        .chain(sandbox::past_modes(&paths::named(config)))
        .collect()
}

/// Returns the ports of this host that the configuration names.
fn ports(config: &Config) -> impl Iterator<Item = u16> {
    let tcp = config.tcp.then_some(config.tcp_port);
    let udp = config.udp_ports.iter().copied().filter(|_| config.udp);
    let http = config
        .http
        .iter()
        .filter_map(|http| Some(http.listen?.port()));
    let backends = config.metrics.iter().filter_map(|it| match &it.settings {
        BackendSettings::ZeroMq(settings) => Some(settings.port),
        _ => None,
    });
    let sources = config
        .targets
        .iter()
        .filter_map(|target| target.marks.source_ports?.from(0).next());
    tcp.into_iter()
        .chain(udp)
        .chain(http)
        .chain(backends)
        .chain(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn parse(text: &str) -> Config {
        Config::parse(text, &Overrides::default()).expect("a right file")
    }

    #[test]
    fn privileges_are_those_that_keys_ask_for() {
        let of = |text: &str| privileges(&parse(text));
        let without = of("");
        let target = "[[targets]]\nhost = '192.0.2.1'\n";
        let asked = [
            (Privilege::LowPorts, "tcp_port = 443".to_owned()),
            (Privilege::LowPorts, "udp_port = [8001, 862]".to_owned()),
            (
                Privilege::LowPorts,
                format!("{target}source_port = '862-863'"),
            ),
            (Privilege::Network, "[engine]\nbusy_poll_us = 50".to_owned()),
            (Privilege::Interfaces, format!("{target}interface = 'eth0'")),
            (
                Privilege::LockMemory,
                "[engine]\nlock_memory = true".to_owned(),
            ),
            (Privilege::Schedule, "[engine]\nrealtime = 5".to_owned()),
        ];
        for (privilege, text) in asked {
            assert!(of(&text).contains(&privilege), "{text}");
            // Where the kernel's own buffers are smaller than ours, that one is wanted at all times.
            let is_wanted_anyway = privilege == Privilege::Network && without.contains(&privilege);
            assert!(
                is_wanted_anyway || !without.contains(&privilege),
                "{privilege:?}"
            );
        }
        let small = of("[engine]\nreceive_buffer_kib = 4\nsend_buffer_kib = 4");
        assert!(!small.contains(&Privilege::Network));
    }

    #[cfg(feature = "http-server")]
    #[test]
    fn the_port_of_http_counts_too() {
        let config = parse("[http]\nlisten = '127.0.0.1:80'");
        assert!(privileges(&config).contains(&Privilege::LowPorts));
    }

    #[test]
    fn check_says_what_would_hold() {
        assert_eq!(
            outlook(&parse("[sandbox]\nkind = 'off'")),
            "off, as configured"
        );
        let told = outlook(&parse(""));
        assert!(
            told.starts_with("restricts ") && told.contains("; capabilities: "),
            "{told}"
        );
    }
}
