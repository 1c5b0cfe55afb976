//! The tests, each for any engine.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use latency_monitor::clock::Clock;
use latency_monitor::engine::{Engine, EngineConfig, Timestamps};
use latency_monitor::proto::wire::native;
use latency_monitor::proto::{
    Counters, FlowKind, Metric, Protocol, Sample, StampSource, TargetSpec,
};

use crate::hosts::{
    Make, TestHost, key, listen_on, loopback, own_address, run_until, silent, target,
};

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The portable side of `sys` has neither stamps of the kernel, ICMP errors, TTLs nor the address that a datagram
/// came to. Where a test is about one of them it holds this side to what it promises instead.
pub(crate) const IS_PORTABLE: bool = !cfg!(all(target_os = "linux", not(latency_monitor_portable)));

/// Makes a host that probes the ports of `listener`. `adjust` changes the target.
pub(crate) fn prober_of<E: Engine>(
    make: Make<'_, E>,
    clock: &Clock,
    listener: &TestHost<E>,
    adjust: impl FnOnce(&mut TargetSpec),
) -> TestHost<E> {
    let listening = listener.listening();
    let mut spec = target(
        listening.udp[0].ip(),
        Some(listening.tcp[0].port()),
        Some(listening.udp[0].port()),
    );
    adjust(&mut spec);
    let mut prober = TestHost::new(make, "a", &silent());
    prober
        .prober
        .add_target(clock.now(), spec)
        .expect("there is room for a target");
    prober
}

fn measures<E: Engine>(make: Make<'_, E>, address: IpAddr, adjust: impl FnOnce(&mut TargetSpec)) {
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &listen_on(address));
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        // A loss is no delay, and a stop of this process is to make none.
        spec.timeout_ns = 30_000_000_000;
        adjust(spec);
    });
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "all five metrics are there",
        |hosts| {
            [Metric::UdpRtt, Metric::TcpRtt, Metric::TcpLatency]
                .iter()
                .all(|metric| hosts[0].received(*metric).count() >= 200)
                && [Metric::UdpOwd, Metric::TcpOwd]
                    .iter()
                    .all(|metric| hosts[1].received(*metric).count() >= 200)
        },
    );
    for sample in prober.samples.iter().chain(&listener.samples) {
        assert!(
            sample.value_ns > 0,
            "one clock on both ends, so all delays are positive"
        );
    }
    for metric in [Metric::UdpOwd, Metric::TcpOwd] {
        let tags = "source:a target:b isp:local it's \"q\"";
        assert!(
            listener
                .received(metric)
                .all(|sample| listener.tags(sample) == tags)
        );
        let numbers: Vec<u64> = listener.received(metric).map(|sample| sample.seq).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{numbers:?}"
        );
    }
    for metric in [Metric::UdpRtt, Metric::TcpRtt, Metric::TcpLatency] {
        let tags = "source:a target:peer isp:local it's \"q\"";
        assert!(
            prober
                .received(metric)
                .all(|sample| prober.tags(sample) == tags)
        );
    }
}

pub(crate) fn measures_over_udp_and_tcp<E: Engine>(make: Make<'_, E>) {
    measures(make, LOCALHOST, |_| ());
}

/// The same under a key, which every packet is authenticated with.
pub(crate) fn measures_with_a_key<E: Engine>(make: Make<'_, E>) {
    measures(make, LOCALHOST, |spec| {
        spec.protocol = Protocol::Native;
        spec.key = Some(key().into());
    });
}

pub(crate) fn measures_over_ipv6<E: Engine>(make: Make<'_, E>) {
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if UdpSocket::bind((address, 0)).is_err() {
        return; // This host has no IPv6, not even on loopback.
    }
    measures(make, address, |_| ());
}

