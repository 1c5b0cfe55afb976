//! The kernel's word on its clock.

#![expect(unsafe_code, reason = "adjtimex has no safe binding")]

use std::io;

use nix::errno::Errno;
use nix::libc;

use crate::proto::ClockState;

/// Returns whether something keeps the system's clock to UTC, and how wrong it may be. The error says why that is
/// not known: the system refused (`EPERM` where a service may not touch clocks), or what it says makes no sense.
pub(crate) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: `timex` is plain data, for which zeros are a value: nothing is to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is the one that the call fills in.
    Errno::result(unsafe { libc::adjtimex(&raw mut state) })?;
    let error_us = u64::try_from(state.maxerror).map_err(io::Error::other)?;
    Ok(ClockState {
        is_synchronised: state.status & libc::STA_UNSYNC == 0,
        error_ns: error_us.saturating_mul(1_000),
    })
}
