//! The figures of a ping, gathered from the recorder's records: nothing is measured or estimated here.

use crate::config::{Figure, Loss, Part};
use crate::proto::{Direction, FlowKind, StampSource};
use crate::record::{
    Burst, Distribution, EventKind, LATENESS, Record, SLOTS_MISSED, Suspect, Tags, Window,
};

/// The metrics that a ping is told.
pub(super) const METRICS: [&str; 5] = ["*.wan.*", "!*.worst.*", "clock*", LATENESS, TICK];

/// It comes once an interval, behind all others of them.
pub(super) const TICK: &str = SLOTS_MISSED;

/// How a flow is told from its replies, and its values from each other.
#[derive(Clone, Debug)]
pub(super) struct Sorting {
    /// Of which kind its flows are.
    pub(super) kind: FlowKind,
    /// What we call the host. Its probes are published for this target, and replies for ourselves.
    pub(super) label: Box<str>,
    /// One-way delays without the estimated difference of the clocks count, and no others.
    pub(super) is_corrected: bool,
}

impl Sorting {
    /// Returns what a delay with this name and these tags is of; `None` if it is not to be shown.
    pub(super) fn part(&self, metric: &str, tags: &Tags) -> Option<Part> {
        let last = match tags {
            Tags::Marked(_, tag) => Some((tag.key.unwrap_or(""), tag.value)),
            _ => None,
        };
        let (_, what) = metric.split_once(".wan.")?;
        match (what, last) {
            ("rtt", _) if self.kind != FlowKind::Connect => Some(Part::RoundTrip),
            ("latency", _) if self.kind == FlowKind::Connect => Some(Part::RoundTrip),
            ("owd", last) if last.is_some() == self.is_corrected => {
                let mut targets = tags.iter().filter(|tag| tag.key == Some("target"));
                let is_theirs = targets.next().is_some_and(|tag| *tag.value == *self.label);
                Some(if is_theirs {
                    Part::Forward
                } else {
                    Part::Reverse
                })
            }
            ("ipdv", Some((_, "forward"))) => Some(Part::ForwardVariation),
            ("ipdv", Some((_, "reverse"))) => Some(Part::ReverseVariation),
            _ => None,
        }
    }
}

/// The values of one delay.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) all: Distribution,
    /// The weakest of what stamped them.
    pub(super) stamp: Option<StampSource>,
    /// How many of them were in windows whose weakest stamp is of this process, of the kernel, of the interface.
    by: [u64; 3],
}

impl Values {
    fn add(&mut self, window: &Window) {
        self.all.add(window);
        let stamp = window.stamp();
        self.stamp = Some(self.stamp.map_or(stamp, |known| known.min(stamp)));
        self.by[place(stamp)] += window.count();
    }

    /// Returns what stamped most of the values, and of how many others a weaker source stamped some.
    pub(super) fn stamped(&self) -> Option<(StampSource, u64)> {
        self.stamp?;
        let most = STAMPS
            .into_iter()
            .max_by_key(|source| self.by[place(*source)])?;
        let weaker = STAMPS.into_iter().filter(|source| *source < most);
        Some((most, weaker.map(|source| self.by[place(source)]).sum()))
    }

    fn clear(&mut self) {
        self.all.clear();
        (self.stamp, self.by) = (None, [0; 3]);
    }

    /// Returns a figure of the delays over the least of them (RFC 5481's PDV over all of the time); `None` if there are
    /// no two.
    pub(super) fn figure_over_least(&self, figure: Figure) -> Option<i64> {
        let value = self.figure(figure).filter(|_| self.all.count() > 1)?;
        Some(value.saturating_sub(self.all.min()))
    }

    /// Returns a figure in nanoseconds; `None` without values.
    pub(super) fn figure(&self, figure: Figure) -> Option<i64> {
        (self.all.count() > 0).then(|| match figure {
            Figure::Min => self.all.min(),
            Figure::Mean => self.all.mean(),
            Figure::Max => self.all.max(),
            Figure::Quantile(quantile) => self.all.quantile(quantile),
        })
    }
}

