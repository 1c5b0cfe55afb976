//! A batch that the backend never takes, in parts: what is at fault is found by halves, and takes nothing with it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::REFUSED_PARTS_MAX;
use crate::publish::{Batch, BatchId, Payload};

/// Series that are named when a batch is refused in several.
const NAMED_MAX: usize = 4;

/// What is still to be sent of a batch; see the [module](self).
#[derive(Debug, Default)]
pub(super) struct Parts {
    of: Option<BatchId>,
    waiting: VecDeque<Arc<Batch>>,
    /// How many parts were divided.
    divided: usize,
    /// What is to be told of those that were refused in the end: why, and which series.
    reason: Option<String>,
    named: Vec<String>,
}

impl Parts {
    /// Returns the next part of a batch. If another one was under way, that is forgotten.
    pub(super) fn next_of(&mut self, batch: Arc<Batch>) -> Arc<Batch> {
        if self.of != Some(batch.id) {
            *self = Self {
                of: Some(batch.id),
                ..Self::default()
            };
            self.waiting.push_back(batch);
        }
        let next = self.waiting.front();
        Arc::clone(next.expect("a batch without parts is finished"))
    }

    /// True once it was divided.
    pub(super) fn is_divided(&self) -> bool {
        self.divided > 0
    }

    /// True if it may be divided further.
    pub(super) fn may_divide(&self) -> bool {
        self.divided < REFUSED_PARTS_MAX
    }

    /// Puts the halves of the next part behind all others. So what can be saved soon is saved before what takes
    /// many requests.
    pub(super) fn divide(&mut self, part: &Batch, halves: [Payload; 2]) {
        self.waiting.pop_front();
        self.divided += 1;
        for (number, payload) in (0..).zip(halves) {
            let id = part.id.half(number);
            self.waiting.push_back(Arc::new(Batch { id, payload }));
        }
    }

    /// Notes why something was refused for good, which is to be told.
    pub(super) fn tell(&mut self, reason: &str) {
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// Names what was refused, if that is to be told. The name may be empty.
    pub(super) fn name(&mut self, series: String) {
        if self.reason.is_some() && !series.is_empty() {
            self.named.push(series);
        }
    }

    /// Ends with the next part. Returns false if it was the last.
    pub(super) fn finish(&mut self) -> bool {
        self.waiting.pop_front();
        let more = !self.waiting.is_empty();
        if !more {
            self.of = None;
        }
        more
    }

    /// Returns what is to be told of a finished batch: which series were refused, and why the first was.
    pub(super) fn take_told(&mut self) -> Option<String> {
        let reason = self.reason.take()?;
        if self.named.len() > NAMED_MAX {
            self.named.truncate(NAMED_MAX);
            self.named.push("others".to_owned());
        }
        let named = std::mem::take(&mut self.named).join(" and ");
        Some(if named.is_empty() {
            reason
        } else {
            format!("{named}: {reason}")
        })
    }
}
