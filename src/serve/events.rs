//! What happens as it happens, for whoever listens: server-sent events (WHATWG HTML, section 9.2).

use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::time::{self, Duration};

use crate::limits::{HTTP_EVENTS_QUEUED_MAX, HTTP_UPDATES_QUEUED_MAX};
use crate::publish::Watch;

/// A listener that has heard nothing for this long gets a comment, so that nobody in between gives the connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events and figures on their way from the flush thread to those who listen. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    events: Sender<Arc<[u8]>>,
    updates: Sender<Arc<[u8]>>,
}

impl Default for Events {
    fn default() -> Self {
        let (events, _) = broadcast::channel(HTTP_EVENTS_QUEUED_MAX);
        let (updates, _) = broadcast::channel(HTTP_UPDATES_QUEUED_MAX);
        Self { events, updates }
    }
}

impl Watch for Events {
    fn event(&mut self, line: &[u8]) {
        self.publish(line);
    }

    fn wants_updates(&self) -> bool {
        self.updates.receiver_count() > 0
    }

    fn update(&mut self, json: Vec<u8>) {
        // The last listener may have left just now.
        let _ = self.updates.send(json.into());
    }
}

impl Events {
    /// Gives everybody who listens an event as a line of JSON. Waits for nobody: who is too slow loses the oldest, and
    /// is told how many.
    pub fn publish(&self, line: &[u8]) {
        // Without a listener there is nobody to miss it.
        let _ = self.events.send(line.into());
    }

    /// Begins to listen to events.
    pub(super) fn listen(&self) -> Listener {
        Listener {
            snapshot: None,
            events: self.events.subscribe(),
            updates: None,
        }
    }

    /// Begins to listen to events and to the figures of each interval.
    pub(super) fn watch(&self) -> Listener {
        Listener {
            updates: Some(self.updates.subscribe()),
            ..self.listen()
        }
    }
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Listener {
    /// What it gets first.
    snapshot: Option<Vec<u8>>,
    events: Receiver<Arc<[u8]>>,
    /// The figures of intervals, if it wants them.
    updates: Option<Receiver<Arc<[u8]>>>,
}

impl Listener {
    /// Has it begin with all that is known, as an object of JSON. What has come since it began to listen follows.
    pub(super) fn beginning_with(self, snapshot: Vec<u8>) -> Self {
        Self {
            snapshot: Some(snapshot),
            ..self
        }
    }

    /// Waits for what is sent next. `None`: there is no more.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(frame("snapshot", &snapshot));
        }
        let is_live = self.updates.is_some();
        let next = async {
            tokio::select! {
                event = self.events.recv() => (event, false),
                update = recv(self.updates.as_mut()) => (update, true),
            }
        };
        match time::timeout(KEEP_ALIVE, next).await {
            Err(_) => Some(Bytes::from_static(b": nothing has happened\n\n")),
            Ok((Ok(line), true)) => Some(frame("update", &line)),
            Ok((Ok(line), false)) if is_live => Some(frame("event", &line)),
            Ok((Ok(line), false)) => Some([b"data: ", &*line, b"\n\n"].concat().into()),
            Ok((Err(RecvError::Lagged(_)), true)) => {
                // The figures of an interval are those that have come since the one before. Whoever has missed one
                // connects again, and begins anew.
                self.updates = None;
                None
            }
            Ok((Err(RecvError::Lagged(lost)), false)) => {
                Some(format!("event: lost\ndata: {lost}\n\n").into())
            }
            Ok((Err(RecvError::Closed), _)) => None,
        }
    }
}

/// Waits for the figures of an interval; for ever if they are not wanted.
async fn recv(updates: Option<&mut Receiver<Arc<[u8]>>>) -> Result<Arc<[u8]>, RecvError> {
    match updates {
        Some(updates) => updates.recv().await,
        None => std::future::pending().await,
    }
}

fn frame(event: &str, data: &[u8]) -> Bytes {
    [b"event: ", event.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}
