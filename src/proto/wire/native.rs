//! The native wire: STAMP test packets (RFC 8762, unauthenticated mode) with the session identifier
//! and the TLVs of RFC 8972, one of which is ours.
//!
//! `docs/design/native-wire.md` has the layouts, byte by byte. A request and its reply have the
//! same length and TLVs, so a reply is a copy of the request with fields filled in. Any STAMP or
//! TWAMP-Light sender's packet is a [`Request`]; only our own contain an [`OurRequest`].

mod answers;
pub mod authenticated;
mod class;
mod frame;
mod light;
mod plain;
mod time;
mod tlv;
mod totals;

#[cfg(test)]
mod tests;

use crate::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX};
use crate::proto::marks::Dscp;
use crate::proto::presence::HostTotals;
use crate::proto::sample::{Stamp, StampSource};
use crate::proto::time::Wall;
use crate::proto::transmit::Headers;
use crate::proto::wire::native::time::{TIME_BYTES, any_time, ntp_bytes, read_time, time_bytes};
use crate::proto::wire::native::tlv::{
    CLASS_BYTES, CLASS_OF_SERVICE, EXTRA_PADDING, FLAG_M, FLAG_U, FOLLOW_UP, FOLLOW_UP_BYTES,
    HEADER_BYTES, Kind, MAGIC, OURS_BYTES, PRIVATE, Tlvs,
};

pub use answers::{wanted_tos, wanted_tos_of_ours};
pub use class::ClassOfService;
pub use frame::{FRAMED_BYTES_MAX, FrameDecoder, FrameError, encode_frame};
pub use plain::{PlainReply, PlainRequest, REPLY_BYTES_MIN, plain_time};
pub use time::ErrorEstimate;

/// Bytes of a packet without TLVs (RFC 8762, section 4.2).
pub const BASE_BYTES: usize = 44;

/// The start of a stream of native packets. No text message begins with its first byte.
pub const PREAMBLE: [u8; 4] = *b"LMS1";

/// Minimum bytes of the label area, so that a reflector's name has room.
const LABEL_BYTES_MIN: usize = 32;

/// The version of our TLV.
const VERSION: u8 = 1;

/// Set in the TLV of a reply.
const FLAG_REPLY: u8 = 0x01;

/// Set if the offset in our TLV is valid.
const FLAG_OFFSET: u8 = 0x02;

/// The TTL of a request whose own is not known: on a stream there is none.
const TTL: u8 = 255;

/// Offsets of the fields of a reply. A request has the same ones in front.
mod base {
    pub(super) const SEQ: usize = 0;
    pub(super) const SENT: usize = 4;
    pub(super) const ERROR: usize = 12;
    pub(super) const SSID: usize = 14;
    /// A request has zeros from here on.
    pub(super) const REQUEST_END: usize = 16;
    pub(super) const RECEIVED: usize = 16;
    pub(super) const SENDER_SEQ: usize = 24;
    pub(super) const SENDER_SENT: usize = 28;
    pub(super) const SENDER_ERROR: usize = 36;
    pub(super) const SENDER_TTL: usize = 40;
}

/// Offsets of the fields in the private TLV's value.
mod ours {
    pub(super) const VERSION: usize = 4;
    pub(super) const FLAGS: usize = 5;
    pub(super) const SOURCES: usize = 6;
    pub(super) const NAME_LENGTH: usize = 7;
    pub(super) const COOKIE: usize = 8;
    pub(super) const SESSION: usize = 12;
    pub(super) const RECEIVED: usize = 16;
    pub(super) const SEEN: usize = 20;
    pub(super) const A: usize = 28;
    pub(super) const B: usize = 40;
    pub(super) const OFFSET: usize = 52;
    pub(super) const TAGS_LENGTH: usize = 60;
}

/// Shifts of the two-bit stamp sources.
mod source {
    pub(super) const RECEIVED: u32 = 0;
    pub(super) const FOLLOW_UP: u32 = 2;
    pub(super) const A: u32 = 4;
    pub(super) const B: u32 = 6;
}

