//! What this process does with signals.

#![expect(unsafe_code, reason = "the kernel is asked by a raw call")]

use std::mem::MaybeUninit;
use std::ptr;

use nix::libc;

/// True if a signal is ignored, as `nohup` and a shell's `&` leave it to us.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: there is no new action, and room for the present one.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are an action, too.
    let action = unsafe { action.assume_init() };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}
