//! What an ICMP error quotes, and the label stack in its extension structure (RFC 4884, RFC 4950).
//!
//! These bytes are foreign: whoever is on the path, or guesses, can send any.

use crate::limits::MPLS_LABELS_MAX;
use crate::proto::path::{HopAnswer, Label};

/// The original datagram in a message with an extension structure, up to the UDP payload: an IPv4 header without
/// options, and that of UDP.
const HEADERS_V4_BYTES: usize = 28;

/// Where the extension structure begins in messages that do not say (RFC 4884, section 5).
const LEGACY_BYTES: usize = 128;

/// The header of the structure: version, and a checksum.
const STRUCTURE_BYTES: usize = 4;
const VERSION: u8 = 2;

/// The header of an object: its length, class and type.
const OBJECT_BYTES: usize = 4;
/// The class and type of an incoming label stack.
const MPLS: [u8; 2] = [1, 1];

/// Bytes of an entry of a label stack.
const LABEL_BYTES: usize = 4;

/// Returns what was quoted of a datagram's payload, without the zeros that fill it up.
pub(super) fn quoted<'a>(answer: &HopAnswer<'a>) -> &'a [u8] {
    let end = extension_at(answer).unwrap_or(answer.quote.len());
    let quoted = &answer.quote[..end];
    let length = quoted.iter().rposition(|byte| *byte != 0);
    &quoted[..length.map_or(0, |last| last + 1)]
}

/// Returns the label stack, the outermost label first. Empty if there is none that can be read.
pub(super) fn labels(answer: &HopAnswer<'_>) -> Box<[Label]> {
    let structure = extension_at(answer).map_or(&[][..], |at| &answer.quote[at..]);
    let mut objects = structure.get(STRUCTURE_BYTES..).unwrap_or_default();
    while let Some((head, _)) = objects.split_first_chunk::<OBJECT_BYTES>() {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        // One that is shorter than its own header would be read for ever.
        let Some(body) = objects.get(OBJECT_BYTES..length) else {
            break;
        };
        if head[2..] == MPLS {
            let entries = body.chunks_exact(LABEL_BYTES).take(MPLS_LABELS_MAX);
            return entries.map(label).collect();
        }
        objects = &objects[length..];
    }
    Box::default()
}

fn label(entry: &[u8]) -> Label {
    let bits = entry
        .iter()
        .fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
    Label {
        label: bits >> 12,
        traffic_class: (bits >> 9 & 0b111) as u8,
        ttl: (bits & 0xff) as u8,
    }
}

/// Returns where the structure begins, if there is one that is whole.
fn extension_at(answer: &HopAnswer<'_>) -> Option<usize> {
    let legacy = (!answer.icmp.is_v6).then_some(LEGACY_BYTES - HEADERS_V4_BYTES);
    match answer.extension_at {
        0 => legacy.filter(|at| is_structure(answer.quote, *at, true)),
        at => Some(at).filter(|at| is_structure(answer.quote, *at, false)),
    }
}

/// True if a structure begins there. Where nothing says so it must have a checksum, which may be absent otherwise.
fn is_structure(quote: &[u8], at: usize, needs_checksum: bool) -> bool {
    let Some(structure) = quote.get(at..) else {
        return false;
    };
    let Some(head) = structure.first_chunk::<STRUCTURE_BYTES>() else {
        return false;
    };
    let has_checksum = head[2..] != [0; 2];
    head[0] >> 4 == VERSION
        && (has_checksum || !needs_checksum)
        && (!has_checksum || sum(structure) == u16::MAX)
}

