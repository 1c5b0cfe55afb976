//! Records what happened to every native exchange over UDP: when its packets left and arrived, in
//! true time and by the clock of that host.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use latency_monitor::proto::Key;
use latency_monitor::proto::wire::native;
use latency_monitor::proto::wire::native::authenticated::{self, Direction};

use crate::network::HostId;

/// Exchanges that are remembered.
const REMEMBERED: usize = 50_000;

/// An instant, by the true clock and the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) true_ns: u64,
    pub(crate) wall_ns: i64,
}

#[derive(Clone, Debug)]
struct Reply {
    seq: u32,
    left: Instant,
    arrived: Option<Instant>,
}

/// Which conversation a packet is of: its session identifier and its flow's cookie. Two flows of a host
/// may send probes of one number at one instant, to two reflectors.
type Conversation = (u16, Option<u32>);

/// One request and what became of it.
#[derive(Clone, Debug)]
struct Exchange {
    from: HostId,
    conversation: Conversation,
    /// T1 as the request says it.
    sent_wall_ns: i64,
    left: Instant,
    /// Its arrivals: more than one if it was copied on the way.
    arrived: Vec<(HostId, Instant)>,
    replies: Vec<Reply>,
}

/// All of them, by the number that their packets carry.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The most by which two clocks' rates may differ.
    pub(crate) rates_ppb: u64,
    /// Those of all hosts: it reads every packet.
    pub(crate) keys: Vec<Key>,
    exchanges: BTreeMap<u32, Vec<Exchange>>,
    order: VecDeque<u32>,
}

impl Truth {
    /// How far two clocks may drift apart in some time, with the rounding of four stamps.
    pub(crate) fn drift_ns(&self, ns: i64) -> i64 {
        let drift = i128::from(ns) * i128::from(self.rates_ppb) / 1_000_000_000;
        4 + i64::try_from(drift).expect("rates are small")
    }

    /// A datagram leaves a host.
    pub(crate) fn note_left(&mut self, host: HostId, payload: &[u8], at: Instant) {
        let payload = &*self.opened(payload);
        if let Ok(request) = native::decode_request(payload) {
            let exchange = Exchange {
                from: host,
                conversation: of_request(&request),
                sent_wall_ns: request.sent.as_unix_nanos(),
                left: at,
                arrived: Vec::new(),
                replies: Vec::new(),
            };
            self.exchanges
                .entry(request.seq)
                .or_default()
                .push(exchange);
            self.order.push_back(request.seq);
            if self.order.len() > REMEMBERED
                && let Some(seq) = self.order.pop_front()
                && let Some(oldest) = self.exchanges.get_mut(&seq)
            {
                oldest.remove(0);
                if oldest.is_empty() {
                    self.exchanges.remove(&seq);
                }
            }
        } else if let Ok(reply) = native::decode_reply(&whole(payload))
            && let Some(exchange) = self.of_reply(&reply)
        {
            exchange.replies.push(Reply {
                seq: reply.seq,
                left: at,
                arrived: None,
            });
        }
    }

    /// A datagram arrives at a host.
    pub(crate) fn note_arrived(&mut self, host: HostId, payload: &[u8], at: Instant) {
        let payload = &*self.opened(payload);
        if let Ok(request) = native::decode_request(payload) {
            let sent_wall_ns = request.sent.as_unix_nanos();
            if let Some(exchange) = self.of(of_request(&request), request.seq, sent_wall_ns) {
                exchange.arrived.push((host, at));
            }
        } else if let Ok(reply) = native::decode_reply(&whole(payload))
            && let Some(exchange) = self.of_reply(&reply)
            && let Some(found) = exchange.replies.iter_mut().find(|r| r.seq == reply.seq)
        {
            found.arrived.get_or_insert(at);
        }
    }

    /// Of the requests that a host sent before some time, how many never arrived, and how many did
    /// without a reply that came back.
    pub(crate) fn losses(&self, host: HostId, before_ns: u64) -> (u64, u64) {
        let of_host = self.exchanges.values().flatten();
        let of_host =
            of_host.filter(|exchange| exchange.from == host && exchange.left.true_ns < before_ns);
        of_host.fold((0, 0), |(forward, reverse), exchange| {
            let is_back = exchange.replies.iter().any(|reply| reply.arrived.is_some());
            match (exchange.arrived.is_empty(), is_back) {
                (true, _) => (forward + 1, reverse),
                (false, false) => (forward, reverse + 1),
                (false, true) => (forward, reverse),
            }
        })
    }

