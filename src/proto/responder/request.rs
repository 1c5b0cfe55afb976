//! A request to our reflector, on whichever wire it came.

use crate::proto::key_ring::{Seal, Unsealed};
use crate::proto::time::Wall;
use crate::proto::transmit::{Arrival, Headers};
use crate::proto::wire::native::{self, BASE_BYTES, authenticated::KeyId};
use crate::proto::wire::text::{self, Message};

/// How a request is numbered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// The text wire's own sequence: 0 to 100, and again.
    Wire(u8),
    /// The low 32 bits of the probe's number.
    Low(u32),
}

/// What a sender calls itself, and its target's tags as they stand on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    pub(super) source: &'a str,
    pub(super) tags: &'a str,
}

/// The message, for its answer.
#[derive(Clone, Debug)]
pub(super) enum Body<'a> {
    Text(&'a Message<'a>),
    Native {
        request: native::Request<'a>,
        packet: &'a [u8],
        headers: Option<&'a Headers>,
        /// What its reply is to be authenticated with.
        seal: Option<Seal<'a>>,
    },
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) arrival: &'a Arrival,
    pub(super) number: Number,
    /// The number of the sender's flow, which tells it from an earlier one; only ours send it.
    pub(super) cookie: Option<u32>,
    /// The session number that the sender has read in our last reply to it.
    pub(super) returned: Option<u32>,
    /// T1, as the sender read it.
    pub(super) sent: Wall,
    /// `None` from a STAMP sender that is not ours.
    pub(super) identity: Option<Identity<'a>>,
    pub(super) body: Body<'a>,
}

impl<'a> Request<'a> {
    /// Returns a text message as a request; `None` if it is a reply, which must not be answered.
    pub(super) fn text(arrival: &'a Arrival, message: &'a Message<'a>) -> Option<Self> {
        if message.is_reply() {
            return None;
        }
        let header = message.header;
        let identifier = message.identifier;
        Some(Self {
            arrival,
            number: identifier.map_or(Number::Wire(header.seq), |identifier| {
                Number::Low(identifier.number)
            }),
            cookie: identifier.map(|identifier| identifier.cookie),
            returned: None,
            sent: header.at,
            identity: Some(Identity {
                source: header.source,
                tags: header.tags,
            }),
            body: Body::Text(message),
        })
    }

    /// Reads a native packet as a request; `None` if it is none. What comes on a stream has no `headers`.
    pub(super) fn native(
        arrival: &'a Arrival,
        headers: Option<&'a Headers>,
        unsealed: Unsealed<'a>,
    ) -> Option<Self> {
        let Unsealed { packet, seal } = unsealed;
        let request = native::decode_request(packet).ok()?;
        // Only ours send on a stream.
        if request.is_light && headers.is_none() {
            return None;
        }
        let ours = request.ours.as_ref();
        Some(Self {
            arrival,
            number: Number::Low(request.seq),
            cookie: ours.map(|ours| ours.cookie),
            returned: ours.map(|ours| ours.session),
            sent: request.sent,
            identity: ours.map(|ours| Identity {
                source: ours.source,
                tags: ours.tags,
            }),
            body: Body::Native {
                request,
                packet,
                headers,
                seal,
            },
        })
    }

    /// Returns the key that it was authenticated with.
    pub(super) fn key(&self) -> Option<KeyId> {
        match &self.body {
            Body::Native { seal, .. } => seal.as_ref().map(|seal| seal.key.id()),
            Body::Text(_) => None,
        }
    }

    /// True if its answer is longer than it is.
    pub(super) fn is_short(&self) -> bool {
        match &self.body {
            Body::Native { packet, .. } => packet.len() < BASE_BYTES,
            Body::Text(_) => false,
        }
    }

    /// Returns the session identifier of a STAMP sender that is not ours.
    pub(super) fn plain_ssid(&self) -> Option<u16> {
        match &self.body {
            Body::Native { request, .. } if request.ours.is_none() => Some(request.ssid),
            Body::Native { .. } | Body::Text(_) => None,
        }
    }

    /// True if its tags can be read. A request with unreadable ones begins no session.
    pub(super) fn is_readable(&self) -> bool {
        let tags = self.identity.unwrap_or_default().tags;
        text::decode_tags(tags).is_ok()
    }
}
