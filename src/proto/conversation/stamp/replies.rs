//! A reflector's own numbers for its replies, and what they tell of losses.
//!
//! A stateful reflector counts its replies (RFC 8762, section 4.3.1), so the growth of its numbers says how many probes
//! have reached it. A stateless one repeats ours, which says nothing. As long as no probe is lost both look the same,
//! so one number is left out once: a stateful one does not leave it out.

use crate::proto::context::Context;
use crate::proto::life::LifeEvent;
use crate::proto::window::Window;

/// A reflector whose numbers fall by more has begun anew; by less, requests have overtaken each other.
const OVERTAKEN_MAX: u32 = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Its numbers have been ours so far, with none left out.
    #[default]
    Unknown,
    /// They are ours also behind the one that was left out.
    Stateless,
    /// They are its own.
    Stateful,
}

/// What a reply says by its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// The probe that it answers.
    pub(super) probe: u64,
    /// The first probe of the session.
    pub(super) first: u64,
    /// The probe's number on the wire.
    pub(super) seq: u32,
    /// The reflector's own.
    pub(super) reply: u32,
}

/// The reply that those before it are told by.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// The highest probe that was answered.
    probe: u64,
    /// The reflector's highest number.
    reply: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Replies {
    kind: Kind,
    counted: Option<Counted>,
}

impl Replies {
    /// True while a number that is left out would show what the reflector is.
    pub(super) fn wants_skip(&self) -> bool {
        self.kind == Kind::Unknown
    }

    /// Takes a reply. Returns what is worth telling.
    pub(super) fn handle(
        &mut self,
        of: Numbers,
        window: &mut Window,
        context: &mut Context,
    ) -> Option<LifeEvent> {
        let before = self.kind;
        if of.reply != of.seq {
            self.kind = Kind::Stateful;
        } else if u64::from(of.seq) > of.probe - of.first && before == Kind::Unknown {
            // Behind the number that was left out.
            self.kind = Kind::Stateless;
        }
        window.note_reached(of.probe, context);
        if self.kind == Kind::Stateful && self.count(of, window, context) {
            return Some(LifeEvent::PeerRestarted);
        }
        (self.kind != before).then_some(LifeEvent::ReflectorCounts(self.kind == Kind::Stateful))
    }

    /// Judges the probes before this reply. True if the reflector has begun anew.
    fn count(&mut self, of: Numbers, window: &mut Window, context: &mut Context) -> bool {
        let (probe, reply) = (of.probe, of.reply);
        let Some(counted) = self.counted.replace(Counted { probe, reply }) else {
            // One that has counted more than we sent began before this session.
            if u64::from(reply) <= probe - of.first {
                window.judge_between(of.first..probe, u64::from(reply), context);
            }
            return false;
        };
        let grown = reply.wrapping_sub(counted.reply);
        if grown.cast_signed() <= 0 {
            // Overtaken, or a copy: it was counted with one before.
            let has_restarted = grown.wrapping_neg() > OVERTAKEN_MAX && probe > counted.probe;
            if !has_restarted {
                self.counted = Some(counted);
            }
            return has_restarted;
        }
        let next = counted.probe + 1;
        window.judge_between(next..probe.max(next), u64::from(grown - 1), context);
        let probe = probe.max(counted.probe);
        self.counted = Some(Counted { probe, reply });
        false
    }
}
