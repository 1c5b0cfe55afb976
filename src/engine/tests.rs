//! Stamps and figures of real sockets over loopback, below the core. Where something is waited for
//! it is an event, and what is asserted of times is their order.

mod turns;

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread::yield_now;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{TimestampingFlag, getsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use socket2::SockRef;

use super::stamping::{Stamped, Stamping};
use super::stream::{Role, Stream, Written};
use super::udp_port::UdpPort;
use crate::clock::Clock;
use crate::engine::{Core, Resolve, Timestamps};
use crate::proto::transmit::{Place, Wanted};
use crate::proto::{
    Host, KeyRing, Marks, Output, Prober, ProberConfig, SocketId, StampKey, StampSource, TargetId,
    Wall,
};
use crate::sys;
use crate::sys::batch::{Inbox, Outbox};
use crate::sys::stamp::enable;
use crate::sys::words::{Handshake, Level, Numbers, Outgoing, Report, Stamps, Trouble};

/// The traffic class of what is sent: expedited forwarding.
const CLASS: u8 = 46 << 2;

fn key(seq: u32) -> StampKey {
    let socket = SocketId {
        index: u32::MAX,
        generation: 0,
    };
    let place = Place::Connection(socket);
    StampKey(Wanted::Reply { place, seq })
}

fn prober() -> Prober {
    Prober::new(ProberConfig {
        name: "here".into(),
        udp_ports: Vec::new(),
        accepted_max: 0,
        resolve_interval_ns: 1_000_000_000,
        seed: [1; 32],
        native: true,
        keys: KeyRing::default(),
    })
}

/// These tests have no names.
#[derive(Debug)]
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&mut self, _: TargetId, host: &Host) {
        panic!("{host} is to be resolved");
    }
}

/// What the engine's parts work for.
struct Rig {
    clock: Clock,
    prober: Prober,
    resolver: NoNames,
}

impl Rig {
    fn new() -> Self {
        Self {
            clock: Clock::new(),
            prober: prober(),
            resolver: NoNames,
        }
    }

    fn core(&mut self) -> Core<'_> {
        Core {
            clock: &self.clock,
            prober: &mut self.prober,
            resolver: &mut self.resolver,
        }
    }

    /// Packets sent whose stamps did not come.
    fn missing(&self) -> u64 {
        self.prober.self_counters().stamps_missing_transmit
    }
}

