//! The text wire: the Python program's format on both protocols, and the identifier we add.
//!
//! A message is `<seq>|<source>|<timestamp ns>|<tags>|<padding>`. The sequence runs from 0 to 100,
//! the tags are a Python list literal of strings, and the padding is `0` bytes. The Python program
//! echoes padding unchanged, so ours may begin with an identifier:
//!
//! ```text
//! ~ a cccccccc nnnnnnnn llll ~     23 bytes, without the spaces
//! | |    |        |      |
//! | |    |        |      length of the whole request in bytes (hexadecimal, as the others)
//! | |    |        number of the probe, its low 32 bits
//! | |    the flow's cookie
//! | a in a request, b in a reply of ours (a Python reply says a);
//! | c in a request that offers the native wire, d in a reply that takes the offer
//! ```
//!
//! `docs/design/text-wire.md` has the rules of the stream and the Python program's own.

mod stream;
mod tags;

use crate::limits::{HEADER_BYTES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX};
use crate::proto::time::Wall;

pub use stream::{Role, StreamDecoder};
pub use tags::{TagsError, decode_tags, encode_tags};

/// Sequence numbers there are: 0 to 100, then 0 again.
pub const SEQUENCES: u64 = 101;

/// Bytes of our identifier.
const IDENTIFIER_BYTES: usize = 23;

/// Bytes of any identifier, also of versions to come.
const IDENTIFIER_BYTES_MAX: usize = 66;

/// Separators of a header.
const SEPARATORS: usize = 4;

/// Digits of the largest sequence number.
const SEQ_DIGITS_MAX: usize = 3;

/// Digits of the largest 64-bit time.
const TIME_DIGITS_MAX: usize = 19;

/// The reason why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are fewer than the four separators.
    #[error("the message ends within its header")]
    Truncated,
    /// The sequence number is not one of 0 to 100.
    #[error("the sequence number is not 0 to 100")]
    Sequence,
    /// The source is too long or not UTF-8.
    #[error("the source is not UTF-8 of at most {NAME_BYTES_MAX} bytes")]
    Source,
    /// The time is not a decimal number of 63 bits.
    #[error("the timestamp is not a decimal number of nanoseconds")]
    Timestamp,
    /// The tags are too long or not UTF-8.
    #[error("the tags are not UTF-8 of at most {TAGS_BYTES_MAX} bytes")]
    Tags,
    /// The padding has other bytes than zeros after at most one identifier.
    #[error("the padding is neither zeros nor an identifier and zeros")]
    Padding,
}

/// The fields of a message before its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The sequence number, 0 to 100.
    pub seq: u8,
    /// The sender's name, perhaps empty.
    pub source: &'a str,
    /// The sender's clock.
    pub at: Wall,
    /// The undecoded tags; [`decode_tags`] reads them.
    pub tags: &'a str,
}

impl Header<'_> {
    /// Returns how many bytes [`push_header`] appends.
    fn length(&self) -> usize {
        let digits = |value: u64| value.checked_ilog10().map_or(1, |power| power as usize + 1);
        let numbers = digits(u64::from(self.seq)) + digits(decimal(self.at));
        numbers + self.source.len() + self.tags.len() + SEPARATORS
    }
}

/// Our mark at the start of the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// The flow's own number, unknown to strangers.
    pub cookie: u32,
    /// The low 32 bits of the probe's number.
    pub number: u32,
    /// Bytes of the whole request, which tell its end in a stream.
    pub length: u16,
    /// True in a reply of ours.
    pub is_reply: bool,
    /// In a request, an offer to speak native from the next probe; in a reply, its acceptance.
    pub is_native: bool,
}

impl Identifier {
    /// Returns a request's identifier. [`encode_request`] fills in the length.
    pub const fn new(cookie: u32, number: u32) -> Self {
        Self {
            cookie,
            number,
            length: 0,
            is_reply: false,
            is_native: false,
        }
    }

    /// Returns the same with an offer of the native wire.
    #[must_use]
    pub const fn offering_native(self) -> Self {
        Self {
            is_native: true,
            ..self
        }
    }
}

/// One message, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The fields.
    pub header: Header<'a>,
    /// Our identifier, if present.
    pub identifier: Option<Identifier>,
    /// The zeros received after header and identifier.
    pub zeros: usize,
    /// The bytes received of the message.
    pub length: usize,
}

impl Message<'_> {
    /// True for a reply of ours, which must not be answered.
    pub fn is_reply(&self) -> bool {
        self.identifier
            .is_some_and(|identifier| identifier.is_reply)
    }
}

