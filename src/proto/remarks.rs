//! The code points that a flow's packets arrive with, at the other end and back here.

use crate::proto::context::Context;
use crate::proto::marks::Dscp;
use crate::proto::output::{Output, Seen};
use crate::proto::sample::{Direction, FlowKind, Origin};
use crate::proto::steady::Steady;
use crate::proto::transmit::Arrival;
use crate::proto::wire::native::ClassOfService;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Remarks {
    sent: Dscp,
    forward: Steady,
    reverse: Steady,
}

impl Remarks {
    /// For a flow whose packets leave with `sent`, and whose replies are asked to.
    pub(crate) fn new(sent: Dscp) -> Self {
        let steady = || Steady::of(sent.number());
        Self {
            sent,
            forward: steady(),
            reverse: steady(),
        }
    }

    /// Returns what packets leave with.
    pub(crate) const fn sent(&self) -> Dscp {
        self.sent
    }

    /// A reply has come that says what its request arrived with. What it came with itself says something only if the
    /// reflector has sent it as it was asked.
    pub(crate) fn handle_reply(
        &mut self,
        class: ClassOfService,
        arrival: &Arrival,
        origin: Origin,
        kind: FlowKind,
        context: &mut Context,
    ) {
        let back = arrival.tos.map(Dscp::of_class);
        let back = back.filter(|_| class.is_as_asked);
        for (direction, steady, arrived) in [
            (Direction::Forward, &mut self.forward, Some(class.arrived)),
            (Direction::Reverse, &mut self.reverse, back),
        ] {
            let Some(arrived) = arrived else { continue };
            let has_changed = steady.add(arrived.number(), context.now.mono).is_some();
            let seen = Seen {
                origin,
                kind,
                direction,
                at: arrival.best().at,
                sent: self.sent,
                arrived: Dscp::new(steady.value()).unwrap_or(arrived),
                has_changed,
            };
            context.outputs.push_back(Output::Dscp(seen));
        }
    }
}
