//! Two clocks as two types, so that no delay can be taken between them.
//!
//! [`Mono`] drives every timer and the round-trip times measured in user space. [`Wall`] is Unix
//! time, the only clock that two hosts share. Each subtracts only from itself. `proto` reads
//! neither: a [`Now`] comes with every event.

use std::fmt;

/// Nanoseconds since an arbitrary start, on a clock that never steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The clock's start.
    pub const ZERO: Self = Self(0);
    /// After every time.
    pub const MAX: Self = Self(u64::MAX);

    /// Returns the instant `ns` nanoseconds after the clock's start.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns this instant plus `ns` nanoseconds, at most the end of the range (584 years).
    #[must_use]
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Returns the nanoseconds from `earlier` to this instant; 0 if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Unix time in nanoseconds, up to the year 2262. It may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

/// Formats in UTC to the nanosecond (RFC 3339, section 5.6).
impl fmt::Display for Wall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, part) = (
            self.0.div_euclid(1_000_000_000),
            self.0.rem_euclid(1_000_000_000),
        );
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Converts days since 1970-01-01 to a date, with years that begin in March (Hinnant).
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        let year = year + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{part:09}Z"
        )
    }
}

impl Wall {
    /// Returns the instant `ns` nanoseconds after 1970-01-01 00:00:00 UTC.
    pub const fn from_unix_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since 1970-01-01 00:00:00 UTC.
    pub const fn as_unix_nanos(self) -> i64 {
        self.0
    }

    /// Returns this instant moved by `ns` nanoseconds, within the type's range.
    #[must_use]
    pub const fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Returns the signed nanoseconds from `earlier` to this instant. Between two hosts it is the
    /// one-way delay of RFC 7679, with the errors of both clocks.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks of one host, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The clock that never steps.
    pub mono: Mono,
    /// Unix time.
    pub wall: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc() {
        let text = |ns| Wall::from_unix_nanos(ns).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(
            text(951_827_696_000_000_005),
            "2000-02-29T12:34:56.000000005Z"
        );
    }
}
