//! Which paths stay open to the daemon.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, NamedPath, Usage};
use crate::sys::words::{Allowed, Right};

/// What the system's libraries read: how names are resolved and by which modules, which certificates are trusted. They
/// are whole folders, since files in them are replaced, and a rule is of a file and not of its name. `/proc` is, too:
/// what is below it is made anew now and then, and would lose its rule.
const OF_SYSTEM: [&str; 17] = [
    "/etc",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc",
    "/run/NetworkManager",
    "/run/connman",
    "/run/netconfig",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys",
    "/usr",
    "/var/lib/ca-certificates",
    "/var/lib/sss",
];

/// Devices that libraries read.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// Files of the system that may be links to somewhere else.
const LINKS: [&str; 3] = ["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Where certificates are, if the environment says so.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Makes the folders that are written to: what is not there can have no rule. Whoever writes there tells what is wrong
/// with one.
pub(super) fn make_folders(config: &Config) {
    for named in &config.paths {
        if named.usage == Usage::WriteFolder {
            let _ = fs::create_dir_all(&named.path);
        }
    }
}

/// Returns the paths that the configuration names, as they are used.
pub(super) fn named(config: &Config) -> Vec<Allowed> {
    let named = config.paths.iter().map(|named| match named.usage {
        Usage::Socket => allow(folder(&named.path), Right::Socket),
        usage => allow(&named.path, right(usage)),
    });
    let lists = config.discovery.iter().flat_map(|it| &it.files);
    let lists = lists.map(|glob| allow(whole(&glob.folder), Right::List));
    named.chain(lists).collect()
}

/// Returns everything that stays open.
pub(super) fn allowed(config: &Config) -> Vec<Allowed> {
    let mut allowed = Vec::new();
    for one in named(config) {
        match one.right {
            Right::Read | Right::Create => allowed.extend(beside(&one.path, one.right)),
            Right::List | Right::Write | Right::Socket => allowed.push(one),
        }
    }
    let at = |path: &&str, right| allow(Path::new(path), right);
    allowed.extend(OF_SYSTEM.iter().map(|path| at(path, Right::List)));
    allowed.extend(DEVICES.iter().map(|path| at(path, Right::Read)));
    for link in LINKS {
        allowed.extend(beside(Path::new(link), Right::Read));
    }
    for variable in CERTIFICATES {
        let paths = env::var_os(variable).unwrap_or_default();
        allowed.extend(env::split_paths(&paths).map(|path| allow(&path, Right::List)));
    }
    // A panic that tells where it came from reads the program.
    let program = env::current_exe().ok();
    allowed.extend(program.map(|path| allow(&path, Right::Read)));
    allowed
}

/// Returns what the configuration names and is not allowed.
pub(super) fn beyond(allowed: &[Allowed], config: &Config) -> Vec<String> {
    let is_beyond = |named: &&NamedPath| {
        let path = match named.usage {
            Usage::WriteFolder | Usage::ReadFolder => there(&named.path),
            _ => there(folder(&named.path)),
        };
        let right = right(named.usage);
        let holds = |one: &Allowed| covers(one.right, right) && path.starts_with(there(&one.path));
        // That of a file in `/` is its own.
        let is_itself = |one: &Allowed| one.path == named.path && one.right == right;
        !allowed.iter().any(|one| holds(one) || is_itself(one))
    };
    let beyond = config.paths.iter().filter(is_beyond);
    let tell = |named: &NamedPath| format!("`{}` {}", named.key, named.path.display());
    beyond.map(tell).collect()
}

fn allow(path: &Path, right: Right) -> Allowed {
    Allowed {
        path: path.to_owned(),
        right,
    }
}

const fn right(usage: Usage) -> Right {
    match usage {
        Usage::ReadFile => Right::Read,
        Usage::ReadFolder => Right::List,
        Usage::WriteFile => Right::Create,
        Usage::WriteFolder => Right::Write,
        Usage::Socket => Right::Socket,
    }
}

/// True if whoever has one right has the other one, too.
const fn covers(has: Right, wanted: Right) -> bool {
    match wanted {
        Right::Read => matches!(has, Right::Read | Right::List | Right::Write),
        Right::List => matches!(has, Right::List | Right::Write),
        Right::Create => matches!(has, Right::Create | Right::Write),
        Right::Write => matches!(has, Right::Write),
        Right::Socket => matches!(has, Right::Socket),
    }
}

/// Returns the folder of a file, and that of the file which a link leads to: another file may be put in its place.
/// Where that would be everything there is, it is the file itself.
fn beside(path: &Path, right: Right) -> Vec<Allowed> {
    let linked = fs::canonicalize(path).ok();
    let mut folders: Vec<&Path> = [Some(path), linked.as_deref()]
        .into_iter()
        .flatten()
        .map(folder)
        .collect();
    folders.retain(|folder| there(folder) != Path::new("/"));
    if folders.is_empty() {
        folders.push(path);
    }
    folders.into_iter().map(|it| allow(it, right)).collect()
}

/// Returns the folder that a file is in.
fn folder(path: &Path) -> &Path {
    whole(path.parent().unwrap_or(path))
}

/// Returns a folder by a path that is not empty.
fn whole(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// Returns a path without links; that of the last folder on the way to it which is there, and the rest behind.
fn there(path: &Path) -> PathBuf {
    for known in path.ancestors() {
        if let Ok(found) = fs::canonicalize(whole(known)) {
            let rest = path.strip_prefix(known).unwrap_or_else(|_| Path::new(""));
            return found.join(rest);
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn parse(text: &str) -> Config {
        Config::parse(text, &Overrides::default()).expect("a right file")
    }

    #[test]
    fn a_file_stays_open_with_its_folder_and_a_link_with_both() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::create_dir(at("named")).unwrap();
        fs::write(at("real/key"), "").unwrap();
        let of = |path: &Path| -> Vec<PathBuf> {
            let beside = beside(path, Right::Read).into_iter();
            let mut paths: Vec<PathBuf> = beside.map(|one| there(&one.path)).collect();
            paths.dedup();
            paths
        };
        assert_eq!(of(&at("real/key")), [there(&at("real"))]);
        assert_eq!(of(&at("real/missing")), [there(&at("real"))]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("real/key"), at("named/key")).unwrap();
            assert_eq!(
                of(&at("named/key")),
                [there(&at("named")), there(&at("real"))]
            );
        }
        // A file at the top opens nothing but itself.
        assert_eq!(of(Path::new("/lm.toml")), [Path::new("/lm.toml")]);
        assert_eq!(of(Path::new("lm.toml")), [there(Path::new("."))]);
    }

    #[test]
    fn only_what_a_reload_names_elsewhere_or_uses_otherwise_is_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        for name in ["a", "b", "dumps"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let log = |name: &str| parse(&format!("log_file = '{at}/{name}'"));
        let dumps = |name: &str| parse(&format!("[burst]\ndump_dir = '{at}/{name}'"));
        let open = allowed(&log("a/log"));
        assert_eq!(beyond(&open, &log("a/log")), [""; 0]);
        assert_eq!(beyond(&open, &log("a/other")), [""; 0]);
        assert_eq!(
            beyond(&open, &log("b/log")),
            [format!("`log_file` {at}/b/log")]
        );
        assert_eq!(beyond(&open, &dumps("a")), [format!("`dump_dir` {at}/a")]);
        assert_eq!(beyond(&open, &parse("")), [""; 0]);
        let open = allowed(&dumps("dumps"));
        assert_eq!(beyond(&open, &dumps("dumps/below")), [""; 0]);
        assert_eq!(beyond(&open, &log("dumps/log")), [""; 0]);
        assert_eq!(beyond(&open, &dumps("a")).len(), 1);
    }

    #[test]
    fn folders_that_are_written_to_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        make_folders(&parse(&format!(
            "log_file = '{at}/log/lm.log'\n[burst]\ndump_dir = '{at}/new/dumps'"
        )));
        assert!(folder.path().join("new/dumps").is_dir());
        // Whoever opens the log makes its folder.
        assert!(!folder.path().join("log").exists());
    }
}
