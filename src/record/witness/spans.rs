//! The times during which something waited, as many as there is room for.

use std::collections::VecDeque;

use crate::proto::Wall;

/// Nanoseconds around an event in which a host counts: stamps and wake-ups have their own delays. Waits within as much
/// of each other are one after the other.
pub(super) const MARGIN_NS: i64 = 1_000_000;

/// Waits are alike if they differ by no more.
const ALIKE_NS: u64 = 250_000;

/// A time during which something waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Wall,
    pub(super) until: Wall,
    pub(super) ns: u64,
    /// Of a hypervisor. A peer tells it after the rest, so it may have been before the span.
    pub(super) steal_ns: Option<u64>,
    /// The shortest and the longest wait of several that became one.
    pub(super) joined: Option<[u64; 2]>,
}

impl Span {
    /// Returns the nanoseconds of a span that are within another one.
    fn within(&self, from: Wall, until: Wall) -> u64 {
        self.share(self.ns, from, until)
            .min(between(self.from.max(from), self.until.min(until)))
    }

    /// Returns how much of what a span says may be within another one, which it meets: of one wait all of it, of
    /// several as much as that has of their time, and one more.
    pub(super) fn share(&self, ns: u64, from: Wall, until: Wall) -> u64 {
        let Some([_, longest_ns]) = self.joined else {
            return ns;
        };
        let overlap_ns = between(self.from.max(from), self.until.min(until));
        let length_ns = between(self.from, self.until).max(1);
        let share = u128::from(ns) * u128::from(overlap_ns) / u128::from(length_ns);
        let share_ns = u64::try_from(share).unwrap_or(u64::MAX);
        share_ns.saturating_add(longest_ns).min(ns)
    }

    fn meets(&self, from: Wall, until: Wall) -> bool {
        self.from <= until && self.until >= from
    }

    /// The shortest and the longest wait that it says.
    fn sizes(&self) -> [u64; 2] {
        let ns = self.ns.max(self.steal_ns.unwrap_or(0));
        self.joined.unwrap_or([ns; 2])
    }

    /// Returns the nanoseconds and the steal time of both.
    fn sums(&self, other: &Self) -> (u64, Option<u64>) {
        let steal_ns = match (self.steal_ns, other.steal_ns) {
            (Some(before), Some(after)) => Some(before.saturating_add(after)),
            (before, after) => before.or(after),
        };
        (self.ns.saturating_add(other.ns), steal_ns)
    }

    /// Returns one that says what both say, if they are noise: short, alike, and one after the other.
    fn with(&self, next: &Self) -> Option<Self> {
        let [[least, most], [next_least, next_most]] = [self.sizes(), next.sizes()];
        let sizes = [least.min(next_least), most.max(next_most)];
        let is_noise = i64::try_from(sizes[1]).is_ok_and(|most| most <= MARGIN_NS)
            && sizes[1] - sizes[0] <= ALIKE_NS
            && next.from.since(self.until) <= MARGIN_NS
            && self.from.since(next.until) <= MARGIN_NS;
        let (ns, steal_ns) = self.sums(next);
        is_noise.then_some(Self {
            from: self.from.min(next.from),
            until: self.until.max(next.until),
            ns,
            steal_ns,
            joined: Some(sizes),
        })
    }
}

/// Returns the nanoseconds from one instant to a later one; 0 if it is earlier.
pub(super) fn between(from: Wall, until: Wall) -> u64 {
    u64::try_from(until.since(from)).unwrap_or(0)
}

/// The last spans of one kind. A noisy host has one in each millisecond: where there is no room, those become one, so
/// that the noise after a long wait does not push that out.
#[derive(Debug)]
pub(super) struct Spans {
    spans: VecDeque<Span>,
    kept: usize,
    /// Nothing before is known: it was let go.
    known_since: Option<Wall>,
    /// Something of the kind can show.
    pub(super) is_known: bool,
}

impl Spans {
    /// Makes room for so many at once, because a probe must not allocate.
    pub(super) fn new(kept: usize) -> Self {
        Self {
            spans: VecDeque::with_capacity(kept),
            kept,
            known_since: None,
            is_known: false,
        }
    }

    pub(super) fn push(&mut self, span: Span) {
        self.is_known = true;
        if self.spans.len() == self.kept {
            self.make_room();
        }
        self.spans.push_back(span);
    }

