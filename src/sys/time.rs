//! The kernel's word on its clock.

#![expect(unsafe_code, reason = "adjtimex has no safe binding")]

use nix::libc;

use crate::proto::ClockState;

/// Returns whether something keeps the system's clock to UTC, and how wrong it may be. `None` if
/// the kernel does not tell.
pub(crate) fn clock_state() -> Option<ClockState> {
    // SAFETY: `timex` is plain data, for which zeros are a value: nothing is to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is the one that the call fills in.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    let error_us = u64::try_from(state.maxerror).unwrap_or(0);
    (result >= 0).then_some(ClockState {
        is_synchronised: state.status & libc::STA_UNSYNC == 0,
        error_ns: error_us.saturating_mul(1_000),
    })
}
