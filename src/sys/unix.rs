//! What every Unix has, for both sides: errors by number, the process, files and their modes, names of
//! interfaces.

#![expect(unsafe_code, reason = "a signal's action has no safe binding")]

use std::fs::{self, File, Permissions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::gethostname;

use crate::sys::words::Failure;

/// The mode of a Unix socket: who may write to it may connect.
const SOCKET_MODE: u32 = 0o660;

/// Where the hard limit of open descriptors is not the system's own last word (`OPEN_MAX` of macOS).
const DESCRIPTORS_SURE: libc::rlim_t = 10_240;

/// Something that is open: a file, a stream.
pub(crate) trait Open: AsFd {}

impl<T: AsFd> Open for T {}

/// Returns what the error of a socket call is about.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let Some(code) = error.raw_os_error() else {
        return Failure::Other;
    };
    match Errno::from_raw(code) {
        Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED => {
            Failure::Reset
        }
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            Failure::Exhausted
        }
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Failure::NoRoute,
        Errno::ENETDOWN | Errno::ENODEV | Errno::ENXIO => Failure::NetworkDown,
        Errno::EACCES | Errno::EPERM => Failure::Denied,
        Errno::EADDRNOTAVAIL | Errno::EINVAL => Failure::NoAddress,
        Errno::EAFNOSUPPORT => Failure::NoFamily,
        _ => Failure::Other,
    }
}

/// True if a connection that was begun is under way.
pub(crate) fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EINPROGRESS as i32)
}

/// Returns the processor time used so far by all threads, in user space and kernel, in nanoseconds. `None` if the
/// system does not tell.
pub(crate) fn cpu_ns() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let ns = |time: TimeVal| u64::try_from(time.num_nanoseconds()).ok();
    ns(usage.user_time())?.checked_add(ns(usage.system_time())?)
}

/// Raises the limit of open descriptors as far as that needs no privilege. Returns the limit in
/// force afterwards.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let mut limit = hard;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, limit, hard).is_err() {
        limit = DESCRIPTORS_SURE.clamp(soft, hard);
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    }
    // Some systems have a sign.
    Ok(u64::try_from(i128::from(limit)).unwrap_or(u64::MAX))
}

/// Returns the name of this host; `localhost` if it has no readable name.
pub(crate) fn host_name() -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// True if a signal is ignored, as `nohup` and a shell's `&` leave it to us.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: there is no new action, and room for the present one.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are an action, too.
    let action = unsafe { action.assume_init() };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Opens the same file or stream once more.
pub(crate) fn duplicate(open: &impl Open) -> io::Result<File> {
    Ok(File::from(open.as_fd().try_clone_to_owned()?))
}

/// True if nobody but its owner can read a file.
pub(crate) fn is_private(file: &File) -> io::Result<bool> {
    let others = file.metadata()?.permissions().mode() & 0o077;
    Ok(others == 0)
}

/// Listens on a Unix socket, non-blocking. One that a process left behind, and on which nobody listens, is replaced.
pub(crate) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// Returns the first IPv4 address of an interface.
pub(crate) fn interface_address(name: &str) -> Option<String> {
    let mut found = nix::ifaddrs::getifaddrs().ok()?;
    found.find_map(|interface| {
        let address = interface
            .address
            .filter(|_| interface.interface_name == name)?;
        Some(address.as_sockaddr_in()?.ip().to_string())
    })
}

/// Returns a link-local address with the number of its interface in place of the name, if it has one.
pub(crate) fn numbered_zone(address: &str) -> Option<String> {
    let (ip, name) = address.split_once('%')?;
    let number = nix::net::if_::if_nametoindex(name).ok()?;
    Some(format!("{ip}%{number}"))
}

#[cfg(test)]
mod tests {
    use Errno::*;

    use super::*;

    #[test]
    fn the_systems_numbers_become_words() {
        let words: [(Failure, &[Errno]); 8] = [
            (
                Failure::Reset,
                &[ECONNREFUSED, ECONNRESET, EPIPE, ECONNABORTED],
            ),
            (
                Failure::Exhausted,
                &[EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN],
            ),
            (Failure::NoRoute, &[ENETUNREACH, EHOSTUNREACH]),
            (Failure::NetworkDown, &[ENETDOWN, ENODEV, ENXIO]),
            (Failure::Denied, &[EACCES, EPERM]),
            (Failure::NoAddress, &[EADDRNOTAVAIL, EINVAL]),
            (Failure::NoFamily, &[EAFNOSUPPORT]),
            (Failure::Other, &[ETIMEDOUT, EIO]),
        ];
        for (word, codes) in words {
            for code in codes {
                let error = io::Error::from_raw_os_error(*code as i32);
                assert_eq!(failure(&error), word, "{code}");
            }
        }
        let nobody_said = io::Error::other("not the system");
        assert_eq!(failure(&nobody_said), Failure::Other);
    }

    #[test]
    fn a_zone_has_a_number() {
        let lo = if cfg!(target_os = "linux") {
            "lo"
        } else {
            "lo0"
        };
        let numbered = numbered_zone(&format!("fe80::1%{lo}"));
        assert_eq!(numbered.as_deref(), Some("fe80::1%1"));
        for without in ["fe80::1%1", "fe80::1%no-such-link", "::1"] {
            assert_eq!(numbered_zone(without), None, "{without}");
        }
    }
}
