//! Authenticated packets (RFC 8762, sections 4.2.2 and 4.3.2, and RFC 8972, section 4.8).
//!
//! An authenticated packet says the same as an open one, in wider places, behind which stands an HMAC. So
//! [`open`] checks one and gives the open packet in it, and [`seal`] makes one of an open packet: nothing
//! else has to know of keys. TLVs are covered by an HMAC TLV, which the open packet does not have.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::proto::wire::native::tlv::{EXTRA_PADDING, FLAG_U, HEADER_BYTES, HMAC, Tlvs};
use crate::proto::wire::native::{BASE_BYTES, array_at, put};

/// Bytes of an authenticated packet without TLVs.
pub const AUTHENTICATED_BYTES: usize = 112;

/// By how much an authenticated packet of ours is longer than the open one in it: the wider base, and the
/// HMAC TLV.
pub const OVERHEAD_BYTES: usize = AUTHENTICATED_BYTES - BASE_BYTES + HEADER_BYTES + MAC_BYTES;

/// Bytes of an HMAC: the first half of SHA-256's (RFC 8762, section 4.4).
const MAC_BYTES: usize = 16;

/// Bytes that the base's HMAC covers: the first six blocks (RFC 8762, section 4.4).
const COVERED_BYTES: usize = AUTHENTICATED_BYTES - MAC_BYTES;

/// Offset of the session identifier in an authenticated packet.
const SSID: usize = 26;

/// Where a request's fields end. From here on it has zeros, and a reply has not.
const REQUEST_END: usize = 28;

/// Fields that stay together: the offset in an open packet, that in an authenticated one, and the bytes.
type Field = (usize, usize, usize);

/// Sequence number; timestamp, error estimate and session identifier.
const REQUEST_FIELDS: [Field; 2] = [(0, 0, 4), (4, 16, 12)];

/// The same; receive timestamp; the sender's sequence number, timestamp with error estimate, and TTL.
const REPLY_FIELDS: [Field; 6] = [
    (0, 0, 4),
    (4, 16, 12),
    (16, 32, 8),
    (24, 48, 4),
    (28, 64, 10),
    (40, 80, 1),
];

/// Where a reply has T3, T2 and T1.
pub(super) const TIMES: [usize; 3] = [16, 32, 64];

/// True if a packet has zeros between number and time, as those of this form have, and others hardly do.
pub(super) fn is_of_its_form(packet: &[u8]) -> bool {
    packet.len() >= AUTHENTICATED_BYTES && packet[4..16].iter().all(|byte| *byte == 0)
}

/// Which of the two packets it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the sender to the reflector.
    Request,
    /// From the reflector to the sender.
    Reply,
}

impl Direction {
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Request => &REQUEST_FIELDS,
            Self::Reply => &REPLY_FIELDS,
        }
    }
}

/// A key that both ends of a session have.
#[derive(Clone)]
pub struct Key {
    /// With the key's two blocks done.
    mac: Hmac<Sha256>,
    /// Tells it from others, and says nothing of its bytes.
    id: KeyId,
}

/// What tells one key from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(u64);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Bytes of a key at least.
    pub const BYTES_MIN: usize = 32;

    /// Makes a key of at least [`BYTES_MIN`](Self::BYTES_MIN) bytes; `None` if there are fewer.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mac = Hmac::new_from_slice(bytes).ok()?;
        if bytes.len() < Self::BYTES_MIN {
            return None;
        }
        let mut key = Self { mac, id: KeyId(0) };
        let tag = key.tag(&[b"latency-monitor key id"]);
        key.id = KeyId(u64::from_be_bytes(array_at(&tag, 0)));
        Some(key)
    }

    /// Returns what tells it from others.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns a session identifier that hints at the key, from one that was drawn: a reflector with many keys
    /// does not have to try each.
    pub(crate) const fn ssid(&self, drawn: u16) -> u16 {
        let [high, _] = drawn.to_be_bytes();
        let [.., hint] = self.id.0.to_be_bytes();
        // 0 would be none.
        u16::from_be_bytes([if hint == 0 { high | 1 } else { high }, hint])
    }

    /// True if a session identifier hints at this key.
    pub(crate) const fn is_hinted(&self, ssid: u16) -> bool {
        let [.., hint] = self.id.0.to_be_bytes();
        ssid.to_be_bytes()[1] == hint
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        array_at(&self.over(parts).finalize().into_bytes(), 0)
    }

    /// True if `tag` is the HMAC of these bytes. How long it takes tells nothing.
    fn has_made(&self, tag: &[u8], parts: &[&[u8]]) -> bool {
        tag.len() == MAC_BYTES && self.over(parts).verify_truncated_left(tag).is_ok()
    }
}