/// The reason why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is shorter than any request or reply is.
    #[error("the packet has fewer bytes than its kind")]
    Truncated,
    /// A request has what only a reply has, so it must not be answered.
    #[error("the packet may be a reply")]
    Reply,
    /// What may be padded with anything begins with text, so it is of another protocol.
    #[error("the packet is text")]
    Text,
    /// A time in the PTP format has a billion nanoseconds or more.
    #[error("a timestamp has more nanoseconds than a second")]
    Timestamp,
    /// The name in our TLV does not fit into it, is too long, not UTF-8, or has a `|` in it.
    #[error("the name is not UTF-8 of at most {NAME_BYTES_MAX} bytes without a '|'")]
    Name,
    /// The tags in our TLV do not fit into it, are too long, not UTF-8, or have a `|` in them.
    #[error("the tags are not UTF-8 of at most {TAGS_BYTES_MAX} bytes without a '|'")]
    Tags,
}

/// The departure of an earlier packet, known only after it had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// The earlier packet's own sequence number.
    pub seq: u32,
    /// When it left. A time up to the first nanosecond of 1970 cannot be expressed.
    pub stamp: Stamp,
}

/// A request of any STAMP sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The sender's number for it: the low 32 bits of ours.
    pub seq: u32,
    /// T1, by the sender's clock. Nanoseconds beyond a second carry over.
    pub sent: Wall,
    /// The error of that clock.
    pub error: ErrorEstimate,
    /// The session identifier, 0 if the sender has none (RFC 8972, section 3).
    pub ssid: u16,
    /// Bytes of the packet.
    pub length: usize,
    /// True if it knows no TLVs, as a TWAMP-Light sender's: it is shorter than the base packet, or padding begins
    /// before that one's end. All behind its head may be anything, and has no TLVs.
    pub is_light: bool,
    /// The addition of our own senders.
    pub ours: Option<OurRequest<'a>>,
}

/// The addition of our own senders to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurRequest<'a> {
    /// The flow's own number, unknown to strangers.
    pub cookie: u32,
    /// The session number in the reflector's last reply, or 0.
    pub session: u32,
    /// T1 of earlier requests, as the kernel or the interface stamped them.
    pub follow_ups: [Option<FollowUp>; 2],
    /// The reflector's clock less the sender's in nanoseconds, to subtract from one-way delays
    /// before their publication.
    pub offset_ns: Option<i64>,
    /// The sender's name, perhaps empty.
    pub source: &'a str,
    /// The undecoded tags; [`decode_tags`](super::text::decode_tags) reads them.
    pub tags: &'a str,
}

/// A reply of any STAMP reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The reflector's own number for it; a stateless reflector repeats the sender's.
    pub seq: u32,
    /// T3, by the reflector's process.
    pub sent: Wall,
    /// The error of the reflector's clock.
    pub error: ErrorEstimate,
    /// The request's session identifier.
    pub ssid: u16,
    /// T2, by the reflector's clock.
    pub received: Wall,
    /// The request's number.
    pub sender_seq: u32,
    /// The request's T1.
    pub sender_sent: Wall,
    /// The TTL with which the request arrived; 255 also where the reflector does not know.
    pub ttl: u8,
    /// T3 of an earlier reply, from the Follow-Up Telemetry TLV.
    pub follow_up: Option<FollowUp>,
    /// What the reflector says in the Class of Service TLV.
    pub class: Option<ClassOfService>,
    /// The addition of our own reflectors.
    pub ours: Option<OurReply<'a>>,
}

/// The addition of our own reflectors to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurReply<'a> {
    /// The source of T2.
    pub received_source: Option<StampSource>,
    /// The request's cookie.
    pub cookie: u32,
    /// A random number of the reflector's session.
    pub session: u32,
    /// The low 32 bits of the count of distinct requests in this session, this one included.
    pub received: u32,
    /// Bit `i` is set if the request with this one's number less `i + 1` arrived.
    pub seen: u64,
    /// T3 of the replies before the one in [`Reply::follow_up`].
    pub older: [Option<FollowUp>; 2],
    /// What the reflector says of its host.
    pub totals: Option<HostTotals>,
    /// The reflector's name, if it had room.
    pub name: Option<&'a str>,
}

