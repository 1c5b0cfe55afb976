//! The table `[engine]`: how the loop runs, and what of the host it takes for itself.

use std::ops::RangeInclusive;

use crate::config::Word;
use crate::config::error::{Given, Problems};
use crate::config::options::check_range;
use crate::config::section::Section;

/// Microseconds to spin before a probe is due.
const SPIN_US: RangeInclusive<i64> = 0..=10_000;

/// Processors that Linux can number.
const CPU: RangeInclusive<i64> = 0..=8_191;

/// Priorities of `SCHED_FIFO`.
const PRIORITY: RangeInclusive<i64> = 1..=99;

/// Microseconds of busy polling: more than a millisecond would hold up the next probe.
const BUSY_POLL_US: RangeInclusive<i64> = 0..=1_000;

/// Kibibytes of a socket's buffer: from a few datagrams to a gibibyte.
const BUFFER_KIB: RangeInclusive<i64> = 4..=1_048_576;

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// epoll through mio.
    #[default]
    Mio,
}

impl Word for EngineKind {
    const WORDS: &'static [(&'static str, Self)] = &[("mio", Self::Mio)];
}

/// How the loop runs. Everything but the kind is off unless it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Which engine.
    pub kind: EngineKind,
    /// Wake this many microseconds before a probe is due, and spin until then.
    pub spin_us: u32,
    /// The processor that the poll thread stays on.
    pub cpu: Option<u16>,
    /// The priority at which the poll thread runs under `SCHED_FIFO`, 1 to 99.
    pub realtime: Option<u8>,
    /// Keep the process's memory from being paged out.
    pub lock_memory: bool,
    /// Microseconds that receives poll the interface's queue for (`SO_BUSY_POLL`).
    pub busy_poll_us: u16,
    /// Kibibytes of every UDP socket's receive buffer; `None`: 4096, or as much of it as the kernel gives.
    pub receive_buffer_kib: Option<u32>,
    /// Kibibytes of every UDP socket's send buffer; `None`: the same.
    pub send_buffer_kib: Option<u32>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct EngineKeys {
    kind: Option<Given<EngineKind>>,
    spin_us: Option<Given<i64>>,
    cpu: Option<Given<i64>>,
    realtime: Option<Given<i64>>,
    lock_memory: Option<Given<bool>>,
    busy_poll_us: Option<Given<i64>>,
    receive_buffer_kib: Option<Given<i64>>,
    send_buffer_kib: Option<Given<i64>>,
}

impl EngineKeys {
    pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems) -> Self {
        Self {
            kind: section.word("kind", problems),
            spin_us: section.integer("spin_us", problems),
            cpu: section.integer("cpu", problems),
            realtime: section.integer("realtime", problems),
            lock_memory: section.boolean("lock_memory", problems),
            busy_poll_us: section.integer("busy_poll_us", problems),
            receive_buffer_kib: section.integer("receive_buffer_kib", problems),
            send_buffer_kib: section.integer("send_buffer_kib", problems),
        }
    }

    /// What the keys come to; those that are out of range are reported.
    pub(super) fn resolve(self, problems: &mut Problems) -> EngineOptions {
        let mut checked = |given, key, range, unit| {
            check_range(Option::as_ref(&given), key, range, unit, problems);
            given.map(|given: Given<i64>| given.value)
        };
        let us = " microseconds";
        let spin_us = checked(self.spin_us, "spin_us", &SPIN_US, us);
        let cpu = checked(self.cpu, "cpu", &CPU, "");
        let realtime = checked(self.realtime, "realtime", &PRIORITY, "");
        let busy_poll_us = checked(self.busy_poll_us, "busy_poll_us", &BUSY_POLL_US, us);
        let (receive, send) = ("receive_buffer_kib", "send_buffer_kib");
        let receive_kib = checked(self.receive_buffer_kib, receive, &BUFFER_KIB, " kibibytes");
        let send_kib = checked(self.send_buffer_kib, send, &BUFFER_KIB, " kibibytes");
        EngineOptions {
            kind: self.kind.map_or(EngineKind::Mio, |kind| kind.value),
            spin_us: narrow(spin_us).unwrap_or(0),
            cpu: narrow(cpu),
            realtime: narrow(realtime),
            lock_memory: self.lock_memory.is_some_and(|lock| lock.value),
            busy_poll_us: narrow(busy_poll_us).unwrap_or(0),
            receive_buffer_kib: narrow(receive_kib),
            send_buffer_kib: narrow(send_kib),
        }
    }
}

/// What is out of range has been reported, and is not used.
fn narrow<T: TryFrom<i64>>(given: Option<i64>) -> Option<T> {
    given.and_then(|value| T::try_from(value).ok())
}
