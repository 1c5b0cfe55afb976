//! Attacks of strangers who fake addresses, one test each, against the answering side. What they do to a
//! running pair of hosts is in the simulation (`attack`, `attack_restart`) and in the lab `attack`.

#[path = "trust/replays.rs"]
mod replays;
#[path = "trust/senders.rs"]
mod senders;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::limits::{REMOTE_LABELS_MAX, SESSIONS_MAX};
use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::wire::native::{
    self, ErrorEstimate, Reply, RequestFields, decode_reply, encode_request,
};
use latency_monitor::proto::wire::text;
use latency_monitor::proto::{
    Arrival, CloseReason, Headers, Key, KeyRing, ListenerId, Mono, Now, Output, Prober,
    ProberConfig, Transmit, Wall,
};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
/// What a delay truly is, and what a stranger makes of it.
const DELAY_NS: i64 = 1_000_000;
const FORGED_NS: i64 = 3_600_000_000_000;

/// A reflector, and what it has published.
struct Reflector {
    prober: Prober,
    now_ns: u64,
    tags: BTreeMap<u32, String>,
    samples: Vec<(String, i64)>,
}

impl Reflector {
    fn new() -> Self {
        Self::with(KeyRing::default())
    }

    fn with(keys: KeyRing) -> Self {
        Self::seeded(keys, 1)
    }

    fn seeded(keys: KeyRing, seed: u8) -> Self {
        let prober = Prober::new(ProberConfig {
            name: "b".into(),
            udp_ports: vec![8001],
            accepted_max: 1,
            resolve_interval_ns: 60_000_000_000,
            seed: [seed; 32],
            native: true,
            keys,
        });
        Self {
            prober,
            now_ns: 1_000_000_000,
            tags: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::from_nanos(self.now_ns),
            wall: Wall::from_unix_nanos(1_795_000_000_000_000_000 + self.now_ns.cast_signed()),
        }
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now_ns += ms * 1_000_000;
        self.prober.handle_timeout(self.now());
    }

