//! How the measuring host does: a line, and a screen with everything.

use std::fmt::Write as _;

use ratatui::layout::Rect;
use serde_json::Value;

use crate::record::{Metric, MetricKind, Unit};
use crate::top::draw::Scene;
use crate::top::draw::brush::Brush;
use crate::top::model::Model;
use crate::top::text::{bytes, delay, percent};

/// Finds a figure by the end of its name: all names of a host begin with the same word.
fn figure<'a>(model: &'a Model, end: &str) -> Option<&'a Value> {
    let mut figures = model.host.iter();
    let found = figures.find(|figure| figure.0.ends_with(end));
    found.map(|figure| figure.1)
}

/// A line with what distorts measurements.
pub(super) fn line(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let model = scene.model;
    let number = |name: &str| figure(model, name).and_then(Value::as_i64);
    let p99 = |name: &str| figure(model, name)?.get("p99_ns")?.as_i64();
    let mut text = " host".to_owned();
    let mut has_trouble = false;
    for (name, word) in [
        (".lateness", "late"),
        (".send_gap", "send"),
        (".receive_gap", "receive"),
    ] {
        if let Some(ns) = p99(name) {
            let _ = write!(text, "  {word} p99 {}", delay(ns));
        }
    }
    for (name, word) in [
        (".slots_missed", "slots missed"),
        (".receive_dropped", "packets dropped"),
        (".samples_dropped", "records dropped"),
    ] {
        let count = number(name).unwrap_or(0);
        if count > 0 {
            has_trouble = true;
            let _ = write!(text, "  {count} {word}");
        }
    }
    if let Some(cpu_ns) = number(".cpu") {
        let _ = write!(text, "  cpu {}%", percent(cpu_ns, model.interval_ns));
    }
    if let Some(resident) = number(".resident") {
        let _ = write!(text, "  {}", bytes(resident));
    }
    match (number(".clock.synchronised"), number(".clock.error")) {
        (Some(0), _) => {
            has_trouble = true;
            text += "  clock NOT SYNCHRONISED";
        }
        (Some(_), Some(error_ns)) => drop(write!(text, "  clock ±{}", delay(error_ns))),
        _ => {}
    }
    if !model.failing.is_empty() {
        has_trouble = true;
        let _ = write!(text, "  failing: {}", model.failing.join(" "));
    }
    let style = if has_trouble {
        brush.palette.trouble()
    } else {
        brush.palette.plain()
    };
    brush.text(area.x, area.y, area.width, &text, style);
}

/// Everything that is known of the host, of its backends and of the peers' clocks.
pub(super) fn draw(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let model = scene.model;
    let own = model
        .host
        .iter()
        .map(|(name, value)| format!("{name}  {}", shown(name, value)));
    let backends = model.backends.iter().map(|(name, value)| {
        let metric = name.split_once(' ').map_or(name.as_str(), |name| name.1);
        format!("{name}  {}", shown(metric, value))
    });
    let clocks = model.pairs.values().filter_map(|pair| {
        let clock = pair.clock?;
        let figure = |ns: Option<i64>| ns.map_or_else(|| "?".to_owned(), delay);
        let skew = clock
            .skew_ppb
            .map_or_else(|| "?".to_owned(), |ppb| ppb.to_string());
        let (offset, error) = (figure(clock.offset_ns), figure(clock.error_ns));
        let (source, target) = (&pair.source, &pair.target);
        Some(format!(
            "clock {source} → {target}  offset {offset} ±{error}  skew {skew} ppb"
        ))
    });
    let lines: Vec<String> = own.chain(backends).chain(clocks).collect();
    brush.text(
        area.x,
        area.y,
        area.width,
        " this host in the last interval",
        brush.palette.heading(),
    );
    let below = area.y + 1..area.bottom();
    for (y, line) in below.zip(lines.iter().skip(scene.view.scrolled)) {
        brush.text(area.x + 1, y, area.width - 1, line, brush.palette.plain());
    }
}

/// Returns a figure in the unit of its metric.
fn shown(name: &str, value: &Value) -> String {
    let metric = Metric::named(name);
    let unit = metric.map_or(Unit::Number, |metric| metric.unit);
    let is_count = metric.is_some_and(|metric| metric.kind == MetricKind::Count);
    match (value.as_i64(), unit) {
        (Some(ns), Unit::Nanoseconds) => delay(ns),
        (Some(size), Unit::Bytes) => bytes(size),
        (Some(number), _) if is_count && number > 0 => format!("+{number}"),
        (Some(number), _) => number.to_string(),
        (None, _) => {
            let figure = |name: &str| value.get(name).and_then(Value::as_i64);
            let delay_of = |name| figure(name).map_or_else(|| "?".to_owned(), delay);
            let count = figure("count").unwrap_or(0);
            let [p50, p99, max] = ["p50_ns", "p99_ns", "max_ns"].map(delay_of);
            format!("p50 {p50}  p99 {p99}  max {max}  of {count}")
        }
    }
}
