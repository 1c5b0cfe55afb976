//! All flows of a kind to one target: what each did in the block that runs, and how it compares with the others.

use std::collections::VecDeque;

use crate::proto::{Direction, FlowKind, Origin, Outcome, Trace, Wall};
use crate::record::event::{Departure, Divergence, EventKind};
use crate::record::evidence::{Evidence, Suspect};
use crate::record::paths::few::Few;
use crate::record::paths::page::Page;
use crate::record::paths::verdict::{Test, Verdict};
use crate::record::paths::{PathFinding, Worst};

/// A block has this length at least, and so many probes of a flow on average.
const BLOCK_NS: i64 = 500_000_000;
const PROBES_LEAST: u32 = 8;
/// A flow with fewer probes in a block is left out of it.
const PROBES_COMPARED: u32 = 4;
/// Blocks of a page for the gauges.
const PAGE_BLOCKS: u32 = 20;
/// The loss of a flow is known over so many blocks, smoothed.
const SMOOTHED_BLOCKS: f64 = 8.0;
/// Delays of parallel paths may differ by this much,
const DELAY_ALLOWED_NS: f64 = 100_000.0;
/// by this share of the round trip,
const DELAY_ALLOWED_SHARE: f64 = 0.1;
/// and by so many deviations of the flows from each other.
const DEVIATIONS: f64 = 6.0;
/// Of a normal distribution, over its median absolute deviation.
const DEVIATION: f64 = 1.4826;
/// One block may have jumped over so many others in which nothing came.
const GAP_NS: i64 = 10 * BLOCK_NS;

/// A departure begins, or ends after so long.
#[derive(Clone, Copy, Debug)]
struct Turn {
    duration_ns: Option<u64>,
}

/// When a block began, and when it ended.
#[derive(Clone, Copy, Debug)]
struct Block {
    from: Wall,
    until: Wall,
}

/// One test of one flow, with what its event says.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    test: Test,
    /// When the blocks began that speak for a departure, or for its end.
    since: Option<Wall>,
    /// When the departure that lasts began, and how many nanoseconds later it was noticed.
    began: Wall,
    noticed_ns: u64,
    /// Who is thought to have caused it, and what speaks against the hosts.
    suspect: Option<Suspect>,
    evidence: Evidence,
    /// Sums over its blocks: of the flow, of the others, and of their weights.
    sums: [f64; 3],
    /// Its losses by direction.
    placed: [u32; 2],
    /// In which direction it was told.
    direction: Option<Direction>,
}

impl Watch {
    fn note(&mut self, own: f64, others: f64, weight: f64) {
        self.sums[0] += own;
        self.sums[1] += others * weight;
        self.sums[2] += weight;
    }

    fn share(&self) -> f64 {
        self.sums[0] / self.sums[2].max(1.0)
    }

    /// Returns the direction in which nearly all of its losses were, if that is known of most.
    fn placed_direction(&self) -> Option<Direction> {
        let [forward, reverse] = self.placed.map(f64::from);
        let known = forward + reverse;
        if known < self.sums[0] / 2.0 {
            return None;
        }
        let is_most = |count: f64| count >= 0.8 * known && count > 0.0;
        match (is_most(forward), is_most(reverse)) {
            (true, _) => Some(Direction::Forward),
            (_, true) => Some(Direction::Reverse),
            _ => None,
        }
    }

    /// Takes what the test says of a block. Returns what is to be told.
    fn follow(&mut self, verdict: Verdict, block: Block) -> Option<Turn> {
        let since = *self.since.get_or_insert(block.from);
        match verdict {
            Verdict::Begins => {
                (self.began, self.since) = (since, None);
                self.noticed_ns = u64::try_from(block.until.since(since)).unwrap_or(0);
                Some(Turn { duration_ns: None })
            }
            Verdict::Ends => {
                let ns = u64::try_from(since.since(self.began)).unwrap_or(0);
                let duration_ns = Some(ns);
                Some(Turn { duration_ns })
            }
            Verdict::Same => {
                if !self.test.has_begun() {
                    self.since = None;
                    if !self.test.is_departed {
                        (self.sums, self.placed) = Default::default();
                    }
                }
                None
            }
        }
    }
}

/// One of the flows.
#[derive(Debug)]
struct Flow {
    origin: Option<Origin>,
    probes: u32,
    lost: u32,
    /// Forward and reverse delays.
    delays: [Few; 2],
    /// Its loss over the last blocks.
    loss: f64,
    losses: Watch,
    slow: [Watch; 2],
    page: Page,
    /// Of the block that has ended: its share of lost probes, and its median delays.
    share: Option<f64>,
    medians: [Option<i64>; 2],
}

