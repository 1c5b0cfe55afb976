//! Interfaces that stamp packets themselves, and having them do it.

#![expect(unsafe_code, reason = "these requests have no safe binding")]

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::InterfaceFlags;
use socket2::{Domain, Socket, Type};

/// `HWTSTAMP_TX_ON` and `HWTSTAMP_FILTER_ALL` of `linux/net_tstamp.h`.
const TX_ON: i32 = 1;
const RX_ALL: i32 = 1;

/// `ETHTOOL_GET_TS_INFO` and `SIOCGHWTSTAMP`, which libc does not have.
const GET_TS_INFO: u32 = 0x41;
const SIOCGHWTSTAMP: libc::Ioctl = 0x89b1;

/// What an interface can do: `ethtool_ts_info` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Abilities {
    command: u32,
    so_timestamping: u32,
    phc_index: i32,
    tx_types: u32,
    tx_reserved: [u32; 3],
    rx_filters: u32,
    rx_reserved: [u32; 3],
}

/// What came of the search, one line an interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Interfaces whose stamps are used.
    pub(crate) used: Vec<String>,
    /// Interfaces that could stamp and do not, with the cause.
    pub(crate) lost: Vec<String>,
}

/// What an interface's abilities are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// It stamps nothing.
    None,
    /// It stamps, but not what is needed.
    Lacks(&'static str),
    /// It stamps every packet, if it is told to.
    All,
}

fn worth(abilities: &Abilities) -> Worth {
    let needed = libc::SOF_TIMESTAMPING_TX_HARDWARE
        | libc::SOF_TIMESTAMPING_RX_HARDWARE
        | libc::SOF_TIMESTAMPING_RAW_HARDWARE;
    let offers = |bits: u32, bit: i32| bits & (1 << bit) != 0;
    if abilities.so_timestamping & needed == 0 {
        Worth::None
    } else if abilities.so_timestamping & needed != needed || !offers(abilities.tx_types, TX_ON) {
        Worth::Lacks("it stamps one direction only")
    } else if abilities.phc_index < 0 {
        Worth::Lacks("it has no clock that could be kept to the system's")
    } else if offers(abilities.rx_filters, RX_ALL) {
        Worth::All
    } else {
        Worth::Lacks("it stamps only some of the packets it receives")
    }
}

/// Looks at every interface that is up, and has those stamp that can. Settings that another program
/// has made and that serve are left alone.
pub(crate) fn survey() -> Survey {
    let mut survey = Survey::default();
    let Ok(socket) = Socket::new(Domain::IPV4, Type::DGRAM, None) else {
        return survey;
    };
    for name in interfaces() {
        let Ok(mut request) = request(&name) else {
            continue;
        };
        let Ok(abilities) = abilities(&socket, &mut request) else {
            continue;
        };
        match worth(&abilities) {
            Worth::None => {}
            Worth::Lacks(what) => survey.lost.push(format!("{name}: {what}")),
            Worth::All => match switch_on(&socket, &mut request) {
                Ok(()) => survey
                    .used
                    .push(format!("{name} (/dev/ptp{})", abilities.phc_index)),
                Err(error) => survey.lost.push(format!("{name}: {}", cause(&error))),
            },
        }
    }
    survey
}

fn cause(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => {
            "switching it on needs the capability CAP_NET_ADMIN".to_owned()
        }
        Some(Errno::EOPNOTSUPP) => "the driver does not switch it on".to_owned(),
        _ => format!("switching it on failed: {error}"),
    }
}

/// The names of interfaces that are up, but for loopback, each once.
fn interfaces() -> Vec<String> {
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

fn request(name: &str) -> io::Result<libc::ifreq> {
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
    Ok(request)
}

fn abilities(socket: &Socket, request: &mut libc::ifreq) -> io::Result<Abilities> {
    let mut abilities = Abilities {
        command: GET_TS_INFO,
        ..Abilities::default()
    };
    exchange(socket, request, libc::SIOCETHTOOL, &mut abilities)?;
    Ok(abilities)
}

fn switch_on(socket: &Socket, request: &mut libc::ifreq) -> io::Result<()> {
    let mut config = libc::hwtstamp_config {
        flags: 0,
        tx_type: 0,
        rx_filter: 0,
    };
    let known = exchange(socket, request, SIOCGHWTSTAMP, &mut config).is_ok();
    if known && config.tx_type == TX_ON && config.rx_filter == RX_ALL {
        return Ok(());
    }
    config = libc::hwtstamp_config {
        flags: 0,
        tx_type: TX_ON,
        rx_filter: RX_ALL,
    };
    exchange(socket, request, libc::SIOCSHWTSTAMP, &mut config)
}

/// One of the requests to an interface that read and write a structure; `code` must be one whose
/// structure is `T`.
fn exchange<T>(
    socket: &Socket,
    request: &mut libc::ifreq,
    code: libc::Ioctl,
    data: &mut T,
) -> io::Result<()> {
    request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    // SAFETY: `request` names an interface and points to a structure of the kind that this code
    // reads and writes, both of which outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code, std::ptr::from_mut(request)) };
    Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card that can do everything.
    const CARD: Abilities = Abilities {
        command: GET_TS_INFO,
        so_timestamping: 0x5f,
        phc_index: 0,
        tx_types: 0b11,
        tx_reserved: [0; 3],
        rx_filters: 0b11,
        rx_reserved: [0; 3],
    };

    #[test]
    fn a_card_that_stamps_all_is_used() {
        assert_eq!(worth(&CARD), Worth::All);
    }

    #[test]
    fn software_stamps_are_no_hardware() {
        let software = Abilities {
            so_timestamping: 0x1a,
            phc_index: -1,
            ..CARD
        };
        assert_eq!(worth(&software), Worth::None);
    }

    #[test]
    fn what_is_lacking_is_said() {
        for lame in [
            Abilities {
                phc_index: -1,
                ..CARD
            },
            Abilities {
                tx_types: 0b01,
                ..CARD
            },
            Abilities {
                // Only PTP's event packets.
                rx_filters: 1 << 12,
                ..CARD
            },
            Abilities {
                so_timestamping: libc::SOF_TIMESTAMPING_RX_HARDWARE,
                ..CARD
            },
        ] {
            assert!(matches!(worth(&lame), Worth::Lacks(_)), "{lame:?}");
        }
    }

    #[test]
    fn the_survey_of_this_host_ends() {
        let survey = survey();
        assert!(
            survey
                .used
                .iter()
                .chain(&survey.lost)
                .all(|line| !line.is_empty())
        );
    }

    #[test]
    fn a_missing_right_is_named() {
        let error = Errno::EPERM.into();
        assert!(cause(&error).contains("CAP_NET_ADMIN"));
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(request("an-interface-with-a-long-name").is_err());
        assert!(request("lo").is_ok());
    }
}
