//! The answering side: reads requests on both wires, measures what came in, and answers.
//!
//! A request comes as a datagram or in an accepted connection, as text or as a STAMP packet. Its
//! [`Session`](session::Session) measures it, and the [`Reflector`] answers it, in one place for all four.

mod datagrams;
mod publication;
mod received;
mod reflection;
mod reflector;
mod request;
mod session;
mod streams;

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::sample::Stamp;
use crate::proto::transmit::{Arrival, SocketId};
use crate::proto::wire::text;

use datagrams::Datagrams;
use reflector::Reflector;
use request::Request;
use session::SessionRef;
use streams::Streams;

pub(crate) use reflector::ReplyTo;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Responder {
    /// Requests from this port are another responder's replies, sent here to start a loop.
    udp_port: Option<u16>,
    reflector: Reflector,
    datagrams: Datagrams,
    streams: Streams,
}

impl Responder {
    /// `name` is this host's; STAMP is answered, and offers of it taken, if `is_native`.
    pub(crate) fn new(
        name: Arc<str>,
        udp_port: Option<u16>,
        is_native: bool,
        accepted_max: usize,
    ) -> Self {
        Self {
            udp_port,
            reflector: Reflector::new(name, is_native),
            datagrams: Datagrams::default(),
            streams: Streams::new(accepted_max),
        }
    }

    /// A datagram came in on a listener.
    pub(crate) fn handle_datagram(
        &mut self,
        arrival: Arrival,
        reply: ReplyTo,
        payload: &[u8],
        context: &mut Context,
    ) {
        let port = reply.to.port();
        let request = match text::decode_datagram(payload) {
            // A text reply may read as a request; a native one never does, whatever port it comes from.
            Ok(message) => Request::text(arrival, message).filter(|_| Some(port) != self.udp_port),
            Err(_) if self.reflector.is_native => Request::native(arrival, payload),
            Err(_) => None,
        };
        // To port 0 no answer can be sent.
        let Some(request) = request.filter(|_| port != 0) else {
            context.counters.corrupt += 1;
            return;
        };
        let reflector = &mut self.reflector;
        self.datagrams
            .handle_request(&request, reply, reflector, context);
    }

    /// A connection came in. Returns its name; `None` if there is no room for it.
    pub(crate) fn handle_accept(&mut self, context: &mut Context) -> Option<SocketId> {
        self.streams.handle_accept(&mut self.reflector, context)
    }

    /// Bytes came in on an accepted connection. Returns how many messages were complete.
    pub(crate) fn handle_stream(
        &mut self,
        arrival: Arrival,
        slot: u32,
        bytes: &[u8],
        context: &mut Context,
    ) -> usize {
        let reflector = &mut self.reflector;
        self.streams
            .handle_bytes(arrival, slot, bytes, reflector, context)
    }

    /// The kernel takes no more bytes on a connection for now, or takes them again.
    pub(crate) fn handle_blocked(&mut self, slot: u32, is_blocked: bool) {
        self.streams.handle_blocked(slot, is_blocked);
    }

    /// The engine has no socket for the connection any more.
    pub(crate) fn handle_closed(&mut self, slot: u32, context: &mut Context) {
        self.streams.forget(slot, &mut self.reflector, context);
    }

    /// The transmit stamp of a reply to a datagram has come.
    pub(crate) fn handle_reply_left(&mut self, slot: u32, birth: u64, seq: u32, stamp: Stamp) {
        self.datagrams
            .handle_left(SessionRef { slot, birth }, seq, stamp);
    }

    /// The transmit stamp of a reply on a connection has come.
    pub(crate) fn handle_stream_reply_left(&mut self, slot: u32, seq: u32, stamp: Stamp) {
        self.streams.handle_left(slot, seq, stamp);
    }

    /// The timer of a session of datagrams fired.
    pub(crate) fn handle_session_timer(&mut self, slot: u32, context: &mut Context) {
        self.datagrams
            .handle_timer(slot, &mut self.reflector, context);
    }

    /// The timer of an accepted connection fired.
    pub(crate) fn handle_accepted_timer(&mut self, slot: u32, context: &mut Context) {
        self.streams
            .handle_timer(slot, &mut self.reflector, context);
    }

    /// The daemon ends: pending delays are published as they are.
    pub(crate) fn settle_all(&mut self, context: &mut Context) {
        self.datagrams.settle(context);
        self.streams.settle(context);
    }
}
