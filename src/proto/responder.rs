//! The answering side: reads requests on both wires, measures what came in, and answers.
//!
//! A request comes as a datagram or in an accepted connection, as text or as a STAMP packet. Its
//! [`Session`](session::Session) measures it, and the [`Reflector`] answers it, in one place for all four.

mod datagrams;
mod labels;
mod publication;
mod received;
mod reflection;
mod reflector;
mod request;
mod session;
mod streams;

use std::net::IpAddr;

use crate::proto::context::Context;
use crate::proto::gate::{Gate, Verdict};
use crate::proto::key_ring::KeyRing;
use crate::proto::owner::Owner;
use crate::proto::sample::Stamp;
use crate::proto::transmit::Place;

use datagrams::Datagrams;
use streams::Streams;

pub(crate) use reflector::Reflector;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Responder {
    /// Requests in text from these ports are another responder's replies, sent here to start a loop.
    udp_ports: Vec<u16>,
    pub(crate) gate: Gate,
    reflector: Reflector,
    datagrams: Datagrams,
    streams: Streams,
}

impl Responder {
    pub(crate) fn new(
        reflector: Reflector,
        gate: Gate,
        udp_ports: Vec<u16>,
        accepted_max: usize,
    ) -> Self {
        Self {
            udp_ports,
            gate,
            reflector,
            datagrams: Datagrams::default(),
            streams: Streams::new(accepted_max),
        }
    }

    /// Requests may be authenticated with these keys.
    pub(crate) fn set_keys(&mut self, keys: KeyRing) {
        self.reflector.set_keys(keys);
    }

    /// True if this address may ask now; counts it if not.
    #[inline]
    pub(crate) fn admits(&mut self, from: IpAddr, context: &mut Context) -> bool {
        self.gate.is_open() || self.judge(from, context)
    }

    fn judge(&mut self, from: IpAddr, context: &mut Context) -> bool {
        match self.gate.judge(from, context.now.mono) {
            Verdict::Admitted => return true,
            Verdict::Denied => context.counters.denied += 1,
            Verdict::Limited => context.counters.limited += 1,
        }
        false
    }

    /// The transmit stamp of a reply has come.
    pub(crate) fn handle_left(&mut self, place: Place, seq: u32, stamp: Stamp, context: &Context) {
        let session = match place {
            Place::Datagrams { slot, .. } => self.datagrams.session_mut(slot),
            Place::Connection(socket) => match context.owner(socket) {
                Some(Owner::Accepted(slot)) => self.streams.session_mut(slot),
                _ => None,
            },
        };
        // A later session may be at the same place.
        if let Some(session) = session.filter(|session| session.place == place) {
            session.handle_left(seq, stamp);
        }
    }

    /// The daemon ends: pending delays are published as they are.
    pub(crate) fn settle(&mut self, context: &mut Context) {
        let labels = &mut self.reflector.labels;
        let sessions = self.datagrams.sessions_mut();
        sessions
            .chain(self.streams.sessions_mut())
            .for_each(|session| session.settle(labels, context));
    }
}
