//! Which files this process may open from now on (Landlock).

#![expect(unsafe_code, reason = "the version of Landlock has no safe binding")]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags,
};
use nix::libc;

use crate::sys::words::{Allowed, Right};

/// The newest version whose rights are all known here. The crate leaves out what a kernel does not have.
const KNOWN: ABI = ABI::V5;

/// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
const VERSION: libc::c_uint = 1;

/// Files are restricted: what is refused may be refused by that.
static IS_RESTRICTED: AtomicBool = AtomicBool::new(false);

/// Returns the version of Landlock that the kernel has; `None` if it has none, or has it switched off.
pub(crate) fn files_version() -> Option<i32> {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call reads no attributes.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// Lets the calling thread, and those that it makes, open what is allowed and nothing else. They execute no file, and
/// send no signal to others. Paths that are not there are left out.
pub(crate) fn files(allowed: &[Allowed]) -> io::Result<()> {
    if files_version().is_none() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let rules = allowed
        .iter()
        .filter_map(rule)
        .try_fold(rules, |rules, rule| {
            rules.add_rule(rule).map_err(io::Error::other)
        })?;
    let status = rules.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::ErrorKind::Unsupported.into());
    }
    IS_RESTRICTED.store(true, Ordering::Relaxed);
    Ok(())
}

fn rule(allowed: &Allowed) -> Option<PathBeneath<PathFd>> {
    let opened = PathFd::new(&allowed.path).ok()?;
    let rights = rights(allowed.right);
    // A file has no rights of a folder.
    let rights = if Path::is_dir(&allowed.path) {
        rights
    } else {
        rights & AccessFs::from_file(KNOWN)
    };
    (!rights.is_empty()).then(|| PathBeneath::new(opened, rights))
}

fn rights(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::Read => AccessFs::ReadFile.into(),
        Right::List => AccessFs::ReadFile | AccessFs::ReadDir,
        Right::Write => make_bitflags!(AccessFs::{
            ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile | MakeDir | RemoveDir | Refer
        }),
        // A line that is not written whole is taken back.
        Right::Create => AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate,
        Right::Socket => AccessFs::MakeSock | AccessFs::RemoveFile,
    }
}

/// Adds to an error what may be behind it, if files are restricted.
pub(crate) fn explain(error: io::Error) -> io::Error {
    match hint() {
        "" => error,
        _ if error.kind() != io::ErrorKind::PermissionDenied => error,
        hint => io::Error::new(error.kind(), format!("{error}{hint}")),
    }
}

/// Returns what may be behind a refusal, if files are restricted.
pub(crate) fn hint() -> &'static str {
    if IS_RESTRICTED.load(Ordering::Relaxed) {
        "; the sandbox allows only what was named at the start: a restart takes more"
    } else {
        ""
    }
}