/// Offsets of the parts of a header and of an identifier after it. They outlive the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    seq: u8,
    at: Wall,
    /// The start of the source, and the separators after source, time and tags.
    source: usize,
    after: [usize; 3],
    identifier: Option<Identifier>,
    /// Bytes of header and identifier.
    length: usize,
}

/// The result of a search for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Done(Head),
    /// The bytes end with the header, so an identifier may follow or not.
    Bare(Head),
    /// The bytes end too soon.
    More,
}

impl Head {
    /// Reads a head from the beginning of `bytes`.
    fn scan(bytes: &[u8]) -> Result<Scan, DecodeError> {
        if bytes.first().is_some_and(|first| !first.is_ascii_digit()) {
            return Err(DecodeError::Sequence);
        }
        let header = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
        let mut separators = [0; SEPARATORS];
        let mut found = 0;
        for (place, _) in header
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'|')
            .take(SEPARATORS)
        {
            separators[found] = place;
            found += 1;
        }
        check_limits(header, &separators[..found])?;
        if found < SEPARATORS {
            return Ok(Scan::More);
        }
        let [seq, source, time, tags] = separators;
        let head = Self {
            seq: read_seq(&bytes[..seq])?,
            at: read_time(&bytes[source + 1..time])?,
            source: seq + 1,
            after: [source, time, tags],
            identifier: None,
            length: tags + 1,
        };
        match bytes.get(head.length) {
            None => Ok(Scan::Bare(head)),
            Some(b'~') => head.scan_identifier(bytes),
            Some(_) => Ok(Scan::Done(head)),
        }
    }

    fn scan_identifier(mut self, bytes: &[u8]) -> Result<Scan, DecodeError> {
        let rest = &bytes[self.length..];
        let rest = &rest[..rest.len().min(IDENTIFIER_BYTES_MAX)];
        let Some(end) = rest.iter().skip(1).position(|byte| *byte == b'~') else {
            let known = rest[1..].iter().all(|byte| is_identifier_byte(*byte));
            let room = rest.len() < IDENTIFIER_BYTES_MAX;
            if !(known && room) {
                return Err(DecodeError::Padding);
            }
            // Not later: the identifier may never end.
            self.header(bytes)?;
            return Ok(Scan::More);
        };
        let whole = &rest[..end + 2];
        self.identifier = read_identifier(whole)?;
        self.length += whole.len();
        Ok(Scan::Done(self))
    }

    /// Returns the bytes of the header alone.
    const fn header_length(&self) -> usize {
        self.after[2] + 1
    }

    /// Returns the header, borrowed from the scanned bytes.
    fn header<'a>(&self, bytes: &'a [u8]) -> Result<Header<'a>, DecodeError> {
        let [source_end, time_end, tags_end] = self.after;
        Ok(Header {
            seq: self.seq,
            source: read_str(&bytes[self.source..source_end], DecodeError::Source)?,
            at: self.at,
            tags: read_str(&bytes[time_end + 1..tags_end], DecodeError::Tags)?,
        })
    }

    fn message<'a>(&self, bytes: &'a [u8], length: usize) -> Result<Message<'a>, DecodeError> {
        Ok(Message {
            header: self.header(bytes)?,
            identifier: self.identifier,
            zeros: length.saturating_sub(self.length),
            length: length.max(self.length),
        })
    }
}

/// Checks each field against its maximum, which an unfinished one must not exceed either.
fn check_limits(header: &[u8], separators: &[usize]) -> Result<(), DecodeError> {
    const LIMITS: [(usize, DecodeError); 4] = [
        (SEQ_DIGITS_MAX, DecodeError::Sequence),
        (NAME_BYTES_MAX, DecodeError::Source),
        (TIME_DIGITS_MAX, DecodeError::Timestamp),
        (TAGS_BYTES_MAX, DecodeError::Tags),
    ];
    let mut start = 0;
    for (field, (limit, error)) in LIMITS.into_iter().enumerate() {
        let end = separators.get(field).copied();
        if end.unwrap_or(header.len()) - start > limit {
            return Err(error);
        }
        match end {
            Some(end) => start = end + 1,
            None => break,
        }
    }
    Ok(())
}

fn read_str(bytes: &[u8], error: DecodeError) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| error)
}

fn read_seq(digits: &[u8]) -> Result<u8, DecodeError> {
    read_decimal(digits, SEQ_DIGITS_MAX)
        .and_then(|seq| u8::try_from(seq).ok())
        .filter(|seq| u64::from(*seq) < SEQUENCES)
        .ok_or(DecodeError::Sequence)
}

