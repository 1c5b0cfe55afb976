//! What a ping shows as text: a line at the beginning, one for each second or probe, and the summary.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::{Figure, Loss};
use crate::monitor::ping::figures::{Figures, PeerClock, Values};
use crate::monitor::ping::histogram;
use crate::monitor::ping::probes::Probe;
use crate::monitor::ping::subject::Subject;
use crate::monitor::ping::words::{number, percent, time};
use crate::proto::{FlowKind, StampSource};

/// The figures of a line of the summary, by their names.
const FIGURES: [(&str, Figure); 7] = [
    ("min", Figure::Min),
    ("mean", Figure::Mean),
    ("p50", Figure::Quantile(0.5)),
    ("p90", Figure::Quantile(0.9)),
    ("p99", Figure::Quantile(0.99)),
    ("p99.9", Figure::Quantile(0.999)),
    ("max", Figure::Max),
];

/// Returns the first line: whom, over what, how often.
pub(super) fn header(subject: &Subject, every: Duration, flows: u16) -> String {
    let mut line = format!(
        "PING {}, {}, a probe every {}",
        subject.whom(),
        subject.over(),
        time(i64::try_from(every.as_nanos()).unwrap_or(i64::MAX)),
    );
    if flows > 1 {
        let _ = write!(line, " on each of {flows} flows");
    }
    if !subject.others.is_empty() {
        let others: Vec<String> = subject.others.iter().map(ToString::to_string).collect();
        let _ = write!(line, "; the name also leads to {}", others.join(", "));
    }
    line.push('\n');
    line
}

/// Returns the line of a probe that was answered.
pub(super) fn probe(probe: &Probe, clock: Option<PeerClock>, is_raw: bool) -> String {
    let mut line = format!("seq {}", probe.seq);
    if let Some(ns) = probe.round_trip {
        let _ = write!(line, "  rtt {}", time(ns));
    }
    for (name, value) in [("forward", probe.forward), ("reverse", probe.reverse)] {
        if let Some(ns) = value {
            let _ = write!(line, "  {name} {}", time(ns));
        }
    }
    if let Some(clock) = clock.filter(|_| probe.forward.is_some() || probe.reverse.is_some()) {
        line += &within(clock, is_raw);
    }
    let _ = writeln!(line, "  ({})", stamp(probe.stamp));
    line
}

/// Returns how sure one-way delays are.
fn within(clock: PeerClock, is_raw: bool) -> String {
    if is_raw {
        let (offset, error) = (time(clock.offset), time(clock.error));
        format!("  clocks {offset} +-{error} apart")
    } else {
        format!("  +-{}", time(clock.error))
    }
}

const fn stamp(source: StampSource) -> &'static str {
    match source {
        StampSource::Hw => "hardware",
        StampSource::Kernel => "kernel",
        StampSource::User => "process",
    }
}

/// Returns the line of a second, `at` seconds from the beginning.
pub(super) fn second(at: u64, figures: &Figures, is_raw: bool) -> String {
    let counts = &figures.counts;
    let mut line = format!("{at:>4} s  {}/{} answered", counts.received, counts.sent);
    let figure = |values: &Values, figure| values.figure(figure).map(time);
    let trip = &figures.round_trip;
    let shown = [Figure::Min, Figure::Quantile(0.5), Figure::Max].map(|it| figure(trip, it));
    if let [Some(min), Some(middle), Some(max)] = shown {
        let _ = write!(line, "  rtt {middle} ({min} to {max})");
    }
    for (name, values) in [("forward", &figures.forward), ("reverse", &figures.reverse)] {
        if let Some(middle) = figure(values, Figure::Quantile(0.5)) {
            let _ = write!(line, "  {name} {middle}");
        }
    }
    if let Some(clock) = figures.clock.filter(|_| figures.forward.all.count() > 0) {
        line += &within(clock, is_raw);
    }
    if let Some(trouble) = trouble(figures) {
        let _ = write!(line, "  {trouble}");
    }
    line.push('\n');
    line
}