/// A TWAMP-Light sender: 14 bytes, in NTP's format, from a few routers away.
pub(crate) fn answers_senders_that_are_not_ours<E: Engine>(make: Make<'_, E>) {
    const TTL: u8 = 61;
    let clock = Clock::new();
    let mut host = TestHost::new(make, "b", &loopback());
    let sender = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
    sender.set_ttl(TTL.into()).expect("a TTL");
    sender.set_nonblocking(true).expect("a socket");
    let request = [0, 0, 0, 5, 0xe7, 1, 2, 3, 4, 5, 6, 7, 0, 1];
    let to = host.listening().udp[0];
    assert_eq!(
        sender.send_to(&request, to).expect("it is sent"),
        request.len()
    );
    let mut reply = [0; 100];
    let mut length = 0;
    run_until(&clock, &mut [&mut host], "a reply comes", |_| {
        length = sender.recv(&mut reply).unwrap_or(0);
        length > 0
    });
    assert_eq!(length, native::BASE_BYTES);
    let read = native::decode_reply(&reply[..length]).expect("it is a reply");
    assert!(!read.error.is_ptp(), "the format that was asked for");
    assert_eq!(
        reply[24..38],
        request,
        "the sender's number, time and error"
    );
    // 255 stands for one that is not known (RFC 5357, section 4.2.1).
    let ttl = if IS_PORTABLE { 255 } else { TTL };
    assert_eq!(reply[40], ttl, "with which it came");
}

/// A host that was away for a moment finds more requests than it takes in at a time.
pub(crate) fn answers_all_that_came_while_it_was_away<E: Engine>(make: Make<'_, E>) {
    const EACH: u8 = 100;
    let clock = Clock::new();
    let mut host = TestHost::new(make, "b", &loopback());
    let to = host.listening().udp[0];
    let senders = [(); 3].map(|()| {
        let sender = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        sender.set_nonblocking(true).expect("a socket");
        sender
    });
    let mut request = [0; native::BASE_BYTES];
    for number in 0..EACH {
        request[3] = number;
        for sender in &senders {
            sender.send_to(&request, to).expect("it is sent");
        }
    }
    let (mut reply, mut answered) = ([0; 100], [0; 3]);
    run_until(&clock, &mut [&mut host], "all are answered", |_| {
        for (sender, answered) in senders.iter().zip(&mut answered) {
            while sender.recv(&mut reply).is_ok() {
                assert_eq!(reply[27], *answered, "in the order of the requests");
                *answered += 1;
            }
        }
        answered == [EACH; 3]
    });
}

/// Our reflector answers as any other would: without our TLV nobody there publishes the delay of a probe.
pub(crate) fn measures_reflectors_that_are_not_ours<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let mut reflector = TestHost::new(make, "b", &loopback());
    let port = reflector.listening().udp[0].port();
    let mut prober = TestHost::new(make, "a", &silent());
    let spec = TargetSpec {
        protocol: Protocol::Stamp,
        size: Some(64),
        ..target(LOCALHOST, None, Some(port))
    };
    prober.prober.add_target(clock.now(), spec).expect("room");
    let hosts = &mut [&mut prober, &mut reflector];
    run_until(&clock, hosts, "delays of both ways are there", |hosts| {
        let count = |metric| hosts[0].received(metric).count();
        count(Metric::UdpRtt) >= 20 && count(Metric::UdpOwd) >= 40
    });
    let is_whole = |sample: &Sample| sample.dwell_ns.is_some();
    assert!(prober.received(Metric::UdpRtt).all(is_whole));
    let ways: BTreeSet<&str> = prober
        .received(Metric::UdpOwd)
        .map(|sample| prober.tags(sample))
        .collect();
    assert_eq!(ways.len(), 2, "{ways:?}");
}

pub(crate) fn times_connects_without_leaving_time_wait<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    // On an address of its own: another test may have left a connection of a port that this one has now.
    let address = own_address();
    let mut listener = TestHost::new(make, "b", &listen_on(address));
    let port = listener.listening().tcp[0].port();
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.udp_port = None;
        spec.tcp_port = None;
    });
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "connects are timed",
        |hosts| hosts[0].received(Metric::TcpLatency).count() >= 300,
    );
    // In /proc/net/tcp the fourth field is the state, 06 for TIME_WAIT.
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its connections");
    let IpAddr::V4(address) = address else {
        panic!("{address} is of the other table");
    };
    let own = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    let left: Vec<&str> = table
        .lines()
        .filter(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields[1] == own || fields[2] == own) && fields[3] == "06"
        })
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

