//! The labels under which remote senders are published: who may use which, and how many there are.
//!
//! Labels come from the network, and on UDP a source address may be faked. So
//!
//! 1. senders that have shown that they receive our replies share the labels that they name;
//! 2. any other sender has labels for itself. The plain ones are its own while nobody else has them. If
//!    another one has them and stays, it is published with its address as one more tag;
//! 3. when the table is full, the unproven make room for the proven, and the silent for anyone;
//! 4. the labels of senders that the configuration names are theirs, whoever else says them.
//!
//! A connection is proof by itself. Its delays have metrics of their own, so what holds of UDP says
//! nothing about them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use slab::Slab;

use crate::limits::{REMOTE_LABELS_KNOWN_MAX, REMOTE_LABELS_MAX};
use crate::proto::context::{Context, small};
use crate::proto::named::{NamedSenders, SenderSpec};
use crate::proto::responder::request::Identity;
use crate::proto::sample::{Labels, Origin};
use crate::proto::time::Mono;
use crate::proto::wire::native::authenticated::KeyId;
use crate::proto::wire::text;

/// Names of tags that we give: a stranger's tag of such a name is left out.
const OUR_TAGS: [&str; 8] = [
    "source",
    "target",
    "direction",
    "address",
    "port",
    "owd",
    "event",
    "backend",
];

/// Who has been silent for less keeps labels that another one wants.
const SILENT_LEAST_NS: u64 = 100_000_000;

/// The interval of a holder until it is known.
const GAP_AT_FIRST_NS: u64 = 1_000_000_000;

/// Who has been silent for longer makes room in a full table, however slow it was before.
const SILENT_MOST_NS: u64 = 8_000_000_000;

/// A full table is searched at most this often: that takes some tens of microseconds.
const SEARCH_EVERY_NS: u64 = 1_000_000;

const HOUR_NS: u64 = 3_600_000_000_000;

/// Allowance for one new label.
const NEW_LABEL_NS: u64 = HOUR_NS / REMOTE_LABELS_MAX as u64;

/// On what grounds a sender asks for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It has a connection to us.
    Connected,
    /// It has returned a number that we chose.
    Proven,
    /// Nothing but what its packets say.
    Unproven(Who),
    /// The configuration names its address, which may be faked.
    Named(Who),
}

/// A sender on UDP, as its packets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) from: IpAddr,
    pub(super) sender: Sender,
    /// The key that it has: who lacks it is another one.
    pub(super) key: Option<KeyId>,
}

/// What tells the senders at one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sender {
    /// The cookie of a flow of ours. A stranger cannot know it, and a translator (NAT) on the way may
    /// give every probe another port.
    Cookie(u32),
    /// The port, and the address and port of ours that it sends to, where a request has nothing better
    /// (RFC 8972, section 3).
    Port {
        from: u16,
        to: Option<IpAddr>,
        to_port: u16,
    },
}

impl Claim {
    /// True if its sender receives what we send to its address.
    pub(super) const fn is_proof(self) -> bool {
        matches!(self, Self::Connected | Self::Proven)
    }

    /// True if there are only so many of its labels as the configuration has, or room for them is earned.
    const fn is_trusted(self) -> bool {
        !matches!(self, Self::Unproven(_))
    }
}

/// The right to publish under some labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: u32,
    serial: u64,
    claim: Claim,
}

/// The one sender that has labels for itself.
#[derive(Clone, Copy, Debug)]
struct Holder {
    who: Who,
    /// Its sessions: one of text and one of native packets, say.
    sessions: u32,
    serial: u64,
    last_heard: Mono,
    /// Between its last two delays.
    gap_ns: u64,
}

impl Holder {
    /// True if it has missed some of its intervals, so that another one may follow it: soon from the same
    /// address, where it was started again perhaps, and later from elsewhere.
    fn has_left(&self, to: Who, now: Mono) -> bool {
        let gaps = if self.who.from == to.from { 3 } else { 10 };
        now.since(self.last_heard) >= self.gap_ns.saturating_mul(gaps).max(SILENT_LEAST_NS)
    }
}

#[derive(Debug)]
struct Entry {
    labels: Arc<Labels>,
    origin: Origin,
    /// Another one for every entry.
    serial: u64,
    connected: u32,
    proven: u32,
    holder: Option<Holder>,
    is_named: bool,
    last_heard: Mono,
    /// Origins of ours when this was compared with their labels.
    compared: u64,
}

impl Entry {
    fn is_trusted(&self) -> bool {
        self.connected + self.proven > 0
    }

    fn may_make_room(&self, is_trusted: bool, now: Mono) -> bool {
        let silent_ns = now.since(self.last_heard);
        match (self.is_trusted() || self.is_named, is_trusted) {
            (false, true) => true,
            (true, false) => false,
            (true, true) | (false, false) => silent_ns >= SILENT_MOST_NS,
        }
    }
}

/// How many new labels there may be, because a store keeps every series that it has ever seen.
#[derive(Debug, Default)]
struct Allowance {
    /// Hashes of the labels published so far.
    known: BTreeSet<u64>,
    /// When the last used allowance for a new label began, at most an hour from now. At that
    /// instant all of them are used.
    spent_until: Mono,
}

