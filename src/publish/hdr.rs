//! Writes histograms in the V2 compressed format of the `HdrHistogram` libraries, as base64.
//!
//! The `hdrhistogram` crate writes that format too, but makes a compressor for every histogram: a
//! third of a mebibyte to allocate, clear and free, which took most of the time of a window. This
//! writer keeps its compressor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, FlushCompress, Status};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};

/// The cookie that a compressed histogram begins with (`AbstractHistogram.java` of
/// `HdrHistogram`: the base, and a word size of 1 in its higher half byte). The length follows.
const COOKIE: u32 = 0x1c84_9304 | 0x10;

/// Bytes of the cookie and of the length, both big-endian.
const HEAD_BYTES: usize = 8;

/// Bytes of room for output, added whenever the room is used up.
const ROOM_BYTES: usize = 4 * 1024;

/// Writes histograms; see the [module](self). It keeps its memory from one to the next.
pub(super) struct HdrWriter {
    serializer: V2Serializer,
    compress: Compress,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl HdrWriter {
    pub(super) fn new() -> Self {
        Self {
            serializer: V2Serializer::new(),
            compress: Compress::new(Compression::default(), true),
            plain: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Appends the histogram to `text`.
    pub(super) fn write(&mut self, histogram: &Histogram<u32>, text: &mut String) {
        self.plain.clear();
        self.serializer
            .serialize(histogram, &mut self.plain)
            .expect("counts of 32 bits have a code, and memory takes every write");
        self.pack();
        STANDARD.encode_string(&self.packed, text);
    }

    fn pack(&mut self) {
        let Self {
            compress,
            plain,
            packed,
            ..
        } = self;
        packed.clear();
        packed.extend_from_slice(&COOKIE.to_be_bytes());
        packed.extend_from_slice(&[0; 4]);
        compress.reset();
        let mut rest = plain.as_slice();
        loop {
            packed.reserve(ROOM_BYTES);
            let before = compress.total_in();
            let status = compress
                .compress_vec(rest, packed, FlushCompress::Finish)
                .expect("a compressor takes any bytes");
            let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
            rest = &rest[taken..];
            if status == Status::StreamEnd {
                break;
            }
        }
        let length = u32::try_from(packed.len() - HEAD_BYTES).unwrap_or(u32::MAX);
        packed[4..HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;
    use crate::record::{HISTOGRAM_DIGITS, HISTOGRAM_NS_MAX};

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u32> {
        let mut histogram =
            Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS).unwrap();
        values.into_iter().for_each(|value| histogram += value);
        histogram
    }

    /// The library reads what we write, whatever was written before: empty, small, and more than one
    /// piece of output.
    #[test]
    fn every_histogram_is_read_as_it_was() {
        let scattered = (0..30_000_u64).map(|value| value * value * 7_919 % HISTOGRAM_NS_MAX);
        let histograms = [
            histogram([]),
            histogram([42_000; 3]),
            histogram(scattered),
            histogram([1, HISTOGRAM_NS_MAX]),
            histogram([]),
        ];
        let mut writer = HdrWriter::new();
        for written in histograms {
            let mut text = String::new();
            writer.write(&written, &mut text);
            let bytes = STANDARD.decode(&text).unwrap();
            let read: Histogram<u32> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn the_format_is_that_of_the_library() {
        let histogram = histogram((1..5_000).map(|value| value * 100));
        let mut text = String::new();
        HdrWriter::new().write(&histogram, &mut text);
        let mut bytes = Vec::new();
        hdrhistogram::serialization::V2DeflateSerializer::new()
            .serialize(&histogram, &mut bytes)
            .unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), bytes);
    }
}
