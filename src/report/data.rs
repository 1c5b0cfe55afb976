//! The data of a report: series, losses, events, and the probes of dumps.

use std::collections::BTreeMap;

use crate::limits::{
    REPORT_BURSTS_MAX, REPORT_DUMPS_MAX, REPORT_HOSTS_MAX, REPORT_NUMBERS_MAX, REPORT_PROBES_MAX,
    REPORT_SERIES_MAX,
};
use crate::report::findings::Findings;
use crate::report::read::Line;
use crate::report::series::{Delays, Place, Series, count};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

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

/// What is counted: of which target, by which host, under which metric and tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Counted {
    pub(super) target: String,
    pub(super) tags: String,
    pub(super) host: usize,
    pub(super) metric: String,
}

/// A window that was kept, without its values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub(super) metric: &'a str,
    pub(super) tags: &'a [String],
    pub(super) span: [i64; 2],
    pub(super) stamp: &'a str,
}

/// Where a series is, or will be.
#[derive(Debug)]
enum Known {
    At(usize),
    New(Place),
}

/// The sum of a count, and its largest interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) sum: i64,
    pub(super) most: i64,
    /// The end of the largest interval.
    pub(super) most_at: i64,
}

/// Everything that a report is made of.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// The hosts whose files these are, by name.
    pub(super) hosts: Vec<String>,
    pub(super) flows: Vec<Flow>,
    pub(super) series: Vec<Series>,
    /// Where each series is, by host, metric and tags.
    places: BTreeMap<Vec<u8>, usize>,
    /// Counts of probes that were sent or lost, by target and metric.
    pub(super) counts: BTreeMap<Counted, Count>,
    /// Events among samples and windows, with the host that tells.
    pub(super) events: Vec<(usize, Line)>,
    /// The same and those of dumps, by what they have in common.
    pub(super) findings: Findings,
    /// The first and the last time of all.
    pub(super) span: Option<[i64; 2]>,
    /// The number of lines left out because of a limit.
    pub(super) left_out: u64,
    /// What could not be read, a line for each file.
    pub(super) unread: Vec<String>,
    host: usize,
    /// The key of a series, kept from line to line.
    key: Vec<u8>,
    probes: usize,
    in_dump: bool,
    /// True if there was room for the dump that is read.
    is_kept: bool,
}

