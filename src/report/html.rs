//! Writes a report as one page of HTML, which loads nothing and runs one script, its own.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::limits::REPORT_FLOWS_MAX;
use crate::proto::Wall;
use crate::report::data::{Data, Flow};
use crate::report::series::{Delays, Series};
use crate::report::verdict::{Part, verdict};
use crate::report::words::shown;
use crate::report::{plot, text};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns the page. Everything from a file in it has gone through [`escaped`].
pub(super) fn page(data: &Data) -> String {
    // The one script that may run is ours, by its hash.
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Latency report</title><style>{STYLE}</style></head><body>\n<h1>Latency report</h1>\n"
    );
    out.push_str("<section class=\"verdict\">\n");
    let mut sentences = verdict(data).into_iter();
    let headline = sentences.next().unwrap_or_default();
    let _ = writeln!(
        out,
        "<p class=\"headline\">{}</p><ul>",
        sentence_of(&headline)
    );
    for sentence in sentences {
        let _ = writeln!(out, "<li>{}</li>", sentence_of(&sentence));
    }
    out.push_str("</ul></section>\n");
    for (index, flow) in data.flows.iter().enumerate() {
        section(&mut out, flow, index < REPORT_FLOWS_MAX);
    }
    let (own, network): (Vec<_>, Vec<_>) = data
        .ordered()
        .into_iter()
        .partition(|series| series.place.is_own);
    figures(&mut out, data, "Series", &network);
    if !network.is_empty() {
        out.push_str("<p class=\"note\">One-way delays contain the difference of the two hosts' clocks.</p>\n");
    }
    if data.losses().next().is_some() {
        out.push_str("<section><h2>Losses</h2><table><tr><th>series</th><th>probes</th></tr>\n");
        for (counted, count) in data.losses() {
            let (metric, tags) = (escaped(&counted.metric), isolated(&counted.tags));
            let by = if data.hosts.len() > 1 {
                format!(" counted by {}", isolated(data.host(counted.host)))
            } else {
                String::new()
            };
            let sum = count.sum;
            let _ = writeln!(
                out,
                "<tr><th>{metric}<br><small>{tags}{by}</small></th><td>{sum}</td></tr>"
            );
        }
        out.push_str("</table></section>\n");
    }
    if !data.events.is_empty() {
        out.push_str("<section><h2>Events</h2><ul>\n");
        for (host, event) in &data.events {
            let by = if data.hosts.len() > 1 {
                format!("{}: ", isolated(data.host(*host)))
            } else {
                String::new()
            };
            let _ = writeln!(out, "<li>{by}{}</li>", sentence_of(&text::told(event)));
        }
        out.push_str("</ul></section>\n");
    }
    let room = REPORT_FLOWS_MAX;
    plots(&mut out, data, network.iter().take(room));
    if !own.is_empty() {
        out.push_str("<h1>Of the hosts themselves</h1>\n");
        figures(&mut out, data, "Series", &own);
        plots(
            &mut out,
            data,
            own.iter().take(room.saturating_sub(network.len())),
        );
    }
    let unplotted = data
        .flows
        .len()
        .max(data.series.len())
        .saturating_sub(REPORT_FLOWS_MAX);
    if unplotted > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">Plots are of the first {REPORT_FLOWS_MAX} flows and series.</p>"
        );
    }
    for line in text::notes(data) {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(&line));
    }
    let _ = writeln!(out, "<script>{SCRIPT}</script></body></html>");
    out
}

/// Writes a table of series.
fn figures(out: &mut String, data: &Data, title: &str, all: &[&Series]) {
    if all.is_empty() {
        return;
    }
    let rows = all.iter().map(|series| {
        let place = &series.place;
        let mut name = escaped(&place.metric);
        let way = text::which_way(place);
        if !way.is_empty() {
            let _ = write!(name, " <small>{}</small>", isolated(&way));
        }
        let _ = write!(name, "<br><small>{}", isolated(&place.tags));
        if let Some(by) = text::seen_by(data, place) {
            let _ = write!(name, " {}", isolated(&by));
        }
        (name + "</small>", text::numbers(&series.delays))
    });
    let _ = writeln!(out, "<section><h2>{title}</h2>");
    table(out, "series", rows.collect());
    out.push_str("</section>\n");
}

