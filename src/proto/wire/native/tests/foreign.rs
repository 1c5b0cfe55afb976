//! Senders that are not ours: without TLVs, with padding of any content, and with those of RFC 8972.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const TO: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

/// What came with a class of 46 (expedited forwarding), and ECN 1.
static HEADERS: Headers = Headers {
    from: SocketAddr::new(FROM, 50_000),
    to: Some(TO),
    port: 862,
    ttl: Some(61),
    tos: Some(46 << 2 | 1),
};

/// Half a second after 1970, in NTP's format.
const HALF: [u8; 8] = [0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0];

fn answer(request: &[u8]) -> Vec<u8> {
    let read = decode_request(request).expect("it is a request");
    let fields = ReplyFields {
        headers: Some(&HEADERS),
        is_light: read.is_light,
        ..reply_fields()
    };
    let mut reply = Vec::new();
    encode_reply(&mut reply, request, &fields);
    reply
}

/// Returns what is answered to the one TLV of a request, flags and type included.
fn answer_to(tlv: &[u8]) -> Vec<u8> {
    let packet = foreign(0x0001, HALF, tlv);
    let reply = answer(&packet);
    assert_eq!(reply.len(), packet.len());
    reply[44..].to_vec()
}

#[test]
fn twamp_lights_14_bytes_are_answered_with_44() {
    let whole = foreign(0x0001, HALF, &[]);
    for length in 14..44 {
        let read = decode_request(&whole[..length]).expect("it is a request");
        assert_eq!((read.seq, read.ssid, read.length), (5, 0, length));
        assert!(read.is_light);
        let reply = answer(&whole[..length]);
        let read = decode_reply(&reply).expect("it is a reply");
        assert_eq!((reply.len(), read.sender_seq), (44, 5));
        assert_eq!(read.sender_sent, Wall::from_unix_nanos(500_000_000));
        assert_eq!(reply[36..], [0, 1, 0, 0, 61, 0, 0, 0]);
    }
}

#[test]
fn what_comes_back_has_the_format_that_was_asked_for() {
    for (error, time) in [(0x0001, HALF), (0x4001, T1_BYTES)] {
        // Follow-Up Telemetry, whose time is in the reply's format.
        let packet = foreign(error, time, &[&[0x80, 7, 0, 16][..], &[0; 16]].concat());
        let reply = answer(&packet);
        assert_eq!(reply[12] & 0x40 != 0, error & 0x4000 != 0);
        let read = decode_reply(&reply).expect("it is a reply");
        assert_eq!(
            (read.sent, read.received),
            (reply_fields().sent, reply_fields().received.at)
        );
        assert_eq!(read.follow_up, reply_fields().follow_ups[0]);
        assert_eq!(reply[40], 61, "the TTL with which it came");
    }
}

#[test]
fn more_nanoseconds_than_a_second_has_are_answered_as_they_came() {
    let packet = foreign(0x4001, [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], &[]);
    let read = decode_request(&packet).expect("it is a request");
    assert_eq!(
        read.sent,
        Wall::from_unix_nanos(1_000_000_000 + i64::from(u32::MAX))
    );
    assert_eq!(answer(&packet)[28..36], packet[4..12]);
}

#[test]
fn a_host_says_what_it_knows() {
    // Stamped by the kernel, by a clock that runs free.
    assert_eq!(
        answer_to(&[0x80, 3, 0, 4, 0, 0, 0, 0]),
        [0, 3, 0, 4, 5, 2, 5, 2]
    );
    // Ten requests received, nine replies sent before.
    let counts = [&[0x80, 5, 0, 12, 0, 0, 0, 77][..], &[0xff; 8]].concat();
    let told = [&[0, 5, 0, 12, 0, 0, 0, 77][..], &[0, 0, 0, 10, 0, 0, 0, 9]].concat();
    assert_eq!(answer_to(&counts), told);
    // Access: 3GPP, not 3GPP, and what is neither.
    for (id, flags) in [(0x10, 0), (0x2f, 0), (0x00, 0x80), (0x30, 0x80)] {
        assert_eq!(
            answer_to(&[0x80, 6, 0, 4, id, 1, 0, 0]),
            [flags, 6, 0, 4, id, 1, 0, 0]
        );
    }
}

