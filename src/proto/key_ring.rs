//! The keys that a reflector answers with.

use std::sync::Arc;

use crate::proto::wire::native::authenticated::{self, Direction, Key, Opened};

/// The keys of a reflector, and whether it answers without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    /// Each with the session identifier that it is for, if it is for one only.
    keys: Vec<(Option<u16>, Arc<Key>)>,
    /// Nothing is answered without a key.
    pub is_required: bool,
}

/// How a request was authenticated, which its reply is to be as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal<'a> {
    pub(crate) key: &'a Key,
    mac_at: Option<usize>,
}

impl Seal<'_> {
    /// Makes an authenticated reply of the open one that begins at `start` of `out`.
    pub(crate) fn seal_reply(&self, out: &mut Vec<u8>, start: usize) {
        authenticated::seal(out, start, Direction::Reply, self.key, self.mac_at);
    }
}

/// A packet as it is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsealed<'a> {
    pub(crate) packet: &'a [u8],
    pub(crate) seal: Option<Seal<'a>>,
}

impl<'a> Unsealed<'a> {
    /// A packet that needs no key.
    pub(crate) const fn open(packet: &'a [u8]) -> Self {
        Self { packet, seal: None }
    }
}

impl KeyRing {
    /// Adds a key, for the packets of one session identifier (0: of those without one), or for all of our own
    /// senders that have it.
    pub fn add(&mut self, ssid: Option<u16>, key: Key) {
        self.keys.push((ssid, Arc::new(key)));
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// True if a request has to be looked at for its key.
    pub(crate) fn is_of_use(&self) -> bool {
        self.is_required || !self.keys.is_empty()
    }

    /// Checks a request, and returns the open one in it, written to `scratch`; as it is if no key of ours has
    /// made it. `None` if it is not to be believed.
    pub(crate) fn unseal<'a>(
        &'a self,
        packet: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Unsealed<'a>> {
        let found = authenticated::ssid(packet).and_then(|ssid| self.find(packet, ssid, scratch));
        if let Some((key, mac_at)) = found {
            let seal = Some(Seal { key, mac_at });
            return Some(Unsealed {
                packet: scratch,
                seal,
            });
        }
        (!self.is_required).then_some(Unsealed::open(packet))
    }

    /// Finds the key that a packet of this session identifier was made with, among those it can be.
    fn find(
        &self,
        packet: &[u8],
        ssid: u16,
        scratch: &mut Vec<u8>,
    ) -> Option<(&Key, Option<usize>)> {
        let may_be = self
            .keys
            .iter()
            .filter(|(only, key)| *only == Some(ssid) || key.is_hinted(ssid));
        for (_, key) in may_be {
            if let Some(Opened { mac_at, .. }) =
                authenticated::open(packet, Direction::Request, key, scratch)
            {
                return Some((&**key, mac_at));
            }
        }
        None
    }
}
