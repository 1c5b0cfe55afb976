//! System calls behind safe functions: sockets, control messages, timers, the process.
//!
//! If the system lacks something, or the process a privilege, the function returns that as an
//! error. Nothing here decides what an error means, waits, logs or reads a clock.

pub(crate) mod batch;
pub(crate) mod folders;
pub(crate) mod hardware;
pub(crate) mod icmp;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod stamp;
pub(crate) mod tcp;
pub(crate) mod time;
pub(crate) mod timer;
pub(crate) mod tuning;
pub(crate) mod udp;
#[cfg(feature = "zeromq")]
pub(crate) mod zeromq;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// Sets a socket option that has no safe binding.
#[expect(unsafe_code, reason = "a binding of our own")]
fn set_option(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "four bytes")]
    const LENGTH: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value lives until the call returns, and the length is its own.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), LENGTH) };
    Ok(Errno::result(result).map(drop)?)
}
