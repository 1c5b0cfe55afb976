//! The chain of TLVs behind a packet's base (RFC 8972, section 4).

use crate::proto::wire::native::BASE_BYTES;

/// Unrecognised: set by the sender, and cleared by a reflector that knows the type.
pub(super) const FLAG_U: u8 = 0x80;

/// Malformed: set by a reflector.
pub(super) const FLAG_M: u8 = 0x40;

/// Extra Padding (RFC 8972, section 4.1).
pub(super) const EXTRA_PADDING: u8 = 1;

/// Location (RFC 8972, section 4.2).
const LOCATION: u8 = 2;

/// Timestamp Information (RFC 8972, section 4.3).
const TIMESTAMP_INFORMATION: u8 = 3;

/// Class of Service (RFC 8972, section 4.4).
pub(super) const CLASS_OF_SERVICE: u8 = 4;

/// Bytes of its value.
pub(super) const CLASS_BYTES: usize = 4;

/// Direct Measurement (RFC 8972, section 4.5).
const DIRECT_MEASUREMENT: u8 = 5;

/// Access Report (RFC 8972, section 4.6).
const ACCESS_REPORT: u8 = 6;

/// Follow-Up Telemetry (RFC 8972, section 4.7).
pub(super) const FOLLOW_UP: u8 = 7;

/// HMAC (RFC 8972, section 4.8).
pub(super) const HMAC: u8 = 8;

/// The first of the types that are for private use (RFC 8972, section 5.1).
pub(super) const PRIVATE: u8 = 252;

/// Bytes of flags, type and length.
pub(super) const HEADER_BYTES: usize = 4;

/// Bytes of the Follow-Up Telemetry TLV's value.
pub(super) const FOLLOW_UP_BYTES: usize = 16;

/// Bytes of our value before its label area.
pub(super) const OURS_BYTES: usize = 64;

/// The start of our value.
pub(super) const MAGIC: [u8; 4] = *b"LMon";

/// The kinds of TLV that we distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Padding,
    Location,
    TimestampInformation,
    ClassOfService,
    DirectMeasurement,
    AccessReport,
    FollowUp,
    Ours,
    Unknown,
}

impl Kind {
    /// Returns the kind of what our own senders do not send.
    #[cold]
    const fn of_others(code: u8) -> Self {
        match code {
            LOCATION => Self::Location,
            TIMESTAMP_INFORMATION => Self::TimestampInformation,
            CLASS_OF_SERVICE => Self::ClassOfService,
            DIRECT_MEASUREMENT => Self::DirectMeasurement,
            ACCESS_REPORT => Self::AccessReport,
            _ => Self::Unknown,
        }
    }

    /// True if a value of so many bytes is one of this kind.
    const fn fits(self, bytes: usize) -> bool {
        match self {
            Self::Padding | Self::Ours | Self::Unknown => true,
            Self::FollowUp => bytes == FOLLOW_UP_BYTES,
            _ => self.fits_others(bytes),
        }
    }

    #[cold]
    const fn fits_others(self, bytes: usize) -> bool {
        match self {
            Self::DirectMeasurement => bytes == 12,
            Self::Location => bytes >= 4,
            _ => bytes == 4,
        }
    }
}

/// One TLV, or the rest of the packet in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlv<'a> {
    /// The offset of its flags in the packet.
    pub(super) start: usize,
    pub(super) flags: u8,
    pub(super) kind: Kind,
    /// True if it does not fit its type, or the packet. No TLV is read after it.
    pub(super) is_malformed: bool,
    /// Its value; empty if it is malformed.
    pub(super) value: &'a [u8],
}

impl Tlv<'_> {
    /// True if the other side has read it without an objection.
    pub(super) const fn is_accepted(&self) -> bool {
        !self.is_malformed && self.flags & (FLAG_U | FLAG_M) == 0
    }
}

/// Iterates over the TLVs of a packet, up to the first malformed one.
#[derive(Debug)]
pub(super) struct Tlvs<'a> {
    packet: &'a [u8],
    next: usize,
    /// True after one of ours: a second one counts as unknown.
    has_ours: bool,
}

impl<'a> Tlvs<'a> {
    /// Returns the TLVs of `packet`, which begin at `start`.
    pub(super) const fn new(packet: &'a [u8], start: usize) -> Self {
        Self {
            packet,
            next: start,
            has_ours: false,
        }
    }