    /// A request that left so long ago comes in. Returns the answer.
    fn ask(&mut self, from: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let arrival = Arrival::unstamped(self.now());
        let (listener, headers) = (ListenerId(0), Headers::new(from, None, 8001));
        self.prober
            .handle_request(arrival, listener, &headers, payload);
        let mut answer = Vec::new();
        let mut last = None;
        while let Some(transmit) = self.prober.poll_transmit(self.now(), &mut answer) {
            if matches!(transmit, Transmit::Reply { to, .. } if to == from) {
                last = Some(answer.clone());
            }
            answer.clear();
        }
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::Opened { origin, labels } => {
                    let tags: Vec<String> = labels.iter().map(|tag| tag.to_string()).collect();
                    self.tags.insert(origin.0, tags.join(","));
                }
                Output::Sample(sample) => {
                    let tags = self.tags[&sample.origin.0].clone();
                    self.samples.push((tags, sample.value_ns));
                }
                _ => {}
            }
        }
        last
    }

    fn ask_text(&mut self, from: SocketAddr, name: &str, seq: u8, delay_ns: i64) {
        self.ask_tagged(from, name, "[]", seq, delay_ns);
    }

    fn ask_tagged(&mut self, from: SocketAddr, name: &str, tags: &str, seq: u8, delay_ns: i64) {
        let mut request = Vec::new();
        let left = self.now().wall.plus(-delay_ns);
        text::encode_request(&mut request, seq, name, left, tags, None, None);
        assert!(self.ask(from, &request).is_some(), "answered");
    }

    /// Returns a sender's request.
    fn native_request(&self, sender: &Sender, seq: u32) -> Vec<u8> {
        let fields = RequestFields {
            dscp: None,
            seq,
            sent: self.now().wall.plus(-sender.delay_ns),
            error: ErrorEstimate::from_nanos(true, 1),
            ssid: 7,
            cookie: sender.cookie,
            session: sender.session,
            follow_ups: [None; 2],
            offset_ns: None,
            source: sender.name,
            tags: "[]",
        };
        let mut request = Vec::new();
        encode_request(&mut request, &fields, None);
        request
    }

    fn ask_native(&mut self, sender: &mut Sender, seq: u32) -> Vec<u8> {
        let request = self.native_request(sender, seq);
        let answer = self.ask(sender.from, &request).expect("answered");
        if let (true, Some(ours)) = (sender.hears, decode_reply(&answer).unwrap().ours) {
            sender.session = ours.session;
        }
        answer
    }

    /// These packets come in on a connection of their own. Returns how many are answered.
    fn ask_in_stream(&mut self, packets: [&[u8]; 2]) -> u64 {
        let before = self.prober.self_counters().answered;
        let socket = self.prober.handle_accept(self.now()).expect("room");
        let mut stream = native::PREAMBLE.to_vec();
        for packet in packets {
            native::encode_frame(&mut stream, |out| out.extend_from_slice(packet));
        }
        let arrival = Arrival::unstamped(self.now());
        self.prober.handle_stream(arrival, socket, &stream);
        self.prober
            .handle_closed(self.now(), socket, CloseReason::Finished);
        self.prober.self_counters().answered - before
    }

    fn ask_stamp(&mut self, from: SocketAddr, seq: u32) -> Vec<u8> {
        let request = self.stamp_request(seq, 0, 0);
        self.ask(from, &request).expect("answered")
    }

    /// A request of 44 octets, as other makers' STAMP senders send it.
    fn stamp_request(&self, seq: u32, ssid: u16, delay_ns: i64) -> Vec<u8> {
        let mut request = vec![0; native::BASE_BYTES];
        request[..4].copy_from_slice(&seq.to_be_bytes());
        let sent = self.now().wall.plus(-delay_ns).as_unix_nanos();
        let seconds = sent.cast_unsigned() / 1_000_000_000;
        let ns = sent.cast_unsigned() % 1_000_000_000;
        request[4..8].copy_from_slice(&u32::try_from(seconds).unwrap().to_be_bytes());
        request[8..12].copy_from_slice(&u32::try_from(ns).unwrap().to_be_bytes());
        // The PTP format, and an error that is told.
        request[12..14].copy_from_slice(&[0x40, 1]);
        request[14..16].copy_from_slice(&ssid.to_be_bytes());
        request
    }

    /// How many delays were published under these tags, and how many of them were forged.
    fn published(&self, tags: &str) -> (usize, usize) {
        let of_tags = self.samples.iter().filter(|(found, _)| found == tags);
        let forged = of_tags.clone().filter(|(_, ns)| *ns != DELAY_NS);
        (of_tags.count(), forged.count())
    }
}

/// A sender on the native wire.
struct Sender {
    from: SocketAddr,
    name: &'static str,
    cookie: u32,
    session: u32,
    delay_ns: i64,
    /// It receives the answers, which go to the address that it says it has.
    hears: bool,
}

impl Sender {
    fn honest(name: &'static str) -> Self {
        Self {
            from: SocketAddr::new(HOST, 4_000),
            name,
            cookie: 1,
            session: 0,
            delay_ns: DELAY_NS,
            hears: true,
        }
    }