/// The input of [`encode_request`].
#[derive(Clone, Copy, Debug)]
pub struct RequestFields<'a> {
    /// The low 32 bits of the probe's number on its flow.
    pub seq: u32,
    /// T1, read just before the send call.
    pub sent: Wall,
    /// The error of our clock, from [`ErrorEstimate::from_nanos`].
    pub error: ErrorEstimate,
    /// A random number of the socket, not 0.
    pub ssid: u16,
    /// A random number of the flow.
    pub cookie: u32,
    /// The session number in the reflector's last reply, or 0.
    pub session: u32,
    /// T1 of two earlier requests.
    pub follow_ups: [Option<FollowUp>; 2],
    /// The reflector's clock less ours in nanoseconds, if it is to be subtracted from published
    /// one-way delays.
    pub offset_ns: Option<i64>,
    /// Our name, without `|`; cut after [`NAME_BYTES_MAX`] bytes.
    pub source: &'a str,
    /// The target's tags, from [`encode_tags`](super::text::encode_tags). Left out if they have
    /// more than [`TAGS_BYTES_MAX`] bytes.
    pub tags: &'a str,
    /// The code point that the request leaves with, and the reply is to. With one the Class of Service TLV comes first.
    pub dscp: Option<Dscp>,
}

/// The fields that [`encode_reply`] writes into its copy of the request.
#[derive(Clone, Copy, Debug)]
pub struct ReplyFields<'a> {
    /// The number of replies so far in this session, from 0; without a session the request's own number.
    pub seq: u32,
    /// T3, read just before the send call.
    pub sent: Wall,
    /// The error of our clock, from [`ErrorEstimate::from_nanos`].
    pub error: ErrorEstimate,
    /// T2.
    pub received: Stamp,
    /// T3 of the three replies before this one, the newest first. The newest goes into the
    /// Follow-Up Telemetry TLV, which every sender knows; the others into ours.
    pub follow_ups: [Option<FollowUp>; 3],
    /// A random number of the session. 0 without a session: then nothing is known to fill in. Our TLV goes back as
    /// unrecognised, and Follow-Up Telemetry as zeros (RFC 8972, section 4.7).
    pub session: u32,
    /// The low 32 bits of the count of distinct requests in this session, this one included.
    pub received_count: u32,
    /// Bit `i` is set if the request with this one's number less `i + 1` arrived.
    pub seen: u64,
    /// Our name, without `|`. It is left out if it is empty or has no room.
    pub name: &'a str,
    /// What the headers of the request said; a stream has none.
    pub headers: Option<&'a Headers>,
    /// As in the request.
    pub is_light: bool,
    /// What we say of our host.
    pub totals: Option<HostTotals>,
}

/// Reads the one packet that a datagram is, or that a frame has, as a request.
///
/// TLVs that are malformed or not ours are none of its business, but ours must be right.
pub fn decode_request(packet: &[u8]) -> Result<Request<'_>, DecodeError> {
    let Some(base) = packet.first_chunk::<BASE_BYTES>() else {
        return light::decode(packet);
    };
    // A reply has its TTL here at least.
    if base[base::REQUEST_END..] != [0; BASE_BYTES - base::REQUEST_END] {
        return light::decode(packet);
    }
    let error = ErrorEstimate::from_bits(u16_at(base, base::ERROR));
    let ours = Tlvs::new(packet, BASE_BYTES)
        .find(|tlv| tlv.kind == Kind::Ours)
        .map(|tlv| read_our_request(tlv.value))
        .transpose()?;
    Ok(Request {
        seq: u32_at(base, base::SEQ),
        sent: any_time(array_at(base, base::SENT), error.is_ptp()),
        error,
        ssid: u16_at(base, base::SSID),
        length: packet.len(),
        is_light: false,
        ours,
    })
}

fn read_our_request(value: &[u8]) -> Result<OurRequest<'_>, DecodeError> {
    let flags = value[ours::FLAGS];
    if flags & FLAG_REPLY != 0 {
        return Err(DecodeError::Reply);
    }
    let name_bytes = usize::from(value[ours::NAME_LENGTH]);
    let tags_bytes = usize::from(u16_at(value, ours::TAGS_LENGTH));
    let (source, tags) = read_labels(&value[OURS_BYTES..], name_bytes, tags_bytes)?;
    Ok(OurRequest {
        cookie: u32_at(value, ours::COOKIE),
        session: u32_at(value, ours::SESSION),
        follow_ups: read_older(value)?,
        offset_ns: (flags & FLAG_OFFSET != 0)
            .then(|| i64::from_be_bytes(array_at(value, ours::OFFSET))),
        source,
        tags,
    })
}

