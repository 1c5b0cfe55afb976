//! A running daemon, as another process reaches it: by the address of its HTTP face or over its Unix socket.
//!
//! `latency-monitor health` asks whether it is well; `top` draws what it tells.

mod daemon;
mod health;

use std::path::PathBuf;

use crate::config::ConfigError;

pub(crate) use daemon::Daemon;
pub use health::HealthRequest;

/// Why a daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// What was given is no place of a daemon.
    #[error("no daemon can be asked there: {0}")]
    Place(String),
    /// The file has mistakes.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// The file's daemon does not answer HTTP.
    #[error(
        "the daemon of {} answers nobody: add\n\n[http]\nlisten = \"127.0.0.1:8003\"\n\nto the file and restart it",
        .0.display()
    )]
    Unasked(PathBuf),
    /// It is away, or not well.
    #[error("{daemon}: {reason}")]
    Unwell {
        /// Where it is.
        daemon: String,
        /// What it said, or why it said nothing.
        reason: String,
    },
}

/// The arguments that say which daemon is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Reached {
    /// The daemon: a URL, or unix: and the path of its socket [default: 127.0.0.1:8003]
    #[arg(value_name = "URL")]
    pub daemon: Option<String>,
    /// The configuration file of the daemon, which says where it is
    #[arg(short, long, value_name = "FILE", conflicts_with = "daemon")]
    pub config_file: Option<PathBuf>,
    /// A file with the token that the daemon asks for
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with a certificate to trust besides those of the system, for HTTPS
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl Reached {
    /// Returns the daemon that is meant.
    pub(crate) fn daemon(&self) -> Result<Daemon, RemoteError> {
        let daemon = match &self.config_file {
            Some(file) => Daemon::of_file(file)?,
            None => Daemon::at(self.daemon.as_deref())?,
        };
        let daemon = daemon.with_token_file(self.token_file.clone());
        let daemon = daemon.trusting(self.ca_file.clone());
        // A token that cannot be read will not be readable in a second either.
        daemon.asker().map_err(RemoteError::Place)?;
        Ok(daemon)
    }
}
