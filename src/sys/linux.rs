//! The side of Linux: each call as its kernel has it.

/// What this side lacks, to be told at the start.
pub(crate) const LACKS: Option<&str> = None;

pub(crate) mod batch;
pub(crate) mod events;
pub(crate) mod folders;
pub(crate) mod hardware;
pub(crate) mod icmp;
pub(crate) mod marks;
pub(crate) mod pressure;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod sandbox;
pub(crate) mod sockets;
pub(crate) mod stamp;
pub(crate) mod supervisor;
pub(crate) mod tcp;
pub(crate) mod time;
mod timer;
pub(crate) mod tuning;
pub(crate) mod udp;

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

/// Returns what a socket option of four bytes is.
#[cfg(test)]
#[expect(unsafe_code, reason = "a binding of our own")]
fn option(socket: &impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let (mut value, fd): (libc::c_int, _) = (0, socket.as_fd().as_raw_fd());
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: there is room for the length given, and the kernel writes no more.
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) };
    Ok(Errno::result(result).map(|_| value)?)
}
