//! Bodies of answers: bytes that are there, in parts, and events for as long as they come.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::serve::busy::Busy;
use crate::serve::events::Listener;

/// A body is handed to the connection in parts of this size, so that its memory is free as soon as it is read.
const PART_BYTES: usize = 64 * 1024;

/// What waits for the next event, and has the listener back with it.
type Next = Pin<Box<dyn Future<Output = (Option<Bytes>, Listener)> + Send>>;

/// See the [module](self).
pub(super) enum Answered {
    /// All of it.
    Whole {
        rest: Bytes,
        /// While it is sent its connection has a deadline, and a large one has its share of those at one time.
        _busy: Busy,
        _share: Option<OwnedSemaphorePermit>,
    },
    Events {
        next: Next,
        _share: OwnedSemaphorePermit,
    },
}

async fn next_of(mut listener: Listener) -> (Option<Bytes>, Listener) {
    (listener.next().await, listener)
}

impl Answered {
    pub(super) fn whole(
        bytes: impl Into<Bytes>,
        busy: Busy,
        share: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self::Whole {
            rest: bytes.into(),
            _busy: busy,
            _share: share,
        }
    }

    pub(super) fn events(listener: Listener, share: OwnedSemaphorePermit) -> Self {
        Self::Events {
            next: Box::pin(next_of(listener)),
            _share: share,
        }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole { rest, .. } if rest.is_empty() => Poll::Ready(None),
            Self::Whole { rest, .. } => {
                let part = rest.split_to(rest.len().min(PART_BYTES));
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
            Self::Events { next, .. } => next.as_mut().poll(context).map(|(bytes, listener)| {
                let bytes = bytes?;
                *next = Box::pin(next_of(listener));
                Some(Ok(Frame::data(bytes)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole { rest, .. } if rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { rest, .. } => SizeHint::with_exact(rest.len() as u64),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}
