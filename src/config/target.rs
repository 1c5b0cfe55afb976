//! The options of a target: as they were given, and as the core takes them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::config::auth::KeyFiles;
use crate::config::error::{ConfigError, Place, Problems};
use crate::config::key::{Key, Table};
use crate::config::keys::{
    self, DF, DSCP, EVERY_ADDRESS, FAMILY, FLOWS, HOST, INTERFACE, INTERVAL, KEY_FILE, LABEL,
    MAX_LOST, OWD, PER_FLOW, PROTOCOL, REOPEN, RTT, SIZE, SOURCE, SOURCE_PORT, SSID, TAGS,
    TCP_LATENCY, TCP_PORT, TIMEOUT, TIMESTAMP_FORMAT, TTL, TYPE, UDP_PORT, UTC_OFFSET,
};
use crate::config::layer::Layer;
use crate::config::outside::System;
use crate::config::rules;
use crate::config::section::Document;
use crate::config::value::{Value, nanos};
use crate::config::words::{FlowKind, Owd, TimestampFormat};
use crate::limits::{FLOWS_MAX, IN_FLIGHT_MAX};
use crate::proto::{
    Dscp, Family, Host, Marks, Protocol, Reopen, SourcePorts, StampOptions, TargetSpec,
};

/// The longest address: all other ones make shorter tags.
const LONGEST: &str = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295";

/// The port of STAMP and TWAMP Light (RFC 8762, section 4.1).
const STAMP_PORT: u16 = 862;

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
pub struct TargetOptions(pub(super) Layer);

impl TargetOptions {
    /// A target at an IP address or under a host name.
    pub fn new(host: impl Into<String>) -> Self {
        Self::default().set(&HOST, host.into())
    }

