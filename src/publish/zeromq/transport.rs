//! The PUB socket and its backend.

use std::fmt;
use std::time::Duration;

use zmq::{Context, Socket};

use crate::limits::{ZEROMQ_MESSAGES_MAX, ZEROMQ_RECEIVED_BYTES_MAX, ZEROMQ_STUCK_MS_MAX};
use crate::publish::zeromq::ZeroMqSettings;
use crate::publish::{Backend, Encoder, PublishError};
use crate::record::Record;
use crate::sys::{host, zeromq};

/// Its name in the configuration and in messages.
const NAME: &str = "zeromq";

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZeroMqError {
    /// The port is taken, the address is not one of this host, or a permission is missing.
    #[error("cannot bind {endpoint}: {source}")]
    Bind {
        /// The endpoint.
        endpoint: String,
        /// The error of libzmq.
        source: zmq::Error,
    },
    /// The socket cannot be made, or an option cannot be set.
    #[error("cannot make a socket: {0}")]
    Socket(#[from] zmq::Error),
}

/// Publishes JSON to all subscribers.
pub struct ZeroMq {
    /// `None` once it is finished.
    open: Option<Open>,
    endpoint: String,
    encoder: Encoder,
    message: Vec<u8>,
}

/// A socket and its context. The socket is dropped first, since a context waits for its sockets.
struct Open {
    socket: Socket,
    context: Context,
}

impl fmt::Debug for ZeroMq {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ZeroMq")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl ZeroMq {
    /// Binds the socket. Port 0 takes a free one.
    pub fn bind(settings: &ZeroMqSettings) -> Result<Self, ZeroMqError> {
        Self::bind_with(settings, ZEROMQ_MESSAGES_MAX)
    }

    fn bind_with(settings: &ZeroMqSettings, messages_max: i32) -> Result<Self, ZeroMqError> {
        let address = settings.address.to_string();
        // libzmq, as it is built from its source, knows no names of interfaces.
        let known = host::interface_address(&address).or_else(|| host::numbered_zone(&address));
        let address = known.unwrap_or(address);
        // A link-local address with its zone is a name.
        let is_v6 = address.contains(':');
        let context = Context::new();
        let mut socket = context.socket(zmq::PUB)?;
        socket.set_ipv6(is_v6)?;
        socket.set_sndhwm(messages_max)?;
        // A program that just drops this waits for nothing; see `finish`.
        socket.set_linger(0)?;
        // Subscribers send subscriptions only, which are short.
        socket.set_maxmsgsize(ZEROMQ_RECEIVED_BYTES_MAX)?;
        zeromq::refuse_rather_than_drop(&mut socket)?;
        zeromq::disconnect_stuck_peers(&mut socket, ZEROMQ_STUCK_MS_MAX)?;
        let port = settings.port;
        let endpoint = if is_v6 {
            format!("tcp://[{address}]:{port}")
        } else {
            format!("tcp://{address}:{port}")
        };
        if let Err(source) = socket.bind(&endpoint) {
            return Err(ZeroMqError::Bind { endpoint, source });
        }
        let endpoint = match socket.get_last_endpoint() {
            Ok(Ok(bound)) => bound,
            _ => endpoint,
        };
        Ok(Self {
            open: Some(Open { socket, context }),
            endpoint,
            encoder: Encoder::new(),
            message: Vec::new(),
        })
    }

    /// Returns the endpoint as subscribers on this host write it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Backend for ZeroMq {
    fn name(&self) -> &'static str {
        NAME
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        let Some(open) = &self.open else {
            return Err(PublishError::Closed);
        };
        self.message.clear();
        self.encoder.encode(record, &mut self.message);
        loop {
            return match open.socket.send(self.message.as_slice(), zmq::DONTWAIT) {
                Ok(()) => Ok(()),
                // A signal interrupted the call, and nothing was sent.
                Err(zmq::Error::EINTR) => continue,
                Err(zmq::Error::EAGAIN) => Err(PublishError::Full),
                Err(error) => Err(PublishError::other(1, error)),
            };
        }
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// Waits until subscribers have all messages, at most `timeout`.
    fn finish(&mut self, timeout: Duration) -> Result<(), PublishError> {
        let Some(Open { socket, context }) = self.open.take() else {
            return Ok(());
        };
        // The end of this thread needs a part of the time as well.
        let linger = timeout / 8 * 7;
        let result = socket.set_linger(i32::try_from(linger.as_millis()).unwrap_or(i32::MAX));
        drop(socket);
        // Waits for the rest of the socket as long as it lingers.
        drop(context);
        result.map_err(|error| PublishError::other(0, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Host;
    use crate::publish::testing::gauge;

    /// Milliseconds after which an expected message is given up.
    const GIVE_UP_MS: i32 = 60_000;

    fn settings(address: &str, port: u16) -> ZeroMqSettings {
        ZeroMqSettings {
            address: address.parse::<Host>().unwrap(),
            port,
        }
    }

    fn subscriber(endpoint: &str, messages_max: i32) -> (Context, Socket) {
        let context = Context::new();
        let socket = context.socket(zmq::SUB).unwrap();
        socket.set_ipv6(true).unwrap();
        socket.set_rcvhwm(messages_max).unwrap();
        socket.set_rcvtimeo(GIVE_UP_MS).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_subscribe(b"").unwrap();
        socket.connect(endpoint).unwrap();
        (context, socket)
    }

    /// Publishes -1 until the subscriber has one. From then on it gets everything.
    fn greet(backend: &mut ZeroMq, subscriber: &Socket) {
        while subscriber.poll(zmq::POLLIN, 10).unwrap() == 0 {
            backend.publish(&gauge(-1)).unwrap();
        }
    }

    /// Returns the next message that is no greeting.
    fn next(subscriber: &Socket) -> String {
        loop {
            let message = subscriber.recv_string(0).unwrap().unwrap();
            if message != gauge(-1).to_json() {
                return message;
            }
        }
    }

    #[test]
    fn a_subscriber_gets_each_record_as_a_message_of_json() {
        for address in ["127.0.0.1", "::1", "lo"] {
            let mut backend = ZeroMq::bind(&settings(address, 0)).unwrap();
            let (_context, subscriber) = subscriber(backend.endpoint(), 1_000);
            greet(&mut backend, &subscriber);
            for value in 0..100 {
                backend.publish(&gauge(value)).unwrap();
            }
            backend.flush().unwrap();
            for value in 0..100 {
                assert_eq!(next(&subscriber), gauge(value).to_json());
                assert!(!subscriber.get_rcvmore().unwrap());
            }
        }
    }

    #[test]
    fn what_was_sent_arrives_though_it_ends_at_once() {
        let mut backend = ZeroMq::bind(&settings("127.0.0.1", 0)).unwrap();
        let (_context, subscriber) = subscriber(backend.endpoint(), 100_000);
        greet(&mut backend, &subscriber);
        for value in 0..10_000 {
            backend.publish(&gauge(value)).unwrap();
        }
        backend.finish(Duration::from_mins(1)).unwrap();
        drop(backend);
        for value in 0..10_000 {
            assert_eq!(next(&subscriber), gauge(value).to_json());
        }
    }

    #[test]
    fn without_a_subscriber_nothing_waits_and_nothing_is_lost_count_of() {
        let mut backend = ZeroMq::bind_with(&settings("127.0.0.1", 0), 10).unwrap();
        for value in 0..1_000 {
            backend.publish(&gauge(value)).unwrap();
        }
    }

    #[test]
    fn what_a_slow_subscriber_has_no_room_for_is_counted_to_the_message() {
        let mut backend = ZeroMq::bind_with(&settings("127.0.0.1", 0), 100).unwrap();
        let (_context, subscriber) = subscriber(backend.endpoint(), 1);
        greet(&mut backend, &subscriber);
        let mut taken = Vec::new();
        let mut lost = 0;
        let mut value = 0;
        // The buffers of the system, some megabytes, fill before ours.
        while lost < 500 {
            match backend.publish(&gauge(value)) {
                Ok(()) => taken.push(value),
                Err(error) => lost += error.lost(),
            }
            value += 1;
        }
        assert_eq!(taken.len() as u64 + lost, u64::try_from(value).unwrap());
        for value in taken {
            assert_eq!(next(&subscriber), gauge(value).to_json());
        }
        // It has caught up, and gets new messages.
        while backend.publish(&gauge(-2)).is_err() {}
        assert_eq!(next(&subscriber), gauge(-2).to_json());
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = ZeroMq::bind(&settings("127.0.0.1", port)).unwrap_err();
        let wanted = format!("cannot bind tcp://127.0.0.1:{port}: Address already in use");
        assert_eq!(error.to_string(), wanted);
    }
}
