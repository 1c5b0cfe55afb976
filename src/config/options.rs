//! The options of a target: in a layer as they were given, and merged into what the core takes.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::config::error::{ConfigError, Given, Place, Problems};
use crate::config::{Word, section::Section};
use crate::limits::{IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX};
use crate::proto::wire::text::encode_tags;
use crate::proto::{Host, Protocol, TargetSpec};

/// Milliseconds between probes: a microsecond to a day.
const INTERVAL_MS: RangeInclusive<f64> = 0.001..=86_400_000.0;

/// Seconds to wait for a reply; the histograms end at 60 s too.
const TIMEOUT_S: RangeInclusive<f64> = 0.001..=60.0;

/// Consecutive losses before a flow starts anew.
const MAX_LOST: RangeInclusive<i64> = 1..=1_000_000;

/// Bytes of a message.
#[expect(clippy::cast_possible_wrap, reason = "65,535")]
pub(super) const SIZE: RangeInclusive<i64> = 1..=MESSAGE_BYTES_MAX as i64;

/// Ports, 0 among them where one is listened on.
pub(super) const PORT: RangeInclusive<i64> = 0..=65_535;

/// Bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Which flows a target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Both,
    Tcp,
    Udp,
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tcp", Self::Tcp), ("udp", Self::Udp), ("both", Self::Both)];
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("native", Self::Native),
    ];
}

/// Which one-way delays are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owd {
    Raw,
    Corrected,
}

impl Word for Owd {
    const WORDS: &'static [(&'static str, Self)] =
        &[("raw", Self::Raw), ("corrected", Self::Corrected)];
}

/// One target to probe, and how; what is not set is as in the [`Config`](crate::Config).
///
/// ```
/// use latency_monitor::{Config, TargetOptions};
///
/// let target = TargetOptions::new("192.0.2.7").label("fra1").interval_ms(0.5).tags(["isp:a"]);
/// let spec = Config::default().target(target)?;
/// assert_eq!(spec.interval_ns, 500_000);
/// assert_eq!(spec.udp_port, Some(8001));
/// # Ok::<(), latency_monitor::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a target does nothing until it is added"]
pub struct TargetOptions {
    pub(super) host: Option<Given<String>>,
    pub(super) label: Option<Given<String>>,
    pub(super) tags: Option<Given<Vec<String>>>,
    pub(super) kind: Option<Given<Kind>>,
    pub(super) rtt: Option<Given<bool>>,
    pub(super) tcp_latency: Option<Given<bool>>,
    pub(super) tcp_port: Option<Given<i64>>,
    pub(super) udp_port: Option<Given<i64>>,
    pub(super) interval: Option<Given<f64>>,
    pub(super) timeout: Option<Given<f64>>,
    pub(super) size: Option<Given<i64>>,
    pub(super) max_lost: Option<Given<i64>>,
    pub(super) protocol: Option<Given<Protocol>>,
    pub(super) owd: Option<Given<Owd>>,
}

/// What holds for every target whatever its own options say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches {
    pub(super) tcp: bool,
    pub(super) udp: bool,
    pub(super) max_size: i64,
}

