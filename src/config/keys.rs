//! The table of keys: everything that can be configured, in the order in which it is shown.
//!
//! From a row come the reading of the key and the messages about it, its default, its flag, its lines
//! in `check`, `--help`, `latency.toml` and `docs/configuration.md`, and its part of the JSON Schema.
//! A default stands here and nowhere else.

use crate::config::key::Scope::{
    Auth, Both, Burst, Discovery, Engine, Http, Member, Mesh, Metrics, Of, Sessions, Target, Top,
};
use crate::config::key::{Key, Table};
use crate::config::rules;
use crate::config::value::Kind::{
    self, Names, Number, NumberOrAuto, Numbers, Path, Ports, Secret, Switch, Text, TextOrTexts,
    Texts, Url, Whole, Word,
};
use crate::config::words::{
    Backend, EngineKind, FlowKind, LogLevel, Owd, Shape, TimestampFormat, Timestamps, Word as _,
};
use crate::limits::{BURST_MARGIN_MS_MAX, DUMPS_KEPT_MAX, MESH_K_MAX, MESSAGE_BYTES_MAX};
use crate::proto::{Host, Protocol};
use crate::publish::clickhouse::{COLUMNS, COLUMNS_LISTED, Columns};
use crate::publish::{ApiKey, BaseUrl, Bounds, HistogramKind, Name, Resource, Site, Temporality};
use crate::record::Mode;

/// Headings of `--help`.
const LOGGING: Option<&str> = Some("Logging options");
const NETWORK: Option<&str> = Some("Network options");
const RUNTIME: Option<&str> = Some("Runtime options");

#[expect(clippy::cast_possible_wrap, reason = "65,535")]
const SIZE_MAX: i64 = MESSAGE_BYTES_MAX as i64;

const LOG: &[Backend] = &[Backend::Log];
const ZEROMQ: &[Backend] = &[Backend::ZeroMq];
const CLICKHOUSE: &[Backend] = &[Backend::ClickHouse];
const PUSHGATEWAY: &[Backend] = &[Backend::Pushgateway];
const DATADOG: &[Backend] = &[Backend::Datadog];
const OTLP: &[Backend] = &[Backend::Otlp];

/// Backends whose batches wait in a queue.
const QUEUED: &[Backend] = &[
    Backend::ClickHouse,
    Backend::Pushgateway,
    Backend::Datadog,
    Backend::Otlp,
];

/// Makes each row a constant for the code that uses the key, and all rows the table.
macro_rules! keys {
    ($($name:ident = $key:expr;)*) => {
        $(pub(super) static $name: Key = $key;)*
        static KEYS: &[&Key] = &[$(&$name),*];
    };
}

