//! One packet of the native wire: what decodes is within the limits and encodes to what reads back,
//! and an answer is as long as its request, says what it should, and is no request itself.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use latency_monitor::limits::{NAME_BYTES_MAX, TAGS_BYTES_MAX};
use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::wire::native::{
    BASE_BYTES, DecodeError, ErrorEstimate, FollowUp, OurRequest, Reply, ReplyFields, Request,
    RequestFields, decode_reply, decode_request, encode_reply, encode_request,
};
use latency_monitor::proto::{Headers, Key, Stamp, StampSource, Wall};
use libfuzzer_sys::fuzz_target;

/// What a request of ours has besides its labels.
const OTHERS: usize = 132;

const LABEL_BYTES_MIN: usize = 32;

/// Where every request comes from.
static HEADERS: Headers = Headers::new(
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
    None,
    862,
);

/// Where T3 and stamps of earlier replies are, in 2033: NTP's format ends in 2104, and T3 is close to T2.
const LATE_NS: i64 = 2_000_000_000_000_000_000;

/// The last nanosecond that can be written.
const LAST_NS: i64 = (1 << 32) * 1_000_000_000 - 1;

fuzz_target!(|packet: &[u8]| {
    let long = "n\u{e9}".repeat(NAME_BYTES_MAX / 3);
    for name in ["", "host-b", &long] {
        let mut fields = reply_fields(packet, name);
        fields.is_light = decode_request(packet).is_ok_and(|request| request.is_light);
        let mut out = b"before".to_vec();
        encode_reply(&mut out, packet, &fields);
        let reply = out.split_off(b"before".len());
        assert_eq!(out, b"before");
        // Whatever the request is.
        assert_eq!(reply.len(), packet.len().max(BASE_BYTES));
        if let Ok(request) = decode_request(packet) {
            check_reply(packet, &request, &reply, &fields);
        }
    }
    if let Ok(request) = decode_request(packet) {
        check_request(packet, &request);
    }
    check_authenticated(packet);
    if let Ok(reply) = decode_reply(packet) {
        check_foreign_reply(packet, &reply);
    }
});

/// Nobody without the key makes an authenticated packet; what is made of an open one opens as that one, and what
/// does not open is refused whole.
fn check_authenticated(packet: &[u8]) {
    let key = Key::new(&[7; 32]).expect("32 bytes are a key");
    let mut scratch = Vec::new();
    for direction in [Direction::Request, Direction::Reply] {
        assert!(authenticated::open(packet, direction, &key, &mut scratch).is_none());
        for mac_at in [None, Some(BASE_BYTES), Some(packet.len())] {
            if packet.len() < BASE_BYTES {
                continue;
            }
            let mut sealed = packet.to_vec();
            authenticated::seal(&mut sealed, 0, direction, &key, mac_at);
            let Some(opened) = authenticated::open(&sealed, direction, &key, &mut scratch) else {
                continue;
            };
            // A TLV that is longer than the packet takes the HMAC TLV in.
            if opened.mac_at != mac_at {
                continue;
            }
            assert_eq!(opened.packet[BASE_BYTES..], packet[BASE_BYTES..]);
            assert_eq!(opened.packet[..16], packet[..16]);
            let mut again = opened.packet.to_vec();
            authenticated::seal(&mut again, 0, direction, &key, opened.mac_at);
            assert_eq!(again, sealed);
        }
    }
}

fn follow_up(seq: u32, ns: i64, source: StampSource) -> FollowUp {
    FollowUp {
        seq,
        stamp: Stamp {
            at: Wall::from_unix_nanos(ns),
            source,
        },
    }
}

/// An answer that depends on the packet, so that all kinds of stamps come up.
fn reply_fields<'a>(packet: &[u8], name: &'a str) -> ReplyFields<'a> {
    let chosen = packet
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let has = |bit: u8| chosen >> bit & 1 == 1;
    ReplyFields {
        seq: 9,
        sent: Wall::from_unix_nanos(LATE_NS),
        error: ErrorEstimate::from_nanos(has(0), u64::from(chosen) << (chosen % 56)),
        received: Stamp {
            at: Wall::from_unix_nanos(LATE_NS - 587_069_267),
            source: StampSource::Kernel,
        },
        follow_ups: [
            has(1).then_some(follow_up(8, LATE_NS, StampSource::Hw)),
            has(2).then_some(follow_up(7, 1, StampSource::User)),
            has(3).then_some(follow_up(u32::MAX, 1_000_000_000, StampSource::Kernel)),
        ],
        session: 0x0102_0304,
        received_count: 10,
        seen: u64::MAX - u64::from(chosen),
        name,
        headers: Some(&HEADERS),
        is_light: false,
        totals: None,
    }
}

