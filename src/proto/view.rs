//! What is to be seen of a flow from outside, beside its numbers.

use crate::proto::life::Subject;
use crate::proto::sample::{ClockEstimate, Counters};

/// What a flow speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Nothing: a connect is only timed.
    Nothing,
    /// Text, as the Python program does.
    Text,
    /// STAMP between two of ours.
    Native,
    /// STAMP or TWAMP Light with a reflector that is not ours.
    Stamp,
}

impl Spoken {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Text => "text",
            Self::Native => "native",
            Self::Stamp => "stamp",
        }
    }
}

/// A flow as it is at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FlowView {
    /// Whose it is, of which kind, and its 5-tuple.
    pub subject: Subject,
    /// What it speaks.
    pub spoken: Spoken,
    /// True if a key authenticates its packets.
    pub is_authenticated: bool,
    /// True if nothing comes back from where it leads.
    pub is_down: bool,
    /// What became of its probes since it began.
    pub counters: Counters,
    /// What is known of the peer's clock.
    pub clock: Option<ClockEstimate>,
}

impl FlowView {
    /// One that is up, without a key, and whose peer's clock is not known.
    pub fn new(subject: Subject, spoken: Spoken, counters: Counters) -> Self {
        Self {
            subject,
            spoken,
            is_authenticated: false,
            is_down: false,
            counters,
            clock: None,
        }
    }
}
