//! Timestamps, and the errors of their clocks.
//!
//! A timestamp is 8 bytes in one of two formats; the Z bit of the packet's error estimate says
//! which. One is seconds and nanoseconds since 1970 (truncated PTP, RFC 8877, section 4.3). The
//! other is seconds since 1900 and their binary fraction (NTP, section 4.2.1). Our own
//! senders write the first; a foreign sender may choose either, and is answered in its own (RFC 8762,
//! section 4.2.1).

use crate::proto::time::Wall;
use crate::proto::wire::native::{DecodeError, u32_at};

/// Bytes of a timestamp.
pub(super) const TIME_BYTES: usize = 8;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Seconds from the beginning of NTP's first era to 1970.
const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

/// Seconds of one NTP era.
const NTP_ERA_SECONDS: i64 = 1 << 32;

/// The last nanosecond that the PTP format can say, in 2106.
const PTP_LAST_NS: i64 = (1 << 32) * NANOS_PER_SECOND as i64 - 1;

/// The clock is synchronised to UTC by a source outside the host.
const S: u16 = 0x8000;

/// Timestamps are in the PTP format.
const Z: u16 = 0x4000;

const SCALE_SHIFT: u32 = 8;
const SCALE_MASK: u16 = 0x3f;
const MULTIPLIER_MASK: u16 = 0xff;

/// The error of the sender's timestamps, and their format (RFC 4656, section 4.1.2, with the Z bit
/// of RFC 8186).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEstimate(u16);

impl ErrorEstimate {
    /// Returns the estimate of a clock with an error of at most `error_ns` nanoseconds, rounded up,
    /// for timestamps in the PTP format.
    pub fn from_nanos(is_synchronised: bool, error_ns: u64) -> Self {
        // Units are 2^-32 seconds. 64 bits of nanoseconds make at most 67 bits of units, so the
        // scale ends at 59 and always has room. An error of 0 cannot be written.
        let units = (u128::from(error_ns) << 32)
            .div_ceil(u128::from(NANOS_PER_SECOND))
            .max(1);
        let bits = u128::BITS - units.leading_zeros();
        let mut scale = bits.saturating_sub(u8::BITS);
        let mut multiplier = units.div_ceil(1 << scale);
        if multiplier > u128::from(MULTIPLIER_MASK) {
            // It was rounded up to 256.
            multiplier /= 2;
            scale += 1;
        }
        let scale = u16::try_from(scale).map_or(SCALE_MASK, |scale| scale.min(SCALE_MASK));
        let multiplier = u16::try_from(multiplier).unwrap_or(MULTIPLIER_MASK);
        let synchronised = if is_synchronised { S } else { 0 };
        Self(synchronised | Z | scale << SCALE_SHIFT | multiplier)
    }

    /// Returns the estimate with these bits of a packet.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Returns the bits of the estimate in a packet.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns the same error for timestamps in the PTP format, or in NTP's.
    pub(super) const fn with_format(self, is_ptp: bool) -> Self {
        Self(if is_ptp { self.0 | Z } else { self.0 & !Z })
    }

    /// True if a source outside the host synchronises the clock to UTC.
    pub const fn is_synchronised(self) -> bool {
        self.0 & S != 0
    }

    /// True if the packet's timestamps are in the PTP format, false for NTP's.
    pub const fn is_ptp(self) -> bool {
        self.0 & Z != 0
    }