    /// Reads the keys of one target, as they stand in a `[[targets]]` table of the file.
    ///
    /// ```
    /// use latency_monitor::{Config, TargetOptions};
    ///
    /// let target = TargetOptions::parse("host = '192.0.2.7'\ninterval = 0.5")?;
    /// assert_eq!(Config::default().target(target)?.interval_ns, 500_000);
    /// let error = TargetOptions::parse("host = '192.0.2.7'\nsize = 'big'").unwrap_err();
    /// assert!(error.to_string().contains("line 2: `size` must be"));
    /// # Ok::<(), latency_monitor::config::ConfigError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let layer = Document::parse(text, &mut problems).map(|document| {
            let target = document.top("[[targets]]");
            target.check_names(keys::of(Table::Targets).map(|key| key.name), &mut problems);
            target.read(Table::Targets, keys::of(Table::Targets), &mut problems)
        });
        let layer = problems.or(None, layer)?;
        Ok(Self(layer.unwrap_or_default()))
    }

    /// Sets which family the addresses of its name must have to be used.
    pub fn family(self, family: Family) -> Self {
        self.set(&FAMILY, family)
    }

    /// Sets whether each address of its name is a target of its own, with the tag `address:<ip>`.
    pub fn every_address(self, every_address: bool) -> Self {
        self.set(&EVERY_ADDRESS, every_address)
    }

    /// Sets the target's name in tags, in place of the host.
    pub fn label(self, label: impl Into<String>) -> Self {
        self.set(&LABEL, label.into())
    }

    /// Sets the tags of everything published about it, at both ends.
    pub fn tags<S: Into<String>>(self, tags: impl IntoIterator<Item = S>) -> Self {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        self.set(&TAGS, tags)
    }

    /// Sets the port for both TCP and UDP.
    pub fn port(self, port: u16) -> Self {
        self.tcp_port(port).udp_port(port)
    }

    /// Sets the port for TCP.
    pub fn tcp_port(self, port: u16) -> Self {
        self.set(&TCP_PORT, port)
    }

    /// Sets the port for UDP.
    pub fn udp_port(self, port: u16) -> Self {
        self.set(&UDP_PORT, port)
    }

    /// Sets the milliseconds between the probes of a flow, 0.001 to 86,400,000.
    pub fn interval_ms(self, interval: f64) -> Self {
        self.set(&INTERVAL, interval)
    }

    /// Sets the seconds after which an unanswered probe is lost, 0.001 to 60.
    pub fn timeout_s(self, timeout: f64) -> Self {
        self.set(&TIMEOUT, timeout)
    }

    /// Sets the bytes to pad each probe to, 1 to 65,535. A probe that is longer without padding, as
    /// each on the native wire is (164 bytes and more), stays as it is.
    pub fn size(self, size: u16) -> Self {
        self.set(&SIZE, size)
    }

    /// Sets the consecutive losses after which a flow starts anew; at least 1.
    pub fn max_lost(self, losses: u32) -> Self {
        self.set(&MAX_LOST, losses)
    }

    /// Sets how many UDP flows, and as many TCP flows, probe the target, 1 to 64, each with a source port of its own.
    pub fn flows(self, flows: u16) -> Self {
        self.set(&FLOWS, flows)
    }

    /// Sets whether each of several flows is published by itself as well, with the tag `flow:<n>`.
    pub fn per_flow(self, per_flow: bool) -> Self {
        self.set(&PER_FLOW, per_flow)
    }

    /// Sets when losses make a flow take a fresh source port.
    pub fn reopen(self, reopen: Reopen) -> Self {
        self.set(&REOPEN, reopen)
    }

    /// Sets whether round-trip times are published.
    pub fn rtt(self, rtt: bool) -> Self {
        self.set(&RTT, rtt)
    }

    /// Sets whether TCP connects are measured, beside a TCP flow.
    pub fn tcp_latency(self, tcp_latency: bool) -> Self {
        self.set(&TCP_LATENCY, tcp_latency)
    }

    /// Sets the wire that its flows speak. By default they begin as the Python program does, and go
    /// native if the other end takes the offer.
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.set(&PROTOCOL, protocol)
    }

    /// Sets whether the times in probes of [`Protocol::Stamp`] are in the PTP format, not in NTP's.
    pub fn ptp(self, ptp: bool) -> Self {
        let format = if ptp {
            TimestampFormat::Ptp
        } else {
            TimestampFormat::Ntp
        };
        self.set(&TIMESTAMP_FORMAT, format)
    }

    /// Sets whether probes of [`Protocol::Stamp`] have a session identifier.
    pub fn ssid(self, ssid: bool) -> Self {
        self.set(&SSID, ssid)
    }

    /// Sets the seconds that a reflector's times are ahead of UTC, with [`Protocol::Stamp`]; at most a day.
    pub fn utc_offset_s(self, seconds: i32) -> Self {
        self.set(&UTC_OFFSET, seconds)
    }

    /// Sets whether one-way delays are published without the estimated difference of the two clocks,
    /// with the tag `owd:corrected`. The estimate takes both directions for equally long: an
    /// asymmetric path cannot be told from a difference of the clocks. It needs the native wire.
    pub fn owd_corrected(self, corrected: bool) -> Self {
        self.set(&OWD, if corrected { Owd::Corrected } else { Owd::Raw })
    }

    /// Sets the file with the key that authenticates every packet.
    pub fn key_file(self, path: impl Into<String>) -> Self {
        self.set(&KEY_FILE, path.into())
    }

    /// Sets the code point that packets are marked with.
    pub fn dscp(self, dscp: Dscp) -> Self {
        self.set(&DSCP, u16::from(dscp.number()))
    }

    /// Sets the address of this host that packets leave from.
    pub fn source(self, source: IpAddr) -> Self {
        self.set(&SOURCE, source.to_string())
    }

    /// Sets the interface, or the device of a VRF, that packets leave by.
    pub fn interface(self, interface: impl Into<String>) -> Self {
        self.set(&INTERFACE, interface.into())
    }

    /// Sets the ports of this host that packets leave from: each flow takes another one.
    pub fn source_ports(self, ports: SourcePorts) -> Self {
        self.set(&SOURCE_PORT, ports.to_string())
    }

    /// Sets the TTL or hop limit of packets; at least 1.
    pub fn ttl(self, ttl: u8) -> Self {
        self.set(&TTL, u16::from(ttl))
    }

    /// Sets whether packets leave whole, and no router may cut them.
    pub fn df(self, df: bool) -> Self {
        self.set(&DF, df)
    }

    /// Leaves only a persistent TCP flow, and connects.
    pub fn tcp_only(self) -> Self {
        self.set(&TYPE, FlowKind::Tcp)
    }

    /// Leaves only a UDP flow.
    pub fn udp_only(self) -> Self {
        self.set(&TYPE, FlowKind::Udp)
    }

    fn set(mut self, key: &'static Key, value: impl Into<Value>) -> Self {
        self.0.put(key, value.into(), Place::Program);
        self
    }
}

