//! Strangers off the path: they fake any source, know names, tags and well-known ports, and see nothing that
//! others send. Beside them somebody who has recorded packets sends them again.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::proto::wire::native::{
    self, ErrorEstimate, FollowUp, ReplyFields, RequestFields,
};
use latency_monitor::proto::wire::text::{self, Identifier};
use latency_monitor::proto::{Labels, Stamp, StampSource, Wall};
use serde::Deserialize;

use crate::chaos::random_scenario;
use crate::host::UDP_PORT;
use crate::rng::Rng;
use crate::scenario::{Act, Scenario, What, nanos};
use crate::world::World;

/// A delay that no network here has: whatever a stranger says of times is off by more.
const FORGED_NS: i64 = 1_000_000_000_000_000;

/// Names of strangers that claim no other's.
pub(crate) const NAME: &str = "stranger";

/// Numbers of the sequence on the text wire.
const SEQUENCES: u64 = 101;

/// A flood for a while: each datagram is another try.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attack {
    /// Who gets it.
    pub(crate) host: String,
    /// An honest host that probes that one, and is probed by it perhaps.
    pub(crate) honest: String,
    /// The tags of its targets.
    pub(crate) tags: Vec<Vec<String>>,
    /// Strangers use its name too.
    pub(crate) claims: bool,
    pub(crate) seconds: f64,
    pub(crate) every_us: u64,
}

/// What a try needs to know.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) host: IpAddr,
    pub(crate) honest: IpAddr,
    /// The honest one's name, if strangers use it.
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<Vec<String>>,
    /// The last port that a socket of any host got.
    pub(crate) last_port: u16,
    pub(crate) wall: Wall,
}

/// One datagram of a stranger.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
    /// When it left, as it says.
    pub(crate) left: Wall,
}

impl Attack {
    /// How many datagrams it has.
    pub(crate) fn tries(&self) -> u64 {
        nanos(self.seconds) / (self.every_us * 1_000)
    }
}

/// The last datagrams of all hosts, if somebody records them.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) most: usize,
    tries: VecDeque<Try>,
}

impl Recorded {
    pub(crate) fn note(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8], left_ns: i64) {
        if self.most == 0 {
            return;
        }
        if self.tries.len() >= self.most {
            self.tries.pop_front();
        }
        self.tries.push_back(Try {
            from,
            to,
            payload: payload.to_vec(),
            left: Wall::from_unix_nanos(left_ns),
        });
    }

    pub(crate) fn take(&mut self) -> VecDeque<Try> {
        std::mem::take(&mut self.tries)
    }
}

/// True for a delay under an honest host's labels, which must be what the network did: false where everyone
/// can see that a stranger may have sent it.
pub(crate) fn is_honest(labels: &Labels, delay_ns: i64) -> bool {
    let mut tags = labels.tags.iter();
    let has_address = tags.any(|tag| tag.starts_with("address:"));
    let is_apart = labels.source.starts_with(NAME) || has_address;
    assert!(is_apart || delay_ns.abs() < FORGED_NS, "forged: {labels:?}");
    !is_apart
}

impl Try {
    pub(crate) fn draw(rng: &mut Rng, aim: &Aim) -> Self {
        let far = IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 + small(rng.below(1 << 16))));
        let port = 20_000 + port(rng.below(u64::from(aim.last_port.max(20_001) - 19_999)));
        let left = Wall::from_unix_nanos(aim.wall.as_unix_nanos() - 2 * FORGED_NS);
        let (own_name, any_port) = (format!("{NAME}-{far}"), 1_024 + port_of(rng));
        let which = usize::try_from(rng.below(aim.tags.len() as u64)).expect("an index");
        let tags = text::encode_tags(&aim.tags[which]);
        let name = aim.name.as_deref().unwrap_or(&own_name);
        let mut payload = Vec::new();
        let (from, to) = match rng.below(8) {
            // The honest sender's name, with its address or without.
            0 => {
                request(&mut payload, rng, (name, &tags), left, None);
                (SocketAddr::new(aim.honest, any_port), aim.at_host(UDP_PORT))
            }
            1 => {
                request(&mut payload, rng, (name, &tags), left, None);
                (SocketAddr::new(far, any_port), aim.at_host(UDP_PORT))
            }
            2 => {
                let cookie = small(rng.below(1 << 32));
                let identifier = Some(Identifier::new(cookie, small(rng.below(1 << 32))));
                request(&mut payload, rng, (name, &tags), left, identifier);
                (SocketAddr::new(aim.honest, any_port), aim.at_host(UDP_PORT))
            }
            // Its name on the native wire, far ahead, with stamps that complete earlier requests.
            3 => {
                native_request(&mut payload, rng, (name, &tags), left);
                (SocketAddr::new(aim.honest, port), aim.at_host(UDP_PORT))
            }
            // Names of its own: the series that there may be.
            4 => {
                request(&mut payload, rng, (&own_name, &tags), left, None);
                (SocketAddr::new(far, 4_000), aim.at_host(UDP_PORT))
            }
            5 => {
                native_request(&mut payload, rng, (&own_name, &tags), left);
                (SocketAddr::new(far, any_port), aim.at_host(UDP_PORT))
            }
            // Replies to the honest sender's probes.
            6 => {
                request(&mut payload, rng, ("host", &tags), left, None);
                (aim.at_host(UDP_PORT), SocketAddr::new(aim.honest, port))
            }
            _ => {
                native_reply(&mut payload, rng, left);
                (aim.at_host(UDP_PORT), SocketAddr::new(aim.honest, port))
            }
        };
        Self {
            from,
            to,
            payload,
            left,
        }
    }
}