impl TargetOptions {
    /// A target at an IP address or under a host name.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: set(host.into()),
            ..Self::default()
        }
    }

    /// What it is called in tags, in place of the host.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: set(label.into()),
            ..self
        }
    }

    /// Tags of everything published about it, at both ends.
    pub fn tags<S: Into<String>>(self, tags: impl IntoIterator<Item = S>) -> Self {
        Self {
            tags: set(tags.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// The port for both TCP and UDP.
    pub fn port(self, port: u16) -> Self {
        self.tcp_port(port).udp_port(port)
    }

    /// The port for TCP.
    pub fn tcp_port(self, port: u16) -> Self {
        Self {
            tcp_port: set(port.into()),
            ..self
        }
    }

    /// The port for UDP.
    pub fn udp_port(self, port: u16) -> Self {
        Self {
            udp_port: set(port.into()),
            ..self
        }
    }

    /// Milliseconds between the probes of a flow, 0.001 to 86,400,000.
    pub fn interval_ms(self, interval: f64) -> Self {
        Self {
            interval: set(interval),
            ..self
        }
    }

    /// Seconds after which an unanswered probe is lost, 0.001 to 60.
    pub fn timeout_s(self, timeout: f64) -> Self {
        Self {
            timeout: set(timeout),
            ..self
        }
    }

    /// Bytes to pad each probe to, 1 to 65,535. A probe that is longer without padding, as one of
    /// the native wire is by itself (164 bytes and more), stays as it is.
    pub fn size(self, size: u16) -> Self {
        Self {
            size: set(size.into()),
            ..self
        }
    }

    /// Consecutive losses after which a flow starts anew; at least 1.
    pub fn max_lost(self, losses: u32) -> Self {
        Self {
            max_lost: set(losses.into()),
            ..self
        }
    }

    /// Whether round-trip times are published.
    pub fn rtt(self, rtt: bool) -> Self {
        Self {
            rtt: set(rtt),
            ..self
        }
    }

    /// Whether TCP connects are measured, beside a TCP flow.
    pub fn tcp_latency(self, tcp_latency: bool) -> Self {
        Self {
            tcp_latency: set(tcp_latency),
            ..self
        }
    }

    /// Which wire its flows speak. By default they begin with what the Python program speaks, and
    /// go native if the other end takes the offer.
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self {
            protocol: set(protocol),
            ..self
        }
    }

    /// Whether one-way delays are published without the estimated difference of the two clocks, with
    /// the tag `owd:corrected`. The estimate takes both ways for equally long: a path that is not
    /// cannot be told from a difference of the clocks. It needs the native wire.
    pub fn owd_corrected(self, corrected: bool) -> Self {
        let owd = if corrected { Owd::Corrected } else { Owd::Raw };
        Self {
            owd: set(owd),
            ..self
        }
    }

    /// Only a persistent TCP flow, and connects.
    pub fn tcp_only(self) -> Self {
        Self {
            kind: set(Kind::Tcp),
            ..self
        }
    }

    /// Only a UDP flow.
    pub fn udp_only(self) -> Self {
        Self {
            kind: set(Kind::Udp),
            ..self
        }
    }

    /// Every option that is not set without a configuration.
    pub(super) fn defaults() -> Self {
        Self {
            host: None,
            label: None,
            tags: set(Vec::new()),
            kind: set(Kind::Both),
            rtt: set(true),
            tcp_latency: set(true),
            tcp_port: set(8000),
            udp_port: set(8001),
            interval: set(1000.0),
            timeout: set(1.0),
            size: None,
            max_lost: set(10),
            protocol: set(Protocol::default()),
            owd: set(Owd::Raw),
        }
    }

    /// Takes the keys that a target and the top level have in common.
    pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems) -> Self {
        Self {
            host: section.string("host", problems),
            label: section.string("label", problems),
            tags: section.strings("tags", problems),
            kind: section.word("type", problems),
            rtt: section.boolean("rtt", problems),
            tcp_latency: section.boolean("tcp_latency", problems),
            tcp_port: section.integer("tcp_port", problems),
            udp_port: section.integer("udp_port", problems),
            interval: section.number("interval", problems),
            timeout: section.number("timeout", problems),
            size: section.integer("size", problems),
            max_lost: section.integer("max_lost", problems),
            protocol: section.word("protocol", problems),
            owd: section.word("owd", problems),
        }
    }

    /// These options, and `below` where they say nothing.
    pub(super) fn over(self, below: &Self) -> Self {
        let below = below.clone();
        Self {
            host: self.host.or(below.host),
            label: self.label.or(below.label),
            tags: self.tags.or(below.tags),
            kind: self.kind.or(below.kind),
            rtt: self.rtt.or(below.rtt),
            tcp_latency: self.tcp_latency.or(below.tcp_latency),
            tcp_port: self.tcp_port.or(below.tcp_port),
            udp_port: self.udp_port.or(below.udp_port),
            interval: self.interval.or(below.interval),
            timeout: self.timeout.or(below.timeout),
            size: self.size.or(below.size),
            max_lost: self.max_lost.or(below.max_lost),
            protocol: self.protocol.or(below.protocol),
            owd: self.owd.or(below.owd),
        }
    }

    /// Reports every value that is wrong by itself.
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(host) = &self.host {
            check_with(host, "host", parse_host(&host.value).err(), problems);
        }
        if let Some(label) = &self.label {
            check_with(label, "label", name_fault(&label.value), problems);
        }
        if let Some(tags) = &self.tags {
            check_with(tags, "tags", tags_fault(&tags.value), problems);
        }
        check_range(self.tcp_port.as_ref(), "tcp_port", &PORT, "", problems);
        check_range(self.udp_port.as_ref(), "udp_port", &PORT, "", problems);
        check_range(
            self.interval.as_ref(),
            "interval",
            &INTERVAL_MS,
            " milliseconds",
            problems,
        );
        check_range(
            self.timeout.as_ref(),
            "timeout",
            &TIMEOUT_S,
            " seconds",
            problems,
        );
        check_range(self.size.as_ref(), "size", &SIZE, " bytes", problems);
        check_range(self.max_lost.as_ref(), "max_lost", &MAX_LOST, "", problems);
    }

    /// The target with every option decided, which has passed [`check`](Self::check).
    pub(super) fn resolve(
        self,
        defaults: &Self,
        switches: Switches,
        place: Place,
    ) -> Result<TargetSpec, Problems> {
        let mut problems = Problems::default();
        let merged = self.over(defaults);
        let host = value(merged.host, String::new());
        if host.is_empty() {
            problems.add_text(place, "a target has no `host`: give its IP address or name");
        }
        let kind = value(merged.kind.clone(), Kind::Both);
        let (tcp, udp) = (
            switches.tcp && kind != Kind::Udp,
            switches.udp && kind != Kind::Tcp,
        );
        if !tcp && !udp {
            let place = merged.kind.map_or(place, |kind| kind.place);
            let text = "leaves nothing to probe: TCP or UDP is disabled as a whole (`tcp`, `udp`)";
            problems.add(place, "type", text);
        }
        let tcp_port =
            tcp.then(|| probed_port(merged.tcp_port.as_ref(), "tcp_port", place, &mut problems));
        let udp_port =
            udp.then(|| probed_port(merged.udp_port.as_ref(), "udp_port", place, &mut problems));
        if let Some(size) = merged
            .size
            .as_ref()
            .filter(|size| size.value > switches.max_size)
        {
            let max = switches.max_size;
            let text = format!(
                "is {} bytes, more than `max_size`, {max}: raise that",
                size.value
            );
            problems.add(size.place, "size", text);
        }
        let timing = merged
            .timeout
            .as_ref()
            .or(merged.interval.as_ref())
            .map(|given| given.place);
        let (interval, timeout) = (value(merged.interval, 1000.0), value(merged.timeout, 1.0));
        let (interval_ns, timeout_ns) = (nanos(interval * 1e6), nanos(timeout * 1e9));
        let in_flight = timeout_ns / interval_ns.max(1);
        if in_flight > u64::from(IN_FLIGHT_MAX) {
            let text = format!(
                "of {timeout} s at an `interval` of {interval} ms keeps {in_flight} probes in \
                 flight, and {IN_FLIGHT_MAX} is the maximum: lower the one or raise the other"
            );
            problems.add(timing.unwrap_or_default(), "timeout", text);
        }
        let address = parse_host(&host);
        if !problems.0.is_empty() {
            return Err(problems);
        }
        let tags = value(merged.tags, Vec::new());
        Ok(TargetSpec {
            label: value(merged.label, host).into(),
            host: address.unwrap_or_else(|_| Host::Name("".into())),
            tags: tags.into_iter().map(Into::into).collect(),
            udp_port,
            tcp_port,
            connect_port: tcp_port.filter(|_| value(merged.tcp_latency, true)),
            interval_ns,
            timeout_ns,
            size: merged
                .size
                .and_then(|size| usize::try_from(size.value).ok()),
            max_lost: merged
                .max_lost
                .and_then(|lost| u32::try_from(lost.value).ok())
                .unwrap_or(10),
            rtt: value(merged.rtt, true),
            protocol: value(merged.protocol, Protocol::default()),
            owd_corrected: value(merged.owd, Owd::Raw) == Owd::Corrected,
        })
    }
}

