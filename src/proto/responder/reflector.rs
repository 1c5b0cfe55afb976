//! Where requests are answered, whatever they came by and on whichever wire.

use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::key_ring::{KeyRing, Seal};
use crate::proto::named::SenderSpec;
use crate::proto::responder::labels::RemoteLabels;
use crate::proto::responder::request::{Body, Request};
use crate::proto::responder::session::Session;
use crate::proto::time::Mono;
use crate::proto::transmit::{Place, StampKey, Transmit, Wanted};
use crate::proto::wire::native::authenticated::KeyId;
use crate::proto::wire::native::{self, ReplyFields, encode_frame};
use crate::proto::wire::text;

/// A connection must bring its first message, and finish any message that it began, within this.
pub(super) const MESSAGE_WITHIN_NS: u64 = 10_000_000_000;

/// Who has been silent for less is not turned out of a full table.
const SILENT_LEAST_NS: u64 = 5_000_000_000;

/// A full table is searched for its idlest entry at most this often: that takes some tens of
/// microseconds.
const SEARCH_EVERY_NS: u64 = 1_000_000;

/// A request in its session.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) session: &'a mut Session,
    pub(super) number: u64,
}

/// What all sessions have in common.
#[derive(Debug)]
pub(crate) struct Reflector {
    name: Arc<str>,
    /// Native requests are answered, and offers of that wire taken.
    pub(super) is_native: bool,
    /// What requests may be authenticated with; `None` if there is no key, and none is asked for.
    pub(super) keys: Option<Arc<KeyRing>>,
    pub(super) labels: RemoteLabels,
    /// No search for the idlest session or connection before this.
    search_after: Mono,
}

impl Reflector {
    /// `name` is this host's; STAMP is answered, and offers of it taken, if `is_native`.
    pub(crate) fn new(name: Arc<str>, is_native: bool, keys: KeyRing) -> Self {
        Self {
            labels: RemoteLabels::new(name.clone()),
            name,
            is_native,
            keys: keys.is_of_use().then(|| Arc::new(keys)),
            search_after: Mono::ZERO,
        }
    }

    pub(super) fn set_keys(&mut self, keys: KeyRing) {
        self.keys = keys.is_of_use().then(|| Arc::new(keys));
    }

    /// True if a sender that says no name has a key, and this is none of its.
    pub(super) fn lacks_key(&self, sender: &SenderSpec, key: Option<KeyId>) -> bool {
        let keys = self.keys.as_deref().zip(key);
        let has = keys.is_some_and(|(keys, key)| keys.has_of_sender(sender, key));
        sender.key.is_some() && !has
    }

    /// True if nothing is answered without a key.
    pub(super) fn requires_key(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.is_required)
    }

    /// Answers a request that its session has measured, if the peer reads; `transmit` leads to it, for a reply
    /// with this key. Without a session, for which there was no room, the answer is that of a stateless
    /// reflector (RFC 8762, section 4).
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        heard: Option<Heard<'_>>,
        reads: bool,
        transmit: impl FnOnce(Option<StampKey>) -> Transmit,
        context: &mut Context,
    ) {
        let has_room = reads && context.has_room_for_reply();
        let is_queued = match (&request.body, heard) {
            _ if !has_room => false,
            (Body::Text(message), _) => {
                let at = context.now.wall;
                context.queue_reply(transmit(None), |out| {
                    text::encode_reply(out, message, &self.name, at, self.is_native)
                })
            }
            (
                Body::Native {
                    packet,
                    request: read,
                    seal,
                    ..
                },
                Some(Heard { session, number }),
            ) => {
                let fields = session.next_reply(request, number, &self.name, context);
                let (place, seq) = (session.place, fields.seq);
                let mut transmit = transmit(Some(StampKey(Wanted::Reply { place, seq })));
                if let Transmit::Reply { tos, .. } = &mut transmit
                    && !read.is_light
                {
                    let wanted = match read.ours {
                        Some(_) => native::wanted_tos_of_ours(packet),
                        None => native::wanted_tos(packet),
                    };
                    *tos = wanted.unwrap_or(*tos);
                }
                let write = |out: &mut Vec<u8>| write_reply(out, packet, &fields, *seal);
                context.queue_reply(transmit, |out| match place {
                    Place::Connection(_) => encode_frame(out, write),
                    Place::Datagrams { .. } => {
                        write(out);
                        true
                    }
                })
            }
            (
                Body::Native {
                    packet,
                    request: read,
                    headers,
                    seal,
                },
                None,
            ) => {
                let fields = ReplyFields {
                    seq: read.seq,
                    sent: request.arrival.now.wall,
                    error: context.clock_error,
                    received: request.arrival.best(),
                    follow_ups: [None; 3],
                    session: 0,
                    received_count: 0,
                    seen: 0,
                    name: "",
                    headers: *headers,
                    is_light: read.is_light,
                    totals: None,
                };
                context.queue_reply(transmit(None), |out| {
                    write_reply(out, packet, &fields, *seal);
                    true
                })
            }
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
        (now.since(last_heard) >= SILENT_LEAST_NS).then_some(place)
    }
}

/// Appends the reply to a request, authenticated as that was.
fn write_reply(
    out: &mut Vec<u8>,
    request: &[u8],
    fields: &ReplyFields<'_>,
    seal: Option<Seal<'_>>,
) {
    let start = out.len();
    native::encode_reply(out, request, fields);
    if let Some(seal) = seal {
        seal.seal_reply(out, start);
    }
}
