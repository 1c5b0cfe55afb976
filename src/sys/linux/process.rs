//! This process: its memory, and where it may write.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;
use nix::unistd::{SysconfVar, sysconf};

/// Returns the bytes of resident memory. `None` if the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
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
