//! The stream decoder, in any pieces that the network may cut a stream into.
//!
//! The first byte chooses what the rest is. `q` and `p`: the bytes of requests or replies, after a
//! line that says how they are cut, each of its bytes being the length of a chunk. Anything else: a
//! plan of well-formed messages, of which the outcome is known in every detail.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use latency_monitor::limits::{HEADER_BYTES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX};
use latency_monitor::proto::Wall;
use latency_monitor::proto::wire::text::{
    DecodeError, Identifier, Message, Role, SEQUENCES, StreamDecoder, encode_reply, encode_request,
};
use libfuzzer_sys::fuzz_target;

/// A header, and an identifier of the most bytes that any version may have.
const BUFFERED_MAX: usize = HEADER_BYTES_MAX + 66;

const MESSAGES_MAX: usize = 24;

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'q', rest)) => check_bytes(Role::Requests, rest),
        Some((b'p', rest)) => check_bytes(Role::Replies, rest),
        Some((_, rest)) => {
            if let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(rest)) {
                check_plan(&plan);
            }
        }
        None => {}
    }
});

/// What a message says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    seq: u8,
    source: String,
    at: Wall,
    tags: String,
}

#[derive(Clone, Debug)]
struct Seen {
    fields: Fields,
    identifier: Option<Identifier>,
    length: usize,
}

impl Seen {
    fn new(message: &Message<'_>) -> Self {
        let header = message.header;
        assert!(u64::from(header.seq) < SEQUENCES);
        assert!(header.source.len() <= NAME_BYTES_MAX);
        assert!(header.tags.len() <= TAGS_BYTES_MAX);
        assert!(header.at.as_unix_nanos() >= 0);
        assert!(message.zeros < message.length);
        Self {
            fields: Fields {
                seq: header.seq,
                source: header.source.to_owned(),
                at: header.at,
                tags: header.tags.to_owned(),
            },
            identifier: message.identifier,
            length: message.length,
        }
    }
}

/// A decoder, with what holds whatever it is fed.
struct Watched {
    decoder: StreamDecoder,
    fed: usize,
    seen: Vec<Seen>,
    /// Bytes that answers to all of it have.
    answered: usize,
    result: Result<(), DecodeError>,
}

impl Watched {
    fn new(role: Role) -> Self {
        Self {
            decoder: StreamDecoder::new(role),
            fed: 0,
            seen: Vec::new(),
            answered: 0,
            result: Ok(()),
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        let before = self.seen.len();
        self.fed += chunk.len();
        let result = self.decoder.feed(chunk, |message| {
            self.seen.push(Seen::new(&message));
            let mut reply = Vec::new();
            encode_reply(&mut reply, &message, "host-b", message.header.at, true);
            self.answered += reply.len();
        });
        assert!(self.decoder.buffered() <= BUFFERED_MAX.min(self.fed));
        if self.result.is_err() {
            assert_eq!(result, self.result, "there is no way back");
            assert_eq!(self.seen.len(), before);
        }
        if result.is_err() {
            assert_eq!(self.decoder.buffered(), 0);
        }
        self.result = result;
        // A last zero may be padding and, once a separator follows, a sequence number as well.
        let lengths: usize = self.seen.iter().map(|seen| seen.length).sum();
        assert!(lengths <= self.fed + self.seen.len());
        assert!(self.answered <= lengths);
    }

    fn fields(&self) -> Vec<&Fields> {
        self.seen.iter().map(|seen| &seen.fields).collect()
    }
}

/// Any bytes: how they are cut changes little.
fn check_bytes(role: Role, data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (cuts, stream) = data.split_at(line);
    let mut whole = Watched::new(role);
    whole.feed(stream);
    let mut cut = Watched::new(role);
    let mut rest = stream;
    let mut lengths = cuts.iter().cycle();
    while !rest.is_empty() {
        // Without a line of lengths, byte by byte.
        let length = lengths.next().map_or(1, |length| usize::from(*length));
        let (chunk, left) = rest.split_at(length.clamp(1, rest.len()));
        cut.feed(chunk);
        // An empty read changes nothing.
        cut.feed(&[]);
        rest = left;
    }
    // The last message of either may still wait, for an identifier or for padding.
    let (whole_fields, cut_fields) = (whole.fields(), cut.fields());
    let sure = whole_fields.len().saturating_sub(1);
    assert!(cut_fields.starts_with(&whole_fields[..sure]));
    if whole.result.is_ok() {
        assert_eq!(cut.result, Ok(()));
        let sure = cut_fields.len().saturating_sub(1);
        assert!(whole_fields.starts_with(&cut_fields[..sure]));
    }
}

#[derive(Arbitrary, Debug)]
struct MessagePlan {
    seq: u8,
    at: i64,
    identifier: Option<(u32, u32)>,
    size: Option<u16>,
    source: String,
    tags: String,
}

#[derive(Arbitrary, Debug)]
enum Cut {
    Anywhere(u16),
    /// Around where the header of this message ends, which is the most delicate place.
    Header(u8, i8),
    /// Around the end of its header and identifier.
    Head(u8, i8),
    /// Around the end of the message.
    End(u8, i8),
}

#[derive(Arbitrary, Debug)]
struct Plan {
    is_replies: bool,
    is_with_empty_reads: bool,
    cuts: Vec<Cut>,
    messages: Vec<MessagePlan>,
}

/// A message in the stream, and where its parts end.
struct Placed {
    fields: Fields,
    identifier: Option<Identifier>,
    start: usize,
    header_end: usize,
    head_end: usize,
    end: usize,
}

/// What is to come of a message.
struct Expected {
    /// Its identifier is read, and was not taken for the beginning of something else.
    is_identified: bool,
    is_seen: bool,
}

fn check_plan(plan: &Plan) {
    let mut stream = Vec::new();
    let messages: Vec<Placed> = plan
        .messages
        .iter()
        .take(MESSAGES_MAX)
        .map(|message| place(message, &mut stream))
        .collect();
    let cuts = cut_places(plan, &messages, stream.len());
    let role = if plan.is_replies {
        Role::Replies
    } else {
        Role::Requests
    };
    let expected = expect(role, &messages, &cuts, stream.len());

    let mut watched = Watched::new(role);
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        watched.feed(&stream[from..to]);
        if plan.is_with_empty_reads {
            watched.feed(&[]);
        }
        assert_eq!(watched.result, Ok(()));
        check_times(role, &messages, &expected, watched.seen.len(), to);
        from = to;
    }
    let count = expected.iter().filter(|expected| expected.is_seen).count();
    assert_eq!(watched.seen.len(), count);
    for ((message, expected), seen) in messages.iter().zip(&expected).zip(&watched.seen) {
        check_message(role, message, expected, seen);
    }
}

