//! Events as they happen, for whoever listens: server-sent events (WHATWG HTML, section 9.2).

use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::time::{self, Duration};

use crate::limits::HTTP_EVENTS_QUEUED_MAX;

/// A listener that has heard nothing for this long gets a comment, so that nobody in between gives the connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events on their way from the flush thread to those who listen. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Arc<[u8]>>,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(HTTP_EVENTS_QUEUED_MAX);
        Self { sender }
    }
}

impl Events {
    /// Gives everybody who listens an event as a line of JSON. Waits for nobody: who is too slow loses the oldest, and
    /// is told how many.
    pub fn publish(&self, line: &[u8]) {
        // Without a listener there is nobody to miss it.
        let _ = self.sender.send(line.into());
    }

    pub(super) fn listen(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Listener {
    receiver: Receiver<Arc<[u8]>>,
}

impl Listener {
    /// Waits for what is sent next. `None`: there is no more.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match time::timeout(KEEP_ALIVE, self.receiver.recv()).await {
            Err(_) => Some(Bytes::from_static(b": nothing has happened\n\n")),
            Ok(Ok(line)) => Some([b"data: ", &*line, b"\n\n"].concat().into()),
            Ok(Err(RecvError::Lagged(lost))) => {
                Some(format!("event: lost\ndata: {lost}\n\n").into())
            }
            Ok(Err(RecvError::Closed)) => None,
        }
    }
}
