//! What the packets of a flow are marked with, and where they leave from, as far as every system has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::Socket;

use crate::proto::Marks;
use crate::sys::words::{MarkError, source_for};

/// Marks what leaves a socket of the family of `to`.
pub(super) fn set(socket: &Socket, to: SocketAddr, marks: &Marks) -> io::Result<()> {
    if marks.interface.is_some() || marks.df.is_some() {
        return Err(MarkError::Unsupported.into());
    }
    if let Some(dscp) = marks.dscp {
        set_class(socket, to, dscp.class().into())?;
    }
    match marks.ttl {
        Some(ttl) if to.is_ipv6() => {
            // For the IPv4 that it may speak, where a socket can do both.
            let _ = socket.set_ttl_v4(ttl.into());
            socket.set_unicast_hops_v6(ttl.into())
        }
        Some(ttl) => socket.set_ttl_v4(ttl.into()),
        None => Ok(()),
    }
}

fn set_class(socket: &Socket, to: SocketAddr, class: u32) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => socket.set_tos_v4(class),
        #[cfg(unix)]
        SocketAddr::V6(_) => socket.set_tclass_v6(class),
        #[cfg(not(unix))]
        SocketAddr::V6(_) => Err(MarkError::Unsupported.into()),
    }
}

/// Binds a socket toward `to` to the source address of the marks, if they have one, and to `port`, where 0 is any.
/// Several connections may leave from one port, each to another peer, where the system can do that.
pub(super) fn bind_connection(
    socket: &Socket,
    to: SocketAddr,
    marks: &Marks,
    port: u16,
) -> io::Result<()> {
    if marks.source.is_none() && port == 0 {
        return Ok(());
    }
    let mut local = source_for(to, marks)?.unwrap_or_else(|| unspecified(to));
    local.set_port(port);
    // Windows would give others the port as well.
    socket.set_reuse_address(cfg!(unix) && port != 0)?;
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
    let to = SocketAddr::new(marks.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0);
    let socket = super::udp::new_socket(to)?;
    set(&socket, to, marks)?;
    match to {
        // Without its zone nobody can bind to it.
        SocketAddr::V6(ip) if ip.ip().is_unicast_link_local() => Ok(()),
        _ => socket.bind(&to.into()),
    }
}