fn place(plan: &MessagePlan, stream: &mut Vec<u8>) -> Placed {
    let seq = plan.seq % u8::try_from(SEQUENCES).expect("it is 101");
    let at = Wall::from_unix_nanos(plan.at & i64::MAX);
    let source = field(&plan.source, NAME_BYTES_MAX);
    let tags = field(&plan.tags, TAGS_BYTES_MAX);
    let identifier = plan
        .identifier
        .map(|(cookie, number)| Identifier::new(cookie, number));
    let start = stream.len();
    let mut header = Vec::new();
    encode_request(&mut header, seq, &source, at, &tags, None, None);
    let size = plan.size.map(usize::from);
    encode_request(stream, seq, &source, at, &tags, identifier, size);
    let header_end = start + header.len();
    let length = u16::try_from(stream.len() - start).expect("size has 16 bits");
    Placed {
        fields: Fields {
            seq,
            source,
            at,
            tags,
        },
        identifier: identifier.map(|identifier| Identifier {
            length,
            ..identifier
        }),
        start,
        header_end,
        head_end: header_end + identifier.map_or(0, |_| 23),
        end: stream.len(),
    }
}

/// Text without separators, of so many bytes at most.
fn field(text: &str, bytes_max: usize) -> String {
    let text = text.replace('|', "/");
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn cut_places(plan: &Plan, messages: &[Placed], length: usize) -> BTreeSet<usize> {
    let near = |which: u8, by: i8, end: fn(&Placed) -> usize| {
        let number = usize::from(which).checked_rem(messages.len())?;
        end(&messages[number]).checked_add_signed(isize::from(by % 3))
    };
    let places = plan.cuts.iter().filter_map(|cut| match *cut {
        Cut::Anywhere(place) => Some(usize::from(place)),
        Cut::Header(which, by) => near(which, by, |message| message.header_end),
        Cut::Head(which, by) => near(which, by, |message| message.head_end),
        Cut::End(which, by) => near(which, by, |message| message.end),
    });
    places.filter(|place| (1..length).contains(place)).collect()
}

/// What the rules make of messages that are cut at these places.
fn expect(role: Role, messages: &[Placed], cuts: &BTreeSet<usize>, length: usize) -> Vec<Expected> {
    let mut all = Vec::new();
    let mut was_identified = false;
    // The padded length of the message before, if that had no identifier.
    let mut learned = None;
    for message in messages {
        let has_identifier = message.identifier.is_some();
        // What comes after a chunk that ends with the header is not waited for, unless the message
        // before had an identifier.
        let is_identified =
            has_identifier && (was_identified || !cuts.contains(&message.header_end));
        let own_length = message.end - message.start;
        let is_last = message.end == length;
        let waits_for_identifier =
            !has_identifier && was_identified && message.header_end == length;
        let waits_for_padding = role == Role::Requests
            && !has_identifier
            && learned.is_some_and(|learned| own_length < learned);
        all.push(Expected {
            is_identified,
            is_seen: !is_last || !(waits_for_identifier || waits_for_padding),
        });
        // An identifier that came late, after its message was reported, still counts for the next.
        let is_padded = !has_identifier && message.end > message.header_end;
        learned = is_padded.then_some(own_length);
        was_identified = has_identifier;
    }
    all
}

/// A message with an identifier is reported with the chunk that completes it: not earlier, for an
/// answer would end what is measured, and not later, for it would be waited for.
fn check_times(
    role: Role,
    messages: &[Placed],
    expected: &[Expected],
    seen: usize,
    received: usize,
) {
    for (number, (message, expected)) in messages.iter().zip(expected).enumerate() {
        let complete_at = match role {
            Role::Requests => message.end,
            Role::Replies => message.head_end,
        };
        if expected.is_identified {
            assert_eq!(seen > number, received >= complete_at, "message {number}");
        }
    }
}

fn check_message(role: Role, message: &Placed, expected: &Expected, seen: &Seen) {
    assert_eq!(seen.fields, message.fields);
    let header_length = message.header_end - message.start;
    let length = message.end - message.start;
    if expected.is_identified {
        assert_eq!(seen.identifier, message.identifier);
        let head_length = message.head_end - message.start;
        let complete = match role {
            Role::Requests => length,
            Role::Replies => head_length,
        };
        assert_eq!(seen.length, complete);
    } else {
        assert_eq!(seen.identifier, None);
        if role == Role::Replies || message.identifier.is_some() {
            assert_eq!(seen.length, header_length);
        } else {
            // The zero too many may turn out to be the next message's number.
            assert!((header_length..=length + 1).contains(&seen.length));
        }
    }
}
