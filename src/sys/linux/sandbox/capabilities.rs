//! The capabilities of this process (capabilities(7)).

#![expect(unsafe_code, reason = "these calls have no safe binding")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

use crate::limits::SANDBOX_ENTRIES_MAX;
use crate::sys::words::{Allowed, Privilege, Right};

/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`: two words of 32 capabilities each.
const VERSION_3: u32 = 0x2008_0522;

/// The greatest number that a capability can have in those.
const LAST: u32 = 63;

const ALL: [Privilege; 7] = [
    Privilege::LowPorts,
    Privilege::Network,
    Privilege::Interfaces,
    Privilege::LockMemory,
    Privilege::Schedule,
    Privilege::ReadAll,
    Privilege::WriteAll,
];

/// Returns the number of a capability in `linux/capability.h`.
const fn number(privilege: Privilege) -> u32 {
    match privilege {
        Privilege::WriteAll => 1,
        Privilege::ReadAll => 2,
        Privilege::LowPorts => 10,
        Privilege::Network => 12,
        Privilege::Interfaces => 13,
        Privilege::LockMemory => 14,
        Privilege::Schedule => 23,
    }
}

fn bits(privileges: &[Privilege]) -> u64 {
    privileges
        .iter()
        .fold(0, |bits, it| bits | 1 << number(*it))
}

#[repr(C)]
struct Header {
    version: u32,
    thread: libc::c_int,
}

/// One word of each set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The sets of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

impl Sets {
    fn read() -> io::Result<Self> {
        let mut words = [Words::default(); 2];
        let mut header = Header {
            version: VERSION_3,
            thread: 0,
        };
        // SAFETY: this version writes two words of each set, for which there is room.
        let result =
            unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
        Errno::result(result)?;
        let [low, high] = words;
        let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Self {
            effective: whole(low.effective, high.effective),
            permitted: whole(low.permitted, high.permitted),
            inheritable: whole(low.inheritable, high.inheritable),
        })
    }

    fn write(self) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "each half of it")]
        let word = |shift: u32| Words {
            effective: (self.effective >> shift) as u32,
            permitted: (self.permitted >> shift) as u32,
            inheritable: (self.inheritable >> shift) as u32,
        };
        let words = [word(0), word(32)];
        let mut header = Header {
            version: VERSION_3,
            thread: 0,
        };
        // SAFETY: this version reads two words of each set, which live until the call returns.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
        Ok(Errno::result(result).map(drop)?)
    }
}

/// Returns those of the privileges that the calling thread has.
pub(crate) fn held() -> Vec<Privilege> {
    let effective = Sets::read().map_or(0, |sets| sets.effective);
    let has = |privilege: &Privilege| effective & bits(&[*privilege]) != 0;
    ALL.into_iter().filter(has).collect()
}

/// Gives up every capability of the calling thread, and of those that it makes, but these, and all ways to get one.
/// Returns which it has then.
pub(crate) fn privileges(kept: &[Privilege]) -> io::Result<Vec<Privilege>> {
    let (before, kept) = (Sets::read()?, bits(kept));
    let set = |option: libc::c_int, argument: libc::c_ulong| {
        let none: libc::c_ulong = 0;
        // SAFETY: these options take numbers only.
        let result = unsafe { libc::prctl(option, argument, none, none, none) };
        Errno::result(result)
    };
    set(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // What a started program would get. None is started, so that these fail harms nothing.
    for capability in 0..=LAST {
        let is_bound = set(libc::PR_CAPBSET_READ, capability.into()) == Ok(1);
        if is_bound && kept & 1 << capability == 0 {
            let _ = set(libc::PR_CAPBSET_DROP, capability.into());
        }
    }
    let _ = set(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
    );
    let sets = Sets {
        effective: before.effective & kept,
        permitted: before.permitted & kept,
        inheritable: 0,
    };
    // A unit of systemd that gives none forbids the call.
    if sets != before {
        sets.write()?;
    }
    Ok(held())
}

/// Returns the privileges without which the modes and owners of these paths would be in the way.
pub(crate) fn past_modes(allowed: &[Allowed]) -> Vec<Privilege> {
    let past = [Privilege::ReadAll, Privilege::WriteAll];
    let Ok(before) = Sets::read() else {
        return Vec::new();
    };
    let lowered = Sets {
        effective: before.effective & !bits(&past),
        ..before
    };
    if lowered == before || lowered.write().is_err() {
        return Vec::new();
    }
    let is_refused = |one: &&Allowed| {
        let mut paths = vec![one.path.clone()];
        paths.extend(entries(one));
        paths.iter().any(|path| is_denied(path, one.right))
    };
    let refused: Vec<&Allowed> = allowed.iter().filter(is_refused).collect();
    // It had them a moment ago.
    let _ = before.write();
    let is_written =
        |one: &&Allowed| matches!(one.right, Right::Create | Right::Write | Right::Socket);
    if refused.iter().any(is_written) {
        // It is enough to read as well.
        vec![Privilege::WriteAll]
    } else if refused.is_empty() {
        Vec::new()
    } else {
        vec![Privilege::ReadAll]
    }
}

/// Returns the files in a folder whose files are used, as many as are looked at.
fn entries(allowed: &Allowed) -> Vec<PathBuf> {
    if !matches!(allowed.right, Right::List | Right::Write) {
        return Vec::new();
    }
    let entries = fs::read_dir(&allowed.path).into_iter().flatten().flatten();
    let paths = entries.take(SANDBOX_ENTRIES_MAX).map(|entry| entry.path());
    paths.filter(|path| path.is_file()).collect()
}

/// True if the calling thread has no access to a path that is there.
fn is_denied(path: &Path, right: Right) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let is_folder = path.is_dir();
    let mode = match right {
        Right::Read if is_folder => libc::X_OK,
        Right::List if is_folder => libc::R_OK | libc::X_OK,
        Right::Read | Right::List => libc::R_OK,
        Right::Write if is_folder => libc::R_OK | libc::W_OK | libc::X_OK,
        Right::Write => libc::R_OK | libc::W_OK,
        Right::Create => libc::W_OK,
        Right::Socket => libc::W_OK | libc::X_OK,
    };
    // SAFETY: the name ends with a zero, and lives until the call returns.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), mode, libc::AT_EACCESS) };
    Errno::result(result) == Err(Errno::EACCES)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_keeps_what_it_names_of_what_it_has() {
        let before = held();
        let given_up = thread::spawn(|| {
            let kept = privileges(&[Privilege::Schedule]).expect("it is always allowed");
            let sets = Sets::read().expect("the kernel tells");
            // What is gone does not come back.
            let all = Sets {
                effective: bits(&ALL),
                permitted: bits(&ALL),
                inheritable: 0,
            };
            (kept, sets, all.write().is_err())
        });
        let (kept, sets, is_lost) = given_up.join().expect("no panic");
        let has = before.contains(&Privilege::Schedule);
        assert_eq!(kept.contains(&Privilege::Schedule), has);
        assert_eq!(sets.permitted & !bits(&[Privilege::Schedule]), 0);
        assert!(is_lost);
        // Other threads are as before.
        assert_eq!(held(), before);
    }

    #[test]
    fn what_modes_allow_needs_no_privilege() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let file = path.join("file");
        fs::write(&file, "").expect("a file");
        let ours: Vec<Allowed> = [
            (&path, Right::List),
            (&path, Right::Write),
            (&file, Right::Read),
        ]
        .into_iter()
        .map(|(path, right)| Allowed {
            path: path.clone(),
            right,
        })
        .collect();
        assert_eq!(past_modes(&ours), []);
    }

    #[test]
    fn what_modes_forbid_needs_one_of_whoever_has_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("closed");
        fs::write(&file, "").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("it is ours");
        let closed = |right| Allowed {
            path: file.clone(),
            right,
        };
        // As root we may all the same, and as others we could not anyway.
        let of = |privilege| {
            if held().contains(&privilege) {
                vec![privilege]
            } else {
                Vec::new()
            }
        };
        assert_eq!(past_modes(&[closed(Right::Read)]), of(Privilege::ReadAll));
        assert_eq!(past_modes(&[closed(Right::Write)]), of(Privilege::WriteAll));
    }
}
