//! Packets as the document lays them out, byte by byte, and what foreign ones come to.

mod foreign;
mod random;

use super::*;

const T1: Wall = Wall::from_unix_nanos(1_768_219_134_587_069_267);
const T1_BYTES: [u8; 8] = [0x69, 0x64, 0xe1, 0xfe, 0x22, 0xfd, 0xf7, 0x53];

/// A synchronised clock that is wrong by a millisecond at most.
const ERROR: ErrorEstimate = ErrorEstimate::from_bits(0xcf84);

/// Where our value is in a request of ours.
const OURS: usize = 44 + 20 + 4;

fn follow_up(seq: u32, ns: i64, source: StampSource) -> FollowUp {
    FollowUp {
        seq,
        stamp: Stamp {
            at: Wall::from_unix_nanos(ns),
            source,
        },
    }
}

fn request_fields() -> RequestFields<'static> {
    RequestFields {
        dscp: None,
        seq: 0x0102_0304,
        sent: T1,
        error: ERROR,
        ssid: 0xabcd,
        cookie: 0xdead_beef,
        session: 0x5566_7788,
        follow_ups: [
            Some(follow_up(0x0102_0303, 1_000_000_007, StampSource::Kernel)),
            Some(follow_up(0x0102_0302, 1_000_000_006, StampSource::Hw)),
        ],
        offset_ns: Some(-2),
        source: "host-a",
        tags: "['x']",
    }
}

fn reply_fields() -> ReplyFields<'static> {
    ReplyFields {
        seq: 9,
        sent: Wall::from_unix_nanos(3_000_000_003),
        error: ErrorEstimate::from_bits(0x4001),
        received: Stamp {
            at: Wall::from_unix_nanos(2_000_000_002),
            source: StampSource::Kernel,
        },
        follow_ups: [
            Some(follow_up(8, 1_000_000_008, StampSource::Hw)),
            Some(follow_up(7, 1_000_000_007, StampSource::Kernel)),
            Some(follow_up(6, 1_000_000_006, StampSource::User)),
        ],
        session: 0x0a0b_0c0d,
        received_count: 10,
        seen: 0x8000_0000_0000_0001,
        name: "host-b",
        headers: None,
        is_light: false,
        totals: Some(HostTotals {
            kept_us: 0x0102_0304,
            steal_us: Some(0x0506_0708),
        }),
    }
}

fn request(size: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&mut out, &request_fields(), size);
    out
}

fn reply_to(request: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode_reply(&mut out, request, &reply_fields());
    let reply = out.split_off(6);
    assert_eq!(out, b"before");
    assert_eq!(reply.len(), request.len().max(44));
    reply
}

/// A request without anything of ours: its base, and then these TLVs.
fn foreign(error: u16, time: [u8; 8], tlvs: &[u8]) -> Vec<u8> {
    let error = error.to_be_bytes();
    [&[0, 0, 0, 5][..], &time, &error, &[0; 30], tlvs].concat()
}

/// A value of ours in a request, with a name and tags of these lengths and these labels.
fn ours(name_length: u8, tags_length: u16, labels: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(64 + labels.len())
        .expect("it is short")
        .to_be_bytes();
    let mut tlv = vec![0x80, 252, high, low];
    tlv.extend_from_slice(b"LMon\x01\x00\x00");
    tlv.push(name_length);
    tlv.extend_from_slice(&[0; 52]);
    tlv.extend_from_slice(&tags_length.to_be_bytes());
    tlv.extend_from_slice(&[0; 2]);
    tlv.extend_from_slice(labels);
    tlv
}

