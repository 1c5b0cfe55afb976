//! Network latency, measured continuously: one-way delay and round-trip time over persistent TCP
//! and UDP flows, and TCP connect latency, every millisecond if asked.
//!
//! A program embeds a [`LatencyMonitor`], which measures as its [`Config`] and its [`TargetOptions`]
//! say. Measurements arrive as [`Record`]s on a channel:
//!
//! ```no_run
//! use latency_monitor::{Config, LatencyMonitor, TargetOptions};
//!
//! let mut monitor = LatencyMonitor::new(Config::default());
//! monitor.add_target(TargetOptions::new("192.0.2.7").port(8000).interval_ms(10.0))?;
//! for record in monitor.start()? {
//!     println!("{} {:?} ns", record.metric(), record.value());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To publish elsewhere, implement [`Backend`] and start with [`LatencyMonitor::start_with`].
//!
//! # Features
//!
//! All are on by default. Without them the library builds neither libzmq, TLS nor plots.
//!
//! - `zeromq`: the backend of this name.
//! - `http-backends`: the backends `clickhouse`, `datadog` and `pushgateway`.
//! - `http-server`: what others may ask over HTTP (`[http]`). It brings `http-backends`.
//! - `report`: `latency-monitor report`.
//! - `top`: `latency-monitor top`. It brings `http-backends`.
//! - `manual`: `latency-monitor man` and `completions`.
//!
//! # The path of a probe
//!
//! ```text
//!  wheel (due) -> flow -> poll_transmit -> engine -> socket -> wire
//!                                                               |
//!  backend <- publish <- window <- record <- sample <- prober <- engine
//! ```
//!
//! `ARCHITECTURE.md` is the map. The modules are hidden here: they serve this crate's own program,
//! tests and benches, and change without notice.

#![forbid(non_ascii_idents)]
#![cfg_attr(
    not(all(
        feature = "zeromq",
        feature = "http-server",
        feature = "report",
        feature = "top"
    )),
    allow(
        unused,
        reason = "what only a backend uses that this build does not have"
    )
)]

#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod engine;
mod history;
#[doc(hidden)]
pub mod limits;
#[doc(hidden)]
pub mod monitor;
#[doc(hidden)]
pub mod proto;
#[doc(hidden)]
pub mod publish;
#[doc(hidden)]
pub mod record;
#[cfg(feature = "http-backends")]
#[doc(hidden)]
pub mod remote;
#[cfg(feature = "report")]
#[doc(hidden)]
pub mod report;
#[cfg(feature = "http-server")]
#[doc(hidden)]
pub mod serve;
mod sys;
#[cfg(feature = "top")]
#[doc(hidden)]
pub mod top;

pub use config::{
    Backend as BackendKind, BackendSettings, BurstConfig, Config, ConfigError, EngineKind,
    EngineOptions, HistoryConfig, HttpConfig, LogLevel, MetricsConfig, Overrides, Place, Problem,
    TargetOptions, Timestamps, TlsFiles,
};
pub use engine::{EngineError, Listening};
pub use monitor::{LatencyMonitor, RunError, StartError, TargetError, TargetHandle};
pub use proto::{
    Address, Direction, Family, FlowKind, Host, Key, KeyRing, Protocol, StampSource, TargetSpec,
    Wall,
};
pub use publish::{
    ApiKey, Backend, BaseUrl, Bounds, ClickHouseSettings, DatadogSettings, DeliverySettings,
    HistogramKind, Name, PublishError, PushgatewaySettings, Scale, ScrapeSettings, Secret, Site,
    ZeroMqSettings,
};
pub use record::{
    BackendStats, Burst, Choice, ChoiceError, ClockOwner, Departure, Distribution, Divergence,
    Event, EventFlow, EventKind, Evidence, HostEvidence, Metric, MetricKind, Mode, Record, Series,
    SinkConfig, Suspect, TagSet, Tags, Unit, Window,
};
