//! The straight lines between two sets of points, and the range of their ends.
//!
//! A line is `value + slope * age`, seen from the instant asked about. So `age` is the time from a
//! point to that instant, and never negative. For one slope, the lines below all upper points end
//! at or below `ceiling(slope)`, the least `point.value + slope * point.age`. Those above all lower
//! points end at or above `floor(slope)`, the largest. A line of that slope exists if `floor <=
//! ceiling`. The ceiling is a minimum of rising straight lines, the floor a maximum, so `ceiling -
//! floor` is concave: the slopes with a line are one interval. Both rise, so the highest end is the
//! ceiling at its steepest slope, and the lowest end the floor at its least steep. That is exact:
//! those two lines exist.
//!
//! Newton's method finds the ends of the interval from outside. On a concave function it descends
//! along tangents, that is, along pairs of an upper and a lower point. It never crosses the zero,
//! so it has a valid bound wherever it stops. It touches only points on the two convex hulls,
//! without keeping the hulls.

use crate::limits::CLOCK_BINS;
use crate::proto::peer_clock::bounds::SKEW_PPB_MAX;

/// The steepest slope of a line, up or down.
#[expect(clippy::cast_precision_loss, reason = "a million")]
const SLOPE_MAX: f64 = SKEW_PPB_MAX as f64 / 1e9;

/// Tangents tried for one end of the slopes. A handful suffices; there are no more than points.
const TANGENTS_MAX: usize = 2 * CLOCK_BINS;

/// Nanoseconds of overlap that count as rounding: a line still passes between the sides.
const ROUNDING: f64 = 1.0 / 65_536.0;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// Nanoseconds before the instant asked about.
    pub(super) age: f64,
    /// Nanoseconds over the reference.
    pub(super) value: f64,
}

impl Point {
    /// Returns the end of a line through it.
    fn reach(self, slope: f64) -> f64 {
        self.value + slope * self.age
    }
}

/// The room between the upper and the lower points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tube {
    uppers: [Point; CLOCK_BINS],
    lowers: [Point; CLOCK_BINS],
    len: usize,
}

/// The ends of the lines in a tube, and of their slopes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lines {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) slope_low: f64,
    pub(super) slope_high: f64,
}

impl Lines {
    pub(super) fn slope_middle(&self) -> f64 {
        f64::midpoint(self.slope_low, self.slope_high)
    }
}

impl Tube {
    pub(super) fn new() -> Self {
        Self {
            uppers: [Point::default(); CLOCK_BINS],
            lowers: [Point::default(); CLOCK_BINS],
            len: 0,
        }
    }

    /// Adds an upper and a lower point. A pair without room is left out: the tube gets no narrower.
    pub(super) fn push(&mut self, upper: Point, lower: Point) {
        if self.len < CLOCK_BINS {
            self.uppers[self.len] = upper;
            self.lowers[self.len] = lower;
            self.len += 1;
        }
    }

    /// Returns the lines; `None` if no line passes, or there are no points.
    pub(super) fn lines(&self) -> Option<Lines> {
        let slope_high = self.last_slope(SLOPE_MAX)?;
        let slope_low = self.last_slope(-SLOPE_MAX)?;
        let high = self.ceiling(slope_high)?.reach(slope_high);
        let low = self.floor(slope_low)?.reach(slope_low);
        (low <= high).then_some(Lines {
            low,
            high,
            slope_low,
            slope_high,
        })
    }

    /// True if the tube is so narrow that the points cannot be from one line. Every part of a
    /// straight tube is about as wide as the whole, because the fastest packets of each direction
    /// recur. At a bend, the points before it cut into the room of those after it, long before no
    /// room is left. Rare and slow exchanges look alike at times. Then giving up the oldest costs
    /// only some precision. One pair alone is never pinched.
    pub(super) fn is_pinched(&self, lines: &Lines) -> bool {
        let slope = lines.slope_middle();
        let pairs = self.uppers[..self.len].iter().zip(&self.lowers[..self.len]);
        let narrowest = pairs
            .map(|(upper, lower)| upper.reach(slope) - lower.reach(slope))
            .fold(f64::INFINITY, f64::min);
        lines.high - lines.low < narrowest / 2.0
    }

    /// Returns the first slope with a line, from one end inwards.
    fn last_slope(&self, from: f64) -> Option<f64> {
        let mut slope = from;
        for _ in 0..TANGENTS_MAX {
            let (upper, lower) = (self.ceiling(slope)?, self.floor(slope)?);
            let room = upper.reach(slope) - lower.reach(slope);
            if room >= -ROUNDING {
                break;
            }
            // The room must grow inwards with the slope, or no slope has any.
            let growth = upper.age - lower.age;
            if growth * from >= 0.0 {
                return None;
            }
            slope -= room / growth;
            if slope.abs() > SLOPE_MAX {
                return None;
            }
        }
        Some(slope)
    }