/// RFC 8972, section 4.7 (with erratum 8339): with a wrong length the number and the time are zeroed, and M is set;
/// what the sender has put into them is ignored; without a session they are zeros.
#[test]
fn follow_up_telemetry_is_as_the_rfc_has_it() {
    let tlv = |length: usize| {
        let value = vec![0xff; length];
        [
            &[0x80, 7, 0, u8::try_from(length).expect("it is short")][..],
            &value,
        ]
        .concat()
    };
    for length in (0..30).filter(|length| *length != 16) {
        let behind = [0x80, 9, 0, 1, 0xaa];
        let asked = [&tlv(length)[..], &behind].concat();
        let mut told = asked.clone();
        told[0] = 0x40;
        told[4..4 + length.min(12)].fill(0);
        assert_eq!(answer_to(&asked), told, "of {length} bytes");
    }
    // One that goes beyond the packet, cut anywhere.
    let whole = [&[0x80, 7, 0, 16][..], &[0xff; 16]].concat();
    for length in 1..whole.len() {
        let mut told = whole[..length].to_vec();
        told[0] = if length == 1 { 0xc0 } else { 0x40 };
        let fields = 4.min(length)..16.min(length);
        told[fields].fill(0);
        assert_eq!(answer_to(&whole[..length]), told, "cut to {length} bytes");
    }
    // 1.000000008 s after 1970.
    let told = [
        0, 7, 0, 16, 0, 0, 0, 8, 0x83, 0xaa, 0x7e, 0x81, 0, 0, 0, 34, 1, 0, 0, 0,
    ];
    assert_eq!(answer_to(&whole), told, "whatever was in it");
    let stateless = ReplyFields {
        session: 0,
        follow_ups: [None; 3],
        ..reply_fields()
    };
    let mut reply = Vec::new();
    encode_reply(&mut reply, &foreign(0x0001, HALF, &whole), &stateless);
    assert_eq!(reply[44..], [&[0, 7, 0, 16][..], &[0; 16]].concat());
}

#[test]
fn the_class_of_service_that_is_asked_for_is_the_replys() {
    // 10 (AF11) is asked for; 46 with ECN 1 has come: 001010 10, 1110 01 00.
    let asked = [0x80, 4, 0, 4, 0b0010_1011, 0xff, 0xff, 0xff];
    let came = [0, 4, 0, 4, 0b0010_1010, 0b1110_0100, 0, 0];
    assert_eq!(answer_to(&asked), came);
    assert_eq!(wanted_tos(&foreign(1, HALF, &asked)), Some(0b0010_1000));
    assert_eq!(wanted_tos(&foreign(1, HALF, &asked[..7])), None);
}

#[test]
fn a_location_is_the_ports_and_the_addresses() {
    let part =
        |kind: u8, bytes: u8| [vec![0x80, kind, 0, bytes], vec![0xff; bytes.into()]].concat();
    let told = |kind: u8, value: &[u8], bytes: u8| {
        let mut part = vec![0, kind, 0, bytes];
        part.extend_from_slice(value);
        part.resize(4 + usize::from(bytes), 0);
        part
    };
    let location = |parts: &[Vec<u8>]| {
        let parts = parts.concat();
        let length = u8::try_from(4 + parts.len()).expect("it is short");
        [&[0x80, 2, 0, length, 0, 0, 0, 0][..], &parts].concat()
    };
    let asked = location(&[
        part(1, 8),
        part(4, 16),
        part(7, 16),
        part(99, 1),
        part(4, 15),
        part(7, 16),
    ]);
    let IpAddr::V6(to) = TO else { unreachable!() };
    let parts = [
        told(3, &[], 8),
        told(6, &to.octets(), 16),
        told(8, &[192, 0, 2, 1], 16),
        part(99, 1),
        // A wrong length, and nothing is read behind it.
        [&[0x40][..], &part(4, 15)[1..]].concat(),
        part(7, 16),
    ];
    let answered = answer_to(&asked);
    assert_eq!(answered[..8], [0, 2, 0, asked[3], 3, 94, 0xc3, 0x50]);
    assert_eq!(answered[8..], parts.concat());
    // One that ends too early.
    let cut = location(&[vec![0x80, 4, 0, 16, 0]]);
    assert_eq!(answer_to(&cut)[8..], [0x40, 4, 0, 16, 0]);
}

