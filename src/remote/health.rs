//! `latency-monitor health`: whether a running daemon is well, as the health check of a container or a script asks.

use std::time::Duration;

use crate::remote::{Reached, RemoteError};

/// How long the daemon may take for each part of its answer. Its poll thread turns four times a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// The arguments of `latency-monitor health`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct HealthRequest {
    #[command(flatten)]
    reached: Reached,
    /// Ask whether it publishes, too: no backend has failed at its last try
    #[arg(long)]
    ready: bool,
}

impl HealthRequest {
    /// Asks, and returns what is to be printed of a daemon that is well.
    pub fn run(&self) -> Result<String, RemoteError> {
        let daemon = self.reached.daemon()?;
        let asker = daemon.asker().map_err(RemoteError::Place)?;
        let path = if self.ready { "readyz" } else { "healthz" };
        let said = asker.ask(path, PATIENCE);
        let said = said.map_err(|reason| RemoteError::Unwell {
            daemon: daemon.to_string(),
            reason,
        })?;
        Ok(format!(
            "{daemon}: {}\n",
            said.trim_end().replace('\n', "; ")
        ))
    }
}
