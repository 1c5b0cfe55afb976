//! What the cli backend prints, record by record.

use serde_json::Value;

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Whether it tells of a burst or the like. A host that is busy has those at any time, between any two samples.
pub(crate) fn is_event(record: &Value) -> bool {
    record["event"].is_string()
}

/// Samples as they are printed.
pub(crate) struct Samples<I> {
    lines: I,
    /// Metric, target and number of each so far.
    seen: Vec<(String, String, u64)>,
}

impl<I: Iterator<Item = String>> Samples<I> {
    pub(crate) fn of(lines: I) -> Self {
        Self {
            lines,
            seen: Vec::new(),
        }
    }

    /// Reads on up to the next one of a flow. Returns its number.
    pub(crate) fn next(&mut self, metric: &str, target: &str) -> u64 {
        loop {
            let line = self.lines.next().expect("a sample");
            let so_far = self.seen.len();
            self.note(&line);
            if let Some((is, of, seq)) = self.seen.get(so_far)
                && is == metric
                && of == target
            {
                return *seq;
            }
        }
    }

    /// Reads on up to a record that fits.
    pub(crate) fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("a record");
            let record = self.note(&line);
            if fits(&record) {
                return record;
            }
        }
    }

    fn note(&mut self, line: &str) -> Value {
        let record = json(line);
        if is_event(&record) {
            return record;
        }
        let metric = record["metric"]
            .as_str()
            .unwrap_or_else(|| panic!("a metric or an event: {line}"));
        let mut tags = record["tags"].as_array().expect("tags").iter();
        let target = tags.find_map(|tag| tag.as_str()?.strip_prefix("target:"));
        let target = target.unwrap_or_default();
        let seq = record["seq"].as_u64().unwrap_or(u64::MAX);
        self.seen.push((metric.to_owned(), target.to_owned(), seq));
        record
    }

    /// Reads the rest. Every probe of a flow was answered, whatever it was called, up to the last one that was, and is
    /// told once.
    pub(crate) fn end_without_a_gap(&mut self, metric: &str, targets: &[&str]) {
        while let Some(line) = self.lines.next() {
            self.note(&line);
        }
        let of_flow = self
            .seen
            .iter()
            // A window has no number.
            .filter(|(_, _, seq)| *seq != u64::MAX)
            .filter(|(is, of, _)| is == metric && targets.contains(&&**of));
        let all: Vec<u64> = of_flow.map(|(_, _, seq)| *seq).collect();
        let numbers: std::collections::BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(all.len(), numbers.len(), "{metric} of {targets:?}");
        let last = *numbers.last().expect("samples");
        let missing: Vec<u64> = (0..last).filter(|seq| !numbers.contains(seq)).collect();
        assert_eq!(missing, [0; 0], "{metric} of {targets:?}, which has {last}");
    }
}

#[test]
fn an_event_between_samples_is_no_sample() {
    let sample = |seq| {
        format!(r#"{{"metric": "rtt", "points": [[1, 2]], "tags": ["target:a"], "seq": {seq}}}"#)
    };
    let event = r#"{"event": "burst", "flow": "udp", "tags": ["target:a"]}"#.to_owned();
    let lines = [sample(0), event.clone(), sample(1), event];
    let mut samples = Samples::of(lines.into_iter());
    assert_eq!(samples.next("rtt", "a"), 0);
    assert_eq!(samples.next("rtt", "a"), 1);
    samples.end_without_a_gap("rtt", &["a"]);
}