const STAMPS: [StampSource; 3] = [StampSource::User, StampSource::Kernel, StampSource::Hw];

const fn place(source: StampSource) -> usize {
    match source {
        StampSource::User => 0,
        StampSource::Kernel => 1,
        StampSource::Hw => 2,
    }
}

/// Bursts of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Bursts {
    pub(super) count: u64,
    /// The greatest queueing delay, and how long that burst was, in nanoseconds.
    pub(super) peak: u64,
    pub(super) duration: u64,
    /// How many of them the network is suspected of.
    pub(super) network: u64,
}

impl Bursts {
    fn add(&mut self, burst: &Burst) {
        self.count += 1;
        self.network += u64::from(burst.suspect == Some(Suspect::Network));
        if burst.peak_ns >= self.peak {
            (self.peak, self.duration) = (burst.peak_ns, burst.duration_ns);
        }
    }
}

/// How often things happened: the published counts of those names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) lost_forward: u64,
    pub(super) lost_reverse: u64,
    pub(super) late: u64,
    pub(super) duplicate: u64,
    pub(super) reordered: u64,
    pub(super) corrupt: u64,
    pub(super) unsent: u64,
    pub(super) sent_native: u64,
    pub(super) unreachable: u64,
    pub(super) misaddressed: u64,
    pub(super) retransmits: u64,
    pub(super) slots_missed: u64,
}

impl Counts {
    fn of(&mut self, metric: &str) -> Option<&mut u64> {
        if metric == TICK {
            return Some(&mut self.slots_missed);
        }
        let (_, what) = metric.split_once(".wan.")?;
        Some(match what.strip_prefix("latency.").unwrap_or(what) {
            "sent" => &mut self.sent,
            "received" => &mut self.received,
            "lost" | "failed" => &mut self.lost,
            "lost.forward" => &mut self.lost_forward,
            "lost.reverse" => &mut self.lost_reverse,
            "late" => &mut self.late,
            "duplicate" => &mut self.duplicate,
            "reordered" => &mut self.reordered,
            "corrupt" => &mut self.corrupt,
            "unsent" => &mut self.unsent,
            "sent.native" => &mut self.sent_native,
            "unreachable" => &mut self.unreachable,
            "misaddressed" => &mut self.misaddressed,
            "retransmits" => &mut self.retransmits,
            _ => return None,
        })
    }

    /// True if something happened that is worth a line of its own.
    pub(super) const fn has_trouble(&self) -> bool {
        self.lost + self.lost_forward + self.lost_reverse + self.late > 0
            || self.duplicate + self.reordered + self.corrupt + self.unsent > 0
            || self.unreachable + self.misaddressed + self.slots_missed > 0
    }
}

/// What is known of the peer's clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct PeerClock {
    /// It less ours.
    pub(super) offset: i64,
    /// How far off that may be.
    pub(super) error: i64,
}

/// All figures of some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) round_trip: Values,
    pub(super) forward: Values,
    pub(super) reverse: Values,
    pub(super) forward_variation: Values,
    pub(super) reverse_variation: Values,
    pub(super) lateness: Values,
    pub(super) counts: Counts,
    pub(super) forward_bursts: Bursts,
    pub(super) reverse_bursts: Bursts,
    /// The last that was said of it.
    pub(super) clock: Option<PeerClock>,
    /// The greatest bound on the error of its offset.
    pub(super) clock_error_max: Option<i64>,
    offset: Option<i64>,
    /// Slots that passed before a connection stood: they are no loss, unless none ever stands.
    connecting: u64,
    has_begun: bool,
    /// Intervals of the recorder.
    pub(super) ticks: u64,
}

