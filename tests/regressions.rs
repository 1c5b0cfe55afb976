//! Bugs that were found after they had landed, or only by a fuzzer. Each test has the name of its
//! symptom.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use latency_monitor::limits::TIMERS_PER_TURN_MAX;
use latency_monitor::proto::wire::native::{
    ErrorEstimate, RequestFields, decode_reply, encode_request,
};
use latency_monitor::proto::wire::text;
use latency_monitor::proto::{
    Arrival, FlowKind, Headers, KeyRing, ListenerId, Mono, Now, Output, Prober, ProberConfig,
    Transmit, Wall,
};
use latency_monitor::{Config, TargetOptions};

fn prober(name: &str, udp_ports: &[u16]) -> Prober {
    Prober::new(ProberConfig {
        name: name.into(),
        udp_ports: udp_ports.to_vec(),
        accepted_max: 1,
        resolve_interval_ns: 60_000_000_000,
        seed: [1; 32],
        native: true,
        keys: KeyRing::default(),
    })
}

fn at(mono_ns: u64) -> Now {
    Now {
        mono: Mono::from_nanos(mono_ns),
        wall: Wall::from_unix_nanos(1_795_000_000_000_000_000 + mono_ns.cast_signed()),
    }
}

/// One that probes many addresses from 1 ns on.
fn prober_of(targets: u32, with: impl Fn(TargetOptions) -> TargetOptions) -> Prober {
    let mut prober = prober("a", &[]);
    let config = Config::default();
    for target in 0..targets {
        let host = Ipv4Addr::from_bits(0x7f01_0001 + target).to_string();
        let options = with(TargetOptions::new(&host));
        prober.add_target(at(1), config.target(options).unwrap());
    }
    prober
}

/// A native request whose tags are no list made the responder look for a session that there was not.
#[test]
fn a_native_request_with_unreadable_tags_is_corrupt_and_no_more() {
    let mut prober = prober("b", &[8001]);
    let mut request = native_request("[not a list");
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
    prober.handle_request(
        Arrival::unstamped(at(1)),
        ListenerId(0),
        &Headers::new(from, None, 8001),
        &request,
    );
    assert_eq!(prober.self_counters().corrupt, 1);
    assert_eq!(prober.poll_transmit(at(1), &mut request), None, "no answer");
}

fn native_request(tags: &str) -> Vec<u8> {
    let mut request = Vec::new();
    let fields = RequestFields {
        dscp: None,
        seq: 0,
        sent: at(1).wall,
        error: ErrorEstimate::from_nanos(true, 1_000),
        ssid: 7,
        cookie: 9,
        session: 0,
        follow_ups: [None; 2],
        offset_ns: None,
        source: "a",
        tags,
    };
    encode_request(&mut request, &fields, None);
    request
}

/// All lasting connections began in the turn that their targets were added in: a flood of SYNs, of which
/// a listener's queue kept the first thousands.
#[test]
fn connections_of_many_targets_begin_one_after_another() {
    const TARGETS: u32 = 2_000;
    let mut prober = prober_of(TARGETS, |target| target.tcp_only().interval_ms(60_000.0));
    let mut begun = Vec::new();
    let mut buffer = Vec::new();
    for ms in 0..=1_000 {
        let now = at(1 + 1_000_000 * ms);
        prober.handle_timeout(now);
        let before = begun.len();
        while let Some(transmit) = prober.poll_transmit(now, &mut buffer) {
            if let Transmit::Open {
                remote,
                kind: FlowKind::Tcp,
                ..
            } = transmit
            {
                begun.push(remote);
            }
        }
        assert!(
            begun.len() - before <= 11,
            "{} in one ms",
            begun.len() - before
        );
    }
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), TARGETS as usize, "each has its turn");
}

