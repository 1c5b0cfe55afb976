//! The keys that a reflector answers with.

use std::net::IpAddr;
use std::sync::Arc;

use crate::proto::gate::Prefix;
use crate::proto::named::SenderSpec;
use crate::proto::wire::native::authenticated::{self, Direction, Key, KeyId, Opened};

/// The keys of a reflector, and whether it answers without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<Entry>,
    /// Nothing is answered without a key.
    pub is_required: bool,
}

/// A key, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: Arc<Key>,
    purpose: Purpose,
    /// There is another one in its place. It holds until the ring is replaced.
    is_former: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// Our own senders that have it; and if the name is a number the packets of that session identifier.
    Named(Box<str>, Option<u16>),
    /// Datagrams from these addresses, of this identifier if there is one.
    From(Prefix, Option<u16>),
}

impl Entry {
    fn may_be_of(&self, ssid: u16, from: Option<IpAddr>) -> bool {
        match &self.purpose {
            Purpose::Named(_, only) => *only == Some(ssid) || self.key.is_hinted(ssid),
            Purpose::From(prefix, only) => {
                only.is_none_or(|only| only == ssid)
                    && from.is_some_and(|from| prefix.contains(from))
            }
        }
    }
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
    /// Adds the key of this name, for all of our own senders that have it. If the name is a number, it is for the
    /// packets of that session identifier, too (0: of those without one).
    pub fn add(&mut self, name: &str, key: Key) {
        self.push(key.into(), Purpose::Named(name.into(), name.parse().ok()));
    }

    /// Adds the key of a sender that says no name, if it has one.
    pub fn add_sender(&mut self, sender: &SenderSpec) {
        if let Some(key) = sender.key.clone() {
            self.push(key, Purpose::From(sender.from, sender.ssid));
        }
    }

    /// True if this is a key of a sender that says no name: its own, or the one before that.
    pub(crate) fn has_of_sender(&self, sender: &SenderSpec, key: KeyId) -> bool {
        let purpose = Purpose::From(sender.from, sender.ssid);
        let mut keys = self.keys.iter();
        keys.any(|entry| entry.key.id() == key && entry.purpose == purpose)
    }

    fn push(&mut self, key: Arc<Key>, purpose: Purpose) {
        self.keys.push(Entry {
            key,
            purpose,
            is_former: false,
        });
    }

    /// Takes the place of another ring: keys of that one which have another one in their place here hold beside
    /// it, until this ring is replaced. So both ends of a flow need not change at one instant.
    pub fn succeed(&mut self, before: &Self) {
        let replaced = before.keys.iter().filter(|old| {
            let has_place = |new: &&Entry| new.purpose == old.purpose;
            let new = self.keys.iter().find(has_place);
            !old.is_former && new.is_some_and(|new| new.key != old.key)
        });
        let former = replaced.cloned().map(|old| Entry {
            is_former: true,
            ..old
        });
        let former: Vec<Entry> = former.collect();
        self.keys.extend(former);
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

    /// Checks a request, a datagram `from` there, and returns the open one in it, written to `scratch`; as it is
    /// if no key of ours has made it. `None` if it is not to be believed.
    pub(crate) fn unseal<'a>(
        &'a self,
        packet: &'a [u8],
        from: Option<IpAddr>,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Unsealed<'a>> {
        let ssid = authenticated::ssid(packet);
        let found = ssid.and_then(|ssid| self.find(packet, ssid, from, scratch));
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
        from: Option<IpAddr>,
        scratch: &mut Vec<u8>,
    ) -> Option<(&Key, Option<usize>)> {
        let keys = self.keys.iter();
        for Entry { key, .. } in keys.filter(|entry| entry.may_be_of(ssid, from)) {
            if let Some(Opened { mac_at, .. }) =
                authenticated::open(packet, Direction::Request, key, scratch)
            {
                return Some((&**key, mac_at));
            }
        }
        None
    }
}
