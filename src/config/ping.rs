//! What is asked of `latency-monitor ping`.

mod threshold;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use crate::config::words::LogLevel;
use crate::limits::FLOWS_MAX;
use crate::proto::{Dscp, FlowKind, Protocol};

pub use threshold::{Figure, Limits, Loss, Of, Part, Threshold};

/// The port that two of ours speak on over UDP.
const UDP_PORT: u16 = 8001;
/// The port of STAMP and TWAMP Light (RFC 8762, section 4.1).
const STAMP_PORT: u16 = 862;
/// What one probe after the other takes, where nothing else is asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same for a monitoring plugin, which is to be done before its caller loses patience.
const PLUGIN_INTERVAL: Duration = Duration::from_millis(100);
/// Probes of a plugin.
const PLUGIN_COUNT: u64 = 20;
/// Where every probe may have a line of its own without being asked for.
const SLOW: Duration = Duration::from_secs(1);

/// The arguments of `latency-monitor ping`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(disable_version_flag = true)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags have nothing in common"
)]
pub struct PingRequest {
    /// An address, or a name, whose first address is probed
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Send so many probes on each flow, and end once they have ended [default: until a signal; a plugin: 20]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so long, whatever has come
    #[arg(short = 'w', long, value_name = "TIME", value_parser = |text: &str| time(text, DEADLINE))]
    pub deadline: Option<Duration>,
    /// From one probe of a flow to the next: seconds, or with a unit as 1ms, 500us [default: 1; a plugin: 0.1]
    #[arg(short, long, value_name = "TIME", value_parser = |text: &str| time(text, INTERVALS))]
    pub interval: Option<Duration>,
    /// After so long a probe without a reply is lost
    #[arg(short = 'W', long, value_name = "TIME", default_value = "1", value_parser = |text: &str| time(text, TIMEOUTS))]
    pub timeout: Duration,
    /// Pad each probe to so many bytes, without the headers of UDP or TCP and IP
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..))]
    pub size: Option<u16>,
    /// Use only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Use only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// A line for each probe, and none for each second; it is so anyway where probes are a second apart
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Only the summary at the end
    #[arg(short, long)]
    pub quiet: bool,
    /// Lines of JSON in place of text
    #[arg(long)]
    pub json: bool,
    /// Probe this UDP port [default: 8001; with `--protocol stamp`: 862]
    #[arg(long, value_name = "PORT", group = "over", value_parser = clap::value_parser!(u16).range(1..))]
    pub udp: Option<u16>,
    /// Probe over a TCP connection to this port, in place of UDP
    #[arg(long, value_name = "PORT", group = "over", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,
    /// Time TCP connects to this port, in place of probes; any server will do
    #[arg(long, value_name = "PORT", group = "over", value_parser = clap::value_parser!(u16).range(1..))]
    pub connect: Option<u16>,
    /// What probes speak: `text`, `native`, `stamp` (RFC 8762, with reflectors of others), or `auto`: text, and native
    /// as soon as the other end has said that it can
    #[arg(long, value_name = "WIRE", default_value = "auto", value_parser = wire(), conflicts_with = "connect")]
    pub protocol: Protocol,
    /// Mark packets with this code point, by name or number, as ef or 46
    #[arg(long, value_name = "DSCP")]
    pub dscp: Option<Dscp>,
    /// Send from this address
    #[arg(short = 'S', long, value_name = "ADDRESS")]
    pub source: Option<IpAddr>,
    /// Send by this interface, or in this VRF
    #[arg(short = 'I', long, value_name = "NAME")]
    pub interface: Option<String>,
    /// From so many source ports, each perhaps on another path
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(FLOWS_MAX)))]
    pub flows: u16,
    /// Authenticate every packet with the key in this file
    #[arg(long, value_name = "FILE", conflicts_with = "connect")]
    pub key_file: Option<PathBuf>,
    /// Show one-way delays as the two clocks have them, and not less the estimated difference of these
    #[arg(long)]
    pub raw: bool,
    /// Be a monitoring plugin: one line, and 0, 1, 2 or 3 for OK, WARNING, CRITICAL and UNKNOWN. What=WARNING,CRITICAL:
    /// rtt, forward, reverse, each direction's .pdv and .ipdv, each with .min, .mean (as without), .max, .p50, .p90,
    /// .p99 or .p99.9; loss, loss.forward, loss.reverse in %. May be repeated
    #[arg(long, value_name = "WHAT=W,C", conflicts_with_all = ["verbose", "json"])]
    pub thresholds: Vec<Threshold>,
    /// Log so much to the standard error [default: nothing]
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub log_level: Option<LogLevel>,
}

