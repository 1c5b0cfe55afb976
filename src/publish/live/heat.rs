//! A column of a heatmap: how many values of a window fell into each of fixed bins.

use crate::record::{Distribution, SparseWindow, middle};

/// Bins of a column: one for all below a microsecond, then two an octave, and the last one for all from 8.4 s up.
pub(super) const BINS: usize = 48;

/// The least value of the second bin, in nanoseconds: stamps of the kernel are no finer.
const FIRST_NS: u64 = 1_000;

/// The least value of each bin in nanoseconds, a factor of the square root of two apart.
pub(super) const EDGES_NS: [u64; BINS] = edges();

const fn edges() -> [u64; BINS] {
    let mut edges = [0; BINS];
    let mut bin = 1;
    while bin < BINS {
        let octave = FIRST_NS << ((bin - 1) / 2);
        // 1,000,000 : 1,414,214 is the root of two, and an even place begins the upper half of an octave.
        edges[bin] = if bin % 2 == 1 {
            octave
        } else {
            octave * 1_414_214 / 1_000_000
        };
        bin += 1;
    }
    edges
}

/// The bins that have values, each with their number, ascending.
pub(super) type Heat = Vec<(u8, u64)>;

/// Returns the column of a window. Values below zero are in the first bin.
pub(super) fn heat(distribution: &Distribution) -> Heat {
    let mut heat = Heat::new();
    let below = distribution
        .negative()
        .map_or(0, hdrhistogram::Histogram::len)
        + distribution.below();
    if below > 0 {
        heat.push((0, below));
    }
    for step in distribution.positive().iter_recorded() {
        // The middle of the histogram's own bucket, which is a thousandth of its value wide.
        let value = distribution
            .positive()
            .median_equivalent(step.value_iterated_to());
        add(&mut heat, bin_of(value), step.count_at_value().into());
    }
    heat
}

/// Returns the column of a window that was kept, as [`heat`] does.
pub(super) fn of_kept(window: &SparseWindow) -> Heat {
    let mut heat = Heat::new();
    let negative: u64 = window.negative.iter().map(|(_, count)| count).sum();
    let below = negative.saturating_add(window.below);
    if below > 0 {
        heat.push((0, below));
    }
    for (place, count) in &window.positive {
        add(&mut heat, bin_of(middle(*place)), *count);
    }
    heat
}

/// Adds to a bin that is no lower than all before it.
fn add(heat: &mut Heat, bin: u8, count: u64) {
    match heat.last_mut() {
        Some((last, sum)) if *last == bin => *sum += count,
        _ => heat.push((bin, count)),
    }
}

/// Adds the values of a second part of one column.
pub(super) fn merge(heat: &mut Heat, other: &Heat) {
    heat.extend_from_slice(other);
    heat.sort_unstable();
    let all = std::mem::take(heat);
    for (bin, count) in all {
        add(heat, bin, count);
    }
}

fn bin_of(value_ns: u64) -> u8 {
    let bin = EDGES_NS.partition_point(|edge| *edge <= value_ns).max(1) - 1;
    u8::try_from(bin).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_ascend_and_a_value_is_in_the_bin_that_it_begins() {
        assert!(EDGES_NS.is_sorted());
        assert_eq!(EDGES_NS[..4], [0, 1_000, 1_414, 2_000]);
        assert_eq!(EDGES_NS[BINS - 1], 8_388_608_000);
        for (bin, edge) in EDGES_NS.iter().enumerate() {
            assert_eq!(usize::from(bin_of(*edge)), bin);
            if bin > 0 {
                assert_eq!(usize::from(bin_of(edge - 1)), bin - 1);
            }
        }
        assert_eq!(usize::from(bin_of(u64::MAX)), BINS - 1);
    }

    #[test]
    fn two_parts_of_a_column_are_one() {
        let mut heat = vec![(0, 1), (4, 2)];
        merge(&mut heat, &vec![(3, 1), (4, 5)]);
        assert_eq!(heat, [(0, 1), (3, 1), (4, 7)]);
    }
}
