//! STAMP senders that say no name, and what the configuration calls them.

use std::net::Ipv4Addr;

use latency_monitor::limits::REMOTE_LABELS_MAX;
use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::{KeyRing, SenderSpec};

use crate::{DELAY_NS, FORGED_NS, HOST, Reflector, STRANGER, Sender, at, key, sealed};

/// What the configuration calls the STAMP senders of some addresses.
fn sender(from: &str, ssid: Option<u16>, label: &str) -> SenderSpec {
    SenderSpec {
        from: from.parse().expect("a prefix"),
        ssid,
        label: label.into(),
        tags: Vec::new(),
        utc_offset_ns: 0,
        key: None,
    }
}

/// Requests of STAMP senders that say no name are published as the configuration has it, from the second on.
#[test]
fn senders_without_a_name_have_that_of_the_configuration() {
    let mut b = Reflector::new();
    let ahead_ns = 37_000_000_000;
    let senders = [
        sender("192.0.2.1", Some(7), "seven"),
        SenderSpec {
            tags: vec!["site:fra".into()],
            utc_offset_ns: ahead_ns,
            ..sender("192.0.2.1", None, "tai")
        },
        sender("203.0.113.0/24", None, "many"),
    ];
    b.prober.name_senders(b.now(), &senders);
    for seq in 0..10 {
        for (from, ssid, delay_ns) in [
            (at(HOST, 4_000), 7, DELAY_NS),
            (at(HOST, 4_000), 8, DELAY_NS - ahead_ns),
            (at(STRANGER, 862), 0, DELAY_NS),
            // Nobody has named it.
            ("198.51.100.1:862".parse().unwrap(), 0, DELAY_NS),
        ] {
            let request = b.stamp_request(seq, ssid, delay_ns);
            assert!(b.ask(from, &request).is_some());
        }
        b.wait_ms(100);
    }
    for tags in [
        "source:seven,target:b",
        "source:tai,target:b,site:fra",
        "source:many,target:b,address:203.0.113.9",
    ] {
        assert_eq!(b.published(tags), (10, 0), "{tags}: {:?}", b.tags);
    }
    assert_eq!(b.samples.len(), 30, "{:?}", b.tags);

    // Another name for some, and none for others, while they send.
    b.prober.name_senders(
        b.now(),
        &[sender("192.0.2.1", None, "new"), senders[2].clone()],
    );
    for seq in 10..20 {
        for (from, ssid) in [(at(HOST, 4_000), 7), (at(STRANGER, 862), 0)] {
            let request = b.stamp_request(seq, ssid, DELAY_NS);
            b.ask(from, &request);
        }
        b.wait_ms(100);
    }
    assert_eq!(b.published("source:seven,target:b"), (10, 0));
    assert_eq!(b.published("source:new,target:b"), (10, 0));
    let many = b.published("source:many,target:b,address:203.0.113.9");
    assert_eq!(many, (20, 0), "it has its name still");
}

/// Who takes such a name, or fakes such an address from another port, is published apart; and names of
/// strangers leave it its place.
#[test]
fn a_name_that_the_configuration_gives_is_nobody_elses() {
    let mut b = Reflector::new();
    let senders = [sender("192.0.2.1", None, "pe1")];
    b.prober.name_senders(b.now(), &senders);
    let mut native = Sender::stranger("pe1", 1);
    native.hears = true;
    for stranger in 0..2 * u32::try_from(REMOTE_LABELS_MAX).unwrap() {
        let from = at(Ipv4Addr::from_bits(0x0a00_0000 + stranger).into(), 4_000);
        for seq in 0..2 {
            b.ask_text(from, &format!("stranger-{stranger}"), seq, FORGED_NS);
        }
    }
    for seq in 0..200_u8 {
        // Those that take the name come first.
        b.ask_text(at(STRANGER, 4_000), "pe1", seq % 101, FORGED_NS);
        b.ask_native(&mut native, seq.into());
        for (port, delay_ns) in [(862, DELAY_NS), (863, FORGED_NS)] {
            let request = b.stamp_request(seq.into(), 0, delay_ns);
            b.ask(at(HOST, port), &request);
        }
        b.wait_ms(100);
    }
    assert_eq!(b.published("source:pe1,target:b"), (200, 0));
}

/// Of several at one address without identifiers the one has the name, and those that stay have their ports.
#[test]
fn several_senders_at_an_address_are_published_by_their_ports() {
    let mut b = Reflector::new();
    let senders = [sender("192.0.2.1", None, "pe1")];
    b.prober.name_senders(b.now(), &senders);
    for seq in 0..200 {
        for port in [862, 863, 864] {
            let request = b.stamp_request(seq, 0, DELAY_NS);
            b.ask(at(HOST, port), &request);
        }
        b.wait_ms(100);
    }
    assert_eq!(b.published("source:pe1,target:b"), (200, 0));
    for port in [863, 864] {
        let (count, _) = b.published(&format!("source:pe1,target:b,port:{port}"));
        assert!((50..150).contains(&count), "{port}: {count}");
    }
}

/// A sender that has a key is not heard without it, nor is who has it at another address published.
#[test]
fn a_named_sender_with_a_key_is_heard_with_it_only() {
    let named = SenderSpec {
        key: Some(key(9).into()),
        ..sender("192.0.2.1", None, "pe1")
    };
    let mut ring = KeyRing::default();
    ring.add_sender(&named);
    let mut b = Reflector::with(ring.clone());
    let from = at(HOST, 862);
    // It has been there before the key was.
    for seq in 0..3 {
        let open = b.stamp_request(seq, 0, FORGED_NS);
        assert!(b.ask(from, &open).is_some());
    }
    b.prober.name_senders(b.now(), std::slice::from_ref(&named));
    for seq in 0..10 {
        let open = b.stamp_request(seq, 0, FORGED_NS);
        assert!(b.ask(from, &open).is_none());
        let wrong = sealed(&open, &key(8));
        assert!(b.ask(from, &wrong).is_none());
        let right = sealed(&b.stamp_request(seq, 0, DELAY_NS), &key(9));
        let answer = b.ask(from, &right).expect("answered");
        let mut scratch = Vec::new();
        let opened = authenticated::open(&answer, Direction::Reply, &key(9), &mut scratch);
        assert!(opened.is_some());
        let elsewhere = sealed(&open, &key(9));
        b.ask(at(STRANGER, 862), &elsewhere);
        b.wait_ms(100);
    }
    assert_eq!(b.published("source:pe1,target:b"), (10, 0));
    assert_eq!(b.samples.len(), 10, "{:?}", b.tags);
    assert_eq!(b.prober.self_counters().unauthentic, 20);

    // Its key is changed. The one before holds beside it, and then no more.
    let renewed = SenderSpec {
        key: Some(key(10).into()),
        ..named
    };
    for (reload, old_holds) in [(1, true), (2, false)] {
        let mut next = KeyRing::default();
        next.add_sender(&renewed);
        next.succeed(&ring);
        ring = next;
        b.prober.set_keys(ring.clone());
        b.prober
            .name_senders(b.now(), std::slice::from_ref(&renewed));
        for (byte, holds) in [(9, old_holds), (10, true)] {
            let request = sealed(&b.stamp_request(10 * reload, 0, DELAY_NS), &key(byte));
            assert_eq!(
                b.ask(from, &request).is_some(),
                holds,
                "{reload}, key {byte}"
            );
        }
    }
}
