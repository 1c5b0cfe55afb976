//! The data of a report: distributions, heatmaps, and the probes of dumps.

use std::collections::BTreeMap;

use crate::limits::{
    REPORT_BURSTS_MAX, REPORT_DUMPS_MAX, REPORT_NUMBERS_MAX, REPORT_PROBES_MAX, REPORT_SERIES_MAX,
    REPORT_SPANS_MAX,
};
use crate::record::{SignedHistogram, rank};
use crate::report::read::Line;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// Columns of a heatmap. They become twice as wide whenever time passes the last one.
pub(super) const HEAT_COLUMNS: usize = 240;
/// Rows of a heatmap in a power of ten.
pub(super) const HEAT_ROWS_PER_DECADE: u32 = 10;
/// Rows: from 1 ns to 100 s.
pub(super) const HEAT_ROWS: usize = 110;
/// Nanoseconds of a column at first.
const HEAT_COLUMN_NS: i64 = 1_000_000;

/// A distribution of delays of both signs, with the bounds of the daemon's windows.
#[derive(Debug)]
pub(super) struct Delays {
    values: SignedHistogram<u64>,
    pub(super) least: i64,
    pub(super) most: i64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            values: SignedHistogram::new(),
            least: i64::MAX,
            most: i64::MIN,
        }
    }
}

impl Delays {
    pub(super) fn add(&mut self, ns: i64, many: u64) {
        (self.least, self.most) = (self.least.min(ns), self.most.max(ns));
        self.values.record(ns, many);
    }

    pub(super) fn count(&self) -> u64 {
        self.values.len()
    }

    /// Returns the least value that the share `part` of all delays does not exceed, to three digits.
    pub(super) fn quantile(&self, part: f64) -> i64 {
        let value = self.values.at_rank(rank(part, self.count()));
        value.unwrap_or(0).clamp(self.least, self.most)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for plots and ranks, of which nobody sees the 53rd bit"
)]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Converts a signed number likewise.
#[expect(
    clippy::cast_precision_loss,
    reason = "for plots, in which nobody sees the 53rd bit"
)]
pub(super) fn signed_f64(number: i64) -> f64 {
    number as f64
}

/// A heatmap: the number of delays by time and size.
#[derive(Debug, Default)]
pub(super) struct Heat {
    pub(super) start: Option<i64>,
    pub(super) column_ns: i64,
    pub(super) cells: Vec<[u32; HEAT_ROWS]>,
}

impl Heat {
    fn add(&mut self, at: i64, ns: i64, count: u32) {
        let start = *self.start.get_or_insert(at);
        if self.cells.is_empty() {
            (self.cells, self.column_ns) = (vec![[0; HEAT_ROWS]; HEAT_COLUMNS], HEAT_COLUMN_NS);
        }
        // After a clock was set back, delays stay in the first column.
        let since = at.saturating_sub(start).max(0);
        let columns = i64::try_from(HEAT_COLUMNS).unwrap_or(i64::MAX);
        while since / self.column_ns >= columns {
            for column in 0..HEAT_COLUMNS / 2 {
                let (left, right) = (self.cells[2 * column], self.cells[2 * column + 1]);
                for (row, cell) in self.cells[column].iter_mut().enumerate() {
                    *cell = left[row].saturating_add(right[row]);
                }
            }
            self.cells[HEAT_COLUMNS / 2..].fill([0; HEAT_ROWS]);
            self.column_ns = self.column_ns.saturating_mul(2);
        }
        let column = usize::try_from(since / self.column_ns).unwrap_or(0);
        let cell = &mut self.cells[column.min(HEAT_COLUMNS - 1)][row(ns)];
        *cell = cell.saturating_add(count);
    }
}

/// Returns the row of a delay. Delays of 1 ns and less are in the lowest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of rows"
)]
fn row(ns: i64) -> usize {
    let height = signed_f64(ns.max(1)).log10() * f64::from(HEAT_ROWS_PER_DECADE);
    (height as usize).min(HEAT_ROWS - 1)
}

/// One metric of one target.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) delays: Delays,
    pub(super) heat: Heat,
    pub(super) stamps: BTreeMap<String, u64>,
    sampled: Spans,
    windowed: Spans,
}

/// Times that are known already, as spans from the first to the last.
#[derive(Debug, Default)]
struct Spans(BTreeMap<i64, i64>);

/// Nanoseconds between two samples with no other one, up to which there is one span.
const SPAN_GAP_NS: i64 = 1_000_000_000;

