//! Scenario files: hosts, links, and what happens when.

use std::collections::BTreeSet;
use std::net::IpAddr;

use latency_monitor::proto::{CloseReason, Host, Key, KeyRing, Protocol, Reopen, TargetSpec};
use latency_monitor::{Config, TargetOptions};
use serde::Deserialize;

use crate::foreign::ForeignConfig;
use crate::host::{TCP_PORT, UDP_PORT};
use crate::nat::NatConfig;
use crate::network::Link;
use crate::routers::{Route, Traces};
use crate::strangers::Attack;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "as in the file")]
pub(crate) struct Scenario {
    pub(crate) seconds: f64,
    #[serde(default)]
    pub(crate) seed: u64,
    /// From here on every flow must work without a loss.
    #[serde(default)]
    pub(crate) settled_at: Option<f64>,
    /// Every loss of a UDP flow must be told apart by direction, exactly as the network had it. The
    /// scenario ends with a quiet time in which all that is in flight comes back.
    #[serde(default)]
    pub(crate) exact_losses: bool,
    /// What recorders find in the probes is told too.
    #[serde(default)]
    pub(crate) bursts: bool,
    /// Every window is held against the turns of its host, and those that a step has cut are told.
    #[serde(default)]
    pub(crate) windows: bool,
    /// What happens to flows is told too.
    #[serde(default)]
    pub(crate) life: bool,
    /// What became of every probe is kept.
    #[serde(default)]
    pub(crate) results: bool,
    /// How every link behaves that is not listed.
    #[serde(default)]
    pub(crate) link: Link,
    pub(crate) hosts: Vec<HostConfig>,
    #[serde(default)]
    pub(crate) links: Vec<LinkConfig>,
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
    #[serde(default)]
    pub(crate) acts: Vec<Act>,
    /// What names resolve to at first.
    #[serde(default)]
    pub(crate) names: std::collections::BTreeMap<String, Vec<IpAddr>>,
}

impl Scenario {
    /// How many datagrams are ever sent again at once.
    pub(crate) fn replays(&self) -> usize {
        let counts = self.acts.iter().filter_map(|act| match act.what {
            What::Replay { count } => Some(count),
            _ => None,
        });
        counts.max().unwrap_or(0)
    }

    /// Every key that a host or a target has.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let targets = self.hosts.iter().flat_map(|host| &host.targets);
        let targets = targets.filter_map(|target| target.key);
        let hosts = self.hosts.iter().flat_map(|host| &host.keys);
        let later = self.acts.iter().flat_map(|act| match &act.what {
            What::Key { key, .. } => std::slice::from_ref(key),
            What::Keys { keys, .. } => keys,
            _ => &[],
        });
        let numbers: BTreeSet<u8> = hosts.chain(later).copied().chain(targets).collect();
        numbers.into_iter().map(key).collect()
    }

    /// The fastest rate, forward or back, at which a clock ever runs off the true one.
    pub(crate) fn drift_ppb_max(&self) -> u64 {
        let first = self.hosts.iter().map(|host| host.clock_drift_ppb);
        let later = self.acts.iter().filter_map(|act| match act.what {
            What::Drift { ppb, .. } => Some(ppb),
            _ => None,
        });
        let rates = first.chain(later).map(i64::unsigned_abs);
        rates.max().unwrap_or(0)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    /// The program: ours unless it is the Python one.
    #[serde(default)]
    pub(crate) python: bool,
    /// Or somebody else's reflector.
    pub(crate) foreign: Option<ForeignConfig>,
    #[serde(default)]
    pub(crate) clock_offset_ns: i64,
    #[serde(default)]
    pub(crate) clock_drift_ppb: i64,
    /// Chance that its kernel refuses a datagram.
    #[serde(default)]
    pub(crate) send_fails: f64,
    /// So many connections of others it accepts at once.
    #[serde(default)]
    pub(crate) accepted_max: Option<usize>,
    /// Its kernel stamps packets.
    #[serde(default)]
    pub(crate) stamps: bool,
    /// A packet waits up to so long between program and kernel, in either direction.
    #[serde(default)]
    pub(crate) noise_us: u64,
    /// Replies to its probes may wait so long until they are read, where its kernel stamps packets. 0: they are read as
    /// they come.
    #[serde(default)]
    pub(crate) reads_within_us: u64,
    /// It traces the paths of its flows.
    #[serde(default)]
    pub(crate) traces: Option<Traces>,
    /// Seconds between two look-ups of a name.
    #[serde(default = "minute")]
    pub(crate) resolve_interval: f64,
    /// Its keys, by number; `true` in `require_key`: it answers nothing else.
    #[serde(default)]
    pub(crate) keys: Vec<u8>,
    #[serde(default)]
    pub(crate) require_key: bool,
    #[serde(default)]
    pub(crate) targets: Vec<TargetConfig>,
}