impl Config {
    /// Decides everything about a target that its options leave open.
    pub fn target(&self, options: TargetOptions) -> Result<TargetSpec, ConfigError> {
        let mut problems = Problems::default();
        let mut layer = options.0;
        layer.check(Table::Targets, &mut problems);
        let resolved = self.resolve(
            &layer,
            Place::Program,
            &mut KeyFiles::of(&System),
            &mut problems,
        );
        let (spec, _) = problems.or(None, resolved)?.expect("why not is a problem");
        Ok(spec)
    }

    /// Decides everything about a target whose settings have been checked. Returns it with the
    /// settings that led to it, or reports why it cannot be.
    pub(super) fn resolve(
        &self,
        own: &Layer,
        place: Place,
        keys: &mut KeyFiles<'_>,
        problems: &mut Problems,
    ) -> Option<(TargetSpec, Layer)> {
        let before = problems.faults.len();
        let mut layer = own.over(&self.inherited);
        let host: Option<String> = layer.find(&HOST);
        if host.is_none() {
            problems.add_text(place, "a target has no `host`: give its IP address or name");
        }
        let kind: FlowKind = layer.get(&TYPE);
        let key = keys.key_of(&KEY_FILE, &layer, problems);
        let protocol = wire(&layer, key.is_some(), problems);
        let is_stamp = protocol == Protocol::Stamp;
        let has_tcp = self.tcp && kind != FlowKind::Udp && !is_stamp;
        let has_udp = self.udp && kind != FlowKind::Tcp;
        if !has_tcp && !has_udp {
            let text = if is_stamp {
                "leaves nothing to probe: with `protocol` `stamp` there is UDP alone"
            } else {
                "leaves nothing to probe: TCP or UDP is disabled as a whole (`tcp`, `udp`)"
            };
            match layer.place_or(&TYPE, place) {
                Place::Program => problems.add(Place::Program, TYPE.name, text),
                place => problems.warn(place, TYPE.name, text),
            }
            return None;
        }
        if is_stamp && !self.is_port_meant(own) {
            let text = format_args!(
                "is not given and the target speaks STAMP, whose port is {STAMP_PORT}: is `udp_port = {STAMP_PORT}` \
                 meant?"
            );
            problems.warn(layer.place_or(&PROTOCOL, place), UDP_PORT.name, text);
        }
        let tcp_port = has_tcp.then(|| probed_port(&layer, &TCP_PORT, place, problems));
        let udp_port = has_udp.then(|| probed_port(&layer, &UDP_PORT, place, problems));
        let size: Option<usize> = layer.find(&SIZE).filter(|size| *size > 0);
        if let Some(size) = size.filter(|size| *size > self.max_size && self.max_size > 0) {
            let max = self.max_size;
            let text = format_args!(
                "is {size} bytes, more than `max_size`, {max}: a peer that runs the Python program must \
                 have a `max_size` of at least that"
            );
            problems.warn(layer.place(&SIZE), SIZE.name, text);
        }
        let connect_port = tcp_port.filter(|_| layer.get(&TCP_LATENCY));
        let (interval_ns, timeout_ns) = times(&mut layer, problems);
        let marks = marks(&layer, place, connect_port.is_some(), problems);
        let family = family(&layer, place, &marks, problems);
        if problems.faults.len() > before {
            return None;
        }
        let written = host?;
        let host: Host = written.parse().ok()?;
        if let Host::Address(address) = host
            && written.parse::<IpAddr>().is_err()
        {
            let text = format_args!("is {written}, which is taken for {address}");
            problems.warn(layer.place_or(&HOST, place), HOST.name, text);
        }
        let label: Option<String> = layer.find(&LABEL);
        if label.as_ref().is_some_and(String::is_empty) {
            let text = "is empty: the target is called as its host";
            problems.warn(layer.place_or(&LABEL, place), LABEL.name, text);
        }
        let label = label.filter(|label| !label.is_empty()).unwrap_or(written);
        let every_address = every_address(&host, &layer, own, place, problems);
        let tags = tags(&layer, &marks, every_address, place, problems)?;
        let spec = TargetSpec {
            host,
            family,
            every_address,
            label: label.as_str().into(),
            tags,
            udp_port,
            tcp_port,
            connect_port,
            interval_ns,
            timeout_ns,
            size,
            max_lost: layer.get(&MAX_LOST),
            flows: layer.get(&FLOWS),
            per_flow: layer.get(&PER_FLOW),
            reopen: layer.get(&REOPEN),
            rtt: layer.get(&RTT),
            protocol,
            stamp: stamp_options(&layer),
            key,
            owd_corrected: layer.get::<Owd>(&OWD) == Owd::Corrected,
            visit: None,
            marks: Arc::new(marks),
        };
        layer.put(&LABEL, label.into(), place);
        let kind = kind_of(has_tcp, has_udp);
        layer.put(&TYPE, kind.into(), place);
        remove_unused(&mut layer, kind, is_stamp);
        Some((spec, layer))
    }

