//! The sockets on which requests and connections of others come in.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::engine::stamping::Stamping;
use crate::engine::tuning::SocketTuning;
use crate::engine::udp_port::UdpPort;
use crate::engine::{EngineConfig, EngineError, Listening};
use crate::sys;

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
        let only_v6 = config.addresses.iter().any(IpAddr::is_ipv4);
        let mut listeners = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            listening: Listening::default(),
        };
        for address in addresses(config, config.udp_port) {
            let failed = failed("UDP", address);
            let socket = sys::udp::listen(address, only_v6).map_err(&failed)?;
            let bound = socket.local_addr().map_err(&failed)?;
            listeners.listening.udp.push(bound);
            listeners.udp.push(UdpPort::new(socket, tuning, stamping));
        }
        for address in addresses(config, config.tcp_port) {
            let failed = failed("TCP", address);
            let socket = sys::tcp::listen(address, only_v6).map_err(&failed)?;
            let bound = socket.local_addr().map_err(&failed)?;
            listeners.listening.tcp.push(bound);
            let wait = W::default();
            listeners.tcp.push(Acceptor { socket, wait });
        }
        Ok(listeners)
    }
}

fn addresses(config: &EngineConfig, port: Option<u16>) -> impl Iterator<Item = SocketAddr> {
    let with = move |address: &IpAddr| Some(SocketAddr::new(*address, port?));
    config.addresses.iter().filter_map(with)
}

fn failed(protocol: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> EngineError {
    move |source| EngineError::Listen {
        protocol,
        address,
        source,
    }
}