/// What [`request_fields`] looks like without padding, from the document.
fn request_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes.extend_from_slice(&T1_BYTES);
    bytes.extend_from_slice(&[0xcf, 0x84, 0xab, 0xcd]);
    bytes.extend_from_slice(&[0; 28]);
    // Follow-Up Telemetry.
    bytes.extend_from_slice(&[0x80, 7, 0, 16]);
    bytes.extend_from_slice(&[0; 16]);
    // Ours: 64 bytes and a label area of 32.
    bytes.extend_from_slice(&[0x80, 252, 0, 96]);
    bytes.extend_from_slice(b"LMon");
    // Version; the offset is valid; A by the kernel, B by the interface; six letters.
    bytes.extend_from_slice(&[1, 0x02, 0b1110_0000, 6]);
    bytes.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    bytes.extend_from_slice(&[0x55, 0x66, 0x77, 0x88]);
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&[1, 2, 3, 3, 0, 0, 0, 1, 0, 0, 0, 7]);
    bytes.extend_from_slice(&[1, 2, 3, 2, 0, 0, 0, 1, 0, 0, 0, 6]);
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    bytes.extend_from_slice(&[0, 5, 0, 0]);
    bytes.extend_from_slice(b"host-a['x']");
    bytes.extend_from_slice(&[0; 21]);
    bytes
}

/// What [`reply_fields`] answers to that, from the document.
fn reply_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&[0, 0, 0, 9]);
    bytes.extend_from_slice(&[0, 0, 0, 3, 0, 0, 0, 3]);
    bytes.extend_from_slice(&[0x40, 0x01, 0xab, 0xcd]);
    bytes.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 2]);
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes.extend_from_slice(&T1_BYTES);
    bytes.extend_from_slice(&[0xcf, 0x84, 0, 0]);
    bytes.extend_from_slice(&[255, 0, 0, 0]);
    // The newest T3, by the hardware.
    bytes.extend_from_slice(&[0, 7, 0, 16]);
    bytes.extend_from_slice(&[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 8, 1, 0, 0, 0]);
    bytes.extend_from_slice(&[0, 252, 0, 96]);
    bytes.extend_from_slice(b"LMon");
    // Version; a reply, with both totals; T2 kernel, telemetry hardware, A kernel, B process; six letters.
    bytes.extend_from_slice(&[1, 0x0d, 0b0110_1110, 6]);
    bytes.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    bytes.extend_from_slice(&[0x0a, 0x0b, 0x0c, 0x0d]);
    bytes.extend_from_slice(&[0, 0, 0, 10]);
    bytes.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 7]);
    bytes.extend_from_slice(&[0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 6]);
    bytes.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(b"host-b");
    bytes.extend_from_slice(&[0; 26]);
    bytes
}

#[test]
fn a_request_is_laid_out_as_documented() {
    assert_eq!(request(None), request_bytes());
    let fields = request_fields();
    assert_eq!(
        decode_request(&request_bytes()),
        Ok(Request {
            seq: 0x0102_0304,
            sent: T1,
            error: ERROR,
            ssid: 0xabcd,
            length: 164,
            is_light: false,
            ours: Some(OurRequest {
                cookie: 0xdead_beef,
                session: 0x5566_7788,
                follow_ups: fields.follow_ups,
                offset_ns: Some(-2),
                source: "host-a",
                tags: "['x']",
            }),
        })
    );
}

#[test]
fn a_reply_is_laid_out_as_documented() {
    assert_eq!(reply_to(&request_bytes()), reply_bytes());
    let fields = reply_fields();
    let [newest, older @ ..] = fields.follow_ups;
    assert_eq!(
        decode_reply(&reply_bytes()),
        Ok(Reply {
            seq: 9,
            sent: fields.sent,
            error: fields.error,
            ssid: 0xabcd,
            received: fields.received.at,
            sender_seq: 0x0102_0304,
            sender_sent: T1,
            ttl: 255,
            follow_up: newest,
            class: None,
            ours: Some(OurReply {
                received_source: Some(StampSource::Kernel),
                cookie: 0xdead_beef,
                session: 0x0a0b_0c0d,
                received: 10,
                seen: 0x8000_0000_0000_0001,
                older,
                totals: fields.totals,
                name: Some("host-b"),
            }),
        })
    );
}

