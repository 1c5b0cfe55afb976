//! What keeps a host from doing its work: processors that a hypervisor takes away, and queues that drop packets.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use nix::unistd::{SysconfVar, sysconf};

/// Bytes that are read of a file. With more interfaces or processors than fit, nothing is said of their drops.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Bytes that are read of `/proc/stat`. It begins with a line of about 80 for each processor; of more than fit, those
/// that do are looked at.
const PROCESSORS_BYTES: usize = 64 * 1024;

/// Processors that Linux numbers at most.
const PROCESSORS_MAX: usize = 8_192;

const SECOND_NS: u64 = 1_000_000_000;

/// Files that are read again and again. What a sandbox does not show is not known.
#[derive(Debug)]
pub(crate) struct Pressure {
    processors: Option<File>,
    interfaces: Option<File>,
    backlogs: Option<File>,
    thread: Option<File>,
    tick_ns: Option<u64>,
    steal: Steal,
    buffer: Vec<u8>,
}

/// The time for which a processor was away: between two readings, of the one that was away the longest. The sum of all
/// would be longer than the time itself.
#[derive(Debug, Default)]
struct Steal {
    /// By the number of a processor, as read last.
    ticks: Vec<Option<u64>>,
    total: u64,
}

impl Steal {
    /// Takes what `/proc/stat` says, and returns the ticks since the first reading. `None` if it does not tell.
    fn handle(&mut self, text: &str) -> Option<u64> {
        let (mut longest, mut told) = (0, false);
        for (number, ticks) in steal_ticks(text) {
            if number >= self.ticks.len() {
                self.ticks.resize(number + 1, None);
            }
            // A processor that was not there before says nothing of this time.
            let before = self.ticks[number].replace(ticks).unwrap_or(ticks);
            longest = longest.max(ticks.saturating_sub(before));
            told = true;
        }
        self.total = self.total.saturating_add(longest);
        told.then_some(self.total)
    }
}

impl Pressure {
    /// Opens the files of this host, of the network that this process is in, and of the calling thread.
    pub(crate) fn open() -> Self {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
        Self {
            processors: File::open("/proc/stat").ok(),
            interfaces: File::open("/proc/net/dev").ok(),
            backlogs: File::open("/proc/net/softnet_stat").ok(),
            thread: File::open("/proc/thread-self/schedstat").ok(),
            tick_ns: ticks.and_then(|ticks| SECOND_NS.checked_div(ticks)),
            steal: Steal::default(),
            buffer: Vec::new(),
        }
    }

    /// Returns how long a processor was away since the first call, as a hypervisor has taken it: between two calls, of
    /// the one that was away the longest. In nanoseconds, as coarse as the system counts it. `None` if it does not
    /// tell.
    pub(crate) fn steal_ns(&mut self) -> Option<u64> {
        let file = self.processors.as_ref()?;
        self.buffer.resize(PROCESSORS_BYTES, 0);
        let bytes = file.read_at(&mut self.buffer, 0).ok()?;
        let ticks = self
            .steal
            .handle(std::str::from_utf8(&self.buffer[..bytes]).ok()?)?;
        ticks.checked_mul(self.tick_ns?)
    }

    /// Returns how long the thread that opened this has waited for a processor that others had, in nanoseconds.
    /// `None` if the system does not tell.
    pub(crate) fn queued_ns(&mut self) -> Option<u64> {
        let mut line = [0; 64];
        let bytes = self.thread.as_ref()?.read_at(&mut line, 0).ok()?;
        queued_ns(std::str::from_utf8(&line[..bytes]).ok()?)
    }

    /// Returns the packets that interfaces and processors have dropped for want of room. `None` if the system tells of
    /// neither.
    pub(crate) fn drops(&mut self) -> Option<u64> {
        let interfaces = read(self.interfaces.as_ref(), &mut self.buffer).and_then(interface_drops);
        let backlogs = read(self.backlogs.as_ref(), &mut self.buffer).and_then(backlog_drops);
        let known = [interfaces, backlogs].into_iter().flatten();
        known.reduce(u64::wrapping_add)
    }
}

/// `schedstat` has the nanoseconds that a thread ran, those that it was runnable and did not, and how often it ran.
fn queued_ns(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Reads all of a file into a buffer, which keeps its memory.
fn read<'a>(file: Option<&File>, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
    let file = file?;
    buffer.clear();
    loop {
        let begin = buffer.len();
        buffer.resize((begin * 2).clamp(4_096, FILE_BYTES_MAX), 0);
        let bytes = file.read_at(&mut buffer[begin..], begin as u64).ok()?;
        buffer.truncate(begin + bytes);
        if bytes == 0 {
            return std::str::from_utf8(buffer).ok();
        }
        if buffer.len() == FILE_BYTES_MAX {
            return None;
        }
    }
}

