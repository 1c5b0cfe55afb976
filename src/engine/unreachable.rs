//! What the log says of addresses that datagrams do not reach: changes, and not every ICMP error.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::engine::shared_udp::{Remote, remote_of};
use crate::limits::UNREACHABLE_TOLD_MAX;
use crate::proto::Mono;
use crate::sys::words::{Report, Trouble};

/// An address is logged no more often than this. Replies end its trouble once no ICMP error has
/// come for as long: forged ones among replies would otherwise make two lines each.
const LOG_EVERY_NS: u64 = 10_000_000_000;

/// Lines in that time over all addresses. Where a whole network is gone the first ones say so.
const LINES_MAX: u32 = 20;

#[derive(Clone, Copy, Debug)]
struct Logged {
    trouble: Trouble,
    by: Option<IpAddr>,
    at: Mono,
    /// When the last ICMP error about the address came.
    last: Mono,
}

/// The addresses in trouble, as far as that was logged.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    logged: BTreeMap<Remote, Logged>,
    lines: u32,
    lines_since: Mono,
}

impl Unreachable {
    /// Logs an ICMP error about a datagram that left from our address `local`, if it is news.
    pub(super) fn handle_report(&mut self, now: Mono, report: &Report, local: IpAddr) {
        if !self.is_news(now, report) {
            tracing::trace!(?report, "a datagram did not arrive");
            return;
        }
        let (address, port) = (report.to.ip(), report.to.port());
        let by = match report.by {
            Some(by) if by == local.to_canonical() => "this host itself".to_owned(),
            Some(by) => by.to_string(),
            None => "nobody".to_owned(),
        };
        tracing::warn!(
            "UDP port {port} of {address}: {}, says {by}",
            report.trouble
        );
    }

    /// Logs the end of an address's trouble, if this reply from it shows that.
    pub(super) fn handle_reply(&mut self, now: Mono, from: SocketAddr) {
        // Every reply comes by here, and hardly ever is an address in trouble.
        if !self.logged.is_empty() && self.ends_trouble(now, from) {
            let (address, port) = (from.ip(), from.port());
            tracing::info!("UDP port {port} of {address} answers again");
        }
    }

    fn is_news(&mut self, now: Mono, report: &Report) -> bool {
        let (to, has_lines) = (remote_of(report.to), self.has_lines(now));
        let news = Logged {
            trouble: report.trouble,
            by: report.by,
            at: now,
            last: now,
        };
        let is_news = match self.logged.get_mut(&to) {
            Some(logged) => {
                logged.last = now;
                (logged.trouble, logged.by) != (report.trouble, report.by)
                    && now.since(logged.at) >= LOG_EVERY_NS
            }
            None => true,
        };
        if is_news && has_lines {
            if self.logged.len() >= UNREACHABLE_TOLD_MAX && !self.logged.contains_key(&to) {
                self.logged.clear();
            }
            self.logged.insert(to, news);
            self.lines += 1;
        }
        is_news && has_lines
    }

    fn ends_trouble(&mut self, now: Mono, from: SocketAddr) -> bool {
        let from = remote_of(from);
        let logged = self.logged.get(&from);
        let is_over = logged.is_some_and(|logged| now.since(logged.last) >= LOG_EVERY_NS);
        if is_over {
            self.logged.remove(&from);
        }
        is_over
    }

    fn has_lines(&mut self, now: Mono) -> bool {
        if now.since(self.lines_since) >= LOG_EVERY_NS {
            self.lines_since = now;
            self.lines = 0;
        }
        self.lines < LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::IcmpType;
    use crate::sys::words::Stamps;

    const SECOND_NS: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos((100 + seconds) * SECOND_NS)
    }

    fn report(port: u16, trouble: Trouble) -> Report {
        Report {
            to: SocketAddr::from(([192, 0, 2, 5], port)),
            by: Some(IpAddr::from([192, 0, 2, 5])),
            trouble,
            icmp: IcmpType {
                is_v6: false,
                kind: 3,
                code: 3,
            },
            stamps: Stamps::default(),
            quote: Box::default(),
            extension_at: 0,
        }
    }

    #[test]
    fn a_trouble_is_told_once_and_its_end_once() {
        let mut unreachable = Unreachable::default();
        let refused = report(8001, Trouble::NoPort);
        assert!(unreachable.is_news(at(0), &refused));
        for second in 1..100 {
            assert!(!unreachable.is_news(at(second), &refused));
        }
        assert!(!unreachable.ends_trouble(at(100), report(8002, Trouble::NoPort).to));
        assert!(!unreachable.ends_trouble(at(100), refused.to), "too soon");
        assert!(unreachable.ends_trouble(at(110), refused.to));
        assert!(!unreachable.ends_trouble(at(111), refused.to));
        assert!(unreachable.logged.is_empty());
    }

    #[test]
    fn another_trouble_is_told_but_not_each_time_that_two_take_turns() {
        let mut unreachable = Unreachable::default();
        let two = [Trouble::NoHost, Trouble::NoPort].map(|trouble| report(8001, trouble));
        let mut told = 0;
        for second in 0..100 {
            for report in &two {
                told += u32::from(unreachable.is_news(at(second), report));
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
            told += u32::from(unreachable.is_news(at(second), &forged));
            told += u32::from(unreachable.ends_trouble(at(second), forged.to));
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
                now += u32::from(unreachable.is_news(at(second), &report));
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