/// Writes the plots of series, all on one axis of time.
fn plots<'a>(out: &mut String, data: &Data, all: impl Iterator<Item = &'a &'a Series>) {
    for series in all {
        let place = &series.place;
        let by = text::seen_by(data, place).map_or(String::new(), |by| isolated(&by));
        let _ = writeln!(
            out,
            "<section><h2>{} <small>{}</small></h2><p class=\"tags\">{} {by}</p>",
            escaped(&place.metric),
            isolated(&text::which_way(place)),
            isolated(&place.tags)
        );
        if series.delays.least < 0 {
            out.push_str("<p class=\"note\">Some delays are negative, and have no place on a logarithmic scale.</p>\n");
        } else {
            let span = data.span.unwrap_or_default();
            figure(out, "Delays over time", &plot::heat(&series.heat, span));
        }
        figure(
            out,
            "Percentiles",
            &plot::percentiles(&[("delay", &series.delays)]),
        );
        out.push_str("</section>\n");
    }
}

/// Returns a sentence, with its times in UTC for those whose browser runs no script.
fn sentence_of(parts: &[Part]) -> String {
    let parts = parts.iter().map(|part| match part {
        Part::Words(words) => escaped(words),
        Part::Time(at) => {
            let time = Wall::from_unix_nanos(*at);
            format!("<time datetime=\"{time}\">{time}</time>")
        }
    });
    parts.collect()
}

/// Escapes a name, and keeps one that is written from right to left from turning what stands around it.
fn isolated(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

fn section(out: &mut String, flow: &Flow, has_plots: bool) {
    let name = escaped(&flow.header.flow).to_uppercase();
    let _ = writeln!(
        out,
        "<section><h2>{} {name}</h2>",
        match flow.burst("start").map(|_| flow.word()) {
            Some("outage") => "Outage on",
            Some(_) => "Burst on",
            None => "Snapshot of",
        }
    );
    let _ = writeln!(
        out,
        "<p class=\"tags\">{}</p>",
        escaped(&flow.header.tags.join(" "))
    );
    let _ = writeln!(
        out,
        "<p>{}. Seen by {}.</p>",
        escaped(&text::facts(flow)),
        escaped(&flow.header.host)
    );
    let [lost, forward, reverse] = flow.losses();
    let probes = flow.probes.len();
    let _ = writeln!(
        out,
        "<p>{probes} probes, {lost} lost: {forward} forward, {reverse} reverse.</p>"
    );
    let of_flow = text::of_flow(flow);
    if has_plots && probes > 0 {
        figure(out, "Delay of each probe", &plot::probes(flow));
        let curves: Vec<(&'static str, &Delays)> = of_flow
            .iter()
            .map(|(name, delays)| (*name, delays))
            .collect();
        if !curves.is_empty() {
            figure(out, "Percentiles", &plot::percentiles(&curves));
        }
    }
    table(
        out,
        "delay",
        of_flow
            .iter()
            .map(|(name, delays)| ((*name).to_owned(), text::numbers(delays)))
            .collect(),
    );
    let _ = writeln!(
        out,
        "<p class=\"note\">Stamps: {}. {}.</p></section>",
        escaped(&text::stamps(&flow.stamps)),
        text::clock(flow)
    );
}

fn figure(out: &mut String, title: &str, svg: &str) {
    let _ = writeln!(
        out,
        "<figure><figcaption>{title}</figcaption>{svg}</figure>"
    );
}

fn table(out: &mut String, first: &str, rows: Vec<(String, Vec<String>)>) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<div class=\"wide\"><table><tr><th>{first}</th>");
    for title in text::titles() {
        let _ = write!(out, "<th>{title}</th>");
    }
    out.push_str("</tr>\n");
    for (name, cells) in rows {
        let _ = write!(out, "<tr><th>{name}</th>");
        for cell in cells {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

/// Escapes a text for HTML: names and tags come from the network.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(shown(c)),
        }
    }
    out
}