impl Flow {
    fn new() -> Self {
        Self {
            origin: None,
            probes: 0,
            lost: 0,
            delays: [Few::new(); 2],
            loss: 0.0,
            losses: Watch::default(),
            slow: [Watch::default(); 2],
            page: Page::new(),
            share: None,
            medians: [None; 2],
        }
    }

    /// Ends the block: what it says of the flow.
    fn end_block(&mut self) {
        let is_compared = self.probes >= PROBES_COMPARED;
        self.share = is_compared.then(|| f64::from(self.lost) / f64::from(self.probes.max(1)));
        if let Some(share) = self.share {
            self.loss += (share - self.loss) / SMOOTHED_BLOCKS;
        }
        let medians = self.delays.each_mut();
        self.medians = medians.map(|few| few.take_median(PROBES_COMPARED as usize));
        self.page.probes += self.probes;
        self.page.lost += self.lost;
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Group {
    kind: FlowKind,
    flows: Box<[Flow]>,
    /// When the block that runs began.
    start: Option<Wall>,
    probes: u32,
    blocks: u32,
    /// For medians.
    sorted: Vec<f64>,
}

impl Group {
    pub(super) fn new(kind: FlowKind, of: u16) -> Self {
        Self {
            kind,
            flows: (0..of).map(|_| Flow::new()).collect(),
            start: None,
            probes: 0,
            blocks: 0,
            sorted: Vec::with_capacity(of.into()),
        }
    }

    pub(super) fn join(&mut self, origin: Origin, number: u16) {
        if let Some(flow) = self.flow(number) {
            *flow = Flow::new();
            flow.origin = Some(origin);
        }
    }

    /// A flow is no more. True if it was the last.
    pub(super) fn leave(&mut self, origin: Origin) -> bool {
        for flow in &mut self.flows {
            if flow.origin == Some(origin) {
                *flow = Flow::new();
            }
        }
        self.flows.iter().all(|flow| flow.origin.is_none())
    }

    fn flow(&mut self, number: u16) -> Option<&mut Flow> {
        self.flows.get_mut(usize::from(number).checked_sub(1)?)
    }

    /// A flow has another path, or none: what it did so far says nothing, and a departure ends.
    pub(super) fn restart(&mut self, origin: Origin, found: &mut VecDeque<PathFinding>) {
        let (kind, now) = (self.kind, self.start);
        let Some(flow) = self.flows.iter_mut().find(|it| it.origin == Some(origin)) else {
            return;
        };
        let told = [
            (Divergence::Loss, &flow.losses),
            (Divergence::Delay, &flow.slow[0]),
            (Divergence::Delay, &flow.slow[1]),
        ];
        for (what, watch) in told {
            if watch.test.is_departed {
                let until = now.unwrap_or(watch.began);
                let ns = u64::try_from(until.since(watch.began)).unwrap_or(0);
                found.push_back(event(origin, kind, what, watch, Some(ns)));
            }
        }
        *flow = Flow::new();
        flow.origin = Some(origin);
    }

    /// A clock was set: the block begins anew, and delays of before are none.
    pub(super) fn step(&mut self, own_ns: i64) {
        self.start = None;
        self.probes = 0;
        for flow in &mut self.flows {
            (flow.probes, flow.lost, flow.delays) = (0, 0, [Few::new(); 2]);
            let [forward, reverse] = &mut flow.slow;
            for watch in [&mut flow.losses, forward, reverse] {
                watch.began = watch.began.plus(own_ns);
                watch.since = watch.since.map(|since| since.plus(own_ns));
            }
        }
    }

    /// It was judged whom a departure that has begun suspects: its end says the same.
    pub(super) fn note_judged(&mut self, number: u16, departure: &Departure) {
        let Some(flow) = self.flow(number) else {
            return;
        };
        let watch = match (departure.what, departure.direction) {
            (Divergence::Loss, _) => &mut flow.losses,
            (Divergence::Delay, Some(direction)) => &mut flow.slow[direction as usize],
            (Divergence::Delay, None) => return,
        };
        if watch.test.is_departed {
            (watch.suspect, watch.evidence) = (departure.suspect, departure.evidence);
        }
    }

    pub(super) fn place_loss(&mut self, number: u16, direction: Direction) {
        if let Some(flow) = self.flow(number) {
            flow.losses.placed[direction as usize] += 1;
        }
    }

    pub(super) fn handle_trace(
        &mut self,
        number: u16,
        trace: &Trace,
        found: &mut VecDeque<PathFinding>,
    ) {
        let [left, received, sent, back] = trace.stamps;
        let (Some(left), Some(flow)) = (left, self.flow(number)) else {
            return;
        };
        flow.probes += 1;
        match trace.outcome {
            Outcome::Lost => {
                flow.lost += 1;
                if let Some(direction) = trace.lost_on {
                    flow.losses.placed[direction as usize] += 1;
                }
            }
            Outcome::Received => {
                let passages = [Some(left).zip(received), sent.zip(back)];
                for (few, passage) in flow.delays.iter_mut().zip(passages) {
                    if let Some((from, to)) = passage {
                        few.push(to.at.since(from.at));
                    }
                }
                if let Some(back) = back {
                    let dwell_ns = received
                        .zip(sent)
                        .map_or(0, |(at, sent)| sent.at.since(at.at));
                    let ns = back.at.since(left.at).saturating_sub(dwell_ns);
                    flow.page.push(u64::try_from(ns).unwrap_or(0));
                }
            }
        }
        self.probes += 1;
        // Losses are known a timeout later: what is received leads.
        let at = back.map_or(left.at, |back| back.at);
        let start = *self.start.get_or_insert(at);
        let passed_ns = at.since(start);
        let flows = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        if passed_ns >= BLOCK_NS && self.probes >= PROBES_LEAST.saturating_mul(flows) {
            let block = Block {
                from: start,
                until: at,
            };
            self.end_block(block, found);
            self.start = Some(at);
            self.probes = 0;
        } else if passed_ns < -GAP_NS {
            // A clock was set that nobody has told of.
            self.start = Some(at);
        }
    }

    fn end_block(&mut self, block: Block, found: &mut VecDeque<PathFinding>) {
        self.flows.iter_mut().for_each(Flow::end_block);
        self.compare_losses(block, found);
        for direction in Direction::ALL {
            self.compare_delays(direction, block, found);
        }
        for flow in &mut self.flows {
            (flow.probes, flow.lost) = (0, 0);
        }
        self.blocks += 1;
        if self.blocks >= PAGE_BLOCKS {
            self.blocks = 0;
            self.end_page(found);
        }
    }

    fn compare_losses(&mut self, block: Block, found: &mut VecDeque<PathFinding>) {
        let (kind, count) = (self.kind, self.flows.len());
        let mut last = Medians::of(
            &mut self.sorted,
            self.flows.iter().filter_map(|it| it.share),
        );
        let shares: [Option<f64>; FLOWS] = std::array::from_fn(|place| {
            let share = self.flows.get(place)?.share?;
            last.without(share)
        });
        let is_there = |it: &&Flow| it.share.is_some();
        let known = self.flows.iter().filter(is_there).map(|it| it.loss);
        let mut smoothed = Medians::of(&mut self.sorted, known);
        for (flow, now) in self.flows.iter_mut().zip(shares) {
            let (Some(origin), Some(now)) = (flow.origin, now) else {
                continue;
            };
            let usual = smoothed.without(flow.loss).unwrap_or(0.0);
            let watch = &mut flow.losses;
            watch.note(f64::from(flow.lost), usual.max(now), f64::from(flow.probes));
            let share = watch.share();
            let counts = [flow.lost, flow.probes];
            let verdict = watch.test.add_losses(counts, usual.max(now), share, count);
            if verdict == Verdict::Begins {
                watch.direction = watch.placed_direction();
            }
            if let Some(Turn { duration_ns }) = watch.follow(verdict, block) {
                found.push_back(event(origin, kind, Divergence::Loss, watch, duration_ns));
                if duration_ns.is_some() {
                    *watch = Watch::default();
                }
            }
        }
    }

    fn compare_delays(
        &mut self,
        direction: Direction,
        block: Block,
        found: &mut VecDeque<PathFinding>,
    ) {
        let (kind, way) = (self.kind, direction as usize);
        let round_trips = self.flows.iter().filter_map(|it| {
            let [forward, reverse] = it.medians;
            Some(float(forward? + reverse?))
        });
        let round_trip = Medians::of(&mut self.sorted, round_trips)
            .all()
            .unwrap_or(0.0);
        let medians = self
            .flows
            .iter()
            .filter_map(|it| it.medians[way].map(float));
        let mut all = Medians::of(&mut self.sorted, medians);
        let (Some(middle), Some(least)) = (all.all(), all.least()) else {
            return;
        };
        let others: [Option<f64>; FLOWS] = std::array::from_fn(|place| {
            let median = self.flows.get(place)?.medians[way]?;
            all.without(float(median))
        });
        let apart = self.flows.iter().filter_map(|it| it.medians[way]);
        let apart = apart.map(|median| (float(median) - middle).abs());
        let deviation = DEVIATION * Medians::of(&mut self.sorted, apart).all().unwrap_or(0.0);
        let allowed = DELAY_ALLOWED_NS
            .max(DELAY_ALLOWED_SHARE * round_trip)
            .max(DEVIATIONS * deviation);
        for (flow, others) in self.flows.iter_mut().zip(others) {
            let (Some(origin), Some(median), Some(others)) =
                (flow.origin, flow.medians[way], others)
            else {
                continue;
            };
            let watch = &mut flow.slow[way];
            watch.direction = Some(direction);
            watch.note(float(median) - least, others - least, 1.0);
            let verdict = watch.test.add_delay((float(median) - others) / allowed);
            if let Some(Turn { duration_ns }) = watch.follow(verdict, block) {
                found.push_back(event(origin, kind, Divergence::Delay, watch, duration_ns));
                if duration_ns.is_some() {
                    *watch = Watch::default();
                }
            }
        }
    }

    /// Some seconds are over: tells the worst flow of them.
    fn end_page(&mut self, found: &mut VecDeque<PathFinding>) {
        let pages = || (1..).zip(&self.flows).filter(|(_, it)| it.origin.is_some());
        let losses = pages().filter_map(|(number, it)| Some((it.page.loss_ppb()?, number)));
        let round_trips = pages().filter_map(|(number, it)| Some((it.page.p99_ns()?, number)));
        let worst = Worst {
            loss: losses.max_by_key(|(value, _)| *value),
            rtt: round_trips.max_by_key(|(value, _)| *value),
        };
        if let Some(origin) = self.flows.iter().find_map(|it| it.origin) {
            found.push_back(PathFinding::Worst(origin, self.kind, worst));
        }
        for flow in &mut self.flows {
            flow.page = Page::new();
        }
    }
}

/// Flows of a group at most.
const FLOWS: usize = crate::limits::FLOWS_MAX as usize;

/// Values in their order. Each median is the lower one: up to half of the values may be far too high.
struct Medians<'a>(&'a mut Vec<f64>);

impl<'a> Medians<'a> {
    fn of(room: &'a mut Vec<f64>, values: impl Iterator<Item = f64>) -> Self {
        room.clear();
        room.extend(values);
        room.sort_unstable_by(f64::total_cmp);
        Self(room)
    }