/// Returns what went wrong in some time, if anything did.
pub(super) fn trouble(figures: &Figures) -> Option<String> {
    let counts = &figures.counts;
    let named = [
        (counts.lost, "lost"),
        (counts.lost_forward, "known as lost forward"),
        (counts.lost_reverse, "known as lost reverse"),
        (counts.late, "late"),
        (counts.duplicate, "duplicate"),
        (counts.reordered, "reordered"),
        (counts.corrupt, "unreadable"),
        (counts.misaddressed, "answered from elsewhere"),
        (counts.unreachable, "unreachable (ICMP)"),
        (counts.unsent, "not sent"),
        (counts.slots_missed, "missed by this host"),
    ];
    let told = named.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Returns the summary.
pub(super) fn summary(
    subject: &Subject,
    took: Duration,
    figures: &Figures,
    width: usize,
) -> String {
    let mut text = format!(
        "\n--- {}, {}: {:.1} s, {} ---\n",
        subject.whom(),
        subject.over(),
        took.as_secs_f64(),
        subject.wire(figures)
    );
    outcomes(subject, figures, &mut text);
    if figures.counts.received > 0 {
        delays(subject, figures, &mut text);
        notes(subject, figures, &mut text);
        let values = &figures.round_trip.all;
        if values.count() > 1 {
            let _ = writeln!(
                text,
                "{} of {}:",
                subject.trip(),
                number(values.count(), "probe")
            );
            text += &histogram::render(values, width);
        }
    }
    text
}

fn outcomes(subject: &Subject, figures: &Figures, text: &mut String) {
    let counts = &figures.counts;
    let _ = write!(
        text,
        "{} sent, {} answered, {} lost",
        counts.sent, counts.received, counts.lost
    );
    if let Some(share) = figures.loss_percent(Loss::All) {
        let _ = write!(text, " ({}", percent(share));
        if counts.lost > 0 && counts.sent_native > 0 {
            let (forward, reverse) = (counts.lost_forward, counts.lost_reverse);
            let rest = counts.lost.saturating_sub(forward + reverse);
            let _ = write!(
                text,
                ": {forward} forward, {reverse} reverse, {rest} on an unknown way"
            );
        }
        text.push(')');
    }
    if figures.in_flight() > 0 {
        let _ = write!(text, ", {} still on their way", figures.in_flight());
    }
    text.push('\n');
    if subject.kind != FlowKind::Connect {
        let _ = write!(
            text,
            "{} late, {} duplicate, {} reordered",
            counts.late, counts.duplicate, counts.reordered
        );
        for (count, what) in [
            (counts.corrupt, "unreadable"),
            (counts.misaddressed, "answered from elsewhere"),
            (counts.unreachable, "reported as unreachable (ICMP)"),
            (counts.retransmits, "segments sent again by TCP"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        text.push('\n');
    }
    let not_sent = [
        (
            counts.unsent,
            "not sent for want of a connection, a route or room",
        ),
        (counts.slots_missed, "not sent because this host was late"),
    ];
    for (count, why) in not_sent.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "{count} {why}");
    }
}

fn delays(subject: &Subject, figures: &Figures, text: &mut String) {
    // How a figure of values is read.
    type Read = fn(&Values, Figure) -> Option<i64>;
    let rows: [(&str, &Values, Read); 8] = [
        (subject.trip(), &figures.round_trip, Values::figure),
        ("forward", &figures.forward, Values::figure),
        ("reverse", &figures.reverse, Values::figure),
        ("forward pdv", &figures.forward, Values::figure_over_least),
        ("reverse pdv", &figures.reverse, Values::figure_over_least),
        ("forward ipdv", &figures.forward_variation, Values::figure),
        ("reverse ipdv", &figures.reverse_variation, Values::figure),
        ("sent late by", &figures.lateness, Values::figure),
    ];
    let _ = write!(text, "{:12}", "");
    for (name, _) in FIGURES {
        let _ = write!(text, " {name:>9}");
    }
    text.push_str("  stamped by\n");
    for (name, values, read) in rows {
        let known = values
            .stamped()
            .filter(|_| read(values, Figure::Max).is_some());
        let Some((source, weaker)) = known else {
            continue;
        };
        let _ = write!(text, "{name:12}");
        for (_, figure) in FIGURES {
            let shown = read(values, figure).map_or_else(String::new, time);
            let _ = write!(text, " {shown:>9}");
        }
        let _ = write!(text, "  {}", stamp(source));
        if weaker > 0 {
            let _ = write!(text, " (not all of {weaker})");
        }
        let bound = figures
            .clock_error_max
            .filter(|_| matches!(name, "forward" | "reverse"));
        if let Some(error) = bound.filter(|_| !subject.is_raw) {
            let _ = write!(text, ", +-{}", time(error));
        }
        text.push('\n');
    }
}

fn notes(subject: &Subject, figures: &Figures, text: &mut String) {
    for (way, bursts) in [
        ("forward", figures.forward_bursts),
        ("reverse", figures.reverse_bursts),
    ] {
        if bursts.count > 0 {
            let ns = |ns| time(i64::try_from(ns).unwrap_or(i64::MAX));
            let _ = writeln!(
                text,
                "{} {way}: the highest waited {} in a queue, {} long; the network is suspected of {}.",
                number(bursts.count, "burst"),
                ns(bursts.peak),
                ns(bursts.duration),
                bursts.network
            );
        }
    }
    if let Some(clock) = figures.clock {
        let (offset, error) = (time(clock.offset), time(clock.error));
        let _ = writeln!(
            text,
            "The other end's clock is {offset} +-{error} ahead of ours; {}",
            if subject.is_raw {
                "one-way delays contain that."
            } else {
                "one-way delays are less that, and as sure."
            }
        );
    }
    if let Some(note) = subject.note(figures) {
        let _ = writeln!(text, "{note}");
    }
}
