//! Rules of the house that no compiler knows: which room may know which, and how large a file is.

#[path = "tidy/structure.rs"]
mod structure;

use std::fs;
use std::path::{Path, PathBuf};

use crate::structure::{Modules, tuple_takers};

/// A file that is longer is about more than one thing.
const LINES_MAX: usize = 700;
/// What README.md must be read in.
const README_LINES_MAX: usize = 130;
/// Of documents and comments. rustfmt holds the code to less.
const COLUMNS_MAX: usize = 120;
/// Where there are files of Rust.
const FOLDERS: [&str; 6] = [
    "src",
    "tests",
    "benches",
    "fuzz/fuzz_targets",
    "examples",
    "python/src",
];
/// Documents that still have longer lines. The list only ever gets shorter.
const WIDE: &[&str] = &[];

/// What each room may use. `monitor` puts everything together; `lib.rs` and `main.rs` only name it.
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("proto", &["limits"]),
    ("clock", &["proto"]),
    ("sys", &["limits", "proto"]),
    ("engine", &["clock", "limits", "proto", "sys"]),
    ("record", &["limits", "proto"]),
    ("history", &["limits", "proto", "record"]),
    (
        "publish",
        &["clock", "history", "limits", "proto", "record", "sys"],
    ),
    ("config", &["limits", "proto", "publish", "record", "sys"]),
    (
        "report",
        &["clock", "config", "history", "limits", "proto", "record"],
    ),
    (
        "serve",
        &[
            "clock", "config", "limits", "proto", "publish", "record", "sys",
        ],
    ),
    (
        "top",
        &[
            "clock", "config", "limits", "proto", "publish", "record", "remote",
        ],
    ),
    ("remote", &["config", "publish"]),
    (
        "cli",
        &["config", "publish", "record", "remote", "report", "top"],
    ),
    (
        "monitor",
        &[
            "clock", "config", "engine", "history", "limits", "proto", "publish", "record",
            "report", "serve", "sys",
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
fn the_names_of_keys_are_in_one_table() {
    let table = root().join("src/config/keys");
    let parts = fs::read_dir(&table).expect("the table of keys");
    let text: String = parts
        .map(|part| fs::read_to_string(part.expect("a part of it").path()).expect("text"))
        .collect();
    // Names of one word are words of other things as well.
    let names: Vec<String> = text
        .split("Key::new(\"")
        .skip(1)
        .filter_map(|row| row.split('"').next())
        .filter(|name| name.contains('_'))
        .map(|name| format!("\"{name}\""))
        .collect();
    assert!(names.len() > 20, "the table is not where it was");
    for (room, path, code) in rooms() {
        let is_test =
            path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if !["config", "cli"].contains(&room.as_str()) || is_test || path.starts_with(&table) {
            continue;
        }
        let named = names.iter().find(|name| code.contains(*name));
        assert_eq!(named, None, "{} names a key", path.display());
    }
}

#[test]
fn no_files_of_a_room_take_names_from_each_other() {
    let files: Vec<_> = rooms()
        .into_iter()
        .filter(|(room, path, _)| {
            let is_test = path
                .iter()
                .any(|part| part == "tests" || part == "testing.rs");
            room != "lib" && room != "main" && !is_test && !path.ends_with("tests.rs")
        })
        .map(|(_, path, code)| {
            let source = root().join("src");
            let inside = path
                .strip_prefix(source)
                .expect("below src")
                .with_extension("");
            let module = inside
                .iter()
                .map(|part| part.to_string_lossy().into_owned());
            (module.collect::<Vec<_>>(), code)
        })
        .collect();
    let files = files.iter();
    let modules = Modules::read(files.map(|(module, code)| (module.clone(), code.as_str())));
    let circular = modules.in_circles();
    assert!(circular.is_empty(), "in circles of imports: {circular:?}");
}

#[test]
fn no_function_takes_a_tuple() {
    let mut found = Vec::new();
    for (_, path, code) in rooms() {
        if path.iter().any(|part| part == "tests") {
            continue;
        }
        let takers = tuple_takers(&code).into_iter();
        found.extend(takers.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(found.is_empty(), "take tuples, not structs: {found:#?}");
}

#[test]
fn unsafe_code_is_in_sys_only() {
    for (room, path, code) in rooms() {
        let has =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(!has || room == "sys", "{} has unsafe code", path.display());
    }
}

/// Another system has a side of its own: what one has alone is named in `sys`, and nowhere else.
#[test]
fn calls_of_one_system_are_in_sys_only() {
    for (room, path, code) in rooms() {
        let is_test = path.iter().any(|part| part == "tests") || path.ends_with("tests.rs");
        if room == "sys" || is_test {
            continue;
        }
        let names = ["nix::", "libc", "std::os::", "mio::unix", "SourceFd"];
        let named = names.into_iter().find(|name| code.contains(name));
        assert_eq!(named, None, "{} is not portable", path.display());
    }
}

#[test]
fn no_file_is_about_everything() {
    for path in FOLDERS
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

/// Every Markdown file of the tree.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// What a link to a heading names it by.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_document_that_is_pointed_at_is_there() {
    for path in documents(&root()) {
        let text = fs::read_to_string(&path).expect("a readable file");
        let links = text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let is_there = match heading {
                "" => target.exists(),
                heading => fs::read_to_string(&target).is_ok_and(|text| {
                    let mut headings = text.lines().filter(|line| line.starts_with('#'));
                    headings.any(|line| anchor(line) == heading)
                }),
            };
            let path = path.display();
            assert!(is_there, "{path} points at {link}, which is not there");
        }
    }
}

#[test]
fn what_troubleshooting_explains_is_said_somewhere() {
    let mut said = String::new();
    for path in source_files(&root().join("src")) {
        let text = fs::read_to_string(&path).expect("a readable file");
        // A long text goes on in the next line of the source.
        let mut pieces = text.split("\\\n");
        said.extend(pieces.next());
        said.extend(pieces.map(str::trim_start));
    }
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let told = page.lines().filter_map(|line| line.strip_prefix("- `"));
    let messages: Vec<&str> = told.filter_map(|line| line.split('`').next()).collect();
    assert!(messages.len() > 20, "{messages:?}");
    for message in messages {
        assert!(said.contains(message), "nothing in src says {message:?}");
    }
}

#[test]
fn documents_are_read_without_scrolling_sideways() {
    let mut wide = Vec::new();
    for path in documents(&root()) {
        let text = fs::read_to_string(&path).expect("a readable file");
        let lines = text.lines().enumerate();
        if WIDE.iter().any(|name| path.starts_with(root().join(name))) {
            continue;
        }
        // A table's row is one line.
        let prose = lines.filter(|(_, line)| !line.starts_with('|'));
        wide.extend(too_wide(&path, prose));
    }
    for folder in FOLDERS {
        for path in source_files(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a readable file");
            let lines = text.lines().enumerate();
            let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
            wide.extend(too_wide(&path, comments));
        }
    }
    assert!(
        wide.is_empty(),
        "lines over {COLUMNS_MAX} columns: {wide:#?}"
    );
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
}

/// Where lines are too long, as `path:line`.
fn too_wide<'a>(path: &Path, lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<String> {
    let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
    wide.map(|(at, _)| format!("{}:{}", path.display(), at + 1))
        .collect()
}
