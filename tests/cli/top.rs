//! `latency-monitor top` where it has nothing to draw on, or is told no daemon. The lab `top` drives it in a terminal.

use std::path::Path;

use crate::{run, text};

/// Returns what it says when it fails.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, &[&["top"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    text(&output.stderr)
}

#[test]
fn what_is_missing_is_said_before_anything_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("without.toml"), "name = 'a'").expect("a file");
    std::fs::write(path("wrong.toml"), "nom = 'a'").expect("a file");
    std::fs::write(path("asked.toml"), "[http]\nlisten = '127.0.0.1:1'").expect("a file");
    let (without, wrong, asked) = (path("without.toml"), path("wrong.toml"), path("asked.toml"));
    let missing = path("missing");
    for (arguments, words) in [
        (&[][..], "must be a terminal"),
        (&["-c", &asked], "must be a terminal"),
        (&["-c", &without], "[http]\nlisten = \"127.0.0.1:8003\""),
        (&["-c", &wrong], "nom"),
        (&["-c", &asked, "127.0.0.1:1"], "cannot be used with"),
        (&["unix:"], "needs the path of a socket"),
        (&["ftp://127.0.0.1"], "http or https"),
        (&["--token-file", &missing], "cannot read"),
    ] {
        let said = refused(folder.path(), arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
