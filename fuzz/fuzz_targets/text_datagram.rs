//! One datagram: what decodes is within the limits, encodes again to the same, and is never
//! answered with more bytes than it has.

#![no_main]

use latency_monitor::limits::{NAME_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX};
use latency_monitor::proto::Wall;
use latency_monitor::proto::wire::text::{
    Identifier, Message, SEQUENCES, decode_datagram, decode_tags, encode_reply, encode_request,
    encode_tags,
};
use libfuzzer_sys::fuzz_target;

/// Times of one digit, of as many as today's, and of the most.
const TIMES: [i64; 3] = [0, 1_768_219_134_587_069_267, i64::MAX];

fuzz_target!(|payload: &[u8]| {
    if let Ok(text) = std::str::from_utf8(payload) {
        check_tags(text);
    }
    if let Ok(message) = decode_datagram(payload) {
        check_limits(payload, &message);
        check_tags(message.header.tags);
        check_request(payload, &message);
        let long = "n\u{e9}".repeat(NAME_BYTES_MAX / 3);
        for name in ["", "b", "host-a", message.header.source, &long] {
            for time in TIMES {
                check_reply(&message, name, Wall::from_unix_nanos(time));
            }
        }
    }
});

fn check_limits(payload: &[u8], message: &Message<'_>) {
    let header = message.header;
    assert_eq!(message.length, payload.len());
    assert!(message.zeros <= payload.len());
    assert!(payload.ends_with(&vec![b'0'; message.zeros]));
    assert!(u64::from(header.seq) < SEQUENCES);
    assert!(header.at.as_unix_nanos() >= 0);
    assert!(header.source.len() <= NAME_BYTES_MAX);
    assert!(header.tags.len() <= TAGS_BYTES_MAX);
    assert!(!header.source.contains('|') && !header.tags.contains('|'));
}

/// Tags that can be read print so that they read back.
fn check_tags(raw: &str) {
    let Ok(tags) = decode_tags(raw) else { return };
    assert!(raw.len() <= TAGS_BYTES_MAX);
    assert!(tags.len() <= TAGS_MAX);
    let printed = encode_tags(&tags);
    if printed.len() <= TAGS_BYTES_MAX {
        assert_eq!(decode_tags(&printed).as_ref(), Ok(&tags));
    }
}

/// The same fields give a request that reads back: the very same bytes if these were written as we
/// write them.
fn check_request(payload: &[u8], message: &Message<'_>) {
    let encode = |message: &Message<'_>, size| {
        let mut out = b"before".to_vec();
        let header = message.header;
        encode_request(
            &mut out,
            header.seq,
            header.source,
            header.at,
            header.tags,
            message.identifier,
            size,
        );
        out.split_off(b"before".len())
    };
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let request = encode(message, Some(payload.len()));
    // Leading zeros and identifiers of other versions are gone, and padding is in their place.
    assert_eq!(request.len(), payload.len());
    let again = decode_datagram(&request).expect("we write messages");
    assert_eq!(again.header, message.header);
    let identifier = message.identifier.map(|identifier| Identifier {
        length,
        ..identifier
    });
    assert_eq!(again.identifier, identifier);
    assert_eq!(encode(&again, Some(payload.len())), request);

    let unpadded = encode(message, None);
    if unpadded.len() + message.zeros == payload.len() && message.identifier == identifier {
        assert_eq!(request, payload);
    }
}

fn check_reply(request: &Message<'_>, name: &str, at: Wall) {
    let mut out = b"before".to_vec();
    let is_answered = encode_reply(&mut out, request, name, at, true);
    let reply = out.split_off(b"before".len());
    assert_eq!(out, b"before");
    if !is_answered {
        assert_eq!(reply, b"");
        return;
    }
    assert!(reply.len() <= request.length);
    // Without our mark each answer to an answer is shorter, so that loops end.
    assert!(request.identifier.is_some() || reply.len() < request.length);
    let answer = decode_datagram(&reply).expect("replies have the same form");
    assert_eq!(answer.header.seq, request.header.seq);
    assert_eq!(answer.header.at, at);
    assert_eq!(answer.header.tags, request.header.tags);
    assert!(name.starts_with(answer.header.source));
    assert!(answer.zeros <= request.zeros);
    assert_eq!(answer.is_reply(), request.identifier.is_some());
    let identifier = request.identifier.map(|identifier| Identifier {
        is_reply: true,
        ..identifier
    });
    assert_eq!(answer.identifier, identifier);
}
