//! The keys of the top level: the daemon's own, and those of targets, which inherit them.

use crate::config::key::Key;
use crate::config::key::Scope::{Both, Target, Top};
use crate::config::named::Usage;
use crate::config::rules;
use crate::config::value::Kind::{
    Number, Path, Ports, Switch, Text, TextOrTexts, Texts, Whole, WholeOrText, Word, WordOrWhole,
};
use crate::config::value::PORT_MAX;
use crate::config::words::Word as _;
use crate::config::words::{FlowKind, LogLevel, Owd, TimestampFormat, Timestamps};
use crate::limits::{FLOWS_MAX, MESSAGE_BYTES_MAX};
use crate::proto::{Dscp, Host, Protocol, Reopen, SourcePorts};

/// Headings of `--help`.
const LOGGING: Option<&str> = Some("Logging options");
const NETWORK: Option<&str> = Some("Network options");
const RUNTIME: Option<&str> = Some("Runtime options");

#[expect(clippy::cast_possible_wrap, reason = "65,535")]
const SIZE_MAX: i64 = MESSAGE_BYTES_MAX as i64;

const FLOWS_MOST: i64 = FLOWS_MAX as i64;

keys! { OF_DAEMON:
    NAME = Key::new("name", Top, Text(rules::name))
        .help("The name of this host in tags.")
        .absent("the host name")
        .flag(None, Some('n'), "--name", "NAME");

    ADDRESS = Key::new("address", Top, TextOrTexts(|texts| rules::addresses(texts).map(drop)))
        .help("The addresses to answer probes on, one or a list, and no others. \"::\" is IPv6, and \
               IPv4 as well unless the list has an IPv4 address. A link-local one has its interface behind \
               it, as in fe80::1%eth0; a name is looked up at the start.")
        .absent("all of this host's, of IPv6 too if it has any").example("[\"::\", \"192.0.2.1\"]");

    TCP = Key::new("tcp", Top, Switch)
        .help("Whether TCP is probed and answered at all.")
        .preset("true").flag(NETWORK, Some('t'), "--tcp", "");

    UDP = Key::new("udp", Top, Switch)
        .help("Whether UDP is probed and answered at all.")
        .preset("true").flag(NETWORK, Some('u'), "--udp", "");

    HOST = Key::new("host", Target, Text(|text| text.parse::<Host>().map(drop)))
        .help("The target's IP address or host name. A link-local address has its interface behind it, as \
               in fe80::1%eth0.")
        .absent("a target must have one").example("\"192.0.2.7\"");

    FAMILY = Key::new("family", Target, WordOrWhole(&["auto"], &[4, 6])).preset("\"auto\"").example("6")
        .help("The family of the addresses of a name that are used: 4, 6, or any (`auto`).");

    EVERY_ADDRESS = Key::new("every_address", Target, Switch).preset("false").example("true")
        .help("Whether each address of a name is a target of its own, with the tag `address:<ip>` (docs/paths.md).");

    LABEL = Key::new("label", Target, Text(rules::label))
        .help("The target's name in the tag `target`.")
        .absent("the host").example("\"fra1\"");

    TAGS = Key::new("tags", Target, Texts(rules::tags))
        .help("Tags of everything that is published about the target, at both ends.")
        .preset("[]").example("[\"isp:example\"]");

    TYPE = Key::new("type", Target, Word(FlowKind::names))
        .help("Which flows probe the target.")
        .preset("\"both\"").example("\"udp\"");

    RTT = Key::new("rtt", Target, Switch)
        .help("Whether round-trip times are published. The other end publishes one-way delays in any case.")
        .preset("true").flag(NETWORK, Some('r'), "--rtt", "");

    TCP_LATENCY = Key::new("tcp_latency", Target, Switch)
        .help("Whether the time of a TCP connect is measured, over connections that are thrown away.")
        .preset("true").flag(NETWORK, None, "--tcp-latency", "");

    TCP_PORT = Key::new("tcp_port", Both, Whole(0, 65_535, ""))
        .help("The TCP port to listen on (0: any free port), and the TCP port of targets.")
        .preset("8000").flag(NETWORK, None, "--tcp-port", "PORT");

    UDP_PORT = Key::new("udp_port", Both, Ports(rules::ports))
        .help("The UDP port to listen on (0: any free port), or a list (as the flag: 8001,862), and the UDP \
               port of targets. A list has at most 16 ports; a request is answered from the one that it came \
               to. Targets inherit the first of a list, and one's own is a number.")
        .preset("8001").example("[8001, 862]").flag(NETWORK, None, "--udp-port", "PORTS");

    INTERVAL = Key::new("interval", Target, Number(0.001, 86_400_000.0, "milliseconds"))
        .help("Milliseconds between the probes of a flow; fractions are allowed.")
        .lenient("1").preset("1000").example("0.5").flag(RUNTIME, Some('i'), "--interval", "MSECONDS");

    TIMEOUT = Key::new("timeout", Target, Number(0.001, 60.0, "seconds"))
        .help("Seconds after which a probe without a reply is lost; fractions are allowed.")
        .lenient("0.001").preset("1").example("0.25").flag(RUNTIME, Some('T'), "--timeout", "SECONDS");

    SIZE = Key::new("size", Target, Whole(0, SIZE_MAX, "bytes"))
        .help("Bytes to pad a probe to; 0: it is not padded. A native probe has 164 bytes and more by \
               itself.")
        .lenient("0").absent("no padding").example("64");

    MAX_SIZE = Key::new("max_size", Top, Whole(0, SIZE_MAX, "bytes"))
        .help("The largest `size`, in bytes, that a target is meant to have; 0: any. A larger one is worth \
               a warning, since a peer that runs the Python program reads no more than its own \
               `max_size`.")
        .lenient("0").preset("1470").flag(NETWORK, Some('s'), "--max-size", "BYTES");

    MAX_LOST = Key::new("max_lost", Target, Whole(1, 1_000_000, ""))
        .help("Consecutive losses after which a flow starts anew, at the next address of the target's \
               name if there is one.")
        .lenient("1").preset("10").flag(NETWORK, Some('x'), "--max-lost", "PROBES");

    FLOWS = Key::new("flows", Target, Whole(1, FLOWS_MOST, ""))
        .help("UDP flows, and as many TCP flows, each with a source port of its own, so that they take parallel \
               paths (docs/paths.md). Each sends a probe every `interval`. Connects stay one a time.")
        .preset("1").example("16");

    PER_FLOW = Key::new("per_flow", Target, Switch)
        .help("Whether each of several flows is published by itself as well, with the tag `flow:<n>` from 1 on. \
               The other end then has the delays of its packets by flow.")
        .preset("false").example("true");

    REOPEN = Key::new("reopen", Target, Word(Reopen::names))
        .help("When losses make a flow take a fresh source port: after `max_lost` of them in a row if it is the \
               target's only one and has no `source_port` (`auto`), or `never`. Others keep theirs, so that a dead \
               path stays seen.")
        .preset("\"auto\"").example("\"never\"");

    PROTOCOL = Key::new("protocol", Both, Word(Protocol::names))
        .help("What flows speak: `text` as the Python program does, `native` at once, or `auto`: \
               native once the other end has said that it can. `stamp` is for reflectors that are not \
               ours, of STAMP and TWAMP Light, on UDP (docs/stamp.md). With `text` at the top level, \
               native requests and those of STAMP are not answered.")
        .preset("\"auto\"").flag(NETWORK, None, "--protocol", "WIRE");

    TIMESTAMP_FORMAT = Key::new("timestamp_format", Target, Word(TimestampFormat::names))
        .help("The format of the times in probes with `protocol = \"stamp\"`: NTP's, which every reflector reads, \
               or truncated PTP. What comes back says itself which it is.")
        .preset("\"ntp\"").example("\"ptp\"");

    SSID = Key::new("ssid", Target, Switch)
        .help("Whether probes with `protocol = \"stamp\"` have a session identifier (RFC 8972). A reflector that \
               knows none returns it, or zeros; some want zeros.")
        .preset("true").example("false");

    UTC_OFFSET = Key::new("utc_offset", Target, Whole(-86_400, 86_400, "seconds"))
        .help("Seconds that the times of a reflector with `protocol = \"stamp\"` are ahead of UTC: 37 if it keeps \
               TAI, as PTP does. They are subtracted.")
        .preset("0").example("37");

    KEY_FILE = Key::new("key_file", Target, Path)
        .help("A file with the key of a target: at least 32 bytes, in hex, in base64 or as they are. The other \
               end has the same key in its `key_dir`. Every packet of both is authenticated with it (RFC 8762, \
               RFC 8972); the wire is native (or STAMP with others), and nothing else is believed or spoken. \
               It adds 88 bytes to a probe.")
        .absent("no key").example("\"/etc/latency-monitor/keys/fra\"");

    OWD = Key::new("owd", Target, Word(Owd::names))
        .help("One-way delays as measured (`raw`), or without the estimated difference of the two \
               clocks and with the tag `owd:corrected`. The estimate takes half of a path's asymmetry \
               with it. It needs the native wire.")
        .preset("\"raw\"").example("\"corrected\"");

    DSCP = Key::new("dscp", Target, WholeOrText(0, 63, |text| text.parse::<Dscp>().map(drop), "a name or a number"))
        .help("The code point that packets to the target are marked with, as a name (\"ef\", \"af41\", \"cs6\") or a \
               number from 0 to 63. Our reflectors answer with the same. Adds the tag `dscp`.")
        .absent("0, and no tag").example("\"ef\"");

    SOURCE = Key::new("source", Target, Text(rules::source))
        .help("The address of this host that packets to the target leave from. Adds the tag `via`.")
        .absent("the one that the route has").example("\"192.0.2.1\"");

    INTERFACE = Key::new("interface", Target, Text(rules::interface))
        .help("The interface, or the device of a VRF, that packets to the target leave by and come back by. Adds the \
               tag `via`.")
        .absent("the one that the route has").example("\"eth1\"");

    SOURCE_PORT = Key::new("source_port", Target, WholeOrText(1, PORT_MAX, |text| {
        text.parse::<SourcePorts>().map(drop)
    }, "a port or a range of ports"))
        .help("The port of this host that packets to the target leave from, or a range (\"40000-40063\") of which each \
               flow takes another one. Connect probes take those in turn that the TCP flow leaves.")
        .absent("any").example("\"40000-40063\"");

    TTL = Key::new("ttl", Target, Whole(1, 255, ""))
        .help("The TTL of IPv4 and the hop limit of IPv6 that packets to the target leave with.")
        .absent("255 over UDP, and the system's over TCP").example("64");

    DF = Key::new("df", Target, Switch)
        .help("Whether packets to the target leave whole, and with IPv4's bit that keeps routers from cutting them: one \
               that is too long for the path is not sent. With `false` the bit is never set.")
        .absent("the bit is set, but datagrams that are too long leave in fragments").example("true");

    TIMESTAMPS = Key::new("timestamps", Top, Word(Timestamps::names))
        .help("Who stamps packets: the interface where it can, else the kernel, else this process \
               (`auto`), the kernel (`kernel`), or this process (`user`), whose stamps contain the \
               host's own delays.")
        .preset("\"auto\"").flag(NETWORK, None, "--timestamps", "WHO");

    ALLOW = Key::new("allow", Top, Texts(|texts| rules::prefixes(texts).map(drop)))
        .help("Who may probe this host: addresses, and prefixes such as 192.0.2.0/24. Requests and \
               connections of others are dropped, and counted in `monitor.responder.denied`. A source \
               address over UDP can be faked.")
        .absent("everyone").example("[\"192.0.2.0/24\", \"2001:db8::/32\"]");

    RATE_LIMIT = Key::new("rate_limit", Top, Whole(1, 1_000_000_000, "requests a second"))
        .help("Requests over UDP and connections in a second from one IPv4 address, or from one /64 of \
               IPv6. What is beyond is dropped, and counted in `monitor.responder.limited`. At the default \
               a thousand probers at 1 ms may share an address.")
        .preset("1000000");

    RESOLVE_INTERVAL = Key::new("resolve_interval", Top, Number(1.0, 86_400.0, "seconds"))
        .help("Seconds between two look-ups of a target's host name. It is looked up after failures, too.")
        .preset("60");

    SHUTDOWN_TIMEOUT = Key::new("shutdown_timeout", Top, Number(0.1, 600.0, "seconds"))
        .help("Seconds that publishing the rest may take at the end.")
        .preset("5");

    LOG_LEVEL = Key::new("log_level", Top, Word(LogLevel::names))
        .help("How much is logged. The log goes to stdout, or to stderr if the cli backend has stdout.")
        .preset("\"INFO\"").flag(LOGGING, Some('l'), "--log-level", "LEVEL");

    LOG_FILE = Key::new("log_file", Top, Path)
        .help("A file to log to, beside the console.")
        .example("\"/var/log/latency-monitor.log\"").usage(Usage::WriteFile).flag(LOGGING, Some('f'), "--log-file", "FILE");
}
