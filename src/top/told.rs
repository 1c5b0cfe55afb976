//! What a daemon tells, as it stands in its JSON (`docs/http.md`, "Live figures").

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The figures of a row that have columns.
macro_rules! figures {
    ($($figure:ident $name:literal),* $(,)?) => {
        /// A figure of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Figure {
            $(#[doc = concat!("`", $name, "`")] $figure),*
        }

        /// The names of their columns, in the order of [`Figure`].
        const FIGURES: &[&str] = &[$($name),*];
    };
}

figures! {
    Sent "sent",
    Lost "lost",
    LostForward "lost_forward",
    LostReverse "lost_reverse",
    Late "late",
    Duplicate "duplicate",
    Reordered "reordered",
    Corrupt "corrupt",
    Unsent "unsent",
    RttP50 "rtt_p50_ns",
    RttP99 "rtt_p99_ns",
    RttMax "rtt_max_ns",
    ForwardP50 "forward_p50_ns",
    ForwardP99 "forward_p99_ns",
    ForwardMax "forward_max_ns",
    ReverseP50 "reverse_p50_ns",
    ReverseP99 "reverse_p99_ns",
    ReverseMax "reverse_max_ns",
    OwdP50 "owd_p50_ns",
    OwdP99 "owd_p99_ns",
}

/// How many figures there are.
pub(super) const FIGURE_COUNT: usize = 20;

/// The columns with heatmaps, in the order of [`Columns::heats`].
pub(super) const HEATS: [&str; 3] = ["rtt_heat", "forward_heat", "reverse_heat"];

/// A pair of hosts.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) pair: u32,
    pub(super) source: String,
    pub(super) target: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

/// Rows as columns.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    /// Of rows: the pair of each. Of one pair's past: its number.
    pair: Option<&'a RawValue>,
    flow: Option<&'a RawValue>,
    figures: [Vec<Option<i64>>; FIGURE_COUNT],
    pub(super) heats: [Vec<Option<&'a RawValue>>; HEATS.len()],
    stamp: Vec<Option<String>>,
}

impl Columns<'_> {
    /// Returns whose the rows are: the pairs' numbers, and the kinds of flows.
    pub(super) fn keys(&self) -> Result<Vec<(u32, String)>, serde_json::Error> {
        let pairs: Vec<u32> = self.pair.map_or(Ok(Vec::new()), read)?;
        let flows: Vec<String> = self.flow.map_or(Ok(Vec::new()), read)?;
        Ok(pairs.into_iter().zip(flows).collect())
    }

    /// Returns all figures of a row.
    pub(super) fn row(&self, at: usize) -> [Option<i64>; FIGURE_COUNT] {
        std::array::from_fn(|figure| self.figures.get(figure)?.get(at).copied()?)
    }

    /// Returns the weakest source of a row's stamps.
    pub(super) fn stamp(&self, at: usize) -> Option<&str> {
        self.stamp.get(at)?.as_deref()
    }

    /// Returns a heatmap's column of a row: bins, each with its number.
    pub(super) fn heat(&self, of: usize, at: usize) -> Vec<Bin> {
        let raw = self.heats.get(of).and_then(|heats| *heats.get(at)?);
        let list: Vec<u64> = raw.and_then(|raw| read(raw).ok()).unwrap_or_default();
        let bins = list.chunks_exact(2).map(|bin| Bin {
            place: usize::try_from(bin[0]).unwrap_or(usize::MAX),
            count: bin[1],
        });
        bins.filter(|bin| bin.count > 0).collect()
    }
}

/// A bin of a heatmap's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    pub(super) place: usize,
    pub(super) count: u64,
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(raw.get())
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor(std::marker::PhantomData))
    }
}

