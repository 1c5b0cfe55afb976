//! What leaves as it is marked: from the ports, the address and the interface that are given.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use latency_monitor::clock::Clock;
use latency_monitor::engine::Engine;
use latency_monitor::proto::{
    CloseCause, CloseReason, Direction, FlowKind, LifeEvent, Marks, Metric, SourcePorts, TargetId,
    TargetSpec,
};

use crate::hosts::{Make, TestHost, key, listen_on, own_address, run_until, silent, target};
use crate::suite::{IS_PORTABLE, LOCALHOST, prober_of};

/// The first of the ports that flows leave from: below those that the system gives.
const FIRST: u16 = 20_000;

fn marks(source: IpAddr, ports: u16) -> Marks {
    Marks {
        source: Some(source),
        source_ports: SourcePorts::new(FIRST, FIRST + ports - 1),
        ..Marks::default()
    }
}

/// A peer that answers nothing.
struct Silent {
    udp: UdpSocket,
    tcp: TcpListener,
    /// Where each datagram and each connection came from, in order.
    datagrams: Vec<SocketAddr>,
    connections: Vec<SocketAddr>,
    accepted: Vec<TcpStream>,
}

impl Silent {
    fn new() -> Self {
        let udp = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let tcp = TcpListener::bind((LOCALHOST, 0)).expect("a free port");
        udp.set_nonblocking(true).expect("a socket");
        tcp.set_nonblocking(true).expect("a socket");
        Self {
            udp,
            tcp,
            datagrams: Vec::new(),
            connections: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn look(&mut self) {
        while let Ok((_, from)) = self.udp.recv_from(&mut [0; 2_048]) {
            self.datagrams.push(from);
        }
        while let Ok((stream, from)) = self.tcp.accept() {
            self.connections.push(from);
            self.accepted.push(stream);
        }
    }

    /// Ends every connection.
    fn hang_up(&mut self) {
        self.accepted.clear();
    }

    fn target(&self, marks: Marks) -> TargetSpec {
        let port = |at: std::io::Result<SocketAddr>| Some(at.expect("it is bound").port());
        TargetSpec {
            timeout_ns: 20_000_000,
            marks: Arc::new(marks),
            ..target(
                LOCALHOST,
                port(self.tcp.local_addr()),
                port(self.udp.local_addr()),
            )
        }
    }
}

fn add<E: Engine>(host: &mut TestHost<E>, clock: &Clock, spec: TargetSpec) -> TargetId {
    host.prober
        .add_target(clock.now(), spec)
        .expect("there is room for a target")
}

/// Every flow has its own port of the range, and has it again on a fresh socket. Connect probes take turns with those
/// that the TCP flow leaves.
pub(crate) fn leaves_from_the_ports_that_are_given<E: Engine>(make: Make<'_, E>) {
    let (clock, source, mut peer) = (Clock::new(), own_address(), Silent::new());
    let mut prober = TestHost::new(make, "a", &silent());
    let mut ends = 0;
    let spec = TargetSpec {
        key: Some(key().into()),
        ..peer.target(marks(source, 4))
    };
    let id = add(&mut prober, &clock, spec.clone());
    run_until(&clock, &mut [&mut prober], "sockets were made anew", |_| {
        peer.look();
        if peer.connections.len() >= 20 * (ends + 1) && ends < 3 {
            peer.hang_up();
            ends += 1;
        }
        peer.datagrams.len() >= 100 && peer.connections.len() >= 100
    });
    let own = SocketAddr::new(source, FIRST);
    assert!(
        peer.datagrams.iter().all(|from| *from == own),
        "{:?}",
        peer.datagrams
    );
    assert!(peer.connections.iter().all(|from| from.ip() == source));
    let of_flow = peer.connections.iter().filter(|from| **from == own).count();
    assert!(of_flow > 1, "the flow has come again from its port");
    let others: Vec<u16> = peer
        .connections
        .iter()
        .map(SocketAddr::port)
        .filter(|port| *port != FIRST)
        .collect();
    assert_eq!(
        others.iter().collect::<BTreeSet<_>>().len(),
        3,
        "{others:?}"
    );
    // A target that is added in its place, and one with another key, have the same ports at once.
    let (before, connected) = (peer.datagrams.len(), peer.connections.len());
    assert!(prober.prober.remove_target(id));
    let id = add(&mut prober, &clock, spec);
    let has_come_again = |peer: &Silent, since: usize, connected: usize| {
        let of_flow = peer.connections[connected..].contains(&own);
        of_flow && peer.datagrams.len() >= since + 20
    };
    run_until(&clock, &mut [&mut prober], "the second one probes", |_| {
        peer.look();
        has_come_again(&peer, before, connected)
    });
    let (before, connected) = (peer.datagrams.len(), peer.connections.len());
    assert!(prober.prober.set_key(clock.now(), id, &key().into()));
    run_until(
        &clock,
        &mut [&mut prober],
        "it probes with another key",
        |_| {
            peer.look();
            has_come_again(&peer, before, connected)
        },
    );
    assert!(
        peer.datagrams.iter().all(|from| *from == own),
        "{:?}",
        peer.datagrams
    );
}

/// Flows of several targets share a port of the range where they lead to different peers. A port that is taken is
/// passed over, and if none is left the flow says so.
pub(crate) fn passes_over_a_port_that_is_taken<E: Engine>(make: Make<'_, E>) {
    let (clock, source, mut peers) = (Clock::new(), own_address(), [Silent::new(), Silent::new()]);
    let taken = UdpSocket::bind((source, FIRST)).expect("a free port");
    let mut prober = TestHost::new(make, "a", &silent());
    let of = |peer: &Silent, ports| TargetSpec {
        tcp_port: None,
        connect_port: None,
        ..peer.target(marks(source, ports))
    };
    add(&mut prober, &clock, of(&peers[0], 2));
    add(&mut prober, &clock, of(&peers[1], 2));
    let second = SocketAddr::new(source, FIRST + 1);
    run_until(&clock, &mut [&mut prober], "both are probed", |_| {
        peers.iter_mut().for_each(Silent::look);
        peers.iter().all(|peer| peer.datagrams.len() >= 10)
    });
    for peer in &peers {
        assert!(
            peer.datagrams.iter().all(|from| *from == second),
            "{:?}",
            peer.datagrams
        );
    }
    let third = add(&mut prober, &clock, of(&peers[0], 2));
    run_until(
        &clock,
        &mut [&mut prober],
        "there is no port for the third",
        |hosts| {
            let none = |event: &LifeEvent| {
                matches!(event, LifeEvent::OutageBegan(Some(CloseReason::NoPort)))
            };
            hosts[0].lives.iter().any(none)
        },
    );
    assert!(prober.prober.remove_target(third));
    drop(taken);
    let (before, first) = (peers[0].datagrams.len(), SocketAddr::new(source, FIRST));
    add(&mut prober, &clock, of(&peers[0], 2));
    run_until(&clock, &mut [&mut prober], "the first port is free", |_| {
        peers[0].look();
        peers[0].datagrams[before..].contains(&first)
    });
}

/// What this host does not have is told, and probed from nowhere.
pub(crate) fn says_what_this_host_lacks<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let of_documentation = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
    let no_interface = if IS_PORTABLE {
        CloseReason::Unsupported
    } else {
        CloseReason::NoInterface
    };
    let of_interface = Marks {
        interface: Some("no-such-thing".into()),
        ..Marks::default()
    };
    let of_source = |source: IpAddr| Marks {
        source: Some(source),
        ..Marks::default()
    };
    for (marks, expected) in [
        (of_interface, no_interface),
        (of_source(of_documentation), CloseReason::NoAddress),
        (
            of_source("::1".parse().expect("an address")),
            CloseReason::OtherFamily,
        ),
    ] {
        let mut peer = Silent::new();
        let mut prober = TestHost::new(make, "a", &silent());
        add(&mut prober, &clock, peer.target(marks));
        run_until(&clock, &mut [&mut prober], "both flows say so", |hosts| {
            let said = |event: &&LifeEvent| match event {
                LifeEvent::OutageBegan(Some(reason)) | LifeEvent::Trouble(reason) => {
                    *reason == expected
                }
                LifeEvent::Closed {
                    cause: CloseCause::Socket(reason),
                    ..
                } => *reason == expected,
                _ => false,
            };
            hosts[0].lives.iter().filter(said).count() >= 2
        });
        peer.look();
        assert!(
            peer.datagrams.is_empty() && peer.connections.is_empty(),
            "{expected:?}"
        );
        assert_eq!(prober.counters(FlowKind::Udp).sent, 0);
    }
}

/// Probes with every mark are answered as others are, on both families.
pub(crate) fn measures_with_every_mark<E: Engine>(make: Make<'_, E>) {
    let has_v6 = UdpSocket::bind(("::1", 0)).is_ok();
    let addresses = [LOCALHOST, "::1".parse().expect("an address")];
    for address in addresses
        .into_iter()
        .filter(|address| address.is_ipv4() || has_v6)
    {
        let clock = Clock::new();
        let mut listener = TestHost::new(make, "b", &listen_on(address));
        let marked = Marks {
            dscp: "ef".parse().ok(),
            source: Some(address),
            interface: (!IS_PORTABLE).then(|| "lo".into()),
            source_ports: None,
            ttl: Some(9),
            df: (!IS_PORTABLE).then_some(true),
        };
        let adjust = |spec: &mut TargetSpec| spec.marks = Arc::new(marked);
        let mut prober = prober_of(make, &clock, &listener, adjust);
        run_until(
            &clock,
            &mut [&mut prober, &mut listener],
            "all are answered",
            |hosts| {
                [Metric::UdpRtt, Metric::TcpRtt, Metric::TcpLatency]
                    .iter()
                    .all(|metric| hosts[0].received(*metric).count() >= 50)
                    && (IS_PORTABLE || hosts[0].seen.len() >= 100)
            },
        );
        // Loopback changes nothing, and both ends say so.
        for direction in [Direction::Forward, Direction::Reverse] {
            let of_one = prober
                .seen
                .iter()
                .filter(|seen| seen.direction == direction);
            let mut wrong = of_one
                .clone()
                .filter(|seen| seen.arrived != seen.sent || seen.has_changed);
            assert_eq!(wrong.next(), None, "{address}");
            assert_eq!(of_one.count() == 0, IS_PORTABLE, "{address} {direction:?}");
        }
    }
}
