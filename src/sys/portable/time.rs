//! The system's word on its clock, which it does not give.

use std::io;

use super::unsupported;
use crate::proto::ClockState;

/// Returns whether something keeps the system's clock to UTC: not known.
pub(crate) fn clock_state() -> io::Result<ClockState> {
    Err(unsupported())
}
