//! The base: the one-way delay without a queue. It is a line under the delays of the last seconds, because the
//! difference of two clocks grows with time.

use crate::limits::BURST_BUCKETS;

/// The least duration of a bucket in nanoseconds, and the least number of packets in it.
const BUCKET_NS: i64 = 500_000_000;
const BUCKET_PACKETS: u32 = 16;

/// The number of buckets from which there is a line.
const BUCKETS_LEAST: usize = 4;

/// The steepest line, in nanoseconds a second. No two clocks drift apart faster; a delay that does is a queue.
const SLOPE_MAX: f64 = 500_000.0;

/// A pause of this many buckets makes the line too old.
const STALE_BUCKETS: i64 = 8;

/// An instant and a delay, less those of the first packet: so floating point is exact enough.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    seconds: f64,
    ns: f64,
}

/// The bucket being filled.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    began_ns: i64,
    packets: u32,
    least: Point,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    /// The instant and the delay of the first packet.
    first: Option<(i64, i64)>,
    latest_ns: i64,
    bucket: Option<Bucket>,
    bucket_ns: i64,
    /// The least delay of each bucket, the oldest first.
    points: [Point; BURST_BUCKETS],
    len: usize,
    /// The line: its delay at the instant of the first packet, and its slope.
    ns: f64,
    slope: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "differences within hours keep their nanoseconds in 53 bits"
)]
impl Base {
    /// True if there is a line.
    pub(super) const fn is_known(&self) -> bool {
        self.len >= BUCKETS_LEAST
    }

    fn point(&self, at_ns: i64, delay_ns: i64) -> Point {
        let (first_at, first_delay) = self.first.unwrap_or((at_ns, delay_ns));
        Point {
            seconds: at_ns.saturating_sub(first_at) as f64 / 1e9,
            ns: delay_ns.saturating_sub(first_delay) as f64,
        }
    }

    /// Returns how far a delay is over the line, in nanoseconds.
    pub(super) fn over(&self, at_ns: i64, delay_ns: i64) -> i64 {
        let point = self.point(at_ns, delay_ns);
        (point.ns - self.ns - self.slope * point.seconds) as i64
    }

    /// Forgets everything after a long pause. True if there was one.
    pub(super) fn expire(&mut self, at_ns: i64) -> bool {
        let is_stale = self.first.is_some()
            && at_ns.saturating_sub(self.latest_ns).saturating_abs()
                > self.bucket_ns.max(BUCKET_NS) * STALE_BUCKETS;
        if is_stale {
            *self = Self::default();
        }
        is_stale
    }

    /// Takes a packet of a quiet time. True if it ends a bucket, so that the line is new.
    pub(super) fn take(&mut self, at_ns: i64, delay_ns: i64) -> bool {
        self.first.get_or_insert((at_ns, delay_ns));
        self.latest_ns = at_ns;
        let point = self.point(at_ns, delay_ns);
        let slope = self.slope;
        let bucket = self.bucket.get_or_insert(Bucket {
            began_ns: at_ns,
            packets: 0,
            least: point,
        });
        bucket.packets += 1;
        let height = |point: Point| point.ns - slope * point.seconds;
        if height(point) < height(bucket.least) {
            bucket.least = point;
        }
        let bucket = *bucket;
        let took_ns = at_ns.saturating_sub(bucket.began_ns);
        if took_ns < BUCKET_NS || bucket.packets < BUCKET_PACKETS {
            return false;
        }
        self.bucket = None;
        self.bucket_ns = took_ns;
        if self.len == BURST_BUCKETS {
            self.points.rotate_left(1);
            self.len -= 1;
        }
        self.points[self.len] = bucket.least;
        self.len += 1;
        self.draw();
        true
    }

    /// Notes a packet whose delay is not for the line.
    pub(super) const fn pass(&mut self, at_ns: i64) {
        self.latest_ns = at_ns;
    }

    /// Moves the line, because the path has become longer or shorter. Its slope stays.
    pub(super) fn shift(&mut self, ns: i64) {
        self.bucket = None;
        self.ns += ns as f64;
        for point in &mut self.points[..self.len] {
            point.ns += ns as f64;
        }
    }

    /// Draws the line under all points that is closest to them together: the edge of their lower hull at the
    /// middle of their time.
    fn draw(&mut self) {
        let points = &self.points[..self.len];
        let mut hull = [Point::default(); BURST_BUCKETS];
        let mut len = 0;
        for &point in points {
            while len >= 2 && !turns_left(hull[len - 2], hull[len - 1], point) {
                len -= 1;
            }
            hull[len] = point;
            len += 1;
        }
        let middle = points.iter().map(|point| point.seconds).sum::<f64>() / points.len() as f64;
        let edge = hull[..len]
            .windows(2)
            .find(|edge| edge[1].seconds >= middle);
        let (slope, through) = match edge {
            Some(&[left, right]) if right.seconds > left.seconds => {
                ((right.ns - left.ns) / (right.seconds - left.seconds), left)
            }
            _ => (0.0, hull[0]),
        };
        self.slope = slope.clamp(-SLOPE_MAX, SLOPE_MAX);
        self.ns = through.ns - self.slope * through.seconds;
    }
}

fn turns_left(one: Point, two: Point, three: Point) -> bool {
    (two.seconds - one.seconds) * (three.ns - one.ns)
        > (two.ns - one.ns) * (three.seconds - one.seconds)
}
