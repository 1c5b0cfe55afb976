//! The reflector's table of sessions, while strangers fake sources, send what they like and send again what they have
//! recorded. One honest sender is among them: it keeps its session, its window and its series, and is answered.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use latency_monitor::limits::REMOTE_LABELS_MAX;
use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::wire::native::{
    self, BASE_BYTES, ErrorEstimate, FollowUp, OurReply, RequestFields, decode_reply,
    encode_request,
};
use latency_monitor::proto::wire::text::{self, Identifier};
use latency_monitor::proto::{
    Arrival, CloseReason, Headers, Key, KeyRing, Labels, ListenerId, Metric, Mono, Now, Output,
    Prober, ProberConfig, SocketId, Stamp, StampKey, StampSource, Transmit, Wall,
};
use libfuzzer_sys::fuzz_target;

const EPOCH_NS: i64 = 1_795_000_000_000_000_000;
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PORT: u16 = 8001;
/// What the honest sender's packets need to get here, and what strangers make of it.
const DELAY_NS: i64 = 1_000_000;
const FORGED_NS: i64 = 3_600_000_000_000;
/// Proven sessions that are silent for longer make room.
const KEPT_NS: u64 = 5_000_000_000;
/// Numbers that a window tells apart.
const WINDOW: u32 = 1_024;
/// Packets that somebody records.
const RECORDED_MAX: usize = 64;
/// Requests of one flood.
const FLOOD: u8 = 24;

/// Takes bytes off the front; `None` when there are no more.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }
}

/// The one whose values are true. It hears the answers.
struct Honest {
    is_keyed: bool,
    cookie: u32,
    number: u32,
    /// The session that its last answer named.
    session: u32,
    /// When a request that returned that number was answered.
    proven_at: Option<Mono>,
    /// Numbers received in that session, as long as that is sure.
    received: Option<BTreeSet<u32>>,
    /// What was sent again may have begun a session.
    is_mixed: bool,
}

struct World {
    now_ns: u64,
    reflector: Prober,
    begun: u64,
    is_gated: bool,
    requires_key: bool,
    keys: KeyRing,
    honest: Honest,
    /// The honest one has been proven in this reflector's life: the name is its own.
    owns_name: bool,
    labels: BTreeMap<u32, Arc<Labels>>,
    stamps: Vec<StampKey>,
    recorded: Vec<(u32, Vec<u8>)>,
    last_answer: Vec<u8>,
    accepted: Vec<SocketId>,
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).expect("32 bytes are a key")
}

fn at(host: u8, port: u8) -> SocketAddr {
    // Some share an address with the honest one, and a few are it.
    let address = match host % 8 {
        0 => HOST,
        other => Ipv4Addr::new(10, 9, other, host / 8),
    };
    SocketAddr::new(address.into(), 3_999 + u16::from(port % 8))
}

/// What a reflector passes over: it is no request, but what somebody's trace sends.
fn is_of_trace(packet: &[u8]) -> bool {
    packet.is_empty() || packet.len() == 12 && packet.starts_with(b"hops")
}

fn sealed(mut packet: Vec<u8>, key: &Key) -> Vec<u8> {
    let end = packet.len();
    authenticated::seal(&mut packet, 0, Direction::Request, key, Some(end));
    packet
}

impl World {
    fn new(setup: u8) -> Self {
        let mut keys = KeyRing::default();
        if setup & 1 == 1 {
            keys.add("5", key(1));
            keys.add("6", key(2));
            keys.is_required = setup & 2 == 2;
        }
        let mut world = Self {
            now_ns: 1_000_000_000,
            reflector: reflector(0, &keys),
            begun: 0,
            is_gated: setup & 4 == 4,
            requires_key: keys.is_required,
            honest: Honest {
                is_keyed: setup & 1 == 1,
                cookie: 1,
                number: 0,
                session: 0,
                proven_at: None,
                received: None,
                is_mixed: false,
            },
            keys,
            owns_name: false,
            labels: BTreeMap::new(),
            stamps: Vec::new(),
            recorded: Vec::new(),
            last_answer: Vec::new(),
            accepted: Vec::new(),
        };
        world.restrict(setup);
        world
    }

