//! Writes a report for a terminal.

use std::fmt::Write as _;

use crate::proto::Wall;
use crate::report::data::{Data, Delays, Flow, Probe, signed_f64};
use crate::report::read::Line;

/// Columns of a small plot.
const WIDTH: usize = 72;

/// Percentiles that are shown, with what they are called.
pub(super) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Formats nanoseconds with a unit, to about three digits.
pub(super) fn duration(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let number = signed_f64(ns);
    match size {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.*} µs", digits(size / 1_000), number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.*} ms", digits(size / 1_000_000), number / 1e6),
        _ => format!("{:.*} s", digits(size / 1_000_000_000), number / 1e9),
    }
}

const fn digits(whole: u64) -> usize {
    match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    }
}

/// Returns the figures of some delays: count, least, percentiles, greatest.
pub(super) fn numbers(delays: &Delays) -> Vec<String> {
    let mut cells = vec![delays.count().to_string(), duration(delays.least)];
    cells.extend(
        QUANTILES
            .iter()
            .map(|(_, part)| duration(delays.quantile(*part))),
    );
    cells.push(duration(delays.most));
    cells
}

/// Returns the titles of these figures.
pub(super) fn titles() -> Vec<&'static str> {
    let mut titles = vec!["count", "min"];
    titles.extend(QUANTILES.iter().map(|(name, _)| *name));
    titles.push("max");
    titles
}

/// Returns the delays of a flow: forward, reverse and round trip.
pub(super) fn of_flow(flow: &Flow) -> Vec<(&'static str, Delays)> {
    let all = [
        ("forward", flow.delays(|probe| probe.forward)),
        ("reverse", flow.delays(|probe| probe.reverse)),
        ("rtt", flow.delays(|probe| probe.rtt)),
    ];
    all.into_iter()
        .filter(|(_, delays)| delays.count() > 0)
        .collect()
}

/// Describes a burst or a snapshot in one line.
pub(super) fn facts(flow: &Flow) -> String {
    let mut text = String::new();
    if let Some(start) = flow.burst("start") {
        let event = flow.header.event.as_ref();
        let direction = match event.and_then(|event| event.get("direction")?.as_str()) {
            Some("forward") => "forward",
            Some("reverse") => "reverse",
            _ => "in an unknown direction",
        };
        let number = |key| flow.burst(key).unwrap_or(0);
        let word = flow.word();
        let length = duration(number("duration"));
        let _ = write!(text, "{word} {direction}, {length} long: ");
        if word == "burst" {
            let (peak, mean) = (duration(number("peak")), duration(number("mean")));
            let _ = write!(text, "peak {peak} and mean {mean} over the base, ");
        }
        let _ = write!(
            text,
            "{} of {} probes lost, begun at {}",
            number("lost"),
            number("probes"),
            Wall::from_unix_nanos(start),
        );
    } else {
        text.push_str("snapshot of what the flow did last");
    }
    if !flow.header.complete {
        text.push_str("; its beginning is not held any more");
    }
    text
}

/// Says how far the two clocks may be apart.
pub(super) fn clock(flow: &Flow) -> String {
    let number = |key: &str| flow.header.clock.as_ref()?.get(key)?.as_i64();
    match (number("offset"), number("error")) {
        (Some(offset), Some(error)) => format!(
            "forward and reverse contain the difference of the two clocks: the peer's less ours is {} ± {}",
            duration(offset),
            duration(error)
        ),
        _ => "forward and reverse contain the difference of the two clocks, which is not known"
            .to_owned(),
    }
}

