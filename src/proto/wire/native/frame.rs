//! Packets on a stream: each behind its length in 2 bytes.

use crate::proto::wire::native::{BASE_BYTES, PREAMBLE};

/// Bytes of a packet on a stream at most: with the length before it, as many as 16 bits count.
pub const FRAMED_BYTES_MAX: usize = 65_533;

/// Bytes of a length.
const LENGTH_BYTES: usize = 2;

/// What is kept of the buffer between packets: enough for most, so that packets which always arrive
/// in two pieces do not allocate, and little enough for thousands of connections.
const KEPT_BYTES: usize = 512;

/// Why bytes are no stream of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream begins with something else than [`PREAMBLE`].
    #[error("the stream does not begin with the native wire's preamble")]
    Preamble,
    /// A length is less than that of a packet without TLVs, or too large.
    #[error("a packet of {0} bytes is not one of {BASE_BYTES} to {FRAMED_BYTES_MAX}")]
    Length(usize),
}

/// Finds the packets in the bytes of one direction of one connection.
#[derive(Debug)]
pub struct FrameDecoder {
    /// Bytes of the preamble that are still to come.
    preamble_left: usize,
    /// The length and the packet that are not complete, of which the chunk is gone.
    held: Vec<u8>,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// A decoder for a connection that has just been made. What a prober sends begins with
    /// [`PREAMBLE`]; what it receives does not, nor is there one left where the caller has read it.
    pub const fn new(expects_preamble: bool) -> Self {
        Self {
            preamble_left: if expects_preamble { PREAMBLE.len() } else { 0 },
            held: Vec::new(),
            failed: None,
        }
    }

    /// A decoder for what comes behind the preamble.
    pub const fn after_preamble() -> Self {
        Self::new(false)
    }

    /// Bytes kept of a packet that is not complete: never more than have been received of it, so a
    /// stranger has to send what is to be held.
    pub fn buffered(&self) -> usize {
        self.held.len()
    }

    /// Takes the bytes of one read and calls `on_packet` with each packet that they complete, and
    /// with whether they end with it: only then is the read's receive stamp that packet's.
    ///
    /// After an error there is no way back into step: every further call gives the same error, and
    /// the connection is to be closed.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut on_packet: impl FnMut(&[u8], bool),
    ) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.run(chunk, &mut on_packet);
        if let Err(error) = result {
            self.failed = Some(error);
            self.held = Vec::new();
        }
        result
    }

    fn run(
        &mut self,
        chunk: &[u8],
        on_packet: &mut impl FnMut(&[u8], bool),
    ) -> Result<(), FrameError> {
        let rest = self.skip_preamble(chunk)?;
        let mut rest = self.complete_held(rest, on_packet)?;
        while let Some(length) = packet_bytes(rest)? {
            let Some(packet) = rest.get(LENGTH_BYTES..LENGTH_BYTES + length) else {
                break;
            };
            rest = &rest[LENGTH_BYTES + length..];
            on_packet(packet, rest.is_empty());
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Gives what follows the preamble.
    fn skip_preamble<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], FrameError> {
        if self.preamble_left == 0 {
            return Ok(chunk);
        }
        let wanted = &PREAMBLE[PREAMBLE.len() - self.preamble_left..];
        let (seen, rest) = chunk.split_at(wanted.len().min(chunk.len()));
        if !wanted.starts_with(seen) {
            return Err(FrameError::Preamble);
        }
        self.preamble_left -= seen.len();
        Ok(rest)
    }

    /// Adds to the packet that is held, if there is one. Gives what follows it: if it is still not
    /// complete, nothing.
    fn complete_held<'a>(
        &mut self,
        mut rest: &'a [u8],
        on_packet: &mut impl FnMut(&[u8], bool),
    ) -> Result<&'a [u8], FrameError> {
        if self.held.is_empty() {
            return Ok(rest);
        }
        self.hold_up_to(LENGTH_BYTES, &mut rest);
        let Some(length) = packet_bytes(&self.held)? else {
            return Ok(rest);
        };
        self.hold_up_to(LENGTH_BYTES + length, &mut rest);
        if self.held.len() == LENGTH_BYTES + length {
            on_packet(&self.held[LENGTH_BYTES..], rest.is_empty());
            self.held.clear();
            self.held.shrink_to(KEPT_BYTES);
        }
        Ok(rest)
    }

    /// Moves bytes from `rest` until there are so many.
    fn hold_up_to(&mut self, bytes: usize, rest: &mut &[u8]) {
        let wanted = bytes.saturating_sub(self.held.len()).min(rest.len());
        let (taken, left) = rest.split_at(wanted);
        self.held.extend_from_slice(taken);
        *rest = left;
    }
}