    fn kind(&mut self, code: u8, value: &[u8]) -> Kind {
        match code {
            EXTRA_PADDING => Kind::Padding,
            FOLLOW_UP => Kind::FollowUp,
            PRIVATE if !self.has_ours && value.len() >= OURS_BYTES && value.starts_with(&MAGIC) => {
                self.has_ours = true;
                Kind::Ours
            }
            _ => Kind::of_others(code),
        }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    #[expect(
        clippy::inline_always,
        reason = "every packet of ours goes through it, and calls would be a fifth of a reply's cost"
    )]
    #[inline(always)]
    fn next(&mut self) -> Option<Tlv<'a>> {
        let start = self.next;
        let rest = self.packet.get(start..)?;
        let flags = *rest.first()?;
        let code = rest.get(1).copied().unwrap_or(0);
        let value = match rest {
            [_, _, high, low, behind @ ..] => {
                behind.get(..usize::from(u16::from_be_bytes([*high, *low])))
            }
            _ => None,
        };
        let kind = self.kind(code, value.unwrap_or_default());
        let value = value.filter(|value| kind.fits(value.len()));
        self.next = match value {
            Some(value) => start + HEADER_BYTES + value.len(),
            None => self.packet.len(),
        };
        Some(Tlv {
            start,
            flags,
            kind,
            is_malformed: value.is_none(),
            value: value.unwrap_or_default(),
        })
    }
}

/// Returns the first TLV of a packet with a base that `matches`. For packets of others: ours have a quicker way.
#[cold]
pub(super) fn find<'a>(packet: &'a [u8], matches: impl Fn(&Tlv<'a>) -> bool) -> Option<Tlv<'a>> {
    Tlvs::new(packet, BASE_BYTES).find(matches)
}

/// Appends the header of a TLV that a sender sends.
pub(super) fn push_header(out: &mut Vec<u8>, code: u8, value_bytes: usize) {
    let length = u16::try_from(value_bytes).unwrap_or(u16::MAX);
    out.extend_from_slice(&[FLAG_U, code]);
    out.extend_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(packet: &[u8]) -> Vec<(usize, Kind, bool)> {
        Tlvs::new(packet, 0)
            .map(|tlv| (tlv.start, tlv.kind, tlv.is_malformed))
            .collect()
    }

    fn ours(value_bytes: u8) -> Vec<u8> {
        let mut tlv = vec![0x80, 252, 0, value_bytes];
        tlv.extend_from_slice(b"LMon");
        tlv.resize(4 + usize::from(value_bytes), 0);
        tlv
    }

    #[test]
    fn reads_one_after_the_other() {
        let packet = [
            &[0x80, 1, 0, 2, 0xaa, 0xbb][..],
            &[0x80, 9, 0, 0],
            &[0, 7, 0, 16],
            &[0; 16],
            &ours(64),
        ]
        .concat();
        assert_eq!(
            kinds(&packet),
            [
                (0, Kind::Padding, false),
                (6, Kind::Unknown, false),
                (10, Kind::FollowUp, false),
                (30, Kind::Ours, false),
            ]
        );
        let accepted: Vec<bool> = Tlvs::new(&packet, 0).map(|tlv| tlv.is_accepted()).collect();
        assert_eq!(accepted, [false, false, true, false]);
    }

    #[test]
    fn stops_at_what_does_not_fit() {
        let good = [0x80, 1, 0, 0];
        for bad in [
            // A length beyond the packet, and a type that has another length.
            &[0x80, 1, 0, 5, 1, 2, 3, 4][..],
            &[0x80, 7, 0, 4, 0, 0, 0, 0],
            &[0x80, 1, 0],
            &[0x80],
        ] {
            let packet = [&good[..], bad].concat();
            let seen = kinds(&packet);
            assert_eq!(seen.len(), 2, "{bad:?}");
            assert_eq!((seen[1].0, seen[1].2), (4, true), "{bad:?}");
        }
        assert_eq!(kinds(&[]), []);
        assert_eq!(Tlvs::new(&good, 5).count(), 0, "no panic beyond the end");
    }

    #[test]
    fn a_private_one_is_ours_by_its_magic_and_length() {
        assert_eq!(kinds(&ours(64)), [(0, Kind::Ours, false)]);
        assert_eq!(kinds(&ours(63)), [(0, Kind::Unknown, false)]);
        let mut other = ours(64);
        other[4] = b'l';
        assert_eq!(kinds(&other), [(0, Kind::Unknown, false)]);
        let cut = &ours(64)[..60];
        assert_eq!(kinds(cut), [(0, Kind::Unknown, true)]);
        let twice = [ours(64), ours(64)].concat();
        let seen = kinds(&twice);
        assert_eq!(seen[1], (68, Kind::Unknown, false), "the first counts");
    }
}
