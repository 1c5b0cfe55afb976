//! What holds once the network is well again.

use super::Account;

impl Account {
    /// From now on nothing should be lost any more.
    pub(crate) fn settle(&mut self) {
        for flow in self.flows.values_mut() {
            flow.settled = Some(flow.counters);
        }
    }

    /// After the network has settled every flow must have found its way back.
    pub(crate) fn check_settled(&self) {
        for flow in self.flows.values() {
            let Some(before) = flow.settled else { continue };
            let (label, now) = (&flow.label, flow.counters);
            let (sent, received) = (now.sent - before.sent, now.received - before.received);
            assert!(
                sent > 0,
                "{label}: does not probe although the network is well"
            );
            assert_eq!(
                now.lost, before.lost,
                "{label}: loses although the network is well"
            );
            assert_eq!(
                now.unsent, before.unsent,
                "{label}: skips although the network is well"
            );
            assert!(
                received + before.in_flight() + now.in_flight() >= sent,
                "{label}: {now:?}"
            );
        }
    }
}
