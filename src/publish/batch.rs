//! What a backend that sends over the network is made of: an encoder without I/O, and a transport.
//! Between the two, batches wait in a queue that survives outages (`delivery.rs`).

use std::fmt;
use std::time::Duration;

use crate::record::Record;

/// A number that a batch keeps over every attempt to send it, and over restarts: a store that can
/// tell duplicates knows it by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u128);

impl fmt::Display for BatchId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// Records as the bytes that one request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which table or endpoint of the backend it is for; the backend's own numbers.
    pub kind: u8,
    /// The bytes, compressed already if they are.
    pub body: Vec<u8>,
    /// How many records are in it.
    pub records: u64,
}

/// A payload and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// See [`BatchId`].
    pub id: BatchId,
    /// What is sent.
    pub payload: Payload,
}

/// Turns records into payloads. Pure: it reads no clock and does no I/O.
pub trait Encode: Send {
    /// The backend's name in the configuration, in messages and in `monitor.backend.*`.
    fn name(&self) -> &'static str;

    /// Takes a record into the batch under way. False if the backend has no place for such a
    /// record and it is left out, which is counted where it would be missed.
    fn add(&mut self, record: &Record) -> bool;

    /// Whether the batch under way is as large as one may be.
    fn is_full(&self) -> bool;

    /// Moves what was gathered into `out`, and begins anew. Nothing if nothing was.
    fn take(&mut self, out: &mut Vec<Payload>);
}

/// Sends batches. It may wait, on a thread of its own, but no longer than it is told.
pub trait Transport: Send {
    /// Sends one batch, within `timeout`.
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError>;

    /// Of the last batch that was taken, how many records were left out because the backend has no
    /// place for them.
    fn left_out(&self) -> u64 {
        0
    }
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may be taken later: the peer is away, or busy.
    #[error("{reason}")]
    Later {
        /// What happened, with the address.
        reason: String,
        /// When the peer wants to be asked again, if it said so.
        after: Option<Duration>,
    },
    /// Nothing will be until something is set right: who we are, or where it is sent. What was sent
    /// is not at fault.
    #[error("{reason}")]
    Barred {
        /// What happened, with the address, and what would be right.
        reason: String,
    },
    /// It never will be: the same request would fail the same way.
    #[error("{reason}")]
    Never {
        /// What happened, with the address, and what would be right.
        reason: String,
    },
}
