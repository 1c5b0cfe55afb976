//! The side of every other system: what the standard library, socket2 and mio have, and a plain no to the
//! rest.

pub(crate) mod batch;
pub(crate) mod events;
pub(crate) mod folders;
pub(crate) mod hardware;
pub(crate) mod icmp;
pub(crate) mod marks;
pub(crate) mod pressure;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod sockets;
pub(crate) mod stamp;
pub(crate) mod supervisor;
pub(crate) mod tcp;
pub(crate) mod time;
pub(crate) mod tuning;
pub(crate) mod udp;

use std::io;

/// What this side lacks, to be told at the start.
pub(crate) const LACKS: Option<&str> = Some(
    "on this system the process itself stamps packets, so its own delays are part of what is measured; there are no \
     ICMP errors and so no hops of paths, no TTLs and classes of what arrives, no retransmissions of TCP, no state of \
     the system's clock and no resident memory; targets have no `interface` and no `df`; a listener on all addresses \
     answers from the one that the system chooses; folders are looked at by time",
);

/// Returns the error of what there is not.
fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::is_lacking;

    #[test]
    fn what_this_side_lacks_is_an_error_that_the_start_has_told_of() {
        let errors = [
            tuning::pin(0).err(),
            tuning::run_in_real_time(1).err(),
            tuning::lock_memory().err(),
            time::clock_state().err(),
            stamp::keep().err(),
            folders::FolderWatch::new().err(),
            hardware::Interface::new("lo").err(),
            sandbox::files(&[]).err(),
            sandbox::calls().err(),
            sandbox::privileges(&[]).err(),
        ];
        for error in errors {
            assert!(is_lacking(&error.expect("there is no such thing")));
        }
        assert!(!is_lacking(&io::ErrorKind::PermissionDenied.into()));
    }
}
