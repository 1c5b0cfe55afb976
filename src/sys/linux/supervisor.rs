//! Telling a service manager how this process is, as `sd_notify(3)` has it: datagrams to a socket that the
//! environment names.
//!
//! The socket is connected once and kept: a process that has locked itself in may make no other, and what it has taken
//! from the environment is no longer there.

#![expect(unsafe_code, reason = "the environment is changed")]

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, fs, io, process};

use nix::time::{ClockId, clock_gettime};

/// What a service manager sets.
const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_US: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Who has started this process, and wants to be told.
#[derive(Debug)]
pub(crate) struct Supervisor {
    address: SocketAddr,
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Takes what the environment says of a service manager out of it; `None` if nobody wants to be told. The variables
    /// stay in a process that has other threads, which may be reading them.
    pub(crate) fn found() -> io::Result<Option<Self>> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let Some(name) = variable(SOCKET) else {
            return Ok(None);
        };
        let [period, pid] = [WATCHDOG_US, WATCHDOG_PID].map(variable);
        forget([SOCKET, WATCHDOG_US, WATCHDOG_PID]);
        Self::at(&name, watchdog(period, pid, process::id())).map(Some)
    }

    /// The one that listens at this path, or at this abstract name behind `@`.
    pub(crate) fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = address(name)?;
        let socket = UnixDatagram::unbound()?;
        // It tells, and waits for nobody.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self {
            address,
            socket,
            watchdog,
        })
    }

    /// Returns how long it waits for a sign of life, if it does.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it lines of `NAME=value`. Fails where it has no room for them, or is gone.
    pub(crate) fn tell(&self, lines: &str) -> io::Result<()> {
        match self.socket.send(lines.as_bytes()) {
            // It may have begun anew, at the same address. The kernel takes the connection back as it refuses.
            Err(error)
                if [
                    io::ErrorKind::ConnectionRefused,
                    io::ErrorKind::NotConnected,
                ]
                .contains(&error.kind()) =>
            {
                self.socket.connect_addr(&self.address)?;
                self.socket.send(lines.as_bytes())
            }
            sent => sent,
        }
        .map(drop)
    }
}

/// Returns the kernel's monotonic clock in microseconds, by which a service manager orders what it is told.
pub(crate) fn monotonic_us() -> io::Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    u64::try_from(now.as_micros()).map_err(io::Error::other)
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstracted @ ..] => SocketAddr::from_abstract_name(abstracted),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => {
            let name = name.to_string_lossy();
            let text = format!("{SOCKET} is {name:?}, which is no path and no abstract name");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}

/// Returns the time that the variables ask for, if they mean this process.
fn watchdog(period: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |value: OsString| value.to_str()?.parse::<u64>().ok();
    let is_ours = pid.is_none_or(|pid| number(pid) == Some(own.into()));
    let period = number(period?).filter(|period| *period > 0 && is_ours)?;
    Some(Duration::from_micros(period))
}

/// Removes variables, unless another thread may be reading the environment.
fn forget(names: [&str; 3]) {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    if threads.is_ok_and(|count| count == 1) {
        for name in names {
            // SAFETY: this is the only thread, so nobody reads or changes the environment meanwhile.
            unsafe { env::remove_var(name) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        str::from_utf8(&bytes[..length]).unwrap().to_owned()
    }

    #[test]
    fn it_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstracted = format!("@latency-monitor-test-{}", process::id());
        for name in [path.as_os_str(), abstracted.as_ref()] {
            let bind = || UnixDatagram::bind_addr(&address(name).unwrap()).unwrap();
            let manager = bind();
            let supervisor = Supervisor::at(name, None).unwrap();
            supervisor.tell("READY=1").unwrap();
            assert_eq!(read(&manager), "READY=1");
            // Another one takes its place.
            drop(manager);
            assert!(supervisor.tell("STOPPING=1").is_err());
            if name == path {
                fs::remove_file(&path).unwrap();
            }
            let manager = bind();
            supervisor.tell("WATCHDOG=1").unwrap();
            assert_eq!(read(&manager), "WATCHDOG=1");
        }
        for wrong in ["", "notify", "vsock:2:1"] {
            let error = Supervisor::at(wrong.as_ref(), None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{wrong}");
        }
    }

    #[test]
    fn whoever_hears_nothing_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), None).unwrap();
        let refused = (0..100_000).find_map(|_| supervisor.tell("WATCHDOG=1").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_watchdog_is_for_this_process() {
        let asked = |period: &str, pid: Option<&str>| {
            watchdog(Some(period.into()), pid.map(OsString::from), 7)
        };
        let half_minute = Some(Duration::from_secs(30));
        assert_eq!(asked("30000000", None), half_minute);
        assert_eq!(asked("30000000", Some("7")), half_minute);
        assert_eq!(asked("30000000", Some("8")), None);
        for none in ["0", "-1", "soon", "99999999999999999999"] {
            assert_eq!(asked(none, None), None, "{none}");
        }
        assert_eq!(watchdog(None, Some("7".into()), 7), None);
    }
}