    /// True if a target with these settings speaks STAMP on a port that was chosen for it. Where this host listens
    /// on several, the first was hardly.
    fn is_port_meant(&self, own: &Layer) -> bool {
        let inherited: u16 = self.inherited.get(&UDP_PORT);
        let is_given = self.inherited.place(&UDP_PORT) != Place::Program;
        own.find::<u16>(&UDP_PORT).is_some()
            || inherited == STAMP_PORT
            || is_given && self.udp_ports.len() == 1
    }
}

/// Returns the kind of flows of a target that has any.
const fn kind_of(has_tcp: bool, has_udp: bool) -> FlowKind {
    match (has_tcp, has_udp) {
        (true, true) => FlowKind::Both,
        (true, false) => FlowKind::Tcp,
        _ => FlowKind::Udp,
    }
}

/// Removes what a target with these flows does not use: it is not shown.
fn remove_unused(layer: &mut Layer, kind: FlowKind, is_stamp: bool) {
    let mut unused: Vec<&'static Key> = match kind {
        FlowKind::Both => Vec::new(),
        FlowKind::Tcp => vec![&UDP_PORT],
        FlowKind::Udp => vec![&TCP_PORT, &TCP_LATENCY],
    };
    if !is_stamp {
        unused.extend([&TIMESTAMP_FORMAT, &SSID, &UTC_OFFSET]);
    }
    for key in unused {
        layer.remove(key);
    }
}

/// Returns how a reflector that is not ours is spoken to.
fn stamp_options(layer: &Layer) -> StampOptions {
    StampOptions {
        is_ptp: layer.get::<TimestampFormat>(&TIMESTAMP_FORMAT) == TimestampFormat::Ptp,
        has_ssid: layer.get(&SSID),
        utc_offset_ns: i64::from(layer.get::<i32>(&UTC_OFFSET)) * 1_000_000_000,
    }
}