/// The first line of `/proc/stat` is of all processors, the next ones of each: user, nice, system, idle, iowait, irq,
/// softirq, steal, and more. Returns their numbers and steal times. A line without its end is not read.
fn steal_ticks(text: &str) -> impl Iterator<Item = (usize, u64)> {
    let lines = text
        .split_inclusive('\n')
        .map_while(|line| line.strip_suffix('\n')?.strip_prefix("cpu"));
    lines.skip(1).map_while(|line| {
        let (number, times) = line.split_once(' ')?;
        let number = number.parse().ok().filter(|it| *it < PROCESSORS_MAX)?;
        let ticks = times.split_ascii_whitespace().nth(7)?.parse().ok()?;
        Some((number, ticks))
    })
}

/// `/proc/net/dev` has two lines of heads, then a line for each interface: eight numbers of what came, of which the
/// fourth is what was dropped, and eight of what left.
fn interface_drops(text: &str) -> Option<u64> {
    let mut sum = 0_u64;
    for line in text.lines().skip(2) {
        let (_, numbers) = line.rsplit_once(':')?;
        let mut numbers = numbers.split_ascii_whitespace();
        let received: u64 = numbers.nth(3)?.parse().ok()?;
        let sent: u64 = numbers.nth(7)?.parse().ok()?;
        sum = sum.wrapping_add(received).wrapping_add(sent);
    }
    Some(sum)
}

/// `/proc/net/softnet_stat` has a line of hexadecimal numbers for each processor: the second is what its backlog had
/// no room for.
fn backlog_drops(text: &str) -> Option<u64> {
    let mut sum = 0_u64;
    for line in text.lines() {
        let word = line.split_ascii_whitespace().nth(1)?;
        sum = sum.wrapping_add(u64::from_str_radix(word, 16).ok()?);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "cpu  9740299 758782 1188942 5623554 94436 0 102201 5699 0 0\n\
            cpu0 1 2 3 4 5 6 7 8 9 10\ncpu2 1 2 3 4 5 6 7 5691 9 10\nintr 1 2\n";
        assert_eq!(steal_ticks(stat).collect::<Vec<_>>(), [(0, 8), (2, 5_691)]);
        let devices = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n    \
            lo: 1 2 0 7 0 0 0 0 8 9 0 0 0 0 0 0\neth0:1: 5 6 0 30 0 0 0 0 7 8 0 4 0 0 0 0\n";
        assert_eq!(interface_drops(devices), Some(41));
        assert_eq!(queued_ns("8123 4567 89\n"), Some(4_567));
        assert_eq!(queued_ns("8123"), None);
        let backlogs = "0000a1b2 00000000 00000001\n0000a1b2 0000001f 00000001\n";
        assert_eq!(backlog_drops(backlogs), Some(31));
    }

    #[test]
    fn what_is_not_as_expected_is_not_known() {
        let first = "cpu 0 0 0 0 0 0 0 9\n";
        for line in [
            "",
            "cpu0",
            "cpu0\n",
            "cpu0 1 2 3 4 5 6 7\n",
            "cpu0 1 2 3 4 5 6 7 8",
            "cpu0 1 2 3 4 5 6 7 x\n",
            "cpux 1 2 3 4 5 6 7 8\n",
            "cpu8192 1 2 3 4 5 6 7 8\n",
            "intr 1 2 3 4 5 6 7 8\n",
        ] {
            let stat = format!("{first}{line}");
            assert_eq!(Steal::default().handle(&stat), None, "{stat:?}");
        }
        assert_eq!(interface_drops("a\nb\nlo: 1 2 3"), None);
        assert_eq!(interface_drops("a\nb\nno colon"), None);
        assert_eq!(backlog_drops("00 zz"), None);
    }

    #[test]
    fn steal_time_is_of_the_processor_that_was_away_the_longest() {
        let mut steal = Steal::default();
        let mut read = |ticks: &[(usize, u64)]| {
            let mut stat = "cpu 0 0 0 0 0 0 0 0\n".to_owned();
            for (number, ticks) in ticks {
                writeln!(stat, "cpu{number} 0 0 0 0 0 0 0 {ticks} 0 0").unwrap();
            }
            steal.handle(&stat)
        };
        assert_eq!(read(&[(0, 500), (1, 700)]), Some(0));
        assert_eq!(read(&[(0, 506), (1, 705)]), Some(6), "not 11");
        assert_eq!(read(&[(0, 506), (1, 709)]), Some(10));
        assert_eq!(read(&[(0, 508), (3, 900)]), Some(12), "one is new");
        assert_eq!(read(&[(0, 508), (1, 712), (3, 901)]), Some(15));
        assert_eq!(read(&[(0, 0), (1, 712), (3, 901)]), Some(15));
    }

    #[test]
    fn this_host_tells_again_and_again() {
        let mut pressure = Pressure::open();
        let (steal_ns, drops) = (pressure.steal_ns(), pressure.drops());
        assert!(steal_ns.is_some() && drops.is_some());
        assert!(pressure.steal_ns() >= steal_ns);
        assert!(pressure.drops() >= drops);
    }
}
