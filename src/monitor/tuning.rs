//! What the configuration asks of the engine, and of the host for the poll thread: a processor, real
//! time, locked memory.
//! Each needs a privilege or hardware that may be missing. The daemon then logs that and goes on
//! without.

use std::io;

use crate::config::{Config, EngineOptions};
use crate::engine::{EngineConfig, SocketOptions};
use crate::proto::Address;
use crate::sys::{is_lacking, tuning};

/// Returns what the engine of a host with these addresses is to do.
pub(super) fn engine(config: &Config, addresses: Vec<Address>) -> EngineConfig {
    let options = &config.engine;
    EngineConfig {
        addresses,
        tcp_port: config.tcp.then_some(config.tcp_port),
        udp_ports: if config.udp {
            config.udp_ports.clone()
        } else {
            Vec::new()
        },
        spin_ns: u64::from(options.spin_us) * 1_000,
        receive_within_ns: u64::from(options.receive_within_us) * 1_000,
        timestamps: config.timestamps,
        sockets: sockets(options),
    }
}

/// Applies the options to the calling thread and its process.
pub(super) fn apply(options: &EngineOptions) {
    if let Some(cpu) = options.cpu
        && let Err(error) = tuning::pin(cpu.into())
    {
        let allowed = tuning::processors();
        let need = format!("cannot stay on that processor, of {allowed:?}");
        tell(&format!("`cpu = {cpu}`"), &need, &error);
    }
    if options.lock_memory
        && let Err(error) = tuning::lock_memory()
    {
        let need =
            "needs CAP_IPC_LOCK, or a limit of locked memory (`ulimit -l`) as large as the process";
        tell("`lock_memory`", need, &error);
    }
    if let Some(priority) = options.realtime
        && let Err(error) = tuning::run_in_real_time(priority)
    {
        let need = format!(
            "needs CAP_SYS_NICE, or a limit of real-time priority (`ulimit -r`) of {priority}"
        );
        tell(&format!("`realtime = {priority}`"), &need, &error);
    }
}

/// Returns what the options ask for every UDP socket.
fn sockets(options: &EngineOptions) -> SocketOptions {
    let bytes = |kib: Option<u32>| kib.and_then(|kib| usize::try_from(kib).ok()?.checked_mul(1024));
    SocketOptions {
        busy_poll_us: options.busy_poll_us,
        receive_bytes: bytes(options.receive_buffer_kib),
        send_bytes: bytes(options.send_buffer_kib),
    }
}

fn tell(option: &str, need: &str, error: &io::Error) {
    if is_lacking(error) {
        tracing::warn!("going on without {option}: this system has no such option");
    } else {
        tracing::warn!(%error, "going on without {option}: {need}");
    }
}