    /// Frees a quarter of the room, so that it is seldom done: joins noise, and lets go what is oldest if that is not
    /// enough.
    fn make_room(&mut self) {
        let mut last = 0;
        for next in 1..self.spans.len() {
            let span = self.spans[next];
            if let Some(both) = self.spans[last].with(&span) {
                self.spans[last] = both;
            } else {
                last += 1;
                self.spans[last] = span;
            }
        }
        self.spans.truncate(last + 1);
        let wanted = self.kept - self.kept.div_ceil(4);
        let gone = self.spans.len().saturating_sub(wanted);
        let gone = self.spans.drain(..gone).map(|span| span.until);
        self.known_since = gone.max().max(self.known_since);
    }

    /// The same, but what directly follows a short span, and is as short, becomes a part of it. When a host goes on,
    /// all that waited comes within a millisecond or two, and says a little more each time.
    pub(super) fn push_or_extend(&mut self, span: Span) {
        let near = self.spans.back_mut().filter(|last| {
            let gap_ns = span.from.since(last.until).abs();
            gap_ns <= MARGIN_NS && span.until.since(last.from) <= MARGIN_NS
        });
        let Some(last) = near else {
            return self.push(span);
        };
        last.until = last.until.max(span.until);
        (last.ns, last.steal_ns) = last.sums(&span);
    }

    pub(super) fn last(&self) -> Option<&Span> {
        self.spans.back()
    }

    pub(super) fn meeting(&self, from: Wall, until: Wall) -> impl Iterator<Item = &Span> {
        self.spans
            .iter()
            .filter(move |span| span.meets(from, until))
    }

    /// Returns how long anything waited in this time.
    pub(super) fn sum(&self, from: Wall, until: Wall) -> u64 {
        let parts = self.spans.iter().map(|span| span.within(from, until));
        // Where several waits are told as one, its place is not exact.
        parts.sum::<u64>().min(between(from, until))
    }

    /// Returns the longest that waited in this time.
    pub(super) fn longest(&self, from: Wall, until: Wall) -> Option<u64> {
        let met = self.meeting(from, until).map(|span| span.sizes()[1]).max();
        self.is_known.then(|| met.unwrap_or(0))
    }

    /// Returns how much of this time is known.
    pub(super) fn known(&self, from: Wall, until: Wall) -> u64 {
        let from = self.known_since.map_or(from, |since| since.max(from));
        u64::try_from(until.since(from)).unwrap_or(0)
    }

    pub(super) fn step(&mut self, ns: i64) {
        for span in &mut self.spans {
            (span.from, span.until) = (span.from.plus(ns), span.until.plus(ns));
        }
        self.known_since = self.known_since.map(|since| since.plus(ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: i64) -> Wall {
        Wall::from_unix_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn span(from_ms: i64, until_ms: i64, ns: u64) -> Span {
        Span {
            from: at(from_ms),
            until: at(until_ms),
            ns,
            steal_ns: None,
            joined: None,
        }
    }

    /// What is louder is no part of the noise before it.
    #[test]
    fn noise_of_another_size_stays_where_it_was() {
        let mut spans = Spans::new(24);
        let mut push = |ms: i64, ns: u64| spans.push(span(ms, ms + 1, ns));
        (0..200).for_each(|ms| push(ms, MS / 10));
        (200..220).for_each(|ms| push(ms, MS * 9 / 10));
        (220..270).for_each(|ms| push(ms, MS / 10));
        let loud_ns = spans.sum(at(200), at(220));
        assert!((18 * MS..20 * MS).contains(&loud_ns), "{loud_ns}");
        assert!(spans.sum(at(225), at(245)) < 3 * MS);
        assert_eq!(spans.known_since, None, "all of it has room");
    }

    #[test]
    fn what_was_let_go_is_not_known() {
        let mut spans = Spans::new(8);
        let push = |spans: &mut Spans, ms: i64| spans.push(span(ms, ms + 20, 20 * MS));
        (0..8).for_each(|turn| push(&mut spans, turn * 100));
        assert_eq!(spans.sum(at(0), at(900)), 160 * MS);
        assert_eq!(spans.known(at(0), at(900)), 900 * MS);
        push(&mut spans, 800);
        assert_eq!(spans.sum(at(0), at(900)), 140 * MS);
        assert_eq!(spans.known(at(0), at(900)), 780 * MS);
        spans.step(3_600_000_000_000);
        let hour_ms = 3_600_000;
        assert_eq!(spans.known(at(hour_ms), at(hour_ms + 900)), 780 * MS);
    }
}
