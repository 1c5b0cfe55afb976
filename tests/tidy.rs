//! Rules of the house that no compiler knows: which room may know which, and how large a file is.

use std::fs;
use std::path::{Path, PathBuf};

/// A file that is longer is about more than one thing.
const LINES_MAX: usize = 700;

/// What each room may use. `monitor` puts everything together; `lib.rs` and `main.rs` only name it.
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("proto", &["limits"]),
    ("clock", &["proto"]),
    ("sys", &["limits", "proto"]),
    ("engine", &["clock", "limits", "proto", "sys"]),
    ("record", &["limits", "proto"]),
    ("publish", &["clock", "limits", "proto", "record", "sys"]),
    ("config", &["limits", "proto", "publish", "record", "sys"]),
    ("report", &["limits", "proto", "record"]),
    ("cli", &["config", "publish", "record", "report"]),
    (
        "monitor",
        &[
            "clock", "config", "engine", "limits", "proto", "publish", "record", "sys",
        ],
    ),
];

/// What would let the pure core read a clock, wait, or reach the outside.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::time",
    "SystemTime",
    "Instant",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "mio::",
    "nix::",
    "socket2",
    "quanta",
    "getrandom",
    "tracing",
    "parking_lot",
    "println!",
];

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The room a file of `src` is in, and its code without comments and tests.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let source = root().join("src");
    let mut rooms = Vec::new();
    for path in source_files(&source) {
        let inside = path.strip_prefix(&source).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str();
        let room = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).expect("a readable file");
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .expect("a beginning");
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        rooms.push((room, path, code.join("\n")));
    }
    rooms
}

#[test]
fn every_room_uses_only_what_it_may() {
    for (room, path, code) in rooms() {
        if room == "lib" || room == "main" {
            continue;
        }
        let rule = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, may) = rule.unwrap_or_else(|| panic!("{room} is no room: add it to the rules"));
        for used in code.split("crate::").skip(1) {
            let end = used
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(0);
            let used = &used[..end];
            let known = used == room || used.is_empty() || may.contains(&used);
            assert!(known, "{} must not use crate::{used}", path.display());
        }
    }
}

#[test]
fn the_core_reads_no_clock_and_does_no_io() {
    for (room, path, code) in rooms() {
        for name in IMPURE
            .iter()
            .filter(|_| room == "proto" || room == "limits")
        {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn the_names_of_metrics_are_in_one_table() {
    for (_, path, code) in rooms() {
        let is_test = path.components().any(|part| part.as_os_str() == "tests")
            || path.ends_with("tests.rs")
            || path.ends_with("testing.rs");
        if is_test || path.ends_with("record/metrics.rs") {
            continue;
        }
        for start in ["\"udp.wan.", "\"tcp.wan.", "\"monitor.", "\"clock."] {
            assert!(
                !code.contains(start),
                "{} names a metric: take it from record/metrics.rs",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_is_in_sys_only() {
    for (room, path, code) in rooms() {
        let has =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(!has || room == "sys", "{} has unsafe code", path.display());
    }
}

#[test]
fn no_file_is_about_everything() {
    let folders = ["src", "tests", "benches", "fuzz/fuzz_targets", "examples"];
    for path in folders
        .iter()
        .flat_map(|folder| source_files(&root().join(folder)))
    {
        let text = fs::read_to_string(&path).expect("a readable file");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is about",
            path.display()
        );
    }
    let main = fs::read_to_string(root().join("src/main.rs")).expect("src/main.rs");
    assert!(
        main.lines().count() < 50,
        "main.rs parses, runs, and maps the error"
    );
}

#[test]
fn every_document_that_is_pointed_at_is_there() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "fuzz/README.md",
        "docs/metrics.md",
        "docs/design/README.md",
        "docs/design/clocks.md",
        "docs/design/text-wire.md",
        "docs/design/native-wire.md",
        "docs/backends/README.md",
        "docs/backends/cli.md",
        "docs/backends/log.md",
        "docs/backends/zeromq.md",
        "docs/backends/clickhouse.md",
        "docs/backends/datadog.md",
        "docs/backends/pushgateway.md",
        "docs/design/delivery.md",
        "docs/design/dumps.md",
    ];
    for document in documents {
        let path = root().join(document);
        let text = fs::read_to_string(&path).expect(document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let file = link.split('#').next().unwrap_or(link);
            let target = path.parent().expect("a folder").join(file);
            assert!(
                target.exists(),
                "{document} points at {link}, which is not there"
            );
        }
    }
}
