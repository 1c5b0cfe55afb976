//! Which requests of a connection are answered by which bytes of its replies.

use std::collections::VecDeque;
use std::ops::Range;

use latency_monitor::proto::wire::native::FrameDecoder;
use latency_monitor::proto::wire::text::{Role, StreamDecoder};

use crate::network::Side;

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
    /// Where the server's writes begin of which the client has read nothing, and which requests they answer.
    replies: VecDeque<(u64, Range<u64>)>,
    /// Bytes written and read by each side, the client first.
    written: [u64; 2],
    read: [u64; 2],
}

impl Messages {
    /// A side writes. False if that answers a request which has not come in whole: from here on nobody knows which
    /// reply is which.
    pub(crate) fn write(&mut self, side: Side, bytes: &[u8]) -> bool {
        let begins = self.written[side as usize];
        let ends = begins + bytes.len() as u64;
        self.written[side as usize] = ends;
        match side {
            Side::Client => {
                self.request_ends.push_back(ends);
                self.requests += 1;
                true
            }
            Side::Server => {
                let Range { start, end } = self.heard;
                self.heard.start = end.min(start + count(bytes));
                self.replies.push_back((begins, start..self.heard.start));
                start + count(bytes) <= end
            }
        }
    }

    /// A side reads so many bytes more. Gives the requests to which replies come in with them.
    pub(crate) fn read(&mut self, by: Side, bytes: usize) -> Vec<u64> {
        let read = &mut self.read[by as usize];
        *read += bytes as u64;
        match by {
            Side::Server => {
                let ends = self.request_ends.iter();
                let whole = ends.take_while(|end| **end <= *read).count();
                let first = self.requests - self.request_ends.len() as u64;
                self.request_ends.drain(..whole);
                self.heard = first..first + whole as u64;
                Vec::new()
            }
            Side::Client => {
                let replies = self.replies.iter();
                let begun = replies.take_while(|(begins, _)| begins < read).count();
                self.replies
                    .drain(..begun)
                    .flat_map(|reply| reply.1)
                    .collect()
            }
        }
    }
}

/// How many replies these are, of either wire.
fn count(replies: &[u8]) -> u64 {
    let mut count = 0;
    let is_text = replies.first().is_some_and(u8::is_ascii_digit);
    let is_read = if is_text {
        StreamDecoder::new(Role::Replies)
            .feed(replies, |_| count += 1)
            .is_ok()
    } else {
        FrameDecoder::after_preamble()
            .feed(replies, |_, _| count += 1)
            .is_ok()
    };
    assert!(is_read, "whole replies");
    count
}