/// Returns what the packets of a target are marked with.
fn marks(layer: &Layer, place: Place, has_connects: bool, problems: &mut Problems) -> Marks {
    let marks = Marks {
        dscp: layer.find(&DSCP),
        source: layer.find(&SOURCE),
        interface: layer.find::<String>(&INTERFACE).map(Into::into),
        source_ports: layer.find(&SOURCE_PORT),
        ttl: layer.find(&TTL),
        df: layer.find(&DF),
    };
    if let Some(source) = marks.source
        && let Some(Host::Address(host)) = layer.find(&HOST)
        && source.is_ipv4() != host.to_canonical().is_ipv4()
    {
        let family = if source.is_ipv4() { "IPv6" } else { "IPv4" };
        let text = format_args!(
            "is {source}, and the target's address is {host}: it must be an {family} address of this host"
        );
        problems.add(layer.place_or(&SOURCE, place), SOURCE.name, text);
    }
    let flows: u16 = layer.get(&FLOWS);
    if let Some(ports) = marks.source_ports
        && ports.count() < u32::from(flows)
    {
        let count = ports.count();
        let text = format_args!(
            "has {count} ports, and the target has {flows} `flows`, each with one of its own"
        );
        problems.add(layer.place_or(&SOURCE_PORT, place), SOURCE_PORT.name, text);
    }
    // Two connections to one port cannot leave from one.
    if has_connects && flows == 1 && marks.source_ports.is_some_and(|ports| ports.count() < 2) {
        let text = "is one port, which the TCP flow has: connect probes need another one, so give a range such as \
                    \"40000-40001\", or `tcp_latency = false`";
        problems.add(layer.place_or(&SOURCE_PORT, place), SOURCE_PORT.name, text);
    }
    marks
}

/// Returns the tags of what is published about a target, or reports that they are too many or too long.
fn tags(
    layer: &Layer,
    marks: &Marks,
    every_address: bool,
    place: Place,
    problems: &mut Problems,
) -> Option<Box<[Box<str>]>> {
    let mut tags: Vec<String> = layer.get(&TAGS);
    let of_marks: Vec<String> = marks.tags().filter(|tag| !tags.contains(tag)).collect();
    tags.extend(of_marks);
    let mut published = tags.clone();
    published.extend(every_address.then(|| format!("address:{LONGEST}")));
    if let Err(fault) = rules::tags(&published) {
        let text =
            format_args!("with those of `dscp`, `source`, `interface` and `every_address` {fault}");
        problems.add(layer.place_or(&TAGS, place), TAGS.name, text);
        return None;
    }
    Some(tags.into_iter().map(Into::into).collect())
}

/// Returns whether each address of the host is a target of its own. A literal has one.
fn every_address(
    host: &Host,
    layer: &Layer,
    own: &Layer,
    place: Place,
    problems: &mut Problems,
) -> bool {
    let is_asked: bool = layer.get(&EVERY_ADDRESS);
    let is_name = matches!(host, Host::Name(name) if !name.contains('%'));
    // One for all targets is meant for those that have names.
    if is_asked && !is_name && own.find::<bool>(&EVERY_ADDRESS) == Some(true) {
        let text =
            format_args!("has no effect: {host} is an address, and no name that may have several");
        problems.warn(
            layer.place_or(&EVERY_ADDRESS, place),
            EVERY_ADDRESS.name,
            text,
        );
    }
    is_asked && is_name
}

