//! What `[engine]` asks of the host for the poll thread: a processor, real time, locked memory.
//! Each needs a privilege or hardware that may be missing. The daemon then logs that and goes on
//! without.

use std::io;

use crate::config::EngineOptions;
use crate::engine::SocketOptions;
use crate::sys::tuning;

/// Applies the options to the calling thread and its process.
pub(super) fn apply(options: &EngineOptions) {
    if let Some(cpu) = options.cpu
        && let Err(error) = tuning::pin(cpu.into())
    {
        let allowed = tuning::processors();
        tell(
            &format!("`cpu = {cpu}`: cannot stay on that processor, of {allowed:?}"),
            &error,
        );
    }
    if options.lock_memory
        && let Err(error) = tuning::lock_memory()
    {
        let need =
            "needs CAP_IPC_LOCK, or a limit of locked memory (`ulimit -l`) as large as the process";
        tell(&format!("`lock_memory`: {need}"), &error);
    }
    if let Some(priority) = options.realtime
        && let Err(error) = tuning::run_in_real_time(priority)
    {
        let need = format!(
            "needs CAP_SYS_NICE, or a limit of real-time priority (`ulimit -r`) of {priority}"
        );
        tell(&format!("`realtime = {priority}`: {need}"), &error);
    }
}

/// Returns what the options ask for every UDP socket.
pub(super) fn sockets(options: &EngineOptions) -> SocketOptions {
    let bytes = |kib: Option<u32>| kib.and_then(|kib| usize::try_from(kib).ok()?.checked_mul(1024));
    SocketOptions {
        busy_poll_us: options.busy_poll_us,
        receive_bytes: bytes(options.receive_buffer_kib),
        send_bytes: bytes(options.send_buffer_kib),
    }
}

fn tell(what: &str, error: &io::Error) {
    tracing::warn!(%error, "going on without {what}");
}
