//! What this process keeps itself from: files by Landlock, system calls by seccomp, and capabilities.
//!
//! # Threads
//!
//! Landlock and capabilities hold for the calling thread and for those that it makes. So [`files`] and [`privileges`]
//! are for the main thread of a process that has made no other yet. [`calls`] and [`calls_after_start`] hold for all
//! threads at once.
//!
//! # What a kernel lacks
//!
//! Each function says so by its error, of the kind `Unsupported`; the others work without it.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "sandbox/no_calls.rs"]
mod calls;
mod capabilities;
mod files;

use std::fs;

pub(crate) use calls::{calls, calls_after_start, can_filter, refused};
pub(crate) use capabilities::{held, past_modes, privileges};
pub(crate) use files::{explain, files, files_version, hint};

/// True if sockets get buffers of so many bytes without a privilege.
pub(crate) fn are_buffers_free(receive_bytes: usize, send_bytes: usize) -> bool {
    let is_free = |name: &str, bytes: usize| {
        let most = fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok();
        let most: Option<usize> = most.and_then(|text| text.trim().parse().ok());
        most.is_some_and(|most| most >= bytes)
    };
    is_free("rmem_max", receive_bytes) && is_free("wmem_max", send_bytes)
}