impl Aim {
    fn at_host(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host, port)
    }
}

fn request(
    out: &mut Vec<u8>,
    rng: &mut Rng,
    (name, tags): (&str, &str),
    left: Wall,
    identifier: Option<Identifier>,
) {
    let seq = u8::try_from(rng.below(SEQUENCES)).expect("a sequence number");
    text::encode_request(out, seq, name, left, tags, identifier, Some(120));
}

fn native_request(out: &mut Vec<u8>, rng: &mut Rng, (name, tags): (&str, &str), left: Wall) {
    let number = small(rng.below(1 << 32));
    let stamp = Stamp {
        at: left,
        source: StampSource::Kernel,
    };
    let told = |seq| Some(FollowUp { seq, stamp });
    let fields = RequestFields {
        dscp: None,
        seq: number,
        sent: left,
        error: ErrorEstimate::from_nanos(true, 1),
        ssid: u16::try_from(rng.below(1 << 16)).expect("16 bits"),
        cookie: small(rng.below(1 << 32)),
        session: small(rng.below(1 << 32)),
        follow_ups: [told(number.wrapping_sub(1)), told(number.wrapping_sub(2))],
        offset_ns: Some(FORGED_NS),
        source: name,
        tags,
    };
    native::encode_request(out, &fields, None);
}

fn native_reply(out: &mut Vec<u8>, rng: &mut Rng, left: Wall) {
    let mut request = Vec::new();
    native_request(&mut request, rng, (NAME, "[]"), left);
    let received = Stamp {
        at: left,
        source: StampSource::Kernel,
    };
    let fields = ReplyFields {
        seq: small(rng.below(1 << 10)),
        sent: left,
        error: ErrorEstimate::from_nanos(true, 1),
        received,
        follow_ups: [None; 3],
        session: small(rng.below(1 << 32)),
        received_count: small(rng.below(1 << 10)),
        seen: rng.next(),
        name: NAME,
        headers: None,
        is_light: false,
        totals: None,
    };
    native::encode_reply(out, &request, &fields);
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("32 bits")
}

fn port(number: u64) -> u16 {
    u16::try_from(number).expect("16 bits")
}

fn port_of(rng: &mut Rng) -> u16 {
    port(rng.below(60_000))
}

/// Whatever else happens in a world, strangers change nothing in it: everything that holds without them
/// does. While hosts come and go, a name belongs to whoever has it; those who have settled keep theirs.
#[test]
fn strangers_change_nothing_in_random_worlds() {
    for seed in 9_000..9_004 {
        let mut scenario = random_scenario(seed);
        let mut rng = Rng::new(seed ^ 0x57a);
        let settled_at = scenario.settled_at.expect("as all random worlds have");
        for _ in 0..=rng.below(3) {
            let Some((host, honest, tags)) = draw_honest(&mut rng, &scenario) else {
                continue;
            };
            for (at, claims) in [(1.0, false), (settled_at - 10.0, true)] {
                let is = Attack {
                    host: host.clone(),
                    honest: honest.clone(),
                    tags: vec![tags.clone()],
                    claims,
                    seconds: 8.0,
                    every_us: 2_000,
                };
                let what = What::Attack { is };
                scenario.acts.push(Act { at, what });
            }
        }
        for at in [12.0, settled_at] {
            let what = What::Replay { count: 1_000 };
            scenario.acts.push(Act { at, what });
        }
        World::run(scenario);
    }
}

/// Draws a host, one that probes it over UDP to the end, and the tags of that target.
fn draw_honest(rng: &mut Rng, scenario: &Scenario) -> Option<(String, String, Vec<String>)> {
    let pick = |rng: &mut Rng, count: usize| usize::try_from(rng.below(count as u64)).ok();
    let honest = scenario.hosts.get(pick(rng, scenario.hosts.len())?)?;
    let target = honest.targets.get(pick(rng, honest.targets.len())?)?;
    let is_removed =
        |act: &Act| matches!(&act.what, What::Remove { host, .. } if *host == honest.name);
    if !target.udp || honest.python || scenario.acts.iter().any(is_removed) {
        return None;
    }
    let mut hosts = scenario.hosts.iter();
    let host = hosts.find(|host| host.address.to_string() == target.host)?;
    let names = (host.name.clone(), honest.name.clone());
    Some((names.0, names.1, target.tags.clone()))
}
