//! Two daemons on loopback, a prober and a reflector, and what they publish.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Lines, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Processors, pin};

/// The first windows do not count: sessions begin, buffers find their size.
pub(crate) const WARM_UP_WINDOWS: usize = 1;

/// A probe is answered in time within this.
const TIMEOUT_S: f64 = 1.0;

const PROBER_CONFIG: &str = "loopback-near.toml";

const BINARY: &str = env!("CARGO_BIN_EXE_latency-monitor");

/// The name of the daemon's one thread that has sockets.
const POLL_THREAD: &str = "lm-poll";

/// Which probes a target gets in each of its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probes {
    Udp,
    Tcp,
    /// The configuration has no connects alone: one over TCP goes with each.
    TcpAndConnect,
}

/// What a prober is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) targets: u32,
    pub(crate) interval_ms: f64,
    pub(crate) probes: Probes,
}

impl Load {
    /// A UDP probe a millisecond to each of `targets`.
    pub(crate) const fn of(targets: u32) -> Self {
        Self {
            targets,
            interval_ms: 1.0,
            probes: Probes::Udp,
        }
    }
}

/// A daemon that probes another one.
pub(crate) struct Pair {
    pub(crate) near: Daemon,
    pub(crate) far: Daemon,
}

impl Pair {
    /// Starts both, with these lines in `[engine]`. They end a window every `window_s` seconds.
    pub(crate) fn start(
        processors: Processors,
        load: Load,
        engine: &str,
        window_s: u32,
    ) -> io::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (port, own) = (free_port()?, free_port()?);
        let windows = format!(
            "[metrics]\nbackend = \"cli\"\nmode = \"windows\"\nsend_interval = {window_s}\n[engine]\n{engine}\n"
        );
        let (tcp, udp) = (load.probes != Probes::Udp, load.probes == Probes::Udp);
        let connects = load.probes == Probes::TcpAndConnect;
        let kinds = format!("tcp = {tcp}\nudp = {udp}\n");
        let reflector =
            format!("name = \"far\"\n{kinds}udp_port = {port}\ntcp_port = {port}\n{windows}");
        let mut prober = format!(
            "name = \"near\"\n{kinds}address = \"127.0.0.1\"\nudp_port = {own}\ntcp_port = {own}\n\
             tcp_latency = {connects}\ninterval = {}\ntimeout = {TIMEOUT_S}\nprotocol = \"native\"\n{windows}",
            load.interval_ms,
        );
        for target in 0..load.targets {
            let (high, low) = (target / 200, target % 200 + 1);
            let _ = write!(
                prober,
                "[[targets]]\nhost = \"127.1.{high}.{low}\"\nlabel = \"t{target}\"\nudp_port = {port}\n\
                 tcp_port = {port}\n"
            );
        }
        let far = Daemon::start(
            processors.far,
            &folder.join("loopback-far.toml"),
            &reflector,
        )?;
        let near = Daemon::start(processors.near, &folder.join(PROBER_CONFIG), &prober)?;
        Ok(Self { near, far })
    }

    /// Stops both, and returns what they have published.
    pub(crate) fn stop(self) -> io::Result<(Published, Published)> {
        let near = self.near.stop()?;
        let far = self.far.stop()?;
        Ok((near, far))
    }
}

/// Returns a port that nobody has, over UDP and over TCP.
fn free_port() -> io::Result<u16> {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = udp.local_addr()?.port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

/// Returns the engine that the prober that was started last has chosen, and why, as `check` says it.
pub(crate) fn chosen_engine() -> io::Result<Option<String>> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PROBER_CONFIG);
    let mut check = Command::new(BINARY);
    let said = check.args(["check", "-c"]).arg(path).output()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("engine: "));
    Ok(line.map(ToOwned::to_owned))
}

/// Tries whether a daemon starts with these lines in `[engine]`. Returns what it says if it does not.
pub(crate) fn refusal(engine: &str) -> io::Result<Option<String>> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loopback-try.toml");
    let config = format!(
        "address = \"127.0.0.1\"\ntcp_port = 0\nudp_port = 0\n[engine]\n{engine}\n[metrics]\nbackend = \"cli\"\n"
    );
    fs::write(&path, config)?;
    let mut child = Command::new(BINARY)
        .arg("-c")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let said = said_in_place_of_listening(&mut BufReader::new(log).lines())?;
    if said.is_none() {
        terminate(&child)?;
    }
    child.wait()?;
    Ok(said)
}

