//! Where connections come in, and how many there are at one time.

#[cfg(not(all(unix, not(latency_monitor_plain))))]
#[path = "listeners/plain.rs"]
mod host;
#[cfg(all(unix, not(latency_monitor_plain)))]
#[path = "listeners/unix.rs"]
mod host;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time;

use crate::config::HttpConfig;
use crate::limits::HTTP_CONNECTIONS_MAX;
use crate::serve::ServeError;
use crate::serve::access::Peer;
use crate::serve::connection::{self, HEAD_TIMEOUT};
use crate::serve::router::Router;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: i32 = 128;

/// The pause after a connection could not be taken: no descriptor is left, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is listened on.
#[derive(Debug)]
pub(super) struct Listeners {
    tcp: Option<TcpListener>,
    socket: Option<(host::Listener, SocketFile)>,
}

/// The file of a Unix socket, which goes with the listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listeners {
    /// Binds everything. A runtime must be there.
    pub(super) fn bind(config: &HttpConfig) -> Result<Self, ServeError> {
        let fault = |at: String| move |source| ServeError::Listen { at, source };
        let tcp = config.listen.map(|at| {
            let listener = listen(at).and_then(TcpListener::from_std);
            listener.map_err(fault(at.to_string()))
        });
        let socket = config.socket.as_ref().map(|path| {
            let listener =
                host::Listener::bind(path).map(|listener| (listener, SocketFile(path.clone())));
            listener.map_err(fault(path.display().to_string()))
        });
        Ok(Self {
            tcp: tcp.transpose()?,
            socket: socket.transpose()?,
        })
    }

    /// Returns what is listened on.
    pub(super) fn names(&self) -> Vec<String> {
        let address = |listener: &TcpListener| listener.local_addr().ok();
        let tcp = self.tcp.as_ref().and_then(address);
        let socket = self.socket.as_ref();
        let socket = socket.map(|(_, file)| file.0.display().to_string());
        tcp.map(|at| at.to_string())
            .into_iter()
            .chain(socket)
            .collect()
    }

    /// Takes connections until `ended` says so.
    pub(super) async fn serve(self, router: Arc<Router>, ended: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
        let Self { tcp, socket } = self;
        let mut stopped = ended.clone();
        let (file, unix) = socket.map_or((None, None), |(unix, file)| (Some(file), Some(unix)));
        let from_tcp = async {
            if let Some(listener) = tcp {
                loop {
                    let share = permit(&room).await;
                    match listener.accept().await {
                        Ok((stream, from)) => {
                            let (router, ended) = (Arc::clone(&router), ended.clone());
                            tokio::spawn(over_tcp(stream, from, router, ended, share));
                        }
                        Err(error) => pause(&error).await,
                    }
                }
            }
        };
        let from_unix = async {
            if let Some(listener) = unix {
                loop {
                    let share = permit(&room).await;
                    match listener.accept().await {
                        Ok(stream) => {
                            let (router, ended) = (Arc::clone(&router), ended.clone());
                            tokio::spawn(over_unix(stream, router, ended, share));
                        }
                        Err(error) => pause(&error).await,
                    }
                }
            }
        };
        tokio::select! {
            _ = stopped.wait_for(|ended| *ended) => {}
            ((), ()) = async { tokio::join!(from_tcp, from_unix) } => {}
        }
        drop(file);
    }
}

async fn permit(room: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(room).acquire_owned().await;
    permit.expect("nobody closes the semaphore")
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "a connection over HTTP was not taken");
    time::sleep(ACCEPT_PAUSE).await;
}

async fn over_tcp(
    stream: TcpStream,
    from: SocketAddr,
    router: Arc<Router>,
    ended: watch::Receiver<bool>,
    _share: OwnedSemaphorePermit,
) {
    // An answer is written at once.
    let _ = stream.set_nodelay(true);
    let peer = |is_certified| Peer::Address {
        ip: from.ip(),
        is_certified,
    };
    let Some(acceptor) = router.access().acceptor() else {
        return connection::serve(stream, peer(false), router, ended).await;
    };
    match time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let is_certified = stream.get_ref().1.peer_certificates().is_some();
            connection::serve(stream, peer(is_certified), router, ended).await;
        }
        Ok(Err(error)) => tracing::debug!(%from, %error, "no HTTPS came of a connection"),
        Err(_) => tracing::debug!(%from, "no HTTPS came of a connection in time"),
    }
}

async fn over_unix(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Arc<Router>,
    ended: watch::Receiver<bool>,
    _share: OwnedSemaphorePermit,
) {
    connection::serve(stream, Peer::Socket, router, ended).await;
}

/// Listens on exactly this address, of which connections of before may not be gone yet.
fn listen(at: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // Elsewhere it would let any other program have the address as well.
    socket.set_reuse_address(cfg!(unix))?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
