//! A translator of addresses (NAT) between some hosts and the others, for datagrams.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// The first port that it gives.
const FIRST_PORT: u16 = 1_024;

/// When a host's socket is given another port.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ports {
    /// Never: as long as the translator is not told otherwise.
    Kept,
    /// For each datagram: the mapping of the one before has expired.
    Fresh,
}

/// Hosts that all others see at one address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NatConfig {
    pub(crate) address: IpAddr,
    pub(crate) hosts: Vec<IpAddr>,
    pub(crate) ports: Ports,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Nat {
    config: Option<NatConfig>,
    ports: BTreeMap<SocketAddr, u16>,
    /// What is behind each port; those given up are still translated back.
    behind: BTreeMap<u16, SocketAddr>,
    given: u16,
}

impl Nat {
    /// Translates from here on as `config` says, with no mapping of before in use.
    pub(crate) fn set(&mut self, config: NatConfig) {
        self.config = Some(config);
        self.ports.clear();
    }

    /// Returns the addresses of a datagram behind the translator.
    pub(crate) fn translate(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
    ) -> (SocketAddr, SocketAddr) {
        let Some(config) = &self.config else {
            return (from, to);
        };
        if to.ip() == config.address {
            return (from, self.behind.get(&to.port()).copied().unwrap_or(to));
        }
        if !config.hosts.contains(&from.ip()) {
            return (from, to);
        }
        let port = match self.ports.get(&from) {
            Some(port) if config.ports == Ports::Kept => *port,
            _ => {
                self.given = self.given.wrapping_add(1).max(FIRST_PORT);
                self.given
            }
        };
        self.ports.insert(from, port);
        self.behind.insert(port, from);
        (SocketAddr::new(config.address, port), to)
    }
}