/// The length of the packet that begins here, if it has all come.
fn packet_bytes(frame: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = frame.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if is_packet(length) {
        Ok(Some(length))
    } else {
        Err(FrameError::Length(length))
    }
}

fn is_packet(bytes: usize) -> bool {
    (BASE_BYTES..=FRAMED_BYTES_MAX).contains(&bytes)
}

/// Appends what `packet` appends, behind its length. False, and nothing is appended, if that is not
/// the 44 to [`FRAMED_BYTES_MAX`] bytes that a packet on a stream has.
pub fn encode_frame(out: &mut Vec<u8>, packet: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    let body = start + LENGTH_BYTES;
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    packet(out);
    let length = out.len().saturating_sub(body);
    match u16::try_from(length) {
        Ok(short) if is_packet(length) => {
            out[start..body].copy_from_slice(&short.to_be_bytes());
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet's bytes, and whether it ended its chunk.
    type Seen = (Vec<u8>, bool);

    fn feed(decoder: &mut FrameDecoder, chunk: &[u8]) -> Result<Vec<Seen>, FrameError> {
        let mut seen = Vec::new();
        decoder.feed(chunk, |packet, is_last| {
            seen.push((packet.to_vec(), is_last));
        })?;
        Ok(seen)
    }

    fn frame(fill: u8, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(encode_frame(&mut out, |out| out.resize(out.len() + bytes, fill)));
        out
    }

    #[test]
    fn a_frame_is_a_length_and_a_packet() {
        let mut out = vec![b'x'];
        assert!(encode_frame(&mut out, |out| out.extend_from_slice(&[7; 300])));
        assert_eq!(out[..4], [b'x', 0x01, 0x2c, 7]);
        assert_eq!(out.len(), 1 + 2 + 300);
    }

    #[test]
    fn what_is_no_packet_is_not_framed() {
        for bytes in [0, 43, 65_534, 65_536] {
            let mut out = vec![b'x'];
            assert!(!encode_frame(&mut out, |out| out.resize(3 + bytes, 0)));
            assert_eq!(out, b"x", "{bytes}");
        }
        let mut out = b"before".to_vec();
        assert!(!encode_frame(&mut out, Vec::clear));
        for bytes in [44, 65_533] {
            let seen = feed(&mut FrameDecoder::after_preamble(), &frame(1, bytes));
            assert_eq!(seen, Ok(vec![(vec![1; bytes], true)]));
        }
    }

    #[test]
    fn glued_packets_are_all_found_and_the_last_one_is_known() {
        let stream = [frame(1, 44), frame(2, 100), frame(3, 45)].concat();
        let mut decoder = FrameDecoder::after_preamble();
        let whole = feed(&mut decoder, &stream).expect("three packets");
        let last: Vec<bool> = whole.iter().map(|(_, is_last)| *is_last).collect();
        assert_eq!(last, [false, false, true]);
        assert_eq!(decoder.buffered(), 0);

        let more = [&stream[..], &[0]].concat();
        let mut decoder = FrameDecoder::after_preamble();
        let seen = feed(&mut decoder, &more).expect("three packets");
        assert!(seen.iter().all(|(_, is_last)| !is_last));
        assert_eq!(decoder.buffered(), 1);
    }

    #[test]
    fn every_split_gives_the_same() {
        let stream = [&PREAMBLE[..], &frame(1, 44), &frame(2, 60)].concat();
        for split in 0..=stream.len() {
            let (first, second) = stream.split_at(split);
            let mut decoder = FrameDecoder::new(true);
            let mut seen = feed(&mut decoder, first).expect("a beginning");
            assert!(decoder.buffered() <= first.len());
            let ends_packet = [50, 112].contains(&split);
            assert_eq!(
                seen.last().is_some_and(|(_, is_last)| *is_last),
                ends_packet
            );
            seen.extend(feed(&mut decoder, second).expect("the rest"));
            let packets: Vec<&[u8]> = seen.iter().map(|(packet, _)| &packet[..]).collect();
            assert_eq!(packets, [&[1; 44][..], &[2; 60]], "split at {split}");
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn another_beginning_is_refused() {
        for stream in [&b"LMS2"[..], b"0|host|", b"LMX", b"\x00\x2c"] {
            let mut decoder = FrameDecoder::new(true);
            assert_eq!(feed(&mut decoder, stream), Err(FrameError::Preamble));
            let mut decoder = FrameDecoder::new(true);
            let pieces: Vec<_> = stream
                .chunks(1)
                .map(|chunk| feed(&mut decoder, chunk))
                .collect();
            assert_eq!(pieces.last(), Some(&Err(FrameError::Preamble)));
        }
        // Where none is expected, it is a length.
        let mut decoder = FrameDecoder::after_preamble();
        assert_eq!(feed(&mut decoder, &PREAMBLE), Ok(vec![]));
        assert_eq!(decoder.buffered(), 4);
    }

    #[test]
    fn after_an_error_there_is_no_way_back() {
        for (length, error) in [
            ([0, 43], FrameError::Length(43)),
            ([0, 0], FrameError::Length(0)),
            ([0xff, 0xfe], FrameError::Length(65_534)),
        ] {
            let mut decoder = FrameDecoder::after_preamble();
            let mut packets = 0;
            let glued = [&frame(1, 44)[..], &length].concat();
            let fed = decoder.feed(&glued, |_, is_last| {
                packets += 1;
                assert!(!is_last);
            });
            assert_eq!((fed, packets), (Err(error), 1), "what came before counts");
            assert_eq!(feed(&mut decoder, &frame(1, 44)), Err(error));

            let mut decoder = FrameDecoder::after_preamble();
            assert_eq!(feed(&mut decoder, &length[..1]), Ok(vec![]));
            assert_eq!(feed(&mut decoder, &length[1..]), Err(error));
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn memory_shrinks_again() {
        let large = frame(1, FRAMED_BYTES_MAX);
        let mut decoder = FrameDecoder::after_preamble();
        let (last, start) = large.split_last().expect("it is not empty");
        assert_eq!(feed(&mut decoder, start), Ok(vec![]));
        assert_eq!(decoder.buffered(), FRAMED_BYTES_MAX + 1);
        let seen = feed(&mut decoder, &[*last]).expect("a packet");
        assert_eq!(seen.len(), 1);
        assert_eq!(decoder.buffered(), 0);
        assert!(decoder.held.capacity() <= KEPT_BYTES);
        // Whole packets are not copied at all.
        let mut decoder = FrameDecoder::after_preamble();
        feed(&mut decoder, &large).expect("a packet");
        assert_eq!(decoder.held.capacity(), 0);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            sizes in prop::collection::vec(44_usize..300, 1..20),
            cuts in prop::collection::vec(1_usize..200, 0..60),
            has_preamble in any::<bool>(),
        ) {
            let mut stream = if has_preamble { PREAMBLE.to_vec() } else { Vec::new() };
            for (fill, bytes) in (0_u8..).zip(&sizes) {
                stream.extend(frame(fill, *bytes));
            }
            let mut decoder = FrameDecoder::new(has_preamble);
            let mut seen = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                seen.extend(feed(&mut decoder, chunk).expect("these are packets"));
                rest = left;
            }
            let lengths: Vec<usize> = seen.iter().map(|(packet, _)| packet.len()).collect();
            prop_assert_eq!(lengths, sizes);
            prop_assert!(seen.iter().zip(0_u8..).all(|((packet, _), fill)| packet[0] == fill));
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn nothing_panics(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20),
            expects_preamble in any::<bool>(),
        ) {
            let mut decoder = FrameDecoder::new(expects_preamble);
            let mut fed = 0;
            for chunk in &chunks {
                fed += chunk.len();
                let _ = decoder.feed(chunk, |packet, _| assert!(is_packet(packet.len())));
                assert!(decoder.buffered() <= fed);
            }
        }
    }
}
