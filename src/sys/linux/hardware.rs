//! Interfaces that stamp packets themselves: what they can do, and switching it on.

#![expect(unsafe_code, reason = "these requests have no safe binding")]

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::InterfaceFlags;
use socket2::{Domain, Socket, Type};

use crate::sys::words::Abilities;

/// `HWTSTAMP_TX_ON` and `HWTSTAMP_FILTER_ALL` of `linux/net_tstamp.h`.
const TX_ON: i32 = 1;
const RX_ALL: i32 = 1;

/// `ETHTOOL_GET_TS_INFO` and `SIOCGHWTSTAMP`, which libc does not have.
const GET_TS_INFO: u32 = 0x41;
const SIOCGHWTSTAMP: libc::Ioctl = 0x89b1;

/// `ethtool_ts_info` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct TimestampInfo {
    command: u32,
    so_timestamping: u32,
    phc_index: i32,
    tx_types: u32,
    tx_reserved: [u32; 3],
    rx_filters: u32,
    rx_reserved: [u32; 3],
}

impl From<&TimestampInfo> for Abilities {
    fn from(info: &TimestampInfo) -> Self {
        let all = libc::SOF_TIMESTAMPING_TX_HARDWARE
            | libc::SOF_TIMESTAMPING_RX_HARDWARE
            | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        let has = |bits: u32, bit: i32| bits & (1 << bit) != 0;
        Self {
            stamps: info.so_timestamping & all != 0,
            both_directions: info.so_timestamping & all == all && has(info.tx_types, TX_ON),
            all_received: has(info.rx_filters, RX_ALL),
            clock: info.phc_index.try_into().ok(),
        }
    }
}

/// An interface by its name, and a socket for requests about it.
pub(crate) struct Interface {
    socket: Socket,
    request: libc::ifreq,
}

impl Interface {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        let name = name.as_bytes_with_nul();
        // SAFETY: `ifreq` is plain data, for which zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() > request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = from.cast_signed();
        }
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        Ok(Self { socket, request })
    }

    pub(crate) fn abilities(&mut self) -> io::Result<Abilities> {
        let mut info = TimestampInfo {
            command: GET_TS_INFO,
            ..TimestampInfo::default()
        };
        self.exchange(libc::SIOCETHTOOL, &mut info)?;
        Ok(Abilities::from(&info))
    }

    /// Has the interface stamp every packet. If another program has set that already, nothing is
    /// changed, and no privilege needed.
    pub(crate) fn stamp_all(&mut self) -> io::Result<()> {
        let config = |tx_type, rx_filter| libc::hwtstamp_config {
            flags: 0,
            tx_type,
            rx_filter,
        };
        let mut current = config(0, 0);
        let is_known = self.exchange(SIOCGHWTSTAMP, &mut current).is_ok();
        if is_known && current.tx_type == TX_ON && current.rx_filter == RX_ALL {
            return Ok(());
        }
        self.exchange(libc::SIOCSHWTSTAMP, &mut config(TX_ON, RX_ALL))
    }

    /// Makes a request that reads and writes a structure. `code` must be one whose structure is
    /// `T`.
    fn exchange<T>(&mut self, code: libc::Ioctl, data: &mut T) -> io::Result<()> {
        self.request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
        let request = std::ptr::from_mut(&mut self.request);
        // SAFETY: `request` names an interface and points to a structure of the kind that this code
        // reads and writes, both of which outlive the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), code, request) };
        Errno::result(result)?;
        Ok(())
    }
}

/// Returns the names of the interfaces that are up, each once, without loopback.
pub(crate) fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = getifaddrs()
        .into_iter()
        .flatten()
        .filter(|interface| {
            interface.flags.contains(InterfaceFlags::IFF_UP)
                && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .map(|interface| interface.interface_name)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card that can do everything.
    const CARD: TimestampInfo = TimestampInfo {
        command: GET_TS_INFO,
        so_timestamping: 0x5f,
        phc_index: 0,
        tx_types: 0b11,
        tx_reserved: [0; 3],
        rx_filters: 0b11,
        rx_reserved: [0; 3],
    };

    #[test]
    fn abilities_are_read_from_the_kernels_bits() {
        let all = Abilities {
            stamps: true,
            both_directions: true,
            all_received: true,
            clock: Some(0),
        };
        assert_eq!(Abilities::from(&CARD), all);
        let software = TimestampInfo {
            so_timestamping: 0x1a,
            phc_index: -1,
            ..CARD
        };
        assert!(!Abilities::from(&software).stamps);
        assert_eq!(Abilities::from(&software).clock, None);
        let one_direction = [
            TimestampInfo {
                tx_types: 0b01,
                ..CARD
            },
            TimestampInfo {
                so_timestamping: libc::SOF_TIMESTAMPING_RX_HARDWARE,
                ..CARD
            },
        ];
        for info in one_direction {
            let found = Abilities::from(&info);
            assert!(found.stamps && !found.both_directions, "{info:?}");
        }
        let only_ptp = TimestampInfo {
            rx_filters: 1 << 12,
            ..CARD
        };
        assert!(!Abilities::from(&only_ptp).all_received);
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(Interface::new("an-interface-with-a-long-name").is_err());
        assert!(Interface::new("lo").is_ok());
    }
}
