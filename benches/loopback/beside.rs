//! One prober beside the least that the machine could do: a bare echo at full load, a bare timer at a
//! millisecond.

use std::io;
use std::thread;
use std::time::Duration;

use super::daemons::{Load, Pair, Published, WARM_UP_WINDOWS};
use super::{Processors, Scale, echo, median, timer};

/// The least share of probes that must return in time.
const IN_TIME_LEAST: f64 = 0.995;

/// The loads tried, as parts of the echo's rate.
pub(crate) const LOADS: [f64; 8] = [0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 1.0];

/// Batches of the echo in flight: both ends always have work.
const BATCHES: usize = 4;

/// Targets that share the load.
pub(crate) const TARGETS: u32 = 200;

/// How long the prober spins for a due probe: longer than a timer is late here.
const SPIN_US: u32 = 200;

/// A window of a second counts if the bare timer has waited this often in it.
const TIMER_WAITS_LEAST: usize = 500;

/// Measures what a full prober gets of a bare echo's round trips.
pub(crate) fn an_echo(processors: Processors, scale: Scale) -> io::Result<()> {
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
        let run = measure(processors, load, 0, scale.seconds)?;
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
    Ok(())
}

/// Returns round trips a second of the echo, with one batch in flight or several, whichever is
/// more.
pub(crate) fn bare_echo(processors: Processors, duration: Duration) -> io::Result<f64> {
    let in_turns = echo::run(processors, 1, duration)?;
    let bare = echo::run(processors, BATCHES, duration)?.max(in_turns);
    println!("bare echo: {bare:.0} round trips/s, {in_turns:.0} with one batch under way");
    Ok(bare)
}

/// Measures the cost of a probe with one target and with many, in turns: what else the machine does
/// hits all alike.
pub(crate) fn at_a_millisecond(processors: Processors, scale: Scale) -> io::Result<()> {
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
        let one = measure(processors, Load::of(1), 0, scale.seconds)?;
        one.print(1.0);
        let spun = measure(processors, Load::of(1), SPIN_US, scale.seconds)?;
        spun.print(1.0);
        let many = measure(processors, Load::of(100), 0, scale.seconds)?;
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
    a_timer(processors, scale)
}

/// Measures the lateness of a blocking prober with one target, beside a bare timer on the same
/// processor in the same seconds. A virtual processor wakes some 20 or some 50 us late, and changes
/// between the two within a second: measured one after the other, the two could not be compared.
pub(crate) fn a_timer(processors: Processors, scale: Scale) -> io::Result<()> {
    println!();
    println!("one target, blocking, and a bare timer on its processor, windows of a second:");
    println!("prober p50 us  timer p50 us");
    let [mut ratios, mut probers, mut timers] = [const { Vec::new() }; 3];
    for _ in 0..scale.turns {
        let pair = Pair::start(processors, Load::of(1), "", 1)?;
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
fn measure(processors: Processors, load: Load, spin_us: u32, seconds: u32) -> io::Result<Run> {
    let pair = Pair::start(processors, load, &format!("spin_us = {spin_us}"), seconds)?;
    // The last window is waited for until it is written.
    let windows = WARM_UP_WINDOWS + 1;
    thread::sleep(Duration::from_secs(u64::from(seconds) * windows as u64 + 1));
    let (near, far) = pair.stop()?;
    Ok(figures(&near, &far))
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
