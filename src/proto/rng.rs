//! A small seeded generator for phases, backoff and identifiers; the seed is an argument.
//!
//! It is not cryptographic: the daemon seeds it from the system's random source, which is enough
//! for identifiers that somebody off the path should not guess.

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Between half of `ns` and all of it: backoff that does not march in step over a fleet.
    pub(crate) fn jitter(&mut self, ns: u64) -> u64 {
        let half = ns / 2;
        half + self.next_u64() % (ns - half + 1)
    }
}
