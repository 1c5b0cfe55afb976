//! System calls behind safe functions: sockets, control messages, timers, the process.
//!
//! If the system lacks something, or the process a privilege, the function returns that as an
//! error. Nothing here decides what an error means, logs, or reads a clock for others; and nothing waits
//! but the event queue.
//!
//! # One face, two sides
//!
//! Every other room sees the modules below, which both sides offer with the same names. `linux` is
//! each call as that kernel has it. `portable` is what the standard library, socket2 and mio have on
//! every system, and says `Unsupported` to the rest. It is built for every other target; with
//! `--cfg latency_monitor_portable` for Linux too, to be tested there.
//!
//! | module | what it is |
//! | --- | --- |
//! | `batch` | `Outbox` and `Inbox`: datagrams out and in, a part of a stream, entries of error queues |
//! | `events` | `EventQueue`: the one place where an engine waits |
//! | `folders` | `FolderWatch`: folders whose changes are told |
//! | `hardware` | interfaces that stamp packets themselves |
//! | `icmp` | asking for ICMP errors, and what they do to later calls |
//! | `marks` | what the packets of a flow are marked with, and where they leave from |
//! | `pressure` | time that a hypervisor takes away, and packets that this host drops |
//! | `process` | this process: its memory, and where it may write |
//! | `sandbox` | what this process keeps itself from |
//! | `sockets` | `UdpSocket`, `TcpStream`, `TcpListener`, and having them watched |
//! | `stamp` | having packets stamped |
//! | `supervisor` | telling a service manager how this process is |
//! | `tcp`, `udp` | opening sockets, and what the system knows of them |
//! | `time` | what the system says of its clock |
//! | `tuning` | options against the host's own delays |
//!
//! `linux` alone has `ring`: a ring of io_uring, for the engine that works by it.
//!
//! What both sides say is in `words`. `host` has what every Unix does in one way, and others in none.

#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
mod portable;

/// The side of Linux.
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
pub(crate) use linux::{
    LACKS, batch, events, folders, hardware, icmp, marks, pressure, process, ring, sandbox,
    sockets, stamp, supervisor, tcp, time, tuning, udp,
};
/// The side of every other system.
#[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
pub(crate) use portable::{
    LACKS, batch, events, folders, hardware, icmp, marks, pressure, process, sandbox, sockets,
    stamp, supervisor, tcp, time, tuning, udp,
};

#[cfg(not(all(unix, not(latency_monitor_plain))))]
pub(crate) mod plain;
#[cfg(all(unix, not(latency_monitor_plain)))]
pub(crate) mod unix;

#[cfg(not(all(unix, not(latency_monitor_plain))))]
pub(crate) use plain as host;
#[cfg(all(unix, not(latency_monitor_plain)))]
pub(crate) use unix as host;

#[cfg_attr(
    not(all(target_os = "linux", not(latency_monitor_portable))),
    allow(dead_code, reason = "some words only Linux says")
)]
pub(crate) mod words;
#[cfg(feature = "zeromq")]
pub(crate) mod zeromq;

use std::io;

/// True if a call has failed because this side does not have it. The start has said so.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    LACKS.is_some() && error.kind() == io::ErrorKind::Unsupported
}
