//! System calls behind safe functions: socket options, control messages, timers, the process.
//!
//! What cannot be had on this system or without a right is an error that says so; nothing here
//! waits, logs or reads a clock.

pub(crate) mod batch;
pub(crate) mod hardware;
pub(crate) mod icmp;
pub(crate) mod process;
pub(crate) mod stamp;
pub(crate) mod tcp;
pub(crate) mod time;
pub(crate) mod timer;
pub(crate) mod tuning;
pub(crate) mod udp;
pub(crate) mod zeromq;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

use crate::proto::CloseReason;

/// Sets an option, given by its level and its name, for which there is no safe binding.
#[expect(unsafe_code, reason = "a binding of our own")]
fn set_option(
    socket: &impl AsFd,
    (level, name): (libc::c_int, libc::c_int),
    value: libc::c_int,
) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "four bytes")]
    const LENGTH: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value lives until the call returns, and the length is its own.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), LENGTH) };
    Ok(Errno::result(result).map(drop)?)
}

/// What a failed socket call means to a flow.
pub(crate) fn close_reason(error: &io::Error) -> CloseReason {
    let Some(code) = error.raw_os_error() else {
        return CloseReason::Failed;
    };
    match Errno::from_raw(code) {
        Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED => {
            CloseReason::Reset
        }
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            CloseReason::Exhausted
        }
        Errno::ENETUNREACH
        | Errno::EHOSTUNREACH
        | Errno::ENETDOWN
        | Errno::EACCES
        | Errno::EPERM
        | Errno::EADDRNOTAVAIL
        | Errno::EAFNOSUPPORT => CloseReason::Unreachable,
        _ => CloseReason::Failed,
    }
}

/// Whether the host has run out of something that it may have again later.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    close_reason(error) == CloseReason::Exhausted && error.kind() != io::ErrorKind::WouldBlock
}
