//! Divides a payload that the intake refuses, so that a series at fault takes no others with it.

use serde_json::{Value, json};

use crate::limits::DATADOG_JSON_BYTES_MAX;
use crate::publish::datadog::encode::{COUNT_SUFFIX, FIGURES};
use crate::publish::datadog::{EVENT, SERIES};
use crate::publish::halves::middle;
use crate::publish::text::gunzip;
use crate::publish::{Payload, gzip};
use crate::record::{Metric, MetricKind};

/// Returns the metric of a series, also of one that is a figure of its windows, and the tags.
fn series(series: &Value) -> String {
    let name = series["metric"].as_str().unwrap_or_default();
    let mut figures = FIGURES[1..].iter().chain([&COUNT_SUFFIX]);
    let metric = match Metric::named(name) {
        Some(_) => name,
        None => figures
            .find_map(|figure| name.strip_suffix(figure))
            .unwrap_or(name),
    };
    let tags = series["tags"].as_array().into_iter().flatten();
    let tags: Vec<&str> = tags.filter_map(Value::as_str).collect();
    format!("{metric} of {}", tags.join(","))
}

/// Returns how many records are in some series. Of a window the number of its values is the record, and no other
/// figure. What has the plain name is a sample if `has_samples`, and else a window's median.
fn records(all: &[Value], has_samples: bool) -> u64 {
    let of = |series: &Value| {
        let name = series["metric"].as_str().unwrap_or_default();
        let counts = match Metric::named(name).map(|metric| metric.kind) {
            Some(MetricKind::Delay | MetricKind::SignedDelay) => has_samples,
            Some(MetricKind::Window) => false,
            Some(_) => true,
            None => name.ends_with(COUNT_SUFFIX),
        };
        let points = series["points"].as_array().map_or(0, Vec::len);
        if counts { points as u64 } else { 0 }
    };
    all.iter().map(of).sum()
}

fn parsed(payload: &Payload) -> Option<Vec<Value>> {
    // An event is alone in its payload.
    if payload.kind == EVENT {
        return None;
    }
    let text = gunzip(&payload.body, DATADOG_JSON_BYTES_MAX as u64).ok()?;
    let mut json: Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(json["series"].take()).ok()
}

/// Returns the first series of a payload.
pub(super) fn first_series(payload: &Payload) -> String {
    let all = parsed(payload).unwrap_or_default();
    all.first().map(series).unwrap_or_default()
}

/// Divides a payload between two series, with all their figures. `None` if there is only one.
pub(super) fn halves(payload: &Payload) -> Option<[Payload; 2]> {
    let mut front = parsed(payload)?;
    let keys: Vec<String> = front.iter().map(series).collect();
    let cut = middle(&keys);
    if cut == 0 || keys[cut] == keys[cut - 1] {
        return None;
    }
    let has_samples = records(&front, true) == payload.records;
    let back = front.split_off(cut);
    Some([front, back].map(|all| Payload {
        kind: SERIES,
        records: records(&all, has_samples),
        body: gzip(json!({ "series": all }).to_string().as_bytes()),
    }))
}