impl Spans {
    fn overlaps(&self, from: i64, to: i64) -> bool {
        let before = self.0.range(..=to).next_back();
        before.is_some_and(|(_, &end)| end >= from)
    }

    /// Adds a span, and joins it with those near to it.
    fn add(&mut self, mut from: i64, mut to: i64) {
        let reach = to.saturating_add(SPAN_GAP_NS);
        while let Some((&start, &end)) = self.0.range(..=reach).next_back() {
            let is_near = end >= from.saturating_sub(SPAN_GAP_NS);
            // With too many spans, the time between two is taken for known.
            if !is_near && self.0.len() < REPORT_SPANS_MAX {
                break;
            }
            self.0.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.0.insert(from, to);
    }
}

/// One probe of a dump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) seq: u64,
    pub(super) at: i64,
    pub(super) forward: Option<i64>,
    pub(super) reverse: Option<i64>,
    pub(super) rtt: Option<i64>,
    pub(super) is_lost: bool,
    pub(super) lost_on: Option<&'static str>,
}

/// One flow of a dump.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) header: Line,
    /// The lines of its probes, with those that a limit left out.
    lines: usize,
    pub(super) probes: Vec<Probe>,
    pub(super) stamps: BTreeMap<String, u64>,
}

impl Flow {
    /// Returns what it is about: `burst`, or `outage` if nothing came through.
    pub(super) fn word(&self) -> &'static str {
        let event = self.header.event.as_ref();
        match event.and_then(|event| event.get("event")?.as_str()) {
            Some("outage") => "outage",
            _ => "burst",
        }
    }

    /// Returns a number of its burst.
    pub(super) fn burst(&self, key: &str) -> Option<i64> {
        self.header.event.as_ref()?.get(key)?.as_i64()
    }

    /// Returns the distribution of a delay, over the probes that have it.
    pub(super) fn delays(&self, of: impl Fn(&Probe) -> Option<i64>) -> Delays {
        let mut delays = Delays::default();
        let each = self.probes.iter().filter_map(of);
        each.for_each(|ns| delays.add(ns, 1));
        delays
    }

    /// Returns the number of losses: all, forward, reverse.
    pub(super) fn losses(&self) -> [usize; 3] {
        let count = |is_such: &dyn Fn(&&Probe) -> bool| self.probes.iter().filter(is_such).count();
        let toward = |way| count(&move |probe| probe.lost_on == Some(way));
        [
            count(&|probe| probe.is_lost),
            toward("forward"),
            toward("reverse"),
        ]
    }
}

/// Everything that a report is made of.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) flows: Vec<Flow>,
    pub(super) series: BTreeMap<(String, String), Series>,
    /// Sums of counts that were not 0.
    pub(super) counts: BTreeMap<(String, String), i64>,
    /// Bursts and outages among samples and windows.
    pub(super) bursts: Vec<Line>,
    /// The number of lines left out because of a limit.
    pub(super) left_out: u64,
    /// What could not be read, a line for each file.
    pub(super) unread: Vec<String>,
    probes: usize,
    in_dump: bool,
    /// True if there was room for the dump that is read.
    is_kept: bool,
}