fn read_time(digits: &[u8]) -> Result<Wall, DecodeError> {
    read_decimal(digits, TIME_DIGITS_MAX)
        .map(Wall::from_unix_nanos)
        .ok_or(DecodeError::Timestamp)
}

/// Reads a number of one to `most` digits that fits into 63 bits.
fn read_decimal(digits: &[u8], most: usize) -> Option<i64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Reads an identifier between its marks; `None` for an unknown version.
fn read_identifier(whole: &[u8]) -> Result<Option<Identifier>, DecodeError> {
    let body = &whole[1..whole.len() - 1];
    if !body.iter().all(|byte| is_identifier_byte(*byte)) {
        return Err(DecodeError::Padding);
    }
    let (Some(version @ b'a'..=b'd'), IDENTIFIER_BYTES) = (body.first(), whole.len()) else {
        return Ok(None);
    };
    let fields = (
        read_hex(&body[1..9]),
        read_hex(&body[9..17]),
        read_hex(&body[17..21]),
    );
    let (Some(cookie), Some(number), Some(length)) = fields else {
        return Err(DecodeError::Padding);
    };
    Ok(Some(Identifier {
        cookie,
        number,
        length: u16::try_from(length).map_err(|_| DecodeError::Padding)?,
        is_reply: matches!(version, b'b' | b'd'),
        is_native: matches!(version, b'c' | b'd'),
    }))
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|digit| value << 4 | digit)
    })
}

/// Counts the leading `0` bytes, in blocks, because most of a large message is padding.
fn leading_zeros(bytes: &[u8]) -> usize {
    const BLOCK: [u8; 32] = [b'0'; 32];
    let blocks = bytes
        .chunks_exact(BLOCK.len())
        .take_while(|block| **block == BLOCK)
        .count();
    let whole = blocks * BLOCK.len();
    let rest = bytes[whole..].iter().take_while(|byte| **byte == b'0');
    whole + rest.count()
}

/// Reads a datagram as one message.
#[inline]
pub fn decode_datagram(payload: &[u8]) -> Result<Message<'_>, DecodeError> {
    // Native packets come here first, and most have a zero in this place.
    if payload.first().is_some_and(|first| !first.is_ascii_digit()) {
        return Err(DecodeError::Sequence);
    }
    decode_message(payload)
}

fn decode_message(payload: &[u8]) -> Result<Message<'_>, DecodeError> {
    let head = match Head::scan(payload)? {
        // Padding is optional: the header alone is a message.
        Scan::Done(head) | Scan::Bare(head) => head,
        Scan::More => return Err(DecodeError::Truncated),
    };
    let message = head.message(payload, payload.len())?;
    if leading_zeros(&payload[head.length..]) < message.zeros {
        return Err(DecodeError::Padding);
    }
    Ok(message)
}

/// Appends a request, padded with zeros to `size` bytes, never shorter than its header and
/// identifier. `source` and `tags` must be free of `|`; `tags` come from [`encode_tags`].
pub fn encode_request(
    out: &mut Vec<u8>,
    seq: u8,
    source: &str,
    at: Wall,
    tags: &str,
    identifier: Option<Identifier>,
    size: Option<usize>,
) {
    let start = out.len();
    let header = Header {
        seq,
        source,
        at,
        tags,
    };
    push_header(out, header);
    let identifier_bytes = identifier.map_or(0, |_| IDENTIFIER_BYTES);
    let length = size.unwrap_or(0).max(out.len() - start + identifier_bytes);
    if let Some(mut identifier) = identifier {
        identifier.length = u16::try_from(length).unwrap_or(u16::MAX);
        push_identifier(out, identifier);
    }
    out.resize(start + length, b'0');
}

/// Appends the answer to `request`: its sequence number, our name and receive time, its own tags
/// and padding. False, with nothing appended, if the request's length does not allow it.
///
/// A reply is never longer than its request, so nobody gains by having us send to a third party.
/// Padding gives way first, then our name, which no known peer reads. To a request without our
/// mark, the reply is at least one byte shorter. Otherwise two responders that take each other's
/// replies for requests would exchange them forever.
///
/// If `takes_offer`, the reply accepts the native wire. It then has no padding, so on a stream the
/// native packets follow it directly.
pub fn encode_reply(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    name: &str,
    at: Wall,
    takes_offer: bool,
) -> bool {
    let mut header = Header {
        source: "",
        at,
        ..request.header
    };
    let identifier_bytes = request.identifier.map_or(0, |_| IDENTIFIER_BYTES);
    let limit = request.length - usize::from(request.identifier.is_none());
    let Some(room) = limit.checked_sub(header.length() + identifier_bytes) else {
        return false;
    };
    header.source = &name[..name.floor_char_boundary(room)];
    push_header(out, header);
    if let Some(identifier) = request.identifier {
        push_identifier(
            out,
            Identifier {
                is_reply: true,
                is_native: takes_offer && identifier.is_native,
                ..identifier
            },
        );
        if takes_offer && identifier.is_native {
            return true;
        }
    }
    let zeros = request.zeros.min(room - header.source.len());
    out.resize(out.len() + zeros, b'0');
    true
}

