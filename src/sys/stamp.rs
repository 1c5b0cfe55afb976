//! Timestamps that the kernel, or the interface below it, puts on packets (`SO_TIMESTAMPING`).
//!
//! A packet that is received carries its stamps in a control message. Those of a packet that was
//! sent come later, on the socket's error queue, under a number: the datagram's, counted from 0
//! since the option was set, or on a stream the offset of the last byte of a write.
//!
//! All stamps are of the system's clock. An interface has a clock of its own, which is that one
//! only if something (`phc2sys`) keeps it so: [`choose`] looks.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::proto::Wall;

/// Room for the control messages of one packet.
const CONTROL_BYTES: usize = 256;

/// What is to make the stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The kernel.
    Software,
    /// The interface too.
    Hardware,
}

/// What a socket numbers its transmit stamps by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    Datagrams,
    Bytes,
}

/// What one packet was stamped with, in Unix nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) software: Option<Wall>,
    pub(crate) hardware: Option<Wall>,
}

/// A buffer for control messages, used again for every packet.
#[derive(Debug)]
pub(crate) struct Control(Vec<u8>);

impl Control {
    pub(crate) fn new() -> Self {
        Self(vec![0; CONTROL_BYTES])
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Has packets stamped from here on. On a stream it must be established, and nothing written yet.
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

/// Has the next datagram numbered 0. After a send that failed nobody knows whether it has used up a
/// number: that depends on where in the kernel it failed, and on the kernel's version.
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

/// Reads what a stream has, with the stamps of its last packet.
pub(crate) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    control: &mut Control,
) -> io::Result<(usize, Stamps)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(control.bytes()),
        MsgFlags::empty(),
    )?;
    let stamps = message
        .cmsgs()
        .ok()
        .and_then(|mut controls| controls.find_map(|control| stamps_in(&control)));
    Ok((message.bytes, stamps.unwrap_or_default()))
}

/// The stamps in a control message, if it is about stamps.
fn stamps_in(control: &ControlMessageOwned) -> Option<Stamps> {
    let ControlMessageOwned::ScmTimestampsns(stamps) = control else {
        return None;
    };
    Some(Stamps {
        software: wall(&stamps.system),
        hardware: wall(&stamps.hw_raw),
    })
}

fn wall(time: &TimeSpec) -> Option<Wall> {
    let ns = time
        .tv_sec()
        .checked_mul(1_000_000_000)?
        .checked_add(time.tv_nsec())?;
    // Zero stands for none.
    (ns != 0).then_some(Wall::from_unix_nanos(ns))
}
