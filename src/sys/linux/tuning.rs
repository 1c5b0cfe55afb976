//! Options against the host's own delays: a processor for one thread, real-time scheduling, locked
//! memory, busy polling, larger socket buffers.

#![expect(unsafe_code, reason = "these calls have no safe binding")]

use std::io;
use std::os::fd::AsFd;

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use crate::sys::words::Buffer;

/// The calling thread, as the scheduler names it.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Keeps the calling thread on one processor.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    Ok(sched_setaffinity(THIS_THREAD, &only)?)
}

/// Returns the processors that the calling thread may run on, in their order.
pub(crate) fn processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(THIS_THREAD) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

/// Runs the calling thread in real time (`SCHED_FIFO`) at this priority, 1 to 99: before all other
/// threads. Threads that it makes do not inherit that.
pub(crate) fn run_in_real_time(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority.into(),
    };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads the parameters, which live until it returns, and keeps nothing of
    // them.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks every page of the process that is in memory, and each later page from its first use on. A
/// page that was never touched takes no memory.
pub(crate) fn lock_memory() -> io::Result<()> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault;
    Ok(mlockall(flags)?)
}

/// Has receives on a socket poll the interface's queue for `us` microseconds before they sleep.
/// Older kernels want the capability `CAP_NET_ADMIN` for more than `net.core.busy_read`.
pub(crate) fn busy_poll(socket: &impl AsFd, us: u16) -> io::Result<()> {
    super::set_option(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, us.into())
}

/// Asks for a buffer of `bytes`, and returns the bytes that the kernel allows: all of them with the
/// capability `CAP_NET_ADMIN`, else no more than `net.core.rmem_max` or `wmem_max`.
pub(crate) fn widen(socket: &impl AsFd, buffer: Buffer, bytes: usize) -> io::Result<usize> {
    let (forced, plain) = match buffer {
        Buffer::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        Buffer::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    };
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    if super::set_option(socket, libc::SOL_SOCKET, forced, wanted).is_err() {
        super::set_option(socket, libc::SOL_SOCKET, plain, wanted)?;
    }
    let doubled = match buffer {
        Buffer::Receive => getsockopt(socket, sockopt::RcvBuf)?,
        Buffer::Send => getsockopt(socket, sockopt::SndBuf)?,
    };
    // The kernel doubles what it is asked for, for its own book-keeping, and returns the double.
    Ok(doubled / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_pinned() {
        let cpu = *processors().last().expect("this test runs on one");
        let pinned = std::thread::spawn(move || pin(cpu).map(|()| processors()));
        let pinned = pinned.join().expect("it does not panic");
        assert_eq!(pinned.expect("it may run there"), [cpu]);
        assert!(pin(CpuSet::count() - 1).is_err(), "no host has so many");
    }

    #[test]
    fn a_small_buffer_is_given_and_told_as_it_was_asked_for() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for buffer in [Buffer::Receive, Buffer::Send] {
            assert_eq!(widen(&socket, buffer, 65_536).expect("small"), 65_536);
        }
    }
}
