//! The table of series: which origin publishes into which set of series, and how often things happened there.
//!
//! A [`SeriesSet`] has all series of one set of labels. Origins of equal labels share it: UDP and TCP to one
//! target, or a peer before and after its restart. Origins come and go. A set outlives its last origin until
//! every sink has published what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::ORIGINS_MAX;
use crate::proto::{
    Counters, Direction, FlowKind, FlowNumber, Labels, Member, Metric as Delay, Mono, OneWay,
    Origin, Relabelled,
};
use crate::record::counts::{COUNTS, Counted, counted, difference};
use crate::record::metrics::KINDS;
use crate::record::quantity::{FLOW_DIRECTIONS, FlowDirection, QUANTITIES, Quantity};
use crate::record::series::{Series, Tags};
use crate::record::variation::{Consecutive, Ipdv};

/// The sum over all flows of one kind under the same labels, those gone included.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Flows that are there now.
    pub(super) flows: u32,
    /// Totals since the set was made.
    pub(super) totals: Counted,
}

/// The series of one set of labels.
#[derive(Debug)]
pub(super) struct SeriesSet {
    labels: Arc<Labels>,
    pub(super) tags: Arc<Tags>,
    series: [Option<Arc<Series>>; QUANTITIES],
    pub(super) tallies: [Tally; KINDS],
    /// How often a clock was set while packets came in.
    steps: [u32; FLOW_DIRECTIONS],
    /// When that was noticed last.
    pub(super) stepped: Mono,
    origins: u32,
}

impl SeriesSet {
    /// Returns the series of a quantity, and makes it when its first value comes.
    pub(super) fn series(&mut self, quantity: Quantity) -> &Arc<Series> {
        self.series[quantity.index()].get_or_insert_with(|| {
            let tags = match quantity.tag() {
                None => Arc::clone(&self.tags),
                Some(tag) => Arc::new(Tags::Marked(Arc::clone(&self.labels), tag)),
            };
            Arc::new(Series {
                metric: quantity.metric(),
                tags,
            })
        })
    }

    /// Returns how often a clock was set that is in the values of a quantity.
    pub(super) fn steps(&self, quantity: Quantity) -> u32 {
        let of = |kind| {
            let directions = Direction::ALL.into_iter();
            let places =
                directions.filter_map(move |direction| FlowDirection::new(kind, direction));
            places.fold(0, |sum: u32, place| {
                sum.wrapping_add(self.steps[place.index()])
            })
        };
        match quantity {
            Quantity::Delay(Delay::UdpOwd) | Quantity::Corrected { is_tcp: false } => {
                of(FlowKind::Udp)
            }
            Quantity::Delay(Delay::TcpOwd) | Quantity::Corrected { is_tcp: true } => {
                of(FlowKind::Tcp)
            }
            Quantity::Pdv(direction) => self.steps[direction.index()],
            Quantity::Delay(_) | Quantity::Ipdv(_) => 0,
        }
    }
}

/// Where the values of an origin belong.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The index of the set.
    pub(super) index: usize,
    /// The set itself.
    pub(super) set: &'a mut SeriesSet,
    /// Not a flow of ours, as far as its counters have been read: a remote sender.
    pub(super) is_remote: bool,
    /// Which of several flows it is.
    pub(super) number: FlowNumber,
}

#[derive(Debug)]
struct Owner {
    set: usize,
    /// The set of all flows of the target, if it publishes there as well.
    total: Option<usize>,
    number: FlowNumber,
    kind: Option<FlowKind>,
    last: Counted,
    /// Remote senders on UDP and TCP share an origin if they have one name.
    latest: [Consecutive; FLOW_DIRECTIONS],
}

impl Owner {
    /// Returns the sets that it publishes into.
    fn sets(&self) -> impl Iterator<Item = usize> + use<> {
        [Some(self.set), self.total].into_iter().flatten()
    }

    fn step(&mut self, steps: &mut [u32; FLOW_DIRECTIONS]) {
        for (latest, steps) in self.latest.iter_mut().zip(steps) {
            *steps = steps.wrapping_add(u32::from(latest.step()));
        }
    }
}

