//! The part of the suite that is about listeners: addresses and ports, and from which of them replies leave.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use latency_monitor::clock::Clock;
use latency_monitor::engine::{Engine, EngineConfig, EngineError};
use latency_monitor::proto::wire::native;
use latency_monitor::proto::{Metric, Protocol, TargetSpec};

use crate::hosts::{Make, TestHost, listen_on, loopback, run_until, silent, target};
use crate::suite::{IS_PORTABLE, LOCALHOST, prober_of};

/// Without an address to listen on a host listens everywhere: a peer that knows a name of ours with
/// addresses of both families reaches us on each.
pub(crate) fn answers_both_families_on_one_port<E: Engine>(make: Make<'_, E>) {
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if UdpSocket::bind((six, 0)).is_err() {
        return; // This host has no IPv6, not even on loopback.
    }
    let clock = Clock::new();
    let everywhere = EngineConfig {
        addresses: Vec::new(),
        ..loopback()
    };
    let mut listener = TestHost::new(make, "b", &everywhere);
    let listening = listener.listening().clone();
    for addresses in [&listening.udp, &listening.tcp] {
        let at: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
        assert_eq!(at, ["0.0.0.0", "::"]);
    }
    let mut probers = [LOCALHOST, six].map(|address| {
        let place = usize::from(address.is_ipv6());
        let mut spec = target(
            address,
            Some(listening.tcp[place].port()),
            Some(listening.udp[place].port()),
        );
        spec.connect_port = None;
        let mut prober = TestHost::new(make, "a", &silent());
        let added = prober.prober.add_target(clock.now(), spec);
        assert!(added.is_some(), "there is room for a target");
        prober
    });
    let [four, six] = &mut probers;
    run_until(
        &clock,
        &mut [four, six, &mut listener],
        "replies come over both",
        |hosts| {
            hosts[..2].iter().all(|prober| {
                [Metric::UdpRtt, Metric::TcpRtt]
                    .iter()
                    .all(|metric| prober.received(*metric).count() >= 20)
            })
        },
    );
}

/// A host on two addresses with two UDP ports: probers of text, of native and of STAMP packets at once, each of
/// another port or address, and every one is answered from where it asked.
pub(crate) fn answers_on_every_port<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let addresses = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let config = EngineConfig {
        addresses: addresses.map(Into::into).to_vec(),
        udp_ports: vec![0, 0],
        ..loopback()
    };
    let mut listener = TestHost::new(make, "b", &config);
    let at = listener.listening().udp.clone();
    let hosts: Vec<IpAddr> = at.iter().map(SocketAddr::ip).collect();
    assert_eq!(hosts, [addresses, addresses].concat());
    let wires = [Protocol::Text, Protocol::Native, Protocol::Stamp];
    let mut probers: Vec<TestHost<E>> = wires
        .into_iter()
        .map(|protocol| {
            let mut prober = TestHost::new(make, "a", &silent());
            for at in &at {
                let spec = TargetSpec {
                    protocol,
                    label: at.to_string().into(),
                    ..target(at.ip(), None, Some(at.port()))
                };
                let added = prober.prober.add_target(clock.now(), spec);
                assert!(added.is_some(), "there is room for a target");
            }
            prober
        })
        .collect();
    let mut hosts: Vec<&mut TestHost<E>> = probers.iter_mut().collect();
    hosts.push(&mut listener);
    run_until(
        &clock,
        &mut hosts,
        "replies come from everywhere",
        |hosts| {
            hosts[..3].iter().all(|prober| {
                let mut flows = prober.prober.flows();
                flows.all(|(_, _, counters)| counters.received >= 20)
            })
        },
    );
    for prober in &probers {
        for (origin, _, counters) in prober.prober.flows() {
            let wrong = (counters.misaddressed, counters.corrupt, counters.duplicate);
            assert_eq!(wrong, (0, 0, 0), "{}", prober.label(origin));
        }
    }
    assert_eq!(listener.prober.self_counters().corrupt, 0);
}

