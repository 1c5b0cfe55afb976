//! What only a command for some seconds asks of a target: an end, and the delays of its own probes.

use super::*;
use crate::proto::sample::Metric;
use crate::proto::target::Visit;

#[test]
fn a_target_with_a_last_probe_sends_so_many_on_each_flow_and_still_listens() {
    for flows in [1, 3] {
        let mut prober = prober("near");
        let spec = TargetSpec {
            visit: Some(Visit {
                probes_max: Some(2),
            }),
            flows,
            ..spec()
        };
        prober.add_target(at(0), spec).expect("room");
        let probes = 2 * usize::from(flows);
        let mut last = None;
        for _ in 0..probes {
            last = Some(next_probe(&mut prober));
        }
        let (us, socket, request) = last.expect("there was one");
        let reply = reply_to(&request, at(us + 50));
        prober.handle_datagram(Arrival::unstamped(at(us + 80)), socket, &reply);
        // Hours later nothing more has left, and all probes have ended.
        let mut payload = Vec::new();
        while let Some(due) = prober
            .poll_timeout()
            .filter(|due| due.as_nanos() < 7_200_000_000_000)
        {
            let now = at(due.as_nanos().div_ceil(1_000));
            prober.handle_caught_up(now.mono);
            prober.handle_timeout(now);
            while let Some(transmit) = prober.poll_transmit(now, &mut payload) {
                assert!(!matches!(transmit, Transmit::Datagram { .. }));
            }
        }
        let sum = |read: fn(&Counters) -> u64| -> u64 {
            prober.flows().map(|(_, _, counters)| read(counters)).sum()
        };
        assert_eq!(sum(|of| of.sent), probes as u64);
        assert_eq!(sum(|of| of.received), 1);
        assert_eq!(sum(|of| of.lost), probes as u64 - 1);
        assert_eq!(sum(|of| of.unsent), 0);
    }
}

/// Returns the one-way delays in microseconds that our end publishes of some native exchanges, by the flow's labels or
/// by the peer's.
fn one_way_us(publishes_forward: bool) -> [Vec<i64>; 2] {
    let (mut near, mut far) = (prober("near"), prober("far"));
    let spec = TargetSpec {
        protocol: Protocol::Native,
        visit: publishes_forward.then_some(Visit::default()),
        ..spec()
    };
    near.add_target(at(0), spec).expect("room");
    let mut payload = Vec::new();
    for _ in 0..3 {
        let (us, socket, request) = next_probe(&mut near);
        // 70 us there, no time at the other end, and 30 us back.
        let headers = Headers::new(([192, 0, 2, 9], 40_000).into(), None, 8_001);
        let received = Arrival::unstamped(at(us + 70));
        far.handle_request(received, ListenerId(0), &headers, &request);
        let transmit = far.poll_transmit(at(us + 70), &mut payload);
        assert!(matches!(transmit, Some(Transmit::Reply { .. })));
        near.handle_datagram(Arrival::unstamped(at(us + 100)), socket, &payload);
    }
    near.handle_end();
    let own = near.flows().next().expect("a flow").0;
    let [mut by_flow, mut by_peer] = [Vec::new(), Vec::new()];
    near.drain_outputs(|output| {
        if let Output::Sample(sample) = output
            && sample.metric == Metric::UdpOwd
        {
            let found = if sample.origin == own {
                &mut by_flow
            } else {
                &mut by_peer
            };
            found.push(sample.value_ns / 1_000);
        }
    });
    [by_flow, by_peer]
}

#[test]
fn the_delays_of_probes_are_published_by_our_end_too_where_that_is_asked_for() {
    assert_eq!(one_way_us(true), [vec![70; 3], vec![30; 3]]);
    assert_eq!(one_way_us(false), [vec![], vec![30; 3]]);
}
