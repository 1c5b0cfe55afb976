//! Whom a ping is about: the address, the flows, and the wire that they speak.

use std::net::{IpAddr, SocketAddr};

use crate::monitor::ping::figures::Figures;
use crate::monitor::ping::words::shown;
use crate::proto::{FlowKind, Protocol};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// As it was given.
    pub(super) host: String,
    /// Where its probes go.
    pub(super) remote: SocketAddr,
    /// What else its name leads to.
    pub(super) others: Vec<IpAddr>,
    pub(super) kind: FlowKind,
    pub(super) protocol: Protocol,
    pub(super) has_key: bool,
    /// One-way delays contain the difference of the two clocks.
    pub(super) is_raw: bool,
}

impl Subject {
    /// Returns the host, with its address if it is a name.
    pub(super) fn whom(&self) -> String {
        let address = self.remote.ip().to_string();
        if self.host == address {
            address
        } else {
            format!("{} ({address})", shown(&self.host))
        }
    }

    /// Returns the protocol and the port.
    pub(super) fn over(&self) -> String {
        let over = match self.kind {
            FlowKind::Udp => "UDP",
            FlowKind::Tcp | FlowKind::Connect => "TCP",
        };
        format!("{over} port {}", self.remote.port())
    }

    /// Returns what is called a round trip.
    pub(super) const fn trip(&self) -> &'static str {
        match self.kind {
            FlowKind::Connect => "connect",
            _ => "rtt",
        }
    }

    /// Returns what the probes spoke, as far as that is known.
    pub(super) fn wire(&self, figures: &Figures) -> &'static str {
        match (self.kind, self.protocol) {
            _ if figures.counts.received == 0 => "no answer",
            (FlowKind::Connect, _) => "connects",
            (_, Protocol::Stamp) => "STAMP",
            _ if figures.counts.sent_native == 0 => "text wire",
            _ if figures.counts.sent_native < figures.counts.sent => {
                "native wire after the first probes"
            }
            _ => "native wire",
        }
    }

    /// Returns what the wire does not tell, if something is missing for it.
    pub(super) fn note(&self, figures: &Figures) -> Option<&'static str> {
        let is_text = self.kind != FlowKind::Connect
            && self.protocol != Protocol::Stamp
            && figures.counts.sent_native == 0;
        is_text.then_some(if self.protocol == Protocol::Text {
            "Text was asked for. It has no one-way delays here, no direction of losses, and the other end's own time is \
             in the round trip."
        } else {
            "The other end speaks text, as the Python program does. So there are no one-way delays here and no bounds \
             from its clock, no direction of losses, and its own time is in the round trip."
        })
    }
}