    fn all(&self) -> Option<f64> {
        let middle = self.0.len().checked_sub(1)? / 2;
        self.0.get(middle).copied()
    }

    fn least(&self) -> Option<f64> {
        self.0.first().copied()
    }

    /// Returns the median of all values but this one of them.
    fn without(&mut self, value: f64) -> Option<f64> {
        let place = self.0.partition_point(|other| *other < value);
        let middle = self.0.len().checked_sub(2)? / 2;
        let middle = middle + usize::from(place <= middle);
        self.0.get(middle).copied()
    }
}

fn event(
    origin: Origin,
    flow: FlowKind,
    what: Divergence,
    watch: &Watch,
    duration_ns: Option<u64>,
) -> PathFinding {
    let mean = |sum: f64| sum / watch.sums[2].max(1.0);
    // Losses in millionths.
    let scale = if what == Divergence::Loss { 1e6 } else { 1.0 };
    let whole = |value: f64| integer(mean(value) * scale);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of probes"
    )]
    let lost = (what == Divergence::Loss).then(|| watch.sums[0] as u64);
    let kind = EventKind::PathDivergence(Departure {
        flow,
        direction: watch.direction,
        what,
        value: whole(watch.sums[0]),
        others: whole(watch.sums[1]),
        lost,
        noticed_ns: watch.noticed_ns,
        duration_ns,
        suspect: watch.suspect,
        evidence: watch.evidence,
    });
    PathFinding::Event(origin, watch.began, kind)
}

#[expect(clippy::cast_precision_loss, reason = "delays are far below 2^53 ns")]
fn float(ns: i64) -> f64 {
    ns as f64
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn integer(value: f64) -> i64 {
    value.round() as i64
}
