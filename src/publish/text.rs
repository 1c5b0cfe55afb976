//! What several encoders share: values as JSON strings, compressed bodies, and units of time.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Serialize, Serializer};

/// A JSON string of what a value displays, without a copy in between.
pub(super) struct Displayed<T>(pub(super) T);

impl<T: Display> Serialize for Displayed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Compresses a body, fast rather than small: records repeat themselves enough.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes every write")
}

/// Returns a compressed body as text, at most so many bytes of it.
pub(super) fn gunzip(body: &[u8], bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(body)
        .take(bytes_max)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Converts nanoseconds to a unit of `ns_per_unit`. 53 bits remain.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is beyond 53 bits is no longer measured"
)]
pub(super) fn per(ns: i128, ns_per_unit: f64) -> f64 {
    ns as f64 / ns_per_unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_out_again() {
        let text = "udp.wan.rtt".repeat(1_000);
        let packed = gzip(text.as_bytes());
        assert!(packed.len() < text.len() / 10);
        assert_eq!(gunzip(&packed, 20_000).unwrap(), text);
        assert_eq!(gunzip(&packed, 11).unwrap(), "udp.wan.rtt");
    }
}
