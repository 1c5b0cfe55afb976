//! What our reflector says in the TLVs of RFC 8972 that ask a host something, as far as this host knows.

use std::net::IpAddr;

use crate::proto::sample::StampSource;
use crate::proto::transmit::Headers;
use crate::proto::wire::native::tlv::{
    CLASS_OF_SERVICE, FLAG_M, FLAG_U, HEADER_BYTES, Kind, Tlv, find,
};
use crate::proto::wire::native::{BASE_BYTES, ReplyFields, put, u16_at};

/// Codes of Timestamp Information (RFC 8972, section 4.3).
mod code {
    /// The clock follows NTP.
    pub(super) const NTP: u8 = 1;
    /// It runs free.
    pub(super) const LOCAL: u8 = 5;
    /// The interface made the stamp.
    pub(super) const HARDWARE: u8 = 1;
    /// Software of the host did.
    pub(super) const SOFTWARE: u8 = 2;
}

/// Types of the parts of Location (RFC 8972, section 4.2.1). A sender asks with one of the first three; the answer
/// says which kind of address it has.
mod part {
    pub(super) const SOURCE_MAC: u8 = 1;
    pub(super) const DESTINATION: u8 = 4;
    pub(super) const SOURCE: u8 = 7;
    /// Instead of [`SOURCE_MAC`]. Without an address it is zeros.
    pub(super) const SOURCE_EUI_64: u8 = 3;
    /// Added to [`DESTINATION`] or [`SOURCE`].
    pub(super) const V4: u8 = 1;
    pub(super) const V6: u8 = 2;
}

/// The counter fields of Direct Measurement; the sender's is before them.
mod counter {
    pub(super) const RECEIVED: usize = 4;
    pub(super) const SENT: usize = 8;
}

/// Fills in the value of a TLV of this kind. Returns its flags: what this host cannot tell is unrecognised.
#[cold]
pub(super) fn write(kind: Kind, value: &mut [u8], fields: &ReplyFields<'_>) -> u8 {
    match (kind, fields.headers) {
        (Kind::TimestampInformation, _) => write_timestamp_information(value, fields),
        (Kind::DirectMeasurement, _) => {
            put(
                value,
                counter::RECEIVED,
                fields.received_count.to_be_bytes(),
            );
            // Those before this one.
            put(value, counter::SENT, fields.seq.to_be_bytes());
        }
        // 3GPP or not: there is nothing else.
        (Kind::AccessReport, _) if matches!(value[0] >> 4, 1 | 2) => {}
        (Kind::ClassOfService, Some(Headers { tos: Some(tos), .. })) => {
            let dscp = tos >> 2;
            // The class that is asked for stays, and its six bits are followed by those of the one received, its ECN,
            // and two that say that the reply has the class asked for.
            value[0] = value[0] & 0b1111_1100 | dscp >> 4;
            value[1] = dscp << 4 | (tos & 0b11) << 2;
            value[2..].fill(0);
        }
        (Kind::Location, Some(headers)) => write_location(value, headers),
        _ => return FLAG_U,
    }
    0
}

/// Returns the traffic class that the reply to a request is to have: the one that its Class of Service TLV asks for.
#[cold]
pub fn wanted_tos(request: &[u8]) -> Option<u8> {
    let is_wanted = |tlv: &Tlv<'_>| tlv.kind == Kind::ClassOfService && !tlv.is_malformed;
    let found = find(request, is_wanted)?;
    Some(found.value[0] & 0b1111_1100)
}

/// Returns the same of a request of ours, which has that TLV first if it has one.
pub fn wanted_tos_of_ours(request: &[u8]) -> Option<u8> {
    let first = request.get(BASE_BYTES + 1)?;
    (*first == CLASS_OF_SERVICE)
        .then(|| wanted_tos(request))
        .flatten()
}

fn write_timestamp_information(value: &mut [u8], fields: &ReplyFields<'_>) {
    // The kernel says that something keeps its clock, not what. It is told with NTP's call.
    let clock = if fields.error.is_synchronised() {
        code::NTP
    } else {
        code::LOCAL
    };
    let received = match fields.received.source {
        StampSource::Hw => code::HARDWARE,
        StampSource::Kernel | StampSource::User => code::SOFTWARE,
    };
    put(value, 0, [clock, received, clock, code::SOFTWARE]);
}

/// Fills in the two ports, and the parts up to the first malformed one.
fn write_location(value: &mut [u8], headers: &Headers) {
    put(value, 0, headers.port.to_be_bytes());
    put(value, 2, headers.from.port().to_be_bytes());
    let mut parts = &mut value[4..];
    while parts.len() >= HEADER_BYTES {
        let length = HEADER_BYTES + usize::from(u16_at(parts, 2));
        if length > parts.len() {
            parts[0] = FLAG_M;
            return;
        }
        let (part, rest) = parts.split_at_mut(length);
        if !write_part(part, headers) {
            return;
        }
        parts = rest;
    }
}

/// Answers one part. False if it is malformed.
fn write_part(part: &mut [u8], headers: &Headers) -> bool {
    let (head, value) = part.split_at_mut(HEADER_BYTES);
    let (bytes, address) = match head[1] {
        part::SOURCE_MAC => (8, None),
        part::DESTINATION => (16, headers.to),
        part::SOURCE => (16, Some(headers.from.ip())),
        _ => {
            head[0] = FLAG_U;
            return true;
        }
    };
    if value.len() != bytes {
        head[0] = FLAG_M;
        return false;
    }
    head[0] = 0;
    value.fill(0);
    match address.map(|address| address.to_canonical()) {
        // The system does not tell which interface sent it.
        None if head[1] == part::SOURCE_MAC => head[1] = part::SOURCE_EUI_64,
        None => {}
        Some(IpAddr::V4(address)) => {
            head[1] += part::V4;
            put(value, 0, address.octets());
        }
        Some(IpAddr::V6(address)) => {
            head[1] += part::V6;
            put(value, 0, address.octets());
        }
    }
    true
}