impl Data {
    /// True if there is nothing that a report could show or judge.
    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty()
            && self.flows.iter().all(|flow| flow.probes.is_empty())
            && self.events.is_empty()
            && self.findings.all.is_empty()
            && self.counts.is_empty()
    }

    /// Begins a file of a host. Several files of one host are one host's.
    pub(super) fn begin_file(&mut self, host: String) {
        let known = self.hosts.iter().position(|known| *known == host);
        self.host = known.unwrap_or_else(|| {
            if self.hosts.len() < REPORT_HOSTS_MAX {
                self.hosts.push(host);
            }
            self.hosts.len() - 1
        });
    }

    /// Returns the name of a host.
    pub(super) fn host(&self, index: usize) -> &str {
        self.hosts.get(index).map_or("", |host| host)
    }

    /// Returns the series in the order in which they are shown.
    pub(super) fn ordered(&self) -> Vec<&Series> {
        let mut series: Vec<&Series> = self.series.iter().collect();
        series.sort_by(|one, other| one.place.cmp(&other.place));
        series
    }

    /// Returns what was lost, without what was only sent.
    pub(super) fn losses(&self) -> impl Iterator<Item = (&Counted, &Count)> {
        self.counts
            .iter()
            .filter(|(counted, _)| counted.metric.contains(".lost"))
    }

    fn extend(&mut self, from: i64, to: i64) {
        let [first, last] = self.span.get_or_insert([from, to]);
        (*first, *last) = ((*first).min(from), (*last).max(to));
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
            if let Some(event) = line.event_of_dump() {
                self.add_event(&event);
            }
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
            // The daemon's paths come every ten minutes and change nothing.
            if line.word() != "path" {
                self.add_event(&line);
                if self.events.len() < REPORT_BURSTS_MAX {
                    self.events.push((self.host, line));
                } else {
                    self.left_out += 1;
                }
            }
            Ok(())
        }
    }

    fn add_event(&mut self, line: &Line) {
        if let Some(at) = line.when().filter(|at| *at >= 0) {
            self.extend(at, at.saturating_add(line.duration.unwrap_or(0).max(0)));
        }
        self.left_out += u64::from(!self.findings.add(self.host, line));
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
        let [first, last] = self.span.get_or_insert([at, at]);
        (*first, *last) = ((*first).min(at), (*last).max(at));
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
        let metric = line.metric.as_deref().unwrap_or_default();
        let is_window = line.hdr.is_some() || line.hdr_negative.is_some();
        let is_delay = is_window || line.seq.is_some();
        let window = is_window.then_some((line.end, 0));
        let Some((at, value)) = line.points.first().copied().or(window) else {
            return Err("a metric without a point".to_owned());
        };
        let at = time(at)?;
        if !is_delay {
            self.add_count(metric, &line.tags, at, value);
            return Ok(());
        }
        let Some(known) = self.known(metric, &line.tags) else {
            return Ok(());
        };
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
        let start = if is_window {
            time(line.start)?.min(at)
        } else {
            values.push((within(value), 1));
            at
        };
        let stamp = line.stamp.unwrap_or_default();
        self.add_delays(known, [start, at], is_window, stamp, &values);
        Ok(())
    }

    /// Adds a window: values in nanoseconds, each with its number.
    pub(super) fn add_window(&mut self, window: &Kept<'_>, values: &[(i64, u64)]) {
        let [start, end] = window.span.map(|at| at.max(0));
        if let Some(known) = self.known(window.metric, window.tags) {
            let stamp = window.stamp.to_owned();
            self.add_delays(known, [start.min(end), end], true, stamp, values);
        }
    }

    /// Returns the series of this metric and these tags, which may be a new one; `None` if there is no room for it.
    fn known(&mut self, metric: &str, tags: &[String]) -> Option<Known> {
        self.key.clear();
        self.key.extend(self.host.to_le_bytes());
        for part in std::iter::once(metric).chain(tags.iter().map(|tag| &**tag)) {
            self.key.extend(part.as_bytes());
            // No text has this byte, so no two keys run into each other.
            self.key.push(0xff);
        }
        match self.places.get(&self.key) {
            Some(index) => Some(Known::At(*index)),
            None if self.series.len() < REPORT_SERIES_MAX => {
                Some(Known::New(Place::new(metric, tags, self.host)))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }

    fn add_delays(
        &mut self,
        known: Known,
        span: [i64; 2],
        is_window: bool,
        stamp: String,
        values: &[(i64, u64)],
    ) {
        if values.is_empty() {
            return;
        }
        let index = match known {
            Known::At(index) => index,
            Known::New(place) => {
                self.series.push(Series::new(place));
                self.places.insert(self.key.clone(), self.series.len() - 1);
                self.series.len() - 1
            }
        };
        self.extend(span[0], span[1]);
        self.series[index].add(span, is_window, stamp, values);
    }

    /// Adds a count. Of all counts and gauges, a report shows losses, beside what was sent.
    pub(super) fn add_count(&mut self, metric: &str, tags: &[String], at: i64, value: i64) {
        let is_loss = metric.contains(".lost") && !metric.ends_with(".unattributed");
        let is_sent = metric.rsplit('.').next() == Some("sent");
        if !(is_loss || is_sent) || value <= 0 {
            return;
        }
        let target = tags.iter().find_map(|tag| tag.strip_prefix("target:"));
        let key = Counted {
            target: target.unwrap_or_default().to_owned(),
            tags: tags.join(" "),
            host: self.host,
            metric: metric.to_owned(),
        };
        if self.counts.len() >= REPORT_NUMBERS_MAX && !self.counts.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.extend(at, at);
        let count = self.counts.entry(key).or_default();
        count.sum = count.sum.saturating_add(value);
        if value > count.most {
            (count.most, count.most_at) = (value, at);
        }
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
