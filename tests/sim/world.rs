//! Runs hosts and network on one virtual clock: the next event happens next.

mod attacks;

use std::fmt::Write as _;
use std::net::IpAddr;

use latency_monitor::proto::CloseReason;

use crate::bursts::Bursts;
use crate::clock::HostClock;
use crate::foreign::ForeignHost;
use crate::host::{Input, Place, ProberHost};
use crate::network::{Event, HostId, Link, Network, Side};
use crate::python::PythonHost;
use crate::results::Results;
use crate::rng::Rng;
use crate::scenario::{HostConfig, Scenario, TargetConfig, What, key, nanos};
use crate::windows::Windows;

#[derive(Debug)]
enum Program {
    Prober(Box<ProberHost>),
    Python(PythonHost),
    Foreign(ForeignHost),
    Off,
}

#[derive(Debug)]
struct Host {
    config: HostConfig,
    address: IpAddr,
    clock: HostClock,
    program: Program,
    life: u32,
    frozen_until_ns: u64,
    /// Nothing reaches its program before what arrived earlier.
    delivers_ns: u64,
    /// Whether its kernel runs, with the program or without.
    powered: bool,
    /// Why its own link carries nothing.
    cut_off: Option<CloseReason>,
}

#[derive(Debug)]
pub(crate) struct World {
    scenario: Scenario,
    net: Network,
    hosts: Vec<Host>,
    seeds: Rng,
    /// When the last datagram of a stranger arrives.
    strangers_at_ns: u64,
    report: String,
    /// The error of every estimate of a peer's clock that was compared with the truth.
    errors_ns: Vec<u64>,
    /// Outages that were compared with the truth.
    outages: u64,
    results: Vec<Results>,
}

/// What came of a scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What happened.
    pub(crate) report: String,
    /// The error of every estimate of a peer's clock that was compared with the truth.
    pub(crate) errors_ns: Vec<u64>,
    /// Outages that were compared with the truth.
    pub(crate) outages: u64,
    /// What became of every probe, by host, if the scenario asks for it.
    pub(crate) results: Vec<Results>,
}

impl World {
    /// Runs a scenario to its end. Gives what happened; panics if anything does not add up.
    pub(crate) fn run(scenario: Scenario) -> String {
        Self::play(scenario).report
    }

    /// The same, with what was compared.
    pub(crate) fn play(scenario: Scenario) -> Outcome {
        let mut world = Self::new(scenario);
        let end_ns = nanos(world.scenario.seconds);
        if let Some(settled_ns) = world.scenario.settled_at.map(nanos) {
            world.run_until(settled_ns);
            for host in &mut world.hosts {
                if let Program::Prober(prober) = &mut host.program {
                    prober.account.settle();
                }
            }
        }
        world.run_until(end_ns);
        for id in 0..world.hosts.len() {
            let at = world.place(id);
            if let Program::Prober(prober) = &mut world.hosts[id].program {
                prober.account.check_settled();
                world.outages += prober.finish(at, &world.net);
                world.results.extend(prober.results.take());
                if world.scenario.exact_losses {
                    let truly = world.net.truth.losses(id, end_ns - 1_000_000_000);
                    prober.account.check_losses((id, &world.net.truth), truly);
                }
            }
            world.tell(id);
        }
        Outcome {
            report: world.report,
            errors_ns: world.errors_ns,
            outages: world.outages,
            results: world.results,
        }
    }

