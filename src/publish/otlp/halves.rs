//! Divides a payload that a receiver refuses, so that a series at fault takes no others with it.

use serde_json::{Value, json};

use crate::limits::OTLP_UNPACKED_BYTES_MAX;
use crate::publish::halves::middle;
use crate::publish::otlp::LOGS;
use crate::publish::text::gunzip;
use crate::publish::{Payload, gzip};

/// What the data of a metric can be.
const DATA: [&str; 3] = ["exponentialHistogram", "sum", "gauge"];

/// One data point with its metric, or one log record.
struct Item {
    /// The metric, without its points.
    metric: Value,
    point: Value,
    /// The series; of a log record its place, because each is by itself.
    key: String,
}

/// The names of what is in a payload.
struct Words {
    resources: &'static str,
    scopes: &'static str,
    items: &'static str,
}

const fn words(kind: u8) -> Words {
    if kind == LOGS {
        return Words {
            resources: "resourceLogs",
            scopes: "scopeLogs",
            items: "logRecords",
        };
    }
    Words {
        resources: "resourceMetrics",
        scopes: "scopeMetrics",
        items: "metrics",
    }
}

/// Returns the name of what a metric's data are.
fn data_of(metric: &Value) -> Option<&'static str> {
    DATA.into_iter().find(|data| metric.get(data).is_some())
}

/// Reads a payload: all around its items, and these.
fn parsed(payload: &Payload) -> Option<(Value, Vec<Item>)> {
    let text = gunzip(&payload.body, OTLP_UNPACKED_BYTES_MAX).ok()?;
    let mut all: Value = serde_json::from_str(&text).ok()?;
    let words = words(payload.kind);
    let scope = &mut all[words.resources][0][words.scopes][0];
    let list: Vec<Value> = serde_json::from_value(scope[words.items].take()).ok()?;
    let mut items = Vec::new();
    for (place, mut one) in list.into_iter().enumerate() {
        let Some(data) = data_of(&one) else {
            let name = one["eventName"].as_str().unwrap_or_default();
            let key = format!("{name} of {} ({place})", attributes(&one));
            items.push(Item {
                metric: Value::Null,
                point: one,
                key,
            });
            continue;
        };
        let points: Vec<Value> = serde_json::from_value(one[data]["dataPoints"].take()).ok()?;
        items.extend(points.into_iter().map(|point| Item {
            key: format!(
                "{} of {}",
                one["name"].as_str().unwrap_or_default(),
                attributes(&point)
            ),
            metric: one.clone(),
            point,
        }));
    }
    Some((all, items))
}

fn attributes(item: &Value) -> String {
    let attributes = item["attributes"].as_array().into_iter().flatten();
    let pair = |attribute: &Value| {
        let (key, value) = (
            attribute["key"].as_str()?,
            attribute["value"]["stringValue"].as_str()?,
        );
        Some(format!("{key}:{value}"))
    };
    attributes.filter_map(pair).collect::<Vec<_>>().join(",")
}

/// Makes a payload of items, with all that was around them.
fn made(kind: u8, around: &Value, items: Vec<Item>) -> Payload {
    let records = items.len() as u64;
    let mut list = Vec::<Value>::new();
    let mut last = Value::Null;
    for item in items {
        let Some(data) = data_of(&item.metric) else {
            list.push(item.point);
            continue;
        };
        if last != item.metric {
            last.clone_from(&item.metric);
            list.push(item.metric);
        }
        let points = &mut list.last_mut().expect("one was pushed")[data]["dataPoints"];
        match points {
            Value::Array(points) => points.push(item.point),
            none => *none = json!([item.point]),
        }
    }
    let words = words(kind);
    let mut all = around.clone();
    all[words.resources][0][words.scopes][0][words.items] = Value::Array(list);
    Payload {
        kind,
        body: gzip(all.to_string().as_bytes()),
        records,
    }
}

/// Returns the first series of a payload.
pub(super) fn first_series(payload: &Payload) -> String {
    let items = parsed(payload).map(|(_, items)| items);
    let first = items.and_then(|items| items.into_iter().next());
    first.map(|item| item.key).unwrap_or_default()
}

/// Divides a payload between two series. `None` if there is only one.
pub(super) fn halves(payload: &Payload) -> Option<[Payload; 2]> {
    let (around, mut front) = parsed(payload)?;
    let keys: Vec<&str> = front.iter().map(|item| &*item.key).collect();
    let cut = middle(&keys);
    if cut == 0 || keys[cut] == keys[cut - 1] {
        return None;
    }
    let back = front.split_off(cut);
    Some([front, back].map(|items| made(payload.kind, &around, items)))
}