/// The kernel's own clock, which makes the stamps.
fn kernel_now() -> Wall {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("there is such a clock");
    Wall::from_unix_nanos(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

/// Calls until there is something.
fn wait_for<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match call() {
            Ok(found) => return found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Takes one entry off the error queue.
fn take_transmitted(socket: &impl AsRawFd) -> io::Result<Option<(u32, Stamps)>> {
    let mut inbox = Inbox::new(1, 0);
    inbox.receive_errors(socket, false)?;
    Ok(inbox.transmitted(0))
}

fn transmitted(socket: &impl AsRawFd) -> (u32, Stamps) {
    wait_for(|| take_transmitted(socket)).expect("the entry is a stamp")
}

fn assert_drained(socket: &impl AsRawFd) {
    let left = take_transmitted(socket);
    let error = left.expect_err("nothing is left on the error queue");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

fn loopbacks() -> Vec<SocketAddr> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let has_v6 = UdpSocket::bind(v6).is_ok();
    [v4].into_iter().chain(has_v6.then_some(v6)).collect()
}

/// A UDP socket of the engine's, and what was sent and is to be sent from it.
struct Sender {
    stamped: Stamped<UdpSocket>,
    outbox: Outbox,
    to: SocketAddr,
}

impl Sender {
    fn new(stamping: &Stamping, to: SocketAddr) -> Self {
        let route = sys::udp::route(to, &Marks::default()).expect("loopback is there");
        let socket = sys::udp::open(SocketAddr::new(route.local.ip(), 0), &Marks::default())
            .expect("a free port");
        let stamps = stamping.begin_udp(&socket);
        Self {
            stamped: Stamped { socket, stamps },
            outbox: Outbox::new(),
            to: route.remote,
        }
    }

    /// Sends as many at once; gives how many were taken.
    fn send(&mut self, payloads: &[&[u8]]) -> io::Result<usize> {
        let outgoing = payloads.iter().map(|payload| Outgoing {
            to: self.to,
            from: None,
            tos: CLASS,
            ttl: None,
            payload,
        });
        self.outbox.send(&self.stamped.socket, outgoing)
    }

    /// Sends one, and notes it as the engine does.
    fn probe(&mut self, stamping: &mut Stamping, core: &mut Core<'_>, seq: u32) {
        assert_eq!(self.send(&[b"probe"]).expect("loopback takes it"), 1);
        let key = stamping.wanted(Some(key(seq)));
        self.stamped.stamps.handle_sent(1, key);
        assert!(self.stamped.stamps.given_up.is_empty());
        stamping.collect(core, &mut self.stamped);
    }
}

/// Sends batches of requests and replies between a flow's socket and a listener, and checks their
/// stamps.
fn exchanges_are_in_order(listen: SocketAddr, remote: impl Fn(SocketAddr) -> SocketAddr) {
    const COUNT: u32 = 5;
    let stamping = Stamping::new(Timestamps::Kernel);
    let listener = sys::udp::listen(listen, false).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut flow = Sender::new(&stamping, remote(address));
    enable(&listener, Level::Software, Numbers::Datagrams).expect("Linux stamps");
    let at = |stamps: Stamps| stamps.software.expect("it has left, so it is stamped");
    let stamps_of = |socket: &UdpSocket, round: u32| -> Vec<Wall> {
        let one = |index| {
            let (number, stamps) = transmitted(socket);
            assert_eq!(number, round * COUNT + index);
            at(stamps)
        };
        let found = (0..COUNT).map(one).collect();
        assert_drained(socket);
        found
    };
    let receive_all = |socket: &UdpSocket| {
        let mut inbox = Inbox::new(2, 100);
        let (mut found, mut payloads) = (Vec::new(), Vec::new());
        while found.len() < COUNT as usize {
            let (count, _) = wait_for(|| inbox.receive(socket, usize::MAX));
            for datagram in (0..count).map(|index| inbox.datagram(index)) {
                payloads.push(datagram.payload.to_vec());
                let from = datagram.from.expect("somebody sent it");
                found.push((from, datagram.local, datagram.stamps.software));
                // Only a listener asks for them.
                let said = datagram.local.map(|_| (Some(255), Some(CLASS)));
                assert_eq!((datagram.ttl, datagram.tos), said.unwrap_or((None, None)));
            }
        }
        (found, payloads)
    };
    let texts: Vec<String> = (0..COUNT).map(|index| format!("probe {index}")).collect();
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    for round in 0.. {
        let begun = kernel_now();
        assert_eq!(flow.send(&payloads).expect("it is taken"), COUNT as usize);
        let sent = stamps_of(&flow.stamped.socket, round);
        let (requests, bodies) = receive_all(&listener);
        assert_eq!(bodies, payloads);
        let replied = kernel_now();
        let replies = requests
            .iter()
            .zip(&bodies)
            .map(|((to, from, _), body)| Outgoing {
                to: *to,
                from: *from,
                tos: CLASS,
                ttl: None,
                payload: body,
            });
        let taken = Outbox::new().send(&listener, replies);
        assert_eq!(taken.expect("it is taken"), COUNT as usize);
        let reply_sent = stamps_of(&listener, round);
        let (replies, bodies) = receive_all(&flow.stamped.socket);
        let ended = kernel_now();
        assert_eq!(bodies, payloads);
        let mut are_stamped = true;
        for index in 0..COUNT as usize {
            assert_eq!(replies[index].0, flow.to, "from the address that was asked");
            assert!(begun <= sent[index] && replied <= reply_sent[index]);
            // The kernel begins to stamp what it receives a moment after it was asked to.
            let (Some(came), Some(reply_came)) = (requests[index].2, replies[index].2) else {
                are_stamped = false;
                continue;
            };
            assert!(sent[index] <= came && came <= replied);
            assert!(reply_sent[index] <= reply_came && reply_came <= ended);
        }
        if are_stamped {
            return;
        }
    }
}

#[test]
fn datagrams_are_stamped_in_the_order_of_their_way() {
    for address in loopbacks() {
        exchanges_are_in_order(address, |bound| bound);
    }
}

#[test]
fn ipv4_over_an_ipv6_listener_is_stamped_too() {
    if loopbacks().len() == 2 {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        exchanges_are_in_order(any, |bound| (Ipv4Addr::LOCALHOST, bound.port()).into());
    }
}

#[test]
fn numbers_are_right_after_a_failed_send() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::Kernel);
    for address in loopbacks() {
        let peer = UdpSocket::bind(address).expect("a free port");
        let mut flow = Sender::new(&stamping, peer.local_addr().expect("it is bound"));
        let (mut seq, long) = (0, vec![0; 70_000]);
        for _ in 0..20 {
            // The one that is too long stops its batch, and fails when it is the first.
            let payloads: [&[u8]; 4] = [b"probe", b"probe", &long, b"probe"];
            assert_eq!(flow.send(&payloads).expect("loopback takes it"), 2);
            for _ in 0..2 {
                let queue = &mut flow.stamped.stamps;
                queue.handle_sent(1, Some(key(seq)));
                assert!(queue.given_up.is_empty());
                seq += 1;
            }
            flow.send(&payloads[2..]).expect_err("it is too long");
            stamping.handle_unsent(&mut rig.core(), &mut flow.stamped);
            flow.probe(&mut stamping, &mut rig.core(), seq);
            seq += 1;
        }
        while !flow.stamped.stamps.is_empty() {
            stamping.collect(&mut rig.core(), &mut flow.stamped);
        }
        assert_drained(&flow.stamped.socket);
        assert_eq!(rig.missing(), 0, "every packet sent has its stamp");
    }
}

#[test]
fn a_message_says_which_datagram_did_not_get_there() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::Kernel);
    for address in loopbacks() {
        // A socket that hears from one other only is nobody to the rest.
        let deaf = UdpSocket::bind(address).expect("a free port");
        deaf.connect((address.ip(), 9)).expect("loopback is there");
        let to = deaf.local_addr().expect("it is bound");
        let mut flow = Sender::new(&stamping, to);
        for seq in 0..20 {
            assert_eq!(flow.send(&[b"probe"]).expect("nothing is pending"), 1);
            let queue = &mut flow.stamped.stamps;
            queue.handle_sent(1, Some(key(seq)));
            assert!(queue.given_up.is_empty());
            while stamping.reports.is_empty() || !flow.stamped.stamps.is_empty() {
                stamping.empty(&mut rig.core(), &mut flow.stamped);
            }
            // The entry is there a moment before the error that the next call would be told.
            let _ = flow.stamped.socket.take_error();
            let reports = std::mem::take(&mut stamping.reports);
            let told = |report: &Report| (report.to, report.by, report.trouble);
            let told: Vec<_> = reports.iter().map(told).collect();
            assert_eq!(told, [(to, Some(to.ip()), Trouble::NoPort)]);
            assert!(reports[0].quote.is_empty(), "nobody asks for it");
        }
        assert_drained(&flow.stamped.socket);
    }
    assert_eq!(rig.missing(), 0, "every packet sent has its stamp");
}