/// All origins and sets. Both are tables indexed by small numbers, because a sample must find its series in
/// a few nanoseconds.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    owners: Vec<Option<Owner>>,
    sets: Vec<Option<SeriesSet>>,
    free: Vec<usize>,
    by_labels: BTreeMap<Arc<Labels>, usize>,
    deserted: Vec<usize>,
}

impl SeriesTable {
    /// Opens an origin. One that is still open is closed before.
    pub(super) fn open(&mut self, origin: Origin, labels: &Arc<Labels>) {
        if origin.0 >= ORIGINS_MAX {
            tracing::error!(origin = origin.0, "number of an origin out of range");
            return;
        }
        self.close(origin, None);
        let set = self.intern(labels);
        let index = origin.0 as usize;
        if index >= self.owners.len() {
            self.owners.resize_with(index + 1, || None);
        }
        self.owners[index] = Some(Owner {
            set,
            total: None,
            number: FlowNumber::ONLY,
            kind: None,
            last: [0; COUNTS],
            latest: Default::default(),
        });
    }

    fn intern(&mut self, labels: &Arc<Labels>) -> usize {
        if let Some(&index) = self.by_labels.get(labels) {
            if let Some(set) = &mut self.sets[index] {
                set.origins += 1;
            }
            return index;
        }
        let set = Some(SeriesSet {
            labels: Arc::clone(labels),
            tags: Arc::new(Tags::Flow(Arc::clone(labels))),
            series: Default::default(),
            tallies: Default::default(),
            steps: Default::default(),
            stepped: Mono::ZERO,
            origins: 1,
        });
        let index = if let Some(index) = self.free.pop() {
            self.sets[index] = set;
            index
        } else {
            self.sets.push(set);
            self.sets.len() - 1
        };
        self.by_labels.insert(Arc::clone(labels), index);
        index
    }

    /// Closes an origin, with its last counters if it was a flow of ours.
    pub(super) fn close(&mut self, origin: Origin, last: Option<&(FlowKind, Counters)>) {
        if let Some((kind, counters)) = last {
            self.count(origin, *kind, counters);
        }
        let Some(owner) = self
            .owners
            .get_mut(origin.0 as usize)
            .and_then(Option::take)
        else {
            return;
        };
        for set in owner.sets() {
            self.leave(set, owner.kind);
        }
    }

    /// An origin is one of several flows, and publishes under the labels of all of them as well, if there are such.
    pub(super) fn join(&mut self, member: &Member) {
        if self.set_of(member.origin).is_none() {
            return;
        }
        let total = member.total.as_ref().map(|labels| self.intern(labels));
        let Some(Some(owner)) = self.owners.get_mut(member.origin.0 as usize) else {
            return;
        };
        owner.number = member.number;
        let kind = owner.kind;
        let before = std::mem::replace(&mut owner.total, total);
        if let Some(set) = total.and_then(|total| self.sets[total].as_mut())
            && let Some(kind) = kind
        {
            set.tallies[kind as usize].flows += 1;
        }
        if let Some(before) = before {
            self.leave(before, kind);
        }
    }

    /// An origin publishes under other labels from here on. What it has counted so far stays under those before.
    pub(super) fn relabel(&mut self, relabelled: &Relabelled) {
        let Relabelled {
            origin,
            ref labels,
            ref last,
        } = *relabelled;
        if let Some((kind, counters)) = last {
            self.count(origin, *kind, counters);
        }
        if self.set_of(origin).is_none() {
            return;
        }
        // First, so that a set of the same labels is not deserted.
        let new = self.intern(labels);
        let Some(Some(owner)) = self.owners.get_mut(origin.0 as usize) else {
            return;
        };
        let old = std::mem::replace(&mut owner.set, new);
        let kind = owner.kind;
        if let (Some(kind), Some(set)) = (kind, &mut self.sets[new]) {
            set.tallies[kind as usize].flows += 1;
        }
        self.leave(old, kind);
    }

    /// An origin publishes no more into a set.
    fn leave(&mut self, index: usize, kind: Option<FlowKind>) {
        let Some(set) = &mut self.sets[index] else {
            return;
        };
        if let Some(kind) = kind {
            set.tallies[kind as usize].flows -= 1;
        }
        set.origins -= 1;
        if set.origins == 0 {
            self.deserted.push(index);
        }
    }