    /// Returns the error in nanoseconds, rounded up, at most `u64::MAX`. A multiplier of 0 is
    /// forbidden, tells nothing, and gives `u64::MAX` as well.
    pub fn as_nanos(self) -> u64 {
        let multiplier = u128::from(self.0 & MULTIPLIER_MASK);
        if multiplier == 0 {
            return u64::MAX;
        }
        let units = multiplier << (self.0 >> SCALE_SHIFT & SCALE_MASK);
        let nanos = (units * u128::from(NANOS_PER_SECOND)).div_ceil(1 << 32);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// Reads a timestamp in the format of the packet's error estimate.
pub(super) fn read_time(bytes: [u8; TIME_BYTES], is_ptp: bool) -> Result<Wall, DecodeError> {
    if is_ptp && u32_at(&bytes, 4) >= NANOS_PER_SECOND {
        return Err(DecodeError::Timestamp);
    }
    Ok(any_time(bytes, is_ptp))
}

/// Reads a timestamp. Nanoseconds beyond a second carry over, and saturate where the format ends: what is read can be
/// written.
pub(super) fn any_time(bytes: [u8; TIME_BYTES], is_ptp: bool) -> Wall {
    let seconds = i64::from(u32_at(&bytes, 0));
    let rest = u32_at(&bytes, 4);
    let (seconds, nanos) = if is_ptp {
        (seconds, i64::from(rest))
    } else {
        // Seconds without their highest bit belong to the era that begins in 2036 (RFC 4330,
        // section 3): no running clock shows 1900 to 1968.
        let era = if seconds < NTP_ERA_SECONDS / 2 {
            NTP_ERA_SECONDS
        } else {
            0
        };
        let nanos = (u64::from(rest) * u64::from(NANOS_PER_SECOND) + (1 << 31)) >> 32;
        let nanos = i64::try_from(nanos).unwrap_or(0);
        (seconds + era - NTP_TO_UNIX_SECONDS, nanos)
    };
    // At most 2^33 seconds: far from the ends of 64 bits.
    let nanos = seconds * i64::from(NANOS_PER_SECOND) + nanos;
    Wall::from_unix_nanos(nanos.min(PTP_LAST_NS))
}

/// Returns a timestamp in the PTP format. Its range is 1970 to 2106; other times become the nearest
/// one.
pub(super) fn time_bytes(at: Wall) -> [u8; TIME_BYTES] {
    let nanos = at.as_unix_nanos().clamp(0, PTP_LAST_NS).cast_unsigned();
    let seconds = nanos / u64::from(NANOS_PER_SECOND);
    let rest = nanos % u64::from(NANOS_PER_SECOND);
    // Both have 32 bits, so this shift clears the place of the other.
    (seconds << 32 | rest).to_be_bytes()
}

/// Returns a timestamp in NTP's format, which reads back to the nanosecond. Its seconds go around in 2036.
#[cold]
pub(super) fn ntp_bytes(at: Wall) -> [u8; TIME_BYTES] {
    let nanos_per_second = i64::from(NANOS_PER_SECOND);
    let nanos = at.as_unix_nanos();
    let seconds = nanos.div_euclid(nanos_per_second) + NTP_TO_UNIX_SECONDS;
    let rest = nanos.rem_euclid(nanos_per_second);
    // Below 2^30 * 2^32: it fits, and so does the quotient in 32 bits.
    let fraction = ((rest << 32) + nanos_per_second / 2) / nanos_per_second;
    (seconds.rem_euclid(NTP_ERA_SECONDS) << 32 | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn scaled(scale: u16, multiplier: u16) -> u16 {
        scale << 8 | multiplier
    }

    #[test]
    fn errors_are_written_as_in_the_rfc() {
        for (is_synchronised, error_ns, bits) in [
            // A second is 2^32 units: 128 * 2^25.
            (true, 1_000_000_000, 0xc000 | scaled(25, 128)),
            (false, 1_000_000_000, 0x4000 | scaled(25, 128)),
            // 4.29 units, rounded up.
            (true, 1, 0xc000 | scaled(0, 5)),
            // None at all cannot be written.
            (true, 0, 0xc000 | scaled(0, 1)),
            // 253.4 units are 254; 257.7 are 258 and need a scale: 129 * 2.
            (true, 59, 0xc000 | scaled(0, 254)),
            (true, 60, 0xc000 | scaled(1, 129)),
            // A millisecond: 4,294,967.3 units, which are 131.07 * 2^15.
            (true, 1_000_000, 0xc000 | scaled(15, 132)),
            // The last of 64 bits: 18,446,744,073.7 seconds, which are 137.44 * 2^59 units.
            (true, u64::MAX, 0xc000 | scaled(59, 138)),
        ] {
            let error = ErrorEstimate::from_nanos(is_synchronised, error_ns);
            assert_eq!(error.bits(), bits, "{error_ns}");
            assert_eq!(error.is_synchronised(), is_synchronised);
            assert!(error.is_ptp());
        }
    }

    #[test]
    fn rounding_up_carries_into_the_scale() {
        // 511 units: 255.5 * 2 is 256 * 2 is 128 * 4.
        let error = ErrorEstimate::from_nanos(true, 119);
        assert_eq!(error.bits(), 0xc000 | scaled(2, 128));
        assert_eq!(error.as_nanos(), 120, "512 units are 119.2 ns");
    }

    #[test]
    fn errors_are_read_as_in_the_rfc() {
        for (bits, nanos) in [
            (0x0001, 1),
            (0x4000 | scaled(32, 1), 1_000_000_000),
            (0x8000 | scaled(31, 3), 1_500_000_000),
            (0x3fff, u64::MAX),
            (0x0000, u64::MAX),
            (0x2000, u64::MAX),
        ] {
            assert_eq!(ErrorEstimate::from_bits(bits).as_nanos(), nanos, "{bits:x}");
        }
        let ntp = ErrorEstimate::from_bits(0x8001);
        assert!(ntp.is_synchronised() && !ntp.is_ptp());
    }

    #[test]
    fn both_formats_are_read() {
        let at = Wall::from_unix_nanos(1_768_219_134_587_069_267);
        let ptp = [0x69, 0x64, 0xe1, 0xfe, 0x22, 0xfd, 0xf7, 0x53];
        assert_eq!(time_bytes(at), ptp);
        assert_eq!(read_time(ptp, true), Ok(at));

        // Half a second after 1970.
        let ntp = [0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0];
        let half = Wall::from_unix_nanos(500_000_000);
        assert_eq!(read_time(ntp, false), Ok(half));
        // The last fraction is nearer to the next second.
        let ntp = [0x83, 0xaa, 0x7e, 0x80, 0xff, 0xff, 0xff, 0xff];
        let second = Wall::from_unix_nanos(1_000_000_000);
        assert_eq!(read_time(ntp, false), Ok(second));
        // The second era begins on 2036-02-07 at 06:28:16.
        let era = Wall::from_unix_nanos(2_085_978_496_000_000_000);
        assert_eq!(read_time([0; 8], false), Ok(era));
    }

    #[test]
    fn a_second_has_no_more_nanoseconds_than_it_has() {
        let last = [0, 0, 0, 0, 0x3b, 0x9a, 0xc9, 0xff];
        let nanos = Wall::from_unix_nanos(999_999_999);
        assert_eq!(read_time(last, true), Ok(nanos));
        let more = [0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0];
        assert_eq!(read_time(more, true), Err(DecodeError::Timestamp));
        let second = Wall::from_unix_nanos(1_000_000_000);
        assert_eq!(any_time(more, true), second, "of a request it carries over");
        assert!(read_time(more, false).is_ok(), "a fraction may be anything");
    }

    #[test]
    fn times_that_cannot_be_written_saturate() {
        assert_eq!(time_bytes(Wall::from_unix_nanos(-1)), [0; 8]);
        assert_eq!(time_bytes(Wall::from_unix_nanos(i64::MIN)), [0; 8]);
        let last = [0xff, 0xff, 0xff, 0xff, 0x3b, 0x9a, 0xc9, 0xff];
        assert_eq!(time_bytes(Wall::from_unix_nanos(i64::MAX)), last);
    }

    #[test]
    fn what_carries_over_ends_where_the_format_does() {
        let last = Wall::from_unix_nanos(PTP_LAST_NS);
        assert_eq!(any_time([0xff; 8], true), last);
        assert_eq!(read_time(time_bytes(last), true), Ok(last));
    }

    proptest! {
        #[test]
        fn times_read_back(seconds in any::<u32>(), nanos in 0..NANOS_PER_SECOND) {
            let at = i64::from(seconds) * 1_000_000_000 + i64::from(nanos);
            let at = Wall::from_unix_nanos(at);
            prop_assert_eq!(read_time(time_bytes(at), true), Ok(at));
            // Until 2104 NTP's era is known.
            if seconds < 4_233_462_144 {
                prop_assert_eq!(read_time(ntp_bytes(at), false), Ok(at));
            }
        }

        #[test]
        fn errors_are_never_made_smaller(error_ns in any::<u64>(), shift in 0..64_u32) {
            let error_ns = error_ns >> shift;
            let estimate = ErrorEstimate::from_nanos(false, error_ns);
            let read = estimate.as_nanos();
            prop_assert!(read >= error_ns);
            // One part in 128, and what is below a nanosecond.
            prop_assert!(read - error_ns <= error_ns / 128 + 1, "{} for {}", read, error_ns);
            prop_assert_ne!(estimate.bits() & MULTIPLIER_MASK, 0);
            prop_assert_eq!(ErrorEstimate::from_bits(estimate.bits()), estimate);
        }

        #[test]
        fn any_bits_have_a_meaning(bits in any::<u16>(), time in any::<[u8; 8]>()) {
            let error = ErrorEstimate::from_bits(bits);
            prop_assert_eq!(error.bits(), bits);
            prop_assert!(error.as_nanos() > 0);
            let _ = read_time(time, error.is_ptp());
            let at = any_time(time, true);
            prop_assert_eq!(read_time(time_bytes(at), true), Ok(at), "what is read can be written");
        }
    }
}
