//! Who publishes under which labels, and how often things happened there.
//!
//! An origin comes and goes; a [`Group`] stands for labels. Origins of equal labels (UDP and TCP to
//! one target, a peer before and after its restart) share a group and so their series and counts.
//! A group outlives its last origin until every sink has published what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::ORIGINS_MAX;
use crate::proto::{Counters, FlowKind, Labels, OneWay, Origin, StampSource};
use crate::record::counts::{COUNTS, Counted, counted, difference};
use crate::record::metrics::KINDS;
use crate::record::quantity::{LANES, Lane, QUANTITIES, Quantity};
use crate::record::series::{Series, Tags};
use crate::record::variation::Consecutive;

/// The sum over all flows of one kind under the same labels, those gone included.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Flows that are there now.
    pub(super) flows: u32,
    /// Totals since the group began.
    pub(super) totals: Counted,
}

/// One set of labels, with everything published under it.
#[derive(Debug)]
pub(super) struct Group {
    labels: Arc<Labels>,
    pub(super) tags: Arc<Tags>,
    series: [Option<Arc<Series>>; QUANTITIES],
    pub(super) tallies: [Tally; KINDS],
    /// How often a clock was set while packets came in.
    steps: [u32; LANES],
    origins: u32,
}

impl Group {
    /// The series of a quantity, made when its first value comes.
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

    /// How often a clock was set while packets came in on this lane.
    pub(super) const fn steps(&self, lane: Lane) -> u32 {
        self.steps[lane.index()]
    }
}

/// Where the values of an origin belong.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The group's index.
    pub(super) index: usize,
    /// The group.
    pub(super) group: &'a mut Group,
    /// Not a flow of ours, as far as its counters have been read: a remote sender.
    pub(super) is_remote: bool,
}

#[derive(Debug)]
struct Owner {
    group: usize,
    kind: Option<FlowKind>,
    last: Counted,
    /// Remote senders on UDP and TCP share an origin if they have one name.
    lanes: [Consecutive; LANES],
}

impl Owner {
    fn step(&mut self, steps: &mut [u32; LANES]) {
        for (lane, steps) in self.lanes.iter_mut().zip(steps) {
            *steps = steps.wrapping_add(u32::from(lane.step()));
        }
    }
}

/// All origins and groups. Both are tables indexed by small numbers, for a sample must find its
/// series in a few nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Directory {
    owners: Vec<Option<Owner>>,
    groups: Vec<Option<Group>>,
    free: Vec<usize>,
    by_labels: BTreeMap<Arc<Labels>, usize>,
    deserted: Vec<usize>,
}

impl Directory {
    /// An origin begins. What it leaves out of order is put right as if it had been closed before.
    pub(super) fn open(&mut self, origin: Origin, labels: &Arc<Labels>) {
        if origin.0 >= ORIGINS_MAX {
            tracing::error!(origin = origin.0, "number of an origin out of range");
            return;
        }
        self.close(origin, None);
        let group = self.intern(labels);
        let index = origin.0 as usize;
        if index >= self.owners.len() {
            self.owners.resize_with(index + 1, || None);
        }
        self.owners[index] = Some(Owner {
            group,
            kind: None,
            last: [0; COUNTS],
            lanes: Default::default(),
        });
    }

    fn intern(&mut self, labels: &Arc<Labels>) -> usize {
        if let Some(&index) = self.by_labels.get(labels) {
            if let Some(group) = &mut self.groups[index] {
                group.origins += 1;
            }
            return index;
        }
        let group = Some(Group {
            labels: Arc::clone(labels),
            tags: Arc::new(Tags::Flow(Arc::clone(labels))),
            series: Default::default(),
            tallies: Default::default(),
            steps: Default::default(),
            origins: 1,
        });
        let index = if let Some(index) = self.free.pop() {
            self.groups[index] = group;
            index
        } else {
            self.groups.push(group);
            self.groups.len() - 1
        };
        self.by_labels.insert(Arc::clone(labels), index);
        index
    }

    /// An origin ends, with its last counters if it was a flow of ours.
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
        let Some(group) = &mut self.groups[owner.group] else {
            return;
        };
        if let Some(kind) = owner.kind {
            group.tallies[kind as usize].flows -= 1;
        }
        group.origins -= 1;
        if group.origins == 0 {
            self.deserted.push(owner.group);
        }
    }

    /// The counters of a flow stand here now.
    pub(super) fn count(&mut self, origin: Origin, kind: FlowKind, counters: &Counters) {
        let Some(Some(owner)) = self.owners.get_mut(origin.0 as usize) else {
            return;
        };
        let Some(group) = &mut self.groups[owner.group] else {
            return;
        };
        let tally = &mut group.tallies[kind as usize];
        if owner.kind.is_none() {
            owner.kind = Some(kind);
            tally.flows += 1;
        }
        let counted = counted(counters);
        let grown = difference(&counted, &owner.last);
        for (total, grown) in tally.totals.iter_mut().zip(grown) {
            *total += grown;
        }
        owner.last = counted;
    }

    /// Where the values of an origin belong.
    pub(super) fn find(&mut self, origin: Origin) -> Option<Found<'_>> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        Some(Found {
            index: owner.group,
            group: self.groups[owner.group].as_mut()?,
            is_remote: owner.kind.is_none(),
        })
    }

    /// One packet's one-way delay: how far it is from that of the packet before it, if that came.
    pub(super) fn follow(&mut self, lane: Lane, one_way: &OneWay) -> Option<(i64, StampSource)> {
        let owner = self.owners.get_mut(one_way.origin.0 as usize)?.as_mut()?;
        owner.lanes[lane.index()].follow(one_way)
    }

    /// A clock was set: that of an origin's peer, which is the peer of all flows under its labels, or this
    /// host's, which is part of every delay.
    pub(super) fn step(&mut self, origin: Option<Origin>) {
        let of_origin = |Origin(number)| Some(self.owners.get(number as usize)?.as_ref()?.group);
        let only = match origin {
            None => None,
            Some(origin) => match of_origin(origin) {
                Some(group) => Some(group),
                None => return,
            },
        };
        for owner in self.owners.iter_mut().flatten() {
            if only.is_none_or(|group| owner.group == group)
                && let Some(group) = &mut self.groups[owner.group]
            {
                owner.step(&mut group.steps);
            }
        }
    }

    /// The index of an origin's group.
    pub(super) fn group_of(&self, origin: Origin) -> Option<usize> {
        let owner = self.owners.get(origin.0 as usize)?.as_ref()?;
        Some(owner.group)
    }

    /// All groups by their index; the places of freed ones are empty.
    pub(super) fn groups(&self) -> &[Option<Group>] {
        &self.groups
    }

    /// Free the groups without origins of which `is_published` says that nothing is left to say.
    pub(super) fn free_deserted(&mut self, mut is_published: impl FnMut(usize, &Group) -> bool) {
        let Self {
            groups,
            free,
            by_labels,
            deserted,
            ..
        } = self;
        deserted.retain(|&index| {
            let Some(group) = &groups[index] else {
                return false;
            };
            if group.origins > 0 {
                return false;
            }
            if !is_published(index, group) {
                return true;
            }
            by_labels.remove(&group.labels);
            groups[index] = None;
            free.push(index);
            false
        });
    }
}
