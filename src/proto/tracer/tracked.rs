//! What is remembered of a flow's path from one trace to the next.

use std::net::{IpAddr, SocketAddr};

use crate::proto::path::{Path, Why};
use crate::proto::time::Mono;

/// What is remembered of a flow's path.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    /// When it is to be traced for the interval.
    pub(super) next: Option<Mono>,
    /// When the last datagram of a trace has left.
    pub(super) sent: Option<Mono>,
    /// When each kind of event has called for a trace last.
    pub(super) called: [Option<Mono>; Why::EVENTS.len()],
    /// The 5-tuple of the hops that are known.
    of: Option<(u16, SocketAddr)>,
    known: Vec<Option<IpAddr>>,
}

impl Tracked {
    /// Takes what was learnt of the path. Returns the addresses before if they were others. Silent hops are like any.
    pub(super) fn learn(&mut self, path: &Path) -> Option<Box<[Option<IpAddr>]>> {
        let new: Vec<_> = path.hops.iter().map(|hop| hop.address).collect();
        let of = (path.source_port, path.remote);
        if self.of.replace(of) != Some(of) {
            self.known.clear();
        }
        if self.known.is_empty() {
            if path.is_reached {
                self.known = new;
            }
            return None;
        }
        let host = Some(path.remote.ip().to_canonical());
        let is_placed = |hops: &[Option<IpAddr>]| hops.last().is_some_and(|last| *last == host);
        let are_other = |(new, old): (&Option<IpAddr>, &Option<IpAddr>)| {
            new.is_some() && old.is_some() && new != old
        };
        let is_other = new.iter().zip(&self.known).any(are_other)
            || is_placed(&new) && is_placed(&self.known) && new.len() != self.known.len();
        let before = is_other.then(|| self.known.as_slice().into());
        if path.is_reached && is_other {
            self.known = new;
            return before;
        }
        // What is silent this time is known from before.
        for (known, new) in self.known.iter_mut().zip(&new) {
            *known = new.or(*known);
        }
        before
    }
}