fn minute() -> f64 {
    60.0
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkConfig {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) is: Link,
}

/// The defaults are those of the daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "as in the file")]
pub(crate) struct TargetConfig {
    /// An address or a name.
    pub(crate) host: String,
    pub(crate) label: Option<String>,
    pub(crate) interval_ms: f64,
    pub(crate) timeout_ms: f64,
    pub(crate) size: Option<usize>,
    pub(crate) max_lost: u32,
    /// Each address of its name is a target.
    pub(crate) every_address: bool,
    pub(crate) flows: u16,
    pub(crate) per_flow: bool,
    /// False: no flow takes a fresh 5-tuple for losses.
    pub(crate) reopens: bool,
    pub(crate) rtt: bool,
    /// `auto`, `text`, `native` or `stamp`.
    pub(crate) protocol: String,
    pub(crate) owd_corrected: bool,
    /// Seconds.
    pub(crate) utc_offset: i64,
    /// The number of its key.
    pub(crate) key: Option<u8>,
    pub(crate) udp: bool,
    pub(crate) tcp: bool,
    pub(crate) connect: bool,
    pub(crate) tags: Vec<String>,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            host: String::new(),
            label: None,
            interval_ms: 1000.0,
            timeout_ms: 1000.0,
            size: None,
            max_lost: 10,
            every_address: false,
            flows: 1,
            per_flow: false,
            reopens: true,
            rtt: true,
            protocol: "text".to_owned(),
            owd_corrected: false,
            utc_offset: 0,
            key: None,
            udp: true,
            tcp: true,
            connect: true,
            tags: Vec::new(),
        }
    }
}

/// Returns the key of this number.
pub(crate) fn key(number: u8) -> Key {
    Key::new(&[number; 32]).expect("32 bytes are a key")
}

impl HostConfig {
    /// How long replies may wait until they are read; `None`: they are read as they come.
    pub(crate) fn reads_within_ns(&self) -> Option<u64> {
        let is_late = self.stamps && self.reads_within_us > 0;
        is_late.then_some(self.reads_within_us * 1_000)
    }

    pub(crate) fn key_ring(&self) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.is_required = self.require_key;
        for (place, number) in self.keys.iter().enumerate() {
            ring.add(&format!("place-{place}"), key(*number));
        }
        ring
    }
}

impl TargetConfig {
    fn protocol(&self) -> Protocol {
        match self.protocol.as_str() {
            "auto" => Protocol::Auto,
            "text" => Protocol::Text,
            "native" => Protocol::Native,
            "stamp" => Protocol::Stamp,
            other => panic!("no such protocol: {other}"),
        }
    }