/// Returns the ones' complement sum of the bytes (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::path::IcmpType;

    const EXCEEDED: IcmpType = IcmpType {
        is_v6: false,
        kind: 11,
        code: 0,
    };

    fn answer(quote: &[u8], extension_at: usize) -> HopAnswer<'_> {
        HopAnswer {
            by: None,
            icmp: EXCEEDED,
            quote,
            extension_at,
        }
    }

    /// A structure of these objects; with its checksum.
    fn structure(objects: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x20, 0, 0, 0];
        bytes.extend_from_slice(objects);
        let checksum = !sum(&bytes);
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// A quote of 100 bytes, as of a datagram that is filled up to 128, and a structure behind it.
    fn message(payload: &[u8], structure: &[u8]) -> Vec<u8> {
        let mut quote = payload.to_vec();
        quote.resize(LEGACY_BYTES - HEADERS_V4_BYTES, 0);
        quote.extend_from_slice(structure);
        quote
    }

    // A stack of two: label 16001, class 5, TTL 1; label 3, bottom of the stack, TTL 254.
    const STACK: [u8; 12] = [0, 12, 1, 1, 0x03, 0xe8, 0x1a, 1, 0x00, 0x00, 0x31, 254];

    fn stack() -> Vec<Label> {
        [(16_001, 5, 1), (3, 0, 254)]
            .map(|(label, traffic_class, ttl)| Label {
                label,
                traffic_class,
                ttl,
            })
            .to_vec()
    }

    #[test]
    fn a_label_stack_is_read_where_the_message_says_and_where_old_routers_put_it() {
        let quote = message(b"hops", &structure(&STACK));
        for at in [100, 0] {
            let answer = answer(&quote, at);
            assert_eq!(labels(&answer).to_vec(), stack(), "{at}");
            assert_eq!(quoted(&answer), b"hops");
        }
        // ICMPv6 has no routers from before the length was told.
        let mut v6 = answer(&quote, 0);
        v6.icmp.is_v6 = true;
        assert!(labels(&v6).is_empty());
    }

    #[test]
    fn other_objects_are_passed_over() {
        let other = [0, 8, 2, 1, 9, 9, 9, 9];
        let quote = message(b"", &structure(&[&other[..], &STACK].concat()));
        assert_eq!(labels(&answer(&quote, 100)).to_vec(), stack());
        let quote = message(b"", &structure(&other));
        assert!(labels(&answer(&quote, 100)).is_empty());
    }

    #[test]
    fn what_is_no_structure_is_none() {
        let right = structure(&STACK);
        let mut wrong_sum = right.clone();
        wrong_sum[7] ^= 1;
        let mut wrong_version = right.clone();
        wrong_version[0] = 0x10;
        let endless = structure(&[0, 0, 1, 1]);
        let too_long = structure(&[0, 200, 1, 1, 0, 0, 0, 0]);
        let without_end = structure(&STACK[..3]);
        for structure in [
            &wrong_sum[..],
            &wrong_version,
            &endless,
            &too_long,
            &without_end,
            &right[..3],
            &[],
        ] {
            let quote = message(b"x", structure);
            assert!(labels(&answer(&quote, 100)).is_empty(), "{structure:?}");
            assert!(labels(&answer(&quote, 5_000)).is_empty());
        }
        // Without a checksum it is one only where the message says so.
        let mut bare = right;
        bare[2..4].fill(0);
        let quote = message(b"x", &bare);
        assert_eq!(labels(&answer(&quote, 100)).to_vec(), stack());
        assert!(labels(&answer(&quote, 0)).is_empty());
    }

    #[test]
    fn a_stack_without_an_end_is_bounded() {
        let deep = [&[0, 204, 1, 1][..], &[1; 200]].concat();
        let quote = message(b"x", &structure(&deep));
        assert_eq!(labels(&answer(&quote, 100)).len(), MPLS_LABELS_MAX);
    }

    #[test]
    fn zeros_that_fill_a_quote_up_are_none_of_it() {
        assert_eq!(quoted(&answer(&[0; 100], 0)), b"");
        assert_eq!(quoted(&answer(&[], 0)), b"");
        assert_eq!(quoted(&answer(b"ho\0ps\0\0", 0)), b"ho\0ps");
    }

    proptest! {
        #[test]
        fn nothing_panics(
            quote in prop::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..400,
            is_v6 in any::<bool>(),
        ) {
            let mut answer = answer(&quote, at);
            answer.icmp.is_v6 = is_v6;
            prop_assert!(labels(&answer).len() <= MPLS_LABELS_MAX);
            prop_assert!(quote.starts_with(quoted(&answer)));
        }
    }
}