/// A stamped stream of the engine's, and its peer.
fn stream(stamping: &Stamping, address: SocketAddr) -> (Stream<()>, TcpStream) {
    let listener = TcpListener::bind(address).expect("a free port");
    let bound = listener.local_addr().expect("it is bound");
    let socket = sys::tcp::open(bound, &Marks::default(), 0).expect("there is a descriptor");
    sys::tcp::connect(&socket, bound).expect("loopback is there");
    let (peer, _) = listener.accept().expect("somebody connects");
    wait_for(|| match socket.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        other => other,
    });
    let stamps = stamping.begin_stream(&socket);
    (Stream::new(socket, Role::Flow, stamps), peer)
}

#[test]
fn messages_on_a_stream_are_stamped_by_their_last_byte() {
    let stamping = Stamping::new(Timestamps::Kernel);
    for address in loopbacks() {
        let (mut stream, mut peer) = stream(&stamping, address);
        let mut came = None;
        while came.is_none() {
            for length in [1, 200, 10_000] {
                let begun = kernel_now();
                let wanted = Some(key(length));
                let message = vec![b'0'; length as usize];
                let written = stream.write(&message, wanted);
                // The peer reads, so the kernel has room.
                assert_eq!(written.expect("it is connected"), Written::All);
                let mut inbox = Inbox::new(1, message.len());
                let mut left = message.len();
                while left > 0 {
                    let incoming = inbox.receive_stream(&peer).expect("bytes");
                    left -= incoming.payload.len();
                    came = incoming.stamps.software;
                }
                let ended = kernel_now();
                // A long message may leave as several packets: the last one bears its number.
                let mut found = None;
                while found.is_none() {
                    let (number, stamps) = transmitted(&stream.stamped.socket);
                    let found_key = stream.stamped.stamps.handle_number(number);
                    found = found_key.map(|key| (key, stamps));
                }
                assert!(stream.stamped.stamps.given_up.is_empty());
                let (found, stamps) = found.expect("it was found");
                assert_eq!(Some(found), wanted);
                let left = stamps.software.expect("it is stamped");
                assert!(begun <= left && left <= ended);
                if let Some(came) = came.filter(|_| length < 1_000) {
                    assert!(left <= came && came <= ended);
                }
            }
            enable(&peer, Level::Software, Numbers::Bytes).expect("Linux stamps");
        }
        assert!(stream.stamped.stamps.is_empty());
        assert_drained(&stream.stamped.socket);
        assert!(matches!(stream.stamped.socket.take_error(), Ok(None)));
        peer.set_nonblocking(true).expect("a socket can be");
        let end = peer.read(&mut [0; 1]).expect_err("all was read");
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn stamps_of_a_stream_that_is_full_come_once_it_moves() {
    let stamping = Stamping::new(Timestamps::Kernel);
    let address = loopbacks()[0];
    let (mut stream, mut peer) = stream(&stamping, address);
    let message = [b'0'; 5_000];
    let (mut seq, mut stamped) = (0, Vec::new());
    let collect = |stream: &mut Stream<()>| {
        let mut found = Vec::new();
        while let Ok(entry) = take_transmitted(&stream.stamped.socket) {
            let (number, _) = entry.expect("the entry is a stamp");
            found.extend(stream.stamped.stamps.handle_number(number));
        }
        found
    };
    // More messages than the kernel takes; the last ones wait together.
    while stream.unwritten() < 4 * message.len() {
        let written = stream.write(&message, Some(key(seq)));
        written.expect("it is connected");
        seq += 1;
        stamped.extend(collect(&mut stream));
    }
    peer.set_nonblocking(true).expect("a socket can be");
    let mut left = seq as usize * message.len();
    let mut chunk = vec![0; 100_000];
    while left > 0 {
        if let Ok(read) = peer.read(&mut chunk) {
            left -= read;
        }
        if stream.unwritten() > 0 {
            let flushed = stream.flush();
            flushed.expect("it is connected");
        }
        stamped.extend(collect(&mut stream));
    }
    while !stream.stamped.stamps.is_empty() {
        stamped.extend(collect(&mut stream));
    }
    assert_drained(&stream.stamped.socket);
    // Every message is accounted for, once, and the last one left with the last byte.
    assert_eq!(stamped.first(), Some(&key(0)));
    assert_eq!(stamped.last(), Some(&key(seq - 1)));
    let given_up = &stream.stamped.stamps.given_up;
    let mut all: Vec<StampKey> = stamped.iter().chain(given_up).copied().collect();
    all.sort_by_key(|key| format!("{key:?}").len() * 1_000_000 + number_of(*key) as usize);
    all.dedup();
    assert_eq!(all.len(), stamped.len() + given_up.len());
    assert_eq!(all.len(), seq as usize);
}

fn number_of(key: StampKey) -> u32 {
    match key.0 {
        Wanted::Reply { seq, .. } => seq,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stamp_that_was_taken_wakes_nobody() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::Kernel);
    let at_once = Some(Duration::ZERO);
    for address in loopbacks() {
        let (mut poll, mut events) = (Poll::new().expect("epoll"), Events::with_capacity(8));
        let peer = UdpSocket::bind(address).expect("a free port");
        let remote = peer.local_addr().expect("it is bound");
        let mut flow = Sender::new(&stamping, remote);
        let (mut stream, _peer) = stream(&stamping, address);
        let registry = poll.registry();
        for (token, fd) in [
            flow.stamped.socket.as_raw_fd(),
            stream.stamped.socket.as_raw_fd(),
        ]
        .iter()
        .enumerate()
        {
            registry
                .register(&mut SourceFd(fd), Token(token), Interest::READABLE)
                .expect("sockets can be watched");
        }
        for seq in 0..10 {
            flow.probe(&mut stamping, &mut rig.core(), seq);
            let written = stream.write(b"probe", Some(key(seq)));
            written.expect("it is connected");
            assert!(stream.stamped.stamps.given_up.is_empty());
            while !(flow.stamped.stamps.is_empty() && stream.stamped.stamps.is_empty()) {
                stamping.collect(&mut rig.core(), &mut flow.stamped);
                stamping.collect(&mut rig.core(), &mut stream.stamped);
            }
            poll.poll(&mut events, at_once).expect("epoll waits");
            assert!(events.is_empty(), "{events:?}");
        }
        assert_eq!(rig.missing(), 0);
    }
}

#[test]
fn user_stamps_set_no_option() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::User);
    let peer = UdpSocket::bind(loopbacks()[0]).expect("a free port");
    let remote = peer.local_addr().expect("it is bound");
    let mut flow = Sender::new(&stamping, remote);
    assert!(stamping.is_ours() && stamping.wanted(Some(key(0))).is_none());
    flow.probe(&mut stamping, &mut rig.core(), 0);
    assert!(flow.stamped.stamps.is_empty());
    assert_drained(&flow.stamped.socket);
    let set =
        getsockopt(&flow.stamped.socket, sockopt::Timestamping).expect("the option can be read");
    assert_eq!(set, TimestampingFlag::empty());
    let mut inbox = Inbox::new(1, 10);
    let stamps = inbox.receive_stream(&peer).expect("a datagram").stamps;
    assert_eq!(stamps, Stamps::default());
    let mut now = rig.clock.now();
    let arrival = stamping.arrival(&mut rig.core(), &mut now, stamps);
    assert_eq!(arrival.stamp, None);
    let own = rig.prober.self_counters();
    assert_eq!(
        (own.stamps_missing_receive, own.stamps_missing_transmit),
        (0, 0)
    );
}

