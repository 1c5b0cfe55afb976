//! This process: its processor time, memory and descriptors.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::{SysconfVar, gethostname, sysconf};

/// Returns the processor time used so far by all threads, in user space and kernel, in nanoseconds. `None` if the
/// system does not tell.
pub(crate) fn cpu_ns() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let ns = |time: TimeVal| u64::try_from(time.num_nanoseconds()).ok();
    ns(usage.user_time())?.checked_add(ns(usage.system_time())?)
}

/// Returns the bytes of resident memory. `None` if the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// Raises the limit of open descriptors as far as that needs no privilege. Returns the limit in
/// force afterwards.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Returns the name of this host; `localhost` if it has no readable name.
pub(crate) fn host_name() -> String {
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Tries to write to a folder, or to the first one on the way to it that is there. Leaves nothing behind.
pub(crate) fn can_write(folder: &Path) -> io::Result<()> {
    let mut known = folder
        .ancestors()
        .filter(|path| path.symlink_metadata().is_ok());
    let known = known.next().unwrap_or_else(|| Path::new("."));
    let mut options = fs::OpenOptions::new();
    let unnamed = options
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600);
    match unnamed.open(known) {
        // This file system has no files without a name: nothing is known.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        tried => tried.map(drop),
    }
}