/// Reads a name and, behind it, tags. Both are looked through at once.
fn read_labels(
    area: &[u8],
    name_bytes: usize,
    tags_bytes: usize,
) -> Result<(&str, &str), DecodeError> {
    let both = area.get(..name_bytes + tags_bytes);
    let both = read_label(both, NAME_BYTES_MAX + TAGS_BYTES_MAX);
    match both.and_then(|both| both.split_at_checked(name_bytes)) {
        Some((name, tags)) if name_bytes <= NAME_BYTES_MAX && tags_bytes <= TAGS_BYTES_MAX => {
            Ok((name, tags))
        }
        _ => Err(wrong_label(area, name_bytes)),
    }
}

/// Returns which of two labels cannot be read.
#[cold]
fn wrong_label(area: &[u8], name_bytes: usize) -> DecodeError {
    match read_label(area.get(..name_bytes), NAME_BYTES_MAX) {
        Some(_) => DecodeError::Tags,
        None => DecodeError::Name,
    }
}

/// Reads a packet as a reply.
///
/// TLVs that the reflector did not recognise, or that are malformed, count as absent.
pub fn decode_reply(packet: &[u8]) -> Result<Reply<'_>, DecodeError> {
    let base = packet
        .first_chunk::<BASE_BYTES>()
        .ok_or(DecodeError::Truncated)?;
    let error = ErrorEstimate::from_bits(u16_at(base, base::ERROR));
    // The sender's time is in its own format, and both of the reflector's in that one's.
    let sender_error = ErrorEstimate::from_bits(u16_at(base, base::SENDER_ERROR));
    let mut telemetry = None;
    let mut class = None;
    let mut ours = None;
    for tlv in Tlvs::new(packet, BASE_BYTES).filter(tlv::Tlv::is_accepted) {
        match tlv.kind {
            Kind::FollowUp => {
                telemetry.get_or_insert(tlv.value);
            }
            Kind::Ours if tlv.value[ours::FLAGS] & FLAG_REPLY != 0 => ours = Some(tlv.value),
            Kind::ClassOfService => {
                class = tlv.value.first_chunk().copied().map(ClassOfService::read);
            }
            _ => {}
        }
    }
    let follow_up = match telemetry {
        Some(value) => read_telemetry(value, ours, error.is_ptp())?,
        None => None,
    };
    Ok(Reply {
        seq: u32_at(base, base::SEQ),
        sent: time_at(base, base::SENT, error.is_ptp())?,
        error,
        ssid: u16_at(base, base::SSID),
        received: time_at(base, base::RECEIVED, error.is_ptp())?,
        sender_seq: u32_at(base, base::SENDER_SEQ),
        sender_sent: any_time(array_at(base, base::SENDER_SENT), sender_error.is_ptp()),
        ttl: base[base::SENDER_TTL],
        follow_up,
        class,
        ours: ours.map(read_our_reply).transpose()?,
    })
}

/// Reads a Follow-Up Telemetry TLV. The stamp's source is in `ours`, if present.
fn read_telemetry(
    value: &[u8],
    ours: Option<&[u8]>,
    is_ptp: bool,
) -> Result<Option<FollowUp>, DecodeError> {
    let source = match (ours, value[FollowUp::BYTES]) {
        (Some(ours), _) => read_source(ours[ours::SOURCES], source::FOLLOW_UP),
        // The RFC's methods are 1 with hardware, 2 in software, and 3 in the control plane.
        (None, 1) => Some(StampSource::Hw),
        (None, 2) => Some(StampSource::Kernel),
        (None, _) => Some(StampSource::User),
    };
    FollowUp::read(value, 0, source, is_ptp)
}

