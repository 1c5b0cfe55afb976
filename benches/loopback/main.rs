//! Two daemons over loopback, a processor each.
//!
//! `cargo bench --bench loopback` runs them beside a bare echo that uses the same calls: round trips
//! a second, lateness, and the processor time of a probe with one target and with many. `-- timer`
//! measures only the lateness beside that of a bare timer.
//!
//! With arguments it compares variants of the daemon, in turns within one run, on UDP, TCP and
//! connects, and ends with a table:
//!
//! - `-- --engine both` (or `mio`, `io_uring`, `auto`): engines;
//! - `-- --receive both` (or `at_once`, `lazy`): when replies are read;
//! - `--load WORDS`: only loads whose name has these words; `--rounds N` (5); `--seconds N`, the
//!   length of a measurement (4).
//!
//! `-- --test` runs any of it for a moment, to see that it works. The daemons have kernel stamps and
//! the native wire, and publish windows. All figures but the echo's, calls and wake-ups are taken
//! from what they publish.
#![expect(clippy::print_stdout, reason = "a bench prints what it has found")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench may look at its watch, and has to wait while others work"
)]

mod beside;
mod calls;
mod compare;
mod daemons;
mod echo;
mod timer;
mod variants;

use std::{env, io};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use self::compare::Rounds;
use self::variants::{Variant, value_of};

/// How often each variant is measured on each load.
const ROUNDS: u32 = 5;

/// The processors of the two ends.
#[derive(Clone, Copy)]
struct Processors {
    near: usize,
    far: usize,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// The length of a measurement, which is one window of the daemons. By default windows are 30 s
    /// long: with windows of a second the daemons would write 30 times as much as for users.
    seconds: u32,
    turns: u32,
    /// Seconds beside a bare timer in each turn.
    beside: u32,
    loads: &'static [f64],
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let is_test = has("--test");
    let scale = if is_test {
        Scale {
            seconds: 1,
            turns: 1,
            beside: 1,
            loads: &beside::LOADS[..1],
        }
    } else {
        Scale {
            seconds: 4,
            turns: 3,
            beside: 8,
            loads: &beside::LOADS,
        }
    };
    let processors = processors()?;
    let near = processors[0];
    let far = *processors.last().unwrap_or(&near);
    let processors = Processors { near, far };
    if has("timer") {
        return beside::a_timer(processors, scale);
    }
    if near == far {
        println!("only one processor: both ends share it, and its figures are of both together");
    }
    let variants = variants::asked(&args)?;
    if !variants.is_empty() {
        let rounds = Rounds {
            rounds: number(&args, "--rounds")?.unwrap_or(if is_test { 1 } else { ROUNDS }),
            seconds: number(&args, "--seconds")?.unwrap_or(scale.seconds),
            only: value_of(&args, "--load")?.unwrap_or_default(),
        };
        let variants = variants::allowed(variants)?;
        return compare::run(processors, &variants, rounds);
    }
    beside::an_echo(processors, scale)?;
    beside::at_a_millisecond(processors, scale)?;
    if is_test {
        // One variant, to see that comparisons work, too.
        let rounds = Rounds {
            rounds: 1,
            seconds: scale.seconds,
            only: "1 target",
        };
        compare::run(processors, &[Variant::plain()], rounds)?;
    }
    Ok(())
}

/// Returns the number behind an argument, which is at least 1.
fn number(args: &[String], argument: &str) -> io::Result<Option<u32>> {
    let Some(value) = value_of(args, argument)? else {
        return Ok(None);
    };
    let number = value.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| {
        io::Error::other(format!(
            "{argument} {value}: it must be a whole number from 1 on"
        ))
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.get(half) {
        Some(upper) if values.len().is_multiple_of(2) => f64::midpoint(values[half - 1], *upper),
        Some(middle) => *middle,
        None => f64::NAN,
    }
}

fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|processor| set.is_set(*processor).unwrap_or(false))
        .collect())
}

/// Keeps this thread, and all that it starts, on one processor.
fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