/// Checks and resolves a target that a program gives.
pub(super) fn resolve_checked(
    options: TargetOptions,
    defaults: &TargetOptions,
    switches: Switches,
) -> Result<TargetSpec, ConfigError> {
    let mut problems = Problems::default();
    options.check(&mut problems);
    problems.or(None, ())?;
    options
        .resolve(defaults, switches, Place::Program)
        .map_err(|problems| problems.into_error(None))
}

/// Checks a target that a program may have made itself.
pub(super) fn check_spec(target: &TargetSpec, problems: &mut Problems) {
    let tags: Vec<String> = target.tags.iter().map(ToString::to_string).collect();
    let in_flight = target.timeout_ns / target.interval_ns.max(1);
    let fault = if target.interval_ns < 1_000 {
        Some("an `interval_ns` below 1,000".to_owned())
    } else if target.timeout_ns == 0 || in_flight > u64::from(IN_FLIGHT_MAX) {
        Some("a `timeout_ns` of 0, or of too many intervals".to_owned())
    } else {
        name_fault(&target.label).or_else(|| tags_fault(&tags))
    };
    if let Some(fault) = fault {
        let text = format!("target \"{}\": {fault}", target.label);
        problems.add_text(Place::Program, text);
    }
}

/// Reports a value outside its range.
pub(super) fn check_range<T: PartialOrd + Display>(
    given: Option<&Given<T>>,
    key: &str,
    range: &RangeInclusive<T>,
    unit: &str,
    problems: &mut Problems,
) {
    // Written so that a NaN is outside as well.
    if let Some(given) = given.filter(|given| !range.contains(&given.value)) {
        let (low, high) = (range.start(), range.end());
        let text = format!("must be {low} to {high}{unit}, not {}", given.value);
        problems.add(given.place, key, text);
    }
}