fn read_our_reply(value: &[u8]) -> Result<OurReply<'_>, DecodeError> {
    let name_end = usize::from(value[ours::NAME_LENGTH]);
    let name =
        read_label(value[OURS_BYTES..].get(..name_end), NAME_BYTES_MAX).ok_or(DecodeError::Name)?;
    Ok(OurReply {
        received_source: read_source(value[ours::SOURCES], source::RECEIVED),
        cookie: u32_at(value, ours::COOKIE),
        session: u32_at(value, ours::SESSION),
        received: u32_at(value, ours::RECEIVED),
        seen: u64::from_be_bytes(array_at(value, ours::SEEN)),
        older: read_older(value)?,
        totals: totals::read(value),
        name: Some(name).filter(|name| !name.is_empty()),
    })
}

/// Reads A and B of our TLV, whose times are always in the PTP format.
fn read_older(value: &[u8]) -> Result<[Option<FollowUp>; 2], DecodeError> {
    let sources = value[ours::SOURCES];
    Ok([
        FollowUp::read(value, ours::A, read_source(sources, source::A), true)?,
        FollowUp::read(value, ours::B, read_source(sources, source::B), true)?,
    ])
}

fn read_label(bytes: Option<&[u8]>, bytes_max: usize) -> Option<&str> {
    let bytes = bytes.filter(|bytes| bytes.len() <= bytes_max)?;
    let label = std::str::from_utf8(bytes).ok()?;
    (!bytes.contains(&b'|')).then_some(label)
}

fn read_source(sources: u8, shift: u32) -> Option<StampSource> {
    match sources >> shift & 0b11 {
        1 => Some(StampSource::User),
        2 => Some(StampSource::Kernel),
        3 => Some(StampSource::Hw),
        _ => None,
    }
}

const fn source_bits(source: StampSource, shift: u32) -> u8 {
    let bits: u8 = match source {
        StampSource::User => 1,
        StampSource::Kernel => 2,
        StampSource::Hw => 3,
    };
    bits << shift
}

impl FollowUp {
    /// Bytes of a sequence number and a time.
    const BYTES: usize = 4 + TIME_BYTES;

    /// Reads the one at `at`; `None` if its time or source is 0.
    fn read(
        bytes: &[u8],
        at: usize,
        source: Option<StampSource>,
        is_ptp: bool,
    ) -> Result<Option<Self>, DecodeError> {
        if array_at(bytes, at + 4) == [0; TIME_BYTES] {
            return Ok(None);
        }
        let time = time_at(bytes, at + 4, is_ptp)?;
        Ok(source.map(|source| Self {
            seq: u32_at(bytes, at),
            stamp: Stamp { at: time, source },
        }))
    }

    /// Writes it at `at`.
    fn write(self, bytes: &mut [u8], at: usize) {
        put(bytes, at, self.seq.to_be_bytes());
        put(bytes, at + 4, time_bytes(self.stamp.at));
    }
}

/// Appends a request of our own, padded to `size` bytes, at most [`MESSAGE_BYTES_MAX`]. It is never
/// shorter than its contents.
pub fn encode_request(out: &mut Vec<u8>, fields: &RequestFields<'_>, size: Option<usize>) {
    const OTHERS: usize = BASE_BYTES + HEADER_BYTES + FOLLOW_UP_BYTES + HEADER_BYTES + OURS_BYTES;
    let source = &fields.source[..fields.source.floor_char_boundary(NAME_BYTES_MAX)];
    let tags = Some(fields.tags)
        .filter(|tags| tags.len() <= TAGS_BYTES_MAX)
        .unwrap_or_default();
    let mut label_bytes = LABEL_BYTES_MIN.max(source.len() + tags.len());
    let size = size.unwrap_or(0).min(MESSAGE_BYTES_MAX);
    let class_bytes = fields.dscp.map_or(0, |_| HEADER_BYTES + CLASS_BYTES);
    let padding = size.saturating_sub(OTHERS + class_bytes + label_bytes);
    // The rest is too short for a TLV of its own.
    if padding < HEADER_BYTES {
        label_bytes += padding;
    }

    push_base(out, fields);
    if let Some(dscp) = fields.dscp {
        tlv::push_header(out, CLASS_OF_SERVICE, CLASS_BYTES);
        out.extend_from_slice(&[dscp.class(), 0, 0, 0]);
    }
    tlv::push_header(out, FOLLOW_UP, FOLLOW_UP_BYTES);
    out.resize(out.len() + FOLLOW_UP_BYTES, 0);
    tlv::push_header(out, PRIVATE, OURS_BYTES + label_bytes);
    let start = out.len();
    out.resize(start + OURS_BYTES, 0);
    write_our_request(&mut out[start..], fields, source, tags);
    out.extend_from_slice(source.as_bytes());
    out.extend_from_slice(tags.as_bytes());
    out.resize(start + OURS_BYTES + label_bytes, 0);
    if let Some(zeros) = padding.checked_sub(HEADER_BYTES) {
        tlv::push_header(out, EXTRA_PADDING, zeros);
        out.resize(out.len() + zeros, 0);
    }
}

