//! Files of the Python program. What they mean in detail is tested in `src/config/tests/predecessor.rs`; here the
//! program itself takes each of them, and warns of what it must.

use std::path::Path;

use crate::{run, text};

/// What a file's line begins with that says what is warned of.
const WARNED: &str = "#! ";

#[test]
fn files_of_the_predecessor_are_taken_with_the_warnings_that_they_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrating");
    // The log file that one names is looked for here.
    let here = tempfile::tempdir().expect("a folder");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|it| it != "toml") {
            continue;
        }
        files += 1;
        let file = std::fs::read_to_string(&path).expect("a file");
        let path = path.to_str().expect("UTF-8");
        let output = run(here.path(), &["check", "-c", path]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{path}: {told}");
        let start = format!("warning: {path}, ");
        let found: Vec<&str> = told
            .lines()
            .filter_map(|it| it.strip_prefix(&start))
            .collect();
        let wanted: Vec<&str> = file
            .lines()
            .filter_map(|it| it.strip_prefix(WARNED))
            .collect();
        assert_eq!(found, wanted, "{path}");
    }
    assert!(files > 10, "they are not where they were");
}
