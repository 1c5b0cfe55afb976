//! One connection: how long it may take for what.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time;

use crate::serve::access::Peer;
use crate::serve::router::Router;

/// For the handshake of HTTPS, and for the head of each request: so long an idle connection stays.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that a connection reads ahead, and keeps of an answer beside its body.
const BUFFER_BYTES: usize = 64 * 1024;

/// Answers the requests of a connection until it ends, is too slow, or `ended` says so.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Arc<Router>,
    mut ended: watch::Receiver<bool>,
) {
    let (deadline, mut watched) = watch::channel(None);
    let service = service_fn(|request| {
        let (router, deadline) = (Arc::clone(&router), deadline.clone());
        async move { router.answer(request, peer, &deadline).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let late = async {
        loop {
            let until = *watched.borrow_and_update();
            let Some(until) = until else {
                if watched.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            tokio::select! {
                () = time::sleep_until(until) => return io::Error::from(io::ErrorKind::TimedOut),
                _ = watched.changed() => {}
            }
        }
    };
    let stopped = ended.wait_for(|ended| *ended);
    tokio::select! {
        result = connection => if let Err(error) = result {
            tracing::debug!(%error, "a connection over HTTP ended early");
        },
        error = late => tracing::debug!(%error, "an answer over HTTP was not taken"),
        _ = stopped => {}
    }
}
