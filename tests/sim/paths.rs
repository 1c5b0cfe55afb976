//! Trouble of random worlds with what leads to a peer: links of hosts, their addresses, names, and tables that fill.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use latency_monitor::limits::{REMOTE_LABELS_MAX, SESSIONS_MAX};
use latency_monitor::proto::CloseReason;

use crate::nat::{NatConfig, Ports};
use crate::rng::Rng;
use crate::scenario::{Act, Scenario, TargetConfig, What};

/// What begins within so many seconds, and is over soon after.
pub(crate) struct Trouble {
    pub(crate) seconds: u64,
}

/// A name that targets bear, and the host that it belongs to.
struct Name {
    name: String,
    address: IpAddr,
    /// What it may lead to meanwhile.
    others: Vec<IpAddr>,
}

impl Trouble {
    /// Adds some of everything to a scenario.
    pub(crate) fn add(&self, rng: &mut Rng, scenario: &mut Scenario) {
        let names = name_targets(rng, scenario);
        for name in &names {
            scenario.names.insert(name.name.clone(), name.answer(rng));
            for _ in 0..rng.below(4) {
                let at = self.moment(rng);
                scenario.acts.push(name.leads_to(at, name.answer(rng)));
            }
        }
        for host in &mut scenario.hosts {
            host.accepted_max = rng.chance(0.3).then_some(64);
        }
        for _ in 0..rng.below(5) {
            let host = usize::try_from(rng.below(scenario.hosts.len() as u64)).expect("few");
            let acts = match rng.below(5) {
                0 | 1 => self.link_goes_down(rng, &scenario.hosts[host].name),
                2 => self.host_moves(rng, scenario, host, &names),
                3 => self.translator(rng, scenario, host, &names),
                _ if rng.chance(0.3) => vec![self.strangers(rng, &scenario.hosts[host].name)],
                _ => vec![self.loses_address(rng, &scenario.hosts[host].name)],
            };
            scenario.acts.extend(acts);
        }
        for name in names {
            let mut all = name.others.clone();
            // None that works is missing: what is used then is kept.
            all.push(name.address);
            scenario
                .acts
                .push(name.leads_to(self.ends(), shuffled(rng, all)));
        }
    }

    /// When every address is its host's again, and every name leads to it.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn ends(&self) -> f64 {
        self.seconds as f64 + 3.5
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn moment(&self, rng: &mut Rng) -> f64 {
        rng.below(self.seconds * 1_000) as f64 / 1e3
    }

    /// Some time from `at` on, every magnitude from ten milliseconds to ten seconds alike.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn later(&self, rng: &mut Rng, at: f64) -> f64 {
        let seconds = (10 + (rng.below(10_000) >> rng.below(11))) as f64 / 1e3;
        (at + seconds).min(self.ends())
    }

    /// The host's own link is down for a while, once or a few times.
    fn link_goes_down(&self, rng: &mut Rng, host: &str) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut at = self.moment(rng);
        let reasons = [CloseReason::NoRoute, CloseReason::NetworkDown];
        for _ in 0..=rng.below(3) {
            let reason = reasons[usize::from(rng.chance(0.5))];
            let up = self.later(rng, at);
            for (at, down) in [(at, Some(reason)), (up, None)] {
                let host = host.to_owned();
                let what = What::Interface { host, down };
                acts.push(Act { at, what });
            }
            at = self.later(rng, up);
        }
        acts
    }

    /// A host has another address for a while. Its names follow, sooner or later.
    fn host_moves(
        &self,
        rng: &mut Rng,
        scenario: &Scenario,
        host: usize,
        names: &[Name],
    ) -> Vec<Act> {
        let at = self.moment(rng);
        let (followed, back) = (self.later(rng, at), self.later(rng, at));
        let config = &scenario.hosts[host];
        let elsewhere = nobody(rng);
        let mut acts = Vec::new();
        for (at, address) in [(at, elsewhere), (back, config.address)] {
            let host = config.name.clone();
            acts.push(Act {
                at,
                what: What::LoseAddress { host: host.clone() },
            });
            acts.push(Act {
                at,
                what: What::Move { host, address },
            });
        }
        let is_its = |name: &&Name| name.address == config.address;
        if let Some(name) = names.iter().find(is_its) {
            acts.push(name.leads_to(followed, vec![elsewhere]));
            acts.push(name.leads_to(self.later(rng, back.max(followed)), name.answer(rng)));
        }
        acts
    }

    fn loses_address(&self, rng: &mut Rng, host: &str) -> Act {
        let host = host.to_owned();
        Act {
            at: self.moment(rng),
            what: What::LoseAddress { host },
        }
    }

    /// A host that nobody probes is behind a translator, which loses its state now and then.
    fn translator(
        &self,
        rng: &mut Rng,
        scenario: &Scenario,
        host: usize,
        names: &[Name],
    ) -> Vec<Act> {
        let address = scenario.hosts[host].address;
        let mut targets = scenario.hosts.iter().flat_map(|host| &host.targets);
        let is_probed = targets.any(|target| target.host == address.to_string());
        let is_named = |name: &Name| name.address == address || name.others.contains(&address);
        if is_probed || names.iter().any(is_named) {
            return Vec::new();
        }
        let is = NatConfig {
            address: [198, 51, 100, 1].into(),
            hosts: vec![address],
            ports: Ports::Kept,
        };
        (0..=rng.below(3))
            .map(|_| Act {
                at: self.moment(rng),
                what: What::Nat { is: is.clone() },
            })
            .collect()
    }

    /// So many strangers that a table is full: that of names, or that of sessions too.
    fn strangers(&self, rng: &mut Rng, host: &str) -> Act {
        let again = u32::try_from(REMOTE_LABELS_MAX).expect("32 bits") + 1_000;
        let all = u32::try_from(SESSIONS_MAX).expect("32 bits") + 1_000;
        let (host, count) = (host.to_owned(), if rng.chance(0.5) { again } else { all });
        Act {
            at: self.moment(rng),
            what: What::Strangers { host, count, again },
        }
    }
}

