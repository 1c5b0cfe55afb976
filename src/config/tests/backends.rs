//! The keys of single backends, and where their secrets come from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{effective, faults, flags, parse};
use crate::config::{
    Backend, BackendSettings, Config, KeyFile, MetricsConfig, Outside, Overrides, Sealed, Word as _,
};
use crate::proto::Host;
use crate::publish::clickhouse::Columns;
use crate::publish::exponential::Scale;
use crate::publish::{
    ApiKey, BaseUrl, Bounds, ClickHouseSettings, DatadogSettings, DeliverySettings, Headers, Name,
    OtlpSettings, PushgatewaySettings, Resource, Secret, Site, Temporality, ZeroMqSettings,
};
use crate::record::{Metric, Mode};

/// An environment and files that only a test has.
#[derive(Default)]
struct Held {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Held {
    fn new(
        variables: &[(&'static str, &'static str)],
        files: &[(&'static str, &'static str)],
    ) -> Self {
        Self {
            variables: variables.iter().copied().collect(),
            files: files.iter().copied().collect(),
        }
    }
}

impl Outside for Held {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let found = path.to_str().and_then(|path| self.files.get(path));
        let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        found.map(|text| (*text).to_owned())
    }

    fn read_key(&self, _: &Path) -> io::Result<KeyFile> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn only(text: &str, outside: &dyn Outside) -> MetricsConfig {
    let read = Config::parse_effective(text, &Overrides::default(), outside);
    let (mut config, _) = read.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config.metrics.len(), 1);
    config.metrics.remove(0)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn api_key(text: &str) -> ApiKey {
    ApiKey::parse(text).unwrap()
}

fn password(text: &str, outside: &dyn Outside) -> String {
    match only(text, outside).settings {
        BackendSettings::ClickHouse(settings) => settings.password.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn datadog(text: &str, outside: &dyn Outside) -> DatadogSettings {
    match only(text, outside).settings {
        BackendSettings::Datadog(settings) => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backend_alone_has_its_defaults() {
    let key = Held::new(&[("DD_API_KEY", "k")], &[]);
    let backends = [
        ("cli", Mode::Samples, BackendSettings::Cli),
        ("log", Mode::Samples, BackendSettings::Log),
        (
            "zeromq",
            Mode::Samples,
            BackendSettings::ZeroMq(ZeroMqSettings::default()),
        ),
        (
            "clickhouse",
            Mode::Samples,
            BackendSettings::ClickHouse(ClickHouseSettings::default()),
        ),
        (
            "pushgateway",
            Mode::Windows,
            BackendSettings::Pushgateway(PushgatewaySettings::default()),
        ),
        (
            "datadog",
            Mode::Windows,
            BackendSettings::Datadog(DatadogSettings::new(api_key("k"))),
        ),
        (
            "otlp",
            Mode::Windows,
            BackendSettings::Otlp(OtlpSettings::default()),
        ),
    ];
    for (word, mode, settings) in backends {
        let metrics = only(&format!("[metrics]\nbackend = '{word}'"), &key);
        assert_eq!(metrics, MetricsConfig::new(settings), "{word}");
        assert_eq!(metrics.mode, mode, "{word}");
        assert_eq!(metrics.delivery, DeliverySettings::default());
    }
}

#[test]
fn each_backend_has_metrics_of_its_own_choice() {
    let config = parse(
        "[[metrics]]
        metrics = ['udp.wan.*', '!*.pdv']
        [[metrics]]
        backend = 'zeromq'",
    );
    let has = |backend: usize, name: &str| {
        let choice = &config.metrics[backend].choice;
        choice.has(Metric::named(name).expect("a metric"))
    };
    for (name, is_printed) in [
        ("udp.wan.rtt", true),
        ("udp.wan.pdv", false),
        ("tcp.wan.rtt", false),
        ("monitor.cpu", false),
    ] {
        assert_eq!((has(0, name), has(1, name)), (is_printed, true), "{name}");
    }
}

#[test]
fn every_key_is_taken() {
    let file = "
        [[metrics]]
        backend = 'zeromq'
        address = '::'
        port = 9002
        mode = 'both'
        [[metrics]]
        backend = 'clickhouse'
        host = 'click.example.com'
        port = 8123
        secure = false
        database = 'net'
        username = 'super'
        password = 'secure'
        table = 'delays'
        columns = { MetricName = 'name', Tags = 'labels' }
        send_interval = 5
        buffer_mib = 128
        spool_dir = '/var/spool/lm'
        [[metrics]]
        backend = 'pushgateway'
        gateway = 'https://push.example.com:9091/base'
        job = 'wan'
        buckets = [1e-6, 0.001, 1]
        delete_on_stop = true
        [[metrics]]
        backend = 'datadog'
        site = 'datadoghq.eu'
        api_key = 'abc'
        url = 'http://127.0.0.1:8080'
        ca_file = '/etc/ssl/proxy.pem'
        mode = 'samples'";
    let config = parse(file);
    assert_eq!(
        config.metrics[0].settings,
        BackendSettings::ZeroMq(ZeroMqSettings {
            address: Host::Address("::".parse().unwrap()),
            port: 9002
        })
    );
    assert_eq!(config.metrics[0].mode, Mode::Both);
    let columns = [("MetricName", "name"), ("Tags", "labels")];
    let columns = columns.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned()));
    let clickhouse = ClickHouseSettings {
        ca_file: None,
        server: BaseUrl::of_host(false, &Host::Name("click.example.com".into()), 8123).unwrap(),
        database: name("net"),
        username: name("super"),
        password: Secret::parse("secure").unwrap(),
        table: name("delays"),
        columns: Columns::parse(columns.into()).unwrap(),
    };
    assert_eq!(
        config.metrics[1].settings,
        BackendSettings::ClickHouse(clickhouse)
    );
    let delivery = DeliverySettings {
        send_interval: Duration::from_secs(5),
        buffer_mib: 128,
        spool_dir: Some(PathBuf::from("/var/spool/lm")),
    };
    assert_eq!(config.metrics[1].delivery, delivery);
    let pushgateway = PushgatewaySettings {
        ca_file: None,
        gateway: BaseUrl::parse("https://push.example.com:9091/base").unwrap(),
        job: name("wan"),
        buckets: Some(Bounds::parse(&[1e-6, 0.001, 1.0]).unwrap()),
        delete_on_stop: true,
    };
    assert_eq!(
        config.metrics[2].settings,
        BackendSettings::Pushgateway(pushgateway)
    );
    let datadog = DatadogSettings {
        ca_file: Some("/etc/ssl/proxy.pem".into()),
        site: Site::new(&Host::Name("datadoghq.eu".into())).unwrap(),
        api_key: api_key("abc"),
        url: Some(BaseUrl::parse_url("http://127.0.0.1:8080").unwrap()),
    };
    assert_eq!(
        config.metrics[3].settings,
        BackendSettings::Datadog(datadog)
    );
    assert_eq!(config.metrics[3].mode, Mode::Samples);
    let printed = effective(file);
    assert!(
        !printed.contains("secure'") && !printed.contains("abc"),
        "{printed}"
    );
    assert!(printed.contains("password = \"(secret)\""), "{printed}");
    assert!(printed.contains("api_key = \"(secret)\""), "{printed}");
    let again = parse(&printed);
    assert_eq!(effective(&printed), printed);
    assert_eq!(
        format!("{:?}", again.metrics),
        format!("{:?}", config.metrics)
    );
}

#[test]
fn the_predecessor_s_list_of_columns_is_its_five_in_order() {
    let file = "[metrics]\nbackend = 'clickhouse'\ncolumns = ['a', 'b', 'c', 'd', 'e']";
    let BackendSettings::ClickHouse(settings) = only(file, &Sealed).settings else {
        panic!("not clickhouse");
    };
    let columns: Vec<String> = settings
        .columns
        .iter()
        .map(|(ours, theirs)| format!("{ours}={theirs}"))
        .collect();
    assert_eq!(
        columns,
        [
            "InsertedAt=e",
            "MetricName=a",
            "MetricValue=c",
            "Tags=d",
            "Timestamp=b"
        ]
    );
}

#[test]
fn a_key_goes_over_a_file_and_a_file_over_the_environment() {
    let held = Held::new(
        &[
            ("LATENCY_MONITOR_PASSWORD", "from the environment"),
            ("DD_API_KEY", "key-of-the-environment"),
            ("DD_SITE", "us5.datadoghq.com"),
        ],
        &[
            ("/run/secret", " from a file \r\n"),
            ("/run/key", " key-of-a-file \r\n"),
        ],
    );
    let clickhouse = "[metrics]\nbackend = 'clickhouse'\n";
    let in_file = format!("{clickhouse}password_file = '/run/secret'\n");
    assert_eq!(password(clickhouse, &held), "from the environment");
    assert_eq!(password(&in_file, &held), " from a file ");
    assert_eq!(
        password(&format!("{in_file}password = 'own'"), &held),
        "own"
    );
    assert_eq!(password(clickhouse, &Sealed), "");
    let text = "[metrics]\nbackend = 'datadog'\n";
    let found = datadog(text, &held);
    assert_eq!(found.api_key, api_key("key-of-the-environment"));
    assert_eq!(found.site.as_str(), "us5.datadoghq.com");
    let found = datadog(&format!("{text}site = 'datadoghq.eu'"), &held);
    assert_eq!(found.site.as_str(), "datadoghq.eu");
    let found = datadog(&format!("{text}api_key_file = '/run/key'"), &held);
    assert_eq!(found.api_key, api_key("key-of-a-file"));
}

#[test]
fn an_otlp_receiver_is_told_what_it_needs() {
    let file = "
        [[metrics]]
        backend = 'otlp'
        endpoint = 'https://otlp.example.com/base/v1/metrics'
        headers = { Authorization = 'Bearer sesame', x-scope = '7' }
        resource = { service.name = 'wan', 'k8s.pod.name' = 'p', k8s.node.name = 'n' }
        temporality = 'Delta'
        scale = -1
        max_buckets = 320
        ca_file = '/etc/ssl/otlp.pem'";
    let resource = [
        ("service.name", "wan"),
        ("k8s.pod.name", "p"),
        ("k8s.node.name", "n"),
    ];
    let resource = resource.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let BackendSettings::Otlp(settings) = parse(file).metrics.remove(0).settings else {
        panic!("not otlp");
    };
    let url = settings.endpoint.join(["v1", "logs"]);
    assert_eq!(url.as_str(), "https://otlp.example.com/base/v1/logs");
    let wanted = OtlpSettings {
        endpoint: settings.endpoint.clone(),
        headers: Headers::parse("Authorization: Bearer sesame\nx-scope: 7\n").unwrap(),
        resource: Resource::parse(resource.into()).unwrap(),
        temporality: Temporality::Delta,
        scale: Scale::new(-1).unwrap(),
        max_buckets: 320,
        ca_file: Some("/etc/ssl/otlp.pem".into()),
    };
    assert_eq!(settings, wanted);
    let printed = effective(file);
    assert!(!printed.contains("sesame"), "{printed}");
    assert!(printed.contains("headers = \"(secret)\""), "{printed}");
}

#[test]
fn headers_may_stand_in_a_file_of_their_own() {
    let held = Held::new(
        &[],
        &[("/run/otlp", "Authorization: Bearer sesame\nx-scope: 7\n")],
    );
    let headers = |text: &str| match only(text, &held).settings {
        BackendSettings::Otlp(settings) => settings.headers,
        other => panic!("{other:?}"),
    };
    let in_file = "[metrics]\nbackend = 'otlp'\nheaders_file = '/run/otlp'\n";
    let found = headers(in_file);
    let pairs: Vec<_> = found.iter().collect();
    assert_eq!(
        pairs,
        [("Authorization", "Bearer sesame"), ("x-scope", "7")]
    );
    let found = headers(&format!("{in_file}headers = {{ x = 'y' }}"));
    assert_eq!(found.iter().collect::<Vec<_>>(), [("x", "y")]);
    let wrong = Held::new(&[], &[("/run/otlp", "Bearer sesame\n")]);
    let told = Config::parse_effective(in_file, &Overrides::default(), &wrong).unwrap_err();
    let told = told.to_string();
    let wanted = "line 3: `headers` must have a line for each header, as `name: value`";
    assert!(told.contains(wanted) && !told.contains("sesame"), "{told}");
}

#[test]
fn a_password_in_an_address_is_not_printed() {
    let cases = [
        (
            "http://me:open@sesame@gate:9091/base",
            "http://me:(secret)@gate:9091/base",
        ),
        // A token may stand there alone.
        ("http://token@gate:9091", "http://(secret)@gate:9091"),
        ("gate:9091", "gate:9091"),
    ];
    for (given, printed) in cases {
        let file = format!(
            "[[metrics]]\nbackend = 'pushgateway'\ngateway = '{given}'\n\
             [[metrics]]\nbackend = 'datadog'\napi_key = 'k'\nurl = 'http://{}'",
            given.trim_start_matches("http://")
        );
        let shown = effective(&file);
        assert!(
            shown.contains(&format!("gateway = \"{printed}\"\n")),
            "{shown}"
        );
        let url = printed.trim_start_matches("http://");
        assert!(
            shown.contains(&format!("url = \"http://{url}\"\n")),
            "{shown}"
        );
        assert!(!shown.contains("sesame"), "{shown}");
    }
    let wrong = "[metrics]\nbackend = 'pushgateway'\ngateway = 'me:open/sesame@gate'";
    let told = faults(wrong);
    let wanted = "line 3: `gateway` must be host:port or an http or https URL, not \
                  \"me:(secret)@gate\" (invalid port number)";
    assert_eq!(told, [wanted]);
}

#[test]
fn a_flag_takes_a_table_over_without_the_keys_of_its_backend() {
    let file = "
        [metrics]
        backend = 'clickhouse'
        host = 'click.example.com'
        password_file = '/not/there'
        send_interval = 7";
    for backend in [Backend::Cli, Backend::ZeroMq, Backend::Pushgateway] {
        let flags = flags(&[("backend", backend.as_word())]);
        let (config, _) = Config::parse_effective(file, &flags, &Sealed).unwrap();
        assert_eq!(config.metrics[0].settings.backend(), backend);
        assert_eq!(config.metrics[0].mode, backend.default_mode());
        let interval = config.metrics[0].delivery.send_interval;
        assert_eq!(interval, Duration::from_secs(7));
    }
}

#[test]
fn a_site_or_file_that_cannot_be_is_said_with_its_name() {
    let held = Held::new(
        &[("DD_API_KEY", "k"), ("DD_SITE", "https://datadoghq.com/")],
        &[("empty", "\n")],
    );
    let flags = Overrides::default();
    let error = |text: &str| {
        Config::parse_effective(text, &flags, &held)
            .unwrap_err()
            .to_string()
    };
    let told = error("[metrics]\nbackend = 'datadog'");
    assert!(
        told.starts_with("DD_SITE in the environment must be"),
        "{told}"
    );
    let told = error("[metrics]\nbackend = 'clickhouse'\npassword_file = 'empty'");
    assert_eq!(told, "line 3: `password_file` \"empty\" is empty");
    let told = error("[metrics]\nbackend = 'clickhouse'\npassword_file = 'missing'");
    let wanted = "line 3: `password_file` \"missing\" cannot be read: ";
    assert!(told.starts_with(wanted), "{told}");
}

/// The lines of a table, and what is said about them.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    (
        "metrics = ['udp.wan.*', 'tcp.wan.rrt']",
        "line 2: `metrics` has \"tcp.wan.rrt\", and no metric or event is called so; did you mean `tcp.wan.rtt`?",
    ),
    (
        "metrics = ['!udp_wan_rtt', 'zzz']",
        "line 2: `metrics` has \"!udp_wan_rtt\", and no metric or event is called so; did you mean `udp.wan.rtt`?, \
         and has \"zzz\", and no metric or event is called so",
    ),
    (
        "metrics = ['udp.*', '!*.wan.*']",
        "line 2: `metrics` leaves no metric",
    ),
    (
        "metrics = 'udp.*'",
        "line 2: `metrics` must be a list of strings, not the string \"udp.*\"",
    ),
    (
        "backend = 'cli'\ntable = 'x'",
        "line 3: `table` is for `backend = \"clickhouse\"` only",
    ),
    (
        "port = 1",
        "line 2: `port` is for `backend = \"zeromq\"` or `backend = \"clickhouse\"` only",
    ),
    (
        "backend = 'zeromq'\nspool_dir = '/x'",
        "line 3: `spool_dir` is for `backend = \"clickhouse\"` or `backend = \"pushgateway\"` or \
         `backend = \"datadog\"` or `backend = \"otlp\"` only",
    ),
    (
        "backend = 'datadog'",
        "line 1: `backend = \"datadog\"` needs an API key: give `api_key`, `api_key_file`, or \
         DD_API_KEY in the environment",
    ),
    (
        "backend = 'datadog'\napi_key = 'two\twords'",
        "line 3: `api_key` must be a key of letters, digits and signs",
    ),
    (
        "backend = 'datadog'\napi_key = 'k'\nurl = 'ftp://x'",
        "line 4: `url` must be an http or https URL, not \"ftp://x\"",
    ),
    (
        "backend = 'datadog'\napi_key = 'k'\nsite = 'a/b'",
        "line 4: `site` must be an IP address or a host name, without a port, not \"a/b\"",
    ),
    (
        "backend = 'zeromq'\nport = 0",
        "line 3: `port` must be 1 to 65535, not 0",
    ),
    (
        "backend = 'clickhouse'\nport = 65536",
        "line 3: `port` must be 1 to 65535, not 65536",
    ),
    (
        "backend = 'zeromq'\naddress = 'eth 0'",
        "line 3: `address` must be an address of this host, such as 0.0.0.0 or ::, or a name for one, \
         not \"eth 0\"",
    ),
    (
        "backend = 'clickhouse'\nhost = 'http://click'",
        "line 3: `host` must be an IP address or a host name, without a port, not \"http://click\"",
    ),
    (
        "backend = 'clickhouse'\nhost = 'click.1'",
        "line 3: `host` must be an IP address or a host name, without a port, not \"click.1\" \
         (invalid IPv4 address)",
    ),
    (
        "backend = 'clickhouse'\npassword = \"two\\nlines\"",
        "line 3: `password` must have no control characters",
    ),
    (
        "backend = 'clickhouse'\nbuffer_mib = 0",
        "line 3: `buffer_mib` must be 1 to 1048576 mebibytes, not 0",
    ),
    (
        "backend = 'clickhouse'\ntable = ''",
        "line 3: `table` must be a name, not \"\"",
    ),
    (
        "backend = 'clickhouse'\ncolumns = ['a', 'b']",
        "line 3: `columns` must be a table of strings, or a list of 5, not a list of something else",
    ),
    (
        "backend = 'clickhouse'\ncolumns = { Tags = '' }",
        "line 3: `columns` must name columns, and \"\" is no name",
    ),
    (
        "backend = 'clickhouse'\ncolumns = { Metric = 'name' }",
        "line 3: `columns` must rename columns of ours, which are MetricName, Timestamp, MetricValue, \
         Tags, InsertedAt, Source, Target, Stamp, Seq, Dwell, and not \"Metric\"",
    ),
    (
        "backend = 'clickhouse'\ncolumns = ['a', 'b', 'a', 'd', 'e']",
        "line 3: `columns` must not name \"a\" twice",
    ),
    (
        "backend = 'pushgateway'\ngateway = 'ftp://x'",
        "line 3: `gateway` must be host:port or an http or https URL, not \"ftp://x\"",
    ),
    (
        "backend = 'pushgateway'\nbuckets = [0.1, 0.1]",
        "line 3: `buckets` must ascend, and 0.1 comes after 0.1",
    ),
    (
        "backend = 'pushgateway'\nbuckets = [0, 0.1]",
        "line 3: `buckets` must be seconds above 0, not 0",
    ),
    (
        "backend = 'pushgateway'\nbuckets = [nan]",
        "line 3: `buckets` must be seconds above 0, not NaN",
    ),
    (
        "backend = 'pushgateway'\nbuckets = []",
        "line 3: `buckets` must be 1 to 512 bounds, not 0",
    ),
    (
        "backend = 'pushgateway'\nbuckets = ['a']",
        "line 3: `buckets` must be a list of numbers, not a list of something else",
    ),
    (
        "backend = 'otlp'\nscale = 9",
        "line 3: `scale` must be -4 to 8, not 9",
    ),
    (
        "backend = 'otlp'\nmax_buckets = 7",
        "line 3: `max_buckets` must be 8 to 4096, not 7",
    ),
    (
        "backend = 'otlp'\ntemporality = 'deltas'",
        "line 3: `temporality` must be \"delta\" or \"cumulative\", not the string \"deltas\"; did you mean `delta`?",
    ),
    (
        "backend = 'otlp'\nendpoint = 'ftp://x'",
        "line 3: `endpoint` must be host:port or an http or https URL, not \"ftp://x\"",
    ),
    (
        "backend = 'otlp'\nheaders = ['x']",
        "line 3: `headers` must be a table of strings, not a list",
    ),
    (
        "backend = 'otlp'\nheaders = { Content-Type = 'x' }",
        "line 3: `headers` must not have Content-Type, which is ours to give",
    ),
    (
        "backend = 'otlp'\nheaders = { 'a b' = 'x' }",
        "line 3: `headers` must name headers, and \"a b\" is no name of one",
    ),
    (
        "backend = 'otlp'\nheaders = { x = '' }",
        "line 3: `headers` must have a value for x",
    ),
    (
        "backend = 'otlp'\nresource = { '' = 'x' }",
        "line 3: `resource` must name attributes, and \"\" is no name",
    ),
    (
        "backend = 'otlp'\nresource = { site = 1 }",
        "line 3: `resource` must be a table of strings, not a table",
    ),
    (
        "backend = 'otlp'\nresource = 'x'",
        "line 3: `resource` must be a table of strings, not the string \"x\"",
    ),
];

#[test]
fn mistakes_are_told_with_line_and_remedy() {
    for (lines, wanted) in MISTAKES {
        assert_eq!(faults(&format!("[metrics]\n{lines}")), [*wanted], "{lines}");
    }
}
