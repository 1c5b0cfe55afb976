//! The open-loop schedule of a flow: a slot every interval, whatever became of those before.

use crate::proto::context::Context;
use crate::proto::owner::Timer;
use crate::proto::time::Mono;
use crate::proto::transmit::FlowRef;
use crate::proto::wheel::TimerKey;

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
}

impl Schedule {
    /// Begins at a phase that no other flow of this interval has.
    pub(crate) fn new(this: FlowRef, interval_ns: u64, context: &mut Context) -> Self {
        let next_due = context.next_due(interval_ns);
        Self {
            this,
            interval_ns,
            next_due,
            queued: None,
            timer: Some(context.wheel.insert(next_due, Timer::Due(this))),
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
        self.queued.take()
    }

    /// Takes the timer off the wheel: the flow ends.
    pub(crate) fn end(&mut self, context: &mut Context) {
        context.wheel.cancel(self.timer.take());
    }
}
