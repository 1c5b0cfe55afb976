//! What the errors of socket calls mean: to a flow, and to whoever runs this host.

use std::io;

use crate::proto::{CloseReason, Mono};
use crate::sys::host::failure;
use crate::sys::words::{Failure, MarkError};

/// The daemon complains of missing descriptors at most this often. If its own targets want more
/// than there are, the start has said so.
const COMPLAIN_EVERY_NS: u64 = 600_000_000_000;

/// Returns what the core is told of a socket that has failed with `error`.
pub(super) fn close_reason(error: &io::Error) -> CloseReason {
    match MarkError::of(error) {
        Some(MarkError::NoInterface) => return CloseReason::NoInterface,
        Some(MarkError::NoPort) => return CloseReason::NoPort,
        Some(MarkError::OtherFamily) => return CloseReason::OtherFamily,
        Some(MarkError::Unsupported) => return CloseReason::Unsupported,
        None => {}
    }
    match failure(error) {
        Failure::Reset => CloseReason::Reset,
        Failure::Exhausted => CloseReason::Exhausted,
        Failure::NoRoute => CloseReason::NoRoute,
        Failure::NetworkDown => CloseReason::NetworkDown,
        Failure::Denied => CloseReason::Denied,
        Failure::NoAddress | Failure::NoFamily => CloseReason::NoAddress,
        Failure::Other => CloseReason::Failed,
    }
}

/// True if the host has run out of something that it may have again later.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    close_reason(error) == CloseReason::Exhausted && error.kind() != io::ErrorKind::WouldBlock
}

/// True if this host does not have the family of an address to listen on at all.
pub(super) fn lacks_family(error: &io::Error) -> bool {
    failure(error) == Failure::NoFamily || error.kind() == io::ErrorKind::AddrNotAvailable
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

#[cfg(test)]
mod tests {
    use Errno::*;
    use nix::errno::Errno;

    use super::*;

    fn system(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code as i32)
    }

    #[test]
    fn a_flow_is_told_what_the_system_says() {
        let reasons = |codes: &[Errno]| -> Vec<CloseReason> {
            codes
                .iter()
                .map(|code| close_reason(&system(*code)))
                .collect()
        };
        let of_the_peer = reasons(&[ECONNREFUSED, ECONNRESET, EPIPE, ECONNABORTED]);
        assert_eq!(of_the_peer, [CloseReason::Reset; 4]);
        assert_eq!(
            reasons(&[ENETUNREACH, EHOSTUNREACH]),
            [CloseReason::NoRoute; 2]
        );
        let of_the_link = reasons(&[ENETDOWN, ENODEV, ENXIO]);
        assert_eq!(of_the_link, [CloseReason::NetworkDown; 3]);
        assert_eq!(reasons(&[EACCES, EPERM]), [CloseReason::Denied; 2]);
        let of_the_address = reasons(&[EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL]);
        assert_eq!(of_the_address, [CloseReason::NoAddress; 3]);
        let of_this_host = [EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN];
        assert_eq!(reasons(&of_this_host), [CloseReason::Exhausted; 5]);
        assert_eq!(reasons(&[ETIMEDOUT, EIO]), [CloseReason::Failed; 2]);
        let of_the_marks = [
            (MarkError::NoInterface, CloseReason::NoInterface),
            (MarkError::NoPort, CloseReason::NoPort),
            (MarkError::OtherFamily, CloseReason::OtherFamily),
            (MarkError::Unsupported, CloseReason::Unsupported),
        ];
        for (error, reason) in of_the_marks {
            assert_eq!(close_reason(&error.into()), reason);
        }
        let nobody_said = close_reason(&io::Error::other("not the system"));
        assert_eq!(nobody_said, CloseReason::Failed);
    }

    #[test]
    fn a_socket_that_would_block_is_no_want_of_the_host() {
        for code in [EMFILE, ENFILE, ENOBUFS, ENOMEM] {
            assert!(is_exhaustion(&system(code)), "{code}");
        }
        for code in [EAGAIN, ENETDOWN, EIO] {
            assert!(!is_exhaustion(&system(code)), "{code}");
        }
        let error = std::net::UdpSocket::bind("203.0.113.5:0").unwrap_err();
        assert!(lacks_family(&error) && lacks_family(&system(EAFNOSUPPORT)));
        assert!(!lacks_family(&system(EADDRINUSE)));
    }

    #[test]
    fn a_want_is_told_once_in_ten_minutes() {
        let (error, mut complaints) = (system(EMFILE), Complaints::default());
        let mut told_at = |seconds: u64| {
            let now = Mono::from_nanos(seconds * 1_000_000_000);
            complaints.complain(now, "open a socket", &error);
            complaints.last == Some(now)
        };
        assert_eq!(
            [0, 1, 599, 600, 1_199, 1_200].map(&mut told_at),
            [true, false, false, true, false, true]
        );
    }
}
