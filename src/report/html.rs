//! Writes a report as one page of HTML, which loads nothing.

use std::fmt::Write as _;

use crate::limits::REPORT_FLOWS_MAX;
use crate::report::data::{Data, Delays, Flow};
use crate::report::{plot, text};

const STYLE: &str = include_str!("style.css");

/// Returns the page. Everything from a file in it has gone through [`escaped`].
pub(super) fn page(data: &Data) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Latency report</title><style>{STYLE}</style></head><body>\n<h1>Latency report</h1>\n"
    );
    for (index, flow) in data.flows.iter().enumerate() {
        section(&mut out, flow, index < REPORT_FLOWS_MAX);
    }
    if !data.series.is_empty() {
        let rows = data.series.iter().map(|((metric, tags), series)| {
            let (metric, tags) = (escaped(metric), escaped(tags));
            (
                format!("{metric}<br><small>{tags}</small>"),
                text::numbers(&series.delays),
            )
        });
        out.push_str("<section><h2>Series</h2>\n");
        table(&mut out, "series", rows.collect());
        out.push_str("<p class=\"note\">One-way delays contain the difference of the two hosts' clocks.</p></section>\n");
    }
    if !data.counts.is_empty() {
        out.push_str("<section><h2>Losses</h2><table><tr><th>series</th><th>probes</th></tr>\n");
        for ((metric, tags), value) in &data.counts {
            let (metric, tags) = (escaped(metric), escaped(tags));
            let _ = writeln!(
                out,
                "<tr><th>{metric}<br><small>{tags}</small></th><td>{value}</td></tr>"
            );
        }
        out.push_str("</table></section>\n");
    }
    if !data.bursts.is_empty() {
        out.push_str("<section><h2>Bursts and outages</h2><ul>\n");
        for burst in &data.bursts {
            let _ = writeln!(out, "<li>{}</li>", escaped(&text::told(burst)));
        }
        out.push_str("</ul></section>\n");
    }
    for ((metric, tags), series) in data.series.iter().take(REPORT_FLOWS_MAX) {
        let _ = writeln!(
            out,
            "<section><h2>{}</h2><p class=\"tags\">{}</p>",
            escaped(metric),
            escaped(tags)
        );
        if series.delays.least < 0 {
            out.push_str("<p class=\"note\">Some delays are negative, and have no place on a logarithmic scale.</p>\n");
        } else {
            figure(&mut out, "Delays over time", &plot::heat(&series.heat));
        }
        figure(
            &mut out,
            "Percentiles",
            &plot::percentiles(&[("delay", &series.delays)]),
        );
        out.push_str("</section>\n");
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
    out.push_str("</body></html>\n");
    out
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
        text::facts(flow),
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
    let svg = svg.replacen("<svg ", "<svg role=\"img\" ", 1);
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
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
