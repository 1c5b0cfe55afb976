//! The sockets on which requests and connections of others come in.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::failure::lacks_family;
use crate::engine::stamping::Stamping;
use crate::engine::tuning::SocketTuning;
use crate::engine::udp_port::UdpPort;
use crate::engine::{EngineConfig, EngineError, Listening};
use crate::sys;
use crate::sys::sockets::TcpListener;

/// A TCP listener. `W` is how the engine waits for it.
#[derive(Debug)]
pub(super) struct Acceptor<W> {
    pub(super) socket: TcpListener,
    pub(super) wait: W,
}

/// All listeners, in the order configured.
#[derive(Debug)]
pub(super) struct Listeners<W> {
    pub(super) udp: Vec<UdpPort<W>>,
    pub(super) tcp: Vec<Acceptor<W>>,
    pub(super) listening: Listening,
}

impl<W: Default> Listeners<W> {
    /// Opens every listener. The error names the first address that cannot be had.
    pub(super) fn open(
        config: &EngineConfig,
        tuning: &mut SocketTuning,
        stamping: &Stamping,
    ) -> Result<Self, EngineError> {
        // Two sockets cannot both take IPv4 on one port.
        let only_v6 = config.addresses.is_empty()
            || config.addresses.iter().any(|address| address.ip.is_ipv4());
        let mut listeners = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            listening: Listening::default(),
        };
        let (udp, tcp) = (&mut listeners.udp, &mut listeners.tcp);
        listeners.listening.udp = open_each(config, "UDP", &config.udp_ports, |address| {
            let socket = sys::udp::listen(address, only_v6)?;
            let bound = socket.local_addr()?;
            udp.push(UdpPort::new(socket, tuning, stamping));
            Ok(bound)
        })?;
        listeners.listening.tcp =
            open_each(config, "TCP", config.tcp_port.as_slice(), |address| {
                let socket = sys::tcp::listen(address, only_v6)?;
                let bound = socket.local_addr()?;
                let wait = W::default();
                tcp.push(Acceptor { socket, wait });
                Ok(bound)
            })?;
        Ok(listeners)
    }
}

/// Opens what `open` does for each port, on each configured address or on all addresses of this host,
/// and returns where that is.
fn open_each(
    config: &EngineConfig,
    protocol: &'static str,
    ports: &[u16],
    mut open: impl FnMut(SocketAddr) -> io::Result<SocketAddr>,
) -> Result<Vec<SocketAddr>, EngineError> {
    let mut ports = ports.to_vec();
    // The system could choose one of the others for a free one.
    ports.sort_by_key(|port| *port == 0);
    let mut bound = Vec::new();
    for port in ports {
        if config.addresses.is_empty() {
            bound.extend(open_anywhere(protocol, port, &mut open)?);
        }
        for address in &config.addresses {
            let address = address.at(port);
            bound.push(open(address).map_err(failed(protocol, address))?);
        }
    }
    Ok(bound)
}

/// Opens what `open` does on all addresses of this host, with a socket for each family: an IPv4 peer
/// then has the same address as without IPv6. A host without IPv6 goes without.
fn open_anywhere(
    protocol: &'static str,
    port: u16,
    mut open: impl FnMut(SocketAddr) -> io::Result<SocketAddr>,
) -> Result<Vec<SocketAddr>, EngineError> {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let mut bound = vec![open(v4).map_err(failed(protocol, v4))?];
    // A port that the system chose for IPv4 is most likely free for IPv6, too.
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, bound[0].port()));
    let mut opened = open(v6);
    if port == 0 && matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
        opened = open((Ipv6Addr::UNSPECIFIED, 0).into());
    }
    match opened {
        Ok(address) => bound.push(address),
        Err(error) if lacks_family(&error) => {
            tracing::debug!(%error, protocol, "this host has no IPv6");
        }
        Err(error) => return Err(failed(protocol, v6)(error)),
    }
    Ok(bound)
}

fn failed(protocol: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> EngineError {
    move |source| EngineError::Listen {
        protocol,
        address,
        source,
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    /// Opens nothing: IPv4 is there, and what comes of `::` is `v6`.
    fn anywhere(port: u16, v6: Option<Errno>) -> Result<Vec<SocketAddr>, EngineError> {
        open_anywhere("UDP", port, |address| match v6 {
            Some(error) if address.is_ipv6() => Err(error.into()),
            _ if address.port() == 0 => Ok(SocketAddr::new(address.ip(), 40_000)),
            _ => Ok(address),
        })
    }

    fn shown(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn both_families_have_the_same_port() {
        let both = |port| shown(&anywhere(port, None).expect("both are there"));
        assert_eq!(both(8001), ["0.0.0.0:8001", "[::]:8001"]);
        assert_eq!(both(0), ["0.0.0.0:40000", "[::]:40000"]);
    }

    #[test]
    fn every_port_is_opened_on_every_address_and_a_free_one_last() {
        let config = |addresses: &[&str]| EngineConfig {
            addresses: addresses
                .iter()
                .map(|address| address.parse::<std::net::IpAddr>().unwrap().into())
                .collect(),
            tcp_port: None,
            udp_ports: vec![8001, 0, 862],
            spin_ns: 0,
            receive_within_ns: 0,
            timestamps: crate::engine::Timestamps::Auto,
            sockets: crate::engine::SocketOptions::default(),
        };
        let opened = |config: &EngineConfig| {
            let bound = open_each(config, "UDP", &config.udp_ports, Ok).expect("all are there");
            shown(&bound)
        };
        let some = ["192.0.2.1:8001", "[::1]:8001", "192.0.2.1:862", "[::1]:862"];
        let free = ["192.0.2.1:0", "[::1]:0"];
        assert_eq!(
            opened(&config(&["192.0.2.1", "::1"])),
            [&some[..], &free].concat()
        );
        let all = ["0.0.0.0:8001", "[::]:8001", "0.0.0.0:862", "[::]:862"];
        assert_eq!(opened(&config(&[]))[..4], all);
        let none = open_each(&config(&[]), "TCP", &[], Ok).expect("nothing fails");
        assert!(none.is_empty());
    }

    #[test]
    fn a_host_without_ipv6_listens_on_ipv4() {
        for error in [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL] {
            let bound = anywhere(8001, Some(error)).expect("IPv4 is there");
            assert_eq!(shown(&bound), ["0.0.0.0:8001"]);
        }
    }

    #[test]
    fn a_port_that_another_process_has_is_an_error_on_either_family() {
        for error in [Errno::EADDRINUSE, Errno::EACCES] {
            let error = anywhere(8001, Some(error)).expect_err("somebody has it");
            assert!(error.to_string().contains("UDP [::]:8001"), "{error}");
        }
    }

    #[test]
    fn a_free_port_of_ipv4_that_ipv6_has_taken_is_another_one_there() {
        let bound = open_anywhere("TCP", 0, |address| match address {
            SocketAddr::V6(address) if address.port() != 0 => Err(Errno::EADDRINUSE.into()),
            SocketAddr::V6(_) => Ok((Ipv6Addr::UNSPECIFIED, 40_001).into()),
            SocketAddr::V4(_) => Ok((Ipv4Addr::UNSPECIFIED, 40_000).into()),
        });
        let bound = bound.expect("both are there");
        assert_eq!(shown(&bound), ["0.0.0.0:40000", "[::]:40001"]);
    }
}
