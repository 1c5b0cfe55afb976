//! Bugs that were found after they had landed, or that only a fuzzer found: each by what it did.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::proto::wire::native::{ErrorEstimate, RequestFields, encode_request};
use latency_monitor::proto::{Arrival, ListenerId, Mono, Now, Prober, ProberConfig, Wall};

/// A native request whose tags are no list made the responder look for a session that there was not.
#[test]
fn a_native_request_with_unreadable_tags_is_corrupt_and_no_more() {
    let mut prober = Prober::new(ProberConfig {
        name: "b".into(),
        udp_port: Some(8001),
        accepted_max: 1,
        resolve_interval_ns: 60_000_000_000,
        seed: 1,
        native: true,
    });
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