    fn new(scenario: Scenario) -> Self {
        let mut net = Network::new(scenario.seed);
        net.truth.rates_ppb = 2 * scenario.drift_ppb_max();
        net.truth.keys = scenario.keys();
        net.names.clone_from(&scenario.names);
        net.recorded.most = scenario.replays();
        let mut hosts = Vec::new();
        for (id, config) in scenario.hosts.iter().enumerate() {
            net.place(config.address, id);
            // Monotonic clocks that have nothing in common.
            let boot_ns = (id as u64 + 1) * 7_000_000_000_011;
            hosts.push(Host {
                address: config.address,
                clock: HostClock::new(boot_ns, config.clock_offset_ns, config.clock_drift_ppb),
                program: Program::Off,
                life: 0,
                frozen_until_ns: 0,
                delivers_ns: 0,
                powered: true,
                cut_off: None,
                config: config.clone(),
            });
        }
        for from in 0..hosts.len() {
            for to in 0..hosts.len() {
                net.set_link(from, to, scenario.link);
            }
        }
        for (index, act) in scenario.acts.iter().enumerate() {
            net.schedule(nanos(act.at), Event::Act(index));
        }
        let seeds = Rng::new(scenario.seed ^ 0x5eed);
        let mut world = Self {
            scenario,
            net,
            hosts,
            seeds,
            strangers_at_ns: 0,
            report: String::new(),
            errors_ns: Vec::new(),
            outages: 0,
            results: Vec::new(),
        };
        for link in world.scenario.links.clone() {
            let (from, to) = (world.host(&link.from), world.host(&link.to));
            world.net.set_link(from, to, link.is);
        }
        for route in world.scenario.routes.clone() {
            let ends = (world.host(&route.from), world.host(&route.to));
            world.net.routes.insert(ends, route);
        }
        for id in 0..world.hosts.len() {
            world.start(id);
        }
        world
    }

    fn host(&self, name: &str) -> HostId {
        let found = self.hosts.iter().position(|host| host.config.name == name);
        found.unwrap_or_else(|| panic!("the scenario has no host {name}"))
    }

    fn run_until(&mut self, end_ns: u64) {
        loop {
            let timer = (0..self.hosts.len())
                .filter_map(|id| Some((self.wakes_ns(id)?, id)))
                .min();
            let event_ns = self.net.next_at().filter(|at| *at <= end_ns);
            match (timer.filter(|(at, _)| *at <= end_ns), event_ns) {
                (Some((timer_ns, id)), event) if event.is_none_or(|event| timer_ns < event) => {
                    self.net.now_ns = self.net.now_ns.max(timer_ns);
                    self.step(id, &Input::Tick);
                }
                (_, Some(event_ns)) => {
                    self.net.now_ns = event_ns;
                    if let Some(event) = self.net.pop(event_ns) {
                        self.handle(event);
                    }
                }
                _ => break,
            }
        }
        self.net.now_ns = end_ns;
    }

    /// When a host's program wants to run.
    fn wakes_ns(&mut self, id: HostId) -> Option<u64> {
        let host = &mut self.hosts[id];
        let wakes_ns = match &mut host.program {
            Program::Prober(prober) => prober.timeout_ns(&host.clock),
            Program::Python(python) => python.timeout_ns(),
            Program::Foreign(_) | Program::Off => None,
        };
        wakes_ns.map(|at| at.max(host.frozen_until_ns))
    }

    fn place(&self, id: HostId) -> Place {
        Place {
            host: id,
            address: self.hosts[id].address,
            life: self.hosts[id].life,
        }
    }

    fn step(&mut self, id: HostId, input: &Input<'_>) {
        let at = self.place(id);
        let host = &mut self.hosts[id];
        match &mut host.program {
            Program::Prober(prober) => prober.step(at, &host.clock, &mut self.net, input),
            Program::Python(python) => python.step(at, &host.clock, &mut self.net, input),
            Program::Foreign(foreign) => foreign.step(at, &host.clock, &mut self.net, input),
            Program::Off => {}
        }
        self.check_claims(id);
    }