impl Data {
    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.flows.iter().all(|flow| flow.probes.is_empty())
    }

    /// Ends a file: the next line belongs to no dump before it.
    pub(super) fn end_file(&mut self) {
        self.in_dump = false;
    }

    /// Returns how many probes the last dump lacks, if the file ends within it.
    pub(super) fn missing(&self) -> Option<usize> {
        let flow = self.flows.last().filter(|_| self.in_dump && self.is_kept)?;
        let missing = flow.header.probes?.checked_sub(flow.lines)?;
        Some(missing).filter(|missing| *missing > 0)
    }

    pub(super) fn add(&mut self, line: Line) -> Result<(), String> {
        if line.dump.is_some() {
            self.in_dump = true;
            self.is_kept = self.flows.len() < REPORT_DUMPS_MAX;
            if self.is_kept {
                self.flows.push(Flow {
                    header: line,
                    ..Flow::default()
                });
            } else {
                self.left_out += 1;
            }
            Ok(())
        } else if line.outcome.is_some() {
            self.add_probe(line)
        } else if line.metric.is_some() {
            self.add_metric(line)
        } else {
            let word = line.event.as_ref().and_then(|event| event.as_str());
            let is_burst = matches!(word, Some("burst" | "outage"));
            if is_burst && self.bursts.len() < REPORT_BURSTS_MAX {
                self.bursts.push(line);
            } else {
                self.left_out += u64::from(is_burst);
            }
            Ok(())
        }
    }

    fn add_probe(&mut self, line: Line) -> Result<(), String> {
        let Some(flow) = self.flows.last_mut().filter(|_| self.in_dump) else {
            return Err("a probe without the line that says whose it is".to_owned());
        };
        flow.lines += 1;
        let at = time(line.t1.or(line.t2).ok_or("a probe without a time")?)?;
        if self.probes >= REPORT_PROBES_MAX || !self.is_kept {
            self.left_out += 1;
            return Ok(());
        }
        self.probes += 1;
        for stamp in [line.s1, line.s2, line.s3, line.s4].into_iter().flatten() {
            count(&mut flow.stamps, stamp);
        }
        flow.probes.push(Probe {
            seq: line.seq.unwrap_or(0),
            at,
            forward: line.forward.map(within),
            reverse: line.reverse.map(within),
            rtt: line.rtt.map(within),
            is_lost: line.outcome.as_deref() == Some("lost"),
            lost_on: match line.lost_on.as_deref() {
                Some("forward") => Some("forward"),
                Some("reverse") => Some("reverse"),
                _ => None,
            },
        });
        Ok(())
    }

    fn add_metric(&mut self, line: Line) -> Result<(), String> {
        let key = (line.metric.unwrap_or_default(), line.tags.join(" "));
        let is_window = line.hdr.is_some() || line.hdr_negative.is_some();
        let is_delay = is_window || line.seq.is_some();
        let window = is_window.then_some((line.end, 0));
        let Some((at, value)) = line.points.first().copied().or(window) else {
            return Err("a metric without a point".to_owned());
        };
        let at = time(at)?;
        if !is_delay {
            // Of all counts and gauges, a report shows losses only.
            let is_loss = key.0.contains(".lost") && !key.0.ends_with(".unattributed");
            if is_loss && value != 0 {
                if self.counts.len() < REPORT_NUMBERS_MAX || self.counts.contains_key(&key) {
                    let sum = self.counts.entry(key).or_default();
                    *sum = sum.saturating_add(value);
                } else {
                    self.left_out += 1;
                }
            }
            return Ok(());
        }
        if !self.series.contains_key(&key) && self.series.len() >= REPORT_SERIES_MAX {
            self.left_out += 1;
            return Ok(());
        }
        let mut values = Vec::new();
        for (text, sign) in [(line.hdr, 1), (line.hdr_negative, -1)] {
            let text = text.filter(|text| !text.is_empty());
            let window = text.as_deref().map(histogram).transpose()?;
            values.extend(
                window
                    .iter()
                    .flat_map(Histogram::iter_recorded)
                    .map(|bucket| {
                        let ns = i64::try_from(bucket.value_iterated_to()).unwrap_or(i64::MAX);
                        (sign * within(ns), bucket.count_at_value())
                    }),
            );
        }
        let (start, middle) = if is_window {
            let start = time(line.start)?;
            (start.min(at), start.midpoint(at))
        } else {
            values.push((within(value), 1));
            (at, at)
        };
        if values.is_empty() {
            return Ok(());
        }
        let series = self.series.entry(key).or_default();
        // With `mode = "both"` a window's values are there as samples too, and finer.
        let (known, these) = if is_window {
            (&series.sampled, &mut series.windowed)
        } else {
            (&series.windowed, &mut series.sampled)
        };
        if known.overlaps(start, at) {
            return Ok(());
        }
        these.add(start, at);
        count(&mut series.stamps, line.stamp.unwrap_or_default());
        for (ns, many) in values {
            series.delays.add(ns, many);
            let many = u32::try_from(many).unwrap_or(u32::MAX);
            series.heat.add(middle, ns, many);
        }
        Ok(())
    }
}

/// Checks a time in Unix nanoseconds. From 1970 on, the difference of any two fits.
fn time(ns: i64) -> Result<i64, String> {
    if ns < 0 {
        Err(format!("a time before 1970: {ns}"))
    } else {
        Ok(ns)
    }
}

/// Limits a delay to 73 years, so that the difference of any two fits.
fn within(ns: i64) -> i64 {
    ns.clamp(-i64::MAX / 4, i64::MAX / 4)
}

fn histogram(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| format!("a histogram that is not base64: {error}"))?;
    let read = Deserializer::new().deserialize(&mut &*bytes);
    read.map_err(|error| format!("not a histogram: {error}"))
}

fn count(stamps: &mut BTreeMap<String, u64>, stamp: String) {
    // The daemon has three sources; a file may have any word.
    if stamps.len() < 8 || stamps.contains_key(&stamp) {
        *stamps.entry(stamp).or_default() += 1;
    }
}