    pub(crate) fn spec(&self) -> TargetSpec {
        let host = match self.host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(self.host.as_str().into()),
        };
        let defaults = Config::default().target(TargetOptions::new("192.0.2.1"));
        let mut spec = defaults.expect("a right target");
        spec.host = host;
        spec.label = self.label.as_ref().unwrap_or(&self.host).as_str().into();
        spec.tags = self.tags.iter().map(|tag| tag.as_str().into()).collect();
        spec.udp_port = self.udp.then_some(UDP_PORT);
        spec.tcp_port = self.tcp.then_some(TCP_PORT);
        spec.connect_port = self.connect.then_some(TCP_PORT);
        spec.interval_ns = nanos(self.interval_ms / 1e3);
        spec.timeout_ns = nanos(self.timeout_ms / 1e3);
        spec.size = self.size;
        spec.max_lost = self.max_lost;
        spec.every_address = self.every_address;
        spec.flows = self.flows;
        spec.per_flow = self.per_flow;
        if !self.reopens {
            spec.reopen = Reopen::Never;
        }
        spec.rtt = self.rtt;
        spec.protocol = self.protocol();
        spec.owd_corrected = self.owd_corrected;
        spec.stamp.has_ssid = true;
        spec.stamp.utc_offset_ns = self.utc_offset * 1_000_000_000;
        spec.key = self.key.map(|number| key(number).into());
        if spec.key.is_some() && spec.protocol != Protocol::Stamp {
            spec.protocol = Protocol::Native;
        }
        spec
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Act {
    /// Seconds from the start.
    pub(crate) at: f64,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(crate) enum What {
    /// The program ends; its kernel closes what it had open.
    Crash {
        host: String,
    },
    /// The host loses power; nobody is told.
    PowerOff {
        host: String,
    },
    /// It is started (again), with the targets that it had at first.
    Start {
        host: String,
    },
    /// The address of its UDP sockets is gone: its kernel refuses whatever they send, and what new ones
    /// send leaves.
    LoseAddress {
        host: String,
    },
    /// The host's own link goes down, or up again: its kernel refuses whatever is sent and opened, for this reason.
    Interface {
        host: String,
        #[serde(default, deserialize_with = "reason")]
        down: Option<CloseReason>,
    },
    /// The program gets no processor time.
    Freeze {
        host: String,
        seconds: f64,
    },
    /// Its wall clock is set.
    Step {
        host: String,
        ns: i64,
    },
    /// Its wall clock runs at another rate.
    Drift {
        host: String,
        ppb: i64,
    },
    /// A link changes.
    Link {
        from: String,
        to: String,
        is: Link,
    },
    /// Other routers are between two hosts.
    Route {
        is: Route,
    },
    /// Every link works again, and every host is on.
    Heal,
    /// Adds a target, unless there is one of its label.
    Add {
        host: String,
        target: TargetConfig,
    },
    Remove {
        host: String,
        label: String,
    },
    /// The targets of a label have another key.
    Key {
        host: String,
        label: String,
        key: u8,
    },
    /// The targets of a label have this one from here on, and these tags.
    Labels {
        host: String,
        label: String,
        to: String,
        tags: Vec<String>,
    },
    /// A host's keys are read again; each is in the place of the one that stood there.
    Keys {
        host: String,
        keys: Vec<u8>,
    },
    /// A name points somewhere else.
    Name {
        name: String,
        addresses: Vec<IpAddr>,
    },
    /// It runs the other program from its next start on.
    Replace {
        host: String,
        python: bool,
    },
    /// A host has another address.
    Move {
        host: String,
        address: IpAddr,
    },
    /// The UDP replies of a host's program leave from this address, whichever was probed.
    AnswerFrom {
        host: String,
        address: IpAddr,
    },
    /// A translator of addresses between some hosts and the others begins, or begins anew.
    Nat {
        is: NatConfig,
    },
    /// Another address leads to a host as well.
    Alias {
        host: String,
        address: IpAddr,
    },
    /// One host that nobody knows calls itself by so many names, twice by each.
    Aliases {
        host: String,
        count: u32,
    },
    /// Strangers send whatever they can think of.
    Attack {
        is: Attack,
    },
    /// Somebody sends the last datagrams of all hosts again.
    Replay {
        count: usize,
    },
    /// So many hosts that nobody knows send a datagram each, and so many another one.
    Strangers {
        host: String,
        count: u32,
        again: u32,
    },
}

/// Reads `"no_route"` or `"network_down"`.
fn reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<CloseReason>, D::Error> {
    match String::deserialize(from)?.as_str() {
        "no_route" => Ok(Some(CloseReason::NoRoute)),
        "network_down" => Ok(Some(CloseReason::NetworkDown)),
        other => Err(serde::de::Error::custom(format!("no such reason: {other}"))),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scenarios are days at most"
)]
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