pub(crate) fn takes_the_largest_probes<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &loopback());
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.size = Some(65_535);
        spec.interval_ns = 5_000_000;
        spec.connect_port = None;
    });
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "large probes come back",
        |hosts| {
            hosts[0].received(Metric::UdpRtt).count() >= 50
                && hosts[0].received(Metric::TcpRtt).count() >= 50
                && hosts[1].received(Metric::TcpOwd).count() >= 50
        },
    );
    assert_eq!(prober.counters(FlowKind::Tcp).corrupt, 0);
    assert_eq!(listener.prober.self_counters().corrupt, 0);
}

pub(crate) fn keeps_many_probes_in_flight<E: Engine>(make: Make<'_, E>) {
    // The peer is turned only after 150 probes have left, more than the sequence has numbers.
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &loopback());
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.connect_port = None;
        spec.tcp_port = None;
        spec.timeout_ns = 50_000_000_000;
    });
    run_until(
        &clock,
        &mut [&mut prober],
        "150 probes are in flight",
        |hosts| hosts[0].counters(FlowKind::Udp).in_flight() >= 150,
    );
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "150 replies are there",
        |hosts| hosts[0].counters(FlowKind::Udp).received >= 150,
    );
    let counters = prober.counters(FlowKind::Udp);
    assert_eq!(
        (counters.duplicate, counters.corrupt, counters.lost),
        (0, 0, 0)
    );
    let numbers: Vec<u64> = prober
        .received(Metric::UdpRtt)
        .map(|sample| sample.seq)
        .collect();
    assert_eq!(numbers[..150], (0..150).collect::<Vec<u64>>()[..]);
}

pub(crate) fn comes_back_when_the_peer_restarts<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    // Nobody takes its ports there while it is away.
    let own = listen_on(own_address());
    let mut listener = TestHost::new(make, "b", &own);
    let same_ports = EngineConfig {
        tcp_port: Some(listener.listening().tcp[0].port()),
        udp_ports: listener.listening().udp_ports(),
        ..own
    };
    let mut prober = prober_of(make, &clock, &listener, |spec| {
        spec.timeout_ns = 200_000_000;
    });
    let metrics = [Metric::UdpRtt, Metric::TcpRtt, Metric::TcpLatency];
    for _ in 0..5 {
        let heard = metrics.map(|metric| prober.received(metric).count());
        run_until(
            &clock,
            &mut [&mut prober, &mut listener],
            "all flows go on",
            |hosts| {
                metrics
                    .iter()
                    .zip(heard)
                    .all(|(metric, before)| hosts[0].received(*metric).count() > before + 10)
            },
        );
        drop(listener);
        let lost = prober.counters(FlowKind::Udp).lost;
        run_until(
            &clock,
            &mut [&mut prober],
            "the silence is noticed",
            |hosts| hosts[0].counters(FlowKind::Udp).lost > lost + 10,
        );
        listener = TestHost::new(make, "b", &same_ports);
    }
}

