//! An event of a daemon as a line.

use std::fmt::Write as _;

use serde_json::Value;

use crate::top::text::{delay, plain};

/// Members that are shown by themselves, or that are too long for a line.
const ELSEWHERE: [&str; 11] = [
    "event",
    "tags",
    "flow",
    "number",
    "direction",
    "start",
    "at",
    "evidence",
    "incident",
    "hops",
    "old_hops",
];

/// Members that are shown before the others: a narrow terminal has no room for all.
const FIRST: [&str; 5] = ["what", "peak", "duration", "lost", "suspect"];

/// Members that are nanoseconds.
const DELAYS: [&str; 9] = [
    "duration", "peak", "mean", "base", "old", "new", "step", "value", "others",
];

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// When it began, in Unix nanoseconds.
    pub(super) at_ns: i64,
    /// How long it took, where that is known.
    pub(super) duration_ns: i64,
    pub(super) kind: String,
    /// Whose it is, of which kind of flow, in which direction.
    pub(super) source: String,
    pub(super) target: String,
    pub(super) flow: String,
    pub(super) direction: Option<String>,
    /// What else it says.
    pub(super) words: String,
}

impl Happened {
    /// Reads an event. `None`: it is none.
    pub(super) fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(plain);
        let number = |name: &str| event.get(name).and_then(Value::as_i64);
        let tags = event.get("tags").and_then(Value::as_array);
        let tag = |key: &str| {
            let mut tags = tags?.iter().filter_map(Value::as_str);
            tags.find_map(|tag| tag.strip_prefix(key)?.strip_prefix(':'))
                .map(plain)
        };
        let kind = text("event")?;
        Some(Self {
            at_ns: number("start").or_else(|| number("at")).unwrap_or(0),
            duration_ns: number("duration").unwrap_or(0),
            source: tag("source").unwrap_or_default(),
            target: tag("target").unwrap_or_default(),
            flow: text("flow").unwrap_or_default(),
            direction: text("direction"),
            words: words(event, &kind),
            kind,
        })
    }

    /// True if it is a sign of trouble, and not only news.
    pub(super) fn is_trouble(&self) -> bool {
        let kinds = ["burst", "outage", "outage_begin", "path_divergence"];
        kinds.contains(&self.kind.as_str())
    }
}

/// Writes what an event says beside whose it is.
fn words(event: &Value, kind: &str) -> String {
    let mut words = String::new();
    let Some(members) = event.as_object() else {
        return words;
    };
    // Counts of hops are in the members that are delays elsewhere.
    let has_delays = kind != "hops_change" && kind != "wire";
    let is_loss = event.get("what").and_then(Value::as_str) == Some("loss");
    let is_first = |name: &str| FIRST.contains(&name);
    let first = FIRST.iter().filter_map(|name| members.get_key_value(*name));
    let others = members.iter().filter(|member| !is_first(member.0));
    for (name, value) in first.chain(others) {
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        let shown = match value {
            Value::Number(number) => {
                let is_delay = has_delays && !(is_loss && ["value", "others"].contains(&&**name));
                match number.as_i64().filter(|_| is_delay && is_named(name)) {
                    Some(ns) => delay(ns),
                    None => number.to_string(),
                }
            }
            Value::String(text) => plain(text),
            Value::Bool(is_so) => if *is_so { "yes" } else { "no" }.to_owned(),
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        let name = plain(name);
        let gap = if words.is_empty() { "" } else { "  " };
        let _ = write!(words, "{gap}{name} {shown}");
    }
    let hops = event.get("hops").and_then(Value::as_array);
    if let Some(hops) = hops {
        let _ = write!(words, "  {} hops", hops.len());
    }
    words
}

fn is_named(name: &str) -> bool {
    DELAYS.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_burst_is_a_line() {
        let event = json!({"event": "burst", "flow": "udp", "direction": "forward", "start": 17, "duration": 9_000_000,
            "peak": 4_000_000, "lost": 2, "tags": ["source:a", "target:b\u{1b}"], "suspect": "network",
            "evidence": {"local": {}}});
        let burst = Happened::read(&event).unwrap();
        assert_eq!((burst.at_ns, burst.duration_ns), (17, 9_000_000));
        assert_eq!(burst.target, "b\\u{1b}");
        let words = "peak 4.00ms  duration 9.00ms  lost 2  suspect network";
        assert_eq!(burst.words, words);
        assert!(burst.is_trouble());
    }

    #[test]
    fn what_is_no_delay_is_a_number() {
        let event =
            json!({"event": "hops_change", "at": 1, "old": 5, "new": 7, "tags": ["source:a"]});
        let words = Happened::read(&event).unwrap().words;
        assert_eq!(words, "new 7  old 5");
        let event = json!({"event": "path", "start": 1, "hops": [{}, {}], "source_port": 2000});
        assert_eq!(
            Happened::read(&event).unwrap().words,
            "source_port 2000  2 hops"
        );
        assert_eq!(Happened::read(&json!({"event": 7})), None);
        assert_eq!(Happened::read(&json!(["burst"])), None);
    }
}