    /// Takes the counters of a flow as they stand now.
    pub(super) fn count(&mut self, origin: Origin, kind: FlowKind, counters: &Counters) {
        let Some(Some(owner)) = self.owners.get_mut(origin.0 as usize) else {
            return;
        };
        let is_new = owner.kind.is_none();
        owner.kind = Some(kind);
        let counted = counted(counters);
        let grown = difference(&counted, &owner.last);
        for index in owner.sets() {
            let Some(set) = &mut self.sets[index] else {
                continue;
            };
            let tally = &mut set.tallies[kind as usize];
            tally.flows += u32::from(is_new);
            for (total, grown) in tally.totals.iter_mut().zip(grown) {
                *total += grown;
            }
        }
        owner.last = counted;
    }

    /// Returns where the values of an origin belong.
    pub(super) fn find(&mut self, origin: Origin) -> Option<Found<'_>> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        Some(Found {
            index: owner.set,
            set: self.sets[owner.set].as_mut()?,
            is_remote: owner.kind.is_none(),
            number: owner.number,
        })
    }

    /// Returns where they belong as well: to those of all flows of the target.
    pub(super) fn find_total(&mut self, origin: Origin) -> Option<Found<'_>> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        let index = owner.total?;
        Some(Found {
            index,
            set: self.sets[index].as_mut()?,
            is_remote: owner.kind.is_none(),
            number: owner.number,
        })
    }

    /// Hands everywhere where the values of an origin belong to `handle`.
    pub(super) fn for_each(&mut self, origin: Origin, mut handle: impl FnMut(Found<'_>)) {
        if let Some(found) = self.find(origin) {
            handle(found);
        }
        if let Some(found) = self.find_total(origin) {
            handle(found);
        }
    }

    /// Takes one packet's one-way delay. Returns its ipdv, if the packet before it came.
    pub(super) fn follow(&mut self, direction: FlowDirection, one_way: &OneWay) -> Option<Ipdv> {
        let owner = self.owners.get_mut(one_way.origin.0 as usize)?.as_mut()?;
        owner.latest[direction.index()].follow(one_way)
    }

    /// Notes that a clock was set. That of an origin's peer is in the delays of all flows under its labels, and
    /// this host's clock is in all delays.
    pub(super) fn step(&mut self, origin: Option<Origin>, at: Mono) {
        let only = origin.map(|origin| self.whole_of(origin));
        for owner in self.owners.iter_mut().flatten() {
            if only.is_some_and(|set| set != Some(owner.total.unwrap_or(owner.set))) {
                continue;
            }
            let mut steps = Default::default();
            owner.step(&mut steps);
            for index in owner.sets() {
                if let Some(set) = &mut self.sets[index] {
                    set.stepped = at;
                    for (sum, step) in set.steps.iter_mut().zip(steps) {
                        *sum = sum.wrapping_add(step);
                    }
                }
            }
        }
    }

    /// Returns the index of the set of all flows of an origin's target.
    pub(super) fn whole_of(&self, origin: Origin) -> Option<usize> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        Some(owner.total.unwrap_or(owner.set))
    }

    /// Returns the index of an origin's set.
    pub(super) fn set_of(&self, origin: Origin) -> Option<usize> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        Some(owner.set)
    }

    /// Returns all sets by their index. The places of freed sets are empty.
    pub(super) fn sets(&self) -> &[Option<SeriesSet>] {
        &self.sets
    }

    /// Frees the sets without origins of which everything `is_published`.
    pub(super) fn free_deserted(
        &mut self,
        mut is_published: impl FnMut(usize, &SeriesSet) -> bool,
    ) {
        let Self {
            sets,
            free,
            by_labels,
            deserted,
            ..
        } = self;
        deserted.retain(|&index| {
            let Some(set) = &sets[index] else {
                return false;
            };
            if set.origins > 0 {
                return false;
            }
            if !is_published(index, set) {
                return true;
            }
            by_labels.remove(&set.labels);
            sets[index] = None;
            free.push(index);
            false
        });
    }
}
