//! Two daemons over loopback, a processor each, beside a bare echo that uses the same calls.
//! Measures round trips a second, lateness, and the processor time of a probe with one target and
//! with many.
//!
//! `cargo bench --bench loopback`. `-- timer` measures only the lateness beside that of a bare
//! timer. `-- --test` runs everything for a moment, to see that it works. The daemons have kernel
//! stamps and the native wire, and publish windows. All figures but the echo's are taken from what
//! they publish.
#![expect(clippy::print_stdout, reason = "a bench prints what it has found")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench may look at its watch, and has to wait while others work"
)]

mod echo;
mod timer;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The first windows do not count: sessions begin, buffers find their size.
const WARM_UP_WINDOWS: usize = 1;

/// A probe is answered in time within this.
const TIMEOUT_S: f64 = 1.0;

/// The least share of probes that must return in time.
const IN_TIME_LEAST: f64 = 0.995;

/// The loads tried, as parts of the echo's rate.
const LOADS: [f64; 8] = [0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 1.0];

/// Batches of the echo in flight: both ends always have work.
const BATCHES: usize = 4;

/// Targets that share the load.
const TARGETS: u32 = 200;

/// How long the prober spins for a due probe: longer than a timer is late here.
const SPIN_US: u32 = 200;

/// A window of a second counts if the bare timer has waited this often in it.
const TIMER_WAITS_LEAST: usize = 500;

/// The processors of the two ends.
#[derive(Clone, Copy)]
struct Processors {
    near: usize,
    far: usize,
}

/// What a prober is asked for.
#[derive(Clone, Copy)]
struct Load {
    targets: u32,
    interval_ms: f64,
    spin_us: u32,
}

impl Load {
    /// A probe a millisecond to each of `targets`, without spinning.
    const fn of(targets: u32) -> Self {
        Self {
            targets,
            interval_ms: 1.0,
            spin_us: 0,
        }
    }
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
    let is_test = env::args().any(|arg| arg == "--test");
    let scale = if is_test {
        Scale {
            seconds: 1,
            turns: 1,
            beside: 1,
            loads: &LOADS[..1],
        }
    } else {
        Scale {
            seconds: 4,
            turns: 3,
            beside: 8,
            loads: &LOADS,
        }
    };
    let processors = processors()?;
    let near = processors[0];
    let far = *processors.last().unwrap_or(&near);
    let processors = Processors { near, far };
    if env::args().any(|arg| arg == "timer") {
        return beside_a_timer(processors, scale);
    }
    if near == far {
        println!("only one processor: both ends share it, and its figures are of both together");
    }
    println!(
        "{TARGETS} targets on a processor, their reflector on another one, each load between two echoes:"
    );
    println!(
        "asked/s   sent/s   back/s  in time  near us/probe  far us/probe  late p50 us  late p99 us  missed/s"
    );
    let duration = Duration::from_secs(scale.seconds.into());
    let (mut echoes, mut ratios) = (Vec::new(), Vec::new());
    let mut before = bare_echo(processors, duration)?;
    for part in scale.loads {
        // The machine's speed changes from moment to moment. So each run has an echo before and
        // after it, and the faster one counts: an echo that was held up would flatter the run.
        let asked = before * part;
        let interval_ms = f64::from(TARGETS) * 1e3 / asked;
        let load = Load {
            interval_ms,
            ..Load::of(TARGETS)
        };
        let run = measure(processors, load, scale.seconds)?;
        run.print(asked);
        let after = bare_echo(processors, duration)?;
        let beside = before.max(after);
        let ratio = run.back_per_s / beside;
        println!("{ratio:.2} of the faster echo beside it, {beside:.0} round trips/s");
        echoes.push(before);
        if run.in_time() >= IN_TIME_LEAST {
            ratios.push((ratio, run.back_per_s));
        }
        before = after;
    }
    echoes.push(before);
    ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, back_per_s) = ratios.last().copied().unwrap_or((f64::NAN, f64::NAN));
    let most = ratios.iter().map(|(_, back)| *back).fold(0.0, f64::max);
    let least_echo = echoes.iter().copied().fold(f64::INFINITY, f64::min);
    let most_echo = echoes.iter().copied().fold(0.0, f64::max);
    println!(
        "best with {:.1} % in time: {ratio:.2} of the faster echo beside it ({back_per_s:.0} round trips/s); \
         the echo went from {least_echo:.0} to {most_echo:.0}, and the most probes, {most:.0}, are {:.2} \
         of its most",
        100.0 * IN_TIME_LEAST,
        most / most_echo,
    );

    at_a_millisecond(processors, scale)
}

/// Returns round trips a second of the echo, with one batch in flight or several, whichever is
/// more.
fn bare_echo(processors: Processors, duration: Duration) -> io::Result<f64> {
    let in_turns = echo::run(processors, 1, duration)?;
    let bare = echo::run(processors, BATCHES, duration)?.max(in_turns);
    println!("bare echo: {bare:.0} round trips/s, {in_turns:.0} with one batch under way");
    Ok(bare)
}

