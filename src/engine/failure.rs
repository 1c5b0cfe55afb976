//! What the errors of socket calls mean: to a flow, and to whoever runs this host.

use std::io;

use nix::errno::Errno;

use crate::proto::{CloseReason, Mono};

/// The daemon complains of missing descriptors at most this often. If its own targets want more
/// than there are, the start has said so.
const COMPLAIN_EVERY_NS: u64 = 600_000_000_000;

/// Returns what the core is told of a socket that has failed with `error`.
pub(super) fn close_reason(error: &io::Error) -> CloseReason {
    let Some(code) = error.raw_os_error() else {
        return CloseReason::Failed;
    };
    match Errno::from_raw(code) {
        Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED => {
            CloseReason::Reset
        }
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            CloseReason::Exhausted
        }
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => CloseReason::NoRoute,
        Errno::ENETDOWN | Errno::ENODEV | Errno::ENXIO => CloseReason::NetworkDown,
        Errno::EACCES | Errno::EPERM => CloseReason::Denied,
        Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::EINVAL => CloseReason::NoAddress,
        _ => CloseReason::Failed,
    }
}

/// True if the host has run out of something that it may have again later.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    close_reason(error) == CloseReason::Exhausted && error.kind() != io::ErrorKind::WouldBlock
}

/// True if this host does not have the family of an address to listen on at all.
pub(super) fn lacks_family(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// Says that the host has run out of something, but not for every probe that suffers from it.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Mono>,
}

impl Complaints {
    /// Logs that `operation` has failed with `error`, unless there was a complaint not long ago.
    pub(super) fn complain(&mut self, now: Mono, operation: &str, error: &io::Error) {
        let is_due = |last| now.since(last) >= COMPLAIN_EVERY_NS;
        if self.last.is_none_or(is_due) {
            self.last = Some(now);
            tracing::error!(
                %error,
                "cannot {operation}; trying again (raise the limit of open files, `ulimit -n`, \
                 or probe fewer targets)"
            );
        }
    }
}
