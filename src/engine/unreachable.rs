//! What is told to people of addresses that packets do not reach: changes, and not every packet.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::shared_udp::{Key, key_of};
use crate::limits::UNREACHABLE_TOLD_MAX;
use crate::proto::Mono;
use crate::sys::icmp::{Report, Trouble};

/// An address is spoken of no more often than this. Replies end its trouble once no message has come
/// for as long: a forged one beside replies would otherwise be two lines each time.
const TELL_EVERY_NS: u64 = 10_000_000_000;

/// Lines in that time, over all addresses: where a whole network is gone the first ones say so.
const LINES_MAX: u32 = 20;

#[derive(Clone, Copy, Debug)]
struct Told {
    trouble: Trouble,
    by: Option<IpAddr>,
    /// When that was said.
    at: Mono,
    /// When the last message of it came.
    last: Mono,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    told: BTreeMap<Key, Told>,
    lines: u32,
    lines_since: Mono,
}

impl Unreachable {
    /// Whether any address is in trouble, as far as it was told.
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The network says that packets do not get to where a flow of ours sends them. True if that is
    /// to be told.
    pub(super) fn handle_report(&mut self, now: Mono, report: &Report) -> bool {
        let (to, may_tell) = (key_of(report.to), self.has_lines(now));
        let news = Told {
            trouble: report.trouble,
            by: report.by,
            at: now,
            last: now,
        };
        let Some(told) = self.told.get_mut(&to) else {
            if may_tell {
                if self.told.len() >= UNREACHABLE_TOLD_MAX {
                    self.told.clear();
                }
                self.told.insert(to, news);
                self.lines += 1;
            }
            return may_tell;
        };
        told.last = now;
        let is_news = (told.trouble, told.by) != (report.trouble, report.by)
            && now.since(told.at) >= TELL_EVERY_NS;
        if is_news && may_tell {
            *told = news;
            self.lines += 1;
        }
        is_news && may_tell
    }

    /// A reply came from there. True if it is to be told that the trouble is over.
    pub(super) fn handle_reply(&mut self, now: Mono, from: SocketAddr) -> bool {
        let from = key_of(from);
        let told = self.told.get(&from);
        let is_over = told.is_some_and(|told| now.since(told.last) >= TELL_EVERY_NS);
        if is_over {
            self.told.remove(&from);
        }
        is_over
    }

    fn has_lines(&mut self, now: Mono) -> bool {
        if now.since(self.lines_since) >= TELL_EVERY_NS {
            self.lines_since = now;
            self.lines = 0;
        }
        self.lines < LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos((100 + seconds) * SECOND_NS)
    }

    fn report(port: u16, trouble: Trouble) -> Report {
        Report {
            to: SocketAddr::from(([192, 0, 2, 5], port)),
            by: Some(IpAddr::from([192, 0, 2, 5])),
            trouble,
        }
    }

    #[test]
    fn a_trouble_is_told_once_and_its_end_once() {
        let mut unreachable = Unreachable::default();
        let refused = report(8001, Trouble::NoPort);
        assert!(unreachable.handle_report(at(0), &refused));
        for second in 1..100 {
            assert!(!unreachable.handle_report(at(second), &refused));
        }
        assert!(!unreachable.handle_reply(at(100), report(8002, Trouble::NoPort).to));
        assert!(!unreachable.handle_reply(at(100), refused.to), "too soon");
        assert!(unreachable.handle_reply(at(110), refused.to));
        assert!(!unreachable.handle_reply(at(111), refused.to));
        assert!(unreachable.is_empty());
    }

    #[test]
    fn another_trouble_is_told_but_not_each_time_that_two_take_turns() {
        let mut unreachable = Unreachable::default();
        let two = [Trouble::NoHost, Trouble::NoPort].map(|trouble| report(8001, trouble));
        let mut told = 0;
        for second in 0..100 {
            for report in &two {
                told += u32::from(unreachable.handle_report(at(second), report));
            }
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn forged_messages_between_replies_are_one_line() {
        let mut unreachable = Unreachable::default();
        let forged = report(8001, Trouble::NoHost);
        let mut told = 0;
        for second in 0..1_000 {
            told += u32::from(unreachable.handle_report(at(second), &forged));
            told += u32::from(unreachable.handle_reply(at(second), forged.to));
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn where_everything_is_gone_the_others_are_told_later() {
        let mut unreachable = Unreachable::default();
        let mut told = Vec::new();
        for second in 0..100 {
            let mut now = 0;
            for port in 0..60 {
                let report = report(port, Trouble::NoRoute);
                now += u32::from(unreachable.handle_report(at(second), &report));
            }
            told.push(now);
        }
        assert_eq!(
            (told[0], told[10], told[20]),
            (LINES_MAX, LINES_MAX, LINES_MAX)
        );
        assert_eq!(told.iter().sum::<u32>(), 60);
    }
}