    fn stranger(name: &'static str, number: u32) -> Self {
        Self {
            from: SocketAddr::new(Ipv4Addr::from_bits(0xc612_0000 + number).into(), 4_000),
            name,
            cookie: 1_000 + number,
            session: 0,
            delay_ns: FORGED_NS,
            hears: false,
        }
    }
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// Who is not allowed, or asks too often, gets no answer and is counted.
#[test]
fn who_may_ask_and_how_often() {
    let mut b = Reflector::new();
    b.prober
        .restrict_requests(&["192.0.2.0/24".parse().unwrap()], 10);
    let mut request = Vec::new();
    text::encode_request(&mut request, 0, "a", b.now().wall, "[]", None, None);
    assert!(b.ask(at(STRANGER, 4_000), &request).is_none());
    let answered = (0..30).filter(|port| b.ask(at(HOST, 4_000 + port), &request).is_some());
    assert_eq!(answered.count(), 10);
    b.wait_ms(1_000);
    assert!(b.ask(at(HOST, 4_000), &request).is_some());
    assert!(!b.prober.admits(b.now(), STRANGER), "nor a connection");
    let counted = b.prober.self_counters();
    assert_eq!((counted.denied, counted.limited), (2, 20));
    assert_eq!((counted.answered, counted.corrupt), (11, 0));
}

/// A request of a TWAMP-Light sender gets more bytes than it has. Where everyone may ask, no address gets many.
#[test]
fn answers_that_are_longer_than_their_requests_are_few() {
    let short = |b: &Reflector| b.stamp_request(1, 0, 0)[..14].to_vec();
    let answered = |b: &mut Reflector, from: IpAddr, count: u16| {
        let request = short(b);
        let answers = (0..count).filter_map(|port| b.ask(at(from, 4_000 + port), &request));
        let answers: Vec<usize> = answers.map(|answer| answer.len()).collect();
        assert!(answers.iter().all(|length| *length == native::BASE_BYTES));
        answers.len()
    };
    let mut b = Reflector::new();
    assert_eq!(answered(&mut b, HOST, 1_500), 1_000);
    assert_eq!(
        answered(&mut b, STRANGER, 5),
        5,
        "another address has its own"
    );
    let whole = b.stamp_request(1, 0, 0);
    assert!(b.ask(at(HOST, 862), &whole).is_some(), "no longer answer");
    assert_eq!(b.prober.self_counters().limited, 500);
    b.wait_ms(1_000);
    assert_eq!(answered(&mut b, HOST, 5), 5);
    // Whoever is let in by name may.
    b.prober
        .restrict_requests(&["192.0.2.0/24".parse().unwrap()], u32::MAX);
    assert_eq!(answered(&mut b, HOST, 1_500), 1_500);
}

/// Five packets under a real host's name put hours into its series, whatever wire that host spoke.
#[test]
fn a_name_is_its_owners() {
    for is_native in [true, false] {
        let mut b = Reflector::new();
        let mut honest = Sender::honest("a");
        let mut forger = Sender::stranger("a", 1);
        for seq in 0..100_u8 {
            if is_native {
                b.ask_native(&mut honest, seq.into());
            } else {
                b.ask_text(honest.from, "a", seq, DELAY_NS);
            }
            if seq >= 10 {
                b.ask_text(at(STRANGER, 4_000), "a", seq, FORGED_NS);
                b.ask_text(at(HOST, 5_000), "a", seq, FORGED_NS);
                b.ask_native(&mut forger, seq.into());
            }
            b.wait_ms(500);
        }
        let (count, forged) = b.published("source:a,target:b");
        assert!(count >= 98 && forged == 0, "{count} and {forged} forged");
        // Who stays is published apart.
        let (apart, _) = b.published("source:a,target:b,address:203.0.113.9");
        assert!(apart > 0, "{:?}", b.tags);
    }
}

/// A host that was there once keeps its name while it is away.
#[test]
fn a_proven_name_is_kept() {
    let mut b = Reflector::new();
    let mut honest = Sender::honest("a");
    for seq in 0..3 {
        b.ask_native(&mut honest, seq);
    }
    b.wait_ms(7_200_000);
    for seq in 0..100 {
        b.ask_text(at(STRANGER, 4_000), "a", seq, FORGED_NS);
        b.wait_ms(100);
    }
    assert_eq!(b.published("source:a,target:b"), (3, 0));
}

/// A host of the Python program that is started again, or moves, is published as before.
#[test]
fn an_unproven_name_goes_to_who_follows() {
    for follows in [at(HOST, 5_000), at(STRANGER, 4_000)] {
        let mut b = Reflector::new();
        for seq in 0..10 {
            b.ask_text(at(HOST, 4_000), "p", seq, DELAY_NS);
            b.wait_ms(100);
        }
        b.wait_ms(1_000);
        for seq in 0..10 {
            b.ask_text(follows, "p", seq, DELAY_NS);
            b.wait_ms(100);
        }
        assert_eq!(b.published("source:p,target:b"), (20, 0), "{follows}");
    }
}

/// One packet far ahead ended a session's delays for good.
#[test]
fn one_packet_far_ahead_moves_no_window() {
    let mut b = Reflector::new();
    // It shows nothing: an earlier daemon, say, whose replies are lost.
    let mut sender = Sender::honest("a");
    sender.hears = false;
    for seq in 0..20 {
        b.ask_native(&mut sender, seq);
        if seq == 10 {
            b.ask_native(&mut sender, 1 << 30);
        }
        b.wait_ms(100);
    }
    // The last two wait for later requests.
    let (count, forged) = b.published("source:a,target:b");
    assert!(count >= 17 && forged == 0, "{count} and {forged} forged");
}

/// A proven sender's window moves at once, however far.
#[test]
fn a_proven_sender_moves_its_window() {
    let mut b = Reflector::new();
    let mut honest = Sender::honest("a");
    for seq in [0, 1, 2, 1_000_000, 1_000_001, 1_000_002, 1_000_003] {
        b.ask_native(&mut honest, seq);
        b.wait_ms(100);
    }
    assert_eq!(b.prober.self_counters().reordered, 0);
}

/// A sender that began anew on its old port was stale until it reached its old number.
#[test]
fn a_sender_that_starts_anew_is_a_new_session() {
    let mut b = Reflector::new();
    let from = at(HOST, 862);
    let number = |reply: &[u8]| decode_reply(reply).map(|Reply { seq, .. }| seq).unwrap();
    for before in [500, 5_000] {
        for seq in 0..before {
            assert_eq!(number(&b.ask_stamp(from, seq)), seq);
            b.wait_ms(10);
        }
    }
    assert_eq!(b.prober.self_counters().reordered, 0);
}

/// Tags of a sender passed for ours.
#[test]
fn tags_from_the_network_name_nothing_of_ours() {
    let mut b = Reflector::new();
    let tags = text::encode_tags(&[
        "isp:x",
        "target:c",
        "Source:c",
        " direction :up",
        "address:192.0.2.1",
        "plain",
    ]);
    for seq in 0..2 {
        b.ask_tagged(at(STRANGER, 4_000), "s", &tags, seq, DELAY_NS);
    }
    assert_eq!(b.published("source:s,target:b,isp:x,plain"), (2, 0));
}

/// Names of two packets each locked every new host out.
#[test]
fn names_of_strangers_lock_nobody_out() {
    let mut b = Reflector::new();
    let mut known = Sender::honest("known");
    for seq in 0..3 {
        b.ask_native(&mut known, seq);
    }
    for stranger in 0..u32::try_from(REMOTE_LABELS_MAX).unwrap() + 200 {
        let from = at(Ipv4Addr::from_bits(0xc612_0000 + stranger).into(), 4_000);
        for seq in 0..2 {
            b.ask_text(from, &format!("s{stranger}"), seq, FORGED_NS);
        }
    }
    // During the flood, on the native wire.
    let mut honest = Sender::honest("a");
    honest.cookie = 2;
    for seq in 0..10 {
        b.ask_native(&mut honest, seq);
        b.ask_native(&mut known, 3 + seq);
        b.wait_ms(100);
    }
    // What is pending waits for two more.
    for name in ["a", "known"] {
        let (count, forged) = b.published(&format!("source:{name},target:b"));
        assert!(count >= 8 && forged == 0, "{name}: {count}");
    }
    // After its end, text too: within ten seconds.
    for seq in 0..100 {
        b.ask_text(at(HOST, 9_000), "p", seq, DELAY_NS);
        b.wait_ms(100);
    }
    let (count, _) = b.published("source:p,target:b");
    assert!(count > 0, "published within 10 s of the end");
}

/// Sessions of two packets each filled the table, and a new native sender lost every probe.
#[test]
fn sessions_of_strangers_leave_nobody_without_an_answer() {
    let mut b = Reflector::new();
    let mut known = Sender::honest("known");
    for seq in 0..3 {
        b.ask_native(&mut known, seq);
    }
    let own_number = known.session;
    let mut honest = Sender::honest("a");
    honest.cookie = 2;
    let mut seq = 0;
    for stranger in 0..u32::try_from(SESSIONS_MAX).unwrap() + 2_000 {
        let mut stranger = Sender::stranger("s", stranger);
        for number in 0..2 {
            b.ask_native(&mut stranger, number);
        }
        if stranger.cookie.is_multiple_of(1_000) {
            let answer = b.ask_native(&mut honest, seq);
            assert_eq!(decode_reply(&answer).unwrap().sender_seq, seq);
            b.ask_native(&mut known, 3 + seq);
            seq += 1;
        }
    }
    assert_eq!(known.session, own_number, "it has kept its place");
    assert_ne!(honest.session, 0);
}

/// All places are taken by senders that are proven and stay: a new one is answered without a session.
#[test]
fn a_full_table_answers_without_state() {
    let mut b = Reflector::new();
    for stranger in 0..u32::try_from(SESSIONS_MAX).unwrap() {
        let mut other = Sender::stranger("s", stranger);
        other.hears = true;
        for number in 0..2 {
            b.ask_native(&mut other, number);
        }
    }
    let mut honest = Sender::honest("a");
    for seq in 40..50 {
        let answer = b.ask_native(&mut honest, seq);
        let reply = decode_reply(&answer).unwrap();
        assert_eq!((reply.seq, reply.sender_seq), (seq, seq));
        assert!(reply.ours.is_none() && reply.follow_up.is_none());
    }
    assert!(b.prober.self_counters().refused >= 10);
    // When they are silent, there is room again.
    b.wait_ms(6_000);
    for seq in 50..60 {
        b.ask_native(&mut honest, seq);
        b.wait_ms(100);
    }
    let (count, forged) = b.published("source:a,target:b");
    assert!(count >= 7 && forged == 0, "{count} published");
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).expect("32 bytes are a key")
}