#[test]
fn the_core_hears_of_a_clock_step_before_the_packet() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::Kernel);
    let an_hour_ns = 3_600_000_000_000;
    rig.clock.mislead(an_hour_ns);
    let stamps = Stamps {
        software: Some(kernel_now()),
        hardware: None,
    };
    let mut now = rig.clock.now();
    let arrival = stamping.arrival(&mut rig.core(), &mut now, stamps);
    let stamp = arrival.stamp.expect("the kernel's clock is right");
    assert_eq!(stamp.source, StampSource::Kernel);
    assert_eq!(Some(stamp.at), stamps.software);
    let Some(Output::ClockStep { at, step_ns, .. }) = rig.prober.poll_output() else {
        panic!("a step is told");
    };
    assert!(step_ns < -an_hour_ns / 2 && at.wall.since(stamp.at).abs() < an_hour_ns / 2);
    // A stamp of the clock as it was is none.
    let before = Stamps {
        software: Some(kernel_now().plus(an_hour_ns)),
        hardware: None,
    };
    let mut now = rig.clock.now();
    let arrival = stamping.arrival(&mut rig.core(), &mut now, before);
    assert_eq!(arrival.stamp, None);
    assert!(rig.prober.poll_output().is_none(), "it is the same step");
    assert_eq!(rig.prober.self_counters().stamps_missing_receive, 1);
}

