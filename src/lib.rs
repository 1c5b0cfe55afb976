//! Network latency, measured continuously: one-way delay and round-trip time over persistent TCP
//! and UDP flows, and TCP connect latency, every millisecond if asked.
//!
//! The path of a probe:
//!
//! ```text
//!  wheel (due) -> flow -> poll_transmit -> engine -> socket -> wire
//!                                                               |
//!  backend <- publish <- window <- record <- sample <- prober <- engine
//! ```
//!
//! Embed a monitor with [`LatencyMonitor`]; what it measures comes out as [`Record`]s. The rooms of
//! the house, from the wire inwards: [`engine`] waits for sockets and timers, [`proto`] knows every
//! rule and does no I/O, [`record`] turns samples into windows, [`publish`] hands them to backends,
//! [`monitor`] starts and ends it all as [`config`] says. `ARCHITECTURE.md` is the map.

#![forbid(non_ascii_idents)]
#![cfg_attr(
    not(all(feature = "zeromq", feature = "http-backends", feature = "report")),
    allow(
        unused,
        reason = "what only a backend uses that this build does not have"
    )
)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod limits;
pub mod monitor;
pub mod proto;
pub mod publish;
pub mod record;
#[cfg(feature = "report")]
pub mod report;
mod sys;

pub use config::{Config, TargetOptions};
pub use monitor::{LatencyMonitor, TargetHandle};
pub use record::Record;
