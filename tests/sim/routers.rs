//! Routers between hosts: they answer what is to learn a hop, or are silent, and strangers forge such answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use latency_monitor::proto::{HopAnswer, IcmpType, Path, PathOptions, Why};
use serde::Deserialize;

use crate::network::{Event, HostId, Network};
use crate::scenario::nanos;
use crate::truth::Instant;

/// What each router adds to the way there and back.
const ROUTER_NS: u64 = 20_000;

/// Who forges answers. It is on no path.
const STRANGER: [u8; 4] = [203, 0, 113, 9];

/// The routers from one host to another, in their order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) routers: Vec<Router>,
    /// Nothing listens at the host's port, and the host says so.
    #[serde(default)]
    pub(crate) is_closed: bool,
    /// A stranger who guesses the 5-tuple sends an answer of his own before each true one.
    #[serde(default)]
    pub(crate) is_forged: bool,
    /// What goes further than so many routers is lost.
    #[serde(default)]
    pub(crate) cut_after: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Router {
    /// `None`: it answers nothing.
    pub(crate) address: Option<IpAddr>,
    /// Bytes of the payload that it quotes.
    #[serde(default = "all")]
    pub(crate) quotes: usize,
}

fn all() -> usize {
    usize::MAX
}

/// When a host traces the paths of its flows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traces {
    /// Seconds.
    #[serde(default)]
    pub(crate) interval: f64,
    #[serde(default = "hops_max")]
    pub(crate) hops_max: u8,
    /// Somebody waits for the path of every flow, once: so many at once.
    #[serde(default)]
    pub(crate) asked: Option<usize>,
}

fn hops_max() -> u8 {
    30
}

impl Traces {
    pub(crate) fn options(self) -> PathOptions {
        if let Some(at_once) = self.asked {
            return PathOptions {
                on: vec![Why::Asked],
                hops_max: self.hops_max,
                spacing_ns: 20_000_000,
                at_once,
                ..PathOptions::never()
            };
        }
        PathOptions {
            on: Why::EVENTS.to_vec(),
            interval_ns: nanos(self.interval),
            hops_max: self.hops_max,
            ..PathOptions::never()
        }
    }
}

/// An ICMP error about a datagram from the first address to the second.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    by: IpAddr,
    icmp: IcmpType,
    quote: Vec<u8>,
    pub(crate) arrives_ns: u64,
}

impl Answer {
    pub(crate) fn told(&self) -> HopAnswer<'_> {
        HopAnswer {
            by: Some(self.by),
            icmp: self.icmp,
            quote: &self.quote,
            extension_at: 0,
        }
    }
}

/// The routes that have routers, by their ends.
pub(crate) type Routes = BTreeMap<(HostId, HostId), Route>;

impl Network {
    /// Returns how many routers there are from one address to another.
    pub(crate) fn routers(&self, from: IpAddr, to: IpAddr) -> Option<u8> {
        let ends = (self.host_at(from)?, self.host_at(to)?);
        u8::try_from(self.routes.get(&ends)?.routers.len()).ok()
    }

    /// Sends a datagram with a TTL.
    pub(crate) fn send_hop(
        &mut self,
        (host, from): (HostId, SocketAddr),
        to: SocketAddr,
        (ttl, payload): (u8, &[u8]),
        (left_wall_ns, left): (i64, Instant),
    ) {
        let receiver = self.host_at(to.ip());
        let route = receiver.and_then(|receiver| self.routes.get(&(host, receiver)));
        let Some(route) = route.cloned() else {
            return self.send_datagram((host, from), to, (payload, None), (left_wall_ns, left));
        };
        let (place, is_v6) = (usize::from(ttl) - 1, to.is_ipv6());
        if route.cut_after.is_some_and(|cut| place >= cut) {
            return;
        }
        let icmp = |kind, code| IcmpType { is_v6, kind, code };
        let arrives_ns = left.true_ns + 2 * ROUTER_NS * u64::from(ttl);
        let mut answer = |by: IpAddr, icmp, quote: &[u8], arrives_ns| {
            let quote = quote.to_vec();
            self.schedule(
                arrives_ns,
                Event::Hop(Answer {
                    from,
                    to,
                    by,
                    icmp,
                    quote,
                    arrives_ns,
                }),
            );
        };
        if route.is_forged {
            // He sees no number of ours.
            let mut guess = payload.to_vec();
            if let Some(last) = guess.last_mut() {
                *last ^= 1;
            }
            answer(STRANGER.into(), icmp(11, 0), &guess, arrives_ns - 1);
            answer(STRANGER.into(), icmp(3, 1), &guess, arrives_ns - 1);
        }
        match route.routers.get(place) {
            Some(router) => {
                if let Some(by) = router.address {
                    let quoted = &payload[..payload.len().min(router.quotes)];
                    answer(by, icmp(11, 0), quoted, arrives_ns);
                }
            }
            None if route.is_closed => answer(to.ip(), icmp(3, 3), payload, arrives_ns),
            None => self.send_datagram((host, from), to, (payload, None), (left_wall_ns, left)),
        }
    }
}

/// Writes what was learnt of a path.
pub(crate) fn show(path: &Path) -> String {
    let mut out = format!("path for {}", path.why.as_str());
    let end = if path.is_reached {
        "reached"
    } else {
        "not reached"
    };
    let _ = write!(out, ", {end}:");
    for hop in &path.hops {
        let _ = match hop.address {
            Some(address) => write!(out, " {} {address}", hop.ttl),
            None => write!(out, " {} silent", hop.ttl),
        };
        if let (Some(ns), Some(stamp)) = (hop.rtt_ns, hop.stamp) {
            let _ = write!(out, " ({ns} ns by {})", stamp.as_str());
        }
        if let Some(icmp) = hop.icmp.filter(|icmp| icmp.to_string() != "time exceeded") {
            let _ = write!(out, " {icmp}");
        }
    }
    if let Some(before) = &path.before {
        let _ = write!(out, "; before: {before:?}");
    }
    out
}
