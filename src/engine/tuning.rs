//! The options of every UDP socket: buffers, and polling of the interface's queue.

use std::io;

use crate::engine::SocketOptions;
use crate::limits::UDP_BUFFER_BYTES;
use crate::sys;
use crate::sys::sockets::UdpSocket;
use crate::sys::tuning::{busy_poll, widen};
use crate::sys::words::Buffer;

/// The options, and which of them the kernel was found to refuse. That is logged once: a refusal to
/// one socket is a refusal to all.
#[derive(Debug)]
pub(super) struct SocketTuning {
    options: SocketOptions,
    refused: [bool; 3],
    /// Bytes of the receive buffer that the last socket was given.
    pub(super) room_bytes: usize,
}

impl SocketTuning {
    pub(super) fn new(options: SocketOptions) -> Self {
        Self {
            options,
            refused: [false; 3],
            room_bytes: 0,
        }
    }

    /// Gives a socket the options that the kernel allows. It works without them.
    pub(super) fn apply(&mut self, socket: &UdpSocket) {
        let buffers = [
            (Buffer::Receive, self.options.receive_bytes),
            (Buffer::Send, self.options.send_bytes),
        ];
        for (index, (buffer, asked)) in buffers.into_iter().enumerate() {
            let wanted = asked.unwrap_or(UDP_BUFFER_BYTES);
            let given = widen(socket, buffer, wanted);
            if buffer == Buffer::Receive {
                self.room_bytes = *given.as_ref().unwrap_or(&0);
            }
            let is_cut = !matches!(given, Ok(given) if given >= wanted);
            if is_cut && !std::mem::replace(&mut self.refused[index], true) {
                tell(buffer, wanted, asked.is_some(), given);
            }
        }
        let us = self.options.busy_poll_us;
        if us > 0
            && let Err(error) = busy_poll(socket, us)
            && !std::mem::replace(&mut self.refused[2], true)
        {
            let option = format!("`busy_poll_us = {us}`");
            if sys::is_lacking(&error) {
                tracing::warn!("going on without {option}: this system has no such option");
            } else {
                tracing::warn!(
                    %error,
                    "going on without {option}: this kernel wants CAP_NET_ADMIN for more than \
                     the sysctl net.core.busy_read"
                );
            }
        }
    }
}

/// Logs that the kernel has cut a buffer: as a warning if the configuration asks for its size.
fn tell(buffer: Buffer, wanted: usize, was_asked: bool, given: io::Result<usize>) {
    let (key, sysctl) = match buffer {
        Buffer::Receive => ("receive_buffer_kib", "rmem_max"),
        Buffer::Send => ("send_buffer_kib", "wmem_max"),
    };
    let wanted = wanted / 1024;
    let hint = if sys::LACKS.is_none() {
        format!("more needs CAP_NET_ADMIN, or a larger sysctl net.core.{sysctl}")
    } else {
        "more is over the system's limit".to_owned()
    };
    match given {
        Ok(given) if was_asked => {
            let given = given / 1024;
            tracing::warn!("the kernel cut `{key}` from {wanted} to {given} KiB: {hint}");
        }
        Ok(given) => {
            let given = given / 1024;
            tracing::info!("the kernel gives {given} of {wanted} KiB for `{key}`: {hint}");
        }
        Err(error) => tracing::warn!(%error, "cannot set `{key}` to {wanted} KiB"),
    }
}
