//! The open-loop schedule of a flow: a slot every interval, whatever became of those before.

use crate::proto::context::Context;
use crate::proto::owner::Timer;
use crate::proto::sample::FlowNumber;
use crate::proto::time::Mono;
use crate::proto::transmit::FlowRef;
use crate::proto::wheel::TimerKey;

/// Where the slots of some flows lie in the interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// The first slot of the first of them.
    first: Mono,
    interval_ns: u64,
}

impl Phase {
    /// Returns one that no other flow of this interval has.
    pub(crate) fn new(interval_ns: u64, context: &mut Context) -> Self {
        Self {
            first: context.next_due(interval_ns),
            interval_ns,
        }
    }

    /// Returns the first slot of one of several flows, which are spread evenly over the interval.
    fn slot(self, flow: FlowNumber, now: Mono) -> Mono {
        let part = u128::from(self.interval_ns) * u128::from(flow.number - 1);
        let behind = u64::try_from(part / u128::from(flow.of)).unwrap_or(0);
        let slot = self.first.plus(behind);
        // The interval that runs has room for all of them.
        let most = now.plus(self.interval_ns);
        if slot < most {
            slot
        } else {
            Mono::from_nanos(slot.as_nanos() - self.interval_ns)
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Schedule {
    this: FlowRef,
    interval_ns: u64,
    /// The slot whose timer is armed.
    next_due: Mono,
    /// The slot that waits in the transmit queue.
    queued: Option<Mono>,
    timer: Option<TimerKey>,
    /// Probes that it has yet to send.
    left: u64,
}

impl Schedule {
    /// Begins at the place in the interval that this one of several flows has.
    pub(crate) fn new(
        this: FlowRef,
        phase: Phase,
        flow: FlowNumber,
        probes_max: Option<u64>,
        context: &mut Context,
    ) -> Self {
        let next_due = phase.slot(flow, context.now.mono);
        let interval_ns = phase.interval_ns;
        Self {
            this,
            interval_ns,
            next_due,
            queued: None,
            timer: Some(context.wheel.insert(next_due, Timer::Due(this))),
            left: probes_max.unwrap_or(u64::MAX),
        }
    }

    /// A probe was sent. Behind the last one no slot follows.
    pub(crate) fn count_sent(&mut self, context: &mut Context) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.end(context);
        }
    }

    /// Queues the slot that is due now and arms the timer for the next. Slots that have gone by
    /// meanwhile are skipped and counted, never sent in a burst.
    pub(crate) fn handle_due(&mut self, context: &mut Context) {
        let gone_by = context.now.mono.since(self.next_due) / self.interval_ns;
        let slot = self.next_due.plus(gone_by * self.interval_ns);
        context.counters.slots_missed += gone_by;
        if self.queued.replace(slot).is_some() {
            // The engine has not come to the previous slot yet, and will not send two at once.
            context.counters.slots_missed += 1;
        } else {
            context.due.push_back(self.this);
        }
        self.next_due = slot.plus(self.interval_ns);
        self.timer = Some(context.wheel.insert(self.next_due, Timer::Due(self.this)));
    }

    /// Takes the queued slot, for sending or for skipping.
    pub(crate) fn take_slot(&mut self) -> Option<Mono> {
        // One that is queued when the last probe leaves is none.
        self.queued.take().filter(|_| self.left > 0)
    }

    /// Takes the timer off the wheel: the flow ends.
    pub(crate) fn end(&mut self, context: &mut Context) {
        context.wheel.cancel(self.timer.take());
    }
}
