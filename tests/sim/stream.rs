//! Which requests of a connection are answered by which bytes of its replies.

use std::collections::VecDeque;
use std::ops::Range;

use latency_monitor::proto::wire::native::FrameDecoder;
use latency_monitor::proto::wire::text::{Role, StreamDecoder};

use crate::network::Side;

/// Bytes before a native packet in a stream, which say how long it is.
const LENGTH_BYTES: u64 = 2;

/// The messages of one connection. The client writes one at a time; the server answers all that end in what it has
/// read, in their order, or none.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Requests written.
    pub(crate) requests: u64,
    /// Where those end that the server has not read, in bytes from the first one on.
    request_ends: VecDeque<u64>,
    /// Those that ended in what the server read last, and are not answered.
    heard: Range<u64>,
    /// Where replies end that the client has not read, and which request each answers.
    replies: VecDeque<(u64, u64)>,
    /// Bytes written and read by each side, the client first.
    written: [u64; 2],
    read: [u64; 2],
}

impl Messages {
    /// A side writes. False if that answers a request which has not come in whole: from here on nobody knows which
    /// reply is which.
    pub(crate) fn write(&mut self, side: Side, bytes: &[u8]) -> bool {
        let begins = self.written[side as usize];
        self.written[side as usize] += bytes.len() as u64;
        match side {
            Side::Client => {
                self.request_ends.push_back(self.written[0]);
                self.requests += 1;
                true
            }
            Side::Server => {
                let ends = reply_ends(bytes).into_iter();
                let mut answered = ends.map(|end| Some((begins + end, self.heard.next()?)));
                answered.all(|reply| {
                    self.replies.extend(reply);
                    reply.is_some()
                })
            }
        }
    }

    /// The server reads so many bytes more; `may_answer`: its kernel takes replies.
    pub(crate) fn read_requests(&mut self, bytes: usize, may_answer: bool) {
        self.read[0] += bytes as u64;
        let ends = self.request_ends.iter();
        let whole = ends.take_while(|end| **end <= self.read[0]).count();
        let first = self.requests - self.request_ends.len() as u64;
        self.request_ends.drain(..whole);
        self.heard = first..first + if may_answer { whole as u64 } else { 0 };
    }

    /// The client reads so many bytes more. Gives the requests whose replies have come in with them.
    pub(crate) fn read_replies(&mut self, bytes: usize) -> Vec<u64> {
        self.read[1] += bytes as u64;
        let replies = self.replies.iter();
        let whole = replies.take_while(|(end, _)| *end <= self.read[1]).count();
        self.replies.drain(..whole).map(|reply| reply.1).collect()
    }
}

/// Where replies of either wire end that are written at once. Text is known by its header, at the latest by the
/// identifier behind it; of several, only where the first one begins is sure.
fn reply_ends(replies: &[u8]) -> Vec<u64> {
    let mut ends = Vec::new();
    let is_text = replies.first().is_some_and(u8::is_ascii_digit);
    let is_read = if is_text {
        let mut decoder = StreamDecoder::new(Role::Replies);
        let read = decoder.feed(replies, |_| ends.push(1));
        if let [end] = &mut *ends {
            let mut bytes = (1..).zip(replies).filter(|(_, byte)| **byte == b'|');
            *end = bytes.nth(3).expect("a header has four separators").0;
        }
        read.is_ok()
    } else {
        let mut end = 0;
        let mut decoder = FrameDecoder::after_preamble();
        let read = decoder.feed(replies, |packet, _| {
            end += LENGTH_BYTES + packet.len() as u64;
            ends.push(end);
        });
        read.is_ok()
    };
    assert!(is_read, "whole replies");
    ends
}