/// Returns the family of the addresses that may be used. One that neither the host nor `source` can have is a mistake.
fn family(layer: &Layer, place: Place, marks: &Marks, problems: &mut Problems) -> Family {
    let family: Family = layer.get(&FAMILY);
    let at = layer.place_or(&FAMILY, place);
    let literal = match layer.find(&HOST) {
        Some(Host::Address(address)) => Some(address),
        // Behind a link-local address stands its interface.
        Some(Host::Name(name)) => {
            (name.split_once('%')).and_then(|(address, _)| address.parse().ok())
        }
        None => None,
    };
    for (what, address) in [
        ("the target's address", literal),
        ("`source`", marks.source),
    ] {
        let Some(address) = address.filter(|address| !family.has(*address)) else {
            continue;
        };
        let (is, other) = (family.number(), Family::of(address));
        let text = format_args!(
            "is {is}, and {what} is {address}, of {other}: give {}, \"auto\", or an {family} address",
            other.number()
        );
        problems.add(at, FAMILY.name, text);
    }
    family
}

/// Returns the wire that a target speaks, with or without a key.
fn wire(layer: &Layer, has_key: bool, problems: &mut Problems) -> Protocol {
    match layer.get(&PROTOCOL) {
        Protocol::Auto if has_key => Protocol::Native,
        Protocol::Text if has_key => {
            let text = "has no use where `protocol` is `text`, which knows no keys";
            problems.add(layer.place(&KEY_FILE), KEY_FILE.name, text);
            Protocol::Text
        }
        protocol => protocol,
    }
}

/// Returns the interval and the timeout in nanoseconds. The Python program has one probe in flight,
/// whatever its timeout is; we have all of that time.
fn times(layer: &mut Layer, problems: &mut Problems) -> (u64, u64) {
    let (interval, timeout): (f64, f64) = (layer.get(&INTERVAL), layer.get(&TIMEOUT));
    let (interval_ns, timeout_ns) = (nanos(interval * 1e6), nanos(timeout * 1e9));
    let in_flight = timeout_ns / interval_ns.max(1);
    if in_flight <= u64::from(IN_FLIGHT_MAX) {
        return (interval_ns, timeout_ns);
    }
    let text = format!(
        "of {timeout} s at an `interval` of {interval} ms keeps {in_flight} probes in flight, and \
         {IN_FLIGHT_MAX} is the maximum"
    );
    let most_ns = interval_ns * u64::from(IN_FLIGHT_MAX);
    let most = Duration::from_nanos(most_ns).as_secs_f64();
    match layer.place_or(&TIMEOUT, layer.place(&INTERVAL)) {
        Place::Program => {
            let text = format_args!("{text}: lower the one or raise the other");
            problems.add(Place::Program, TIMEOUT.name, text);
        }
        place => {
            problems.warn(
                place,
                TIMEOUT.name,
                format_args!("{text}; it is taken as {most}"),
            );
            layer.put(&TIMEOUT, most.into(), place);
        }
    }
    (interval_ns, most_ns)
}

/// Checks a target that a program may have made itself.
pub(super) fn check_spec(target: &TargetSpec, problems: &mut Problems) {
    let tags: Vec<String> = target.tags.iter().map(ToString::to_string).collect();
    let in_flight = target.timeout_ns / target.interval_ns.max(1);
    let fault = if target.interval_ns < 1_000 {
        Some("an `interval_ns` below 1,000".to_owned())
    } else if target.timeout_ns == 0 || in_flight > u64::from(IN_FLIGHT_MAX) {
        Some("a `timeout_ns` of 0, or of too many intervals".to_owned())
    } else if !(1..=FLOWS_MAX).contains(&target.flows) {
        Some(format!(
            "{} `flows`, and 1 to {FLOWS_MAX} are right",
            target.flows
        ))
    } else {
        rules::label(&target.label)
            .and_then(|()| rules::tags(&tags))
            .err()
    };
    if let Some(fault) = fault {
        let text = format!("target \"{}\": {fault}", target.label);
        problems.add_text(Place::Program, text);
    }
}

/// Returns a port that can be probed.
fn probed_port(layer: &Layer, key: &'static Key, place: Place, problems: &mut Problems) -> u16 {
    let port = layer.get(key);
    if port == 0 {
        let text = "is 0, which can be listened on and not probed: give the target its own";
        problems.add(place, key.name, text);
    }
    port
}
