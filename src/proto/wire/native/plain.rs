//! Packets for reflectors that are not ours, and their replies: the base packet alone, with padding of the size that is
//! wanted, and with Follow-Up Telemetry where there is room for it.

use crate::limits::MESSAGE_BYTES_MAX;
use crate::proto::time::Wall;
use crate::proto::wire::native::time::{TIME_BYTES, any_time, ntp_bytes, time_bytes};
use crate::proto::wire::native::tlv::{
    EXTRA_PADDING, FOLLOW_UP, FOLLOW_UP_BYTES, HEADER_BYTES, Kind, find, push_header,
};
use crate::proto::wire::native::{
    BASE_BYTES, ErrorEstimate, FollowUp, array_at, base, put, read_telemetry, u16_at, u32_at,
};

/// Bytes of the shortest reply: up to the sender's error estimate.
pub const REPLY_BYTES_MIN: usize = base::SENDER_ERROR + 2;

/// A request to a reflector that is not ours.
#[derive(Clone, Copy, Debug)]
pub struct PlainRequest {
    /// Its number in the session.
    pub seq: u32,
    /// T1, read just before the send call.
    pub sent: Wall,
    /// The error of our clock.
    pub error: ErrorEstimate,
    /// A random number of the session, or 0.
    pub ssid: u16,
    /// Its times are in the PTP format, not in NTP's.
    pub is_ptp: bool,
}

impl PlainRequest {
    /// Appends it, padded to `size` bytes. Less than 4 bytes of padding are 4, the least that a TLV has. From 64
    /// bytes on it asks for Follow-Up Telemetry.
    pub fn encode(&self, out: &mut Vec<u8>, size: Option<usize>) {
        let mut packet = [0; BASE_BYTES];
        put(&mut packet, base::SEQ, self.seq.to_be_bytes());
        put(&mut packet, base::SENT, plain_time(self.sent, self.is_ptp));
        let error = self.error.with_format(self.is_ptp).bits();
        put(&mut packet, base::ERROR, error.to_be_bytes());
        put(&mut packet, base::SSID, self.ssid.to_be_bytes());
        out.extend_from_slice(&packet);
        let mut padding = size
            .unwrap_or(0)
            .min(MESSAGE_BYTES_MAX)
            .saturating_sub(BASE_BYTES);
        if let Some(rest) = padding.checked_sub(HEADER_BYTES + FOLLOW_UP_BYTES) {
            push_header(out, FOLLOW_UP, FOLLOW_UP_BYTES);
            out.resize(out.len() + FOLLOW_UP_BYTES, 0);
            padding = rest;
        }
        if padding > 0 {
            let zeros = padding.saturating_sub(HEADER_BYTES);
            push_header(out, EXTRA_PADDING, zeros);
            out.resize(out.len() + zeros, 0);
        }
    }
}

/// Returns a time as such a request has it, to compare with what comes back.
pub fn plain_time(at: Wall, is_ptp: bool) -> [u8; TIME_BYTES] {
    if is_ptp {
        time_bytes(at)
    } else {
        ntp_bytes(at)
    }
}

/// A reply of a reflector that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainReply {
    /// The reflector's own number for it; a stateless reflector repeats ours.
    pub seq: u32,
    /// T3, as the reflector wrote it.
    pub sent: Wall,
    /// The error of the reflector's clock.
    pub error: ErrorEstimate,
    /// The session identifier that came back.
    pub ssid: u16,
    /// T2.
    pub received: Wall,
    /// The request's number.
    pub sender_seq: u32,
    /// The request's time, as it came back.
    pub sender_sent: [u8; TIME_BYTES],
    /// The TTL with which the request arrived, if the reflector says so.
    pub ttl: Option<u8>,
    /// T3 of an earlier reply, if the reflector was asked and tells.
    pub follow_up: Option<FollowUp>,
}

impl PlainReply {
    /// Reads a packet as one; `None` if it is too short. Nanoseconds beyond a second carry over: the round trip is
    /// right in any case.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        if packet.len() < REPLY_BYTES_MIN {
            return None;
        }
        let error = ErrorEstimate::from_bits(u16_at(packet, base::ERROR));
        let is_ptp = error.is_ptp();
        let telemetry = find(packet, |tlv| {
            tlv.kind == Kind::FollowUp && tlv.is_accepted()
        });
        let follow_up =
            telemetry.and_then(|tlv| read_telemetry(tlv.value, None, is_ptp).ok().flatten());
        Some(Self {
            seq: u32_at(packet, base::SEQ),
            sent: any_time(array_at(packet, base::SENT), is_ptp),
            error,
            ssid: u16_at(packet, base::SSID),
            received: any_time(array_at(packet, base::RECEIVED), is_ptp),
            sender_seq: u32_at(packet, base::SENDER_SEQ),
            sender_sent: array_at(packet, base::SENDER_SENT),
            ttl: packet.get(base::SENDER_TTL).copied().filter(|ttl| *ttl > 0),
            follow_up,
        })
    }
}