/// The open packet in an authenticated one.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// As it would have come without a key.
    pub packet: &'a [u8],
    /// Where the HMAC TLV stood among its TLVs, if it had one: the reply has it there too.
    pub mac_at: Option<usize>,
}

/// Returns the session identifier of what may be an authenticated packet.
pub fn ssid(packet: &[u8]) -> Option<u16> {
    (packet.len() >= AUTHENTICATED_BYTES).then(|| u16::from_be_bytes(array_at(packet, SSID)))
}

/// Checks a packet and writes the open one in it to `scratch`. `None` if it is not authentic: the base has another
/// HMAC, or there are TLVs besides Extra Padding that no HMAC TLV covers.
pub fn open<'a>(
    packet: &[u8],
    direction: Direction,
    key: &Key,
    scratch: &'a mut Vec<u8>,
) -> Option<Opened<'a>> {
    let (base, tlvs) = packet.split_at_checked(AUTHENTICATED_BYTES)?;
    let (covered, tag) = base.split_at(COVERED_BYTES);
    if !key.has_made(tag, &[covered]) {
        return None;
    }
    // An open request would not show that this was a reply, which must not be answered.
    let is_reply = covered[REQUEST_END..].iter().any(|byte| *byte != 0);
    if direction == Direction::Request && is_reply {
        return None;
    }
    let mac = match Cover::of(tlvs) {
        Cover::By(at) => Some(at),
        Cover::Needless => None,
        Cover::Missing => return None,
    };
    if let Some(at) = mac
        && !key.has_made(
            &tlvs[at + HEADER_BYTES..][..MAC_BYTES],
            &[&base[..4], &tlvs[..at]],
        )
    {
        return None;
    }
    scratch.clear();
    scratch.resize(BASE_BYTES, 0);
    for &(open, sealed, bytes) in direction.fields() {
        scratch[open..open + bytes].copy_from_slice(&base[sealed..sealed + bytes]);
    }
    let before = mac.unwrap_or(tlvs.len());
    scratch.extend_from_slice(&tlvs[..before]);
    if let Some(at) = mac {
        scratch.extend_from_slice(&tlvs[at + HEADER_BYTES + MAC_BYTES..]);
    }
    Some(Opened {
        packet: scratch,
        mac_at: mac.map(|at| BASE_BYTES + at),
    })
}

/// What covers the TLVs of a packet.
enum Cover {
    /// The HMAC TLV that begins here.
    By(usize),
    /// There are none, or all are Extra Padding.
    Needless,
    /// Nothing, or not all of them.
    Missing,
}

impl Cover {
    fn of(tlvs: &[u8]) -> Self {
        let mut cover = Self::Needless;
        for tlv in Tlvs::new(tlvs, 0) {
            let code = tlvs.get(tlv.start + 1).copied();
            match (code, &cover) {
                _ if tlv.is_malformed => return Self::Missing,
                (Some(EXTRA_PADDING), _) => {}
                (Some(HMAC), Self::Needless | Self::Missing) if tlv.value.len() == MAC_BYTES => {
                    cover = Self::By(tlv.start);
                }
                (_, Self::By(_)) => return Self::Missing,
                _ => cover = Self::Missing,
            }
        }
        cover
    }
}

