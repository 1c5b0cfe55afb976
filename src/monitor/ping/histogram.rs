//! The histogram in the summary: bars over bins that are equally wide on a logarithmic axis.

use std::fmt::Write as _;

use crate::monitor::ping::words::time;
use crate::record::Distribution;

/// Bounds of bins within a decade, the finest first. All are round numbers.
const STEPS: [&[u64]; 3] = [
    &[100, 125, 160, 200, 250, 315, 400, 500, 630, 800],
    &[100, 200, 500],
    &[100],
];
/// Bins at most: a summary is to fit a small terminal.
const ROWS_MAX: usize = 14;
/// Where a bin's bounds and its count end: the rest of a line is the bar.
const BESIDE: usize = 34;

/// A bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    /// The least value in it, in nanoseconds.
    pub(super) from: u64,
    /// The least value behind it.
    pub(super) to: u64,
    /// The values in it.
    pub(super) count: u64,
}

/// Returns the bounds of bins from the last one that is not over `least` to the first over `most`.
fn bounds(steps: &[u64], least: u64, most: u64) -> Vec<u64> {
    let mut bounds: Vec<u64> = vec![0];
    // Up to 8 * 10^11 ns: over a minute, which is where histograms end.
    for decade in 0..12 {
        for step in steps {
            let bound = step * 10_u64.pow(decade) / 100;
            if bound <= least {
                bounds.clear();
            }
            // The first decades are too small for the finest steps.
            if bounds.last().is_none_or(|last| *last < bound) {
                bounds.push(bound);
            }
            if bound > most {
                return bounds;
            }
        }
    }
    bounds.push(u64::MAX);
    bounds
}

/// Returns the bins of the values from zero up: as fine as the rows allow.
pub(super) fn bins(values: &Distribution) -> Vec<Bin> {
    let histogram = values.positive();
    if histogram.is_empty() {
        return Vec::new();
    }
    // A histogram does not know its values better than this.
    let [least, most] =
        [histogram.min(), histogram.max()].map(|value| histogram.highest_equivalent(value));
    let mut found = STEPS.iter().map(|steps| bounds(steps, least, most));
    // Of whole decades there are never more than that.
    let bounds = found
        .find(|bounds| bounds.len() <= ROWS_MAX + 1)
        .unwrap_or_default();
    let mut bins: Vec<Bin> = bounds
        .windows(2)
        .map(|pair| Bin {
            from: pair[0],
            to: pair[1],
            count: 0,
        })
        .collect();
    for step in histogram.iter_recorded() {
        let value = step.value_iterated_to();
        let place = bins.partition_point(|bin| bin.to <= value);
        if let Some(bin) = bins.get_mut(place) {
            bin.count += u64::from(step.count_at_value());
        }
    }
    bins
}

/// Returns the lines of a histogram, for a terminal of this width.
pub(super) fn render(values: &Distribution, width: usize) -> String {
    let bins = bins(values);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let room = width.saturating_sub(BESIDE).clamp(10, 60);
    let mut text = String::new();
    for bin in bins {
        let [from, to] = [bin.from, bin.to].map(|ns| time(i64::try_from(ns).unwrap_or(i64::MAX)));
        // What has values has a bar.
        let long = u128::from(bin.count) * room as u128;
        let bar = usize::try_from(long.div_ceil(u128::from(most))).unwrap_or(room);
        let line = format!("  {from:>9} - {to:>9} {:>8}  {:#<bar$}", bin.count, "");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
