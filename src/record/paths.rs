//! The flows of targets that have several of a kind: which of them an origin is, its 5-tuple, and whether one departs
//! from the others, as `docs/design/paths.md` has it.
//!
//! All flows of a kind to one target are a [`Group`]. It compares them block by block of half a second.

mod few;
mod group;
mod page;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use group::Group;

use crate::limits::ORIGINS_MAX;
use crate::proto::{Direction, FlowKind, Member, Origin, TargetId, Trace, Tuple, Wall};
use crate::record::event::{Departure, EventFlow, EventKind};
use crate::record::metrics::{Metric, WORST};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathFinding {
    /// A flow departs from the others since then, or no longer does.
    Event(Origin, Wall, EventKind),
    /// The worst of several flows, over some seconds. The origin is any of them.
    Worst(Origin, FlowKind, Worst),
}

/// The worst of several flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worst {
    /// The highest share of lost probes in parts per billion, and the number of its flow.
    pub(super) loss: Option<(u64, u16)>,
    /// The highest 99th percentile of round trips in nanoseconds, and the number of its flow.
    pub(super) rtt: Option<(u64, u16)>,
}

impl Worst {
    /// Returns what is published of it.
    pub(super) fn gauges(self, kind: FlowKind) -> impl Iterator<Item = (&'static Metric, i64)> {
        let place = usize::from(kind == FlowKind::Tcp);
        let both = |worst: Option<(u64, u16)>| {
            let value = worst.map(|(value, _)| i64::try_from(value).unwrap_or(i64::MAX));
            [value, worst.map(|(_, number)| i64::from(number))]
        };
        let values = [both(self.loss), both(self.rtt)].into_iter().flatten();
        let rows = WORST.into_iter().zip(values);
        rows.filter_map(move |(metrics, value)| Some((&metrics[place], value?)))
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// By origin; empty where no target has several flows.
    flows: Vec<Option<PathFlow>>,
    groups: BTreeMap<(TargetId, FlowKind), Group>,
    found: VecDeque<PathFinding>,
}

/// One of several flows.
#[derive(Clone, Copy, Debug)]
struct PathFlow {
    group: (TargetId, FlowKind),
    flow: EventFlow,
}

impl Paths {
    /// An origin is one of several flows.
    pub(super) fn join(&mut self, member: &Member) {
        let index = member.origin.0 as usize;
        let (Some(kind), true) = (member.kind, member.origin.0 < ORIGINS_MAX) else {
            return;
        };
        if index >= self.flows.len() {
            self.flows.resize_with(index + 1, || None);
        }
        if self.flows[index].is_some() {
            return;
        }
        let (key, number) = ((member.target, kind), member.number);
        self.flows[index] = Some(PathFlow {
            group: key,
            flow: EventFlow {
                number: number.number,
                tuple: None,
            },
        });
        let new = || Group::new(kind, number.of);
        let group = self.groups.entry(key).or_insert_with(new);
        group.join(member.origin, number.number);
    }

    /// One of them has another 5-tuple: nothing is known of its path.
    pub(super) fn handle_tuple(&mut self, tuple: &Tuple) {
        let Some(Some(known)) = self.flows.get_mut(tuple.origin.0 as usize) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&known.group) {
            group.restart(tuple.origin, &mut self.found);
        }
        known.flow.tuple = Some([tuple.local, tuple.remote]);
    }

    /// Takes a probe that has ended. True if something was found.
    pub(super) fn handle_trace(&mut self, trace: &Trace) -> bool {
        let Some(Some(known)) = self.flows.get(trace.origin.0 as usize) else {
            return false;
        };
        if let Some(group) = self.groups.get_mut(&known.group) {
            group.handle_trace(known.flow.number, trace, &mut self.found);
        }
        !self.found.is_empty()
    }

    /// It has become known in which direction a probe was lost.
    pub(super) fn place_loss(&mut self, origin: Origin, direction: Direction) {
        if let Some(Some(known)) = self.flows.get(origin.0 as usize)
            && let Some(group) = self.groups.get_mut(&known.group)
        {
            group.place_loss(known.flow.number, direction);
        }
    }

    /// It was judged whom a departure that has begun suspects.
    pub(super) fn note_judged(&mut self, origin: Origin, departure: &Departure) {
        if let Some(Some(known)) = self.flows.get(origin.0 as usize)
            && let Some(group) = self.groups.get_mut(&known.group)
        {
            group.note_judged(known.flow.number, departure);
        }
    }

    /// A clock was set: blocks begin anew, this host's by `own_ns` later or earlier.
    pub(super) fn step(&mut self, own_ns: i64) {
        for group in self.groups.values_mut() {
            group.step(own_ns);
        }
    }

    /// Returns the next finding.
    pub(super) fn poll(&mut self) -> Option<PathFinding> {
        self.found.pop_front()
    }

    /// Returns which of several flows an origin is.
    pub(super) fn flow_of(&self, origin: Origin) -> Option<EventFlow> {
        let known = self.flows.get(origin.0 as usize)?.as_ref()?;
        Some(known.flow)
    }

    /// An origin is about to be no more: what lasts ends.
    pub(super) fn leave(&mut self, origin: Origin) {
        if let Some(Some(known)) = self.flows.get(origin.0 as usize)
            && let Some(group) = self.groups.get_mut(&known.group)
        {
            group.restart(origin, &mut self.found);
            if group.leave(origin) {
                self.groups.remove(&known.group);
            }
        }
    }

    /// Forgets an origin.
    pub(super) fn close(&mut self, origin: Origin) {
        if let Some(flow) = self.flows.get_mut(origin.0 as usize) {
            *flow = None;
        }
    }

    /// Ends everything that lasts.
    pub(super) fn finish(&mut self) {
        for (number, flow) in (0..).zip(&self.flows) {
            if let Some(known) = flow
                && let Some(group) = self.groups.get_mut(&known.group)
            {
                group.restart(Origin(number), &mut self.found);
            }
        }
    }
}