keys! {
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
        .help("Whether round-trip times are published. The other end publishes one-way delays in any \
               case.")
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
        .help("Seconds between two look-ups of a target's host name. It is looked up after failures, \
               too.")
        .preset("60");

    SHUTDOWN_TIMEOUT = Key::new("shutdown_timeout", Top, Number(0.1, 600.0, "seconds"))
        .help("Seconds that publishing the rest may take at the end.")
        .preset("5");

    LOG_LEVEL = Key::new("log_level", Top, Word(LogLevel::names))
        .help("How much is logged. The log goes to stdout, or to stderr if the cli backend has stdout.")
        .preset("\"INFO\"").flag(LOGGING, Some('l'), "--log-level", "LEVEL");

    LOG_FILE = Key::new("log_file", Top, Path)
        .help("A file to log to, beside the console.")
        .example("\"/var/log/latency-monitor.log\"").flag(LOGGING, Some('f'), "--log-file", "FILE");

    KEY_DIR = Key::new("key_dir", Auth, Path)
        .help("A folder of keys for requests to this host, a file for each, as `key_file` of a target has it. A \
               file whose name is a number from 0 to 65535 is for the session identifier of a STAMP sender (0: \
               without one); any other name is yours. A request that no key fits is answered as one without a key.")
        .absent("no keys").example("\"/etc/latency-monitor/keys\"");

    REQUIRE_KEY = Key::new("require_key", Auth, Switch)
        .help("Whether requests are answered only if a key of `key_dir` has authenticated them. Text never is, \
               nor is a TCP connect.")
        .preset("false");

    FROM = Key::new("from", Sessions, Text(|text| rules::prefix(text).map(drop)))
        .help("The address that the requests of a STAMP or TWAMP Light sender come from, or a prefix of such \
               addresses. Of several that fit an address the longest counts. Each address of a prefix is \
               published for itself, with the tag `address`.")
        .absent("a session must have one").example("\"192.0.2.7\"");

    SESSION_SSID = Key::new("ssid", Sessions, Whole(0, 65_535, ""))
        .help("The session identifier of the requests (RFC 8972); 0: they have none.")
        .absent("any").example("7");

    SESSION_LABEL = Key::new("label", Sessions, Text(rules::name))
        .help("What the sender is called in the tag `source`. Nobody else is published under it. Another sender \
               at the same address that lasts is published with the tag `port`.")
        .absent("a session must have one").example("\"pe1-fra\"");

    SESSION_TAGS = Key::new("tags", Sessions, Texts(rules::tags))
        .help("Tags of the sender's one-way delays.")
        .preset("[]").example("[\"maker:example\"]");

    SESSION_UTC_OFFSET = Key::new("utc_offset", Sessions, Whole(-86_400, 86_400, "seconds"))
        .help("Seconds that the sender's times are ahead of UTC: 37 if it keeps TAI, as PTP does. They are \
               subtracted.")
        .preset("0").example("37");

    SESSION_KEY_FILE = Key::new("key_file", Sessions, Path)
        .help("A file with the sender's key, as `key_file` of a target. Requests that it has not authenticated \
               are not answered, and are counted in `monitor.responder.unauthentic`.")
        .absent("no key").example("\"/etc/latency-monitor/pe1\"");

    MESH_NAME = Key::new("name", Mesh, Text(rules::name))
        .help("What the mesh is called in messages.")
        .absent("a mesh must have one").example("\"backbone\"");

    MESH_SHAPE = Key::new("shape", Mesh, Word(Shape::names))
        .help("Who probes whom: all members each other (`full`), those that have a group in common (`groups`), or \
               each of them `k` others, for large fleets (`k`).")
        .preset("\"full\"").example("\"k\"");

    MESH_K = Key::new("k", Mesh, Whole(1, MESH_K_MAX, ""))
        .help("How many others each member probes with `shape = \"k\"`. About as many probe it. The names of the \
               members alone decide which, and a member more or less moves few pairs.")
        .absent("none; with `shape = \"k\"` it must be given").example("5");

    MEMBER_NAME = Key::new("name", Member, Text(rules::name))
        .help("The member's `name`, by which it finds itself. For the others it is the target's label.")
        .absent("a member must have one").example("\"fra1\"");

    MEMBER_ADDRESS = Key::new("address", Member, Text(|text| text.parse::<Host>().map(drop)))
        .help("The member's IP address or host name, as the others reach it.")
        .absent("a member must have one").example("\"192.0.2.7\"");

    MEMBER_TAGS = Key::new("tags", Member, Texts(rules::tags))
        .help("Tags of everything that the others publish about the member, behind the mesh's own.")
        .preset("[]").example("[\"site:fra\"]");

    GROUPS = Key::new("groups", Member, Texts(rules::groups))
        .help("The groups that the member is in, for `shape = \"groups\"`.")
        .preset("[]").example("[\"eu\"]");

    DISCOVERY_FILES = Key::new("files", Discovery, Texts(rules::lists))
        .help("Files with lists of targets, in whose names `*` stands for anything: JSON or YAML as Prometheus reads \
               them from files, or TOML with [[targets]]. They are read when something in their folders changes.")
        .absent("none; `files` or `url` must be given").example("[\"/etc/latency-monitor/targets/*.json\"]");

    DISCOVERY_URL = Key::new("url", Discovery, Text(rules::list_url))
        .help("A URL that answers with a list of targets, in JSON as Prometheus reads it over HTTP.")
        .absent("none; `files` or `url` must be given").example("\"https://inventory.example.com/targets\"");

    REFRESH = Key::new("refresh", Discovery, Number(1.0, 86_400.0, "seconds"))
        .help("Seconds between two looks at the files or the URL.")
        .preset("30").example("60");

    HEADERS_OF_FILE = Key::new("headers_file", Discovery, Path)
        .help("A file with headers of the request for `url`, a line for each: `name: value`. It is read for every \
               request.")
        .absent("no headers").example("\"/run/secrets/inventory-headers\"");

    DISCOVERY_TOKEN_FILE = Key::new("token_file", Discovery, Path)
        .help("A file with a bearer token for `url`. It is read for every request.")
        .absent("no token").example("\"/run/secrets/inventory\"");

    DISCOVERY_CA_FILE = Key::new("ca_file", Discovery, Path)
        .help("A file with certificates in PEM that HTTPS trusts for `url`, beside those of the system.")
        .absent("only those of the system").example("\"/etc/ssl/inventory.pem\"");

    KIND = Key::new("kind", Engine, Word(EngineKind::names))
        .help("The engine.")
        .preset("\"mio\"");

    SPIN_US = Key::new("spin_us", Engine, Whole(0, 10_000, "microseconds"))
        .help("Microseconds before a probe is due at which the poll thread wakes and spins. This costs \
               processor time.")
        .preset("0").example("20");

    CPU = Key::new("cpu", Engine, Whole(0, 8_191, ""))
        .help("The processor that the poll thread stays on, so that it loses no time to moves and cold \
               caches.")
        .absent("any").example("3");

    REALTIME = Key::new("realtime", Engine, Whole(1, 99, ""))
        .help("The priority of the poll thread under SCHED_FIFO, so that other programs do not keep it \
               waiting. This needs CAP_SYS_NICE or `ulimit -r`. With `spin_us` give it a processor of \
               its own.")
        .absent("the usual scheduler").example("50");

    LOCK_MEMORY = Key::new("lock_memory", Engine, Switch)
        .help("Whether the process's memory is kept from being paged out. This needs CAP_IPC_LOCK or \
               `ulimit -l`.")
        .preset("false");

    // More than a millisecond would hold up the next probe.
    BUSY_POLL_US = Key::new("busy_poll_us", Engine, Whole(0, 1_000, "microseconds"))
        .help("Microseconds for which every receive polls the interface's queue (SO_BUSY_POLL), where \
               the driver can. Older kernels want CAP_NET_ADMIN for more than net.core.busy_read.")
        .preset("0").example("50");

    RECEIVE_BUFFER_KIB = Key::new("receive_buffer_kib", Engine, Whole(4, 1_048_576, "kibibytes"))
        .help("Kibibytes of every UDP socket's receive buffer. The log tells if the kernel gives less \
               (net.core.rmem_max).")
        .absent("4096, or as much of it as the kernel gives").example("4096");

    SEND_BUFFER_KIB = Key::new("send_buffer_kib", Engine, Whole(4, 1_048_576, "kibibytes"))
        .help("Kibibytes of every UDP socket's send buffer. The log tells if the kernel gives less \
               (net.core.wmem_max).")
        .absent("4096, or as much of it as the kernel gives").example("4096");

    THRESHOLD_US = Key::new("threshold_us", Burst, NumberOrAuto(0.1, 60_000_000.0, "microseconds"))
        .help("Microseconds of queueing delay at which a micro-burst begins, or `auto`: from each \
               flow's own noise. The burst ends when the delay stays under half of that for `quiet_ms`.")
        .preset("\"auto\"").example("250");

    QUIET_MS = Key::new("quiet_ms", Burst, Number(0.01, 60_000.0, "milliseconds"))
        .help("Milliseconds of quiet that end a burst.")
        .preset("5");

    PRE_MS = Key::new("pre_ms", Burst, Number(0.0, BURST_MARGIN_MS_MAX, "milliseconds"))
        .help("Milliseconds before a burst from which its dump has the single probes.")
        .preset("200");

    POST_MS = Key::new("post_ms", Burst, Number(0.0, BURST_MARGIN_MS_MAX, "milliseconds"))
        .help("Milliseconds after a burst up to which its dump has the single probes.")
        .preset("200");

    DUMP_DIR = Key::new("dump_dir", Burst, Path)
        .help("A folder for dumps, of this daemon alone: the single probes around each burst, for \
               `latency-monitor report`. SIGUSR1 dumps what there is of every flow.")
        .absent("no dumps").example("\"/var/lib/latency-monitor\"");

    DUMPS_MAX = Key::new("dumps_max", Burst, Whole(1, DUMPS_KEPT_MAX, ""))
        .help("Dumps that are kept. The oldest go first.")
        .preset("100");

    LISTEN = Key::new("listen", Http, Text(|text| rules::socket_address(text).map(drop)))
        .help("The address and port to answer HTTP on. Whoever reaches it may read everything, unless there is a \
               token or a CA of clients; without those `POST /-/reload` is for this host alone.")
        .absent("nobody can ask").example("\"127.0.0.1:8003\"");

    SOCKET = Key::new("socket", Http, Path)
        .help("A Unix socket to answer HTTP on, beside `listen` or in its place. Only the daemon's user and group may \
               connect.")
        .example("\"/run/latency-monitor/http\"");

    TLS_CERT_FILE = Key::new("tls_cert_file", Http, Path)
        .help("A file with the certificate in PEM, and those between it and its CA: `listen` then speaks HTTPS. It \
               and the key are read again at a reload.")
        .absent("plain HTTP").example("\"/etc/latency-monitor/cert.pem\"");

    TLS_KEY_FILE = Key::new("tls_key_file", Http, Path)
        .help("A file with the certificate's private key in PEM.")
        .example("\"/etc/latency-monitor/key.pem\"");

    CLIENT_CA_FILE = Key::new("client_ca_file", Http, Path)
        .help("A file with CAs in PEM: only clients with a certificate of theirs are answered over `listen`.")
        .absent("no certificate is asked for").example("\"/etc/latency-monitor/clients.pem\"");

    TOKEN_FILE = Key::new("token_file", Http, Path)
        .help("A file with a token that requests over `listen` must have in `Authorization: Bearer`. It is read again \
               at a reload.")
        .absent("none is asked for").example("\"/run/secrets/scrape\"");

    HTTP_INTERVAL = Key::new("interval", Http, Number(0.1, 3_600.0, "seconds"))
        .help("Seconds after which /metrics and /api have new values.")
        .preset("5");

    HTTP_METRICS = Key::new("metrics", Http, Texts(|names| rules::metrics(names).map(drop)))
        .help("Which metrics /metrics has, by name, with `*` for any letters, and `!` to exclude: as in \
               `[[metrics]]`.")
        .absent("all").example("[\"*.rtt\", \"*.wan.lost\"]");

    HISTOGRAMS = Key::new("histograms", Http, Word(HistogramKind::names))
        .help("Which buckets delays have: `native` ones, which only Prometheus' protobuf format carries, `classic` \
               ones with fixed bounds, or both: native ones in that format, and classic ones in text.")
        .preset("\"both\"").example("\"native\"");

    SCHEMA = Key::new("schema", Http, Whole(-4, 8, ""))
        .help("How fine native buckets are, in Prometheus' schemas: at 5 one is 2.2 % wide, and one more halves that.")
        .preset("5");

    HTTP_BUCKETS = Key::new("buckets", Http, Numbers(|seconds| Bounds::parse(seconds).map(drop)))
        .help("Upper bounds of the classic buckets in seconds, ascending.")
        .absent("from 1 us to 10 s").example("[0.0001, 0.001, 0.01, 0.1, 1]");

    BACKEND = Key::new("backend", Metrics, Word(Backend::names))
        .help("Where to publish. To publish to several backends, give several [[metrics]] tables; \
               docs/backends tells what each of them sends.")
        .preset("\"cli\"").flag(None, Some('m'), "--metrics", "BACKEND");

    METRICS_NAME = Key::new("name", Metrics, Text(rules::backend_name))
        .help("What tells this backend from another one of its kind: in the tag `backend`, in the log, and in the name \
               of its spool. Letters, digits, `.`, `_` and `-`.")
        .absent("the kind").example("\"store-2\"");

    MODE = Key::new("mode", Metrics, Word(Mode::names))
        .help("Delays one by one (`samples`), as one HDR histogram for each series and interval \
               (`windows`), or both ways.")
        .absent("`windows` for pushgateway, datadog and otlp, else `samples`").example("\"both\"")
        .flag(None, None, "--mode", "MODE");

    METRICS = Key::new("metrics", Metrics, Texts(|names| rules::metrics(names).map(drop)))
        .help("Which metrics are sent: names of docs/metrics.md, in which `*` stands for anything, and `!` \
               in front excludes. The last that fits a metric decides; where none does, it is sent if \
               the first has a `!`. An event is sent with `monitor.events`, a burst also with \
               `udp.wan.burst` or `tcp.wan.burst`; an entry such as `burst` or `!outage*` is of that kind of events.")
        .absent("all").example("[\"*.wan.*\", \"!*.ipdv\"]");

    SEND_INTERVAL = Key::new("send_interval", Metrics, Number(0.1, 86_400.0, "seconds"))
        .help("Seconds between windows, between counts, and between batches.")
        .lenient("0.1").preset("30").example("10");

    FORMAT = Key::new("format", Metrics, Word(|| vec!["json"]))
        .help("How records are written.")
        .preset("\"json\"");

    COMPAT_ZERO = Key::new("compat_zero", Metrics, Switch)
        .help("Whether samples are as the Python program's: a loss is also a delay of 0, and a negative \
               delay is 0.")
        .preset("false");

    LEVEL = Key::new("level", Of(LOG), Word(LogLevel::names))
        .help("The level that the backend logs at.")
        .preset("\"WARNING\"").example("\"INFO\"");

    ZEROMQ_ADDRESS = Key::new("address", Of(ZEROMQ), Text(|text| rules::address(text).map(drop)))
        .help("The address to bind the PUB socket to. \"::\" is IPv6, and IPv4 as well.")
        .preset("\"0.0.0.0\"").example("\"::1\"");

    ZEROMQ_PORT = Key::new("port", Of(ZEROMQ), Whole(1, 65_535, ""))
        .help("The port to bind the PUB socket to.")
        .preset("8002");

    CLICKHOUSE_HOST = Key::new("host", Of(CLICKHOUSE), Text(|text| {
        BaseUrl::of_host(true, &text.parse()?, 0).map(drop)
    }))
        .help("The server.")
        .preset("\"localhost\"").example("\"clickhouse.example.com\"");

    CLICKHOUSE_PORT = Key::new("port", Of(CLICKHOUSE), Whole(1, 65_535, ""))
        .help("The port of the server's HTTP interface: 8443 with TLS, 8123 without, as it is installed.")
        .preset("8443").example("8123");

    SECURE = Key::new("secure", Of(CLICKHOUSE), Switch)
        .help("Whether to use HTTPS.")
        .absent("on, but for port 8123");

    DATABASE = Key::new("database", Of(CLICKHOUSE), Text(|text| Name::parse(text).map(drop)))
        .help("The database.")
        .preset("\"default\"").example("\"network\"");

    USERNAME = Key::new("username", Of(CLICKHOUSE), Text(|text| Name::parse(text).map(drop)))
        .help("The user.")
        .preset("\"default\"").example("\"latency\"");

    PASSWORD = Key::new("password", Of(CLICKHOUSE), Secret(|_| Ok(())))
        .help("The user's password. The first of `password`, `password_file` and the variable that is \
               there holds.")
        .variable("LATENCY_MONITOR_PASSWORD");

    PASSWORD_FILE = Key::new("password_file", Of(CLICKHOUSE), Path)
        .help("A file with the password.")
        .example("\"/run/secrets/clickhouse\"");

    TABLE = Key::new("table", Of(CLICKHOUSE), Text(|text| Name::parse(text).map(drop)))
        .help("The table of samples; the names of the others begin with it. `latency-monitor schema \
               clickhouse` prints their definitions.")
        .preset("\"metrics\"");

    COLUMNS_RENAMED = Key::new("columns", Of(CLICKHOUSE), Names(&COLUMNS, COLUMNS_LISTED, |names| {
        Columns::parse(names.clone()).map(drop)
    }))
        .help("Columns of the table that have other names than ours: MetricName, Timestamp, \
               MetricValue, Tags, InsertedAt, Source, Target, Stamp, Seq, Dwell. A list of five names \
               the first five, as in the Python program.")
        .absent("our names").example("{ MetricName = \"name\", Tags = \"labels\" }");

    GATEWAY = Key::new("gateway", Of(PUSHGATEWAY), Url(BaseUrl::parse))
        .help("The gateway as host:port or as a URL.")
        .preset("\"localhost:9091\"").example("\"https://push.example.com/base\"");

    JOB = Key::new("job", Of(PUSHGATEWAY), Text(|text| Name::parse(text).map(drop)))
        .help("The job of the group.")
        .preset("\"latency-monitor\"");

    BUCKETS = Key::new("buckets", Of(PUSHGATEWAY), Numbers(|seconds| Bounds::parse(seconds).map(drop)))
        .help("Upper bounds of the histograms' buckets in seconds, ascending.")
        .absent("from 1 us to 10 s").example("[0.0001, 0.001, 0.01, 0.1, 1]");

    DELETE_ON_STOP = Key::new("delete_on_stop", Of(PUSHGATEWAY), Switch)
        .help("Whether the group is deleted when the daemon ends in order.")
        .preset("false");

    SITE = Key::new("site", Of(DATADOG), Text(|text| Site::new(&text.parse()?).map(drop)))
        .help("The site.")
        .preset("\"datadoghq.com\"").example("\"datadoghq.eu\"").variable("DD_SITE");

    API_KEY = Key::new("api_key", Of(DATADOG), Secret(|text| ApiKey::parse(text).map(drop)))
        .help("The API key, which must be given. The first of `api_key`, `api_key_file` and the \
               variable that is there holds.")
        .variable("DD_API_KEY");

    API_KEY_FILE = Key::new("api_key_file", Of(DATADOG), Path)
        .help("A file with the API key.")
        .example("\"/run/secrets/datadog\"");

    URL = Key::new("url", Of(DATADOG), Url(BaseUrl::parse_url))
        .help("A URL in place of https://api.<site>, for a proxy.")
        .example("\"https://proxy.example.com\"");

    ENDPOINT = Key::new("endpoint", Of(OTLP), Url(BaseUrl::parse))
        .help("The receiver as host:port or as a URL; /v1/metrics and /v1/logs are appended to it.")
        .preset("\"http://localhost:4318\"").example("\"https://otlp.example.com/base\"");

    HEADERS = Key::new("headers", Of(OTLP), Kind::Headers)
        .help("Headers of each request, which may be secret.")
        .example("{ Authorization = \"Bearer 0123456789abcdef\" }");

    HEADERS_FILE = Key::new("headers_file", Of(OTLP), Path)
        .help("A file with the headers, a line for each: `name: value`. It is read where `headers` is not given.")
        .example("\"/run/secrets/otlp\"");

    RESOURCE = Key::new("resource", Of(OTLP), Kind::Table(|table| Resource::parse(table.clone()).map(drop)))
        .help("Attributes of the resource, beside service.name, service.version, service.instance.id and host.name, \
               or in place of these. An empty one is left out.")
        .absent("those four").example("{ deployment.environment.name = \"lab\" }");

    TEMPORALITY = Key::new("temporality", Of(OTLP), Word(Temporality::names))
        .help("What counts and histograms count: all since the series began in this process (`cumulative`), or \
               what an interval added (`delta`).")
        .preset("\"cumulative\"").example("\"delta\"");

    SCALE = Key::new("scale", Of(OTLP), Whole(-4, 8, ""))
        .help("How fine histograms are: neighbouring bounds differ by 2^(2^-scale). At 5 a bucket is 2.2 % wide, and \
               each step halves that.")
        .preset("5").example("6");

    MAX_BUCKETS = Key::new("max_buckets", Of(OTLP), Whole(8, 4096, ""))
        .help("Buckets of a histogram on one side of zero at most. One with more has a coarser scale.")
        .preset("160").example("320");

    CA_FILE = Key::new("ca_file", Of(QUEUED), Path)
        .help("A file with certificates in PEM that HTTPS trusts, beside those of the system: of a CA, or the \
               server's own.")
        .absent("only those of the system").example("\"/etc/ssl/clickhouse.pem\"");

    BUFFER_MIB = Key::new("buffer_mib", Of(QUEUED), Whole(1, 1_048_576, "mebibytes"))
        .help("Mebibytes of batches that wait at most while they cannot be sent.")
        .preset("64");

    SPOOL_DIR = Key::new("spool_dir", Of(QUEUED), Path)
        .help("A folder where batches wait, so that they survive a restart.")
        .absent("batches wait in memory").example("\"/var/spool/latency-monitor\"");
}

/// Returns every key.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().copied()
}

/// Returns the keys of a table.
pub(super) fn of(table: Table) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.is_in(table))
}

/// Returns the keys of a target that many can share.
pub(super) fn shared() -> impl Iterator<Item = &'static Key> {
    of(Table::Targets).filter(|key| ![HOST.name, LABEL.name].contains(&key.name))
}

/// Returns the keys of the top level: the daemon's, and those that targets inherit.
pub(super) fn top() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.is_in(Table::Top) || key.is_in(Table::Targets))
}