#[test]
fn the_kernel_times_a_handshake() {
    for address in loopbacks() {
        let listener = TcpListener::bind(address).expect("a free port");
        let bound = listener.local_addr().expect("it is bound");
        let probe =
            sys::tcp::open_probe(bound, &Marks::default(), 0).expect("there is a descriptor");
        sys::tcp::connect(&probe, bound).expect("loopback is there");
        let _peer = listener.accept().expect("somebody connects");
        wait_for(|| match probe.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            other => other,
        });
        let handshake = sys::tcp::handshake(&probe);
        assert!(matches!(handshake, Handshake::Done { ns: Some(ns) } if ns > 0));
        assert_eq!(sys::tcp::retransmits(&probe), Some(0));
    }
    let unconnected = UdpSocket::bind(loopbacks()[0]).expect("a free port");
    assert_eq!(
        sys::tcp::handshake(&unconnected),
        Handshake::Failed { code: None }
    );
    assert_eq!(sys::tcp::retransmits(&unconnected), None);
}

#[test]
fn an_interface_whose_clock_is_another_is_left_alone() {
    let mut rig = Rig::new();
    let mut stamping = Stamping::new(Timestamps::Kernel);
    stamping.pretend_hardware();
    let peer = UdpSocket::bind(loopbacks()[0]).expect("a free port");
    let mut flow = Sender::new(&stamping, peer.local_addr().expect("it is bound"));
    assert_eq!(flow.stamped.stamps.level, Some(Level::Hardware));
    for _ in 0..20 {
        let now = kernel_now();
        let stamps = Stamps {
            software: Some(now),
            hardware: Some(now.plus(37_000_000_000)), // International atomic time.
        };
        let mut now = rig.clock.now();
        let stamp = stamping.arrival(&mut rig.core(), &mut now, stamps).stamp;
        assert_eq!(stamp.map(|stamp| stamp.source), Some(StampSource::Kernel));
    }
    flow.probe(&mut stamping, &mut rig.core(), 0);
    assert_eq!(flow.stamped.stamps.level, Some(Level::Software));
    flow.probe(&mut stamping, &mut rig.core(), 1);
    while !flow.stamped.stamps.is_empty() {
        stamping.collect(&mut rig.core(), &mut flow.stamped);
    }
    assert_eq!(rig.missing(), 0, "the numbers go on");
}

