//! The life of a flow: what an operator wants to know of it besides its numbers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::limits::{EVERY_ADDRESS_MAX, FLOWS_TOTAL_MAX, TARGETS_MAX};
use crate::proto::sample::{FlowKind, Labels};
use crate::proto::target::{Address, Family};
use crate::proto::transmit::CloseReason;
use crate::proto::wire::native::REPLY_BYTES_MIN;

/// Something happened to a flow, or to a whole target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// To which one.
    pub subject: Subject,
    /// What happened.
    pub event: LifeEvent,
}

/// A flow as an operator knows it, or all flows of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The target's tags.
    pub labels: Arc<Labels>,
    /// The flow; `None`: all flows of the target.
    pub kind: Option<FlowKind>,
    /// Which of several flows of its kind.
    pub number: Option<u16>,
    /// Where the flow leads.
    pub remote: Option<SocketAddr>,
    /// Our end, once the engine has told it.
    pub local: Option<SocketAddr>,
}

impl Subject {
    /// Returns one that leads nowhere yet.
    pub(crate) const fn new(labels: Arc<Labels>, kind: Option<FlowKind>) -> Self {
        Self {
            labels,
            kind,
            number: None,
            remote: None,
            local: None,
        }
    }
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// The target's name leads to this address from here on.
    Resolved {
        /// The address that the flows move to.
        address: Address,
        /// The address that they leave.
        before: Option<Address>,
    },
    /// The name has addresses, and none of the target's `family`: it is probed as one that does not resolve.
    NoFamily {
        /// What it is to have.
        family: Family,
        /// An address that it has.
        other: Address,
    },
    /// An address of the name is a target of its own from here on.
    AddressBegun {
        /// Which one.
        address: Address,
        /// It is of the first answer.
        is_first: bool,
    },
    /// An address of the name is probed no more.
    AddressGone {
        /// Which one.
        address: Address,
        /// So many answers in a row have lacked it.
        answers: u32,
    },
    /// There are more addresses than are probed. Told of the first one, until all are.
    AddressLeftOut {
        /// Which one.
        address: Address,
    },
    /// The address in use does not answer: the flows go on to another one of the name's.
    NextAddress {
        /// The address that the flows move to.
        address: Address,
        /// The address that they leave.
        before: Address,
        /// A reply had come from that one since they went there.
        had_replies: bool,
        /// They have not been at the new one before.
        is_first_use: bool,
    },
    /// A fresh 5-tuple is there. It begins with text, unless the target is to speak native only.
    Opened,
    /// Probes are answered from another address or port than they were sent to. That is no reply: they are
    /// lost.
    AnsweredFrom {
        /// Where the answers come from.
        from: SocketAddr,
    },
    /// The peer has taken the offer of the native wire: the next probe speaks it.
    WentNative,
    /// A native probe had no reply within its timeout, nor had any after it. The next one speaks text,
    /// since the peer may have been replaced by one that knows nothing else.
    BackToText,
    /// A reflector that is not ours counts its replies (true), or repeats our numbers and tells nothing of losses.
    ReflectorCounts(bool),
    /// What comes from the target is no reply that can be read. Told once of each kind.
    Misread(Misread),
    /// The reflector has begun another session while ours goes on: its program was restarted.
    PeerRestarted,
    /// Nothing comes back from the peer; why, as far as the system has said.
    OutageBegan(Option<CloseReason>),
    /// The system has said why nothing can leave, after that was told without a reason.
    Trouble(CloseReason),
    /// Probes are answered again.
    OutageEnded {
        /// Nanoseconds from the first slot that was not answered to the last.
        ns: u64,
        /// How many these were.
        slots: u32,
    },
    /// The 5-tuple is given up.
    Closed {
        /// What was wrong.
        cause: CloseCause,
        /// A reply had come over it.
        had_replies: bool,
    },
}

/// Why a packet is no reply of a STAMP or TWAMP-Light reflector to a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// It has only so many bytes.
    Short(usize),
    /// It is text, as two of ours and the Python program speak it.
    Text,
    /// No probe has the number that it returns.
    Number,
    /// It returns another time than the probe had.
    Time,
    /// It returns another session identifier than the probe had, and not 0.
    Session,
    /// The probe is forgotten. That is told of no packet: it is only too late.
    Late,
}

/// Why a flow gives its 5-tuple up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The target is at another address.
    Moved,
    /// The target has another key. A fresh 5-tuple follows at once.
    NewKey,
    /// So many probes in a row were lost. A fresh 5-tuple follows at once.
    Lost(u32),
    /// The kernel refused so many probes in a row. A fresh 5-tuple follows at once.
    Refused(u32),
    /// The peer has read nothing for a timeout. A fresh connection follows at once.
    PeerReadsNothing,
    /// The peer has sent what cannot be read.
    Unreadable,
    /// The connection was not established in time.
    NotConnected,
    /// The socket is gone.
    Socket(CloseReason),
    /// The target is probed no more.
    Removed,
}

