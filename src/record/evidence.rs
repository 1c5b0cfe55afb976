//! The words for what speaks for a host, and not the network, as the cause of an event.

/// Who has most likely caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// What is between the two hosts.
    Network,
    /// This host.
    Local,
    /// The host at the other end.
    Peer,
}

impl Suspect {
    /// Returns the word that is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Local => "local",
            Self::Peer => "peer",
        }
    }
}

/// What speaks against one host. `None` stands for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostEvidence {
    /// Nanoseconds for which its process was kept from running.
    pub kept_waiting_ns: Option<u64>,
    /// Nanoseconds for which a hypervisor had one of its processors: between two readings, the one that was away the
    /// longest.
    pub steal_ns: Option<u64>,
    /// The longest time in nanoseconds that a received packet waited for the process; 0: none waited longer than usual.
    pub receive_gap_ns: Option<u64>,
    /// The longest time in nanoseconds from a send call until the packet left; 0 likewise.
    pub send_gap_ns: Option<u64>,
    /// The packets that its own queues dropped.
    pub drops: Option<u64>,
}

/// What speaks against the two hosts of an event, within its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Against this one.
    pub local: HostEvidence,
    /// Against the one at the other end.
    pub peer: HostEvidence,
}

/// The running totals that the system keeps of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostReading {
    /// Nanoseconds for which a hypervisor had a processor: between two readings, the one that was away the longest.
    pub steal_ns: Option<u64>,
    /// Packets that its own queues dropped: of sockets, interfaces and processors.
    pub drops: Option<u64>,
}
