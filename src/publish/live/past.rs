//! Past intervals, packed: what a page has at once when it is opened.

use std::collections::VecDeque;

use crate::history::bytes::{Bytes, put, put_signed};
use crate::limits::{LIVE_INTERVALS_MAX, LIVE_PAST_BYTES_MAX};
use crate::proto::StampSource;
use crate::publish::live::row::{Figures, Row};

/// Sources of stamps, by the number that they are packed as.
const STAMPS: [StampSource; 3] = [StampSource::User, StampSource::Kernel, StampSource::Hw];

/// One interval of all pairs.
#[derive(Debug)]
pub(super) struct Interval {
    /// Its end in Unix nanoseconds.
    pub(super) end_ns: i64,
    /// The key of each row and where it begins, ascending.
    index: Vec<(u64, u32)>,
    bytes: Vec<u8>,
}

impl Interval {
    /// Packs rows, which ascend by their keys.
    pub(super) fn pack<'a>(end_ns: i64, rows: impl Iterator<Item = (u64, &'a Row)>) -> Self {
        let (mut index, mut bytes) = (Vec::new(), Vec::new());
        for (key, row) in rows {
            // As many bytes are not kept of any interval: see `Past::push`.
            let Ok(begin) = u32::try_from(bytes.len()) else {
                break;
            };
            index.push((key, begin));
            pack(row, &mut bytes);
        }
        index.shrink_to_fit();
        bytes.shrink_to_fit();
        Self {
            end_ns,
            index,
            bytes,
        }
    }

    /// Returns a row.
    pub(super) fn row(&self, key: u64) -> Option<Row> {
        let place = self
            .index
            .binary_search_by_key(&key, |entry| entry.0)
            .ok()?;
        self.unpack(self.index.get(place)?.1)
    }

    /// Returns all rows with their keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u64, Row)> {
        let index = self.index.iter();
        index.filter_map(|&(key, begin)| Some((key, self.unpack(begin)?)))
    }

    fn unpack(&self, begin: u32) -> Option<Row> {
        let begin = usize::try_from(begin).ok()?;
        unpack(&mut Bytes(self.bytes.get(begin..)?))
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.index.len() * size_of::<(u64, u32)>() + size_of::<Self>()
    }
}

/// The last intervals: as many as [`LIVE_INTERVALS_MAX`] and as fit into [`LIVE_PAST_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Past {
    intervals: VecDeque<Interval>,
    bytes: usize,
}

impl Past {
    pub(super) fn push(&mut self, interval: Interval) {
        self.bytes += interval.size();
        self.intervals.push_back(interval);
        while self.bytes > LIVE_PAST_BYTES_MAX || self.intervals.len() > LIVE_INTERVALS_MAX {
            let Some(oldest) = self.intervals.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }

    /// Returns them, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Interval> + ExactSizeIterator {
        self.intervals.iter()
    }
}

/// Returns a bit for each value that is there.
fn bits<T>(values: &[Option<T>]) -> u64 {
    let set = values.iter().enumerate().filter(|(_, one)| one.is_some());
    set.fold(0, |bits, (place, _)| bits | 1 << place)
}

fn pack(row: &Row, out: &mut Vec<u8>) {
    put(bits(&row.counts), out);
    row.counts.iter().flatten().for_each(|one| put(*one, out));
    put(bits(&row.delays), out);
    for figures in row.delays.iter().flatten() {
        put(figures.count, out);
        for ns in [figures.p50_ns, figures.p99_ns, figures.max_ns] {
            put_signed(ns, out);
        }
    }
    put(bits(&row.leasts), out);
    row.leasts
        .iter()
        .flatten()
        .for_each(|ns| put_signed(*ns, out));
    for heat in &row.heats {
        put(heat.len() as u64, out);
        for (bin, count) in heat {
            out.push(*bin);
            put(*count, out);
        }
    }
    let stamp = row
        .stamp
        .and_then(|stamp| STAMPS.iter().position(|one| *one == stamp));
    put(stamp.map_or(0, |place| place as u64 + 1), out);
}

/// Reads what [`pack`] has written.
fn unpack(bytes: &mut Bytes<'_>) -> Option<Row> {
    let mut row = Row::default();
    let bits = bytes.number()?;
    for (place, count) in row.counts.iter_mut().enumerate() {
        if bits >> place & 1 == 1 {
            *count = Some(bytes.number()?);
        }
    }
    let bits = bytes.number()?;
    for (place, figures) in row.delays.iter_mut().enumerate() {
        if bits >> place & 1 == 1 {
            *figures = Some(Figures {
                count: bytes.number()?,
                p50_ns: bytes.signed()?,
                p99_ns: bytes.signed()?,
                max_ns: bytes.signed()?,
            });
        }
    }
    let bits = bytes.number()?;
    for (place, least) in row.leasts.iter_mut().enumerate() {
        if bits >> place & 1 == 1 {
            *least = Some(bytes.signed()?);
        }
    }
    for heat in &mut row.heats {
        for _ in 0..bytes.number()? {
            heat.push((bytes.byte()?, bytes.number()?));
        }
    }
    let stamp = usize::try_from(bytes.number()?).ok()?;
    row.stamp = stamp
        .checked_sub(1)
        .and_then(|place| STAMPS.get(place))
        .copied();
    Some(row)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures() -> impl Strategy<Value = Option<Figures>> {
        let numbers = (any::<u64>(), any::<i64>(), any::<i64>(), any::<i64>());
        let figures = numbers.prop_map(|(count, p50_ns, p99_ns, max_ns)| Figures {
            count,
            p50_ns,
            p99_ns,
            max_ns,
        });
        proptest::option::of(figures)
    }

    fn row() -> impl Strategy<Value = Row> {
        let heat = || proptest::collection::vec((any::<u8>(), any::<u64>()), 0..5);
        let parts = (
            proptest::array::uniform10(any::<Option<u64>>()),
            proptest::array::uniform4(figures()),
            proptest::array::uniform3(heat()),
            proptest::array::uniform2(any::<Option<i64>>()),
            proptest::sample::select(vec![
                None,
                Some(STAMPS[0]),
                Some(STAMPS[1]),
                Some(STAMPS[2]),
            ]),
        );
        parts.prop_map(|(counts, delays, heats, leasts, stamp)| Row {
            counts,
            delays,
            heats,
            leasts,
            stamp,
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(rows in proptest::collection::vec(row(), 0..4)) {
            let keyed = || rows.iter().enumerate().map(|(place, row)| (3 * place as u64, row));
            let interval = Interval::pack(7, keyed());
            for (key, row) in keyed() {
                prop_assert_eq!(interval.row(key), Some(row.clone()));
                prop_assert_eq!(interval.row(key + 1), None);
            }
            prop_assert_eq!(interval.rows().count(), rows.len());
        }
    }

    #[test]
    fn the_past_has_an_end() {
        let mut past = Past::default();
        let counts = Row {
            counts: [Some(u64::MAX); _],
            ..Row::default()
        };
        for number in 0..2_000 {
            let rows = (0..1_000).map(|key| (key, &counts));
            past.push(Interval::pack(number, rows));
            assert!(past.bytes <= LIVE_PAST_BYTES_MAX);
        }
        assert!(past.iter().len() > 100);
        assert_eq!(past.iter().next_back().map(|last| last.end_ns), Some(1_999));
        let mut past = Past::default();
        (0..2_000).for_each(|number| past.push(Interval::pack(number, std::iter::empty())));
        assert_eq!(past.iter().len(), LIVE_INTERVALS_MAX);
    }
}
