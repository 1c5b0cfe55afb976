//! Messages out of a stream that has no framing.
//!
//! The digits of the next message's sequence number follow the padding zeros of this one directly,
//! and messages arrive split and glued. A run of digits before a separator is therefore padding
//! and then the number without leading zeros, or, if it is all zeros, padding and the number 0.

use crate::limits::HEADER_BYTES_MAX;
use crate::proto::wire::text::{
    DecodeError, Head, IDENTIFIER_BYTES_MAX, Message, Scan, is_identifier_byte, leading_zeros,
};

/// Bytes of a head at most.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + IDENTIFIER_BYTES_MAX;

/// What is kept of the buffer between messages: enough for most, so that messages which always
/// arrive in two pieces do not allocate, and little enough for thousands of connections.
const KEPT_BYTES: usize = 512;

/// Which end of the conversation the stream comes from, which says when a message is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// From a prober. A request is complete with its last byte of padding, as far as that can be
    /// known: by its identifier, by the length of the message before, or else by the end of what
    /// was received together with its header.
    Requests,
    /// From a responder, which may cut the padding short. A reply is complete with its header and
    /// identifier.
    Replies,
}

/// The message under way, once its head is there.
#[derive(Clone, Copy, Debug)]
struct Body {
    head: Head,
    /// Bytes so far, with zeros that may turn out to be the next message's sequence number.
    length: usize,
    /// Where it is complete, if that is known.
    complete_at: Option<usize>,
    reported: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Head,
    Body(Body),
    /// An identifier that came after its message was taken for complete: this many bytes so far.
    Straggler(Body, usize),
}

/// Finds the messages in the bytes of one direction of one connection.
#[derive(Debug)]
pub struct StreamDecoder {
    role: Role,
    phase: Phase,
    /// The head of an unfinished message, of which the chunk is gone.
    held: Vec<u8>,
    /// The length that messages without identifier are padded to.
    learned: Option<usize>,
    /// The last message had an identifier, of whatever version, so the next one will.
    identified: bool,
    failed: Option<DecodeError>,
}

