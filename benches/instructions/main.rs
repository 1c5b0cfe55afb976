//! Instructions of a probe, counted by callgrind: unlike nanoseconds they are the same on a busy machine
//! and on an idle one, so that a regression shows everywhere.
//!
//! `make bench-instructions` compares with those in `benches/instructions.toml`, and fails if one has grown;
//! `make bench-instructions RECORD=1` writes them down. Each stage runs twice, with few and with many
//! probes: the difference is free of set-up and warm-up. Counts depend on the compiler, so the file has its
//! version, and another one's counts may differ by more. The processor decides which `memcpy` libc takes;
//! it is asked for the plain ones, where it listens.
//!
//! gungraun (formerly iai-callgrind) is not used: its runner must be installed in the very version of the
//! library, and its baselines are in `target`, where a checkout has none.
#![expect(clippy::print_stdout, reason = "a bench prints what it has found")]

mod callgrind;
#[path = "../path/mod.rs"]
mod path;
mod record;
mod stages;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::{env, io};

use callgrind::Profile;
use stages::{MICRO, PATHS};

/// The first argument of this program's copy that is counted.
const COUNTED: &str = "--counted";

/// Probes of the two runs: the first is warm-up, past which five windows have been published.
const FEW: u64 = 5_000;
const MANY: u64 = 15_000;

/// Probes where nothing is counted.
const MOMENT: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if let [first, stage, probes] = arguments.as_slice()
        && first == COUNTED
    {
        stages::run(stage, probes.parse().unwrap_or(MOMENT));
        return ExitCode::SUCCESS;
    }
    if has("--test") {
        for group in stages::groups() {
            stages::run(group, MOMENT);
        }
        println!("every stage runs; nothing was counted");
        return ExitCode::SUCCESS;
    }
    let is_wanted = has("--compare") || has("--record");
    let done = match callgrind::version() {
        Some(version) => count(&version, has("--record")),
        None if is_wanted => Err(io::Error::other(
            "valgrind is not installed, and it is what counts: apt-get install valgrind",
        )),
        None => {
            println!("valgrind is not installed: no instructions are counted");
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts every stage, and records or compares. False if there is a regression.
fn count(valgrind: &str, is_recording: bool) -> io::Result<bool> {
    let rustc = record::rustc()?;
    println!("instructions a probe, {rustc}, {valgrind}:");
    let mut counts = BTreeMap::new();
    for group in stages::groups() {
        let few = callgrind::profile(&[COUNTED, group, &FEW.to_string()])?;
        let many = callgrind::profile(&[COUNTED, group, &MANY.to_string()])?;
        let each = |cost: &dyn Fn(&Profile) -> u64| -> io::Result<u64> {
            let (few, many) = (cost(&few), cost(&many));
            if many <= few {
                return Err(io::Error::other(format!(
                    "{group}: nothing was counted; a function has another name or was inlined"
                )));
            }
            let probes = MANY - FEW;
            Ok((many - few + probes / 2) / probes)
        };
        if group == MICRO {
            for (name, function, _) in stages::LOOPS {
                counts.insert(name.to_owned(), each(&|run| run.inclusive(function))?);
            }
        }
        if PATHS.iter().any(|(name, _)| *name == group) {
            let mut whole = 0;
            for (side, step) in [("prober", "near_step"), ("reflector", "far_step")] {
                let recording = |run: &Profile| {
                    run.called(step, "end::record") + run.called(step, "end::record_turn")
                };
                let core = each(&|run| run.inclusive(step) - recording(run))?;
                let recorder = each(&recording)?;
                counts.insert(format!("{group}, {side}: core"), core);
                counts.insert(format!("{group}, {side}: recorder"), recorder);
                whole += core + recorder;
            }
            counts.insert(format!("{group}, whole path"), whole);
        }
    }
    if is_recording {
        record::write(&rustc, &counts)?;
        return Ok(true);
    }
    record::compare(&rustc, &counts)
}