fn push_base(out: &mut Vec<u8>, fields: &RequestFields<'_>) {
    let mut base = [0; BASE_BYTES];
    put(&mut base, base::SEQ, fields.seq.to_be_bytes());
    put(&mut base, base::SENT, time_bytes(fields.sent));
    let error = fields.error.with_format(true).bits();
    put(&mut base, base::ERROR, error.to_be_bytes());
    put(&mut base, base::SSID, fields.ssid.to_be_bytes());
    out.extend_from_slice(&base);
}

fn write_our_request(value: &mut [u8], fields: &RequestFields<'_>, source: &str, tags: &str) {
    put(value, 0, MAGIC);
    value[ours::VERSION] = VERSION;
    // Both are within their limits, which fit these fields.
    value[ours::NAME_LENGTH] = u8::try_from(source.len()).unwrap_or(0);
    let tags_length = u16::try_from(tags.len()).unwrap_or(0);
    put(value, ours::TAGS_LENGTH, tags_length.to_be_bytes());
    put(value, ours::COOKIE, fields.cookie.to_be_bytes());
    put(value, ours::SESSION, fields.session.to_be_bytes());
    write_older(value, fields.follow_ups);
    if let Some(offset_ns) = fields.offset_ns {
        value[ours::FLAGS] |= FLAG_OFFSET;
        put(value, ours::OFFSET, offset_ns.to_be_bytes());
    }
}

/// Writes A and B into our TLV, which is zero there.
fn write_older(value: &mut [u8], [a, b]: [Option<FollowUp>; 2]) {
    for (follow_up, at, shift) in [(a, ours::A, source::A), (b, ours::B, source::B)] {
        if let Some(follow_up) = follow_up {
            follow_up.write(value, at);
            value[ours::SOURCES] |= source_bits(follow_up.stamp.source, shift);
        }
    }
}

/// Appends the answer to `request`, which [`decode_request`] has accepted. It has the same length but 44 bytes at
/// least (RFC 8762, section 4.6), and the request's format of times. It repeats the request's fields, and fills in
/// the TLVs that we know.
pub fn encode_reply(out: &mut Vec<u8>, request: &[u8], fields: &ReplyFields<'_>) {
    let start = out.len();
    out.extend_from_slice(request);
    if request.len() < BASE_BYTES {
        out.resize(start + BASE_BYTES, 0);
    }
    let reply = &mut out[start..];
    let Some(base) = reply.first_chunk_mut::<BASE_BYTES>() else {
        return;
    };
    let is_ptp = write_base(base, fields);
    if fields.is_light {
        return;
    }
    for tlv in Tlvs::new(request, BASE_BYTES) {
        let reply = &mut reply[tlv.start..];
        let unknown = if tlv.kind == Kind::Unknown { FLAG_U } else { 0 };
        reply[0] = unknown | if tlv.is_malformed { FLAG_M } else { 0 };
        if tlv.is_malformed {
            if tlv.kind == Kind::FollowUp {
                clear_telemetry(reply);
            }
        } else {
            let value = &mut reply[HEADER_BYTES..HEADER_BYTES + tlv.value.len()];
            match tlv.kind {
                // Nothing is known of these without a session.
                Kind::Ours | Kind::DirectMeasurement if fields.session == 0 => reply[0] = FLAG_U,
                Kind::FollowUp => write_telemetry(value, fields.follow_ups[0], is_ptp),
                Kind::Ours => write_our_reply(value, fields),
                Kind::Padding | Kind::Unknown => {}
                kind => reply[0] = answers::write(kind, value, fields),
            }
        }
    }
}