impl PingRequest {
    /// True if a monitoring system calls it.
    pub fn is_plugin(&self) -> bool {
        !self.thresholds.is_empty()
    }

    /// Returns how many probes each flow sends.
    pub fn probes(&self) -> Option<u64> {
        let of_plugin = self.is_plugin() && self.deadline.is_none();
        self.count.or_else(|| of_plugin.then_some(PLUGIN_COUNT))
    }

    /// Returns what lies between two probes of a flow.
    pub fn every(&self) -> Duration {
        let usual = if self.is_plugin() {
            PLUGIN_INTERVAL
        } else {
            INTERVAL
        };
        self.interval.unwrap_or(usual)
    }

    /// True if each probe has a line of its own.
    pub fn is_by_probe(&self) -> bool {
        !self.quiet && !self.is_plugin() && (self.verbose || self.every() >= SLOW)
    }

    /// Returns what kind of flow probes it, and the port.
    pub fn over(&self) -> (FlowKind, u16) {
        let usual = if self.protocol == Protocol::Stamp {
            STAMP_PORT
        } else {
            UDP_PORT
        };
        match (self.tcp, self.connect) {
            (Some(port), _) => (FlowKind::Tcp, port),
            (None, Some(port)) => (FlowKind::Connect, port),
            (None, None) => (FlowKind::Udp, self.udp.unwrap_or(usual)),
        }
    }
}

/// The least and the most seconds of an interval: those of the key `interval`.
const INTERVALS: [f64; 2] = [1e-6, 86_400.0];
/// Those of the key `timeout`.
const TIMEOUTS: [f64; 2] = [0.001, 60.0];
/// Those of a deadline.
const DEADLINE: [f64; 2] = [0.001, 31_536_000.0];

/// Units of time, and their seconds. The longer ones come first where one is the end of another.
const UNITS: [(&str, f64); 6] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("min", 60.0),
    ("m", 60.0),
    ("s", 1.0),
];

/// Reads a time: seconds, or a number with a unit.
fn seconds(text: &str) -> Result<f64, String> {
    let with_unit = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1.0));
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "is no time: give seconds, or a unit as in 250us, 1ms, 0.5s, 2min")?;
    Ok(number * factor)
}

/// Reads a time between two bounds in seconds.
fn time(text: &str, [least, most]: [f64; 2]) -> Result<Duration, String> {
    let read = seconds(text)?;
    if (least..=most).contains(&read) {
        Duration::try_from_secs_f64(read).map_err(|error| error.to_string())
    } else {
        Err(format!("must be {least} to {most} seconds"))
    }
}

fn wire() -> impl clap::builder::TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(["auto", "text", "native", "stamp"]).map(|word| match &*word {
        "text" => Protocol::Text,
        "native" => Protocol::Native,
        "stamp" => Protocol::Stamp,
        _ => Protocol::Auto,
    })
}

fn level() -> impl clap::builder::TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(["DEBUG", "INFO", "WARNING", "ERROR"]).map(|word| match &*word {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "ERROR" => LogLevel::Error,
        _ => LogLevel::Warning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        for (text, ns) in [
            ("1", 1_000_000_000),
            ("0.2", 200_000_000),
            ("1ms", 1_000_000),
            ("250us", 250_000),
            ("1500ns", 1_500),
            ("2 s", 2_000_000_000),
            ("1min", 60_000_000_000),
            ("2m", 120_000_000_000),
        ] {
            assert_eq!(
                time(text, DEADLINE_FROM_0).unwrap().as_nanos(),
                ns,
                "{text}"
            );
        }
        for text in ["", "x", "ms", "1x", "-1", "nan", "inf", "0", "1e400"] {
            assert!(time(text, INTERVALS).is_err(), "{text}");
        }
    }

    const DEADLINE_FROM_0: [f64; 2] = [0.0, 1e6];
}
