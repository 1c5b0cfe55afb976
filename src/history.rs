//! What this host has measured, kept on its own disk: the windows of every series, rolled up, and the events.
//!
//! The room knows no clock and no thread. [`Gather`] makes an [`Interval`] of the records of one, a [`Store`] writes it
//! and rolls it up, and a [`Reader`] reads it, also while a store of another process writes.
//! `docs/design/history.md` has the layout of the files and its reasons.
//!
//! ```text
//! Record -> Gather -> Interval -> Store -> fine -> minute -> hour   (files: Segment, frames)
//!                                                      Reader <------'
//! ```

pub(crate) mod bytes;
mod cell;
mod column;
mod frame;
mod gather;
mod names;
mod reader;
mod roll;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod tier;

pub(crate) use cell::Cell;
pub(crate) use column::Column;
pub(crate) use gather::{Gather, Interval};
pub(crate) use reader::{Part, Reader, Span};
pub use store::Settings;
pub(crate) use store::Store;
pub(crate) use tier::{Load, estimate};