#[test]
fn padding_gives_every_size_exactly() {
    for size in 0..=164 {
        assert_eq!(request(Some(size)), request(None), "{size}");
    }
    // Too little for a TLV: the label area takes it.
    for extra in 1..=3 {
        let padded = request(Some(164 + extra));
        assert_eq!(padded.len(), 164 + extra);
        let length = 96 + u8::try_from(extra).expect("it is little");
        assert_eq!(padded[OURS - 4..OURS], [0x80, 252, 0, length]);
    }
    assert_eq!(request(Some(168))[164..], [0x80, 1, 0, 0]);
    assert_eq!(request(Some(170))[164..], [0x80, 1, 0, 2, 0, 0]);
    let jumbo = request(Some(9_000));
    assert_eq!(jumbo[164..170], [0x80, 1, 0x22, 0x80, 0, 0]);
    for size in [65_533, 65_535, usize::MAX] {
        let largest = request(Some(size));
        assert_eq!(largest.len(), size.min(65_535));
        let read = decode_request(&largest).expect("it is a request");
        assert_eq!(
            read.ours,
            decode_request(&request(None)).expect("it is ours").ours
        );
    }
}

#[test]
fn labels_that_are_too_long_are_not_sent() {
    let long_name = "\u{e9}".repeat(200);
    let long_tags = "t".repeat(TAGS_BYTES_MAX + 1);
    let mut out = Vec::new();
    let fields = RequestFields {
        source: &long_name,
        tags: &long_tags,
        ..request_fields()
    };
    encode_request(&mut out, &fields, None);
    let ours = decode_request(&out)
        .expect("it is a request")
        .ours
        .expect("it is ours");
    assert_eq!((ours.source, ours.tags), (&long_name[..254], ""));

    let fields = RequestFields {
        source: &long_name[..254],
        tags: &long_tags[1..],
        ..request_fields()
    };
    out.clear();
    encode_request(&mut out, &fields, None);
    let ours = decode_request(&out)
        .expect("it is a request")
        .ours
        .expect("it is ours");
    assert_eq!((ours.source, ours.tags), (fields.source, fields.tags));
}

#[test]
fn a_sender_that_knows_nothing_of_us_is_answered() {
    // NTP, no identifier, no TLVs: half a second after 1970.
    let packet = foreign(0x0001, [0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0], &[]);
    let read = decode_request(&packet).expect("it is a request");
    assert_eq!((read.seq, read.ssid, read.length), (5, 0, 44));
    assert_eq!(read.sent, Wall::from_unix_nanos(500_000_000));
    assert_eq!(read.ours, None);

    // In its format, too: 3.000000003 s and 2.000000002 s after 1970.
    let reply = reply_to(&packet);
    assert_eq!(reply[..4], [0, 0, 0, 9]);
    assert_eq!(reply[4..12], [0x83, 0xaa, 0x7e, 0x83, 0, 0, 0, 13]);
    assert_eq!(reply[12..16], [0x00, 0x01, 0, 0]);
    assert_eq!(reply[16..24], [0x83, 0xaa, 0x7e, 0x82, 0, 0, 0, 9]);
    assert_eq!(reply[24..28], [0, 0, 0, 5]);
    assert_eq!(reply[28..36], packet[4..12], "its own format");
    assert_eq!(reply[36..], [0, 1, 0, 0, 255, 0, 0, 0]);
    let read = decode_reply(&reply).expect("it is a reply");
    assert_eq!(read.sender_sent, Wall::from_unix_nanos(500_000_000));
    assert_eq!(read.sent, reply_fields().sent);
    assert_eq!((read.follow_up, read.ours), (None, None));
}