impl StreamDecoder {
    /// A decoder for a connection that has just been made.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            phase: Phase::Head,
            held: Vec::new(),
            learned: None,
            identified: false,
            failed: None,
        }
    }

    /// Bytes kept of a message that is not complete.
    pub fn buffered(&self) -> usize {
        self.held.len()
    }

    /// Takes the bytes of one read and calls `on_message` with each message that they complete.
    ///
    /// After an error there is no way back into step: every further call gives the same error, and
    /// the connection is to be closed.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut on_message: impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.run(chunk, &mut on_message);
        if let Err(error) = result {
            self.failed = Some(error);
            self.held = Vec::new();
        }
        result
    }

    fn run(
        &mut self,
        chunk: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        let mut next = 0;
        // Where the head of the message under way is in this chunk, unless it is held.
        let mut start = 0;
        while next < chunk.len() {
            match self.phase {
                Phase::Head => {
                    start = next;
                    next += self.run_head(&chunk[next..])?;
                    self.report_if_complete(&chunk[start..], on_message)?;
                }
                Phase::Body(body) => {
                    next += self.run_body(body, &chunk[start..], &chunk[next..], on_message)?;
                }
                Phase::Straggler(body, seen) => next += self.skip(body, seen, &chunk[next..])?,
            }
        }
        self.end_chunk(&chunk[start.min(chunk.len())..], on_message)
    }

    /// Reads on in a head. Gives how many bytes of `rest` belong to it.
    fn run_head(&mut self, rest: &[u8]) -> Result<usize, DecodeError> {
        let before = self.held.len();
        let mut bytes = rest;
        if before > 0 {
            let room = HEAD_BYTES_MAX.saturating_sub(before);
            self.held.extend_from_slice(&rest[..rest.len().min(room)]);
            bytes = &self.held;
        }
        let scan = Head::scan(bytes)?;
        if let Scan::Done(head) | Scan::Bare(head) = scan {
            // At once: the message may never be complete.
            head.header(bytes)?;
        }
        let head = match scan {
            Scan::Done(head) => head,
            // A stream whose messages have identifiers is waiting for one.
            Scan::Bare(head) if !self.identified => head,
            Scan::Bare(_) | Scan::More => {
                if before == 0 {
                    self.held.extend_from_slice(rest);
                }
                return Ok(rest.len());
            }
        };
        self.held.truncate(head.length);
        self.identified = head.length > head.header_length();
        self.phase = Phase::Body(Body {
            head,
            length: head.length,
            complete_at: self.complete_at(&head),
            reported: false,
        });
        Ok(head.length - before)
    }

    fn complete_at(&self, head: &Head) -> Option<usize> {
        match (self.role, head.identifier) {
            (Role::Replies, _) => Some(head.length),
            (Role::Requests, Some(identifier)) => Some(usize::from(identifier.length)),
            (Role::Requests, None) => self.learned,
        }
    }

    /// Reads padding, up to the next message or the end of the chunk. Gives how many bytes of `rest` are read.
    fn run_body(
        &mut self,
        mut body: Body,
        from_start: &[u8],
        rest: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<usize, DecodeError> {
        let zeros = leading_zeros(rest);
        body.length += zeros;
        self.phase = Phase::Body(body);
        self.report_if_complete(from_start, on_message)?;
        match rest.get(zeros) {
            None => Ok(rest.len()),
            Some(b'1'..=b'9') => {
                self.end_message(body.length, from_start, on_message)?;
                Ok(zeros)
            }
            Some(b'|') if body.length > body.head.length => {
                self.end_message(body.length - 1, from_start, on_message)?;
                if zeros == 0 {
                    // The zero that is the sequence number came with an earlier chunk.
                    self.held.push(b'0');
                    return Ok(0);
                }
                Ok(zeros - 1)
            }
            Some(b'~') if body.length == body.head.header_length() => {
                self.report(body.length, from_start, on_message)?;
                if let Phase::Body(body) = self.phase {
                    self.phase = Phase::Straggler(body, 0);
                }
                Ok(0)
            }
            Some(_) => Err(DecodeError::Padding),
        }
    }

    /// Passes over an identifier whose message has been reported without it.
    fn skip(&mut self, mut body: Body, seen: usize, rest: &[u8]) -> Result<usize, DecodeError> {
        // The first byte is the opening mark.
        let closing = rest
            .iter()
            .skip(usize::from(seen == 0))
            .position(|byte| *byte == b'~');
        let taken = closing.map_or(rest.len(), |place| place + 1 + usize::from(seen == 0));
        if seen + taken > IDENTIFIER_BYTES_MAX {
            return Err(DecodeError::Padding);
        }
        let inside = rest[..taken].iter().filter(|byte| **byte != b'~');
        if !inside.copied().all(is_identifier_byte) {
            return Err(DecodeError::Padding);
        }
        body.length += taken;
        self.phase = match closing {
            Some(_) => {
                // From here on it is as if it had come with its message.
                body.head.length = body.length;
                self.identified = true;
                Phase::Body(body)
            }
            None => Phase::Straggler(body, seen + taken),
        };
        Ok(taken)
    }

    /// The message under way ends here: the next one begins.
    fn end_message(
        &mut self,
        length: usize,
        from_start: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        self.report(length, from_start, on_message)?;
        if let Phase::Body(body) = self.phase {
            let padded = !self.identified && length > body.head.length;
            self.learned = padded.then_some(length);
        }
        self.phase = Phase::Head;
        Ok(())
    }

    fn report_if_complete(
        &mut self,
        from_start: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        match self.phase {
            Phase::Body(Body {
                length,
                complete_at: Some(complete_at),
                ..
            }) if length >= complete_at => self.report(complete_at, from_start, on_message),
            _ => Ok(()),
        }
    }

    /// Calls back with the message under way, once.
    fn report(
        &mut self,
        length: usize,
        from_start: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        if let Phase::Body(body) = &mut self.phase
            && !body.reported
        {
            body.reported = true;
            let bytes = if self.held.is_empty() {
                from_start
            } else {
                &self.held
            };
            on_message(body.head.message(bytes, length)?);
            self.held.clear();
            self.held.shrink_to(KEPT_BYTES);
        }
        Ok(())
    }

    /// The chunk is used up: report what nothing more is known about, keep what is not complete.
    fn end_chunk(
        &mut self,
        from_start: &[u8],
        on_message: &mut impl FnMut(Message<'_>),
    ) -> Result<(), DecodeError> {
        if let Phase::Body(Body {
            head,
            length,
            complete_at,
            reported: false,
        }) = self.phase
        {
            if complete_at.is_none() {
                self.report(length, from_start, on_message)?;
            } else if self.held.is_empty() {
                self.held.extend_from_slice(&from_start[..head.length]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::time::Wall;
    use crate::proto::wire::text::{Identifier, SEQUENCES, encode_request};

    /// What a message was: sequence, source, probe number if it had one, length.
    type Seen = (u8, String, Option<u32>, usize);

    fn feed_all(decoder: &mut StreamDecoder, chunks: &[&[u8]]) -> Result<Vec<Seen>, DecodeError> {
        let mut seen = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |message| {
                seen.push((
                    message.header.seq,
                    message.header.source.to_owned(),
                    message.identifier.map(|identifier| identifier.number),
                    message.length,
                ));
            })?;
        }
        Ok(seen)
    }

    fn read(role: Role, chunks: &[&[u8]]) -> Vec<Seen> {
        feed_all(&mut StreamDecoder::new(role), chunks).expect("these are messages")
    }

    /// Probes as a flow sends them; without identifiers as the Python program does.
    fn probes(count: u64, identified: bool, size: Option<usize>) -> Vec<Vec<u8>> {
        (0..count)
            .map(|number| {
                let seq = u8::try_from(number % SEQUENCES).expect("less than 101");
                let low = u32::try_from(number).expect("few probes");
                let identifier = identified.then_some(Identifier::new(5, low));
                let at = Wall::from_unix_nanos(1_768_219_134_587_069_267);
                let mut out = Vec::new();
                encode_request(&mut out, seq, "a", at, "['x']", identifier, size);
                out
            })
            .collect()
    }

    fn expected(probes: &[Vec<u8>], identified: bool) -> Vec<Seen> {
        (0..probes.len() as u64)
            .zip(probes)
            .map(|(number, probe)| {
                let seq = u8::try_from(number % SEQUENCES).expect("less than 101");
                let low = u32::try_from(number).expect("few probes");
                (seq, "a".to_owned(), identified.then_some(low), probe.len())
            })
            .collect()
    }

    #[test]
    fn every_split_of_glued_requests_gives_the_same() {
        for size in [None, Some(70), Some(100)] {
            let probes = probes(103, true, size);
            let stream = probes.concat();
            for split in 0..400 {
                let (first, rest) = stream.split_at(split);
                let mut wanted = expected(&probes, true);
                if split == 30 {
                    // The first piece is a whole message of a sender that does not pad.
                    wanted[0] = (0, "a".to_owned(), None, 30);
                }
                assert_eq!(read(Role::Requests, &[first, rest]), wanted);
            }
        }
    }

    #[test]
    fn an_identifier_that_comes_late_is_no_padding() {
        let request = &probes(1, true, None)[0];
        let (head, identifier) = request.split_at(30);
        // No zero has been seen, so there is no sequence number before this separator.
        let mut decoder = StreamDecoder::new(Role::Requests);
        let fed = feed_all(&mut decoder, &[head, identifier, b"|src|2||"]);
        assert_eq!(fed, Err(DecodeError::Padding));
        // What is in it must be of an identifier.
        let mut decoder = StreamDecoder::new(Role::Requests);
        let fed = feed_all(&mut decoder, &[head, b"~not one~"]);
        assert_eq!(fed, Err(DecodeError::Padding));
        // There is one, late or not, and of a later version or not.
        for chunks in [&[head, b"~z1~", b"~0"][..], &[&[head, b"~z1~~0"].concat()]] {
            let fed = feed_all(&mut StreamDecoder::new(Role::Requests), chunks);
            assert_eq!(fed, Err(DecodeError::Padding));
        }
        // It is not part of a length that later messages without one could have.
        let plain = &probes(2, false, Some(60))[1];
        let seen = read(Role::Requests, &[head, identifier, b"00", plain]);
        assert_eq!(seen.len(), 2, "{seen:?}");
    }

    #[test]
    fn requests_of_the_python_program_are_complete_at_the_length_of_those_before() {
        let probes = probes(103, false, Some(60));
        let stream = probes.concat();
        // One at a time, as it sends them, each in two pieces; the first piece of the first one
        // is answered before its length is known.
        for split in 35..60 {
            let mut decoder = StreamDecoder::new(Role::Requests);
            let first = feed_all(&mut decoder, &[&stream[..60]]).expect("a message");
            assert_eq!(first, expected(&probes[..1], false));
            for (number, probe) in probes.iter().enumerate().skip(1) {
                let (one, two) = probe.split_at(split);
                let early = feed_all(&mut decoder, &[one]).expect("part of a message");
                // The length of the first is only known once the second has begun.
                assert_eq!(
                    early.len(),
                    usize::from(number == 1 && split > 33) & early.len()
                );
                let late = feed_all(&mut decoder, &[two]).expect("the rest");
                assert_eq!(
                    early.len() + late.len(),
                    1,
                    "probe {number} split at {split}"
                );
            }
        }
    }

    #[test]
    fn glued_requests_without_identifier_are_all_found() {
        let probes = probes(300, false, Some(64));
        let stream = probes.concat();
        let found = read(Role::Requests, &[&stream]);
        assert_eq!(found, expected(&probes, false));
        for bytes in [1, 2, 3, 7, 63, 64, 65] {
            let chunks: Vec<&[u8]> = stream.chunks(bytes).collect();
            let found = read(Role::Requests, &chunks);
            let numbers: Vec<u8> = found.iter().map(|(seq, ..)| *seq).collect();
            let wanted: Vec<u8> = expected(&probes, false)
                .iter()
                .map(|(seq, ..)| *seq)
                .collect();
            assert_eq!(numbers, wanted, "in chunks of {bytes}");
        }
    }

    #[test]
    fn the_largest_message_is_complete_with_its_last_byte() {
        let probes = probes(2, true, Some(65_535));
        let mut decoder = StreamDecoder::new(Role::Requests);
        let (start, last) = probes[0].split_at(65_534);
        assert_eq!(
            feed_all(&mut decoder, &[start]).expect("part of a message"),
            []
        );
        assert!(decoder.buffered() < 100, "padding is not kept");
        assert_eq!(feed_all(&mut decoder, &[last]).expect("a message").len(), 1);
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn replies_are_complete_with_their_identifier() {
        let probes = probes(3, true, Some(200));
        let mut decoder = StreamDecoder::new(Role::Replies);
        // The padding may be cut short, as by a Python responder.
        let early = feed_all(&mut decoder, &[&probes[0][..70]]).expect("a message");
        assert_eq!(early.len(), 1);
        let more = feed_all(&mut decoder, &[&probes[1][..65], &probes[2]]).expect("two more");
        assert_eq!(
            more.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[test]
    fn an_identifier_may_come_after_its_header() {
        let probes = probes(3, true, None);
        let header = probes[0].len() - 23;
        let found = read(
            Role::Replies,
            &[&probes[0][..header], &probes[0][header..], &probes[1]],
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].2, found[1].2), (None, Some(1)));
    }

    #[test]
    fn a_header_is_refused_before_its_identifier_ends_however_it_is_cut() {
        let good = &probes(1, true, None)[0];
        let head = b"1|a|1|\xff|";
        for identifier in [&b""[..], b"~", b"~a0000"] {
            let stream = [&good[..], head, identifier].concat();
            for cut in 0..stream.len() {
                let (first, rest) = stream.split_at(cut);
                let fed = feed_all(&mut StreamDecoder::new(Role::Requests), &[first, rest]);
                assert_eq!(fed, Err(DecodeError::Tags), "{identifier:?}, cut at {cut}");
            }
        }
    }

    #[test]
    fn after_an_error_there_is_no_way_back() {
        let mut decoder = StreamDecoder::new(Role::Requests);
        assert_eq!(
            feed_all(&mut decoder, &[b"GET / HT"]),
            Err(DecodeError::Sequence)
        );
        assert_eq!(
            feed_all(&mut decoder, &[b"1|n|1||"]),
            Err(DecodeError::Sequence)
        );
    }

    #[test]
    fn a_header_that_never_ends_is_refused_before_it_is_large() {
        let mut decoder = StreamDecoder::new(Role::Requests);
        feed_all(&mut decoder, &[b"1|n|1|"]).expect("so far it is a message");
        let mut fed = 0;
        while feed_all(&mut decoder, &[b"t"]).is_ok() {
            fed += 1;
            assert!(decoder.buffered() <= HEAD_BYTES_MAX);
        }
        assert_eq!(fed, crate::limits::TAGS_BYTES_MAX);
        assert_eq!(decoder.buffered(), 0);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            cuts in prop::collection::vec(1_usize..150, 1..80),
            size in proptest::option::of(50_usize..300),
            role in prop_oneof![Just(Role::Requests), Just(Role::Replies)],
        ) {
            let probes = probes(30, true, size);
            let stream = probes.concat();
            let mut rest = &stream[..];
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            chunks.push(rest);
            let numbers: Vec<u8> = read(role, &chunks).iter().map(|(seq, ..)| *seq).collect();
            prop_assert_eq!(numbers, (0..30).collect::<Vec<u8>>());
        }

        #[test]
        fn nothing_panics(chunks in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..50),
                "[0-9|~a-f]{0,40}".prop_map(String::into_bytes),
            ],
            0..20,
        )) {
            for role in [Role::Requests, Role::Replies] {
                let mut decoder = StreamDecoder::new(role);
                for chunk in &chunks {
                    let _ = decoder.feed(chunk, |message| assert!(message.length > 0));
                    assert!(decoder.buffered() <= HEAD_BYTES_MAX);
                }
            }
        }
    }
}