    /// What a prober says of its peers' clocks is so, within the error that it says.
    fn check_claims(&mut self, id: HostId) {
        let Program::Prober(prober) = &mut self.hosts[id].program else {
            return;
        };
        let claims = std::mem::take(&mut prober.account.claims);
        for claim in claims {
            let now_ns = self.net.now_ns;
            let Some(peer) = self.net.host_at(claim.address) else {
                continue;
            };
            // An exchange that began before the peer's clock was set still says what that was before, and
            // so does what is claimed with it, however long its reply or T3 has been waited for.
            let began_ns = claim.began_ns.expect("claimed with an exchange");
            // Nor is what was known until our own clock was set, at this very instant, of this one.
            let is_set_now = self.hosts[id].clock.is_set_since(now_ns);
            if is_set_now || self.hosts[peer].clock.is_set_since(began_ns) {
                continue;
            }
            let wall = |host: HostId| self.hosts[host].clock.instant(now_ns).wall_ns;
            let truly_ns = wall(peer) - wall(id);
            let off_ns = (claim.estimate.offset_ns - truly_ns).unsigned_abs();
            assert!(
                off_ns <= claim.estimate.error_ns,
                "{} at {now_ns}: {:?} of a clock that is {truly_ns} ns ahead",
                self.hosts[id].config.name,
                claim.estimate,
            );
            self.errors_ns.push(claim.estimate.error_ns);
        }
    }

    /// A packet reaches a host's kernel: it is stamped, and waits there for as long as the host's noise
    /// has it. `None` if it waits.
    fn arrive(&mut self, id: HostId, mut event: Event) -> Option<Event> {
        let now_ns = self.net.now_ns;
        let host = &mut self.hosts[id];
        let instant = host.clock.instant(now_ns);
        let arrived = match &mut event {
            Event::Datagram(datagram) => &mut datagram.arrived,
            Event::Data(_, _, _, arrived) => arrived,
            _ => return Some(event),
        };
        if arrived.is_some() {
            return Some(event);
        }
        *arrived = Some(instant);
        if let Event::Datagram(datagram) = &event {
            self.net.truth.note_arrived(id, &datagram.payload, instant);
        }
        if host.config.noise_us == 0 {
            return Some(event);
        }
        let noise_ns = self.net.rng.below(host.config.noise_us * 1_000);
        host.delivers_ns = host.delivers_ns.max(now_ns + noise_ns);
        self.net.schedule(host.delivers_ns, event);
        None
    }

    /// Has a host that reads late keep what is for its flows. Gives back what is not.
    fn take_in(&mut self, id: HostId, event: Event) -> Option<Event> {
        let host = &mut self.hosts[id];
        let Program::Prober(prober) = &mut host.program else {
            return Some(event);
        };
        match prober.take_in(&host.clock, &mut self.net, event) {
            Ok(wakes) => {
                if wakes && !self.is_frozen(id) {
                    self.step(id, &Input::Tick);
                }
                None
            }
            Err(event) => Some(*event),
        }
    }

    /// Whether a host's program runs now; what comes while it is stalled waits in its kernel.
    fn is_frozen(&self, id: HostId) -> bool {
        self.hosts[id].frozen_until_ns > self.net.now_ns
    }

    fn is_off(&self, id: HostId) -> bool {
        matches!(self.hosts[id].program, Program::Off)
    }

