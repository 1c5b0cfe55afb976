//! A Unix socket that is listened on.

use std::io;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::sys::host::listen_at;

/// The listener.
#[derive(Debug)]
pub(super) struct Listener(UnixListener);

impl Listener {
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        UnixListener::from_std(listen_at(path)?).map(Self)
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.0.accept().await?;
        Ok(stream)
    }
}