#[test]
fn flags_say_what_was_understood() {
    let private = ours(0, 0, b"");
    let other = [&[0x80, 252, 0, 5][..], b"LMoon"].concat();
    for (tlvs, flags) in [
        // Known, whatever the sender set.
        (vec![0x80, 1, 0, 2, 0xaa, 0xbb], 0),
        (vec![0xff, 1, 0, 0], 0),
        (private.clone(), 0),
        ([&[0x80, 7, 0, 16][..], &[0; 16]].concat(), 0),
        // Unknown: HMAC, and private ones of others. Without headers nobody can say a location.
        (vec![0x80, 2, 0, 4, 0, 0, 0, 0], 0x80),
        (vec![0x80, 9, 0, 2, 0xaa, 0xbb], 0x80),
        (vec![0x00, 8, 0, 1, 0xaa], 0x80),
        (other, 0x80),
        (ours(0, 0, b"")[..63].to_vec(), 0xc0),
        // Malformed.
        (vec![0x80, 1, 0, 3, 0xaa, 0xbb], 0x40),
        (vec![0x80, 7, 0, 2, 0xaa, 0xbb], 0x40),
        (vec![0x80, 2, 0, 2, 0xaa, 0xbb], 0x40),
        (vec![0x80, 3, 0, 5, 0, 0, 0, 0, 0], 0x40),
        (vec![0x80, 9, 0xff, 0xff, 0xaa], 0xc0),
        (vec![0x80, 1, 0], 0x40),
        (vec![0x80], 0xc0),
    ] {
        let packet = foreign(0x4001, T1_BYTES, &tlvs);
        assert!(decode_request(&packet).is_ok(), "{tlvs:?}");
        let reply = reply_to(&packet);
        assert_eq!(reply[44], flags, "{tlvs:?}");
        if !matches!(tlvs[..], [_, 7, 0, ..]) && tlvs != private {
            assert_eq!(reply[45..], packet[45..], "as it came: {tlvs:?}");
        }
    }
}

#[test]
fn what_is_written_says_in_which_format() {
    let error = ErrorEstimate::from_bits(0x8001);
    let fields = RequestFields {
        error,
        ..request_fields()
    };
    let mut packet = Vec::new();
    encode_request(&mut packet, &fields, None);
    assert_eq!(packet[12..14], [0xc0, 0x01], "times are PTP");
    let fields = ReplyFields {
        error,
        ..reply_fields()
    };
    let mut reply = Vec::new();
    encode_reply(&mut reply, &packet, &fields);
    assert_eq!(reply[12..14], [0xc0, 0x01]);
}

#[test]
fn nothing_is_read_behind_what_is_malformed() {
    let tlvs = [
        &[0x80, 9, 0, 0][..],
        &[0x80, 7, 0, 1, 0xaa],
        &ours(0, 0, b""),
    ]
    .concat();
    let packet = foreign(0x4001, T1_BYTES, &tlvs);
    assert_eq!(decode_request(&packet).expect("it is a request").ours, None);
    let reply = reply_to(&packet);
    assert_eq!(reply[48], 0x40);
    assert_eq!(reply[49..53], [7, 0, 1, 0]);
    assert_eq!(reply[53..], packet[53..]);
    let read = decode_reply(&reply).expect("it is a reply");
    assert_eq!((read.follow_up, read.ours), (None, None));
}

#[test]
fn the_first_of_ours_counts() {
    let tlvs = [ours(1, 0, b"a"), ours(1, 0, b"b")].concat();
    let packet = foreign(0x4001, T1_BYTES, &tlvs);
    let read = decode_request(&packet).expect("it is a request");
    assert_eq!(read.ours.map(|ours| ours.source), Some("a"));
    let reply = reply_to(&packet);
    assert_eq!((reply[44], reply[44 + 69]), (0, 0x80));
    assert_eq!(reply[44 + 70..], packet[44 + 70..]);
}

#[test]
fn a_reply_is_no_request() {
    for packet in [request(None), request(Some(500)), foreign(0, T1_BYTES, &[])] {
        assert_eq!(decode_request(&reply_to(&packet)), Err(DecodeError::Reply));
    }
    let mut marked = request(None);
    marked[OURS + 5] |= 0x01;
    assert_eq!(decode_request(&marked), Err(DecodeError::Reply));
}

