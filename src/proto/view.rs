//! What is to be seen of a flow from outside, beside its numbers.

use std::net::IpAddr;

use crate::proto::life::Subject;
use crate::proto::path::IcmpType;
use crate::proto::sample::{ClockEstimate, Counters};
use crate::proto::transmit::CloseReason;

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

/// What the network says (ICMP) of a probe that did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who says so; `None`: nobody that the system names.
    pub by: Option<IpAddr>,
    /// What it says.
    pub icmp: IcmpType,
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
    /// What the network said last of a probe that did not get there.
    pub refused: Option<Refused>,
    /// Why probes cannot leave, or connections are not there, as the system last said. The next reply ends it.
    pub trouble: Option<CloseReason>,
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
            refused: None,
            trouble: None,
        }
    }
}