fn push_header(out: &mut Vec<u8>, header: Header<'_>) {
    push_decimal(out, u64::from(header.seq));
    out.push(b'|');
    out.extend_from_slice(header.source.as_bytes());
    out.push(b'|');
    push_decimal(out, decimal(header.at));
    out.push(b'|');
    out.extend_from_slice(header.tags.as_bytes());
    out.push(b'|');
}

/// Returns a time as messages write it. None has one before 1970: the decoder refuses it, and our clock never
/// shows it.
fn decimal(at: Wall) -> u64 {
    u64::try_from(at.as_unix_nanos()).unwrap_or(0)
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut left = value;
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(left % 10).expect("a digit is less than ten");
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn push_identifier(out: &mut Vec<u8>, identifier: Identifier) {
    out.extend_from_slice(match (identifier.is_reply, identifier.is_native) {
        (false, false) => b"~a",
        (true, false) => b"~b",
        (false, true) => b"~c",
        (true, true) => b"~d",
    });
    push_hex(out, identifier.cookie, 8);
    push_hex(out, identifier.number, 8);
    push_hex(out, u32::from(identifier.length), 4);
    out.push(b'~');
}

fn push_hex(out: &mut Vec<u8>, value: u32, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = value >> (4 * digit) & 0xf;
        out.push(b"0123456789abcdef"[nibble as usize]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Wall = Wall::from_unix_nanos(1_768_219_134_587_069_267);

    fn request(seq: u8, identifier: Option<Identifier>, size: Option<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_request(&mut out, seq, "a", TIME, "['isp:local']", identifier, size);
        out
    }

    #[test]
    fn reads_what_the_python_program_sends() {
        let payload = b"7|host a|1768219134587069267|['isp:local', 'x']|0000";
        let message = decode_datagram(payload).expect("it is a message");
        let header = Header {
            seq: 7,
            source: "host a",
            at: TIME,
            tags: "['isp:local', 'x']",
        };
        assert_eq!(
            message,
            Message {
                header,
                identifier: None,
                zeros: 4,
                length: payload.len()
            }
        );
        let bare = decode_datagram(b"0||0||").expect("the header is enough");
        assert_eq!((bare.header.seq, bare.header.tags, bare.zeros), (0, "", 0));
    }

    #[test]
    fn writes_what_the_python_program_reads() {
        assert_eq!(
            request(100, None, None),
            b"100|a|1768219134587069267|['isp:local']|"
        );
        assert_eq!(
            request(3, None, Some(41)),
            b"3|a|1768219134587069267|['isp:local']|000"
        );
        let identifier = Identifier::new(0xdead_beef, 17);
        assert_eq!(
            request(3, Some(identifier), Some(70)),
            b"3|a|1768219134587069267|['isp:local']|~adeadbeef000000110046~000000000"
        );
        let unpadded = request(3, Some(identifier), Some(10));
        assert!(
            unpadded.ends_with(b"|~adeadbeef00000011003d~"),
            "never shorter than its marks"
        );
    }

    #[test]
    fn refuses_what_is_no_message() {
        let long_name = format!("1|{}|1||", "n".repeat(NAME_BYTES_MAX + 1));
        let long_tags = format!("1|n|1|{}|", "t".repeat(TAGS_BYTES_MAX + 1));
        for (payload, error) in [
            (&b""[..], DecodeError::Truncated),
            (b"1|n|1|", DecodeError::Truncated),
            (b"101|n|1||", DecodeError::Sequence),
            (b"|n|1||", DecodeError::Sequence),
            (b"-1|n|1||", DecodeError::Sequence),
            (b"0001|n|1||", DecodeError::Sequence),
            (b"1|\xff|1||", DecodeError::Source),
            (long_name.as_bytes(), DecodeError::Source),
            (b"1|n|||", DecodeError::Timestamp),
            (b"1|n|1.5||", DecodeError::Timestamp),
            (b"1|n|9223372036854775808||", DecodeError::Timestamp),
            (b"1|n|1|\xff|", DecodeError::Tags),
            (long_tags.as_bytes(), DecodeError::Tags),
            (b"1|n|1||x", DecodeError::Padding),
            (b"1|n|1||00|", DecodeError::Padding),
            (b"1|n|1||~a~~", DecodeError::Padding),
            (b"1|n|1||~aAAAAAAAA000000000000~", DecodeError::Padding),
            (b"1|n|1||~azzzzzzzz000000000000~", DecodeError::Padding),
        ] {
            assert_eq!(decode_datagram(payload), Err(error), "{payload:?}");
        }
    }

    #[test]
    fn passes_over_identifiers_of_later_versions() {
        let message = decode_datagram(b"1|n|1||~z123~000").expect("it is a message");
        assert_eq!((message.identifier, message.zeros), (None, 3));
    }

    #[test]
    fn answers_with_the_same_padding() {
        let identifier = Identifier::new(1, 2);
        let payload = request(9, Some(identifier), Some(100));
        let mut reply = Vec::new();
        let message = decode_datagram(&payload).expect("it is a message");
        assert!(encode_reply(&mut reply, &message, "b", TIME.plus(1), true));
        let answer = decode_datagram(&reply).expect("replies have the same form");
        assert!(answer.is_reply());
        assert_eq!(
            answer.header,
            Header {
                source: "b",
                at: TIME.plus(1),
                ..message.header
            }
        );
        assert_eq!((answer.zeros, answer.length), (message.zeros, 100));
    }

    #[test]
    fn a_long_name_gives_way() {
        let payload = request(9, Some(Identifier::new(1, 2)), None);
        let message = decode_datagram(&payload).expect("it is a message");
        let mut reply = Vec::new();
        assert!(encode_reply(&mut reply, &message, "n\u{e9}", TIME, true));
        assert_eq!(
            decode_datagram(&reply)
                .expect("it is a message")
                .header
                .source,
            "n"
        );
        let early = decode_datagram(b"1||1||").expect("it is a message");
        assert!(
            !encode_reply(&mut reply, &early, "b", TIME, true),
            "our time is longer than theirs"
        );
    }

    #[test]
    fn replies_taken_for_requests_die_out() {
        let mut payload = request(9, None, Some(60));
        for round in 0..200 {
            let message = decode_datagram(&payload).expect("replies have the same form");
            let mut reply = Vec::new();
            if !encode_reply(&mut reply, &message, "other", TIME, true) {
                assert!(round < 60);
                return;
            }
            payload = reply;
        }
        panic!("two responders would go on forever");
    }

    proptest! {
        #[test]
        fn replies_are_never_longer(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[0-9]{1,3}\\|.{0,20}\\|[0-9]{1,19}\\|[^|]{0,20}\\|(~a[0-9a-f]{20}~)?0{0,50}"
                    .prop_map(String::into_bytes),
            ],
            name in ".{0,40}",
        ) {
            if let Ok(message) = decode_datagram(&payload) {
                prop_assert_eq!(message.length, payload.len());
                let mut reply = vec![b'x'];
                if encode_reply(&mut reply, &message, &name, TIME, true) {
                    let length = reply.len() - 1;
                    prop_assert!(length <= payload.len());
                    prop_assert!(message.identifier.is_some() || length < payload.len());
                } else {
                    prop_assert_eq!(reply, vec![b'x']);
                }
            }
        }

        #[test]
        fn requests_read_back(
            seq in 0_u8..101,
            source in "[^|]{0,30}",
            at in 0_i64..,
            marks in proptest::option::of((any::<u32>(), any::<u32>())),
            size in proptest::option::of(1_usize..65_536),
        ) {
            let at = Wall::from_unix_nanos(at);
            let identifier = marks.map(|(cookie, number)| Identifier::new(cookie, number));
            let mut payload = Vec::new();
            encode_request(&mut payload, seq, &source, at, "[]", identifier, size);
            let message = decode_datagram(&payload).expect("we send messages");
            prop_assert_eq!(message.header, Header { seq, source: &source, at, tags: "[]" });
            let read = message.identifier;
            prop_assert_eq!(read.map(|read| (read.cookie, read.number)), marks);
            prop_assert!(read.is_none_or(|read| usize::from(read.length) == payload.len()));
            prop_assert!(payload.len() >= size.unwrap_or(0));
        }
    }
}