/// An answer from another port than was probed is no reply, and is known for what it is: also by the
/// flow that probes that other port, and if the probe's flow has started anew since. The peer sends
/// each probe back as it is, which answers it.
pub(crate) fn tells_answers_from_another_port<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let [probed, other] = [(); 2].map(|()| {
        let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("it is a socket");
        socket
    });
    let mut prober = TestHost::new(make, "a", &silent());
    for socket in [&probed, &other] {
        let port = socket.local_addr().expect("it is bound").port();
        let spec = TargetSpec {
            protocol: Protocol::Text,
            timeout_ns: 20_000_000,
            max_lost: 5,
            ..target(LOCALHOST, None, Some(port))
        };
        let added = prober.prober.add_target(clock.now(), spec);
        assert!(added.is_some(), "there is room for a target");
    }
    let mut buffer = [0; 2_048];
    let mut echo = |to: &UdpSocket, from: &UdpSocket| {
        while let Ok((length, sender)) = to.recv_from(&mut buffer) {
            from.send_to(&buffer[..length], sender)
                .expect("it has room");
        }
    };
    let counters = |hosts: &[&mut TestHost<E>]| -> [Counters; 2] {
        let mut flows = hosts[0].prober.flows().map(|(_, _, counters)| *counters);
        [(); 2].map(|()| flows.next().expect("there are two flows"))
    };
    let mut turns = 0_u32;
    run_until(&clock, &mut [&mut prober], "answers are counted", |hosts| {
        echo(&other, &other);
        // Some answers are late: the flow gives its 5-tuple up meanwhile.
        turns += 1;
        if turns.is_multiple_of(15) {
            echo(&probed, &other);
        }
        counters(hosts)[0].misaddressed >= 200
    });
    let [wrong, right] = counters(&[&mut prober]);
    assert_eq!((wrong.received, wrong.corrupt), (0, 0));
    assert_eq!((right.misaddressed, right.corrupt), (0, 0));
    run_until(&clock, &mut [&mut prober], "replies are heard", |hosts| {
        echo(&probed, &probed);
        counters(hosts)[0].received >= 20
    });
}

pub(crate) fn survives_a_refused_port<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    // A port that was free a moment ago.
    let free = TcpListener::bind((LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    let port = free.expect("loopback has a free port").port();
    let mut prober = TestHost::new(make, "a", &silent());
    let mut spec = target(LOCALHOST, Some(port), Some(port));
    spec.timeout_ns = 20_000_000;
    prober
        .prober
        .add_target(clock.now(), spec)
        .expect("there is room for a target");
    run_until(
        &clock,
        &mut [&mut prober],
        "connects are refused",
        |hosts| {
            hosts[0].counters(FlowKind::Connect).lost >= 50
                && hosts[0].counters(FlowKind::Udp).lost >= 50
                && hosts[0].counters(FlowKind::Tcp).unsent >= 50
        },
    );
    assert_eq!(
        prober
            .samples
            .iter()
            .filter(|sample| sample.value_ns != 0)
            .count(),
        0
    );
    assert_eq!(prober.counters(FlowKind::Tcp).sent, 0);
}

/// Probes several addresses of a listener, and on each of them a port that refuses as well. The
/// ICMP errors must disturb no other flow, even if all requests leave from one socket in one call.
fn tells_who_is_refused<E: Engine>(
    make: Make<'_, E>,
    timestamps: Timestamps,
    listen: IpAddr,
    addresses: &[IpAddr],
) {
    const REFUSED: u64 = 200;
    let clock = Clock::new();
    let listen = [listen];
    let listened = if IS_PORTABLE { addresses } else { &listen };
    let config = EngineConfig {
        addresses: listened.iter().map(|address| (*address).into()).collect(),
        ..loopback()
    };
    let mut listener = TestHost::new(make, "b", &config);
    let config = EngineConfig {
        timestamps,
        ..silent()
    };
    let mut prober = TestHost::new(make, "a", &config);
    let mut deaf = Vec::new();
    for address in addresses {
        // A socket that is connected refuses what comes from others, and keeps its port.
        let socket = UdpSocket::bind((*address, 0)).expect("a free port");
        socket.connect((*address, 9)).expect("loopback is there");
        let refused = socket.local_addr().expect("it is bound").port();
        let mut served = listener.listening().udp.iter();
        let served = served.find(|at| at.ip() == *address || at.ip().is_unspecified());
        let port = served.expect("it is listened on").port();
        deaf.push(socket);
        for (label, port) in [("served", port), ("refused", refused)] {
            let mut spec = target(*address, None, Some(port));
            spec.label = label.into();
            spec.protocol = Protocol::Native;
            // No flow may take a fresh socket meanwhile.
            (spec.max_lost, spec.timeout_ns) = (u32::MAX, 30_000_000_000);
            let added = prober.prober.add_target(clock.now(), spec);
            added.expect("there is room for a target");
        }
    }
    let is_served = |host: &TestHost<E>, origin| host.label(origin).contains("target:served");
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "probes are refused, and others answered",
        |hosts| {
            hosts[0].prober.flows().all(|(origin, _, counters)| {
                if is_served(hosts[0], origin) {
                    counters.received >= REFUSED
                } else if IS_PORTABLE {
                    // Nobody tells, and it is probed all the same.
                    counters.sent >= REFUSED
                } else {
                    counters.unreachable >= REFUSED
                }
            })
        },
    );
    for (origin, _, counters) in prober.prober.flows() {
        assert_eq!((counters.unsent, counters.lost), (0, 0), "{counters:?}");
        if is_served(&prober, origin) || IS_PORTABLE {
            assert_eq!(counters.unreachable, 0);
        }
        if !is_served(&prober, origin) {
            assert_eq!(counters.received, 0);
            assert!(counters.unreachable <= counters.sent, "{counters:?}");
        }
    }
    let own = prober.prober.self_counters();
    assert_eq!(own.stamps_missing_transmit, 0, "stamps go on");
}

