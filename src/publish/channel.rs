//! The backend for programs that embed the library: records through a bounded channel of the
//! standard library.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::limits::CHANNEL_RECORDS_MAX;
use crate::publish::{Backend, PublishError};
use crate::record::Record;

/// Sends each record to a [`Receiver`]. A receiver that falls behind loses records, which are
/// counted. It never holds up the measurement.
#[derive(Debug)]
pub struct Channel {
    sender: SyncSender<Record>,
}

/// Makes a channel for `capacity` records, clamped to 1 to [`CHANNEL_RECORDS_MAX`].
pub fn channel(capacity: usize) -> (Channel, Receiver<Record>) {
    let (sender, receiver) = sync_channel(capacity.clamp(1, CHANNEL_RECORDS_MAX));
    (Channel { sender }, receiver)
}

impl Backend for Channel {
    fn name(&self) -> &'static str {
        "channel"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.sender
            .try_send(record.clone())
            .map_err(|error| match error {
                TrySendError::Full(_) => PublishError::Full,
                TrySendError::Disconnected(_) => PublishError::Closed,
            })
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::gauge;

    #[test]
    fn a_full_channel_drops_and_one_without_receiver_is_closed() {
        let (mut backend, receiver) = channel(1);
        backend.publish(&gauge(1)).unwrap();
        assert_eq!(backend.publish(&gauge(2)).unwrap_err().lost(), 1);
        assert_eq!(receiver.recv().unwrap().value(), Some(1));
        backend.publish(&gauge(3)).unwrap();
        drop(receiver);
        let error = backend.publish(&gauge(4)).unwrap_err();
        assert!(matches!(error, PublishError::Closed));
    }
}
