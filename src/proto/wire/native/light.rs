//! Requests of senders that know no TLVs: TWAMP Light's (RFC 5357, appendix I), of 14 bytes and padding of any
//! content, and STAMP's with something where there should be zeros (RFC 8762, section 4.6).
//!
//! Anything may be such a request, so this says what is none: what a reflector sends, else two of them could set each
//! other off; and text, else a server that answers everything with text could.

use crate::proto::wire::native::authenticated;
use crate::proto::wire::native::time::any_time;
use crate::proto::wire::native::tlv::{Kind, find};
use crate::proto::wire::native::{
    DecodeError, ErrorEstimate, FLAG_REPLY, Request, array_at, base, ours, u16_at, u32_at,
};

/// Bytes of the head: number, time and error estimate.
const HEAD_BYTES: usize = base::SSID;

/// No reflector takes so many seconds from the receipt of a request to its reply, which has both times. Random padding
/// reads as a reply once in 10^8 packets.
const REPLY_WITHIN_S: u32 = 8;

/// Reads a packet without a base, or with something in its place.
#[cold]
pub(super) fn decode(packet: &[u8]) -> Result<Request<'_>, DecodeError> {
    let head = packet
        .first_chunk::<HEAD_BYTES>()
        .ok_or(DecodeError::Truncated)?;
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if head.iter().all(is_text) {
        return Err(DecodeError::Text);
    }
    if is_reply(packet) {
        return Err(DecodeError::Reply);
    }
    let error = ErrorEstimate::from_bits(u16_at(head, base::ERROR));
    Ok(Request {
        seq: u32_at(head, base::SEQ),
        sent: any_time(array_at(head, base::SENT), error.is_ptp()),
        error,
        // What is in its place is padding, perhaps another one in every packet.
        ssid: 0,
        length: packet.len(),
        is_light: true,
        ours: None,
    })
}

/// True if a reflector may have sent this, in either mode. In a reply of ours our TLV says so, too.
fn is_reply(packet: &[u8]) -> bool {
    has_times_of_reply(packet, [base::SENT, base::RECEIVED, base::SENDER_SENT])
        || authenticated::is_of_its_form(packet) && has_times_of_reply(packet, authenticated::TIMES)
        || find(packet, |tlv| tlv.kind == Kind::Ours)
            .and_then(|tlv| tlv.value.get(ours::FLAGS))
            .is_some_and(|flags| flags & FLAG_REPLY != 0)
}

/// True if the reflector's own time is close to that of the request's receipt, or of the request's departure, which
/// are in these places. Seconds are in front in either format.
fn has_times_of_reply(packet: &[u8], places: [usize; 3]) -> bool {
    let seconds = |at: usize| {
        let bytes = packet.get(at..at + 4)?;
        Some(u32_at(bytes, 0))
    };
    let is_near = |one: Option<u32>, other: Option<u32>| {
        let apart = one.zip(other).map(|(one, other)| {
            let ahead = one.wrapping_sub(other);
            ahead.min(ahead.wrapping_neg())
        });
        apart.is_some_and(|apart| apart <= REPLY_WITHIN_S)
    };
    let [sent, received, sender_sent] = places.map(seconds);
    // Zeros are no time; a sender without a clock has them in all three places.
    let has_time = sent != Some(0) || sender_sent != Some(0);
    has_time && (is_near(sent, received) || is_near(sent, sender_sent))
}
