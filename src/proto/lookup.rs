//! When a target's name is looked up.

use crate::proto::backoff::Backoff;
use crate::proto::context::Context;
use crate::proto::owner::Timer;
use crate::proto::target::Host;
use crate::proto::time::Mono;
use crate::proto::transmit::{TargetId, Transmit};
use crate::proto::wheel::TimerKey;

/// A name that failed to resolve, or whose target failed, is looked up again after this at first.
const RESOLVE_AGAIN_NS: u64 = 1_000_000_000;

/// What a look-up has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No address.
    Nothing,
    /// The address in use among others, perhaps.
    Same,
    /// Another address than the one in use.
    Other,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Lookup {
    timer_of: Timer,
    target: TargetId,
    host: Host,
    interval_ns: u64,
    is_under_way: bool,
    /// The look-up under way was asked for because of a failure.
    is_for_failure: bool,
    timer: Option<TimerKey>,
    /// No look-up because of failures before this.
    after_failure: Mono,
    /// Between look-ups that do not help: names that fail, or lead to where nobody answers.
    backoff: Backoff,
}

impl Lookup {
    /// For the target or pool that this timer is of, whose name is looked up every `interval_ns`.
    pub(crate) fn new(timer_of: Timer, target: TargetId, host: Host, interval_ns: u64) -> Self {
        Self {
            timer_of,
            target,
            host,
            interval_ns,
            is_under_way: false,
            is_for_failure: false,
            timer: None,
            after_failure: Mono::ZERO,
            backoff: Backoff::new(RESOLVE_AGAIN_NS, interval_ns),
        }
    }

    /// Asks for the addresses of a name, unless that is under way. A literal is never looked up.
    pub(crate) fn ask(&mut self, context: &mut Context) {
        if let Host::Name(_) = self.host
            && !self.is_under_way
        {
            self.is_under_way = true;
            context.actions.push_back(Transmit::Resolve {
                target: self.target,
                host: self.host.clone(),
            });
        }
    }

    /// The timer fired.
    pub(crate) fn handle_timer(&mut self, context: &mut Context) {
        self.timer = None;
        self.ask(context);
    }

    /// A flow of the target has failed: the name may point elsewhere by now.
    pub(crate) fn handle_failure(&mut self, context: &mut Context) {
        if context.now.mono >= self.after_failure {
            self.ask(context);
            self.is_for_failure = true;
        }
    }

    /// The name was looked up.
    pub(crate) fn handle_answer(&mut self, answer: Answer, context: &mut Context) {
        self.is_under_way = false;
        let is_for_failure = std::mem::take(&mut self.is_for_failure);
        let is_vain = answer == Answer::Nothing || (answer == Answer::Same && is_for_failure);
        let again_ns = if is_vain {
            self.backoff.wait(&mut context.jitter)
        } else {
            self.backoff.reset();
            RESOLVE_AGAIN_NS
        };
        let now = context.now.mono;
        self.after_failure = now.plus(again_ns);
        self.end(context);
        let wait_ns = if answer == Answer::Nothing {
            again_ns
        } else {
            self.interval_ns
        };
        self.timer = Some(context.wheel.insert(now.plus(wait_ns), self.timer_of));
    }

    /// Takes the timer off the wheel.
    pub(crate) fn end(&mut self, context: &mut Context) {
        context.wheel.cancel(self.timer.take());
    }
}
