//! What others may ask this host over HTTP: a page, metrics, health, targets, events, and a reload.
//!
//! One thread with a runtime of its own answers. It shares nothing with the poll thread but what [`Asked`] hands over;
//! whoever asks slowly, much or wrongly holds up nobody but himself.

mod access;
mod body;
mod busy;
mod connection;
mod events;
mod listeners;
mod page;
mod router;
mod targets;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::config::HttpConfig;
use crate::proto::FlowView;
use crate::publish::Exposition;
use crate::record::{BackendStats, Event};
use crate::serve::access::Access;
use crate::serve::listeners::Listeners;
use crate::serve::router::Router;

pub use events::Events;

/// Takes what was asked for, once it is there.
pub type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// The monitor, as far as others may ask it. Nothing here waits, but where it says so.
pub trait Asked: Send + Sync + 'static {
    /// How long ago the poll thread turned last.
    fn since_turn(&self) -> Duration;

    /// The backends that publish.
    fn backends(&self) -> Vec<Arc<BackendStats>>;

    /// Has the poll thread tell its flows.
    fn view(&self, answer: Answer<Vec<FlowView>>);

    /// Has the configuration read again. The answer says what has changed, or what is wrong.
    fn reload(&self, answer: Answer<Result<String, String>>);

    /// The last dumps that this process has written: the name of each, and the burst that it is of. `None`: it writes
    /// none.
    fn dumps(&self) -> Option<Vec<(String, Option<Arc<Event>>)>>;

    /// Returns a page of HTML with the probes of a dump, or why there is none; `None` if this process has written no
    /// such dump. It reads a file, so it is called where others need not wait.
    fn report(&self, dump: &str) -> Option<Result<String, String>>;
}

/// Why others cannot ask.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address or a socket cannot be listened on.
    #[error("cannot answer HTTP on {at}: {source}")]
    Listen {
        /// The address, or the path of the socket.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of `[http]` cannot be used.
    #[error("`{key}` {} of [http] {reason}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The running thread.
#[derive(Debug)]
pub struct Face {
    access: Arc<Access>,
    ends: watch::Sender<bool>,
    thread: JoinHandle<()>,
    /// What it listens on, for the log.
    listening: Vec<String>,
}

impl Face {
    /// Listens, and answers from now on.
    pub fn start(
        config: &HttpConfig,
        exposition: Exposition,
        events: Events,
        asked: Arc<dyn Asked>,
    ) -> Result<Self, ServeError> {
        let access = Arc::new(Access::of(config)?);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ServeError::Thread)?;
        let (ends, ended) = watch::channel(false);
        let listeners = {
            let _context = runtime.enter();
            Listeners::bind(config)?
        };
        let listening = listeners.names();
        let router = Arc::new(Router::new(exposition, events, asked, Arc::clone(&access)));
        let thread = thread::Builder::new()
            .name("lm-http".to_owned())
            .spawn(move || runtime.block_on(listeners.serve(router, ended)))
            .map_err(ServeError::Thread)?;
        Ok(Self {
            access,
            ends,
            thread,
            listening,
        })
    }

    /// Returns what it listens on.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// Reads certificates and the token again. If one of them is wrong, all stay as they were.
    pub fn reload(&self, config: &HttpConfig) -> Result<(), ServeError> {
        self.access.reload(config)
    }

    /// Ends the thread, and every connection.
    pub fn stop(self) {
        let _ = self.ends.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread that answers HTTP has failed; this is a bug");
        }
    }
}
