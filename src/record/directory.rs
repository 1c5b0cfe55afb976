//! Who publishes under which labels, and how often things happened there.
//!
//! An origin comes and goes; a [`Group`] stands for labels. Origins of equal labels (UDP and TCP to
//! one target, a peer before and after its restart) share a group and so their series and counts.
//! A group outlives its last origin until every sink has published what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::ORIGINS_MAX;
use crate::proto::{Counters, FlowKind, Labels, Metric, Origin};
use crate::record::item::{Series, Tags};

/// Counts published for one kind of flow at most.
pub(super) const COUNTS: usize = 8;

/// Kinds of flows.
pub(super) const KINDS: usize = 3;

/// Metrics of delays.
pub(super) const METRICS: usize = Metric::ALL.len();

/// The counters of a flow in the order of [`count_names`].
pub(super) type Counted = [u64; COUNTS];

fn counted(counters: &Counters) -> Counted {
    [
        counters.sent,
        counters.received,
        counters.lost,
        counters.late,
        counters.duplicate,
        counters.reordered,
        counters.corrupt,
        counters.unsent,
    ]
}

/// What happened between two readings.
pub(super) fn difference(later: &Counted, earlier: &Counted) -> Counted {
    std::array::from_fn(|at| later[at].saturating_sub(earlier[at]))
}

/// The metrics that a kind of flow publishes, in the order of [`Counted`].
pub(super) const fn count_names(kind: FlowKind) -> [Option<&'static str>; COUNTS] {
    match kind {
        FlowKind::Udp => [
            Some("udp.wan.sent"),
            Some("udp.wan.received"),
            Some("udp.wan.lost"),
            Some("udp.wan.late"),
            Some("udp.wan.duplicate"),
            Some("udp.wan.reordered"),
            Some("udp.wan.corrupt"),
            Some("udp.wan.unsent"),
        ],
        FlowKind::Tcp => [
            Some("tcp.wan.sent"),
            Some("tcp.wan.received"),
            Some("tcp.wan.lost"),
            Some("tcp.wan.late"),
            Some("tcp.wan.duplicate"),
            Some("tcp.wan.reordered"),
            Some("tcp.wan.corrupt"),
            Some("tcp.wan.unsent"),
        ],
        FlowKind::Connect => [
            Some("tcp.wan.latency.sent"),
            None,
            Some("tcp.wan.latency.failed"),
            None,
            None,
            None,
            None,
            Some("tcp.wan.latency.unsent"),
        ],
    }
}

/// The kinds in the order of their discriminants.
pub(super) const ALL_KINDS: [FlowKind; KINDS] = [FlowKind::Udp, FlowKind::Tcp, FlowKind::Connect];

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
    pub(super) series: [Option<Arc<Series>>; METRICS],
    pub(super) tallies: [Tally; KINDS],
    origins: u32,
}

impl Group {
    /// The series of a metric, made when its first sample comes.
    pub(super) fn series(&mut self, metric: Metric) -> &Arc<Series> {
        self.series[metric as usize].get_or_insert_with(|| {
            Arc::new(Series {
                metric: metric.as_str(),
                tags: Arc::clone(&self.tags),
            })
        })
    }
}

#[derive(Debug)]
struct Owner {
    group: usize,
    kind: Option<FlowKind>,
    last: Counted,
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

    /// The group of an origin, and its index.
    pub(super) fn find(&mut self, origin: Origin) -> Option<(usize, &mut Group)> {
        let index = self.owners.get(origin.0 as usize)?.as_ref()?.group;
        Some((index, self.groups[index].as_mut()?))
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
