//! Says first what stands out: which target, in which direction, when, how much, and whether it was the network.

use std::collections::BTreeMap;

use crate::limits::{REPORT_NAME_CHARS_MAX, REPORT_VERDICT_LINES_MAX};
use crate::report::data::{Count, Data};
use crate::report::findings::{Finding, Key, Kind};
use crate::report::read::Line;
use crate::report::series::{as_f64, signed_f64};
use crate::report::words::duration;

/// A piece of a line. A page shows times in its reader's zone too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Words, with names from elsewhere in them.
    Words(String),
    /// A time in Unix nanoseconds.
    Time(i64),
}

/// Builds a line from words and times.
macro_rules! parts {
    ($($part:expr),* $(,)?) => { vec![$(Part::from($part)),*] };
}

impl From<String> for Part {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Part {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<i64> for Part {
    fn from(time: i64) -> Self {
        Self::Time(time)
    }
}

/// One sentence.
pub(super) type Sentence = Vec<Part>;

/// Returns the verdict: what it comes to, then a line for each thing that stands out, the gravest first.
pub(super) fn verdict(data: &Data) -> Vec<Sentence> {
    let losses = losses(data);
    let mut lines: Vec<((Kind, bool, f64), Sentence)> = Vec::new();
    for (key, finding) in &data.findings.all {
        let weight = match key.kind {
            Kind::Burst => signed_f64(finding.worst.peak),
            Kind::Outage => signed_f64(finding.duration),
            _ => as_f64(finding.count),
        };
        lines.push((
            (key.kind, !finding.is_open, -weight),
            told(data, key, finding),
        ));
    }
    for loss in losses.iter().filter(|loss| loss.lost.sum > 0) {
        // Losses stand behind the outages, which explain most of them.
        let order = (Kind::Divergence, false, -signed_f64(loss.lost.sum));
        lines.push((order, loss.told(data)));
    }
    lines.sort_by(|(one, _), (other, _)| {
        let [a, b] = [one, other].map(|(kind, is_over, _)| (*kind, *is_over));
        a.cmp(&b).then(one.2.total_cmp(&other.2))
    });
    let left_out = lines.len().saturating_sub(REPORT_VERDICT_LINES_MAX);
    let mut sentences = vec![headline(data, &losses)];
    let lines = lines.into_iter().take(REPORT_VERDICT_LINES_MAX);
    sentences.extend(lines.map(|(_, sentence)| sentence));
    if left_out > 0 {
        sentences.push(parts![format!(
            "and {left_out} things more, which weigh less"
        )]);
    }
    sentences
}

fn headline(data: &Data, losses: &[Loss<'_>]) -> Sentence {
    let [first, last] = data.span.unwrap_or_default();
    let mut sums = BTreeMap::<Kind, u64>::new();
    let mut suspects = [0; 4];
    for (key, finding) in &data.findings.all {
        *sums.entry(key.kind).or_default() += finding.count;
        if matches!(key.kind, Kind::Outage | Kind::Divergence | Kind::Burst) {
            let both = suspects.iter_mut().zip(finding.suspects);
            both.for_each(|(sum, more)| *sum += more);
        }
    }
    let mut what: Vec<String> = sums
        .iter()
        .map(|(kind, sum)| many(*sum, name(*kind)))
        .collect();
    let lost: i64 = losses.iter().map(|loss| loss.lost.sum).sum();
    let in_dumps: usize = data.flows.iter().map(|flow| flow.losses()[0]).sum();
    if lost > 0 {
        what.push(many(lost.unsigned_abs(), "lost probe"));
    } else if in_dumps > 0 {
        what.push(format!("{} in dumps", many(in_dumps as u64, "lost probe")));
    }
    if what.is_empty() {
        return parts![
            "Nothing stands out: no event and no loss, from ",
            first,
            " to ",
            last,
            "."
        ];
    }
    let mut sentence = parts![
        format!("{}, from ", what.join(", ")),
        first,
        " to ",
        last,
        "."
    ];
    let [network, local, peer, unknown] = suspects;
    let suspects = [
        (network, "the network"),
        (local + peer, "a host"),
        (unknown, "nobody, as nothing tells,"),
    ];
    let suspects = suspects.into_iter().filter(|(count, _)| *count > 0);
    let suspects: Vec<String> = suspects
        .map(|(count, who)| format!("{who} {}", times(count)))
        .collect();
    if !suspects.is_empty() {
        sentence.push(Part::from(format!(" Suspected: {}.", suspects.join(", "))));
    }
    sentence
}

fn many(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Outage => "outage",
        Kind::Divergence => "flow with a path of its own",
        Kind::Burst => "burst",
        Kind::Remarked => "rewritten code point",
        Kind::Reopened => "reopened flow",
        Kind::PathChange => "change of path",
        Kind::RouteChange => "change of route",
        Kind::HopsChange => "change of hops",
        Kind::Wire => "change of wire",
        Kind::ClockStep => "step of a clock",
    }
}

/// Says which way, with the names of both ends.
fn way(direction: Option<&str>, source: &str, target: &str) -> String {
    let (source, target) = (short(source), short(target));
    let is_named = !source.is_empty() && !target.is_empty();
    match direction {
        Some(direction @ ("forward" | "reverse")) if !is_named => direction.to_owned(),
        Some("forward") => format!("forward ({source} to {target})"),
        Some("reverse") => format!("reverse ({target} to {source})"),
        _ => "in both directions, or an unknown one".to_owned(),
    }
}

/// Cuts a name that is longer than any of ours.
fn short(name: &str) -> String {
    name.chars().take(REPORT_NAME_CHARS_MAX).collect()
}

/// Begins a line with the target, and with the host that tells if there are several.
fn begin(data: &Data, host: usize, target: &str) -> String {
    let target = if target.is_empty() {
        "this host"
    } else {
        target
    };
    if data.hosts.len() > 1 {
        format!("{}, as {} saw it: ", short(target), short(data.host(host)))
    } else {
        format!("{}: ", short(target))
    }
}

/// Says what some events have in common.
#[expect(clippy::too_many_lines, reason = "a sentence for each kind of event")]
fn told(data: &Data, key: &Key, finding: &Finding) -> Sentence {
    let worst = &finding.worst;
    let begin = begin(data, key.host, &key.target);
    // A number of hops is counted on the way there, and its event has no direction.
    let way_there = (key.kind == Kind::HopsChange).then_some("forward");
    let direction = key.direction.as_deref().or(way_there);
    let direction = way(direction, &key.source, &key.target);
    let (flow, often) = (short(&key.flow), times(finding.count));
    let at = worst.when().unwrap_or(finding.first);
    let lost = many(finding.lost, "probe");
    let length = duration(worst.duration.unwrap_or(0));
    let mut sentence = match key.kind {
        Kind::Outage if finding.is_open => {
            parts![
                format!("{begin}{flow} is cut off since "),
                at,
                ", and was so at the end of the file"
            ]
        }
        Kind::Outage => parts![
            format!(
                "{begin}{flow} was cut off {often}, {direction}, for {} in all; {lost} lost; the longest {length} from ",
                duration(finding.duration)
            ),
            at,
            " on",
        ],
        Kind::Burst => parts![
            format!(
                "{begin}{flow} waited in a queue {often}, {direction}; {lost} lost; the worst {} over the base, {length} \
                 long, at ",
                duration(worst.peak)
            ),
            at,
        ],
        Kind::Divergence => {
            let (value, others) = (worst.value.unwrap_or(0.0), worst.others.unwrap_or(0.0));
            let how = if worst.what.as_deref() == Some("loss") {
                format!(
                    "lost {:.2} %, the others {:.2} %",
                    value * 100.0,
                    others * 100.0
                )
            } else {
                format!(
                    "took {} where the others took {}",
                    nanos(value),
                    nanos(others)
                )
            };
            let rest = if finding.is_open {
                " on, and was so at the end of the file"
            } else {
                " on"
            };
            parts![
                format!(
                    "{begin}{flow} departed from the other flows {often}, {direction}: it {how}, from "
                ),
                at,
                rest
            ]
        }
        Kind::Remarked => parts![
            format!(
                "{begin}{flow} arrived with another code point {often}, {direction}: {} in place of {}, since ",
                short(worst.arrived.as_deref().unwrap_or("?")),
                short(worst.sent.as_deref().unwrap_or("?"))
            ),
            at,
        ],
        Kind::Reopened => {
            let helped = match worst.helped {
                Some(true) => "which helped: the path of the old one was at fault",
                _ => "which did not help",
            };
            parts![
                format!("{begin}{flow} took a fresh port {often}, {helped}; last at "),
                at
            ]
        }
        Kind::PathChange => parts![
            format!("{begin}the hops of {flow} changed {often}; last at "),
            at
        ],
        Kind::RouteChange | Kind::HopsChange => {
            let figure = |value: &Option<serde_json::Value>| {
                let number = value
                    .as_ref()
                    .and_then(serde_json::Value::as_i64)
                    .unwrap_or(0);
                if key.kind == Kind::RouteChange {
                    duration(number)
                } else {
                    number.to_string()
                }
            };
            let of = if key.kind == Kind::RouteChange {
                "the least delay"
            } else {
                "the number of hops"
            };
            let (old, new) = (figure(&worst.old), figure(&worst.new));
            parts![
                format!(
                    "{begin}{of} of {flow} moved {often}, {direction}; last from {old} to {new} at "
                ),
                at
            ]
        }
        Kind::Wire => parts![
            format!("{begin}{flow} changed its wire {often}; last at "),
            at
        ],
        Kind::ClockStep => {
            let step = duration(worst.step.unwrap_or(0));
            parts![
                format!("{begin}a clock was set {often}; last by {step} at "),
                at
            ]
        }
    };
    if finding.count > 1 && finding.last > finding.first {
        sentence.extend(parts![
            "; the first at ",
            finding.first,
            ", the last at ",
            finding.last
        ]);
    }
    if matches!(key.kind, Kind::Outage | Kind::Divergence | Kind::Burst) && !finding.is_open {
        sentence.push(Part::from(whose(data, key, finding)));
    }
    sentence
}

/// Says whom the events suspect, and what speaks against a host.
fn whose(data: &Data, key: &Key, finding: &Finding) -> String {
    let [network, local, peer, unknown] = finding.suspects;
    let own = short(data.host(key.host));
    let other = short(if key.target == own {
        &key.source
    } else {
        &key.target
    });
    let all = [
        (network, "the network".to_owned()),
        (local, format!("a host: {own}, which tells this")),
        (peer, format!("a host: {other}, the other end")),
        (unknown, "nobody, as nothing tells".to_owned()),
    ];
    let suspected: Vec<_> = all.into_iter().filter(|(count, _)| *count > 0).collect();
    let words = match &suspected[..] {
        [(_, who)] => who.clone(),
        several => {
            let each = several
                .iter()
                .map(|(count, who)| format!("{who} ({count})"));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    if unknown == finding.count {
        return "; nothing tells whether it was the network or a host".to_owned();
    }
    format!("; suspected is {words}{}", against(&finding.worst))
}

/// Says what speaks against the host that the worst event suspects.
fn against(worst: &Line) -> String {
    let Some(side @ ("local" | "peer")) = worst.suspect.as_deref() else {
        return String::new();
    };
    let number = |key: &str| {
        let evidence = worst.evidence.as_ref()?.get(side)?.get(key)?;
        evidence.as_i64().filter(|number| *number > 0)
    };
    let times = [
        ("kept_waiting", "was kept waiting for"),
        ("steal", "lost its processors for"),
        ("receive_gap", "let a packet wait for"),
    ];
    let mut words: Vec<String> = times
        .into_iter()
        .filter_map(|(key, words)| Some(format!("{words} {}", duration(number(key)?))))
        .collect();
    words.extend(number("drops").map(|drops| format!("dropped {drops} packets")));
    if words.is_empty() {
        return String::new();
    }
    format!(" (in the worst it {})", words.join(", "))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn nanos(value: f64) -> String {
    duration(value as i64)
}

/// The losses of a target over one protocol, as one host counted them.
struct Loss<'a> {
    host: usize,
    target: &'a str,
    protocol: &'a str,
    lost: Count,
    forward: i64,
    reverse: i64,
    sent: i64,
}

/// Adds the losses up by target and protocol. Those of single flows are in their target's.
fn losses(data: &Data) -> Vec<Loss<'_>> {
    let mut losses = BTreeMap::<(&str, usize, &str), Loss<'_>>::new();
    for (counted, count) in &data.counts {
        let (tags, host) = (&*counted.tags, counted.host);
        let parts = counted
            .metric
            .split_once(".lost")
            .or_else(|| counted.metric.split_once(".sent"));
        let Some((protocol, _)) = parts.filter(|_| !tags.contains(" flow:")) else {
            continue;
        };
        let loss = losses
            .entry((tags, host, protocol))
            .or_insert_with(|| Loss {
                host,
                target: &counted.target,
                protocol,
                lost: Count::default(),
                forward: 0,
                reverse: 0,
                sent: 0,
            });
        match &counted.metric[protocol.len()..] {
            ".lost" => loss.lost = *count,
            ".lost.forward" => loss.forward = count.sum,
            ".lost.reverse" => loss.reverse = count.sum,
            ".sent" => loss.sent = count.sum,
            _ => {}
        }
    }
    losses.into_values().collect()
}

impl Loss<'_> {
    fn told(&self, data: &Data) -> Sentence {
        let protocol = short(self.protocol.split('.').next().unwrap_or_default());
        let lost = self.lost.sum;
        let mut of = String::new();
        if self.sent > 0 {
            let share = signed_f64(lost) * 100.0 / signed_f64(self.sent);
            of = format!(" of {} ({share:.3} %)", self.sent);
        }
        let begin = begin(data, self.host, self.target);
        let unknown = (lost - self.forward - self.reverse).max(0);
        parts![
            format!(
                "{begin}{lost}{of} {protocol} probes were lost: {} forward, {} reverse, {unknown} in an unknown \
                 direction; most in one interval were {}, in the one to ",
                self.forward, self.reverse, self.lost.most
            ),
            self.lost.most_at,
        ]
    }
}
