//! Two clocks as two types, so that a delay cannot be taken between them.
//!
//! [`Mono`] drives every timer and the round-trip times that user space measures; [`Wall`] is Unix
//! time, the only clock that two hosts share. Each subtracts only from itself. `proto` never reads
//! either: a [`Now`] comes in with every event.

/// Nanoseconds of a clock that never steps, since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// The instant `ns` nanoseconds after the clock's start.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant plus `ns` nanoseconds, or the end of time (584 years on).
    #[must_use]
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this instant; 0 when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Unix time in nanoseconds; good until the year 2262. It may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

impl Wall {
    /// The instant `ns` nanoseconds after 1970-01-01 00:00:00 UTC.
    pub const fn from_unix_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    pub const fn as_unix_nanos(self) -> i64 {
        self.0
    }

    /// This instant moved by `ns` nanoseconds, within the type's range.
    #[must_use]
    pub const fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Signed nanoseconds from `earlier` to this instant: the one-way delay of RFC 7679 when the
    /// two were read on two hosts, with both clocks' errors in it.
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