/// Has some targets be known by a name, which is one for all that probe the same host.
fn name_targets(rng: &mut Rng, scenario: &mut Scenario) -> Vec<Name> {
    let is_named: BTreeSet<(String, String)> = scenario
        .hosts
        .iter()
        .flat_map(|host| {
            host.targets
                .iter()
                .map(|target| (host.name.clone(), target.host.clone()))
        })
        .filter(|_| rng.chance(0.3))
        .collect();
    let name = |host: &str, target: &mut TargetConfig| {
        if is_named.contains(&(host.to_owned(), target.host.clone())) {
            target.label = Some(target.host.clone());
            target.host = format!("{}.example", target.host);
        }
    };
    for host in &mut scenario.hosts {
        host.targets
            .iter_mut()
            .for_each(|target| name(&host.name, target));
    }
    for act in &mut scenario.acts {
        if let What::Add { host, target } = &mut act.what {
            name(host, target);
        }
    }
    let named: BTreeSet<&String> = is_named.iter().map(|(_, target)| target).collect();
    // A Python peer does not answer every probe that one of ours does.
    let others: Vec<IpAddr> = scenario
        .hosts
        .iter()
        .filter(|host| !host.python)
        .map(|host| host.address)
        .collect();
    named
        .into_iter()
        .map(|target| Name {
            name: format!("{target}.example"),
            address: target.parse().expect("targets have addresses"),
            others: (0..rng.below(4))
                .map(|_| match rng.below(2) {
                    0 => others[usize::try_from(rng.below(others.len() as u64)).expect("few")],
                    _ => nobody(rng),
                })
                .collect(),
        })
        .collect()
}

impl Name {
    /// An answer to a look-up: some of its addresses in any order, or none.
    fn answer(&self, rng: &mut Rng) -> Vec<IpAddr> {
        let all = self
            .others
            .iter()
            .copied()
            .filter(|_| rng.chance(0.7))
            .collect();
        let mut all = shuffled(rng, all);
        if rng.chance(0.8) {
            let place = usize::try_from(rng.below(all.len() as u64 + 1)).expect("few");
            all.insert(place, self.address);
        }
        all
    }

    fn leads_to(&self, at: f64, addresses: Vec<IpAddr>) -> Act {
        let name = self.name.clone();
        Act {
            at,
            what: What::Name { name, addresses },
        }
    }
}

/// An address that no host has had.
fn nobody(rng: &mut Rng) -> IpAddr {
    Ipv4Addr::from_bits(0x0a09_0000 + u32::try_from(rng.below(1 << 16)).expect("16 bits")).into()
}

fn shuffled(rng: &mut Rng, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort();
    addresses.dedup();
    addresses.sort_by_cached_key(|_| rng.next());
    addresses
}
