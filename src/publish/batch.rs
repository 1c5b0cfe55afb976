//! The two parts of a backend that sends over the network: an encoder without I/O, and a
//! transport. Batches wait between the two in a queue that survives outages (`delivery.rs`).

use std::fmt;
use std::time::Duration;

use crate::record::Record;

/// A number that a batch keeps over every attempt to send it, and over restarts. A store that can
/// detect duplicates knows a batch by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u128);

impl BatchId {
    /// Returns the identity of the first or the second half of a batch, the same one each time.
    #[must_use]
    pub const fn half(self, number: u8) -> Self {
        /// Odd, so that no two identities have the same halves.
        const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        Self(self.0.wrapping_mul(SPREAD).wrapping_add(number as u128))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// The bytes that one request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The table or endpoint that it is for, by a number of the backend.
    pub kind: u8,
    /// The body, already compressed if the backend compresses.
    pub body: Vec<u8>,
    /// The number of records in it.
    pub records: u64,
}

/// A payload and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The identity.
    pub id: BatchId,
    /// The payload.
    pub payload: Payload,
}

/// Turns records into payloads. Pure: it reads no clock and does no I/O.
pub trait Encode: Send {
    /// The backend's name in the configuration, in messages and in `monitor.backend.*`.
    fn name(&self) -> &'static str;

    /// Adds a record to the current batch. Returns false if the backend has no place for such a
    /// record; it is left out, and the caller counts it.
    fn add(&mut self, record: &Record) -> bool;

    /// True once the current batch is as large as one may be.
    fn is_full(&self) -> bool;

    /// Moves the current batch into `out`, one payload a table or endpoint, and begins a new one.
    /// Appends nothing if no record was added.
    fn take(&mut self, out: &mut Vec<Payload>);
}

/// Sends batches. It may wait, on a thread of its own, but no longer than its timeout.
pub trait Transport: Send {
    /// Sends one batch within `timeout`.
    fn send(&mut self, batch: &Batch, timeout: Duration) -> Result<(), SendError>;

    /// Reads again the secret that it has from a file, if it has one. True if that has changed.
    fn renew(&mut self) -> Option<bool> {
        None
    }

    /// Returns how many records of the last batch the backend had no place for.
    fn left_out(&self) -> u64 {
        0
    }

    /// Divides a batch that is never taken, so that a record at fault takes no others with it. Returns
    /// `None` if it has one series only, or one record.
    fn halves(&self, batch: &Batch) -> Option<[Payload; 2]> {
        let _ = batch;
        None
    }

    /// Names the series of a batch, or its first one, for messages; empty if it cannot.
    fn series_of(&self, batch: &Batch) -> String {
        let _ = batch;
        String::new()
    }
}

/// What becomes of a batch that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The batch may be taken later: the peer is away, or busy.
    Later,
    /// No batch is taken until an operator corrects who we are or where we send. The batch itself
    /// is not at fault.
    Barred,
    /// The batch is never taken: the same request would fail the same way.
    Never,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// What becomes of it.
    pub verdict: Verdict,
    /// What happened, with the address, and what would be right.
    pub reason: String,
    /// The wait that the peer asks for, if it does.
    pub after: Option<Duration>,
}

impl SendError {
    /// An error of a peer that asks for no wait.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            verdict,
            reason,
            after: None,
        }
    }
}
