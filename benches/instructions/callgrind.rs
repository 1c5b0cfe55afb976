//! Runs this very program under callgrind, and reads what it has counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// The plain `memcpy` and its like, which every processor has; unknown names are ignored.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// What was executed from within each function, by what called it.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// By caller and callee.
    calls: BTreeMap<(String, String), u64>,
}

impl Profile {
    /// Instructions of a function and of all that it has called.
    pub(crate) fn inclusive(&self, function: &str) -> u64 {
        let calls = self.calls.iter();
        calls
            .filter(|((_, callee), _)| is(callee, function))
            .map(|(_, cost)| cost)
            .sum()
    }

    /// Those of the calls that one function has made to another.
    pub(crate) fn called(&self, caller: &str, callee: &str) -> u64 {
        let calls = self.calls.iter();
        calls
            .filter(|((from, to), _)| is(from, caller) && is(to, callee))
            .map(|(_, cost)| cost)
            .sum()
    }

    /// Reads callgrind's output, without compression: `fn=`, its own costs, and for each callee `cfn=`,
    /// `calls=` and the inclusive cost.
    fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let (mut caller, mut callee) = (String::new(), String::new());
        let mut is_call = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                name.clone_into(&mut caller);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                name.clone_into(&mut callee);
            } else if line.starts_with("calls=") {
                is_call = true;
            } else if std::mem::take(&mut is_call)
                && let Some(cost) = line.split(' ').nth(1)
            {
                let key = (caller.clone(), callee.clone());
                *profile.calls.entry(key).or_default() += cost.parse().unwrap_or(0);
            }
        }
        profile
    }
}

/// Whether a full name is that of the function that is meant, by the last parts of its path.
fn is(full: &str, function: &str) -> bool {
    // Older compilers' names end with a hash.
    let name = match full.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => full,
    };
    name.strip_suffix(function)
        .is_some_and(|before| before.ends_with("::"))
}

/// Valgrind's version, if it is installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What this program does with these arguments.
pub(crate) fn profile(arguments: &[&str]) -> io::Result<Profile> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(arguments)
        .env("GLIBC_TUNABLES", PLAIN)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("valgrind: {told}")));
    }
    Ok(Profile::parse(&fs::read_to_string(&out)?))
}
