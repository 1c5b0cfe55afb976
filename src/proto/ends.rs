//! The two ends of a target's flows: who this host is to the target, and the host at the other end.

use std::sync::Arc;

use crate::proto::peer::Peer;

/// What this host says of itself in every probe of a target, on all its flows.
#[derive(Debug)]
pub(crate) struct Identity {
    /// This host's name.
    pub(crate) name: Arc<str>,
    /// The target's tags as they stand on the wire.
    pub(crate) tags: Box<str>,
    /// Bytes to pad a probe to.
    pub(crate) size: Option<usize>,
}

/// Goes down from a target to its flows beside the context.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) identity: Identity,
    pub(crate) peer: Peer,
    /// The delays of probes are published here too, although a peer of ours publishes them.
    pub(crate) publishes_forward: bool,
}
