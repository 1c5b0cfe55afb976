//! What a thread asks of the kernel: calls, and wake-ups.

use std::fs;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

/// Counts a thread's system calls from outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The kernel counts: that costs a call a tenth of a microsecond.
    Perf,
    /// Stops the thread at each call. A thread that has much to do does it in larger batches then.
    Strace,
    /// The host has neither.
    None,
}

const EVENT: &str = "raw_syscalls:sys_enter";

impl Counter {
    /// Returns the counter that works here.
    pub(crate) fn find() -> Self {
        let works = |program: &str, words: &[&str]| {
            let mut command = Command::new(program);
            let silent = command
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            silent.status().is_ok_and(|status| status.success())
        };
        if works("perf", &["stat", "-e", EVENT, "--", "true"]) {
            Self::Perf
        } else if works("strace", &["-c", "-o", "/dev/null", "--", "true"]) {
            Self::Strace
        } else {
            Self::None
        }
    }

    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Perf => "calls are counted by `perf stat`, in seconds of their own",
            Self::Strace => {
                "calls are counted by `strace -c`, in seconds of their own: it slows a call, and \
                 batches are larger than without it"
            }
            Self::None => "calls are not counted: neither `perf` nor `strace` works here",
        }
    }

    /// Begins to count the calls of a thread for so many seconds.
    pub(crate) fn start(self, thread: u32, seconds: u32) -> io::Result<Counting> {
        let (thread, seconds) = (thread.to_string(), seconds.to_string());
        let mut command = match self {
            Self::Perf => {
                let mut perf = Command::new("perf");
                perf.args(["stat", "-x", ",", "-e", EVENT, "-t", &thread]);
                perf.args(["--", "sleep", &seconds]);
                perf
            }
            Self::Strace => {
                let mut timed = Command::new("timeout");
                timed.args(["--preserve-status", "-s", "INT", &seconds]);
                timed.args(["strace", "-q", "-c", "-p", &thread]);
                timed
            }
            Self::None => {
                return Ok(Counting {
                    counter: self,
                    child: None,
                });
            }
        };
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Counting {
            counter: self,
            child: Some(child),
        })
    }
}

/// A count under way.
pub(crate) struct Counting {
    counter: Counter,
    child: Option<Child>,
}

impl Counting {
    /// Waits for its end, and returns the calls; NaN if nobody has counted.
    pub(crate) fn finish(self) -> io::Result<f64> {
        let Some(mut child) = self.child else {
            return Ok(f64::NAN);
        };
        let mut said = String::new();
        if let Some(mut out) = child.stderr.take() {
            out.read_to_string(&mut said)?;
        }
        child.wait()?;
        let count = match self.counter {
            // `368,,raw_syscalls:sys_enter,...`
            Counter::Perf => (said.lines().find(|line| line.contains(EVENT)))
                .and_then(|line| line.split(',').next()?.parse().ok()),
            // The last row: share, seconds, usecs/call, calls, maybe errors, `total`.
            Counter::Strace => (said.lines().find(|line| line.ends_with("total")))
                .and_then(|line| line.split_whitespace().nth(3)?.parse().ok()),
            Counter::None => None,
        };
        count.ok_or_else(|| io::Error::other(format!("no count of calls: {}", said.trim())))
    }
}

/// Returns how often a thread has gone to sleep so far, and so was woken.
pub(crate) fn sleeps(thread: u32) -> io::Result<f64> {
    // A thread has a place of its own there, though no listing shows it.
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let line = (status.lines()).find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the kernel does not tell how often a thread slept"))
}