pub(crate) fn tells_the_flow_that_is_refused_and_no_other<E: Engine>(make: Make<'_, E>) {
    // All of 127.0.0.0/8 is ours.
    let addresses = [1, 2, 3, 4].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let (any, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into());
    let has_v6 = UdpSocket::bind((v6, 0)).is_ok();
    // Without the kernel's stamps each datagram leaves in a call of its own, and the error queue
    // has not been read when the next one does.
    for timestamps in [Timestamps::Kernel, Timestamps::User] {
        tells_who_is_refused(make, timestamps, any, &addresses);
        if has_v6 {
            tells_who_is_refused(make, timestamps, v6, &[v6]);
        }
    }
}

pub(crate) fn closes_a_stream_that_cannot_be_read<E: Engine>(make: Make<'_, E>) {
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &loopback());
    let mut stranger = TcpStream::connect(listener.listening().tcp[0]).expect("it listens");
    stranger
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("loopback takes it");
    run_until(
        &clock,
        &mut [&mut listener],
        "the stranger is refused",
        |hosts| hosts[0].prober.self_counters().corrupt == 1,
    );
    let end = stranger.read(&mut [0; 16]);
    assert!(
        matches!(end, Ok(0) | Err(_)),
        "the connection is closed, yet: {end:?}"
    );
}

pub(crate) fn does_not_wait_for_a_peer_that_never_reads<E: Engine>(make: Make<'_, E>) {
    // With --no-rtt the Python program does not read replies.
    let clock = Clock::new();
    let mut listener = TestHost::new(make, "b", &loopback());
    let mut deaf = TcpStream::connect(listener.listening().tcp[0]).expect("it listens");
    deaf.set_nonblocking(true)
        .expect("a socket can be non-blocking");
    let header = "|deaf|1768219134587069267|[]|";
    let mut seq = 0;
    let mut pending: Vec<u8> = Vec::new();
    run_until(
        &clock,
        &mut [&mut listener],
        "replies are dropped",
        |hosts| {
            if pending.is_empty() {
                pending = format!("{seq}{header}").into_bytes();
                pending.resize(60_000, b'0');
                seq = (seq + 1) % 101;
            }
            if let Ok(count) = deaf.write(&pending) {
                pending.drain(..count);
            }
            hosts[0].prober.self_counters().replies_dropped >= 50
        },
    );
    assert!(
        listener.received(Metric::TcpOwd).count() >= 50,
        "requests are measured all the same"
    );
}

pub(crate) fn wakes_between_two_milliseconds<E: Engine>(make: Make<'_, E>) {
    // A loop that sleeps whole milliseconds misses three slots of four here, and never sends two in
    // a row. Eight in a row do not depend on speed: a busy machine gets there too.
    let clock = Clock::new();
    let mut prober = TestHost::new(make, "a", &silent());
    let mut spec = target(LOCALHOST, None, Some(9));
    spec.interval_ns = 250_000;
    prober
        .prober
        .add_target(clock.now(), spec)
        .expect("there is room for a target");
    let (mut missed, mut sent_then) = (0, 0);
    run_until(
        &clock,
        &mut [&mut prober],
        "eight slots in a row are met",
        |hosts| {
            let now_missed = hosts[0].prober.self_counters().slots_missed;
            let sent = hosts[0].lateness.len();
            if now_missed != missed {
                (missed, sent_then) = (now_missed, sent);
            }
            sent >= sent_then + 8
        },
    );
}