    fn ceiling(&self, slope: f64) -> Option<Point> {
        let reach = |point: &Point| point.reach(slope);
        let uppers = self.uppers[..self.len].iter();
        uppers
            .min_by(|one, two| reach(one).total_cmp(&reach(two)))
            .copied()
    }

    fn floor(&self, slope: f64) -> Option<Point> {
        let reach = |point: &Point| point.reach(slope);
        let lowers = self.lowers[..self.len].iter();
        lowers
            .max_by(|one, two| reach(one).total_cmp(&reach(two)))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Age and value of an upper point, and of a lower one.
    type Pair = ((f64, f64), (f64, f64));

    fn tube(points: &[Pair]) -> Tube {
        let mut tube = Tube::new();
        for &((upper_age, upper), (lower_age, lower)) in points {
            tube.push(
                Point {
                    age: upper_age,
                    value: upper,
                },
                Point {
                    age: lower_age,
                    value: lower,
                },
            );
        }
        tube
    }

    /// The same by what it is said to be: every pair of points bounds the slope.
    fn lines_by_pairs(tube: &Tube) -> Option<Lines> {
        let (mut slope_low, mut slope_high) = (-SLOPE_MAX, SLOPE_MAX);
        let (uppers, lowers) = (&tube.uppers[..tube.len], &tube.lowers[..tube.len]);
        for upper in uppers {
            for lower in lowers {
                let slope = (upper.value - lower.value) / (lower.age - upper.age);
                if upper.age < lower.age {
                    slope_high = slope_high.min(slope);
                } else if upper.age > lower.age {
                    slope_low = slope_low.max(slope);
                } else if upper.value < lower.value {
                    return None;
                }
            }
        }
        if slope_low > slope_high {
            return None;
        }
        let low = lowers.iter().map(|point| point.reach(slope_low));
        let high = uppers.iter().map(|point| point.reach(slope_high));
        Some(Lines {
            low: low.fold(f64::NEG_INFINITY, f64::max),
            high: high.fold(f64::INFINITY, f64::min),
            slope_low,
            slope_high,
        })
    }

    #[test]
    fn an_empty_tube_has_no_lines() {
        assert_eq!(Tube::new().lines(), None);
    }

    #[test]
    fn one_pair_of_points_leaves_every_slope() {
        let lines = tube(&[((1e6, 500.0), (3e6, -500.0))]).lines();
        let expected = Lines {
            low: -3_500.0,
            high: 1_500.0,
            slope_low: -SLOPE_MAX,
            slope_high: SLOPE_MAX,
        };
        // The lower point is the older one: a line may fall from it, but rise to no more than the
        // upper one.
        assert_eq!(lines.map(|lines| lines.low), Some(expected.low));
        let steepest = 1_000.0 / 2e6;
        let slope = lines.expect("there are lines").slope_high;
        assert!((slope - steepest).abs() < 1e-12, "{slope}");
    }

    #[test]
    fn points_on_the_wrong_sides_have_no_line_between_them() {
        assert_eq!(tube(&[((0.0, -1.0), (0.0, 1.0))]).lines(), None);
        let bent = [
            ((0.0, 100.0), (0.0, 90.0)),
            ((1e6, 10.0), (1e6, 0.0)),
            ((2e6, 100.0), (2e6, 90.0)),
        ];
        assert_eq!(tube(&bent).lines(), None);
        assert!(tube(&bent[..2]).lines().is_some());
    }

    #[test]
    fn nothing_steeper_than_the_steepest_passes() {
        let steep = [((0.0, 3_000.0), (0.0, 2_900.0)), ((1e6, 100.0), (1e6, 0.0))];
        assert_eq!(tube(&steep).lines(), None);
    }

    proptest! {
        #[test]
        fn agrees_with_all_pairs(
            slope in -1.2e-3_f64..1.2e-3,
            width in -50.0_f64..2_000.0,
            points in prop::collection::vec(
                ((0.0_f64..1e11, 0.0_f64..1e6), (0.0_f64..1e11, 0.0_f64..1e6)),
                1..=CLOCK_BINS,
            ),
        ) {
            let points: Vec<_> = points
                .into_iter()
                .map(|((upper_age, above), (lower_age, below))| {
                    let upper = (upper_age, width + above - slope * upper_age);
                    let lower = (lower_age, -width - below - slope * lower_age);
                    (upper, lower)
                })
                .collect();
            let tube = tube(&points);
            match (tube.lines(), lines_by_pairs(&tube)) {
                (Some(found), Some(expected)) => {
                    prop_assert!((found.low - expected.low).abs() < 0.1);
                    prop_assert!((found.high - expected.high).abs() < 0.1);
                    prop_assert!((found.slope_low - expected.slope_low).abs() < 1e-9);
                    prop_assert!((found.slope_high - expected.slope_high).abs() < 1e-9);
                }
                (None, None) => {}
                // They may differ by the rounding that is let pass, and by no more.
                (Some(found), None) => prop_assert!(found.high - found.low < 0.1),
                (None, Some(expected)) => {
                    prop_assert!(false, "there is a line: {expected:?}");
                }
            }
        }
    }
}