/// After a stall all flows were sent to in one turn, for seconds with ten thousand of them: nothing was
/// received meanwhile, and the results of that turn took memory that nobody needed again.
#[test]
fn what_a_stall_has_left_is_caught_up_with_in_turns() {
    const TARGETS: u32 = 2_000;
    const STALLED_NS: u64 = 5_000_000_000;
    let mut prober = prober_of(TARGETS, |target| target.udp_only().interval_ms(1_000.0));
    let mut buffer = Vec::new();
    // Sockets are opened before the stall.
    while prober.poll_transmit(at(1), &mut buffer).is_some() {}
    let now = at(STALLED_NS);
    let mut sent = BTreeSet::new();
    let mut turns = 0;
    while prober.poll_timeout().is_some_and(|due| due <= now.mono) {
        prober.handle_timeout(now);
        turns += 1;
        let before = sent.len();
        while let Some(transmit) = prober.poll_transmit(now, &mut buffer) {
            if let Transmit::Datagram { socket, .. } = transmit {
                assert!(sent.insert(socket), "each flow sends for one of its slots");
            }
        }
        let of_turn = sent.len() - before;
        assert!(of_turn <= TIMERS_PER_TURN_MAX, "{of_turn} in one turn");
    }
    assert_eq!(sent.len(), TARGETS as usize, "each has its turn");
    assert!(turns >= TARGETS as usize / TIMERS_PER_TURN_MAX);
    let sent: u64 = prober.flows().map(|(_, _, flow)| flow.sent).sum();
    let missed = prober.self_counters().slots_missed;
    assert_eq!(sent + missed, u64::from(TARGETS) * 5, "no slot is hidden");
}

/// The network's copy of a stranger's only datagram passed for a second message, and earned a series.
#[test]
fn a_copy_of_the_first_message_proves_nobody() {
    let mut prober = prober("b", &[8001]);
    let at = |ms: i64| Now {
        mono: Mono::from_nanos(ms.cast_unsigned() * 1_000_000),
        wall: Wall::from_unix_nanos(1_795_000_000_000_000_000 + ms * 1_000_000),
    };
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
    // When each was sent, and when it came: the second is the first once more, by a longer way.
    let mut published = Vec::new();
    for (seq, sent_ms, came_ms) in [(0, 1, 3), (0, 1, 8), (1, 101, 103)] {
        let mut request = Vec::new();
        text::encode_request(&mut request, seq, "a", at(sent_ms).wall, "[]", None, None);
        let arrival = Arrival::unstamped(at(came_ms));
        prober.handle_request(
            arrival,
            ListenerId(0),
            &Headers::new(from, None, 8001),
            &request,
        );
        let (mut opened, mut delays) = (0, Vec::new());
        while let Some(output) = prober.poll_output() {
            match output {
                Output::Opened { .. } => opened += 1,
                Output::Sample(sample) => delays.push((sample.seq, sample.value_ns)),
                _ => {}
            }
        }
        published.push((opened, delays));
    }
    let both = vec![(0, 2_000_000), (1, 2_000_000)];
    assert_eq!(published, [(0, vec![]), (0, vec![]), (1, both)]);
    assert_eq!(prober.self_counters().duplicate, 1);
}

/// Session numbers, cookies and session identifiers came from one `SplitMix64`. Three requests showed three
/// of its outputs in a row, from which its state follows, and with it every identifier of every flow.
#[test]
fn what_a_reflector_shows_does_not_give_away_the_identifiers_of_flows() {
    let mut old = SplitMix64(1);
    let outputs = [old.next(), old.next(), old.next()];
    // The whole attack tries 2^32 low halves, in seconds. The test tries those around the right one.
    let low = outputs[0] & 0xffff_ffff;
    let tried = low & !0xf_ffff..=low | 0xf_ffff;
    let mut found = SplitMix64::behind(outputs.map(high), tried.clone()).unwrap();
    assert_eq!(
        found.next(),
        old.next(),
        "the attack works on what it is for"
    );

    let mut prober = prober("b", &[8001]);
    let sessions = [1, 2, 3].map(|host| session_shown(&mut prober, host));
    let [cookie, ..] = cookies_of_flows(&mut prober);
    let predicted = SplitMix64::behind(sessions, tried);
    let is_next = predicted.is_some_and(|mut state| high(state.next()) == cookie);
    assert!(
        !is_next,
        "the next flow's cookie was computed from {sessions:x?}"
    );
}

/// What strangers ask for must not move the numbers of flows, nor be computed from the same ones.
#[test]
fn sessions_and_flows_have_generators_of_their_own() {
    let mut asked = prober("b", &[8001]);
    let sessions: Vec<u32> = (1..100)
        .map(|host| session_shown(&mut asked, host))
        .collect();
    let mut quiet = prober("b", &[8001]);
    let cookies = cookies_of_flows(&mut asked);
    assert_eq!(cookies, cookies_of_flows(&mut quiet));
    let all: BTreeSet<u32> = sessions.iter().chain(&cookies).copied().collect();
    assert_eq!(
        all.len(),
        sessions.len() + cookies.len(),
        "no number is shown twice"
    );
}