    fn restrict(&mut self, setup: u8) {
        if self.is_gated {
            let allow = [
                "10.0.0.0/8".parse().expect("a prefix"),
                "2001:db8::/32".parse().expect("one"),
            ];
            let allow = if setup & 8 == 8 { &allow[..] } else { &[] };
            self.reflector
                .restrict_requests(allow, u32::from(setup >> 4));
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::from_nanos(self.now_ns),
            wall: Wall::from_unix_nanos(EPOCH_NS + self.now_ns.cast_signed()),
        }
    }

    /// Time passes, and with it sessions.
    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.reflector.handle_timeout(self.now());
        self.drain();
    }

    /// A datagram comes in. Returns the answer. Whatever it is, it is counted once, unless it is of somebody's trace.
    fn ask(&mut self, from: SocketAddr, payload: &[u8], tos: u8) -> Option<Vec<u8>> {
        let before = *self.reflector.self_counters();
        let to = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
        let headers = Headers {
            tos: Some(tos),
            ttl: Some(tos),
            ..Headers::new(from, to, PORT)
        };
        let arrival = Arrival::unstamped(self.now());
        self.reflector
            .handle_request(arrival, ListenerId(3), &headers, payload);
        let mut answers = self.drain();
        let after = *self.reflector.self_counters();
        assert!(answers.len() <= 1);
        let answer = answers.pop();
        assert_eq!(
            after.answered - before.answered,
            u64::from(answer.is_some())
        );
        let unanswered = after.denied
            + after.limited
            + after.unauthentic
            + after.corrupt
            + after.replies_dropped
            - (before.denied
                + before.limited
                + before.unauthentic
                + before.corrupt
                + before.replies_dropped);
        let is_counted = answer.is_none() && !is_of_trace(payload);
        assert_eq!(unanswered, u64::from(is_counted));
        let (to, answer) = answer?;
        assert_eq!(to, from);
        let is_padded = payload.len() < BASE_BYTES && answer.len() == BASE_BYTES;
        assert!(is_padded || answer.len() <= payload.len());
        self.last_answer.clone_from(&answer);
        Some(answer)
    }

    /// Takes what the reflector has to say. Returns its answers.
    fn drain(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut answers = Vec::new();
        let mut bytes = Vec::new();
        while let Some(transmit) = self.reflector.poll_transmit(self.now(), &mut bytes) {
            match transmit {
                Transmit::Reply {
                    to, listener, key, ..
                } => {
                    assert_eq!(listener, ListenerId(3));
                    answers.push((to, bytes.clone()));
                    self.stamps.extend(key);
                }
                Transmit::Stream { key, .. } => self.stamps.extend(key),
                Transmit::Close { socket } => self.accepted.retain(|other| *other != socket),
                other => panic!("{other:?} of a reflector without targets"),
            }
        }
        let late = self.stamps.len().saturating_sub(16);
        self.stamps.drain(..late);
        while let Some(output) = self.reflector.poll_output() {
            match output {
                Output::Opened { origin, labels } => {
                    assert!(self.labels.insert(origin.0, labels).is_none());
                    assert!(self.labels.len() <= REMOTE_LABELS_MAX);
                }
                Output::Closed { origin, .. } => assert!(self.labels.remove(&origin.0).is_some()),
                Output::Sample(sample) => {
                    self.check(
                        sample.origin.0,
                        sample.metric == Metric::UdpOwd,
                        sample.value_ns,
                    );
                }
                _ => {}
            }
        }
        answers
    }

    /// A delay was published. Under the honest one's labels it is true, and nobody else has a true one.
    fn check(&self, origin: u32, is_udp: bool, value_ns: i64) {
        let labels = &self.labels[&origin];
        let is_named = *labels.source == *"a" && labels.tags.is_empty();
        let is_true = value_ns == DELAY_NS;
        assert!(!is_true || *labels.source == *"a", "{labels:?}");
        if is_named && is_udp && (self.owns_name || self.requires_key) {
            assert!(is_true, "{value_ns} is forged");
        }
        // Strangers on streams have recorded what they send.
        assert!(is_udp, "{labels:?}");
    }

    /// The honest one sends its next request, and hears the answer unless that is lost.
    fn ask_honest(&mut self, is_lost: bool) {
        let fields = RequestFields {
            dscp: None,
            seq: self.honest.number,
            sent: self.now().wall.plus(-DELAY_NS),
            error: ErrorEstimate::from_nanos(true, 1),
            ssid: 5,
            cookie: self.honest.cookie,
            session: self.honest.session,
            follow_ups: [None; 2],
            offset_ns: None,
            source: "a",
            tags: "[]",
        };
        let mut request = Vec::new();
        encode_request(&mut request, &fields, None);
        if self.honest.is_keyed {
            request = sealed(request, &key(1));
        }
        let number = self.honest.number;
        self.honest.number += 1;
        let answer = self.ask(SocketAddr::new(HOST.into(), 4_000), &request, 0);
        assert!(answer.is_some() || self.is_gated, "even with a full table");
        // What has not arrived is not sent again when it does, but late.
        if answer.is_some() && self.recorded.len() < RECORDED_MAX {
            self.recorded.push((number, request));
        }
        let returned = self.honest.session;
        let named = answer.and_then(|answer| self.hear(number, &answer, is_lost));
        // A request that returns the number of its session has proven it.
        if named == Some(returned) {
            self.honest.proven_at = Some(self.now().mono);
            self.owns_name = true;
        }
    }

    /// The answer to a request of this number, the honest one's or one like it that was sent again. Returns the session
    /// that it names.
    fn hear(&mut self, number: u32, answer: &[u8], is_lost: bool) -> Option<u32> {
        let mut scratch = Vec::new();
        let answer = if self.honest.is_keyed {
            let opened = authenticated::open(answer, Direction::Reply, &key(1), &mut scratch);
            opened.expect("authenticated as the request was").packet
        } else {
            answer
        };
        let reply = decode_reply(answer).expect("we write replies");
        assert_eq!(reply.sender_seq, number);
        let now = self.now().mono;
        let honest = &mut self.honest;
        let kept = honest
            .proven_at
            .is_some_and(|proven| now.since(proven) < KEPT_NS);
        let Some(OurReply {
            session,
            received,
            seen,
            name,
            ..
        }) = reply.ours
        else {
            assert!(!kept, "it has lost its place");
            honest.received = None;
            return None;
        };
        assert_eq!(name, Some("b"));
        assert!(
            !kept || session == honest.session,
            "it has lost its session"
        );
        if session != honest.session {
            // An answer that was lost told of it first, perhaps, and others have been counted since.
            honest.received = (received == 1 && !honest.is_mixed).then(BTreeSet::new);
            honest.proven_at = None;
        } else if number < honest.number {
            honest.proven_at = honest.proven_at.map(|_| now);
        }
        // What is far from the others may have moved the window or not.
        honest.received = honest.received.take().filter(|numbers| {
            let highest = numbers.last().copied().unwrap_or(number);
            number.abs_diff(highest) < WINDOW / 2
        });
        if let Some(numbers) = &mut honest.received {
            numbers.insert(number);
            assert_eq!(usize::try_from(received).ok(), Some(numbers.len()));
            for bit in 0..64 {
                let before = number.checked_sub(bit + 1);
                let is_there = before.is_some_and(|before| numbers.contains(&before));
                assert_eq!(seen >> bit & 1 == 1, is_there, "{bit} before {number}");
            }
        }
        if !is_lost {
            honest.session = session;
        } else if session != honest.session {
            honest.received = None;
            honest.is_mixed = true;
        }
        Some(session)
    }

    /// A stranger's request on the native wire.
    fn forged(&self, cookie: u32, number: u32, session: u32, how: u8) -> Vec<u8> {
        let left = self.now().wall.plus(-FORGED_NS);
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
            ssid: 5 + u16::from(how >> 6),
            cookie,
            session,
            follow_ups: [told(number.wrapping_sub(1)), told(number.wrapping_sub(2))],
            offset_ns: None,
            source: if how & 1 == 1 { "a" } else { "stranger" },
            tags: if how & 2 == 2 { "['n:1']" } else { "[]" },
        };
        let mut request = Vec::new();
        encode_request(&mut request, &fields, (how & 4 == 4).then_some(300));
        match how >> 3 & 0b11 {
            // Keys that the reflector has for others, and none that it has.
            1 => sealed(request, &key(2)),
            2 => sealed(request, &key(3)),
            _ => request,
        }
    }

    fn ask_text(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (from, how) = (at(input.byte()?, input.byte()?), input.byte()?);
        let identifier =
            (how & 8 == 8).then_some(Identifier::new(1_000 + u32::from(how), how.into()));
        let name = if how & 1 == 1 { "a" } else { "stranger" };
        let tags = if how & 2 == 2 { "['n:1']" } else { "[]" };
        let left = self.now().wall.plus(-FORGED_NS);
        let mut request = Vec::new();
        text::encode_request(
            &mut request,
            input.byte()? % 101,
            name,
            left,
            tags,
            identifier,
            None,
        );
        self.ask(from, &request, how);
        Some(())
    }

    fn ask_native(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (from, how) = (at(input.byte()?, input.byte()?), input.byte()?);
        let cookie = 1_000 + u32::from(input.byte()? % 32);
        let (number, session) = (input.word()?, input.word()?);
        let number = u32::from(number) << ((how >> 5 & 1) * 15);
        // The number that the honest one was given is not guessed.
        let request = self.forged(cookie, number, session.into(), how);
        self.ask(from, &request, how);
        Some(())
    }

    /// A packet of somebody who knows no TLVs, or other ones.
    fn ask_plain(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (from, how) = (at(input.byte()?, input.byte()?), input.byte()?);
        let (length, fill) = (usize::from(input.byte()?), input.byte()?);
        let mut request = vec![0; BASE_BYTES];
        request[3] = input.byte()?;
        request[4..8].copy_from_slice(&[1, 2, 3, 4]);
        request[12] = how & 0x40;
        request[15] = how & 7;
        request.resize(length, fill);
        request.extend_from_slice(input.bytes()?);
        self.ask(from, &request, how);
        Some(())
    }

    /// What the honest one has sent comes again, from where it was or from elsewhere. Only with a key does that matter
    /// to nobody.
    fn replay(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (which, host) = (usize::from(input.byte()?), input.byte()?);
        if !self.honest.is_keyed || self.recorded.is_empty() {
            return Some(());
        }
        let (number, request) = self.recorded[which % self.recorded.len()].clone();
        let own = SocketAddr::new(HOST.into(), 4_000);
        let from = if host & 1 == 0 { own } else { at(host, 1) };
        let answer = self.ask(from, &request, 0);
        if from.ip() == own.ip()
            && let Some(answer) = answer
        {
            // Its sender does not hear it, and the honest one takes no answer to what it has not asked.
            self.hear(number, &answer, true);
        }
        Some(())
    }

    /// It comes again on a connection, which is proof of an address and not of who has the key.
    fn replay_in_stream(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (which, bytes) = (usize::from(input.byte()?), input.bytes()?);
        let socket = match self.accepted.last() {
            Some(socket) if which & 1 == 0 => *socket,
            _ => {
                let socket = self.reflector.handle_accept(self.now())?;
                self.accepted.push(socket);
                socket
            }
        };
        let mut stream = native::PREAMBLE.to_vec();
        if self.honest.is_keyed {
            for (_, packet) in self.recorded.iter().skip(which / 2).take(3) {
                native::encode_frame(&mut stream, |out| out.extend_from_slice(packet));
            }
        }
        // Nothing that can be read as text.
        stream.extend(bytes.iter().map(|byte| byte | 0x80));
        self.reflector
            .handle_stream(Arrival::unstamped(self.now()), socket, &stream);
        self.drain();
        if which & 0x80 != 0 {
            self.reflector
                .handle_closed(self.now(), socket, CloseReason::Finished);
            self.accepted.retain(|other| *other != socket);
        }
        self.drain();
        Some(())
    }

    /// Many senders, of two requests each.
    fn flood(&mut self, count: u8, how: u8) {
        for stranger in 0..count % FLOOD {
            for number in 0..2 {
                let cookie = 2_000 + u32::from(stranger) + u32::from(how) * 256;
                let request = self.forged(cookie, number, 0, how);
                self.ask(at(stranger.wrapping_mul(3), stranger), &request, 0);
            }
        }
    }

    fn restart(&mut self, setup: u8) {
        self.begun += 1;
        self.reflector = reflector(self.begun, &self.keys);
        self.restrict(setup);
        self.owns_name = false;
        self.honest.proven_at = None;
        (self.honest.received, self.honest.is_mixed) = (None, false);
        self.labels.clear();
        self.stamps.clear();
        self.accepted.clear();
    }

    fn run(&mut self, setup: u8, input: &mut Input<'_>) -> Option<()> {
        let step = input.byte()?;
        match step % 16 {
            0..4 => self.ask_honest(step & 0x80 != 0),
            4 => self.pass(u64::from(input.word()?) * 10_000),
            5 => self.pass(u64::from(input.word()?) * 100_000_000),
            6 => self.ask_text(input)?,
            7 => self.ask_native(input)?,
            8 => self.ask_plain(input)?,
            9 => self.replay(input)?,
            10 => self.flood(input.byte()?, input.byte()?),
            11 => {
                let (host, port) = (input.byte()?, input.byte()?);
                let mut from = at(host, port);
                let answer = self.last_answer.clone();
                // Text says what it is by the port from which a reflector sends it.
                if text::decode_datagram(&answer).is_ok() {
                    from.set_port(PORT);
                }
                let answered = self.ask(from, &answer, 0).is_some();
                assert!(!answered, "a reply is no request");
            }
            12 => {
                let (from, bytes) = (at(input.byte()?, input.byte()?), input.bytes()?);
                self.ask(from, bytes, 0);
            }
            13 => {
                let (which, late_ns) =
                    (usize::from(input.byte()?), i64::from(input.byte()?) * 1_000);
                if which < self.stamps.len() {
                    let at = self.now().wall.plus(late_ns);
                    let source = StampSource::Kernel;
                    self.reflector
                        .handle_stamp(self.stamps.swap_remove(which), Stamp { at, source });
                }
            }
            14 => self.replay_in_stream(input).unwrap_or_default(),
            _ => match input.byte()? % 4 {
                0 => self.restart(setup),
                // The honest one begins anew, or leaves numbers out.
                1 => {
                    self.honest.cookie += 1;
                    (self.honest.number, self.honest.session) = (0, 0);
                    (self.honest.proven_at, self.honest.received) = (None, None);
                    self.honest.is_mixed = false;
                    self.recorded.clear();
                }
                _ => self.honest.number += u32::from(input.byte()?),
            },
        }
        Some(())
    }
}

fn reflector(begun: u64, keys: &KeyRing) -> Prober {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&begun.to_le_bytes());
    Prober::new(ProberConfig {
        name: "b".into(),
        udp_ports: vec![PORT],
        accepted_max: 3,
        resolve_interval_ns: 60_000_000_000,
        seed,
        native: true,
        keys: keys.clone(),
    })
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let setup = input.byte().unwrap_or_default();
    let mut world = World::new(setup);
    while world.run(setup, &mut input).is_some() {}
    world.reflector.handle_end();
    world.drain();
});