impl Figures {
    /// Takes what a record says. True if it ends an interval.
    pub(super) fn add(&mut self, record: &Record, sorting: &Sorting) -> bool {
        match record {
            Record::Window(window) => {
                let series = window.series();
                let part = sorting.part(series.metric.name, &series.tags);
                match part {
                    Some(part) => self.values_mut(part).add(window),
                    None if series.metric.name == LATENESS => self.lateness.add(window),
                    None => {}
                }
            }
            Record::Count { metric, value, .. } => {
                if let Some(count) = self.counts.of(metric.name) {
                    *count = count.saturating_add(*value);
                }
            }
            Record::Gauge { metric, value, .. } => self.take_gauge(metric.name, *value),
            Record::Event(event) => {
                // What nothing came through is told by what was lost.
                if let EventKind::Burst(burst) = &event.kind
                    && !burst.is_outage()
                {
                    match burst.direction {
                        Some(Direction::Forward) => self.forward_bursts.add(burst),
                        Some(Direction::Reverse) => self.reverse_bursts.add(burst),
                        None => {}
                    }
                }
            }
            Record::Sample { .. } => {}
        }
        let is_tick = record.metric() == TICK;
        self.ticks += u64::from(is_tick);
        if is_tick && !self.has_begun {
            self.connecting = self.counts.unsent;
            self.has_begun = self.counts.sent > 0;
        }
        if sorting.kind == FlowKind::Connect {
            // Connects that succeed are no count of their own: each has a time.
            self.counts.received = self.round_trip.all.count();
        }
        is_tick
    }

    fn take_gauge(&mut self, metric: &str, value: i64) {
        match metric.split_once('.') {
            Some(("clock", "offset")) => self.offset = Some(value),
            Some(("clock", "error")) => {
                if let Some(offset) = self.offset {
                    let error = value;
                    self.clock = Some(PeerClock { offset, error });
                    self.clock_error_max = self.clock_error_max.max(Some(error));
                }
            }
            _ => {}
        }
    }

    pub(super) fn values(&self, part: Part) -> &Values {
        match part {
            Part::RoundTrip => &self.round_trip,
            Part::Forward => &self.forward,
            Part::Reverse => &self.reverse,
            Part::ForwardVariation => &self.forward_variation,
            Part::ReverseVariation => &self.reverse_variation,
        }
    }

    fn values_mut(&mut self, part: Part) -> &mut Values {
        match part {
            Part::RoundTrip => &mut self.round_trip,
            Part::Forward => &mut self.forward,
            Part::Reverse => &mut self.reverse,
            Part::ForwardVariation => &mut self.forward_variation,
            Part::ReverseVariation => &mut self.reverse_variation,
        }
    }

    /// Returns how many probes neither came back nor are lost.
    pub(super) const fn in_flight(&self) -> u64 {
        let ended = self.counts.received.saturating_add(self.counts.lost);
        self.counts.sent.saturating_sub(ended)
    }

    /// Returns the percentage of slots whose probe was lost or could not leave, as alerts count it (docs/records.md),
    /// without those that passed before a connection stood; of one direction that of the probes sent. `None` if nothing
    /// has ended, or the direction is not known.
    #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^53 probes")]
    pub(super) fn loss_percent(&self, loss: Loss) -> Option<f64> {
        let counts = &self.counts;
        let ended = counts.received + counts.lost;
        let (lost, of) = match loss {
            Loss::All => {
                let early = if self.has_begun { self.connecting } else { 0 };
                let unsent = counts.unsent.saturating_sub(early);
                (counts.lost + unsent, ended + unsent)
            }
            Loss::Forward => (counts.lost_forward, ended),
            Loss::Reverse => (counts.lost_reverse, ended),
        };
        let is_known = loss == Loss::All || counts.sent_native > 0;
        (of > 0 && is_known).then(|| 100.0 * lost as f64 / of as f64)
    }

    /// Begins anew, with the same memory.
    pub(super) fn clear(&mut self) {
        for values in [
            &mut self.round_trip,
            &mut self.forward,
            &mut self.reverse,
            &mut self.forward_variation,
            &mut self.reverse_variation,
            &mut self.lateness,
        ] {
            values.clear();
        }
        (self.counts, self.ticks, self.connecting) = (Counts::default(), 0, 0);
        (self.forward_bursts, self.reverse_bursts) = (Bursts::default(), Bursts::default());
    }
}