/// Makes a reply of a request's base. Returns whether its times are PTP's.
fn write_base(base: &mut [u8; BASE_BYTES], fields: &ReplyFields<'_>) -> bool {
    let seq: [u8; 4] = array_at(base, base::SEQ);
    let sent: [u8; TIME_BYTES] = array_at(base, base::SENT);
    let error: [u8; 2] = array_at(base, base::ERROR);
    let is_ptp = ErrorEstimate::from_bits(u16::from_be_bytes(error)).is_ptp();
    // The session identifier stays in its place.
    put(base, base::SEQ, fields.seq.to_be_bytes());
    put(base, base::SENT, time_bytes(fields.sent));
    let own_error = fields.error.with_format(is_ptp).bits();
    put(base, base::ERROR, own_error.to_be_bytes());
    base[base::REQUEST_END..].fill(0);
    put(base, base::RECEIVED, time_bytes(fields.received.at));
    if !is_ptp {
        put(base, base::SENT, ntp_bytes(fields.sent));
        put(base, base::RECEIVED, ntp_bytes(fields.received.at));
    }
    put(base, base::SENDER_SEQ, seq);
    put(base, base::SENDER_SENT, sent);
    put(base, base::SENDER_ERROR, error);
    let ttl = fields.headers.and_then(|headers| headers.ttl);
    base[base::SENDER_TTL] = ttl.unwrap_or(TTL);
    is_ptp
}

fn write_telemetry(value: &mut [u8], follow_up: Option<FollowUp>, is_ptp: bool) {
    value.fill(0);
    if let Some(follow_up) = follow_up {
        follow_up.write(value, 0);
        if !is_ptp {
            put(value, 4, ntp_bytes(follow_up.stamp.at));
        }
        value[FollowUp::BYTES] = match follow_up.stamp.source {
            StampSource::Hw => 1,
            StampSource::Kernel | StampSource::User => 2,
        };
    }
}

/// Clears the fields of a malformed Follow-Up Telemetry TLV, as far as it has them: RFC 8972, section 4.7, asks for
/// that besides the flag. What is behind its value stays as it came.
#[cold]
fn clear_telemetry(tlv: &mut [u8]) {
    let Some((head, behind)) = tlv.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let bytes = usize::from(u16_at(head, 2)).min(FollowUp::BYTES);
    let end = bytes.min(behind.len());
    behind[..end].fill(0);
}

fn write_our_reply(value: &mut [u8], fields: &ReplyFields<'_>) {
    let cookie: [u8; 4] = array_at(value, ours::COOKIE);
    value.fill(0);
    put(value, 0, MAGIC);
    value[ours::VERSION] = VERSION;
    value[ours::FLAGS] = FLAG_REPLY;
    put(value, ours::COOKIE, cookie);
    put(value, ours::SESSION, fields.session.to_be_bytes());
    put(value, ours::RECEIVED, fields.received_count.to_be_bytes());
    put(value, ours::SEEN, fields.seen.to_be_bytes());
    let [newest, older @ ..] = fields.follow_ups;
    write_older(value, older);
    if let Some(totals) = fields.totals {
        totals::write(value, totals);
    }
    value[ours::SOURCES] |= source_bits(fields.received.source, source::RECEIVED);
    if let Some(newest) = newest {
        value[ours::SOURCES] |= source_bits(newest.stamp.source, source::FOLLOW_UP);
    }
    // A part of a name would be another name, so all of it is written or nothing.
    let labels = &mut value[OURS_BYTES..];
    if let (Some(area), Ok(length)) = (
        labels.get_mut(..fields.name.len()),
        u8::try_from(fields.name.len()),
    ) {
        area.copy_from_slice(fields.name.as_bytes());
        value[ours::NAME_LENGTH] = length;
    }
}

/// Returns the bytes at `at`. The caller has checked the length of the whole.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

fn time_at(bytes: &[u8], at: usize, is_ptp: bool) -> Result<Wall, DecodeError> {
    read_time(array_at(bytes, at), is_ptp)
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, array: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&array);
}
