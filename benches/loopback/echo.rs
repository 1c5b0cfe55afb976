//! A bare echo over UDP in batches, the least that a prober could take: `sendmmsg`, `recvmmsg`,
//! kernel stamps taken off the error queue and dropped, connected sockets, nothing decoded.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, TimestampingFlag, recvmmsg, sendmmsg, setsockopt,
    sockopt,
};

use super::{Processors, pin};

/// Datagrams a call.
const BATCH: usize = 64;

/// The length of the daemon's probes without tags.
const BYTES: usize = 164;

/// After this long without a datagram the lost ones are sent anew.
const SILENCE: Duration = Duration::from_millis(100);

struct End {
    socket: UdpSocket,
    inbox: MultiHeaders<()>,
    outbox: MultiHeaders<()>,
    errors: MultiHeaders<()>,
    buffers: Vec<[u8; 256]>,
}

impl End {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_read_timeout(Some(SILENCE))?;
        let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID;
        setsockopt(&socket.as_fd(), sockopt::Timestamping, &flags)?;
        let room = || MultiHeaders::preallocate(BATCH, Some(vec![0; 256]));
        Ok(Self {
            socket,
            inbox: room(),
            outbox: MultiHeaders::preallocate(BATCH, None),
            errors: room(),
            buffers: vec![[0; 256]; BATCH],
        })
    }

    fn send(&mut self, count: usize) -> io::Result<()> {
        let payload = [0; BYTES];
        let slices = [[IoSlice::new(&payload)]; BATCH];
        let controls: [ControlMessage<'_>; 0] = [];
        let mut sent = 0;
        while sent < count {
            let left = &slices[sent..count];
            let outbox = &mut self.outbox;
            let (fd, none) = (self.socket.as_raw_fd(), [None; BATCH]);
            let flags = MsgFlags::empty();
            sent += sendmmsg(fd, outbox, left, none, controls, flags)?.count();
        }
        // The stamps are there by now.
        let mut empty: Vec<[IoSliceMut<'_>; 0]> = (0..BATCH).map(|_| []).collect();
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.errors,
            &mut empty,
            flags,
            None,
        ) {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for at least one datagram. Returns 0 after a silence.
    fn receive(&mut self) -> io::Result<usize> {
        let buffers = self.buffers.iter_mut();
        let mut slices: Vec<_> = buffers.map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_WAITFORONE);
        match recvmmsg(fd, &mut self.inbox, &mut slices, flags, None) {
            Ok(received) => Ok(received.count()),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns round trips a second between two processors, with this many batches in flight.
pub(crate) fn run(processors: Processors, batches: usize, duration: Duration) -> io::Result<f64> {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    let (one, other) = (one?, other?);
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    // Neither is closed while the other end still sends to it.
    let _open = (one.try_clone()?, other.try_clone()?);
    let ends = Arc::new(AtomicBool::new(false));
    let has_ended = ends.clone();
    let server = thread::spawn(move || -> io::Result<()> {
        pin(processors.far)?;
        let mut server = End::new(other)?;
        while !has_ended.load(Ordering::Relaxed) {
            let count = server.receive()?;
            server.send(count)?;
        }
        Ok(())
    });
    let client = thread::spawn(move || -> io::Result<f64> {
        pin(processors.near)?;
        let mut client = End::new(one)?;
        let (mut in_flight, mut back) = (0_usize, 0_u32);
        let begun = Instant::now();
        while begun.elapsed() < duration {
            while in_flight + BATCH <= batches * BATCH {
                client.send(BATCH)?;
                in_flight += BATCH;
            }
            let count = client.receive()?;
            // Datagrams that were given up may still come.
            in_flight = if count == 0 {
                0
            } else {
                in_flight.saturating_sub(count)
            };
            back += u32::try_from(count).unwrap_or(0);
        }
        Ok(f64::from(back) / begun.elapsed().as_secs_f64())
    });
    let rate = client.join();
    ends.store(true, Ordering::Relaxed);
    let served = server.join();
    served.map_err(|_| io::ErrorKind::Other)??;
    rate.map_err(|_| io::ErrorKind::Other)?
}
