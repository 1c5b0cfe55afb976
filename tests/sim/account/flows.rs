//! Several flows to one target, and flows that take a fresh 5-tuple.

use latency_monitor::proto::{FlowKind, Member, Reopened};

use super::Account;

impl Account {
    /// An origin is one of several flows; the peer's packets are published by flow, if flows are.
    pub(super) fn join(&mut self, member: &Member) {
        assert!(member.number.of > 1 && (1..=member.number.of).contains(&member.number.number));
        match self.flows.get_mut(&member.origin) {
            Some(flow) => {
                assert_eq!(member.kind, Some(flow.kind));
                flow.number = member.number;
            }
            None => {
                assert!(member.kind.is_none() && self.senders.contains_key(&member.origin));
                self.senders_of.insert(member.origin, member.number.of);
            }
        }
    }

    /// A flow has taken a fresh 5-tuple: it is the only one of its kind, or on TCP.
    pub(super) fn handle_reopened(&mut self, reopened: &Reopened) {
        let flow = &self.flows[&reopened.origin];
        assert!(flow.number.is_only() || flow.kind == FlowKind::Tcp);
        assert_eq!(flow.kind, reopened.kind);
        assert!(reopened.lost > 0, "{reopened:?}");
        // Connections have no ports here.
        if let (FlowKind::Udp, [Some(before), Some(after)]) = (flow.kind, reopened.ports) {
            assert_ne!(before, after, "{reopened:?}");
        }
        self.reopened += 1;
        self.helped += u64::from(reopened.helped);
    }
}