impl LifeEvent {
    /// True if a flow that had worked does so no longer, or leads to another peer. Everything else happens
    /// to every flow at the start, or again and again while a peer is away.
    pub fn is_change(&self) -> bool {
        match *self {
            Self::Resolved { before, .. } => before.is_some(),
            Self::NextAddress {
                had_replies,
                is_first_use,
                ..
            } => had_replies || is_first_use,
            Self::AddressBegun { is_first, .. } => !is_first,
            // That no descriptor is left hundreds of flows may find at once; the process tells it once.
            Self::Opened
            | Self::WentNative
            | Self::ReflectorCounts(_)
            | Self::OutageBegan(Some(CloseReason::Exhausted))
            | Self::Trouble(CloseReason::Exhausted) => false,
            Self::BackToText
            | Self::NoFamily { .. }
            | Self::AddressGone { .. }
            | Self::AddressLeftOut { .. }
            | Self::PeerRestarted
            | Self::Misread(_)
            | Self::AnsweredFrom { .. }
            | Self::OutageBegan(_)
            | Self::Trouble(_)
            | Self::OutageEnded { .. } => true,
            // That this host cannot send at all is told as an outage.
            Self::Closed { cause, had_replies } => match cause {
                CloseCause::Removed | CloseCause::Refused(_) => false,
                CloseCause::Socket(reason) => had_replies && !reason.is_local(),
                _ => had_replies,
            },
        }
    }
}

impl fmt::Display for LifeEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Resolved { address, before } => {
                write!(out, "the name leads to {address}")?;
                return before.map_or(Ok(()), |before| write!(out, " and no longer to {before}"));
            }
            Self::AddressBegun { address, .. } => {
                return write!(out, "the name has {address}, which is a target from here on");
            }
            Self::AddressGone { address, answers } => {
                return write!(
                    out,
                    "{address} is probed no more: {answers} answers in a row for the name have lacked it"
                );
            }
            Self::AddressLeftOut { address } => {
                return write!(
                    out,
                    "the name has {address}, and more addresses than there is room for: a name has \
                     {EVERY_ADDRESS_MAX}, all together have {TARGETS_MAX} targets and {FLOWS_TOTAL_MAX} flows"
                );
            }
            Self::NoFamily { family, other } => {
                let has = Family::of(other.ip).number();
                return write!(
                    out,
                    "the name has no {family} address, but {other}; trying again and again: give it one, or the \
                     target `family` {has} or \"auto\""
                );
            }
            Self::NextAddress {
                address, before, ..
            } => {
                return write!(
                    out,
                    "{before} does not answer: going on to {address}, another address of the name"
                );
            }
            Self::AnsweredFrom { from } => {
                return write!(
                    out,
                    "probes are answered from {from}, which was not probed: they count as lost"
                );
            }
            Self::Closed { cause, .. } => return write!(out, "the flow {cause}"),
            Self::OutageBegan(Some(reason)) => {
                return write!(out, "an outage has begun, no probe gets through: {reason}");
            }
            Self::Trouble(reason) => return write!(out, "no probe gets through: {reason}"),
            Self::OutageEnded { ns, slots } => {
                let (s, ms) = (ns / 1_000_000_000, ns / 1_000_000 % 1_000);
                return write!(
                    out,
                    "the outage is over: {slots} probes in {s}.{ms:03} s were lost or could not leave"
                );
            }
            Self::Misread(misread) => {
                return write!(out, "replies cannot be read: {misread}");
            }
            Self::ReflectorCounts(true) => "the reflector counts its replies: losses have a direction",
            Self::ReflectorCounts(false) => {
                "the reflector is stateless: losses have no direction"
            }
            Self::OutageBegan(None) => "an outage has begun: no probe is answered",
            Self::Opened => "the flow is open",
            Self::WentNative => "the flow speaks the native wire",
            Self::BackToText => "the flow speaks text again: a native probe had no reply in time",
            Self::PeerRestarted => "the peer's program was restarted",
        })
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Short(bytes) => {
                return write!(
                    out,
                    "one has {bytes} bytes, and {REPLY_BYTES_MIN} are the least of STAMP and TWAMP Light"
                );
            }
            Self::Text => "they are text: give the target another `protocol`",
            Self::Number => "one returns a number that no probe has",
            Self::Time => {
                "one does not return its probe's timestamp as it was: is it a STAMP reflector?"
            }
            Self::Session => {
                "one returns an SSID that is neither its probe's nor 0: try `ssid = false`"
            }
            Self::Late => "one came too late",
        })
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Lost(count) => {
                return write!(out, "reopens after {count} losses in a row");
            }
            Self::Refused(count) => {
                return write!(out, "reopens: the kernel refused {count} probes in a row");
            }
            Self::PeerReadsNothing => "reopens: the peer reads nothing",
            Self::Moved => "is closed: the target is probed at another address",
            Self::NewKey => "is closed: the target has a new key",
            Self::Unreadable => "is closed: the peer sent what cannot be read",
            Self::NotConnected => "is closed: the connection was not established in time",
            Self::Socket(reason) => return write!(out, "is closed: {reason}"),
            Self::Removed => "is closed: the target is probed no more",
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Finished => "the peer ended the connection",
            Self::Reset => "the connection was refused or reset",
            Self::NoRoute => "there is no route to the peer",
            Self::NetworkDown => "the network is down",
            Self::Denied => "this host does not permit it",
            Self::NoAddress => "this host has no address for it",
            Self::Exhausted => "this host has no descriptor or memory left",
            Self::NoInterface => "this host has no such `interface`",
            Self::NoPort => "no port of `source_port` is free",
            Self::OtherFamily => "`source` is not of the family of the peer's address",
            Self::Unsupported => "this system cannot mark its packets so",
            Self::Failed => "the socket failed",
        })
    }
}
