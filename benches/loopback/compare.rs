//! Variants of the daemon against each other, on every load, in turns within one run.
//!
//! A round measures each variant once. The ratio of a round is of two that ran one after the other,
//! and the median of the rounds' ratios counts. What else the machine does hits all alike.

use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::Duration;

use super::calls::{self, Counter};
use super::daemons::{self, Load, Pair, Probes, Published, WARM_UP_WINDOWS};
use super::variants::Variant;
use super::{Processors, beside, median};

const RECEIVED: [&str; 3] = [
    "udp.wan.received",
    "tcp.wan.received",
    "tcp.wan.latency.sent",
];
const SENT: [&str; 3] = ["udp.wan.sent", "tcp.wan.sent", "tcp.wan.latency.sent"];
const FAILED: [&str; 1] = ["tcp.wan.latency.failed"];

/// The columns of the table behind a variant's name.
const CELLS: usize = 9;

/// The part of a bare echo's rate that a full prober is asked for.
const FULL: f64 = 0.9;

/// The figures of one variant in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    near_us: f64,
    far_us: f64,
    back_per_s: f64,
    in_time: f64,
    missed_per_s: f64,
    /// Of the prober and of the reflector, for each completed probe.
    wake_ups: [f64; 2],
    calls: [f64; 2],
}

/// How a comparison is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) rounds: u32,
    /// The length of a window, which is a measurement.
    pub(crate) seconds: u32,
    /// Loads whose name has this are measured.
    pub(crate) only: &'a str,
}

/// Returns the loads by name. Saturated ones ask for more than a processor can do.
fn loads(processors: Processors, seconds: u32) -> io::Result<Vec<(&'static str, Load)>> {
    let echo = beside::bare_echo(processors, Duration::from_secs(seconds.into()))?;
    let tcp = |targets, interval_ms| Load {
        targets,
        interval_ms,
        probes: Probes::Tcp,
    };
    let connects = |targets, interval_ms| Load {
        targets,
        interval_ms,
        probes: Probes::TcpAndConnect,
    };
    let full_ms = f64::from(beside::TARGETS) * 1e3 / (FULL * echo);
    let full = Load {
        interval_ms: full_ms,
        ..Load::of(beside::TARGETS)
    };
    Ok(vec![
        ("UDP, 200 targets, full", full),
        ("UDP, 1 target, 1 ms", Load::of(1)),
        ("TCP, 30 flows, 1 ms", tcp(30, 1.0)),
        ("TCP, 100 flows, 1 ms", tcp(100, 1.0)),
        ("TCP, 100 flows, saturated", tcp(100, 0.25)),
        ("TCP and a connect, 1 target, 1 ms", connects(1, 1.0)),
        ("TCP and connects, 32 targets, saturated", connects(32, 0.5)),
    ])
}

/// Compares the variants, and prints a table.
pub(crate) fn run(
    processors: Processors,
    variants: &[Variant],
    rounds: Rounds<'_>,
) -> io::Result<()> {
    let counter = Counter::find();
    let loads = loads(processors, rounds.seconds)?;
    let wanted = loads.iter().filter(|(name, _)| name.contains(rounds.only));
    let mut table = String::from(
        "| load | `[engine]` | us a probe, near + far | of the first: near | far | both | probes/s | in time \
         | missed/s | calls a probe, near + far | wake-ups, near + far |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, load) in wanted {
        println!("{name}:");
        let mut found = vec![Vec::new(); variants.len()];
        for round in 0..rounds.rounds {
            for turn in 0..variants.len() {
                // Each round begins with another one.
                let place = (turn + round as usize) % variants.len();
                let variant = &variants[place];
                // A count takes seconds of its own, and differs little from round to round.
                let counter = if round == 0 { counter } else { Counter::None };
                let figures = measure(processors, *load, variant, counter, rounds.seconds);
                match &figures {
                    Ok(figures) => println!("  {:<20} {}", variant.name, figures.line()),
                    // The others go on, whatever it does.
                    Err(error) => println!("  {:<20} failed: {error}", variant.name),
                }
                if round == 0
                    && let Some(engine) = daemons::chosen_engine()?
                {
                    println!("    its engine: {engine}");
                }
                found[place].push(figures.ok());
            }
        }
        for (place, variant) in variants.iter().enumerate() {
            let first = (place > 0).then_some(&found[0]);
            let cells = row(&found[place], first.map(Vec::as_slice));
            let _ = writeln!(table, "| {name} | {} | {cells} |", variant.name);
        }
    }
    println!(
        "\nmedians of {} rounds of {} s in turns, a processor for each end; ratios: the median of the rounds' \
         own, and their least and most; times, calls and wake-ups are for a completed probe; {}",
        rounds.rounds,
        rounds.seconds,
        counter.says(),
    );
    println!("\n{table}");
    Ok(())
}

