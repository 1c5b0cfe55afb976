//! The counts that are written down, and how far others may be from them.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use toml::Table;

/// How much more, or less, is one on a whole path, in percent.
const TOLERANCE: u64 = 5;

/// The same of a part of it: the compiler takes another choice of what to inline where for an edit elsewhere, or
/// in another directory, which was seen to move 84 of 1,396 instructions from one function to another.
const PART_TOLERANCE: u64 = 10;

/// The same of anything with another compiler than the one they were recorded with.
const OTHER_TOLERANCE: u64 = 20;

/// What the name of a whole path's count ends with.
const WHOLE: &str = "whole path";

const COMMENT: &str = "\
# Instructions a probe, by stage: `make bench-instructions` compares with these, `make bench-instructions RECORD=1`
# writes them.
";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")
}

/// What compiles this, as it calls itself.
pub(crate) fn rustc() -> io::Result<String> {
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{} on {}", version.trim(), env::consts::ARCH))
}

pub(crate) fn write(rustc: &str, counts: &BTreeMap<String, u64>) -> io::Result<()> {
    let mut text = format!("{COMMENT}compiler = \"{rustc}\"\n\n[instructions]\n");
    for (stage, count) in counts {
        println!("{count:>8}  {stage}");
        let _ = writeln!(text, "\"{stage}\" = {count}");
    }
    fs::write(file(), text)?;
    println!("written to {}", file().display());
    Ok(())
}

/// Prints each count beside the one recorded. False if one has grown too much, or only one
/// of the two is there.
pub(crate) fn compare(rustc: &str, counts: &BTreeMap<String, u64>) -> io::Result<bool> {
    let text = fs::read_to_string(file())?;
    let table: Table = text.parse().map_err(io::Error::other)?;
    let recorded_with = table.get("compiler").and_then(toml::Value::as_str);
    let is_same = recorded_with == Some(rustc);
    if !is_same {
        let with = recorded_with.unwrap_or("an unknown compiler");
        println!("recorded with {with}: {OTHER_TOLERANCE} % more are allowed");
    }
    println!("     now  recorded");
    let (mut grown, mut shrunk) = (0, 0);
    for (stage, &count) in counts {
        let recorded = table.get("instructions").and_then(|table| table.get(stage));
        let recorded = recorded.and_then(toml::Value::as_integer);
        let Some(recorded) = recorded.and_then(|count| u64::try_from(count).ok()) else {
            println!("{count:>8}         -  {stage}: never recorded");
            grown += 1;
            continue;
        };
        let tolerance = match (is_same, stage.ends_with(WHOLE)) {
            (true, true) => TOLERANCE,
            (true, false) => PART_TOLERANCE,
            (false, _) => OTHER_TOLERANCE,
        };
        let word = if count * 100 > recorded * (100 + tolerance) {
            grown += 1;
            ": MORE"
        } else if count * 100 < recorded * (100 - tolerance) {
            shrunk += 1;
            ": less"
        } else {
            ""
        };
        println!("{count:>8}  {recorded:>8}  {stage}{word}");
    }
    let recorded = table.get("instructions").and_then(toml::Value::as_table);
    for stage in recorded.into_iter().flat_map(Table::keys) {
        if !counts.contains_key(stage) {
            println!("       -            {stage}: no longer counted");
            grown += 1;
        }
    }
    if shrunk > 0 {
        println!(
            "{shrunk} less by more than is allowed the other way: make bench-instructions RECORD=1"
        );
    }
    if grown > 0 {
        println!(
            "{grown} more by over what is allowed, new or gone. If that is meant: make bench-instructions RECORD=1"
        );
    }
    Ok(grown == 0)
}
