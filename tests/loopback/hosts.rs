//! The hosts of the suite: a prober on an engine, whose loop the test turns.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use latency_monitor::clock::Clock;
use latency_monitor::engine::{
    Core, Engine, EngineConfig, EngineError, Listening, Resolve, SocketOptions, Timestamps,
};
use latency_monitor::proto::{
    Counters, FlowKind, Host, Key, KeyRing, LifeEvent, Metric, Origin, Outcome, Output, Path,
    Prober, ProberConfig, Sample, Seen, TargetId, TargetSpec,
};
use latency_monitor::{Config, TargetOptions};

/// A test that has not ended after this never will.
const GIVE_UP_NS: u64 = 60_000_000_000;

/// One turn waits at most this long for events.
const TURN_NS: u64 = 1_000_000;

pub(crate) type Make<'a, E> = &'a dyn Fn(&EngineConfig) -> Result<E, EngineError>;

/// The suite has no names to resolve.
#[derive(Debug)]
struct NoResolver;

impl Resolve for NoResolver {
    fn resolve(&mut self, _: TargetId, host: &Host) {
        panic!("the suite has no names, yet {host} is to be resolved");
    }
}

/// Returns the key that all hosts know, and ask nobody for.
pub(crate) fn key() -> Key {
    Key::new(&[7; 32]).expect("32 bytes are a key")
}

fn keys() -> KeyRing {
    let mut keys = KeyRing::default();
    keys.add("far", key());
    keys
}

pub(crate) struct TestHost<E> {
    pub(crate) engine: E,
    pub(crate) prober: Prober,
    pub(crate) samples: Vec<Sample>,
    /// The lateness of each probe in nanoseconds.
    pub(crate) lateness: Vec<u64>,
    pub(crate) lives: Vec<LifeEvent>,
    pub(crate) paths: Vec<Path>,
    /// The code points that packets were seen with.
    pub(crate) seen: Vec<Seen>,
    labels: BTreeMap<Origin, String>,
}

impl<E: Engine> TestHost<E> {
    pub(crate) fn new(make: Make<'_, E>, name: &str, config: &EngineConfig) -> Self {
        let engine = make(config).expect("the listeners can be opened");
        let prober = Prober::new(ProberConfig {
            name: name.into(),
            udp_ports: engine.listening().udp_ports(),
            accepted_max: usize::MAX,
            resolve_interval_ns: 60_000_000_000,
            seed: [7; 32],
            native: true,
            keys: keys(),
        });
        Self {
            engine,
            prober,
            samples: Vec::new(),
            lateness: Vec::new(),
            lives: Vec::new(),
            paths: Vec::new(),
            seen: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    pub(crate) fn listening(&self) -> &Listening {
        self.engine.listening()
    }

    pub(crate) fn turn(&mut self, clock: &Clock) {
        let now = clock.now();
        self.prober.handle_timeout(now);
        let prober = &mut self.prober;
        let resolver = &mut NoResolver;
        let mut core = Core {
            clock,
            prober,
            resolver,
        };
        self.engine.transmit(&mut core);
        let turn_end = now.mono.plus(TURN_NS);
        let deadline = core
            .prober
            .poll_timeout()
            .map_or(turn_end, |due| due.min(turn_end));
        self.engine
            .wait(&mut core, Some(deadline))
            .expect("the engine waits");
        self.engine.transmit(&mut core);
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::Opened { origin, labels } => {
                    let tags: Vec<String> = labels.iter().map(|tag| tag.to_string()).collect();
                    self.labels.insert(origin, tags.join(" "));
                }
                Output::Sample(sample) => self.samples.push(sample),
                Output::Dscp(seen) => self.seen.push(seen),
                Output::Life(life) => self.lives.push(life.event),
                Output::Lateness(ns) => self.lateness.push(ns),
                Output::Path(path) => self.paths.push(*path),
                _ => {}
            }
        }
    }

    /// Returns the received samples of one metric so far.
    pub(crate) fn received(&self, metric: Metric) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.metric == metric && sample.outcome == Outcome::Received)
    }

    pub(crate) fn tags(&self, sample: &Sample) -> &str {
        self.label(sample.origin)
    }

    /// Returns the tags of an origin; none before its first output.
    pub(crate) fn label(&self, origin: Origin) -> &str {
        self.labels.get(&origin).map_or("", String::as_str)
    }

    /// Returns the counters of the only flow of this kind.
    pub(crate) fn counters(&self, kind: FlowKind) -> Counters {
        let mut flows = self.prober.flows().filter(|(_, of, _)| *of == kind);
        let (_, _, counters) = flows.next().expect("there is such a flow");
        *counters
    }
}

/// Turns the hosts until `done`.
pub(crate) fn run_until<E: Engine>(
    clock: &Clock,
    hosts: &mut [&mut TestHost<E>],
    what: &str,
    mut done: impl FnMut(&[&mut TestHost<E>]) -> bool,
) {
    let give_up = clock.mono().plus(GIVE_UP_NS);
    while !done(hosts) {
        assert!(clock.mono() < give_up, "waited in vain until {what}");
        for host in &mut *hosts {
            host.turn(clock);
        }
    }
}

pub(crate) fn listen_on(address: IpAddr) -> EngineConfig {
    EngineConfig {
        addresses: vec![address.into()],
        tcp_port: Some(0),
        udp_ports: vec![0],
        spin_ns: 0,
        receive_within_ns: 0,
        timestamps: Timestamps::Auto,
        sockets: SocketOptions::default(),
    }
}

pub(crate) fn loopback() -> EngineConfig {
    listen_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Returns an address of this host that no other test has its ports on, nor one of another run on this host.
pub(crate) fn own_address() -> IpAddr {
    static USED: AtomicU8 = AtomicU8::new(0);
    let number = USED.fetch_add(1, Ordering::Relaxed) + 1;
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | high, low, number).into()
}

/// Returns the configuration of a host that only probes.
pub(crate) fn silent() -> EngineConfig {
    EngineConfig {
        addresses: Vec::new(),
        tcp_port: None,
        udp_ports: Vec::new(),
        ..loopback()
    }
}

/// Returns a target with a probe of each kind every millisecond, to a host with these ports.
pub(crate) fn target(host: IpAddr, tcp: Option<u16>, udp: Option<u16>) -> TargetSpec {
    TargetSpec {
        host: Host::Address(host),
        label: "peer".into(),
        tags: Box::new(["isp:local".into(), "it's \"q\"".into()]),
        udp_port: udp,
        tcp_port: tcp,
        connect_port: tcp,
        interval_ns: 1_000_000,
        ..Config::default()
            .target(TargetOptions::new("192.0.2.1"))
            .expect("a right target")
    }
}
