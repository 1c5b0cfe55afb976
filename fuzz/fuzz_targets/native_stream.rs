//! Packets on a stream, in any pieces that the network may cut it into, against a reader that is
//! simple because it has the whole.
//!
//! A first byte `p` says that the stream begins with the preamble, any other that it does not. The
//! rest of the first line says how the stream is cut, each of its bytes being the length of a chunk,
//! over and over; the stream follows.

#![no_main]

use latency_monitor::proto::wire::native::{
    BASE_BYTES, FRAMED_BYTES_MAX, FrameDecoder, FrameError, PREAMBLE, encode_frame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let expects_preamble = *first == b'p';
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (cuts, rest) = rest.split_at(line);
    let stream = rest.strip_prefix(b"\n").unwrap_or(rest);
    let expected = Expected::new(expects_preamble, stream);

    let mut whole = Watched::new(expects_preamble);
    whole.feed(stream, &expected);
    whole.check(&expected);

    let mut cut = Watched::new(expects_preamble);
    let mut rest = stream;
    let mut lengths = cuts.iter().cycle();
    while !rest.is_empty() {
        // Without a line of lengths, byte by byte.
        let length = lengths.next().map_or(1, |length| usize::from(*length));
        let (chunk, left) = rest.split_at(length.clamp(1, rest.len()));
        cut.feed(chunk, &expected);
        // An empty read changes nothing.
        cut.feed(&[], &expected);
        rest = left;
    }
    cut.check(&expected);
});

/// What a stream comes to.
struct Expected {
    packets: Vec<Vec<u8>>,
    /// Where each packet ends in the stream.
    ends: Vec<usize>,
    result: Result<(), FrameError>,
    /// Bytes behind the last packet, if there is no error.
    left: usize,
}

impl Expected {
    fn new(expects_preamble: bool, stream: &[u8]) -> Self {
        let mut expected = Self {
            packets: Vec::new(),
            ends: Vec::new(),
            result: Ok(()),
            left: 0,
        };
        let mut next = 0;
        if expects_preamble {
            let seen = PREAMBLE.len().min(stream.len());
            if stream[..seen] != PREAMBLE[..seen] {
                expected.result = Err(FrameError::Preamble);
                return expected;
            }
            next = seen;
        }
        while let [high, low, behind @ ..] = &stream[next..] {
            let length = usize::from(*high) * 256 + usize::from(*low);
            if !(BASE_BYTES..=FRAMED_BYTES_MAX).contains(&length) {
                expected.result = Err(FrameError::Length(length));
                return expected;
            }
            if behind.len() < length {
                break;
            }
            expected.packets.push(behind[..length].to_vec());
            next += 2 + length;
            expected.ends.push(next);
        }
        expected.left = stream.len() - next;
        expected
    }
}

/// A decoder, with what holds whatever it is fed.
struct Watched {
    decoder: FrameDecoder,
    fed: usize,
    packets: Vec<Vec<u8>>,
    result: Result<(), FrameError>,
}

impl Watched {
    fn new(expects_preamble: bool) -> Self {
        Self {
            decoder: FrameDecoder::new(expects_preamble),
            fed: 0,
            packets: Vec::new(),
            result: Ok(()),
        }
    }

    fn feed(&mut self, chunk: &[u8], expected: &Expected) {
        let before = self.packets.len();
        self.fed += chunk.len();
        let result = self.decoder.feed(chunk, |packet, is_last| {
            let end = expected.ends[self.packets.len()];
            assert_eq!(is_last, end == self.fed);
            self.packets.push(packet.to_vec());
        });
        let ended = expected.ends.iter().filter(|end| **end <= self.fed);
        assert_eq!(self.packets.len(), ended.count(), "each as soon as it can");
        assert!(self.decoder.buffered() <= self.fed.min(1 + FRAMED_BYTES_MAX));
        if self.result.is_err() {
            assert_eq!(result, self.result, "there is no way back");
            assert_eq!(self.packets.len(), before);
        }
        if result.is_err() {
            assert_eq!(self.decoder.buffered(), 0);
        }
        self.result = result;
    }

    fn check(&self, expected: &Expected) {
        assert_eq!(self.packets, expected.packets);
        assert_eq!(self.result, expected.result);
        assert_eq!(self.decoder.buffered(), expected.left);
        for packet in &self.packets {
            let mut frame = Vec::new();
            assert!(encode_frame(&mut frame, |out| out.extend_from_slice(packet)));
            assert_eq!(frame.len(), 2 + packet.len());
        }
    }
}