#[test]
fn a_request_that_comes_back_has_nothing_of_a_reflector_in_it() {
    let echo = request(None);
    let read = decode_reply(&echo).expect("it has the form of one");
    assert_eq!((read.follow_up, read.ours), (None, None));
    assert_eq!(
        read.sender_sent,
        Wall::from_unix_nanos(2_085_978_496_000_000_000)
    );
    // Nor if the reflector says that it knows the type, as one with a use of its own for it may.
    let mut echo = echo;
    echo[OURS - 4] = 0;
    assert_eq!(decode_reply(&echo).expect("as before").ours, None);
}

#[test]
fn refuses_what_is_no_packet() {
    let request = request(None);
    let reply = reply_to(&request);
    for length in 0..44 {
        let is_head = decode_request(&request[..length]) != Err(DecodeError::Truncated);
        assert_eq!(is_head, length >= 14);
        assert_eq!(decode_reply(&reply[..length]), Err(DecodeError::Truncated));
    }
    // A billion nanoseconds, in each of the times.
    for (packet, times) in [
        (&request, &[OURS + 32, OURS + 44][..]),
        (&reply, &[4, 16, 44 + 8, OURS + 32, OURS + 44]),
    ] {
        for time in times {
            let mut packet = packet.clone();
            packet[time + 4..time + 8].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
            let result = if *packet == request[..] || packet[40] == 0 {
                decode_request(&packet).map(|_| ())
            } else {
                decode_reply(&packet).map(|_| ())
            };
            assert_eq!(result, Err(DecodeError::Timestamp), "at {time}");
        }
    }
}

#[test]
fn refuses_labels_that_are_none() {
    let long_tags = "t".repeat(TAGS_BYTES_MAX + 1);
    let tags_bytes = u16::try_from(long_tags.len()).expect("it has 16 bits");
    for (tlv, error) in [
        (ours(1, 0, b""), DecodeError::Name),
        (ours(255, 0, &[b'n'; 254]), DecodeError::Name),
        (ours(1, 0, b"\xff"), DecodeError::Name),
        (ours(3, 0, b"a|b"), DecodeError::Name),
        // Half of a letter is the tags'.
        (ours(1, 1, "\u{e9}".as_bytes()), DecodeError::Name),
        (ours(0, 1, b""), DecodeError::Tags),
        (ours(2, 2, b"abc"), DecodeError::Tags),
        (ours(0, u16::MAX, b"abc"), DecodeError::Tags),
        (ours(0, 1, b"|"), DecodeError::Tags),
        (ours(1, 1, b"a\xff"), DecodeError::Tags),
        (ours(0, tags_bytes, long_tags.as_bytes()), DecodeError::Tags),
    ] {
        let packet = foreign(0x4001, T1_BYTES, &tlv);
        assert_eq!(decode_request(&packet), Err(error), "{tlv:?}");
    }
    for (length, label, error) in [
        (33, &b"n"[..], DecodeError::Name),
        (1, b"\xff", DecodeError::Name),
        (1, b"|", DecodeError::Name),
    ] {
        let mut reply = reply_bytes();
        reply[OURS + 7] = length;
        reply[OURS + 64..OURS + 64 + label.len()].copy_from_slice(label);
        assert_eq!(decode_reply(&reply), Err(error), "{label:?}");
    }
}

#[test]
fn later_versions_are_read_as_far_as_they_are_known() {
    let mut packet = request(Some(200));
    packet[OURS + 4] = 2;
    packet[OURS + 5] |= 0xf0;
    packet[OURS + 62] = 7;
    let read = decode_request(&packet).expect("it is a request");
    assert_eq!(read.ours.map(|ours| ours.source), Some("host-a"));
    let reply = reply_to(&packet);
    assert_eq!(reply[OURS + 4..OURS + 6], [1, 0x0d], "what we speak");
}