    fn handle(&mut self, event: Event) {
        let receiver = self.receiver(&event);
        let event = match receiver {
            Some(id) => match self.arrive(id, event) {
                Some(event) => event,
                None => return,
            },
            None => event,
        };
        // What is read late waits in its socket, also while the program is stalled.
        let event = match receiver {
            Some(id) => match self.take_in(id, event) {
                Some(event) => event,
                None => return,
            },
            None => event,
        };
        if let Some(id) = receiver.filter(|id| self.is_frozen(*id)) {
            let thaw_ns = self.hosts[id].frozen_until_ns;
            return self.net.schedule(thaw_ns, event);
        }
        match event {
            Event::Datagram(datagram) => {
                if let Some(id) = receiver {
                    self.step(id, &Input::Datagram(&datagram));
                }
                self.net.recycle(datagram.payload);
            }
            Event::Unreachable(from, to) => {
                if let Some(id) = receiver {
                    self.step(id, &Input::Unreachable(from, to));
                }
            }
            Event::Hop(answer) => {
                if let Some(id) = receiver {
                    self.step(id, &Input::Hop(&answer));
                }
            }
            Event::Data(connection, side, bytes, arrived) => {
                let Some(id) = receiver else { return };
                let is_open = self
                    .net
                    .connection(connection)
                    .is_some_and(|c| c.is_open(side));
                if is_open {
                    self.step(id, &Input::Data(connection, side, &bytes, arrived));
                    self.net.recycle(bytes);
                } else if !self.hosts[id].powered {
                    self.net.undeliverable(connection, side, bytes);
                } else {
                    self.net.reset(connection, side);
                }
            }
            Event::Syn(connection) => match receiver {
                Some(id) if !self.hosts[id].powered => self.net.retry_syn(connection, 0),
                Some(id) => {
                    let port = self.net.connection(connection).map(|c| c.server.port());
                    let listens = port == Some(crate::host::TCP_PORT) && !self.is_off(id);
                    self.net.answer(connection, listens);
                    if listens {
                        self.step(id, &Input::Accept(connection));
                    }
                }
                None => {}
            },
            Event::Answer(connection, accepted) => {
                let input = if accepted {
                    Input::Connected(connection)
                } else {
                    Input::Refused(connection)
                };
                if let Some(id) = receiver {
                    self.step(id, &input);
                }
            }
            Event::Closed(connection, side, ending) => {
                if let Some(id) = receiver {
                    self.step(id, &Input::Closed(connection, side, ending));
                    self.net.close(connection, side, ending);
                }
            }
            Event::Writable(connection, side) => {
                if let Some(id) = receiver {
                    self.step(id, &Input::Writable(connection, side));
                }
            }
            Event::Retransmit(connection, side) => self.net.retransmit(connection, side),
            Event::SynAgain(connection, attempt) => self.net.send_syn(connection, attempt),
            Event::Resolved(id, life, target, addresses) => {
                if self.hosts[id].life == life {
                    self.step(id, &Input::Resolved(target, &addresses));
                }
            }
            Event::Stamp(id, life, key, at) => {
                if self.hosts[id].life == life {
                    self.step(id, &Input::Stamp(key, at));
                }
            }
            Event::Act(index) => self.act(index),
        }
    }

    /// Whose program learns of an event.
    fn receiver(&self, event: &Event) -> Option<HostId> {
        let end =
            |connection: &u64, side: Side| self.net.connection(*connection).map(|c| c.host(side));
        match event {
            Event::Datagram(datagram) => self.net.host_at(datagram.to.ip()),
            Event::Unreachable(from, _) => self.net.host_at(from.ip()),
            Event::Hop(answer) => self.net.host_at(answer.from.ip()),
            Event::Syn(connection) => end(connection, Side::Server),
            Event::Answer(connection, _) => end(connection, Side::Client),
            Event::Data(connection, side, ..)
            | Event::Closed(connection, side, _)
            | Event::Writable(connection, side) => end(connection, *side),
            Event::Resolved(id, ..) | Event::Stamp(id, ..) => Some(*id),
            // What a program is told to do it does when it runs.
            Event::Act(index) => match &self.scenario.acts[*index].what {
                What::Add { host, .. }
                | What::Remove { host, .. }
                | What::Key { host, .. }
                | What::Keys { host, .. } => Some(self.host(host)),
                _ => None,
            },
            Event::Retransmit(..) | Event::SynAgain(..) => None,
        }
    }

    // --- what a scenario does ---