/// The session number that a reflector shows to one more sender.
fn session_shown(prober: &mut Prober, host: u8) -> u32 {
    let mut packet = native_request("['x']");
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 4_000);
    prober.handle_request(
        Arrival::unstamped(at(1)),
        ListenerId(0),
        &Headers::new(from, None, 8001),
        &packet,
    );
    while !matches!(
        prober.poll_transmit(at(1), &mut packet),
        Some(Transmit::Reply { .. })
    ) {}
    decode_reply(&packet).unwrap().ours.unwrap().session
}

/// The cookies that four new flows show in their first probes.
fn cookies_of_flows(prober: &mut Prober) -> [u32; 4] {
    let config = Config::default();
    [1, 2, 3, 4].map(|host| {
        let host = Ipv4Addr::new(127, 0, 0, host).to_string();
        let options = TargetOptions::new(&host).udp_only().interval_ms(1.0);
        let target = prober
            .add_target(at(1), config.target(options).unwrap())
            .unwrap();
        prober.handle_timeout(at(2_000_000));
        let mut packet = Vec::new();
        while !matches!(
            prober.poll_transmit(at(2_000_000), &mut packet),
            Some(Transmit::Datagram { .. })
        ) {}
        assert!(prober.remove_target(target));
        let probe = text::decode_datagram(&packet).unwrap();
        probe.identifier.unwrap().cookie
    })
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
struct SplitMix64(u64);

impl SplitMix64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTORS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
    /// One divided by each of the factors, modulo 2^64.
    const INVERSES: [u64; 2] = [0x96de_1b17_3f11_9089, 0x3196_42b2_d24d_8ec3];

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(Self::FACTORS[0]);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(Self::FACTORS[1]);
        mixed ^ mixed >> 31
    }

    /// The generator after three outputs with these high halves, if the low half of the first is in `tried`.
    fn behind(shown: [u32; 3], mut tried: RangeInclusive<u64>) -> Option<Self> {
        tried.find_map(|low| {
            let output = u64::from(shown[0]) << 32 | low;
            let mixed = (output ^ output >> 31 ^ output >> 62).wrapping_mul(Self::INVERSES[1]);
            let mixed = (mixed ^ mixed >> 27 ^ mixed >> 54).wrapping_mul(Self::INVERSES[0]);
            let mut state = Self(mixed ^ mixed >> 30 ^ mixed >> 60);
            let follow = high(state.next()) == shown[1] && high(state.next()) == shown[2];
            follow.then_some(state)
        })
    }
}

fn high(output: u64) -> u32 {
    (output >> 32) as u32
}

/// One socket of a STAMP sender probed two addresses or two ports of a host, and the reflector numbered the replies to
/// both in one sequence: each looked as if half of them were lost.
#[test]
fn a_sender_of_two_of_our_addresses_or_ports_has_two_sessions() {
    let mut prober = prober("b", &[862, 8001]);
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
    let request = [&[0, 0, 0, 7][..], &[0xe7; 8], &[0, 1]].concat();
    let mut numbers = Vec::new();
    for (last, port) in [(1, 862), (2, 862), (1, 862), (1, 8001), (2, 862), (1, 8001)] {
        let to = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let headers = Headers::new(from, Some(to), port);
        let arrival = Arrival::unstamped(at(1));
        prober.handle_request(arrival, ListenerId(0), &headers, &request);
        let mut packet = Vec::new();
        let reply = prober.poll_transmit(at(1), &mut packet);
        assert!(matches!(reply, Some(Transmit::Reply { .. })), "{reply:?}");
        numbers.push(decode_reply(&packet).unwrap().seq);
    }
    assert_eq!(numbers, [0, 0, 1, 0, 1, 1]);
}

/// Text from any port that this host listens on is a reply, sent here under a faked source to start a loop.
#[test]
fn no_request_in_text_comes_from_a_port_of_ours() {
    let mut prober = prober("b", &[862, 8001, 9_000]);
    let mut request = Vec::new();
    text::encode_request(&mut request, 0, "a", at(1).wall, "[]", None, None);
    let mut answered = Vec::new();
    for (from, to) in [
        (862, 8001),
        (8001, 862),
        (8001, 8001),
        (9_000, 862),
        (9_001, 862),
    ] {
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), from);
        let headers = Headers::new(from, None, to);
        let arrival = Arrival::unstamped(at(1));
        prober.handle_request(arrival, ListenerId(0), &headers, &request);
        let reply = prober.poll_transmit(at(1), &mut Vec::new());
        if matches!(reply, Some(Transmit::Reply { .. })) {
            answered.push(from.port());
        }
    }
    assert_eq!(answered, [9_001]);
    assert_eq!(prober.self_counters().corrupt, 4);
}