/// Makes an authenticated packet of the open one that begins at `start` of `out` and ends with it. The HMAC TLV
/// comes to `mac_at` of the open packet, if there is to be one.
pub fn seal(
    out: &mut Vec<u8>,
    start: usize,
    direction: Direction,
    key: &Key,
    mac_at: Option<usize>,
) {
    let Some(open) = out[start..].first_chunk::<BASE_BYTES>().copied() else {
        return;
    };
    let end = out.len();
    let wider = AUTHENTICATED_BYTES - BASE_BYTES;
    out.resize(end + wider, 0);
    out.copy_within(start + BASE_BYTES..end, start + AUTHENTICATED_BYTES);
    if let Some(at) = mac_at {
        let at = start + wider + at;
        let end = out.len();
        out.resize(end + HEADER_BYTES + MAC_BYTES, 0);
        out.copy_within(at..end, at + HEADER_BYTES + MAC_BYTES);
        let tag = key.tag(&[&open[..4], &out[start + AUTHENTICATED_BYTES..at]]);
        let flags = match direction {
            Direction::Request => FLAG_U,
            Direction::Reply => 0,
        };
        put(out, at, [flags, HMAC, 0, 16]);
        put(out, at + HEADER_BYTES, tag);
    }
    let base = &mut out[start..start + AUTHENTICATED_BYTES];
    base.fill(0);
    for &(from, to, bytes) in direction.fields() {
        base[to..to + bytes].copy_from_slice(&open[from..from + bytes]);
    }
    let tag = key.tag(&[&base[..COVERED_BYTES]]);
    put(base, COVERED_BYTES, tag);
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const SECRET: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

    fn key() -> Key {
        Key::new(&SECRET).expect("32 bytes are a key")
    }

    /// A base as a request has it, with every field of its own, and TLVs behind it.
    fn open_request(tlvs: &[u8]) -> Vec<u8> {
        let mut packet: Vec<u8> = (1..=16).collect();
        packet.resize(BASE_BYTES, 0);
        packet.extend_from_slice(tlvs);
        packet
    }

    fn open_reply(tlvs: &[u8]) -> Vec<u8> {
        let mut packet = open_request(tlvs);
        for (byte, value) in packet[16..38].iter_mut().zip(17..) {
            *byte = value;
        }
        packet[40] = 255;
        packet
    }

    fn sealed(open: &[u8], direction: Direction, mac_at: Option<usize>) -> Vec<u8> {
        let mut out = b"before".to_vec();
        out.extend_from_slice(open);
        seal(&mut out, 6, direction, &key(), mac_at);
        assert_eq!(out[..6], *b"before");
        out.split_off(6)
    }

    #[test]
    fn the_base_is_laid_out_as_the_rfc_has_it() {
        let request = sealed(&open_request(&[]), Direction::Request, None);
        assert_eq!(request.len(), AUTHENTICATED_BYTES);
        assert_eq!(request[..4], [1, 2, 3, 4]);
        assert_eq!(request[4..16], [0; 12]);
        assert_eq!(request[16..28], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(request[28..96], [0; 68]);
        // Python: hmac.new(SECRET, request[:96], "sha256").digest()[:16]
        assert_eq!(hex(&request[96..]), "581a67dee60de297f8c35fc8181464ae");
        assert_eq!(ssid(&request), Some(0x0f10));

        let reply = sealed(&open_reply(&[]), Direction::Reply, None);
        assert_eq!(reply[32..40], [17, 18, 19, 20, 21, 22, 23, 24]);
        assert_eq!(reply[40..48], [0; 8]);
        assert_eq!(reply[48..52], [25, 26, 27, 28]);
        assert_eq!(reply[52..64], [0; 12]);
        assert_eq!(reply[64..74], [29, 30, 31, 32, 33, 34, 35, 36, 37, 38]);
        assert_eq!(reply[80], 255);
        assert_eq!(reply[81..96], [0; 15]);
        assert_eq!(hex(&reply[96..]), "adf0a545000b4fbcf47385a9dd9b78dc");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    #[test]
    fn the_hmac_tlv_covers_the_number_and_the_tlvs_before_it() {
        let tlvs = [0x80, 9, 0, 2, 0xaa, 0xbb];
        let request = sealed(&open_request(&tlvs), Direction::Request, Some(50));
        assert_eq!(request[112..118], tlvs);
        assert_eq!(request[118..122], [0x80, 8, 0, 16]);
        // Python: hmac.new(SECRET, request[:4] + request[112:118], "sha256").digest()[:16]
        assert_eq!(hex(&request[122..]), "6f7b354f9b72a53d662ad7ec06eb6918");
        let reply = sealed(&open_reply(&tlvs), Direction::Reply, Some(50));
        assert_eq!(reply[118..122], [0, 8, 0, 16], "it knows this one");
    }

    #[test]
    fn what_is_sealed_opens_as_it_was() {
        let other = [0x80, 9, 0, 1, 7];
        let padding = [0x80, 1, 0, 2, 0, 0];
        let both = [&other[..], &padding].concat();
        for (tlvs, mac_at) in [
            (&[][..], None),
            (&padding, None),
            (&other, Some(49)),
            (&both, Some(55)),
            // Extra Padding may stand behind the HMAC TLV.
            (&both, Some(49)),
        ] {
            for (direction, open_packet) in [
                (Direction::Request, open_request(tlvs)),
                (Direction::Reply, open_reply(tlvs)),
            ] {
                let packet = sealed(&open_packet, direction, mac_at);
                let more = OVERHEAD_BYTES - mac_at.map_or(20, |_| 0);
                assert_eq!(packet.len(), open_packet.len() + more);
                let mut scratch = b"what was here".to_vec();
                let opened =
                    open(&packet, direction, &key(), &mut scratch).expect("it is authentic");
                assert_eq!((opened.packet, opened.mac_at), (&open_packet[..], mac_at));
            }
        }
    }

    #[test]
    fn a_change_of_any_bit_is_seen() {
        let tlvs = [0x80, 9, 0, 1, 7];
        let mut scratch = Vec::new();
        for (direction, open_packet) in [
            (Direction::Request, open_request(&tlvs)),
            (Direction::Reply, open_reply(&tlvs)),
        ] {
            let packet = sealed(&open_packet, direction, Some(49));
            for bit in 0..8 * packet.len() {
                let mut changed = packet.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let is_flag_of_mac = bit / 8 == 117;
                let opened = open(&changed, direction, &key(), &mut scratch);
                assert_eq!(opened.is_some(), is_flag_of_mac, "bit {bit}");
            }
            for length in 0..packet.len() {
                // Without any TLV it is a packet again, and with a part of one it is none.
                let is_whole = length == AUTHENTICATED_BYTES;
                let opened = open(&packet[..length], direction, &key(), &mut scratch);
                assert_eq!(opened.is_some(), is_whole, "{length} bytes");
            }
            let other = Key::new(&[7; 32]).expect("32 bytes are a key");
            assert!(open(&packet, direction, &other, &mut scratch).is_none());
        }
    }

    #[test]
    fn a_reply_is_no_request() {
        let packet = sealed(&open_reply(&[]), Direction::Reply, None);
        let mut scratch = Vec::new();
        assert!(open(&packet, Direction::Request, &key(), &mut scratch).is_none());
        assert!(open(&packet, Direction::Reply, &key(), &mut scratch).is_some());
    }

    #[test]
    fn tlvs_without_an_hmac_tlv_are_not_authentic() {
        let mut scratch = Vec::new();
        let other = [0x80, 9, 0, 1, 7];
        let packet = sealed(&open_request(&other), Direction::Request, None);
        assert!(open(&packet, Direction::Request, &key(), &mut scratch).is_none());
        // Nor are those behind it.
        let packet = sealed(&open_request(&other), Direction::Request, Some(44));
        assert!(open(&packet, Direction::Request, &key(), &mut scratch).is_none());
    }

    #[test]
    fn a_short_key_is_none() {
        assert!(Key::new(&[1; 31]).is_none());
        assert!(Key::new(&[1; 200]).is_some());
        assert_eq!(format!("{:?}", key()), "Key(..)");
        let keys: Vec<Key> = (0..64)
            .map(|byte| Key::new(&[byte; 32]).expect("32 bytes are a key"))
            .collect();
        for key in &keys {
            for drawn in [0, 1, 0x00ff, 0xff00, 0xffff] {
                let ssid = key.ssid(drawn);
                assert!(ssid != 0 && key.is_hinted(ssid));
                let hinted = keys.iter().filter(|other| other.is_hinted(ssid)).count();
                assert!(hinted <= 4, "{hinted} of 64 keys");
            }
        }
    }
}