struct ColumnsVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for ColumnsVisitor<'a> {
    type Value = Columns<'a>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("columns of rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns<'a>, A::Error> {
        let mut columns = Columns::default();
        while let Some(name) = map.next_key::<String>()? {
            let figure = FIGURES.iter().position(|one| *one == name);
            let figure = figure.and_then(|figure| columns.figures.get_mut(figure));
            let heat = HEATS.iter().position(|one| *one == name);
            match (name.as_str(), figure, heat) {
                (_, Some(column), _) => *column = map.next_value()?,
                (_, _, Some(heat)) => columns.heats[heat] = map.next_value()?,
                ("stamp", ..) => columns.stamp = map.next_value()?,
                ("pair", ..) => columns.pair = Some(map.next_value()?),
                ("flow", ..) => columns.flow = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(columns)
    }
}

/// What is known of the clocks of peers, as columns.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Clocks {
    pub(super) pair: Vec<u32>,
    pub(super) offset_ns: Vec<Option<i64>>,
    pub(super) error_ns: Vec<Option<i64>>,
    pub(super) skew_ppb: Vec<Option<i64>>,
}

/// A backend, and how its last try ended.
#[derive(Debug, Deserialize)]
pub(super) struct Delivery {
    pub(super) backend: String,
    pub(super) ok: Option<bool>,
}

/// All that is known.
#[derive(Debug, Deserialize)]
pub(super) struct Snapshot<'a> {
    pub(super) source: String,
    pub(super) interval_ns: u64,
    pub(super) heat_edges_ns: Vec<u64>,
    pub(super) pairs: Vec<Pair>,
    #[serde(default)]
    pub(super) deliveries: Vec<Delivery>,
    /// The daemon keeps a past on its disk.
    #[serde(default)]
    pub(super) history: bool,
    #[serde(default)]
    pub(super) events: Vec<Value>,
    pub(super) end_ns: Option<i64>,
    #[serde(borrow, default)]
    pub(super) rows: Columns<'a>,
    #[serde(default)]
    pub(super) clocks: Clocks,
    #[serde(default)]
    pub(super) host: BTreeMap<String, Value>,
}

/// An interval that has ended.
#[derive(Debug, Deserialize)]
pub(super) struct Update<'a> {
    pub(super) end_ns: i64,
    #[serde(default)]
    pub(super) new: Vec<Pair>,
    #[serde(default)]
    pub(super) gone: Vec<u32>,
    #[serde(borrow, default)]
    pub(super) rows: Columns<'a>,
    #[serde(default)]
    pub(super) clocks: Clocks,
    #[serde(default)]
    pub(super) host: BTreeMap<String, Value>,
}

/// The main figures of all rows in the past.
#[derive(Debug, Deserialize)]
pub(super) struct Past<'a> {
    pub(super) end_ns: Vec<i64>,
    #[serde(borrow)]
    pub(super) series: Vec<&'a RawValue>,
}

/// Whose a series of the past is, and its round trips.
#[derive(Debug, Deserialize)]
pub(super) struct PastSeries {
    pub(super) pair: u32,
    pub(super) flow: String,
    #[serde(default)]
    pub(super) rtt_p99_ns: Vec<Option<i64>>,
    #[serde(default)]
    pub(super) lost: Vec<Option<i64>>,
}

/// When the intervals of an answer ended.
#[derive(Debug, Deserialize)]
pub(super) struct Ends {
    pub(super) end_ns: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_column() {
        assert_eq!(FIGURES.len(), FIGURE_COUNT);
        assert_eq!(FIGURES[Figure::OwdP99 as usize], "owd_p99_ns");
        assert_eq!(FIGURES[Figure::RttP99 as usize], "rtt_p99_ns");
    }

    #[test]
    fn columns_that_are_short_or_strange_are_read_as_far_as_they_go() {
        let text = r#"{"pair": [7, 8], "flow": ["udp", "tcp"], "sent": [1], "news": {"a": 1},
            "rtt_heat": [null, [3, 4, 5]], "stamp": ["user"]}"#;
        let columns: Columns<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(columns.keys().unwrap()[1], (8, "tcp".to_owned()));
        assert_eq!(columns.row(0)[Figure::Sent as usize], Some(1));
        assert_eq!(columns.row(1)[Figure::Sent as usize], None);
        let bins = [Bin { place: 3, count: 4 }];
        assert_eq!(columns.heat(0, 1), bins);
        assert_eq!(columns.heat(0, 0), []);
        assert_eq!(columns.stamp(1), None);
    }
}
