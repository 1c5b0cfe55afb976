//! What is sent to learn the hops of paths, beside probes that must not notice.

use std::net::UdpSocket;

use latency_monitor::clock::Clock;
use latency_monitor::engine::Engine;
use latency_monitor::proto::{FlowKind, Hop, Path, PathOptions, Protocol, StampSource};

use crate::hosts::{Make, TestHost, loopback, run_until, silent, target};
use crate::suite::{IS_PORTABLE, LOCALHOST, prober_of};

/// Traces in a row, one after the other.
const TRACES: usize = 8;

fn often() -> PathOptions {
    PathOptions {
        interval_ns: 20_000_000,
        spacing_ns: 1_000_000,
        ..PathOptions::never()
    }
}

fn only_hop(path: &Path) -> &Hop {
    assert!(path.is_reached, "{path:?}");
    assert_eq!(path.hops.len(), 1, "{path:?}");
    assert_eq!(path.before, None);
    &path.hops[0]
}

/// There is no router on loopback, so each datagram of a trace comes to the reflector.
pub(crate) fn traces_beside_probes_and_disturbs_none<E: Engine>(make: Make<'_, E>) {
    for protocol in [Protocol::Native, Protocol::Text] {
        let clock = Clock::new();
        let mut listener = TestHost::new(make, "b", &loopback());
        let mut prober = prober_of(make, &clock, &listener, |spec| {
            (spec.tcp_port, spec.connect_port) = (None, None);
            spec.protocol = protocol;
        });
        // Text tells of no router, so a trace goes on until some hops were silent.
        let mut options = often();
        options.hops_max = 1;
        // The first reply tells how many routers there are. A trace from before it cannot place the host.
        run_until(
            &clock,
            &mut [&mut prober, &mut listener],
            "a probe was answered",
            |hosts| hosts[0].counters(FlowKind::Udp).received > 0,
        );
        prober.prober.trace_paths(clock.now(), options);
        let traces = if protocol == Protocol::Native {
            TRACES
        } else {
            1
        };
        run_until(
            &clock,
            &mut [&mut prober, &mut listener],
            "paths were learnt",
            |hosts| hosts[0].paths.len() >= traces,
        );
        if protocol == Protocol::Native {
            for path in &prober.paths {
                let hop = only_hop(path);
                assert_eq!((hop.ttl, hop.address), (1, Some(LOCALHOST)));
                assert_eq!(hop.icmp, None, "probes have shown it");
            }
        }
        let counters = prober.counters(FlowKind::Udp);
        let all = counters.received + counters.lost + counters.in_flight();
        assert_eq!(counters.sent, all);
        let disturbed = [
            counters.corrupt,
            counters.duplicate,
            counters.unreachable,
            counters.misaddressed,
            prober.prober.self_counters().stamps_missing_transmit,
        ];
        assert_eq!(disturbed, [0; 5], "{protocol:?}: {counters:?}");
        let answering = *listener.prober.self_counters();
        assert_eq!((answering.corrupt, answering.duplicate), (0, 0));
        assert!(answering.answered <= counters.sent);
    }
}

/// A host where nothing listens says so of each datagram: of one that is to learn a hop, to the trace alone.
pub(crate) fn tells_the_host_that_a_trace_comes_to<E: Engine>(make: Make<'_, E>) {
    if IS_PORTABLE {
        return; // It hears no ICMP errors, and says so.
    }
    let clock = Clock::new();
    // It hears from one other only, so it is nobody to the rest.
    let deaf = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
    deaf.connect((LOCALHOST, 9)).expect("loopback is there");
    let port = deaf.local_addr().expect("it is bound").port();
    let mut prober = TestHost::new(make, "a", &silent());
    let mut spec = target(LOCALHOST, None, Some(port));
    // Each probe is answered by an ICMP error as well.
    spec.interval_ns = 5_000_000;
    spec.max_lost = u32::MAX;
    prober.prober.add_target(clock.now(), spec).expect("room");
    prober.prober.trace_paths(clock.now(), often());
    run_until(&clock, &mut [&mut prober], "paths were learnt", |hosts| {
        hosts[0].paths.len() >= TRACES
    });
    for path in &prober.paths {
        let hop = only_hop(path);
        assert_eq!((hop.ttl, hop.address), (1, Some(LOCALHOST)));
        let icmp = hop.icmp.expect("it says so");
        assert_eq!(icmp.to_string(), "port unreachable");
        assert!(hop.rtt_ns.is_some() && hop.stamp >= Some(StampSource::User));
    }
    let by_kernel = |path: &&Path| path.hops[0].stamp == Some(StampSource::Kernel);
    assert!(prober.paths.iter().any(|path| by_kernel(&path)));
    let counters = prober.counters(FlowKind::Udp);
    assert!(counters.unreachable > 0 && counters.unreachable <= counters.sent);
    assert_eq!(counters.unsent, 0, "no probe fails of an answer to a trace");
}
