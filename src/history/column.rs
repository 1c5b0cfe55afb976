//! What a value is of, besides whose it is: its metric, and the tag that tells two series of one metric apart.

use std::borrow::Cow;

use crate::proto::sample::Tag;
use crate::record::Metric;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Column {
    /// The metric's name.
    pub(crate) metric: Cow<'static, str>,
    /// The tag as it is published; empty: there is none.
    pub(crate) tag: Cow<'static, str>,
}

/// Tags that series have, so that none of these is made anew for each window.
const TAGS: [&str; 3] = ["direction:forward", "direction:reverse", "owd:corrected"];

impl Column {
    pub(super) fn new(metric: &'static Metric, tag: Option<Tag<'static>>) -> Self {
        let tag = tag.map_or(Cow::Borrowed(""), |tag| {
            let is_same =
                |known: &&str| known.split_once(':') == tag.key.map(|key| (key, tag.value));
            let known = TAGS.into_iter().find(is_same);
            known.map_or_else(|| Cow::Owned(tag.to_string()), Cow::Borrowed)
        });
        Self {
            metric: Cow::Borrowed(metric.name),
            tag,
        }
    }

    /// Returns the value of the tag `direction`.
    pub(crate) fn direction(&self) -> Option<&str> {
        self.tag.strip_prefix("direction:")
    }
}
