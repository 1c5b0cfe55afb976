//! What is told of every probe that has ended, for whoever looks at the probes themselves: the search
//! for bursts, and the flight recorder.

use super::{Departure, Flow};
use crate::proto::context::Context;
use crate::proto::sample::{Direction, FlowKind, Outcome, Output, Stamp, StampSource, Trace};
use crate::proto::time::Wall;
use crate::proto::transmit::Arrival;

impl Flow {
    /// A probe was received and all its stamps are as good as they will be; T3 is `None` on the text
    /// wire, which does not have it. T1 and T4 are of one clock: of the process's, if it was set between.
    pub(crate) fn trace_received(
        &self,
        number: u64,
        departure: &Departure,
        (received, sent): (Stamp, Option<Stamp>),
        arrival: &Arrival,
        context: &mut Context,
    ) {
        let left = departure.left_by(arrival.now);
        // Where the clock was set since, a stamp of the reply may be from before that: it may have waited
        // in the kernel meanwhile.
        let back = if departure.is_comparable {
            arrival.best()
        } else {
            Arrival::unstamped(arrival.now).best()
        };
        let stamps = [Some(left), Some(received), sent, Some(back)];
        self.trace(number, stamps, (Outcome::Received, None), context);
    }

    /// The same on the text wire, where the reply says T2 as its responder read it.
    pub(crate) fn trace_text(
        &self,
        number: u64,
        departure: &Departure,
        received: Wall,
        arrival: &Arrival,
        context: &mut Context,
    ) {
        let received = Stamp {
            at: received,
            source: StampSource::User,
        };
        self.trace_received(number, departure, (received, None), arrival, context);
    }

    /// A probe is lost as of now.
    pub(super) fn trace_lost(
        &self,
        number: u64,
        lost_on: Option<Direction>,
        context: &mut Context,
    ) {
        let departure = self.departure(number, context);
        let left = departure.map(|departure| departure.left_by(context.now));
        let stamps = [left, None, None, None];
        self.trace(number, stamps, (Outcome::Lost, lost_on), context);
    }

    fn trace(
        &self,
        seq: u64,
        stamps: [Option<Stamp>; 4],
        (outcome, lost_on): (Outcome, Option<Direction>),
        context: &mut Context,
    ) {
        if self.this.kind == FlowKind::Connect {
            return;
        }
        context.outputs.push_back(Output::Trace(Trace {
            origin: self.origin,
            kind: self.this.kind,
            seq,
            stamps,
            outcome,
            lost_on,
        }));
    }
}