    /// Returns the open packet in an authenticated one, and any other as it is.
    fn opened<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let mut scratch = Vec::new();
        for key in &self.keys {
            for direction in [Direction::Request, Direction::Reply] {
                if authenticated::open(payload, direction, key, &mut scratch).is_some() {
                    return Cow::Owned(scratch);
                }
            }
        }
        Cow::Borrowed(payload)
    }

    fn of_reply(&mut self, reply: &native::Reply<'_>) -> Option<&mut Exchange> {
        let cookie = reply.ours.as_ref().map(|ours| ours.cookie);
        let sent_wall_ns = reply.sender_sent.as_unix_nanos();
        self.of((reply.ssid, cookie), reply.sender_seq, sent_wall_ns)
    }

    fn of(
        &mut self,
        conversation: Conversation,
        seq: u32,
        sent_wall_ns: i64,
    ) -> Option<&mut Exchange> {
        let same = self.exchanges.get_mut(&seq)?;
        let (ssid, cookie) = conversation;
        same.iter_mut().find(|exchange| {
            // Others' reflectors may return no SSID.
            let is_other = cookie.is_none() && ssid == 0 && exchange.conversation.1.is_none();
            (exchange.conversation == conversation || is_other)
                && exchange.sent_wall_ns == sent_wall_ns
        })
    }

    fn numbered(&self, number: u64) -> impl Iterator<Item = &Exchange> {
        let low = u32::try_from(number & u64::from(u32::MAX)).expect("masked");
        let same = self.exchanges.get(&low).into_iter().flatten();
        // To a reflector that is not ours one number is left out.
        let next = self.exchanges.get(&low.wrapping_add(1));
        let next = next.into_iter().flatten();
        same.chain(next.filter(|exchange| exchange.conversation.1.is_none()))
    }

    /// Whether some exchange of this number that `host` began had this round trip on the network, to
    /// within what two clocks' rates make of it.
    pub(crate) fn has_round_trip(&self, host: HostId, number: u64, ns: i64) -> bool {
        self.numbered(number)
            .filter(|exchange| exchange.from == host)
            .any(|exchange| {
                let pairs = exchange.arrived.iter().flat_map(|(_, reached)| {
                    let replies = exchange.replies.iter();
                    replies.filter_map(move |reply| Some((reached, reply.left, reply.arrived?)))
                });
                pairs.into_iter().any(|(reached, left, back)| {
                    let forward = signed(reached.true_ns) - signed(exchange.left.true_ns);
                    let reverse = signed(back.true_ns) - signed(left.true_ns);
                    let whole = signed(back.true_ns) - signed(exchange.left.true_ns);
                    (ns - forward - reverse).abs() <= self.drift_ns(whole)
                })
            })
    }

    /// Whether a packet of this number that reached `host` was under way for so long, by the two
    /// hosts' clocks; of a request or of a reply.
    pub(crate) fn has_one_way(&self, host: HostId, number: u64, ns: i64) -> bool {
        self.numbered(number).any(|exchange| {
            let forward = exchange
                .arrived
                .iter()
                .any(|(at, reached)| *at == host && reached.wall_ns - exchange.left.wall_ns == ns);
            let reverse = exchange.from == host
                && exchange.replies.iter().any(|reply| {
                    let arrived = reply.arrived;
                    arrived.is_some_and(|back| back.wall_ns - reply.left.wall_ns == ns)
                });
            forward || reverse
        })
    }

    /// Whether some exchange of this number that `host` began has these stamps, as far as they are given.
    pub(crate) fn has_stamps(
        &self,
        host: HostId,
        number: u64,
        [t1, t2, t3, t4]: [Option<i64>; 4],
    ) -> bool {
        let is = |wanted: Option<i64>, at: i64| wanted.is_none_or(|wanted| wanted == at);
        self.numbered(number)
            .filter(|exchange| exchange.from == host && is(t1, exchange.left.wall_ns))
            .any(|exchange| {
                let mut arrived = exchange.arrived.iter();
                arrived.any(|(_, at)| is(t2, at.wall_ns))
                    && exchange.replies.iter().any(|reply| {
                        let back = reply.arrived;
                        is(t3, reply.left.wall_ns) && back.is_some_and(|at| is(t4, at.wall_ns))
                    })
            })
    }

    /// Whether the request of this number from `host` arrived; `None` if it is forgotten, or there was
    /// another one.
    pub(crate) fn has_reached(&self, host: HostId, number: u64) -> Option<bool> {
        let mut of_host = self
            .numbered(number)
            .filter(|exchange| exchange.from == host);
        let only = of_host.next().filter(|_| of_host.next().is_none())?;
        Some(!only.arrived.is_empty())
    }

    /// Whether a request of this number from `host` took so long to its reflector.
    pub(crate) fn has_forward(&self, host: HostId, number: u64, ns: i64) -> bool {
        self.numbered(number)
            .filter(|exchange| exchange.from == host)
            .any(|exchange| {
                let mut arrived = exchange.arrived.iter();
                arrived.any(|(_, at)| at.wall_ns - exchange.left.wall_ns == ns)
            })
    }
}

/// A packet with zeros where others' short replies end.
fn whole(payload: &[u8]) -> Vec<u8> {
    let mut whole = payload.to_vec();
    whole.resize(payload.len().max(native::BASE_BYTES), 0);
    whole
}

fn of_request(request: &native::Request<'_>) -> Conversation {
    (request.ssid, request.ours.as_ref().map(|ours| ours.cookie))
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).expect("virtual time fits")
}