/// A listener's buffer is flooded while nobody reads: what is missing is what is counted, of each flood by itself.
#[test]
fn what_a_buffer_has_no_room_for_is_counted() {
    const FLOOD: u64 = 300;
    let mut rig = Rig::new();
    for address in loopbacks() {
        let before = rig.prober.self_counters().receive_dropped;
        let stamping = Stamping::new(Timestamps::User);
        let socket = sys::udp::listen(address, true).expect("a free port");
        SockRef::from(&socket)
            .set_recv_buffer_size(20_000)
            .expect("a small buffer");
        let to = socket.local_addr().expect("it is bound");
        let stamps = stamping.begin_udp(&socket);
        let mut port = UdpPort {
            stamped: Stamped { socket, stamps },
            wait: (),
            dropped: 0,
            may_fragment: true,
        };
        let from = UdpSocket::bind((address.ip(), 0)).expect("a free port");
        let mut inbox = Inbox::new(64, 2_048);
        let (mut sent, mut read) = (0, 0);
        for _ in 0..2 {
            // The last one comes when there is room again, and tells of those before it.
            for count in [FLOOD, 1] {
                for _ in 0..count {
                    from.send_to(&[0; 1_000], to).expect("loopback takes it");
                }
                sent += count;
                while let Ok((count, _)) = inbox.receive(&port.stamped.socket, 64) {
                    for index in 0..count {
                        port.note_dropped(&mut rig.core(), &inbox.datagram(index));
                        read += 1;
                    }
                }
            }
            let counted = rig.prober.self_counters().receive_dropped - before;
            assert_eq!(counted, sent - read);
            assert!(counted > 0, "there was room for all of them");
        }
    }
}