/// Returns how many received packets had no stamp, and how many transmit stamps did not come.
fn stamps_missing<E: Engine>(host: &TestHost<E>) -> u64 {
    let own = host.prober.self_counters();
    own.stamps_missing_receive + own.stamps_missing_transmit
}

pub(crate) fn stamps_every_packet<E: Engine>(make: Make<'_, E>) {
    if IS_PORTABLE {
        // Each has the stamp of the process, whatever is asked for, and none is called missing.
        for timestamps in [Timestamps::Kernel, Timestamps::Auto] {
            stamps_by_itself(make, timestamps);
        }
        return;
    }
    let clock = Clock::new();
    let config = EngineConfig {
        timestamps: Timestamps::Kernel,
        ..loopback()
    };
    let mut listener = TestHost::new(make, "b", &config);
    let mut prober = prober_of(make, &clock, &listener, |_| ());
    // The kernel begins to stamp a moment after the first socket has asked.
    let metrics = [Metric::UdpRtt, Metric::TcpRtt];
    let (mut missing, mut heard) = (0, [0; 2]);
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "all of many packets are stamped",
        |hosts| {
            let now_heard = metrics.map(|metric| hosts[0].received(metric).count());
            let now_missing = stamps_missing(hosts[0]) + stamps_missing(hosts[1]);
            if now_missing != missing {
                (missing, heard) = (now_missing, now_heard);
            }
            now_heard
                .iter()
                .zip(heard)
                .all(|(now, then)| *now >= then + 200)
        },
    );
    // If several messages are read at once only one is stamped, so not all samples need be.
    for metric in metrics {
        let by_kernel = prober.received(metric).filter(|sample| {
            sample.stamp == StampSource::Kernel && sample.dwell_ns.is_some() && sample.value_ns > 0
        });
        assert!(by_kernel.count() >= 100, "{metric:?} between kernel stamps");
    }
    for (host, metric) in [
        (&listener, Metric::UdpOwd),
        (&listener, Metric::TcpOwd),
        (&prober, Metric::UdpOwd),
        (&prober, Metric::TcpOwd),
    ] {
        let by_kernel = host
            .received(metric)
            .filter(|sample| sample.stamp == StampSource::Kernel && sample.value_ns > 0);
        assert!(by_kernel.count() >= 100, "{metric:?} between kernel stamps");
    }
}

pub(crate) fn stamps_nothing_unless_asked<E: Engine>(make: Make<'_, E>) {
    stamps_by_itself(make, Timestamps::User);
}

fn stamps_by_itself<E: Engine>(make: Make<'_, E>, timestamps: Timestamps) {
    let clock = Clock::new();
    let user = |config| EngineConfig {
        timestamps,
        ..config
    };
    let mut listener = TestHost::new(make, "b", &user(loopback()));
    let mut spec = target(
        LOCALHOST,
        Some(listener.listening().tcp[0].port()),
        Some(listener.listening().udp[0].port()),
    );
    spec.connect_port = None;
    let mut prober = TestHost::new(make, "a", &user(silent()));
    prober
        .prober
        .add_target(clock.now(), spec)
        .expect("there is room for a target");
    run_until(
        &clock,
        &mut [&mut prober, &mut listener],
        "both protocols are measured",
        |hosts| {
            hosts[0].received(Metric::UdpRtt).count() >= 50
                && hosts[0].received(Metric::TcpRtt).count() >= 50
        },
    );
    let samples = prober.samples.iter().chain(&listener.samples);
    assert!(
        samples
            .clone()
            .all(|sample| sample.stamp == StampSource::User)
    );
    assert_eq!(stamps_missing(&prober) + stamps_missing(&listener), 0);
}