pub(super) fn check_with<T>(
    given: &Given<T>,
    key: &str,
    fault: Option<String>,
    problems: &mut Problems,
) {
    if let Some(fault) = fault {
        problems.add(given.place, key, fault);
    }
}

/// What is wrong with a name that goes onto the wire and into tags.
pub(super) fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("must not be empty".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        Some(format!(
            "must be at most {NAME_BYTES_MAX} bytes, not {}",
            name.len()
        ))
    } else if name.contains('|') || name.chars().any(char::is_control) {
        Some(format!(
            "must have no `|`, which ends it on the wire, and no control character: {name:?}"
        ))
    } else {
        None
    }
}

fn tags_fault(tags: &[String]) -> Option<String> {
    if tags.len() > TAGS_MAX {
        return Some(format!("must be at most {TAGS_MAX}, not {}", tags.len()));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.contains('|')) {
        return Some(format!(
            "must have no `|`, which ends them on the wire: {tag:?}"
        ));
    }
    let bytes = encode_tags(tags).len();
    (bytes > TAGS_BYTES_MAX)
        .then(|| format!("must be at most {TAGS_BYTES_MAX} bytes written as a list, not {bytes}"))
}

pub(super) fn parse_host(host: &str) -> Result<Host, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return if address.is_unspecified() || address.is_multicast() {
            Err(format!("must be the address of one host, not {address}"))
        } else {
            Ok(Host::Address(address))
        };
    }
    let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let looks_like_ip = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host.is_empty()
        || host.len() > HOST_BYTES_MAX
        || looks_like_ip
        || !host.chars().all(is_name_character)
        || host.split('.').any(|part| part.len() > 63)
    {
        return Err(format!(
            "must be an IP address or a host name, without a port, not {host:?}"
        ));
    }
    Ok(Host::Name(host.into()))
}

fn probed_port(port: Option<&Given<i64>>, key: &str, place: Place, problems: &mut Problems) -> u16 {
    let found = port
        .and_then(|port| u16::try_from(port.value).ok())
        .unwrap_or(0);
    if found == 0 {
        let text = "is 0, which can be listened on and not probed: give the target its own";
        problems.add(place, key, text);
    }
    found
}

#[expect(clippy::unnecessary_wraps, reason = "spares every caller the `Some`")]
const fn set<T>(value: T) -> Option<Given<T>> {
    Some(Given::by_program(value))
}

fn value<T>(given: Option<Given<T>>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

/// Whole nanoseconds of a number that is in its range.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ranges are positive and far below 2^63"
)]
pub(super) fn nanos(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}
