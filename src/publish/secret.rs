//! Words that no message shows.

use std::fmt;

/// A word that no message shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() {
            "(none)"
        } else {
            "(secret)"
        })
    }
}