    fn act(&mut self, index: usize) {
        match self.scenario.acts[index].what.clone() {
            What::Crash { host } => {
                let id = self.host(&host);
                self.end(id);
                self.net.close_host(id);
            }
            What::PowerOff { host } => {
                let id = self.host(&host);
                self.end(id);
                self.hosts[id].powered = false;
                self.net.forget_host(id);
            }
            What::Start { host } => self.start(self.host(&host)),
            What::Freeze { host, seconds } => {
                let id = self.host(&host);
                // What waits for the end of one stall must not be overtaken by what waits for another's.
                if !self.is_frozen(id) {
                    self.hosts[id].frozen_until_ns = self.net.now_ns + nanos(seconds);
                }
                if let Program::Prober(prober) = &mut self.hosts[id].program {
                    prober.account.was_frozen = true;
                }
            }
            What::LoseAddress { host } => {
                let id = self.host(&host);
                if let Program::Prober(prober) = &mut self.hosts[id].program {
                    prober.lose_address();
                }
            }
            What::Interface { host, down } => {
                let id = self.host(&host);
                self.set_interface(id, down);
            }
            What::Step { host, ns } => {
                let id = self.host(&host);
                self.hosts[id].clock.step(self.net.now_ns, ns);
                self.step(id, &Input::ClockStep(ns));
            }
            What::Drift { host, ppb } => {
                let id = self.host(&host);
                self.hosts[id].clock.bend(self.net.now_ns, ppb);
            }
            What::Link { from, to, is } => {
                let (from, to) = (self.host(&from), self.host(&to));
                self.net.set_link(from, to, is);
            }
            What::Route { is } => {
                let ends = (self.host(&is.from), self.host(&is.to));
                self.net.routes.insert(ends, is);
            }
            What::Heal => self.heal(),
            What::Add { host, target } => self.add_target(&host, &target),
            What::Remove { host, label } => self.remove_target(&host, &label),
            What::Key { host, label, key } => self.set_key(&host, &label, key),
            What::Labels {
                host,
                label,
                to,
                tags,
            } => self.set_labels(&host, &label, &to, &tags),
            What::Keys { host, keys } => self.set_keys(&host, keys),
            What::Replace { host, python } => {
                let id = self.host(&host);
                self.end(id);
                self.net.close_host(id);
                self.hosts[id].config.python = python;
                self.start(id);
            }
            What::Name { name, addresses } => drop(self.net.names.insert(name, addresses)),
            What::Move { host, address } => {
                let id = self.host(&host);
                self.net.unplace(self.hosts[id].address);
                self.net.place(address, id);
                self.hosts[id].address = address;
            }
            What::AnswerFrom { host, address } => {
                let id = self.host(&host);
                if let Program::Prober(prober) = &mut self.hosts[id].program {
                    prober.answers_from = Some(address);
                }
            }
            What::Nat { is } => self.net.nat.set(is),
            What::Alias { host, address } => self.net.place(address, self.host(&host)),
            What::Aliases { host, count } => {
                let id = self.host(&host);
                self.send_aliases(id, count);
            }
            What::Attack { is } => self.attack(&is),
            What::Replay { .. } => self.replay(),
            What::Strangers { host, count, again } => {
                let id = self.host(&host);
                self.send_strangers(id, count, again);
            }
        }
    }

    fn add_target(&mut self, host: &str, target: &TargetConfig) {
        let (id, now_ns) = (self.host(host), self.net.now_ns);
        let host = &mut self.hosts[id];
        let spec = target.spec();
        if let Program::Prober(prober) = &mut host.program
            && !prober.has(&spec.label)
        {
            prober.add(now_ns, host.clock.now(now_ns), spec);
        }
        self.step(id, &Input::Tick);
    }

    fn remove_target(&mut self, host: &str, label: &str) {
        let id = self.host(host);
        // A slot that is due at this very instant comes first.
        self.step(id, &Input::Tick);
        if let Program::Prober(prober) = &mut self.hosts[id].program {
            prober.remove(label);
        }
        self.step(id, &Input::Tick);
    }

    fn set_key(&mut self, host: &str, label: &str, number: u8) {
        let id = self.host(host);
        self.step(id, &Input::Tick);
        let now = self.hosts[id].clock.now(self.net.now_ns);
        if let Program::Prober(prober) = &mut self.hosts[id].program {
            prober.set_key(now, label, &key(number).into());
        }
        self.step(id, &Input::Tick);
    }

