//! The generators of one prober, all from one seed, which is an argument.
//!
//! What a stranger is shown comes from `ChaCha20` (RFC 8439): whoever sees any number of outputs can
//! compute neither another one nor the seed. Each role has a stream of its own. Jitter comes from
//! `SplitMix64`, whose state follows from its outputs, so these are never shown.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

/// What a generator's outputs are for: a stream of the seed's key each.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Cookies and session identifiers (SSIDs) of our own flows, shown to the reflectors.
    Flows,
    /// Session numbers of our reflector, shown to anyone who asks.
    Sessions,
    /// The seed of [`Jitter`].
    Jitter,
    /// The key of a table by sources; never shown.
    Gate,
    /// Numbers of the datagrams of traces, shown to the routers on the way.
    Traces,
}

/// Identifiers of one role, which nobody can compute.
#[derive(Debug)]
pub(crate) struct Identifiers(ChaCha20Rng);

impl Identifiers {
    pub(crate) fn new(seed: [u8; 32], role: Role) -> Self {
        let mut generator = ChaCha20Rng::from_seed(seed);
        generator.set_stream(role as u64);
        Self(generator)
    }

    /// A cookie of a flow.
    pub(crate) fn cookie(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A session number of a reflector: not 0, which stands for none.
    pub(crate) fn session(&mut self) -> u32 {
        self.0.next_u32().max(1)
    }

    /// A number of 64 bits. As a key it is never shown.
    pub(crate) fn key(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A session identifier (RFC 8972, section 3): not 0, which stands for none.
    pub(crate) fn ssid(&mut self) -> u16 {
        let [low, high, ..] = self.0.next_u32().to_le_bytes();
        u16::from_le_bytes([low, high]).max(1)
    }
}

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The jitter of a prober whose identifiers come from the same seed.
    pub(crate) fn beside(seed: [u8; 32]) -> Self {
        Self(Identifiers::new(seed, Role::Jitter).0.next_u64())
    }

    /// Returns between half of `ns` and all of it: backoff that does not march in step over a fleet.
    pub(crate) fn of(&mut self, ns: u64) -> u64 {
        let half = ns / 2;
        half + self.next_u64() % (ns - half + 1)
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An output as it is, for tests that need a random world.
    #[cfg(test)]
    pub(super) fn draw(&mut self) -> u64 {
        self.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vector 1 of RFC 8439, appendix A.1.
    #[test]
    fn identifiers_are_the_key_stream() {
        let mut flows = Identifiers::new([0; 32], Role::Flows);
        let shown = [flows.cookie(), flows.cookie(), flows.cookie()];
        assert_eq!(shown, [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40]);
    }

    #[test]
    fn no_role_draws_from_another_ones_stream() {
        let seed = [7; 32];
        let draw = |role| {
            let mut generator = Identifiers::new(seed, role);
            [(); 64].map(|()| generator.session())
        };
        let mut all = [Role::Flows, Role::Sessions, Role::Jitter]
            .map(draw)
            .concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3 * 64);
    }
}