#[test]
fn what_a_reflector_sends_or_says_in_letters_is_not_answered() {
    for request in [
        foreign(0x0001, HALF, &[]),
        foreign(0x4001, T1_BYTES, &[]),
        request(None),
    ] {
        // As short as the shortest replies of others, and as padded.
        let reply = [answer(&request), vec![7; 100]].concat();
        for length in 38..reply.len() {
            assert_eq!(
                decode_request(&reply[..length]),
                Err(DecodeError::Reply),
                "{length}"
            );
        }
        // A reflector that does not say when the request came in does say when it left.
        let mut reply = answer(&request);
        reply[16..24].fill(0);
        reply[28..32].copy_from_slice(&request[4..8]);
        reply[4..8].copy_from_slice(&request[4..8]);
        assert_eq!(decode_request(&reply), Err(DecodeError::Reply));
    }
    // Nor is what one sends under a key, to who lacks that key.
    let key = authenticated::Key::new(&[7; 32]).expect("32 bytes are a key");
    for request in [foreign(0x0001, HALF, &[]), foreign(0x4001, T1_BYTES, &[])] {
        let reply = [answer(&request), vec![7; 100]].concat();
        let mut sealed = reply.clone();
        authenticated::seal(
            &mut sealed,
            0,
            authenticated::Direction::Reply,
            &key,
            Some(44),
        );
        // One that does not say when the request came in.
        let mut without = sealed.clone();
        without[32..40].fill(0);
        let at = without[16..20].to_vec();
        without[64..68].copy_from_slice(&at);
        for packet in [sealed, without] {
            for length in authenticated::AUTHENTICATED_BYTES..packet.len() {
                let read = decode_request(&packet[..length]);
                assert_eq!(read, Err(DecodeError::Reply), "{length}");
            }
        }
    }
    assert_eq!(
        decode_request(b"0|host|17682191|[]|000"),
        Err(DecodeError::Text)
    );
    assert_eq!(decode_request(&[b'#'; 74]), Err(DecodeError::Text));
    // Without a clock all its times are zero.
    let mut timeless = [0; 44];
    timeless[20] = 1;
    assert!(decode_request(&timeless).is_ok_and(|request| request.is_light));
}

proptest! {
    /// RFC 5357 has senders pad with random bytes.
    #[test]
    fn padding_may_be_anything(padding in prop::collection::vec(any::<u8>(), 0..200)) {
        let packet = [&foreign(0x4001, T1_BYTES, &[])[..14], &padding].concat();
        // The seconds of T1 in the place of T2 or of the sender's time make it a reply; luck does not.
        let seconds = |at: usize| packet.get(at..at + 4).map(|bytes| u32_at(bytes, 0));
        let near = |other: Option<u32>| other.is_some_and(|other| other.abs_diff(0x6964_e1fe) <= 8);
        prop_assume!(!near(seconds(16)) && !near(seconds(28)));
        let read = decode_request(&packet).expect("it is a request");
        prop_assert_eq!((read.seq, read.sent), (5, T1));
        let reply = answer(&packet);
        prop_assert_eq!(reply.len(), packet.len().max(44));
        if read.is_light {
            prop_assert_eq!(read.ssid, 0);
            prop_assert_eq!(reply.get(44..), packet.get(44..).or(Some(&[])));
        }
        prop_assert_eq!(decode_request(&reply), Err(DecodeError::Reply));
    }
}

/// Ours have the Class of Service TLV first, and read in it what they arrived with.
#[test]
fn a_request_of_ours_says_which_class_its_reply_is_to_have() {
    let arrived = Dscp::new(46).expect("six bits");
    for (dscp, size) in [(0, None), (34, Some(300)), (63, None)] {
        let fields = RequestFields {
            dscp: Dscp::new(dscp),
            ..request_fields()
        };
        let mut request = Vec::new();
        encode_request(&mut request, &fields, size);
        assert_eq!(request.len(), size.unwrap_or(172));
        assert_eq!(request[44..52], [0x80, 4, 0, 4, dscp << 2, 0, 0, 0]);
        assert_eq!(wanted_tos_of_ours(&request), Some(dscp << 2));
        let read = decode_request(&request).expect("it is a request");
        assert_eq!(read.ours.map(|ours| ours.cookie), Some(fields.cookie));
        let class = decode_reply(&answer(&request)).map(|reply| reply.class);
        let is_as_asked = true;
        let expected = ClassOfService {
            arrived,
            is_as_asked,
        };
        assert_eq!(class, Ok(Some(expected)));
    }
    let mut request = Vec::new();
    encode_request(&mut request, &request_fields(), None);
    assert_eq!((request.len(), wanted_tos_of_ours(&request)), (164, None));
    assert_eq!(decode_reply(&answer(&request)).map(|it| it.class), Ok(None));
}