/// Measures the cost of a probe with one target and with many, in turns: what else the machine does
/// hits all alike.
fn at_a_millisecond(processors: Processors, scale: Scale) -> io::Result<()> {
    println!();
    println!(
        "a probe a millisecond to each target, {} turns:",
        scale.turns
    );
    println!(
        "targets   sent/s   back/s  in time  near us/probe  far us/probe  late p50 us  late p99 us  missed/s"
    );
    let [mut cost, mut spinning] = [const { Vec::new() }; 2];
    for _ in 0..scale.turns {
        let one = measure(processors, Load::of(1), scale.seconds)?;
        one.print(1.0);
        let spinning_load = Load {
            spin_us: SPIN_US,
            ..Load::of(1)
        };
        let spun = measure(processors, spinning_load, scale.seconds)?;
        spun.print(1.0);
        let many = measure(processors, Load::of(100), scale.seconds)?;
        many.print(100.0);
        cost.push((many.near_us + many.far_us) / (one.near_us + one.far_us));
        spinning.push(spun.late_p50_us);
    }
    println!(
        "medians: processor time of a probe to 100 targets {:.2} of one's to 1; lateness p50 when \
         spinning for {SPIN_US} us {:.2} us",
        median(cost),
        median(spinning),
    );
    beside_a_timer(processors, scale)
}