/// Reads a daemon's log until it listens. Returns what it has said if it ends before.
fn said_in_place_of_listening(
    log: &mut Lines<BufReader<ChildStderr>>,
) -> io::Result<Option<String>> {
    let mut said = Vec::new();
    for line in log {
        let line = line?;
        if line.contains("answering probes") {
            return Ok(None);
        }
        said.push(line);
    }
    Ok(Some(said.join("\n")))
}

/// Waits until a daemon listens: one that is told to end before that has had no time to listen to signals. What it has
/// to complain of later is shown.
fn wait_for_start(log: ChildStderr) -> io::Result<()> {
    let mut log = BufReader::new(log).lines();
    if let Some(said) = said_in_place_of_listening(&mut log)? {
        let told = format!("the daemon ended before it listened: {said}");
        return Err(io::Error::other(told));
    }
    thread::spawn(move || {
        for line in log.map_while(Result::ok) {
            if line.contains(" ERROR ") {
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    });
    Ok(())
}

fn terminate(child: &Child) -> io::Result<()> {
    let id = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(kill(Pid::from_raw(id), Signal::SIGTERM)?)
}

/// What a daemon has published.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Values by metric and the end of their window, in Unix nanoseconds; of all targets together.
    values: BTreeMap<String, BTreeMap<i64, f64>>,
    /// Start, end and p50 of each window of its lateness.
    pub(crate) lateness: Vec<(i64, i64, f64)>,
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
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.value_of(name, WARM_UP_WINDOWS)
    }

    fn value_of(&self, name: &str, window: usize) -> f64 {
        let series = self.values.get(name).into_iter().flatten();
        let mut values = series.map(|(_, value)| *value);
        values.nth(window).unwrap_or(f64::NAN)
    }

    /// Returns how many of a metric's events there were a second, over all kinds of probe.
    pub(crate) fn per_s(&self, names: &[&str], window: usize) -> f64 {
        let values = names.iter().map(|name| self.value_of(name, window));
        // A kind that is not probed has no series.
        let known = values.filter(|value| !value.is_nan());
        known.sum::<f64>() / self.length_s(window)
    }

    /// Returns the length of the window that counts in seconds.
    pub(crate) fn window_s(&self) -> f64 {
        self.length_s(WARM_UP_WINDOWS)
    }

    fn length_s(&self, window: usize) -> f64 {
        let ends = self.values.get("monitor.cpu").into_iter().flatten();
        let mut ends = ends.map(|(end, _)| *end).skip(window - 1);
        match (ends.next(), ends.next()) {
            (Some(before), Some(end)) => Duration::from_nanos(end.abs_diff(before)).as_secs_f64(),
            _ => f64::NAN,
        }
    }
}

/// A daemon on one processor, and a thread that keeps what it publishes until the end. That thread
/// has no processor of its own.
pub(crate) struct Daemon {
    child: Child,
    /// Until it is stopped.
    lines: Option<thread::JoinHandle<io::Result<Vec<String>>>>,
}

impl Drop for Daemon {
    /// Whatever has failed, nothing is left running. One that has ended is not killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(processor: usize, path: &Path, config: &str) -> io::Result<Self> {
        fs::write(path, config)?;
        let own = sched_getaffinity(Pid::from_raw(0))?;
        // A child inherits its parent's processors.
        pin(processor)?;
        let child = Command::new(BINARY)
            .arg("-c")
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        sched_setaffinity(Pid::from_raw(0), &own)?;
        let mut child = child?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let log = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let lines = Some(thread::spawn(move || BufReader::new(out).lines().collect()));
        let daemon = Self { child, lines };
        wait_for_start(log)?;
        Ok(daemon)
    }

    /// Returns the thread that probes, answers and waits.
    pub(crate) fn poll_thread(&self) -> io::Result<u32> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            if fs::read_to_string(task.path().join("comm"))?.trim_end() == POLL_THREAD {
                let name = task.file_name();
                let id = name.to_str().and_then(|id| id.parse().ok());
                return id.ok_or_else(|| io::Error::other("a thread has no number"));
            }
        }
        Err(io::Error::other("the daemon has no poll thread"))
    }

    fn stop(mut self) -> io::Result<Published> {
        terminate(&self.child)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("the daemon ended with {status}")));
        }
        let lines = self.lines.take().ok_or(io::ErrorKind::NotFound)?;
        let lines = lines.join().map_err(|_| io::ErrorKind::Other)??;
        let mut published = Published::default();
        for line in &lines {
            published.add(&serde_json::from_str(line)?);
        }
        Ok(published)
    }
}
