//! What to say of a ring that the system refuses.

use std::fs;
use std::io;

use nix::errno::Errno;

/// The system does not give the process what a ring takes.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What was asked for.
    pub(crate) what: &'static str,
    pub(crate) error: io::Error,
}

/// Where the system says who may use io_uring.
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

impl Refusal {
    /// Returns who most likely refuses it, and what would be right.
    pub(crate) fn hint(&self) -> &'static str {
        let code = self.error.raw_os_error().map(Errno::from_raw);
        let sysctl = fs::read_to_string(SYSCTL).unwrap_or_default();
        hint(code, sysctl.trim())
    }
}

fn hint(code: Option<Errno>, sysctl: &str) -> &'static str {
    match (code, sysctl) {
        (Some(Errno::EPERM), "2") => "the sysctl kernel.io_uring_disabled is 2; 0 allows io_uring",
        (Some(Errno::EPERM), "1") => {
            "the sysctl kernel.io_uring_disabled is 1: it takes CAP_SYS_ADMIN or the group in \
             kernel.io_uring_group; 0 allows io_uring to all"
        }
        (Some(Errno::EPERM | Errno::EACCES), _) => {
            "a seccomp filter forbids it, as those of containers do; allow io_uring_setup, io_uring_enter and \
             io_uring_register"
        }
        (Some(Errno::ENOSYS), _) => {
            "this kernel has no io_uring, or a seccomp filter hides it: then allow io_uring_setup, io_uring_enter and \
             io_uring_register"
        }
        (Some(Errno::ENOMEM), _) => "raise the limit of locked memory, `ulimit -l`",
        (Some(Errno::EMFILE | Errno::ENFILE), _) => "raise the limit of open files, `ulimit -n`",
        _ => "it takes Linux 6.1 or newer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_refuses_and_what_would_be_right() {
        for (code, sysctl, named) in [
            (Some(Errno::EPERM), "2", "kernel.io_uring_disabled is 2"),
            (Some(Errno::EPERM), "1", "kernel.io_uring_group"),
            (Some(Errno::EPERM), "0", "seccomp"),
            (Some(Errno::EPERM), "", "seccomp"),
            (Some(Errno::ENOSYS), "0", "this kernel has no io_uring"),
            (Some(Errno::ENOMEM), "0", "ulimit -l"),
            (Some(Errno::EMFILE), "0", "ulimit -n"),
            (Some(Errno::EINVAL), "0", "Linux 6.1"),
            (None, "0", "Linux 6.1"),
        ] {
            let hint = hint(code, sysctl);
            assert!(hint.contains(named), "{code:?} {sysctl}: {hint}");
        }
    }
}
