//! Where requests are answered, whatever they came by and on whichever wire.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::responder::publication::RemoteLabels;
use crate::proto::responder::request::{Body, Request};
use crate::proto::responder::session::Session;
use crate::proto::time::Mono;
use crate::proto::transmit::{ListenerId, SocketId, StampKey, Transmit};
use crate::proto::wire::native::{self, encode_frame};
use crate::proto::wire::text;

/// A connection must bring its first message, and finish any message that it began, within this. Who
/// has been silent for less is not turned out of a full table.
pub(super) const MESSAGE_WITHIN_NS: u64 = 10_000_000_000;

/// A full table is searched for its idlest entry at most this often: that takes some tens of
/// microseconds.
const SEARCH_EVERY_NS: u64 = 1_000_000;

/// Where the answer to a datagram goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) listener: ListenerId,
    /// Who asked.
    pub(crate) to: SocketAddr,
    /// The address of ours that was asked, if the system said.
    pub(crate) from: Option<IpAddr>,
}

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    Datagram(ReplyTo),
    Stream {
        socket: SocketId,
        /// The peer does not read: nothing can be sent.
        is_blocked: bool,
    },
}

impl Route {
    const fn transmit(self, key: Option<StampKey>) -> Transmit {
        match self {
            Self::Datagram(ReplyTo { listener, to, from }) => Transmit::Reply {
                listener,
                to,
                from,
                key,
            },
            Self::Stream { socket, .. } => Transmit::Stream { socket, key },
        }
    }

    const fn is_blocked(self) -> bool {
        matches!(self, Self::Stream { is_blocked, .. } if is_blocked)
    }
}

/// A request in its session.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) session: &'a mut Session,
    pub(super) number: u64,
}

/// What all sessions have in common.
#[derive(Debug)]
pub(super) struct Reflector {
    name: Arc<str>,
    /// Native requests are answered, and offers of that wire taken.
    pub(super) is_native: bool,
    pub(super) labels: RemoteLabels,
    /// No search for the idlest session or connection before this.
    search_after: Mono,
}

impl Reflector {
    pub(super) fn new(name: Arc<str>, is_native: bool) -> Self {
        Self {
            labels: RemoteLabels::new(name.clone()),
            name,
            is_native,
            search_after: Mono::ZERO,
        }
    }

    /// Answers a request that its session has measured. Without a session, for which there was no room,
    /// a text request is answered all the same; a native reply could not be numbered.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        heard: Option<Heard<'_>>,
        route: Route,
        context: &mut Context,
    ) {
        let has_room = !route.is_blocked() && context.has_room_for_reply();
        let is_queued = has_room
            && match (&request.body, heard) {
                (Body::Text(message), _) => {
                    let at = context.now.wall;
                    context.queue_reply(route.transmit(None), |out| {
                        text::encode_reply(out, message, &self.name, at, self.is_native)
                    })
                }
                (Body::Native { packet, .. }, Some(Heard { session, number })) => {
                    let fields = session.next_reply(request, number, &self.name, context);
                    let key = session.place.stamp_key(fields.seq);
                    let write = |out: &mut Vec<u8>| native::encode_reply(out, packet, &fields);
                    context.queue_reply(route.transmit(Some(key)), |out| match route {
                        Route::Datagram(_) => {
                            write(out);
                            true
                        }
                        Route::Stream { .. } => encode_frame(out, write),
                    })
                }
                (Body::Native { .. }, None) => false,
            };
        if is_queued {
            context.counters.answered += 1;
        } else {
            context.counters.replies_dropped += 1;
        }
    }

    /// Searches a full table, given as places with the time when each was heard last. Returns the place
    /// that has been silent for longest, if that is long and there was no search just before.
    pub(super) fn find_idlest(
        &mut self,
        heard: impl Iterator<Item = (usize, Mono)>,
        context: &Context,
    ) -> Option<usize> {
        let now = context.now.mono;
        if now < self.search_after {
            return None;
        }
        self.search_after = now.plus(SEARCH_EVERY_NS);
        let (place, last_heard) = heard.min_by_key(|(_, last_heard)| *last_heard)?;
        (now.since(last_heard) >= MESSAGE_WITHIN_NS).then_some(place)
    }
}
