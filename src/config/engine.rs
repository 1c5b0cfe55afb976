//! The table `[engine]`: how the loop runs, and what it takes of the host.

use crate::config::keys::{
    BUSY_POLL_US, CPU, KIND, LOCK_MEMORY, REALTIME, RECEIVE_BUFFER_KIB, RECEIVE_WITHIN_US,
    SEND_BUFFER_KIB, SPIN_US,
};
use crate::config::layer::{Layer, by_default};
use crate::config::words::EngineKind;

/// How the loop runs. What takes more of the host is off unless it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Which engine.
    pub kind: EngineKind,
    /// Wake this many microseconds before a probe is due, and spin until then.
    pub spin_us: u32,
    /// Replies may wait this many microseconds until they are read, where the kernel stamps them.
    pub receive_within_us: u32,
    /// The processor that the poll thread stays on.
    pub cpu: Option<u16>,
    /// The priority at which the poll thread runs under `SCHED_FIFO`, 1 to 99.
    pub realtime: Option<u8>,
    /// Keep the process's memory from being paged out.
    pub lock_memory: bool,
    /// Microseconds that receives poll the interface's queue for (`SO_BUSY_POLL`).
    pub busy_poll_us: u16,
    /// Kibibytes of every UDP socket's receive buffer; `None`: 4096, or as much of it as the kernel gives.
    pub receive_buffer_kib: Option<u32>,
    /// Kibibytes of every UDP socket's send buffer; `None`: the same.
    pub send_buffer_kib: Option<u32>,
}

by_default! { EngineOptions = EngineOptions::from_layer; }

impl EngineOptions {
    pub(super) fn from_layer(layer: &Layer) -> Self {
        Self {
            kind: layer.get(&KIND),
            spin_us: layer.get(&SPIN_US),
            receive_within_us: layer.get(&RECEIVE_WITHIN_US),
            cpu: layer.find(&CPU),
            realtime: layer.find(&REALTIME),
            lock_memory: layer.get(&LOCK_MEMORY),
            busy_poll_us: layer.get(&BUSY_POLL_US),
            receive_buffer_kib: layer.find(&RECEIVE_BUFFER_KIB),
            send_buffer_kib: layer.find(&SEND_BUFFER_KIB),
        }
    }
}
