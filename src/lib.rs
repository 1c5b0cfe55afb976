//! Network latency, measured continuously: one-way delay and round-trip time over persistent TCP
//! and UDP flows, and TCP connect latency, every millisecond if asked.

#![forbid(non_ascii_idents)]

pub mod limits;
pub mod proto;
pub mod publish;
pub mod record;
