//! The engine that runs, of those there are.

use std::sync::Arc;

use crate::engine::mio::MioEngine;
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
use crate::engine::uring::{self, UringEngine};
use crate::engine::{Engine, EngineConfig, EngineError, Wake};

/// An engine that is open, and what ends its waits from another thread.
pub type Opened = (Box<dyn Engine>, Arc<dyn Wake>);

/// An engine that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On mio, which every system has.
    Mio,
    /// On io_uring.
    IoUring,
}

impl Kind {
    /// Returns its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mio => "mio",
            Self::IoUring => "io_uring",
        }
    }

    /// Opens the engine, on the thread that uses it.
    pub fn open(self, config: &EngineConfig) -> Result<Opened, EngineError> {
        match self {
            Self::Mio => {
                let engine = MioEngine::new(config)?;
                let waker = engine.waker();
                Ok((Box::new(engine), waker))
            }
            #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
            Self::IoUring => {
                let engine = UringEngine::new(config)?;
                let waker = engine.waker();
                Ok((Box::new(engine), waker))
            }
            #[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
            Self::IoUring => Err(no_ring()),
        }
    }

    /// Finds out whether the system allows the engine, by one stamped datagram to this host itself where that can be
    /// refused.
    pub fn try_out(self) -> Result<(), EngineError> {
        match self {
            Self::Mio => Ok(()),
            #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
            Self::IoUring => uring::try_out(),
            #[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
            Self::IoUring => Err(no_ring()),
        }
    }
}

#[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
fn no_ring() -> EngineError {
    EngineError::Ring {
        what: "make a ring",
        source: std::io::ErrorKind::Unsupported.into(),
        hint: "only Linux has io_uring",
    }
}
