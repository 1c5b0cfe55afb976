//! Reflectors that are not ours, as routers have them: by RFC 8762 or RFC 5357, with one liberty or another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use latency_monitor::proto::Wall;
use latency_monitor::proto::wire::native::{self, plain_time};
use serde::Deserialize;

use crate::clock::HostClock;
use crate::host::{Input, Place, UDP_PORT};
use crate::network::Network;

/// Routers between a sender and it.
const HOPS: u8 = 3;
/// NTP's format, a clock that something keeps, and an error of 2^-12 s.
const ERROR: u16 = 0x9401;

/// What kind of reflector it is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForeignConfig {
    /// It numbers its replies itself.
    stateful: bool,
    /// Bytes of a reply at most.
    bytes: Option<usize>,
    /// It returns the SSID.
    #[serde(default)]
    ssid: bool,
    /// Its times are so many seconds ahead of UTC.
    #[serde(default)]
    utc_offset: i64,
}

#[derive(Debug)]
pub(crate) struct ForeignHost {
    config: ForeignConfig,
    next: BTreeMap<SocketAddr, u32>,
    answered: u64,
}

impl ForeignHost {
    pub(crate) fn new(config: ForeignConfig) -> Self {
        Self {
            config,
            next: BTreeMap::new(),
            answered: 0,
        }
    }

    pub(crate) fn step(
        &mut self,
        at: Place,
        clock: &HostClock,
        net: &mut Network,
        input: &Input<'_>,
    ) {
        let Input::Datagram(datagram) = *input else {
            return;
        };
        let now = clock.now(net.now_ns).wall;
        if let Some(reply) = self.reply(datagram.from, &datagram.payload, now) {
            let from = SocketAddr::new(at.address, UDP_PORT);
            let left = clock.instant(net.now_ns);
            let times = (now.as_unix_nanos(), left);
            // What cannot be read is no answer.
            let is_answer = reply.len() >= native::REPLY_BYTES_MIN;
            let reply = (&*reply, is_answer.then_some(datagram.id));
            net.send_datagram((at.host, from), datagram.from, reply, times);
        }
    }

    fn reply(&mut self, from: SocketAddr, request: &[u8], now: Wall) -> Option<Vec<u8>> {
        native::decode_request(request).ok()?;
        let next = self.next.entry(from).or_default();
        let own = next.to_be_bytes();
        *next += 1;
        self.answered += 1;
        let seq = if self.config.stateful {
            &own
        } else {
            &request[..4]
        };
        let ssid = if self.config.ssid {
            &request[14..16]
        } else {
            &[0; 2]
        };
        let now = plain_time(now.plus(self.config.utc_offset * 1_000_000_000), false);
        // The sender's error estimate is not returned.
        let base = [
            seq,
            &now,
            &ERROR.to_be_bytes(),
            ssid,
            &now,
            &request[..12],
            &[0; 4],
        ]
        .concat();
        let mut reply = [&base[..], &[u8::MAX - HOPS, 0, 0, 0], &request[44..]].concat();
        reply.truncate(self.config.bytes.unwrap_or(usize::MAX));
        Some(reply)
    }

    pub(crate) fn report(&self, out: &mut String) {
        let _ = writeln!(out, "answered {}", self.answered);
    }
}