#[test]
fn a_name_that_does_not_fit_is_left_out() {
    let long = "n".repeat(33);
    for (name, size, read) in [
        ("", None, None),
        (&long[..32], None, Some(&long[..32])),
        (&long, None, None),
        (&long, Some(165), Some(&long[..])),
    ] {
        let mut reply = Vec::new();
        let fields = ReplyFields {
            name,
            ..reply_fields()
        };
        encode_reply(&mut reply, &request(size), &fields);
        let ours = decode_reply(&reply)
            .expect("it is a reply")
            .ours
            .expect("it is ours");
        assert_eq!(ours.name, read);
    }
    // Nothing of the request's labels is left.
    assert_eq!(reply_to(&request(None))[OURS + 70..OURS + 96], [0; 26]);
    // 255 is the most that its length can say.
    let endless = "n".repeat(256);
    let mut reply = Vec::new();
    let fields = RequestFields {
        tags: &endless,
        ..request_fields()
    };
    encode_request(&mut reply, &fields, None);
    let request = std::mem::take(&mut reply);
    let fields = ReplyFields {
        name: &endless,
        ..reply_fields()
    };
    encode_reply(&mut reply, &request, &fields);
    let ours = decode_reply(&reply)
        .expect("it is a reply")
        .ours
        .expect("it is ours");
    assert_eq!(ours.name, None);
}

#[test]
fn without_stamps_there_are_zeros() {
    let fields = RequestFields {
        follow_ups: [None; 2],
        offset_ns: None,
        ..request_fields()
    };
    let mut packet = Vec::new();
    encode_request(&mut packet, &fields, None);
    assert_eq!(packet[OURS + 5..OURS + 7], [0, 0]);
    assert_eq!(packet[OURS + 16..OURS + 60], [0; 44]);
    let ours = decode_request(&packet)
        .expect("a request")
        .ours
        .expect("it is ours");
    assert_eq!((ours.follow_ups, ours.offset_ns), ([None; 2], None));

    let fields = ReplyFields {
        follow_ups: [None; 3],
        ..reply_fields()
    };
    let mut reply = Vec::new();
    encode_reply(&mut reply, &packet, &fields);
    assert_eq!(reply[48..64], [0; 16]);
    assert_eq!(reply[OURS + 6], 0b10, "T2 only");
    let read = decode_reply(&reply).expect("a reply");
    assert_eq!(read.follow_up, None);
    assert_eq!(read.ours.map(|ours| ours.older), Some([None; 2]));
}

#[test]
fn a_stamp_without_time_or_source_is_none() {
    let mut reply = reply_bytes();
    // The sequence number alone says nothing.
    reply[52..60].fill(0);
    // B has a time, and nobody who took it.
    reply[OURS + 6] &= 0b0011_1111;
    let read = decode_reply(&reply).expect("it is a reply");
    assert_eq!(read.follow_up, None);
    let older = read.ours.expect("it is ours").older;
    assert_eq!(older, [reply_fields().follow_ups[1], None]);
}

#[test]
fn foreign_reflectors_stamps_are_read() {
    // Half a second after 1970 in NTP's format, as the reply's error estimate says.
    let half = [0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0];
    for (method, source) in [
        (1, StampSource::Hw),
        (2, StampSource::Kernel),
        (3, StampSource::User),
        (0, StampSource::User),
    ] {
        let mut reply = reply_bytes();
        reply[12] = 0;
        reply[52..60].copy_from_slice(&half);
        reply[60] = method;
        // It has returned our TLV without knowing it.
        reply[OURS - 4] = 0x80;
        let read = decode_reply(&reply).expect("it is a reply");
        assert_eq!(read.follow_up, Some(follow_up(8, 500_000_000, source)));
        assert_eq!(read.ours, None);
    }
    for flags in [0x80, 0x40] {
        let mut reply = reply_bytes();
        reply[44] = flags;
        let read = decode_reply(&reply).expect("it is a reply");
        assert_eq!(read.follow_up, None, "not understood, or not well-formed");
    }
}