/// Lists the number of stamps of each source.
pub(super) fn stamps(stamps: &std::collections::BTreeMap<String, u64>) -> String {
    let parts = stamps.iter().map(|(name, count)| format!("{name} {count}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// Describes a burst or an outage among samples.
pub(super) fn told(burst: &Line) -> String {
    format!(
        "{}: {} {} {}: {} long from {} on, peak {}, {} lost",
        burst
            .event
            .as_ref()
            .and_then(|word| word.as_str())
            .unwrap_or_default(),
        burst.flow,
        burst
            .direction
            .as_deref()
            .unwrap_or("in an unknown direction"),
        burst.tags.join(" "),
        duration(burst.duration),
        Wall::from_unix_nanos(burst.start),
        duration(burst.peak),
        burst.lost
    )
}

/// Says what is not in the report: a line for each file that could not be read, and what a limit left out.
pub(super) fn notes(data: &Data) -> Vec<String> {
    let mut notes = data.unread.clone();
    if data.left_out > 0 {
        let lines = data.left_out;
        notes.push(format!(
            "{lines} lines are beyond what a report holds and were left out"
        ));
    }
    notes
}

/// Returns the report.
pub(super) fn page(data: &Data) -> String {
    let mut out = String::new();
    for flow in &data.flows {
        let tags = flow.header.tags.join(" ");
        let [lost, forward, reverse] = flow.losses();
        let _ = writeln!(
            out,
            "{} {}\n{}",
            plain(&flow.header.flow),
            plain(&tags),
            facts(flow)
        );
        let _ = writeln!(
            out,
            "{} probes, {lost} lost ({forward} forward, {reverse} reverse)",
            flow.probes.len()
        );
        let _ = writeln!(
            out,
            "stamps: {}\n{}\n",
            plain(&stamps(&flow.stamps)),
            clock(flow)
        );
        let rows = of_flow(flow)
            .into_iter()
            .map(|(name, delays)| (name.to_owned(), numbers(&delays)));
        table(&mut out, rows.collect());
        small_plot(&mut out, flow);
    }
    let rows = data.series.iter().map(|((metric, tags), series)| {
        (plain(&format!("{metric} {tags}")), numbers(&series.delays))
    });
    table(&mut out, rows.collect());
    for ((metric, tags), value) in &data.counts {
        let _ = writeln!(out, "{} {}: {value}", plain(metric), plain(tags));
    }
    for burst in &data.bursts {
        let _ = writeln!(out, "{}", plain(&told(burst)));
    }
    for line in notes(data) {
        let _ = writeln!(out, "{}", plain(&line));
    }
    out
}

/// Replaces control characters: tags come from the network, and a terminal obeys such characters.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn table(out: &mut String, rows: Vec<(String, Vec<String>)>) {
    if rows.is_empty() {
        return;
    }
    let first = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let _ = write!(out, "{:first$}", "");
    for title in titles() {
        let _ = write!(out, " {title:>9}");
    }
    out.push('\n');
    for (name, cells) in rows {
        let _ = write!(out, "{name:first$}");
        for cell in cells {
            let _ = write!(out, " {cell:>9}");
        }
        out.push('\n');
    }
    out.push('\n');
}

/// Draws each direction as a line of blocks, with the greatest delay of each column, and losses below.
fn small_plot(out: &mut String, flow: &Flow) {
    let times = || flow.probes.iter().map(|probe| probe.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return;
    };
    let span = last.saturating_sub(first).max(1);
    let width = i128::try_from(WIDTH).unwrap_or(1);
    let column = |probe: &Probe| {
        let column = i128::from(probe.at.saturating_sub(first)) * width / (i128::from(span) + 1);
        usize::try_from(column).unwrap_or(0).min(WIDTH - 1)
    };
    let mut draw = |name: &str, of: fn(&Probe) -> Option<i64>| {
        let mut highest = [None::<i64>; WIDTH];
        for probe in &flow.probes {
            let cell = &mut highest[column(probe)];
            *cell = (*cell).max(of(probe));
        }
        let all = || flow.probes.iter().filter_map(of);
        let (Some(least), Some(most)) = (all().min(), all().max()) else {
            return;
        };
        let line = highest.iter().map(|cell| match cell {
            None => ' ',
            Some(ns) => {
                let steps = i128::from(ns - least) * 7 / i128::from((most - least).max(1));
                ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][usize::try_from(steps).unwrap_or(0).min(7)]
            }
        });
        let _ = writeln!(
            out,
            "{name:7} |{}| +{}",
            line.collect::<String>(),
            duration(most - least)
        );
    };
    draw("forward", |probe| probe.forward);
    draw("reverse", |probe| probe.reverse);
    draw("rtt", |probe| probe.rtt);
    let mut losses = [' '; WIDTH];
    for probe in flow.probes.iter().filter(|probe| probe.is_lost) {
        losses[column(probe)] = 'x';
    }
    let _ = writeln!(
        out,
        "lost    |{}| in {}\n",
        losses.iter().collect::<String>(),
        duration(span)
    );
}
