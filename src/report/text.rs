//! Writes a report for a terminal.

use std::fmt::Write as _;

use crate::proto::Wall;
use crate::report::data::{Data, Flow, Probe};
use crate::report::read::Line;
use crate::report::series::{Delays, Place};
use crate::report::verdict::{Part, verdict};
use crate::report::words::{duration, plain};

/// Columns of a small plot.
const WIDTH: usize = 72;

/// Percentiles that are shown, with what they are called.
pub(super) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

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
        text.push_str(&whose(
            event.and_then(|event| event.get("suspect")?.as_str()),
        ));
    } else {
        text.push_str("snapshot of what the flow did last");
    }
    if !flow.header.complete {
        text.push_str("; its beginning is not held any more");
    }
    text
}

/// Says who has most likely caused an event.
fn whose(suspect: Option<&str>) -> String {
    suspect.map_or(String::new(), |suspect| format!("; suspect: {suspect}"))
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

/// Describes an event among samples.
pub(super) fn told(event: &Line) -> Vec<Part> {
    let (word, tags) = (event.word(), event.tags.join(" "));
    let mut words = format!("{word}: {} ", event.flow);
    if matches!(
        word,
        "burst" | "outage" | "path_divergence" | "remarked" | "route_change"
    ) {
        words += event
            .direction
            .as_deref()
            .unwrap_or("in an unknown direction");
        words.push(' ');
    }
    words += &tags;
    let at = match event.when() {
        Some(at) => Part::Time(at),
        None => Part::Words("a time that is not told".to_owned()),
    };
    let is_queue = matches!(word, "burst" | "outage");
    let between = match event.duration {
        Some(length) => format!("{words}: {} long from ", duration(length)),
        None => format!("{words}: at "),
    };
    let mut rest = String::new();
    if is_queue {
        rest = format!(
            " on, peak {}, {} lost",
            duration(event.peak),
            event.lost.unwrap_or(0)
        );
    }
    rest += &whose(event.suspect.as_deref());
    vec![Part::Words(between), at, Part::Words(rest)]
}

/// Names a series: with the host that measured it, if a report has several.
pub(super) fn seen_by(data: &Data, place: &Place) -> Option<String> {
    (data.hosts.len() > 1).then(|| format!("seen by {}", data.host(place.host)))
}

/// Says which way a series is of.
pub(super) fn which_way(place: &Place) -> String {
    match &place.direction {
        Some([from, to]) => format!("{from} to {to}"),
        None => String::new(),
    }
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
    for (index, sentence) in verdict(data).into_iter().enumerate() {
        let indent = if index == 0 { "" } else { "  - " };
        let _ = writeln!(out, "{indent}{}", sentence_of(&sentence));
    }
    out.push('\n');
    for flow in &data.flows {
        let tags = flow.header.tags.join(" ");
        let [lost, forward, reverse] = flow.losses();
        let _ = writeln!(
            out,
            "{} {}\n{}",
            plain(&flow.header.flow),
            plain(&tags),
            plain(&facts(flow))
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
    series(&mut out, data, false);
    for (counted, count) in data.losses() {
        let host = if data.hosts.len() > 1 {
            format!(", counted by {}", data.host(counted.host))
        } else {
            String::new()
        };
        let name = format!("{} {}{host}", counted.metric, counted.tags);
        let _ = writeln!(out, "{}: {}", plain(&name), count.sum);
    }
    for (host, event) in &data.events {
        let by = if data.hosts.len() > 1 {
            format!("{}: ", plain(data.host(*host)))
        } else {
            String::new()
        };
        let _ = writeln!(out, "{by}{}", sentence_of(&told(event)));
    }
    if data.series.iter().any(|series| series.place.is_own) {
        let _ = writeln!(out, "\nOf the hosts themselves:");
        series(&mut out, data, true);
    }
    for line in notes(data) {
        let _ = writeln!(out, "{}", plain(&line));
    }
    out
}

/// Writes the figures of the network's series, or of what daemons say of themselves.
fn series(out: &mut String, data: &Data, is_own: bool) {
    let all = data.ordered();
    let rows = all
        .into_iter()
        .filter(|series| series.place.is_own == is_own);
    let rows = rows.map(|series| {
        let place = &series.place;
        let by = seen_by(data, place).map_or(String::new(), |by| format!(" {by}"));
        let name = format!("{} {}{by}", place.metric, place.tags);
        (plain(&name), numbers(&series.delays))
    });
    table(out, rows.collect());
}

/// Returns a sentence with its times in UTC.
fn sentence_of(parts: &[Part]) -> String {
    let parts = parts.iter().map(|part| match part {
        Part::Words(words) => plain(words),
        Part::Time(at) => Wall::from_unix_nanos(*at).to_string(),
    });
    parts.collect()
}

/// Columns of a name in a table. A longer one has a line of its own above its figures.
const NAME_COLUMNS: usize = 72;

fn table(out: &mut String, rows: Vec<(String, Vec<String>)>) {
    if rows.is_empty() {
        return;
    }
    let lengths = rows.iter().map(|(name, _)| name.chars().count());
    let first = lengths
        .filter(|length| *length <= NAME_COLUMNS)
        .max()
        .unwrap_or(0);
    let _ = write!(out, "{:first$}", "");
    for title in titles() {
        let _ = write!(out, " {title:>9}");
    }
    out.push('\n');
    for (name, cells) in rows {
        if name.chars().count() > NAME_COLUMNS {
            let _ = write!(out, "{name}\n{:first$}", "");
        } else {
            let _ = write!(out, "{name:first$}");
        }
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