impl Allowance {
    /// True if the labels were published before, or an allowance for new ones is left.
    fn may_open(&mut self, hash: u64, now: Mono) -> bool {
        if self.known.contains(&hash) {
            return true;
        }
        let spent_until = self.spent_until.max(now).plus(NEW_LABEL_NS);
        if spent_until > now.plus(HOUR_NS) {
            return false;
        }
        self.spent_until = spent_until;
        if self.known.len() >= REMOTE_LABELS_KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(hash);
        true
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct RemoteLabels {
    own_name: Arc<str>,
    named: NamedSenders,
    entries: Slab<Entry>,
    by_labels: BTreeMap<Arc<Labels>, u32>,
    serials: u64,
    trusted: Allowance,
    unproven: Allowance,
    /// Hashes of the labels that UDP senders were proven under: nobody else is published under them.
    proven: BTreeSet<u64>,
    /// No search for room before this.
    search_after: Mono,
}

impl RemoteLabels {
    pub(super) fn new(own_name: Arc<str>) -> Self {
        Self {
            own_name,
            named: NamedSenders::default(),
            entries: Slab::new(),
            by_labels: BTreeMap::new(),
            serials: 0,
            trusted: Allowance::default(),
            unproven: Allowance::default(),
            proven: BTreeSet::new(),
            search_after: Mono::ZERO,
        }
    }

    /// These are the senders that have no names but ours for them.
    pub(super) fn name_senders(&mut self, named: NamedSenders) {
        self.named = named;
    }

    /// Returns what a sender is to us that says no name.
    pub(super) fn sender(&self, from: IpAddr, ssid: u16) -> Option<&Arc<SenderSpec>> {
        self.named.find(from, ssid)
    }

    /// Returns the right to publish a sender that the configuration names; `None` as
    /// [`acquire`](Self::acquire). If it `stays`, it may have the labels with its port: another one at its
    /// address has them.
    pub(super) fn acquire_named(
        &mut self,
        sender: &SenderSpec,
        who: Who,
        stays: bool,
        context: &mut Context,
    ) -> Option<Ticket> {
        let mut tags = sender.tags.clone();
        // What a file lists is little. How many a prefix has, whoever fakes addresses decides.
        let mut claim = Claim::Named(who);
        if !sender.from.is_one() {
            tags.push(format!("address:{}", who.from).into());
            claim = Claim::Unproven(who);
        }
        let labels = Labels::new(&sender.label, &self.own_name, &tags);
        let ticket = self.join(labels, claim, context);
        if ticket.is_some() || !stays {
            return ticket;
        }
        if let Sender::Port { from, .. } = who.sender {
            tags.push(format!("port:{from}").into());
        }
        let labels = Labels::new(&sender.label, &self.own_name, &tags);
        self.join(labels, Claim::Unproven(who), context)
    }

    /// Returns the right to publish a sender of this identity; `None` if there is no room, or if the
    /// labels are another one's. If it `stays`, it may have them with its address.
    pub(super) fn acquire(
        &mut self,
        identity: Identity<'_>,
        claim: Claim,
        stays: bool,
        context: &mut Context,
    ) -> Option<Ticket> {
        let mut tags = text::decode_tags(identity.tags).ok()?;
        tags.retain(|tag| !is_ours(tag));
        let labels = Labels::new(identity.source, &self.own_name, &tags);
        let is_named = self.named.has_label(identity.source);
        let who = match claim {
            Claim::Unproven(who) | Claim::Named(who) => who,
            Claim::Proven if is_named => return None,
            Claim::Proven | Claim::Connected => return self.join(labels, claim, context),
        };
        let is_taken = self.proven.contains(&hash(&labels)) || context.has_own(&labels);
        if !is_taken
            && !is_named
            && let Some(ticket) = self.join(labels, claim, context)
        {
            return Some(ticket);
        }
        if !stays {
            return None;
        }
        tags.push(format!("address:{}", who.from).into());
        let labels = Labels::new(identity.source, &self.own_name, &tags);
        self.join(labels, claim, context)
    }

    fn join(&mut self, labels: Labels, claim: Claim, context: &mut Context) -> Option<Ticket> {
        let now = context.now.mono;
        let hash = hash(&labels);
        let slot = match self.by_labels.get(&labels) {
            Some(&slot) => slot,
            None => self.open(labels, hash, claim, context)?,
        };
        let entry = &mut self.entries[slot as usize];
        let serial = match claim {
            Claim::Connected => {
                entry.connected += 1;
                entry.serial
            }
            Claim::Proven => {
                // What it had until now it has no longer.
                entry.holder = None;
                entry.proven += 1;
                if self.proven.len() >= REMOTE_LABELS_KNOWN_MAX {
                    self.proven.clear();
                }
                self.proven.insert(hash);
                entry.serial
            }
            Claim::Unproven(_) if entry.proven > 0 => return None,
            Claim::Unproven(who) | Claim::Named(who) => match &mut entry.holder {
                Some(holder) if holder.who == who => {
                    holder.sessions += 1;
                    holder.serial
                }
                Some(holder) if !holder.has_left(who, now) => return None,
                holder => {
                    self.serials += 1;
                    *holder = Some(Holder {
                        who,
                        sessions: 1,
                        serial: self.serials,
                        last_heard: now,
                        gap_ns: GAP_AT_FIRST_NS,
                    });
                    self.serials
                }
            },
        };
        entry.last_heard = now;
        Some(Ticket {
            slot,
            serial,
            claim,
        })
    }

    fn open(
        &mut self,
        labels: Labels,
        hash: u64,
        claim: Claim,
        context: &mut Context,
    ) -> Option<u32> {
        let now = context.now.mono;
        // First, so that nobody makes room for a name that is refused.
        let may_open = match claim {
            Claim::Connected | Claim::Proven => self.trusted.may_open(hash, now),
            Claim::Unproven(_) => self.unproven.may_open(hash, now),
            Claim::Named(_) => true,
        };
        if !may_open {
            return None;
        }
        if self.entries.len() >= REMOTE_LABELS_MAX {
            self.make_room(claim.is_trusted(), context)?;
        }
        let labels = Arc::new(labels);
        self.serials += 1;
        let slot = small(self.entries.insert(Entry {
            origin: context.open_remote(labels.clone()),
            labels: labels.clone(),
            serial: self.serials,
            connected: 0,
            proven: 0,
            holder: None,
            is_named: matches!(claim, Claim::Named(_)),
            last_heard: now,
            compared: context.own_opened,
        }));
        self.by_labels.insert(labels, slot);
        Some(slot)
    }

    /// Removes the entry that has been silent for longest of those that must make room, the unproven
    /// first.
    fn make_room(&mut self, is_trusted: bool, context: &mut Context) -> Option<()> {
        let now = context.now.mono;
        if now < self.search_after {
            return None;
        }
        self.search_after = now.plus(SEARCH_EVERY_NS);
        let entries = self.entries.iter();
        let least_wanted = entries
            .filter(|(_, entry)| entry.may_make_room(is_trusted, now))
            .min_by_key(|(_, entry)| (entry.is_trusted(), entry.last_heard))
            .map(|(slot, _)| small(slot));
        self.remove(least_wanted?, context);
        Some(())
    }

    fn remove(&mut self, slot: u32, context: &mut Context) {
        let entry = self.entries.remove(slot as usize);
        self.by_labels.remove(&entry.labels);
        context.close_origin(entry.origin, None);
    }

    fn entry_of(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(ticket.slot as usize)?;
        let serial = match ticket.claim {
            Claim::Connected | Claim::Proven => entry.serial,
            Claim::Unproven(_) | Claim::Named(_) => entry.holder?.serial,
        };
        (serial == ticket.serial).then_some(entry)
    }

    /// A delay is to be published now. Returns its origin; `None` if the right to it is lost.
    pub(super) fn redeem(&mut self, ticket: Ticket, context: &mut Context) -> Option<Origin> {
        let now = context.now.mono;
        let own_opened = context.own_opened;
        let entry = self.entry_of(ticket)?;
        entry.last_heard = now;
        let origin = entry.origin;
        if let (Claim::Unproven(_) | Claim::Named(_), Some(holder)) =
            (ticket.claim, &mut entry.holder)
        {
            // The delay of the first request comes with that of the second.
            if now > holder.last_heard {
                holder.gap_ns = now.since(std::mem::replace(&mut holder.last_heard, now));
            }
            if entry.compared != own_opened {
                entry.compared = own_opened;
                if context.has_own(&entry.labels) {
                    entry.holder = None;
                    if !entry.is_trusted() {
                        self.remove(ticket.slot, context);
                    }
                    return None;
                }
            }
        }
        Some(origin)
    }

    /// Gives a right back.
    pub(super) fn release(&mut self, ticket: Ticket, context: &mut Context) {
        let Some(entry) = self.entry_of(ticket) else {
            return;
        };
        match ticket.claim {
            Claim::Connected => entry.connected -= 1,
            Claim::Proven => entry.proven -= 1,
            Claim::Unproven(_) | Claim::Named(_) => {
                let holder = entry.holder.as_mut();
                let is_last = holder.is_none_or(|holder| {
                    holder.sessions -= 1;
                    holder.sessions == 0
                });
                if is_last {
                    entry.holder = None;
                }
            }
        }
        if !entry.is_trusted() && entry.holder.is_none() {
            self.remove(ticket.slot, context);
        }
    }
}

fn hash(labels: &Labels) -> u64 {
    let mut hasher = DefaultHasher::new();
    labels.hash(&mut hasher);
    hasher.finish()
}

/// True for a tag whose name, as any store would read it, is one of ours.
fn is_ours(tag: &str) -> bool {
    let Some((name, _)) = tag.split_once(':') else {
        return false;
    };
    let name = name.trim_matches(|character: char| !character.is_alphanumeric());
    OUR_TAGS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}
