//! Timestamps that the kernel, or the interface below it, puts on packets (`SO_TIMESTAMPING`).
//!
//! A received packet carries its stamps in a control message. The stamps of a sent packet come
//! later, on the socket's error queue, under a number. A datagram's number is its count from 0
//! since the option was set. On a stream the number is the offset of the last byte of a write.
//!
//! The kernel's stamps are of the system's clock. An interface has a clock of its own, which agrees
//! with the system's only if a program such as `phc2sys` keeps it so.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::proto::Wall;
use crate::sys::words::{Level, Numbers};

/// The kernel begins to stamp a moment after the first socket has asked for it, and stops with the last one. This one
/// asks for as long as it is there.
#[derive(Debug)]
pub(crate) struct Keeper {
    _socket: Socket,
}

/// Has the kernel stamp.
pub(crate) fn keep() -> io::Result<Keeper> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)
        .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None))?;
    enable(&socket, Level::Software, Numbers::Datagrams)?;
    Ok(Keeper { _socket: socket })
}

/// Returns the time in a stamp. Zero stands for none.
pub(super) fn wall(seconds: i64, rest_ns: i64) -> Option<Wall> {
    let ns = seconds.checked_mul(1_000_000_000)?.checked_add(rest_ns)?;
    (ns != 0).then_some(Wall::from_unix_nanos(ns))
}

/// Has a socket's packets stamped from here on. A stream must be established, and nothing may have
/// been written to it.
pub(crate) fn enable(socket: &impl AsFd, level: Level, numbers: Numbers) -> io::Result<()> {
    let flags = flags(level) | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID;
    if numbers == Numbers::Bytes {
        let by_written = TimestampingFlag::from_bits_retain(libc::SOF_TIMESTAMPING_OPT_ID_TCP);
        match setsockopt(socket, sockopt::Timestamping, &(flags | by_written)) {
            // Before Linux 6.2 offsets count from what was acknowledged when the option is set.
            // Before the first write that is the same.
            Err(Errno::EINVAL) => {}
            other => return Ok(other?),
        }
    }
    Ok(setsockopt(socket, sockopt::Timestamping, &flags)?)
}

/// Has the next datagram numbered 0. This is for after a failed send: whether that has used up a
/// number depends on where in the kernel it failed, and on the kernel's version.
pub(crate) fn renumber(socket: &impl AsFd, level: Level) -> io::Result<()> {
    setsockopt(socket, sockopt::Timestamping, &flags(level))?;
    enable(socket, level, Numbers::Datagrams)
}

fn flags(level: Level) -> TimestampingFlag {
    let software = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    match level {
        Level::Software => software,
        Level::Hardware => {
            software
                | TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
                | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE
                | TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE
        }
    }
}
