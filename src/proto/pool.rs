//! All addresses of a name, each of which is a target of its own: a headless service, an anycast pool.
//!
//! 1. An address is probed from the first answer on that has it, and no more once it is
//!    [gone](crate::proto::absence) from the answers, whether it still works or not.
//! 2. A look-up that fails changes nothing, and is tried again sooner.
//! 3. An address that stays is not touched, whatever comes and goes beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::limits::EVERY_ADDRESS_MAX;
use crate::proto::absence::Absences;
use crate::proto::context::Context;
use crate::proto::families::{Filter, in_turn};
use crate::proto::life::{LifeEvent, Subject};
use crate::proto::lookup::{Answer, Lookup};
use crate::proto::owner::Timer;
use crate::proto::sample::Labels;
use crate::proto::target::{Address, Host, TargetSpec};
use crate::proto::transmit::TargetId;
use crate::proto::wire::native::authenticated::Key;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: TargetId,
    /// What each address is probed as, but for its host and its tag.
    spec: TargetSpec,
    own_name: Arc<str>,
    lookup: Lookup,
    filter: Filter,
    absences: Absences,
    members: BTreeMap<Address, Member>,
    steps: VecDeque<Step>,
    subject: Subject,
    /// An answer has come.
    is_answered: bool,
    /// Addresses of the last answer are not probed, and that was told.
    is_crowded: bool,
}

/// An address of the name.
#[derive(Debug, Default)]
struct Member {
    /// Its place in the table of targets, once it is there.
    slot: Option<usize>,
    /// Answers in a row that have lacked it.
    absent: u32,
    is_ending: bool,
}

/// What is to be done about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Begin(Address),
    End(Address),
}

impl Pool {
    /// The pool at place `slot` of the table, whose name is looked up every `resolve_interval_ns`, and now.
    pub(crate) fn new(
        slot: u32,
        id: TargetId,
        own_name: &Arc<str>,
        resolve_interval_ns: u64,
        spec: TargetSpec,
        context: &mut Context,
    ) -> Self {
        let labels = Arc::new(Labels::new(own_name, &spec.label, &spec.tags));
        let timer = Timer::ResolvePool(slot);
        let mut pool = Self {
            id,
            own_name: own_name.clone(),
            lookup: Lookup::new(timer, id, spec.host.clone(), resolve_interval_ns),
            filter: Filter::new(spec.family),
            absences: Absences::default(),
            members: BTreeMap::new(),
            steps: VecDeque::new(),
            subject: Subject::new(labels, None),
            is_answered: false,
            is_crowded: false,
            spec,
        };
        pool.lookup.ask(context);
        pool
    }

    /// The timer of the look-up fired.
    pub(crate) fn handle_resolve_timer(&mut self, context: &mut Context) {
        self.lookup.handle_timer(context);
    }

    /// The name was looked up. What is to be done then [`poll`](Self::poll) gives.
    pub(crate) fn handle_resolved(&mut self, addresses: &[Address], context: &mut Context) {
        let (addresses, told) = self.filter.sift(addresses);
        if let Some(event) = told {
            context.tell(&self.subject, event);
        }
        if addresses.is_empty() {
            self.lookup.handle_answer(Answer::Nothing, context);
            return;
        }
        self.lookup.handle_answer(Answer::Same, context);
        self.end_those_gone(&addresses, context);
        let mut left_out = None;
        for address in in_turn(&addresses) {
            if self.members.contains_key(&address) {
                continue;
            }
            if self.members.len() >= EVERY_ADDRESS_MAX {
                left_out.get_or_insert(address);
                continue;
            }
            self.members.insert(address, Member::default());
            self.steps.push_back(Step::Begin(address));
            let is_first = !self.is_answered;
            context.tell(&self.subject, LifeEvent::AddressBegun { address, is_first });
        }
        self.is_answered = true;
        match left_out {
            Some(address) => self.tell_crowded(address, context),
            None => self.is_crowded = false,
        }
    }

    /// Counts the answers in a row that lack an address.
    fn end_those_gone(&mut self, answer: &[Address], context: &mut Context) {
        let answer: BTreeSet<&Address> = answer.iter().collect();
        for (address, member) in &mut self.members {
            if answer.contains(address) {
                self.absences
                    .handle_return(std::mem::take(&mut member.absent));
            } else {
                member.absent = member.absent.saturating_add(1);
            }
        }
        for (address, member) in &mut self.members {
            if self.absences.is_gone(member.absent)
                && !std::mem::replace(&mut member.is_ending, true)
            {
                self.steps.push_back(Step::End(*address));
                let (address, answers) = (*address, member.absent);
                context.tell(&self.subject, LifeEvent::AddressGone { address, answers });
            }
        }
    }

    /// Says once that there is no room for all addresses.
    fn tell_crowded(&mut self, address: Address, context: &mut Context) {
        if !std::mem::replace(&mut self.is_crowded, true) {
            context.tell(&self.subject, LifeEvent::AddressLeftOut { address });
        }
    }

    /// The next target to begin or to end, until there is none.
    pub(crate) fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Returns what an address is probed as.
    pub(crate) fn spec_of(&self, address: Address) -> TargetSpec {
        TargetSpec {
            host: Host::Address(address.ip),
            tags: tags_of(&self.spec.tags, address),
            every_address: false,
            ..self.spec.clone()
        }
    }

    /// The target of an address has begun at this place of the table, or there is no room for it.
    pub(crate) fn handle_begun(
        &mut self,
        address: Address,
        slot: Option<usize>,
        context: &mut Context,
    ) {
        if slot.is_none() {
            self.members.remove(&address);
            self.tell_crowded(address, context);
        } else if let Some(member) = self.members.get_mut(&address) {
            member.slot = slot;
        }
    }

    /// Forgets an address. Returns the place of its target.
    pub(crate) fn take(&mut self, address: Address) -> Option<usize> {
        self.members.remove(&address)?.slot
    }

    /// Returns the addresses that are probed, and the places of their targets.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Address, usize)> {
        let members = self.members.iter();
        members.filter_map(|(address, member)| Some((*address, member.slot?)))
    }

    /// The target has another key: addresses that come have it, too.
    pub(crate) fn handle_key(&mut self, key: &Arc<Key>) {
        self.spec.key = Some(key.clone());
    }

    /// The target is called otherwise: addresses that come are, too.
    pub(crate) fn handle_labels(&mut self, label: &str, tags: &[Box<str>]) {
        (self.spec.label, self.spec.tags) = (label.into(), tags.into());
        self.subject.labels = Arc::new(Labels::new(&self.own_name, label, tags));
    }

    /// Ends the look-ups.
    pub(crate) fn end(&mut self, context: &mut Context) {
        self.lookup.end(context);
    }
}

/// Returns the tags of what is published about an address.
pub(crate) fn tags_of(tags: &[Box<str>], address: Address) -> Box<[Box<str>]> {
    let own = format!("address:{address}").into();
    tags.iter().cloned().chain([own]).collect()
}
