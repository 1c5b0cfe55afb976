//! Several flows to one target: each has a source port of its own, which stays its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use latency_monitor::clock::Clock;
use latency_monitor::engine::Engine;
use latency_monitor::proto::{FlowKind, FlowView};

use crate::hosts::{Make, TestHost, loopback, run_until};
use crate::suite::prober_of;

const FLOWS: u16 = 4;
const MAX_LOST: u32 = 5;

/// The peer answers nothing for a while, for longer than a single flow would keep its port.
pub(crate) fn probes_from_ports_that_stay<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &loopback());
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.flows = FLOWS;
        spec.connect_port = None;
        spec.timeout_ns = 20_000_000;
        spec.max_lost = MAX_LOST;
    });
    let all = &mut [&mut prober, &mut listener];
    run_until(&clock, all, "every flow is answered", |hosts| {
        has_all(hosts, &clock, |flow| flow.counters.received >= 20)
    });
    let before = ports(&prober, &clock, FlowKind::Udp);
    let streams = ports(&prober, &clock, FlowKind::Tcp);
    assert_eq!((before.len(), streams.len()), (FLOWS.into(), FLOWS.into()));
    run_until(&clock, &mut [&mut prober], "much is lost", |hosts| {
        has_all(hosts, &clock, |flow| {
            let is_udp = flow.subject.kind == Some(FlowKind::Udp);
            !is_udp || flow.counters.lost >= u64::from(3 * MAX_LOST)
        })
    });
    let answered = flows(&prober, &clock).map(|flow| flow.counters.received);
    let most = answered.max().expect("there are flows");
    let all = &mut [&mut prober, &mut listener];
    run_until(&clock, all, "every UDP flow goes on", |hosts| {
        has_all(hosts, &clock, |flow| {
            let is_udp = flow.subject.kind == Some(FlowKind::Udp);
            !is_udp || flow.counters.received > most + 20
        })
    });
    assert_eq!(ports(&prober, &clock, FlowKind::Udp), before);
    for flow in flows(&prober, &clock) {
        let counters = flow.counters;
        let ended = counters.received + counters.lost + counters.in_flight();
        assert_eq!(counters.sent, ended, "{flow:?}");
        assert_eq!((counters.duplicate, counters.corrupt), (0, 0), "{flow:?}");
    }
}

fn flows<E: Engine>(host: &TestHost<E>, clock: &Clock) -> impl Iterator<Item = FlowView> {
    host.prober.views_at(clock.now(), 0..host.prober.places())
}

fn has_all<E: Engine>(
    hosts: &[&mut TestHost<E>],
    clock: &Clock,
    is_so: impl Fn(&FlowView) -> bool,
) -> bool {
    flows(hosts[0], clock).all(|flow| is_so(&flow))
}

/// Returns our ends of the flows of a kind, each once.
fn ports<E: Engine>(host: &TestHost<E>, clock: &Clock, kind: FlowKind) -> BTreeSet<SocketAddr> {
    let of_kind = flows(host, clock).filter(|flow| flow.subject.kind == Some(kind));
    of_kind.filter_map(|flow| flow.subject.local).collect()
}