/// Measures a variant once.
fn measure(
    processors: Processors,
    load: Load,
    variant: &Variant,
    counter: Counter,
    seconds: u32,
) -> io::Result<Figures> {
    let window = Duration::from_secs(seconds.into());
    let pair = Pair::start(processors, load, &variant.engine, seconds)?;
    thread::sleep(window);
    let threads = [pair.near.poll_thread()?, pair.far.poll_thread()?];
    let sleeps = || -> io::Result<[f64; 2]> {
        let [near, far] = threads.map(calls::sleeps);
        Ok([near?, far?])
    };
    let before = sleeps()?;
    thread::sleep(window);
    let after = sleeps()?;
    let [near, far] = threads.map(|thread| counter.start(thread, seconds));
    let counts = [near?.finish()?, far?.finish()?];
    // A window is waited for until it is written.
    thread::sleep(Duration::from_secs(1));
    let (near, far) = pair.stop()?;
    let back = |window| near.per_s(&RECEIVED, window) - near.per_s(&FAILED, window);
    let back_per_s = back(WARM_UP_WINDOWS);
    let us_per_probe =
        |end: &Published| end.value("monitor.cpu") / 1e3 / end.window_s() / back_per_s;
    let seconds = f64::from(seconds);
    Ok(Figures {
        near_us: us_per_probe(&near),
        far_us: us_per_probe(&far),
        back_per_s,
        in_time: back_per_s / near.per_s(&SENT, WARM_UP_WINDOWS),
        missed_per_s: near.per_s(&["monitor.slots_missed"], WARM_UP_WINDOWS),
        wake_ups: [0, 1].map(|end| (after[end] - before[end]) / seconds / back_per_s),
        // They were counted in the window behind the measured one.
        calls: counts.map(|count| count / seconds / back(WARM_UP_WINDOWS + 1)),
    })
}

impl Figures {
    fn both_us(&self) -> f64 {
        self.near_us + self.far_us
    }

    fn line(&self) -> String {
        format!(
            "{:.2} + {:.2} us a probe, {:.0}/s, {:.2} % in time, {:.0} slots/s missed",
            self.near_us,
            self.far_us,
            self.back_per_s,
            100.0 * self.in_time,
            self.missed_per_s,
        )
    }
}

/// Returns a variant's cells of the table, by its rounds and those of the first variant; `None`: it is
/// the first. A round that has failed has no figures.
fn row(own: &[Option<Figures>], first: Option<&[Option<Figures>]>) -> String {
    let of = |figure: fn(&Figures) -> f64| median(known(own.iter().flatten().map(figure)));
    let ratio = |figure: fn(&Figures) -> f64| {
        let Some(first) = first else {
            return "1".to_owned();
        };
        let pairs = own.iter().zip(first);
        let ratios = known(
            pairs.filter_map(|(own, first)| Some(figure(own.as_ref()?) / figure(first.as_ref()?))),
        );
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        format!("{:.2} ({least:.2} to {most:.2})", median(ratios))
    };
    if own.iter().all(Option::is_none) {
        return ["failed"; CELLS].join(" | ");
    }
    [
        format!("{:.2} + {:.2}", of(|one| one.near_us), of(|one| one.far_us)),
        ratio(|one| one.near_us),
        ratio(|one| one.far_us),
        ratio(Figures::both_us),
        format!("{:.0}", of(|one| one.back_per_s)),
        format!("{:.2} %", 100.0 * of(|one| one.in_time)),
        format!("{:.0}", of(|one| one.missed_per_s)),
        two(of(|one| one.calls[0]), of(|one| one.calls[1])),
        two(of(|one| one.wake_ups[0]), of(|one| one.wake_ups[1])),
    ]
    .join(" | ")
}

fn known(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    figures.filter(|figure| !figure.is_nan()).collect()
}

fn two(near: f64, far: f64) -> String {
    if near.is_nan() || far.is_nan() {
        "not counted".to_owned()
    } else {
        format!("{near:.2} + {far:.2}")
    }
}
