//! One stamped message over a connection of loopback, to find out whether a ring does what the engine needs.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::operations::Source;
use crate::proto::{Marks, SocketId};
use crate::sys;
use crate::sys::ring::{Happened, Owner, Ring};
use crate::sys::sockets::{TcpListener, TcpStream};
use crate::sys::words::{Level, Numbers};

/// What is sent.
const WORD: &[u8] = b"latency-monitor";

/// The ring is looked at this often, for this long each time, until the message is given up.
const LOOKS: usize = 20;
const LOOK_NS: u64 = 10_000_000;

/// The two ends.
const NEAR: u32 = 0;
const FAR: u32 = 1;

fn owner_of(end: u32) -> Owner {
    Source::Stream(SocketId {
        index: end,
        generation: 0,
    })
    .owner()
}

/// Sends a message from a connection's one end to the other. False if it, or its transmit stamp where the kernel can
/// bring that, does not come.
pub(super) fn send(ring: &mut Ring) -> io::Result<bool> {
    let listen = |address| sys::tcp::listen(SocketAddr::new(address, 0), false);
    let listener =
        listen(Ipv4Addr::LOCALHOST.into()).or_else(|_| listen(Ipv6Addr::LOCALHOST.into()))?;
    let mut pair = Pair {
        near: sys::tcp::open(listener.local_addr()?, &Marks::default(), 0)?,
        far: None,
        brings_stamps: ring.can_bring_stamps(),
    };
    let came = pair.exchange(ring, &listener);
    // The kernel looks up the descriptors of all that was begun before they are closed.
    ring.submit();
    came
}

/// Both ends.
struct Pair {
    near: TcpStream,
    far: Option<TcpStream>,
    brings_stamps: bool,
}

impl Pair {
    fn exchange(&mut self, ring: &mut Ring, listener: &TcpListener) -> io::Result<bool> {
        ring.connect(&self.near, listener.local_addr()?, owner_of(NEAR));
        let (mut is_received, mut is_stamped) = (false, !self.brings_stamps);
        for _ in 0..LOOKS {
            ring.wait(Some(LOOK_NS))?;
            while let Some(sent) = ring.next_transmitted() {
                is_stamped |= sent.stamps.software.is_some();
            }
            while let Some(completion) = ring.next() {
                match completion.happened {
                    Happened::Connected(connected) => {
                        connected?;
                        self.write(ring)?;
                    }
                    Happened::Received(received) => {
                        let buffer = received?;
                        let message = ring.message(&buffer);
                        is_received |= message.is_some_and(|message| message.payload == WORD);
                        ring.give_back(buffer);
                    }
                    _ => {}
                }
            }
            self.accept(ring, listener)?;
            if is_received && is_stamped {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Accepts the far end once it is there.
    fn accept(&mut self, ring: &mut Ring, listener: &TcpListener) -> io::Result<()> {
        if self.far.is_some() {
            return Ok(());
        }
        match sys::tcp::accept(listener) {
            Ok(far) => ring.receive(self.far.insert(far), owner_of(FAR)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write(&self, ring: &mut Ring) -> io::Result<()> {
        sys::stamp::enable(&self.near, Level::Software, Numbers::Bytes)?;
        if self.brings_stamps {
            ring.bring_stamps(&self.near, owner_of(NEAR));
        }
        ring.push_write(&self.near, WORD);
        ring.write_all();
        let written = ring.written(0).1;
        ring.clear_writes();
        written.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_message_comes_by_a_ring() {
        let mut ring = Ring::new().expect("this system allows io_uring");
        assert!(send(&mut ring).expect("loopback is there"));
    }
}
