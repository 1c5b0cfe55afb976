//! Where there are no Unix sockets.

use std::io;
use std::path::Path;

use tokio::net::TcpStream;

/// A listener that is never there.
#[derive(Debug)]
pub(super) enum Listener {}

impl Listener {
    pub(super) fn bind(_: &Path) -> io::Result<Self> {
        let text = "this system has no Unix sockets: use `listen`";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        match *self {}
    }
}
