//! The sequential tests: does one flow lose more, or take longer, than the others, for longer than chance explains?
//!
//! Both are CUSUMs over blocks. `docs/design/paths.md` has the reasons, and how often they are wrong.

/// A share of lost probes below which a flow counts as well, whatever the others lose.
const LOSS_LEAST: f64 = 0.002;
/// The alternative is so many times the loss of the others.
const LOSS_TIMES: f64 = 5.0;
/// With the logarithm of the number of flows: a chance of e^-22 per block for all flows together.
const LOSS_ALARM: f64 = 22.0;
/// One block is a fifth of an alarm at most: bursts of losses are no path that is bad.
const BLOCKS_LEAST: f64 = 5.0;
const LOSS_END: f64 = 12.0;
const DELAY_ALARM: f64 = 4.0;
const DELAY_END: f64 = 3.0;
/// Half of what is allowed counts for neither.
const HALF: f64 = 0.5;

/// What a test has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Same,
    /// The flow departs from the others.
    Begins,
    /// It does so no longer.
    Ends,
}

/// A CUSUM that begins something, and another one that ends it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Test {
    /// Evidence of a departure, and once it is there, that it is over.
    sum: f64,
    pub(super) is_departed: bool,
}

impl Test {
    /// Returns whether there is evidence that is not enough yet.
    pub(super) fn has_begun(&self) -> bool {
        self.sum > 0.0
    }

    fn add(&mut self, score: f64, limit: f64) -> bool {
        self.sum = (self.sum + score).max(0.0);
        let is_over = self.sum >= limit;
        if is_over {
            *self = Self {
                sum: 0.0,
                is_departed: !self.is_departed,
            };
        }
        is_over
    }

    /// Takes a block in which a flow has lost `lost` of `probes`, and the others a share of `others`. `share` is what
    /// the flow has lost since it departed.
    pub(super) fn add_losses(
        &mut self,
        [lost, probes]: [u32; 2],
        others: f64,
        share: f64,
        flows: usize,
    ) -> Verdict {
        let usual = others.max(LOSS_LEAST);
        if usual > HALF {
            // Where most flows are cut off, none departs.
            return Verdict::Same;
        }
        let more = (LOSS_TIMES * usual).min(f64::midpoint(1.0, usual));
        let (lost, kept) = (f64::from(lost), f64::from(probes.saturating_sub(lost)));
        if self.is_departed {
            let share = share.clamp(more, 0.999);
            let score = lost * (usual / share).ln() + kept * ((1.0 - usual) / (1.0 - share)).ln();
            if self.add(score.clamp(-LOSS_END, LOSS_END / BLOCKS_LEAST), LOSS_END) {
                return Verdict::Ends;
            }
            return Verdict::Same;
        }
        #[expect(clippy::cast_precision_loss, reason = "64 at most")]
        let alarm = LOSS_ALARM + (flows as f64).ln();
        let score = lost * (more / usual).ln() + kept * ((1.0 - more) / (1.0 - usual)).ln();
        if self.add(score.min(alarm / BLOCKS_LEAST), alarm) {
            return Verdict::Begins;
        }
        Verdict::Same
    }

    /// Takes a block in which a flow took so many times longer than the others as is allowed.
    pub(super) fn add_delay(&mut self, times: f64) -> Verdict {
        let score = (times - HALF).clamp(-1.0, 1.0);
        if self.is_departed {
            if self.add(-score, DELAY_END) {
                return Verdict::Ends;
            }
        } else if self.add(score, DELAY_ALARM) {
            return Verdict::Begins;
        }
        Verdict::Same
    }
}
