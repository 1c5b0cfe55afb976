//! ICMP errors: what the network says of datagrams that did not arrive (RFC 792, RFC 4443).
//!
//! A socket that asks for them finds them on its error queue, with the address that the datagram
//! was for. Anyone who knows or guesses the two addresses and ports can send one (RFC 5927): it is
//! a hint to people, and proves nothing.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::sys::words::Trouble;

/// ICMP errors tell where a datagram with a small TTL has ended.
pub(crate) const TELL_HOPS: bool = true;

/// Starts or stops queueing ICMP errors about what a socket sends. While they are queued, the
/// kernel also fails a send whose datagram finds no room in the interface's queue
/// ([`is_full_queue`]). Otherwise it drops that in silence.
pub(crate) fn set(socket: &impl AsFd, is_v6: bool, are_wanted: bool) -> io::Result<()> {
    if is_v6 {
        setsockopt(socket, sockopt::Ipv6RecvErr, &are_wanted)?;
    }
    // An IPv6 socket may send to an IPv4-mapped address.
    Ok(setsockopt(socket, sockopt::Ipv4RecvErr, &are_wanted)?)
}

/// Has ICMP errors say where their extension structure begins (RFC 4884). A kernel before Linux 5.9 does not.
pub(crate) fn ask_extensions(socket: &impl AsFd, is_v6: bool) {
    // They are not in libc.
    const IP_RECVERR_RFC4884: libc::c_int = 26;
    const IPV6_RECVERR_RFC4884: libc::c_int = 31;
    if is_v6 {
        super::set_option(socket, libc::IPPROTO_IPV6, IPV6_RECVERR_RFC4884, 1).ok();
    }
    super::set_option(socket, libc::IPPROTO_IP, IP_RECVERR_RFC4884, 1).ok();
}

/// Returns where the extension structure begins in the payload of an entry of the error queue, of the entry's data; 0:
/// it does not say.
pub(super) fn extension_at(data: u32) -> usize {
    let [low, high, ..] = data.to_ne_bytes();
    u16::from_ne_bytes([low, high]).into()
}

/// True if a send has failed because the interface's queue is full.
pub(crate) fn is_full_queue(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// True if a send may have failed only because of an ICMP error about another datagram: the kernel
/// fails the next call of the socket, whatever it is, and clears the error by that. These are all
/// the errors that it makes of ICMP errors.
pub(crate) fn may_be_of_another(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(
            Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EMSGSIZE
                | Errno::EPROTO
                | Errno::EACCES
        )
    )
}

/// Translates the origin, type and code of an entry of the error queue. `None` if it is no ICMP
/// error.
pub(crate) fn trouble(origin: u8, kind: u8, code: u8) -> Option<Trouble> {
    match origin {
        libc::SO_EE_ORIGIN_ICMP => Some(trouble_v4(kind, code)),
        libc::SO_EE_ORIGIN_ICMP6 => Some(trouble_v6(kind, code)),
        _ => None,
    }
}

/// Translates as RFC 792 and RFC 1812, section 5.2.7.1 say.
fn trouble_v4(kind: u8, code: u8) -> Trouble {
    match (kind, code) {
        (3, 0 | 5 | 6 | 11) => Trouble::NoRoute,
        (3, 1 | 7 | 8 | 12) => Trouble::NoHost,
        (3, 2 | 3) => Trouble::NoPort,
        (3, 4) => Trouble::TooLarge,
        (3, 9 | 10 | 13..=15) => Trouble::Prohibited,
        (11, 0) => Trouble::Loops,
        _ => Trouble::Other,
    }
}

/// Translates as RFC 4443, section 3 says.
fn trouble_v6(kind: u8, code: u8) -> Trouble {
    match (kind, code) {
        (1, 0) => Trouble::NoRoute,
        (1, 2 | 3) => Trouble::NoHost,
        (1, 4) => Trouble::NoPort,
        (1, 1 | 5 | 6) => Trouble::Prohibited,
        (2, _) => Trouble::TooLarge,
        (3, 0) => Trouble::Loops,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_both_families_say_the_same() {
        let (v4, v6) = (libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6);
        for (expected, of_v4, of_v6) in [
            (Trouble::NoRoute, (3, 0), (1, 0)),
            (Trouble::NoHost, (3, 1), (1, 3)),
            (Trouble::NoPort, (3, 3), (1, 4)),
            (Trouble::Prohibited, (3, 13), (1, 1)),
            (Trouble::TooLarge, (3, 4), (2, 0)),
            (Trouble::Loops, (11, 0), (3, 0)),
            (Trouble::Other, (12, 0), (4, 0)),
        ] {
            assert_eq!(trouble(v4, of_v4.0, of_v4.1), Some(expected));
            assert_eq!(trouble(v6, of_v6.0, of_v6.1), Some(expected));
        }
    }

    #[test]
    fn what_this_host_itself_says_is_no_message() {
        for origin in [libc::SO_EE_ORIGIN_LOCAL, libc::SO_EE_ORIGIN_TIMESTAMPING] {
            assert_eq!(trouble(origin, 3, 3), None);
        }
    }
}