/// Measures the lateness of a blocking prober with one target, beside a bare timer on the same
/// processor in the same seconds. A virtual processor wakes some 20 or some 50 us late, and changes
/// between the two within a second: measured one after the other, the two could not be compared.
fn beside_a_timer(processors: Processors, scale: Scale) -> io::Result<()> {
    println!();
    println!("one target, blocking, and a bare timer on its processor, windows of a second:");
    println!("prober p50 us  timer p50 us");
    let [mut ratios, mut probers, mut timers] = [const { Vec::new() }; 3];
    for _ in 0..scale.turns {
        let pair = Pair::start(processors, Load::of(1), 1)?;
        // The first window is left out.
        let windows = 1 + scale.beside;
        let timer = timer::start(processors.near, Duration::from_secs(windows.into()));
        let waits = timer.join().map_err(|_| io::ErrorKind::Other)??;
        let (near, _) = pair.stop()?;
        for &(start, end, prober_ns) in near.lateness.iter().skip(WARM_UP_WINDOWS) {
            let within = waits
                .iter()
                .filter(|wait| (start..end).contains(&wait.ended));
            let late: Vec<f64> = within.map(|wait| wait.late.as_secs_f64() * 1e6).collect();
            // The timer ends before the daemon's last window does.
            if late.len() < TIMER_WAITS_LEAST {
                continue;
            }
            let (prober, timer) = (prober_ns / 1e3, median(late));
            println!("{prober:>13.1} {timer:>13.1}");
            ratios.push(prober / timer);
            probers.push(prober);
            timers.push(timer);
        }
    }
    let (least, most) = (
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    println!(
        "medians of {} windows: lateness p50 when blocking {:.1} us, the bare timer's {:.1} us; within \
         a window {:.2} of it ({least:.2} to {most:.2})",
        ratios.len(),
        median(probers),
        median(timers),
        median(ratios),
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figures of one pair of daemons, without the first windows.
#[derive(Debug, Default)]
struct Run {
    sent_per_s: f64,
    back_per_s: f64,
    missed_per_s: f64,
    near_us: f64,
    far_us: f64,
    late_p50_us: f64,
    late_p99_us: f64,
}

impl Run {
    fn in_time(&self) -> f64 {
        self.back_per_s / self.sent_per_s
    }

    fn print(&self, asked: f64) {
        println!(
            "{asked:>7.0} {:>8.0} {:>8.0} {:>7.2}% {:>14.2} {:>13.2} {:>12.1} {:>12.1} {:>9.0}",
            self.sent_per_s,
            self.back_per_s,
            100.0 * self.in_time(),
            self.near_us,
            self.far_us,
            self.late_p50_us,
            self.late_p99_us,
            self.missed_per_s,
        );
    }
}

/// Has one daemon probe another for some seconds.
fn measure(processors: Processors, load: Load, seconds: u32) -> io::Result<Run> {
    let pair = Pair::start(processors, load, seconds)?;
    // The last window is waited for until it is written.
    let windows = WARM_UP_WINDOWS + 1;
    thread::sleep(Duration::from_secs(u64::from(seconds) * windows as u64 + 1));
    let (near, far) = pair.stop()?;
    Ok(figures(&near, &far))
}

/// A daemon that probes another one.
struct Pair {
    near: Daemon,
    far: Daemon,
}

impl Pair {
    /// Starts both. They end a window every `window_s` seconds.
    fn start(processors: Processors, load: Load, window_s: u32) -> io::Result<Self> {
        let Load {
            targets,
            interval_ms,
            spin_us,
        } = load;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let windows = format!(
            "[metrics]\nbackend = \"cli\"\nmode = \"windows\"\nsend_interval = {window_s}\n"
        );
        let reflector = format!("name = \"far\"\ntcp = false\nudp_port = {port}\n{windows}");
        let mut prober = format!(
            "name = \"near\"\ntcp = false\naddress = \"127.0.0.1\"\nudp_port = {own}\ntcp_latency = false\n\
             interval = {interval_ms}\ntimeout = {TIMEOUT_S}\nprotocol = \"native\"\n{windows}\
             [engine]\nspin_us = {spin_us}\n"
        );
        for target in 0..targets {
            let (high, low) = (target / 200, target % 200 + 1);
            let _ = write!(
                prober,
                "[[targets]]\nhost = \"127.1.{high}.{low}\"\nlabel = \"t{target}\"\nudp_port = {port}\n"
            );
        }
        let far = Daemon::start(
            processors.far,
            &folder.join("loopback-far.toml"),
            &reflector,
        )?;
        let near = Daemon::start(processors.near, &folder.join("loopback-near.toml"), &prober)?;
        Ok(Self { near, far })
    }

    /// Stops both, and returns what they have published.
    fn stop(self) -> io::Result<(Published, Published)> {
        let near = self.near.stop()?;
        let far = self.far.stop()?;
        Ok((near, far))
    }
}

fn figures(near: &Published, far: &Published) -> Run {
    // A window may end late, and is longer then.
    let per_s = |name: &str| near.value(name) / near.window_s();
    let sent_per_s = per_s("udp.wan.sent");
    let us_per_probe =
        |end: &Published| end.value("monitor.cpu") / 1e3 / (sent_per_s * end.window_s());
    Run {
        sent_per_s,
        back_per_s: per_s("udp.wan.received"),
        missed_per_s: per_s("monitor.slots_missed"),
        near_us: us_per_probe(near),
        far_us: us_per_probe(far),
        late_p50_us: near.value("monitor.lateness p50") / 1e3,
        late_p99_us: near.value("monitor.lateness p99") / 1e3,
    }
}

/// What a daemon has published.
#[derive(Debug, Default)]
struct Published {
    /// Values by metric and the end of their window, in Unix nanoseconds; of all targets together.
    values: BTreeMap<String, BTreeMap<i64, f64>>,
    /// Start, end and p50 of each window of its lateness.
    lateness: Vec<(i64, i64, f64)>,
}

impl Published {
    fn add(&mut self, record: &Value) {
        let Some(metric) = record["metric"].as_str() else {
            return;
        };
        let mut note = |name: String, end: &Value, value: &Value| {
            if let (Some(end), Some(value)) = (end.as_i64(), value.as_f64()) {
                *self.values.entry(name).or_default().entry(end).or_default() += value;
            }
        };
        for point in record["points"].as_array().into_iter().flatten() {
            note(metric.to_owned(), &point[0], &point[1]);
        }
        if metric == "monitor.lateness"
            && let (Some(start), Some(end)) = (record["start"].as_i64(), record["end"].as_i64())
            && let Some(p50) = record["p50"].as_f64()
        {
            self.lateness.push((start, end, p50));
        }
        for percentile in ["p50", "p99"] {
            note(
                format!("{metric} {percentile}"),
                &record["end"],
                &record[percentile],
            );
        }
    }

    /// Returns the value of the window that counts, of all targets together.
    fn value(&self, name: &str) -> f64 {
        let series = self.values.get(name).into_iter().flatten();
        let mut values = series.map(|(_, value)| *value);
        values.nth(WARM_UP_WINDOWS).unwrap_or(f64::NAN)
    }

    /// Returns the length of the window that counts in seconds.
    fn window_s(&self) -> f64 {
        let ends = self.values.get("monitor.cpu").into_iter().flatten();
        let mut ends = ends.map(|(end, _)| *end).skip(WARM_UP_WINDOWS - 1);
        match (ends.next(), ends.next()) {
            (Some(before), Some(end)) => Duration::from_nanos(end.abs_diff(before)).as_secs_f64(),
            _ => f64::NAN,
        }
    }
}

/// A daemon on one processor, and a thread that keeps what it publishes until the end. That thread
/// has no processor of its own.
struct Daemon {
    child: Child,
    lines: thread::JoinHandle<io::Result<Vec<String>>>,
}

impl Daemon {
    fn start(processor: usize, path: &Path, config: &str) -> io::Result<Self> {
        fs::write(path, config)?;
        let own = sched_getaffinity(Pid::from_raw(0))?;
        // A child inherits its parent's processors.
        pin(processor)?;
        let child = Command::new(env!("CARGO_BIN_EXE_latency-monitor"))
            .args(["--log-level", "ERROR", "-c"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn();
        sched_setaffinity(Pid::from_raw(0), &own)?;
        let mut child = child?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let lines = thread::spawn(move || BufReader::new(out).lines().collect());
        Ok(Self { child, lines })
    }

    fn stop(mut self) -> io::Result<Published> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(id), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("the daemon ended with {status}")));
        }
        let lines = self.lines.join().map_err(|_| io::ErrorKind::Other)??;
        let mut published = Published::default();
        for line in &lines {
            published.add(&serde_json::from_str(line)?);
        }
        Ok(published)
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
