//! What a turn of each engine waits for, and how much it does.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;

use super::Rig;
use crate::engine::{EngineConfig, Kind, SocketOptions, Timestamps};
use crate::limits::ACCEPTS_PER_TURN_MAX;

/// The engines that this system has.
const KINDS: &[Kind] = if cfg!(all(target_os = "linux", not(latency_monitor_portable))) {
    &[Kind::Mio, Kind::IoUring]
} else {
    &[Kind::Mio]
};

/// An engine that listens nowhere.
fn nothing() -> EngineConfig {
    EngineConfig {
        addresses: Vec::new(),
        tcp_port: None,
        udp_ports: Vec::new(),
        spin_ns: 0,
        receive_within_ns: 0,
        timestamps: Timestamps::User,
        sockets: SocketOptions::default(),
    }
}

#[test]
fn another_thread_ends_a_wait_that_goes_on_and_the_next_one() {
    for kind in KINDS {
        let (mut engine, waker) = kind.open(&nothing()).expect("this system allows it");
        let mut rig = Rig::new();
        waker.wake().expect("the engine is there");
        // Nothing else ever ends these.
        engine.wait(&mut rig.core(), None).expect("it waits");
        let waking = thread::spawn(move || waker.wake());
        engine.wait(&mut rig.core(), None).expect("it waits");
        let woken = waking.join().expect("it does not panic");
        woken.expect("the engine is there");
    }
}

/// Many connections wait to be accepted: a turn takes in a few, and none is forgotten.
#[test]
fn a_turn_takes_in_no_more_connections_than_its_share() {
    const SHARE: u64 = ACCEPTS_PER_TURN_MAX as u64;
    const WAITING: u64 = 3 * SHARE + 7;
    let config = EngineConfig {
        addresses: vec![IpAddr::from(Ipv4Addr::LOCALHOST).into()],
        tcp_port: Some(0),
        ..nothing()
    };
    for kind in KINDS {
        let (mut engine, _) = kind.open(&config).expect("this system allows it");
        let to = engine.listening().tcp[0];
        let connect = |_| TcpStream::connect(to).expect("there is room in the backlog");
        let waiting: Vec<_> = (0..WAITING).map(connect).collect();
        // Where nobody has room for a connection, each is counted.
        let mut rig = Rig::new();
        let mut counted = 0;
        while counted < WAITING {
            engine.wait(&mut rig.core(), None).expect("it waits");
            let now = rig.prober.self_counters().refused;
            assert!(now - counted <= SHARE, "{kind:?}");
            counted = now;
        }
        assert_eq!(counted, waiting.len() as u64);
    }
}
