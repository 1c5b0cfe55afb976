//! What the packets of a flow are marked with, and where they leave from. All of it is set before the first one leaves.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

use super::set_option;
use crate::proto::Marks;
use crate::sys::words::{MarkError, source_for};

/// Marks what leaves a socket of the family of `to`, and binds it to the interface.
pub(super) fn set(socket: &Socket, to: SocketAddr, marks: &Marks) -> io::Result<()> {
    let is_v6 = to.is_ipv6();
    if let Some(name) = &marks.interface {
        let bound = setsockopt(socket, sockopt::BindToDevice, &OsString::from(&**name));
        bound.map_err(|code| match code {
            Errno::ENODEV => MarkError::NoInterface.into(),
            Errno::ENOPROTOOPT => MarkError::Unsupported.into(),
            code => io::Error::from(code),
        })?;
    }
    // Also on a socket of IPv6, which may speak IPv4.
    if let Some(dscp) = marks.dscp {
        let class = dscp.class().into();
        set_option(socket, libc::IPPROTO_IP, libc::IP_TOS, class)?;
        if is_v6 {
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?;
        }
    }
    if let Some(ttl) = marks.ttl {
        set_option(socket, libc::IPPROTO_IP, libc::IP_TTL, ttl.into())?;
        if is_v6 {
            socket.set_unicast_hops_v6(ttl.into())?;
        }
    }
    if let Some(df) = marks.df {
        let [v4, v6] = if df {
            [libc::IP_PMTUDISC_DO, libc::IPV6_PMTUDISC_DO]
        } else {
            [libc::IP_PMTUDISC_DONT, libc::IPV6_PMTUDISC_DONT]
        };
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, v4)?;
        if is_v6 {
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, v6)?;
        }
    }
    Ok(())
}

/// Binds a socket toward `to` to the source address of the marks, if they have one, and to `port`, where 0 is any.
/// Several connections may leave from one port, each to another peer.
pub(super) fn bind_connection(
    socket: &Socket,
    to: SocketAddr,
    marks: &Marks,
    port: u16,
) -> io::Result<()> {
    if marks.source.is_none() && port == 0 {
        return Ok(());
    }
    let source = source_for(to, marks)?;
    if port == 0 {
        // The port is chosen with the peer in view. A system without the option chooses it at once.
        set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1).ok();
    } else {
        socket.set_reuse_address(true)?;
    }
    let mut local = source.unwrap_or_else(|| unspecified(to));
    local.set_port(port);
    socket.bind(&local.into())
}

fn unspecified(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Tries whether this host can have an interface and a source address.
pub(crate) fn try_out(marks: &Marks) -> io::Result<()> {
    let ip = marks.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let to = SocketAddr::new(ip, 0);
    let socket = super::udp::new_socket(to)?;
    set(&socket, to, marks)?;
    match marks.source {
        // Without its zone nobody can bind to it.
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Ok(()),
        Some(_) => socket.bind(&to.into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(socket: &Socket, level: libc::c_int, name: libc::c_int) -> libc::c_int {
        super::super::option(socket, level, name).expect("the option is there")
    }

    #[test]
    fn a_socket_has_every_mark_for_both_families() {
        for (address, is_v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let to: SocketAddr = address.parse().expect("an address");
            for df in [true, false] {
                let marks = Marks {
                    dscp: "ef".parse().ok(),
                    ttl: Some(9),
                    df: Some(df),
                    interface: Some("lo".into()),
                    ..Marks::default()
                };
                let Ok(socket) = super::super::udp::new_socket(to) else {
                    continue; // This host has no IPv6.
                };
                set(&socket, to, &marks).expect("all of it can be set");
                let (ip, ip6) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
                assert_eq!(option(&socket, ip, libc::IP_TOS), 46 << 2);
                assert_eq!(option(&socket, ip, libc::IP_TTL), 9);
                let wanted = if df {
                    libc::IP_PMTUDISC_DO
                } else {
                    libc::IP_PMTUDISC_DONT
                };
                assert_eq!(option(&socket, ip, libc::IP_MTU_DISCOVER), wanted);
                if is_v6 {
                    assert_eq!(option(&socket, ip6, libc::IPV6_TCLASS), 46 << 2);
                    assert_eq!(option(&socket, ip6, libc::IPV6_UNICAST_HOPS), 9);
                    let wanted = if df {
                        libc::IPV6_PMTUDISC_DO
                    } else {
                        libc::IPV6_PMTUDISC_DONT
                    };
                    assert_eq!(option(&socket, ip6, libc::IPV6_MTU_DISCOVER), wanted);
                }
                assert_eq!(socket.device().expect("it is told"), Some(b"lo".to_vec()));
            }
        }
    }

    #[test]
    fn a_source_is_of_the_family_of_the_peer() {
        let of = |source: &str, to: &str| {
            let marks = Marks {
                source: source.parse().ok(),
                ..Marks::default()
            };
            let found = source_for(to.parse().expect("an address"), &marks);
            found.map(|found| found.map(|source| source.to_string()).unwrap_or_default())
        };
        assert_eq!(of("192.0.2.1", "192.0.2.2:7"), Ok("192.0.2.1:0".to_owned()));
        let mapped = of("192.0.2.1", "[::ffff:192.0.2.2]:7");
        assert_eq!(mapped, Ok("[::ffff:192.0.2.1]:0".to_owned()));
        assert_eq!(
            of("fe80::1", "[fe80::2%3]:7"),
            Ok("[fe80::1%3]:0".to_owned())
        );
        assert_eq!(
            of("2001:db8::1", "[fe80::2%3]:7"),
            Ok("[2001:db8::1]:0".to_owned())
        );
        for [source, to] in [
            ["192.0.2.1", "[2001:db8::2]:7"],
            ["2001:db8::1", "192.0.2.2:7"],
            ["2001:db8::1", "[::ffff:192.0.2.2]:7"],
        ] {
            assert_eq!(of(source, to), Err(MarkError::OtherFamily));
        }
    }
}
