//! What keeps a host from doing its work: here nobody tells.

/// Nothing.
#[derive(Debug)]
pub(crate) struct Pressure;

impl Pressure {
    /// There is nothing to open.
    pub(crate) const fn open() -> Self {
        Self
    }

    /// Returns the time that a hypervisor has taken of all processors: not known.
    pub(crate) const fn steal_ns(&mut self) -> Option<u64> {
        None
    }

    /// Returns how long the calling thread has waited for a processor: not known.
    pub(crate) const fn queued_ns(&mut self) -> Option<u64> {
        None
    }

    /// Returns the packets that were dropped for want of room: not known.
    pub(crate) const fn drops(&mut self) -> Option<u64> {
        None
    }
}