fn check_reply(packet: &[u8], request: &Request<'_>, reply: &[u8], fields: &ReplyFields<'_>) {
    assert_eq!(decode_request(reply), Err(DecodeError::Reply));
    // Times are copied and not written anew: they may be in another format than ours.
    assert_eq!(reply[28..36], packet[4..12]);
    assert_eq!(reply[36..38], packet[12..14]);
    if request.is_light {
        assert_eq!(
            reply.get(BASE_BYTES..),
            packet.get(BASE_BYTES..).or(Some(&[]))
        );
        return;
    }
    let read = decode_reply(reply).expect("we write replies");
    assert_eq!(read.seq, fields.seq);
    assert_eq!(read.sent, fields.sent);
    // The format is the request's.
    assert_eq!(read.error.is_ptp(), request.error.is_ptp());
    assert_eq!(read.error.as_nanos(), fields.error.as_nanos());
    assert_eq!(read.ssid, request.ssid);
    assert_eq!(read.received, fields.received.at);
    assert_eq!(read.sender_seq, request.seq);
    assert_eq!(read.sender_sent, request.sent);
    let [newest, older @ ..] = fields.follow_ups;
    let Some(ours) = read.ours else {
        assert_eq!(request.ours, None);
        // How it was stamped is told less exactly by the TLV that everybody knows.
        let at = |follow_up: FollowUp| (follow_up.seq, follow_up.stamp.at);
        assert!(read.follow_up.is_none() || read.follow_up.map(at) == newest.map(at));
        return;
    };
    assert_eq!(
        request.ours.map(|request| request.cookie),
        Some(ours.cookie)
    );
    assert!(read.follow_up.is_none() || read.follow_up == newest);
    assert_eq!(ours.received_source, Some(fields.received.source));
    assert_eq!(ours.session, fields.session);
    assert_eq!(ours.received, fields.received_count);
    assert_eq!(ours.seen, fields.seen);
    assert_eq!(ours.older, older);
    assert!(ours.name.is_none_or(|name| name == fields.name));
}

fn check_labels(label: &str, bytes_max: usize) {
    assert!(label.len() <= bytes_max);
    assert!(!label.contains('|'));
}

fn check_follow_ups(follow_ups: &[Option<FollowUp>]) {
    for follow_up in follow_ups.iter().flatten() {
        assert!((1..=LAST_NS).contains(&follow_up.stamp.at.as_unix_nanos()));
    }
}

/// The same fields give a request that reads back, of as many bytes if these are enough.
fn check_request(packet: &[u8], request: &Request<'_>) {
    assert_eq!(request.length, packet.len());
    assert!(request.length >= BASE_BYTES || request.is_light);
    assert!(request.error.as_nanos() > 0);
    let Some(ours) = request.ours else { return };
    check_labels(ours.source, NAME_BYTES_MAX);
    check_labels(ours.tags, TAGS_BYTES_MAX);
    check_follow_ups(&ours.follow_ups);
    let mut again = b"before".to_vec();
    encode_request(&mut again, &fields(request, &ours), Some(packet.len()));
    let again = again.split_off(b"before".len());
    let labels = LABEL_BYTES_MIN.max(ours.source.len() + ours.tags.len());
    assert_eq!(again.len(), packet.len().max(OTHERS + labels));
    let read = decode_request(&again).expect("we write requests");
    assert_eq!(read.ours, Some(ours));
    assert_eq!((read.seq, read.ssid), (request.seq, request.ssid));
    if request.error.is_ptp() {
        assert_eq!((read.sent, read.error), (request.sent, request.error));
    }
    // Written by us, it is what we would write.
    let mut twice = Vec::new();
    let ours = read.ours.expect("it is ours");
    encode_request(&mut twice, &fields(&read, &ours), Some(again.len()));
    assert_eq!(twice, again);
}

fn fields<'a>(request: &Request<'_>, ours: &OurRequest<'a>) -> RequestFields<'a> {
    RequestFields {
        dscp: None,
        seq: request.seq,
        sent: request.sent,
        error: request.error,
        ssid: request.ssid,
        cookie: ours.cookie,
        session: ours.session,
        follow_ups: ours.follow_ups,
        offset_ns: ours.offset_ns,
        source: ours.source,
        tags: ours.tags,
    }
}

fn check_foreign_reply(packet: &[u8], reply: &Reply<'_>) {
    assert!(packet.len() >= BASE_BYTES);
    if let Some(ours) = reply.ours {
        check_follow_ups(&ours.older);
        assert!(ours.name.is_none_or(|name| !name.is_empty()));
        check_labels(ours.name.unwrap_or_default(), NAME_BYTES_MAX);
    }
}
