//! Bugs that were found after they had landed, or that only a fuzzer found: each by what it did.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::limits::TIMERS_PER_TURN_MAX;
use latency_monitor::proto::wire::native::{ErrorEstimate, RequestFields, encode_request};
use latency_monitor::proto::wire::text;
use latency_monitor::proto::{
    Arrival, ListenerId, Mono, Now, Output, Prober, ProberConfig, Transmit, Wall,
};
use latency_monitor::{Config, TargetOptions};

fn prober(name: &str, udp_port: Option<u16>) -> Prober {
    Prober::new(ProberConfig {
        name: name.into(),
        udp_port,
        accepted_max: 1,
        resolve_interval_ns: 60_000_000_000,
        seed: 1,
        native: true,
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
    let mut prober = prober("a", None);
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
    let mut prober = prober("b", Some(8001));
    let now = Now {
        mono: Mono::from_nanos(1),
        wall: Wall::from_unix_nanos(1_795_000_000_000_000_000),
    };
    let mut request = Vec::new();
    let fields = RequestFields {
        seq: 0,
        sent: now.wall,
        error: ErrorEstimate::from_nanos(true, 1_000),
        ssid: 7,
        cookie: 9,
        session: 0,
        follow_ups: [None; 2],
        offset_ns: None,
        source: "a",
        tags: "[not a list",
    };
    encode_request(&mut request, &fields, None);
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
    prober.handle_request(Arrival::unstamped(now), ListenerId(0), from, None, &request);
    assert_eq!(prober.self_counters().corrupt, 1);
    assert_eq!(prober.poll_transmit(now, &mut request), None, "no answer");
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
            if let Transmit::OpenTcp { remote, .. } = transmit {
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
    let mut prober = prober("b", Some(8001));
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
        prober.handle_request(arrival, ListenerId(0), from, None, &request);
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