/// Returns an authenticated request.
fn sealed(open: &[u8], key: &Key) -> Vec<u8> {
    let mut packet = open.to_vec();
    // Of a packet without TLVs the base alone is authenticated.
    let mac_at = (open.len() > native::BASE_BYTES).then_some(open.len());
    authenticated::seal(&mut packet, 0, Direction::Request, key, mac_at);
    packet
}

/// Whatever it comes by, and on whichever wire.
#[test]
fn nothing_is_answered_without_a_key_where_one_is_asked_for() {
    let mut keys = KeyRing::default();
    keys.is_required = true;
    // For the session identifier that these requests have.
    keys.add("7", key(7));
    let mut reflector = Reflector::with(keys);
    let sender = Sender::honest("a");
    let open = reflector.native_request(&sender, 1);
    let good = sealed(&open, &key(7));
    let mut text = Vec::new();
    let wall = reflector.now().wall;
    text::encode_request(&mut text, 1, "a", wall, "[]", None, None);
    for refused in [&open, &sealed(&open, &key(8)), &text] {
        assert_eq!(reflector.ask(sender.from, refused), None);
    }
    assert_eq!(reflector.prober.self_counters().unauthentic, 3);
    let answer = reflector.ask(sender.from, &good).expect("answered");
    let mut scratch = Vec::new();
    let opened = authenticated::open(&answer, Direction::Reply, &key(7), &mut scratch);
    assert!(opened.is_some(), "the answer is authenticated too");
    assert_eq!(reflector.ask_in_stream([&good, &good]), 2);
    assert_eq!(reflector.ask_in_stream([&good, &open]), 1);
    assert_eq!(reflector.ask_in_stream([&open, &good]), 0);
}

#[test]
fn a_connection_goes_on_with_the_key_that_it_began_with() {
    let mut keys = KeyRing::default();
    keys.add("7", key(7));
    let mut reflector = Reflector::with(keys);
    let open = reflector.native_request(&Sender::honest("a"), 1);
    let good = sealed(&open, &key(7));
    assert_eq!(reflector.ask_in_stream([&open, &open]), 2);
    assert_eq!(reflector.ask_in_stream([&good, &open]), 1);
    assert_eq!(reflector.ask_in_stream([&open, &good]), 1);
}
