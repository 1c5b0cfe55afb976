//! Packets of any content: what is written reads back, and what is not ours does no harm.

use proptest::prelude::*;

use super::*;

fn any_follow_up() -> impl Strategy<Value = Option<FollowUp>> {
    let source = prop_oneof![
        Just(StampSource::User),
        Just(StampSource::Kernel),
        Just(StampSource::Hw)
    ];
    proptest::option::of(
        (any::<u32>(), 1_i64..4_294_967_296_000_000_000, source)
            .prop_map(|(seq, ns, source)| follow_up(seq, ns, source)),
    )
}

/// Bytes that have the form of a packet at least as far as luck would not bring them.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let tlv = prop_oneof![
        (
            any::<u8>(),
            any::<u8>(),
            prop::collection::vec(any::<u8>(), 0..20)
        ),
        (
            any::<u8>(),
            Just(7),
            prop::collection::vec(any::<u8>(), 16..=16)
        ),
        (
            any::<u8>(),
            Just(252),
            prop::collection::vec(any::<u8>(), 60..120).prop_map(|mut value| {
                value[..4].copy_from_slice(b"LMon");
                value
            })
        ),
    ]
    .prop_map(|(flags, code, value)| {
        let length = u8::try_from(value.len()).expect("it is short");
        [&[flags, code, 0, length][..], &value].concat()
    });
    let base = prop_oneof![
        prop::collection::vec(any::<u8>(), 44..=44),
        prop::collection::vec(any::<u8>(), 16..=16).prop_map(|base| [&base[..], &[0; 28]].concat()),
    ];
    let whole = (
        base,
        prop::collection::vec(tlv, 0..6),
        prop::collection::vec(any::<u8>(), 0..5),
    )
        .prop_map(|(base, tlvs, rest)| [base, tlvs.concat(), rest].concat());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), whole]
}

proptest! {
    #[test]
    fn nothing_panics_and_lengths_are_kept(packet in any_packet(), name in ".{0,40}") {
        let _ = decode_reply(&packet);
        let mut reply = Vec::new();
        let request = decode_request(&packet);
        let is_light = request.is_ok_and(|request| request.is_light);
        let fields = ReplyFields { name: &name, is_light, ..reply_fields() };
        encode_reply(&mut reply, &packet, &fields);
        prop_assert_eq!(reply.len(), packet.len().max(44));
        if let Ok(request) = request {
            prop_assert_eq!(request.length, packet.len());
            prop_assert_eq!(decode_request(&reply), Err(DecodeError::Reply));
            // Behind the base of a light one there is anything.
            if !name.contains('|') && !is_light {
                let read = decode_reply(&reply).expect("we write replies");
                prop_assert_eq!(read.sender_seq, request.seq);
                prop_assert_eq!(read.sender_sent, request.sent);
                prop_assert_eq!(read.ssid, request.ssid);
                let cookie = request.ours.map(|ours| ours.cookie);
                prop_assert_eq!(read.ours.map(|ours| ours.cookie), cookie);
            }
        }
    }

    #[test]
    fn requests_read_back(
        (seq, ssid, cookie, session) in any::<(u32, u16, u32, u32)>(),
        sent in 0_i64..4_294_967_296_000_000_000,
        error in any::<(bool, u64)>(),
        follow_ups in (any_follow_up(), any_follow_up()),
        offset_ns in any::<Option<i64>>(),
        (source, tags) in ("[^|]{0,40}", "[^|]{0,60}"),
        size in proptest::option::of(0_usize..65_536),
    ) {
        let follow_ups = follow_ups.into();
        let fields = RequestFields {
            dscp: None,
            seq,
            sent: Wall::from_unix_nanos(sent),
            error: ErrorEstimate::from_nanos(error.0, error.1),
            ssid,
            cookie,
            session,
            follow_ups,
            offset_ns,
            source: &source,
            tags: &tags,
        };
        let mut packet = Vec::new();
        encode_request(&mut packet, &fields, size);
        let length = size.unwrap_or(0).max(132 + 32.max(source.len() + tags.len()));
        prop_assert_eq!(packet.len(), length);
        let ours = OurRequest {
            cookie,
            session,
            follow_ups,
            offset_ns,
            source: &source,
            tags: &tags,
        };
        let read = Request {
            seq,
            sent: fields.sent,
            error: fields.error,
            ssid,
            length,
            is_light: false,
            ours: Some(ours),
        };
        prop_assert_eq!(decode_request(&packet), Ok(read));
    }

    #[test]
    fn replies_read_back(
        (seq, session, received_count, seen) in any::<(u32, u32, u32, u64)>(),
        sent in 0_i64..4_294_967_296_000_000_000,
        received in (0_i64..4_294_967_296_000_000_000, any::<bool>()),
        follow_ups in (any_follow_up(), any_follow_up(), any_follow_up()),
        name in "[^|]{0,40}",
        size in 164_usize..2_000,
        totals in prop::option::of((any::<u32>(), any::<Option<u32>>())),
    ) {
        let totals = totals.map(|(kept_us, steal_us)| HostTotals { kept_us, steal_us });
        let source = if received.1 { StampSource::User } else { StampSource::Hw };
        let fields = ReplyFields {
            seq,
            sent: Wall::from_unix_nanos(sent),
            error: ErrorEstimate::from_nanos(true, seen),
            received: Stamp { at: Wall::from_unix_nanos(received.0), source },
            follow_ups: follow_ups.into(),
            session,
            received_count,
            seen,
            name: &name,
            headers: None,
            is_light: false,
            totals,
        };
        let packet = request(Some(size));
        let mut reply = Vec::new();
        encode_reply(&mut reply, &packet, &fields);
        prop_assert_eq!(reply.len(), packet.len());
        let [newest, older @ ..] = fields.follow_ups;
        let fits = !name.is_empty() && name.len() <= 32 + if size < 168 { size - 164 } else { 0 };
        let ours = OurReply {
            received_source: Some(source),
            cookie: 0xdead_beef,
            session,
            received: received_count,
            seen,
            older,
            totals,
            name: fits.then_some(&name[..]),
        };
        let read = Reply {
            seq,
            sent: fields.sent,
            error: fields.error,
            ssid: 0xabcd,
            received: fields.received.at,
            sender_seq: 0x0102_0304,
            sender_sent: T1,
            ttl: 255,
            follow_up: newest,
            class: None,
            ours: Some(ours),
        };
        prop_assert_eq!(decode_reply(&reply), Ok(read));
    }
}