/// One socket of a STAMP sender that asks two ports on two addresses has four sessions, and so four sequences.
pub(crate) fn tells_ports_and_addresses_apart<E: Engine>(make: Make<'_, E>) {
    const ROUNDS: u32 = 3;
    let clock = Clock::new();
    // The system says which address of ours was asked. Where it does not, each has a socket of its own.
    let asked = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let listened = if IS_PORTABLE { &asked[..] } else { &any };
    let config = EngineConfig {
        addresses: listened.iter().map(|address| (*address).into()).collect(),
        udp_ports: vec![0, 0],
        ..loopback()
    };
    let mut host = TestHost::new(make, "b", &config);
    let sender = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
    sender.set_nonblocking(true).expect("a socket");
    let ports = host.listening().udp_ports();
    let asked: Vec<SocketAddr> = if IS_PORTABLE {
        host.listening().udp.clone()
    } else {
        let each = |port| asked.map(|address| SocketAddr::new(address, port));
        ports.into_iter().flat_map(each).collect()
    };
    assert_eq!(asked.len(), 4);
    let mut request = [&[0, 0, 0, 5][..], &[0xe7; 8], &[0, 1], &[0; 30]].concat();
    // A Location TLV (RFC 8972, section 4.2), which asks for both ports.
    request.extend([0x80, 2, 0, 4, 0, 0, 0, 0]);
    let own = sender.local_addr().expect("it is bound").port();
    for round in 0..ROUNDS {
        for &to in &asked {
            sender.send_to(&request, to).expect("it is sent");
            let mut reply = [0; 100];
            let mut answer = None;
            run_until(&clock, &mut [&mut host], "a reply comes", |_| {
                answer = sender.recv_from(&mut reply).ok();
                answer.is_some()
            });
            let (length, from) = answer.expect("it came");
            assert_eq!(from, to, "it leaves from where was asked");
            let read = native::decode_reply(&reply[..length]).expect("it is a reply");
            assert_eq!(read.seq, round, "{to}");
            let ports = [to.port().to_be_bytes(), own.to_be_bytes()].concat();
            assert_eq!(reply[48..length], ports, "{to}");
        }
    }
}

pub(crate) fn answers_from_the_address_that_was_probed<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    // All of 127.0.0.0/8 is ours, so a host on a wildcard has many addresses. The system by itself
    // would answer from 127.0.0.1, and a connected socket would not hear that. Where the system does
    // not say which address was asked, it does so from one that is listened on by itself.
    let asked = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));
    let any = Ipv4Addr::UNSPECIFIED.into();
    let listened = if IS_PORTABLE { asked } else { any };
    let mut listener = TestHost::new(make, "b", &listen_on(listened));
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.host = latency_monitor::proto::Host::Address(asked);
        spec.connect_port = None;
    });
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "replies are heard",
        |hosts| {
            hosts[0].received(Metric::UdpRtt).count() >= 20
                && hosts[0].received(Metric::TcpRtt).count() >= 20
        },
    );
}

pub(crate) fn says_which_port_is_taken<E: Engine>(make: Make<'_, E>) {
    let taken = UdpSocket::bind((LOCALHOST, 0)).expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let config = EngineConfig {
        udp_ports: vec![address.port()],
        tcp_port: None,
        ..loopback()
    };
    let error = make(&config).err().expect("the port is taken");
    assert!(matches!(
        &error,
        EngineError::Listen { protocol: "UDP", address: at, .. } if *at == address
    ));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// Ports are free as soon as their engine is gone, also while packets come: a daemon that restarts finds them.
pub(crate) fn gives_its_ports_free_at_once<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let mut config = loopback();
    for _ in 0..20 {
        let mut listener = TestHost::new(make, "b", &config);
        let listening = listener.listening().clone();
        config.udp_ports = vec![listening.udp[0].port()];
        config.tcp_port = Some(listening.tcp[0].port());
        let mut prober = prober_of(make, &clock, &listener, |_| {});
        run_until(
            &clock,
            &mut [&mut prober, &mut listener],
            "a reply of each kind comes",
            |hosts| {
                [Metric::UdpRtt, Metric::TcpRtt, Metric::TcpLatency]
                    .iter()
                    .all(|metric| hosts[0].received(*metric).count() > 0)
            },
        );
        drop(listener);
        let udp = UdpSocket::bind(listening.udp[0]);
        assert!(udp.is_ok(), "{udp:?}");
        let tcp = TcpListener::bind(listening.tcp[0]);
        assert!(tcp.is_ok(), "{tcp:?}");
    }
}
