//! The keys of `[[metrics]]`: those of every backend, and each backend's own.

use crate::config::key::Key;
use crate::config::key::Scope::{Metrics, Of};
use crate::config::named::Usage;
use crate::config::rules;
use crate::config::value::Kind;
use crate::config::value::Kind::{
    Names, Number, Numbers, Path, Secret, Switch, Text, Texts, Url, Whole, Word,
};
use crate::config::words::Word as _;
use crate::config::words::{Backend, LogLevel};
use crate::publish::clickhouse::{COLUMNS, COLUMNS_LISTED, Columns};
use crate::publish::{ApiKey, BaseUrl, Bounds, Name, Resource, Site, Temporality};
use crate::record::Mode;

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

keys! { OF_METRICS:
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
        .absent("batches wait in memory").example("\"/var/spool/latency-monitor\"").usage(Usage::WriteFolder);
}