    fn set_labels(&mut self, host: &str, label: &str, to: &str, tags: &[String]) {
        let id = self.host(host);
        self.step(id, &Input::Tick);
        for host in &mut self.hosts {
            if let Program::Prober(prober) = &mut host.program {
                prober.account.remembers = true;
            }
        }
        let now = self.hosts[id].clock.now(self.net.now_ns);
        if let Program::Prober(prober) = &mut self.hosts[id].program {
            prober.set_labels(now, label, to, tags);
        }
        self.step(id, &Input::Tick);
    }

    fn set_keys(&mut self, host: &str, numbers: Vec<u8>) {
        let id = self.host(host);
        let host = &mut self.hosts[id];
        let before = host.config.key_ring();
        host.config.keys = numbers;
        let mut ring = host.config.key_ring();
        ring.succeed(&before);
        if let Program::Prober(prober) = &mut host.program {
            prober.set_keys(ring);
        }
    }

    fn heal(&mut self) {
        for link in self.net.links_mut() {
            *link = self.scenario.link;
        }
        for id in 0..self.hosts.len() {
            self.set_interface(id, None);
            self.start(id);
        }
    }

    fn set_interface(&mut self, id: HostId, down: Option<CloseReason>) {
        let link = Link {
            down: down.is_some(),
            ..self.scenario.link
        };
        for other in 0..self.hosts.len() {
            self.net.set_link(id, other, link);
            self.net.set_link(other, id, link);
        }
        self.hosts[id].cut_off = down;
        if let Program::Prober(prober) = &mut self.hosts[id].program {
            prober.cut_off = down;
        }
    }

    fn start(&mut self, id: HostId) {
        if !self.is_off(id) {
            return;
        }
        let now_ns = self.net.now_ns;
        let host = &mut self.hosts[id];
        let config = &host.config;
        host.life += 1;
        host.powered = true;
        host.frozen_until_ns = 0;
        host.program = if let Some(foreign) = config.foreign {
            Program::Foreign(ForeignHost::new(foreign))
        } else if config.python {
            Program::Python(PythonHost::new(&config.name))
        } else {
            let mut prober = Box::new(ProberHost::new(config, self.seeds.next()));
            prober.cut_off = host.cut_off;
            prober.account.has_native = self
                .scenario
                .hosts
                .iter()
                .flat_map(|host| &host.targets)
                .any(|target| target.protocol != "text");
            if self.scenario.bursts {
                prober.account.bursts = Some(Bursts::new(&config.name, host.clock.now(now_ns)));
            }
            if self.scenario.windows {
                prober.windows = Some(Windows::new(&config.name, host.clock.now(now_ns)));
            }
            if let Some(traces) = config.traces {
                prober.trace_paths(host.clock.now(now_ns), traces.options());
            }
            prober.results = self.scenario.results.then(Results::default);
            prober.account.life = self.scenario.life.then(String::new);
            for target in &config.targets {
                prober.add(now_ns, host.clock.now(now_ns), target.spec());
            }
            Program::Prober(prober)
        };
        self.step(id, &Input::Tick);
    }

    fn end(&mut self, id: HostId) {
        let at = self.place(id);
        if let Program::Prober(prober) = &mut self.hosts[id].program {
            self.outages += prober.finish(at, &self.net);
        }
        self.tell(id);
        self.hosts[id].program = Program::Off;
    }

    fn tell(&mut self, id: HostId) {
        let host = &self.hosts[id];
        let mut lines = String::new();
        match &host.program {
            Program::Prober(prober) => prober.report(&mut lines),
            Program::Python(python) => python.report(&mut lines),
            Program::Foreign(foreign) => foreign.report(&mut lines),
            Program::Off => return,
        }
        let (name, life) = (&host.config.name, host.life);
        let _ = writeln!(
            self.report,
            "{name}, start {life}, until {} ms",
            self.net.now_ns / 1_000_000
        );
        for line in lines.lines() {
            let _ = writeln!(self.report, "  {line}");
        }
    }
}
