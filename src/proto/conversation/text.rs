//! A flow's probes on the text wire: numbered 0 to 100, and told apart by an identifier.

use super::Scope;
use crate::proto::context::Context;
use crate::proto::ends::Identity;
use crate::proto::sample::Stamp;
use crate::proto::time::Wall;
use crate::proto::transmit::Arrival;
use crate::proto::window::{Reply, Window, low};
use crate::proto::wire::text::{self, Identifier, Message, SEQUENCES};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Text {
    /// The flow's own, which a stranger does not know.
    pub(super) cookie: u32,
    /// Every request offers the native wire.
    offers_native: bool,
    /// The probe that the sequence starts at 0 with: the first one on this 5-tuple, or after native ones.
    first: u64,
    /// The first probe that is not of this 5-tuple any more.
    end: u64,
    /// The peer has returned an identifier on this 5-tuple: what comes without is not from it.
    returns_identifiers: bool,
}

/// A message that answers a probe of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) number: u64,
    /// T2, as the responder read it.
    received: Wall,
    /// Native may be spoken from the next probe on.
    pub(super) takes_offer: bool,
}

impl Text {
    pub(super) fn new(offers_native: bool, context: &mut Context) -> Self {
        Self {
            cookie: context.flow_ids.cookie(),
            offers_native,
            first: 0,
            end: u64::MAX,
            returns_identifiers: false,
        }
    }

    /// Starts the sequence at 0 with probe `first`.
    pub(super) fn begin(&mut self, first: u64) {
        self.first = first;
    }

    /// Ends the sequence before probe `end`.
    pub(super) fn leave(&mut self, end: u64) {
        self.end = end;
        self.offers_native = false;
    }

    /// Appends the request for probe `number`, which leaves now, padded to `size` bytes.
    pub(super) fn encode(
        &self,
        number: u64,
        size: Option<usize>,
        scope: &Scope<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut identifier = Identifier::new(self.cookie, low(number));
        if self.offers_native {
            identifier = identifier.offering_native();
        }
        let Identity { name, tags, .. } = &scope.ends.identity;
        let tags = scope.window.wire_tags.as_ref().unwrap_or(tags);
        let (seq, at) = (self.seq(number), scope.context.now.wall);
        text::encode_request(out, seq, name, at, tags, Some(identifier), size);
    }

    /// Forgets what was learned of the peer: a fresh 5-tuple is there.
    pub(super) fn forget_peer(&mut self) {
        self.returns_identifiers = false;
    }

    /// Returns the text probe that a message answers: by the identifier in its padding if that came back.
    /// Else by the sequence number, while that says which, as long as the peer has returned no identifier:
    /// anyone can fake its address, and there are 101 numbers only.
    pub(super) fn find(&mut self, window: &Window, message: &Message<'_>) -> Option<Answer> {
        let seq = message.header.seq;
        let number = match message.identifier {
            Some(identifier) if identifier.cookie == self.cookie => {
                window.widen(identifier.number)?
            }
            Some(_) => return None,
            None if self.returns_identifiers => return None,
            None => window.by_residue(self.first..self.end, SEQUENCES, u64::from(seq))?,
        };
        let takes_offer = message
            .identifier
            .is_some_and(|identifier| identifier.is_reply && identifier.is_native);
        let is_ours = (self.first..self.end).contains(&number)
            && self.seq(number) == seq
            && !window.is_native(number);
        if !is_ours {
            return None;
        }
        self.returns_identifiers |= message.identifier.is_some();
        Some(Answer {
            number,
            received: message.header.at,
            takes_offer: takes_offer && self.offers_native,
        })
    }

    /// True if the message has brought back the identifier of a probe of ours.
    pub(super) fn has_named(&self, message: &Message<'_>) -> bool {
        let identifier = message.identifier.as_ref();
        identifier.is_some_and(|identifier| identifier.cookie == self.cookie)
    }

    /// The wire's sequence number, 0 to 100, of a probe since `first`.
    fn seq(&self, number: u64) -> u8 {
        u8::try_from((number - self.first) % SEQUENCES).expect("the modulus is 101")
    }
}

impl Answer {
    /// Counts the reply, and publishes its delay if it is the first one in time.
    pub(super) fn receive(self, arrival: &Arrival, scope: &mut Scope<'_>) -> Reply {
        let Scope {
            window, context, ..
        } = scope;
        let reply = window.handle_reply(self.number, context);
        if reply == Reply::Received
            && let Some(departure) = window.departure(self.number, context)
        {
            let delay = departure.elapsed(arrival);
            window.publish(arrival.best().at, self.number, delay, context);
            let received = Stamp::user(self.received);
            let at_peer = [Some(received), None];
            window.trace_received(self.number, &departure, at_peer, arrival, context);
        }
        reply
    }
}
