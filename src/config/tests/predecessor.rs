//! Files of the Python program: each that means something to it starts here, with a warning where we do
//! otherwise. What is no key, word or type of it stays a mistake.

use super::{effective, faults, flags, parse};
use crate::config::{Backend, Config, LogLevel, TargetOptions};
use crate::limits::IN_FLIGHT_MAX;
use crate::proto::Host;

/// What is said about a file that is taken.
fn warnings(text: &str) -> Vec<String> {
    parse(text).warnings
}

#[test]
fn the_example_of_its_readme_is_taken() {
    let config = parse(
        r#"
        name = "here"
        max_size = 65535
        tcp_port = 17171
        udp_port = 17172

        [[targets]]
        host = "127.0.0.1"
        label = "foo"
        tags = ["isp:local", "location:laptop"]

        [[targets]]
        host = "192.0.2.2"
        tcp_port = 1717
        udp_port = 1718
        size = 65535

        [[targets]]
        host = "192.0.2.3"
        type = "UDP"
        interval = 200

        [[targets]]
        host = "lm.example.com"
        timeout = 2

        [metrics]
        backend = "log"
        "#,
    );
    let [foo, sized, udp, named] = &config.targets[..] else {
        panic!("four targets")
    };
    assert_eq!(
        (foo.tcp_port, foo.udp_port),
        (Some(17171), Some(17172)),
        "inherited"
    );
    assert_eq!(foo.tags[1].as_ref(), "location:laptop");
    assert_eq!(
        (sized.tcp_port, sized.connect_port),
        (Some(1717), Some(1717))
    );
    assert_eq!(sized.size, Some(65535));
    assert_eq!((udp.tcp_port, udp.connect_port), (None, None));
    assert_eq!(udp.interval_ns, 200_000_000);
    assert_eq!(named.host, Host::Name("lm.example.com".into()));
    assert_eq!(named.timeout_ns, 2_000_000_000);
    assert_eq!(config.metrics[0].settings.backend(), Backend::Log);
}

/// The two that its repository has, in `examples`: they probe each other.
#[test]
fn the_examples_of_its_repository_are_taken() {
    let ends = [
        ("lh-5000", 5000, 8000, "max_size = 1500"),
        ("lh-8000", 8000, 5000, ""),
    ];
    for (name, own, other, max_size) in ends {
        let config = parse(&format!(
            "name = '{name}'\ntcp_port = {own}\nudp_port = {}\n{max_size}\n[[targets]]\n\
             host = '127.0.0.1'\nlabel = 'lh-{other}'\ntcp_port = {other}\nudp_port = {}\nsize = 1500\n\
             tags = ['isp:local', 'location:laptop']",
            own + 1,
            other + 1,
        ));
        assert_eq!(
            (config.tcp_port, config.targets[0].tcp_port),
            (own, Some(other))
        );
        assert_eq!(config.targets[0].size, Some(1500));
        let wanted: &[&str] = match max_size {
            "" => &[
                "line 10: `size` is 1500 bytes, more than `max_size`, 1470: a peer that runs the Python \
                 program must have a `max_size` of at least that",
            ],
            _ => &[],
        };
        assert_eq!(config.warnings, wanted);
    }
}

/// What its documents show as files, a block each; secrets and hosts are theirs.
#[test]
fn the_blocks_of_its_documents_are_taken() {
    let targets = [
        "name = 'this-host'",
        "address = '192.168.0.1'",
        "tcp_port = 1234",
        "udp_port = 1235",
        "max_size = 65535",
        "rtt = false",
        "[[targets]]\nhost = '10.0.0.1'\nlabel = 'some-host'\n[[targets]]\nhost = '10.0.0.2'\nlabel = 'other-host'",
        "[[targets]]\nhost = '10.0.0.1'\ntcp_port = 12345",
        "[[targets]]\nhost = '10.0.0.1'\nudp_port = 12346",
        "[[targets]]\nhost = '10.0.0.1'\ntype = 'udp'",
        "[[targets]]\nhost = '10.0.0.1'\ntags = ['isp:local', 'location:home', 'size:small']",
        "[[targets]]\nhost = '10.0.0.1'\nsize = 65500",
        "[[targets]]\nhost = '10.0.0.1'\nrtt = false",
        "log_file = '/path/to/latency.log'\nlog_level = 'INFO'\n[metrics]\nbackend = 'log'\nlevel = 'WARNING'",
    ];
    for block in targets {
        let told = warnings(block);
        assert_eq!(
            told.len(),
            usize::from(block.contains("size = 65500")),
            "{told:?}"
        );
    }
}

#[cfg(all(feature = "zeromq", feature = "http-backends"))]
#[test]
fn the_backends_of_its_documents_are_taken() {
    for block in [
        "backend = 'clickhouse'\nhost = 'click.example.com'\nusername = 'super'\npassword = 'secure'",
        "backend = 'clickhouse'\nhost = 'click.example.com'\npassword = 'yourpass'\n\
         columns = ['name', 'timestamp', 'value', 'tags', 'inserted_at']",
        "backend = 'pushgateway'\ngateway = 'https://pushgw.example.com'\nsend_interval = 60",
        "backend = 'zeromq'\naddress = '192.168.0.1'\nport = 5005",
    ] {
        assert_eq!(warnings(&format!("[metrics]\n{block}")), [""; 0], "{block}");
    }
    let placeholder = "backend = 'datadog'\nsite = 'datadoghq.eu'\napi_key = '<api key goes here>'";
    assert_eq!(
        warnings(&format!("[metrics]\n{placeholder}\nsend_interval = 60")),
        ["line 4: `api_key` has spaces, which no key of Datadog has"]
    );
}

/// A line at the top level or in a target, what it is taken as, and how the warning ends.
const NUMBERS: &[(&str, &str, &str)] = &[
    (
        "interval = 0",
        "interval = 1.0",
        "not 0; it is taken as 1.0",
    ),
    (
        "interval = 0.0001",
        "interval = 1.0",
        "not 0.0001; it is taken as 1.0",
    ),
    (
        "interval = 1e9",
        "interval = 86400000.0",
        "it is taken as 86400000.0",
    ),
    ("timeout = 0", "timeout = 0.001", "it is taken as 0.001"),
    ("timeout = 61", "timeout = 60.0", "it is taken as 60.0"),
    (
        "timeout = 3600.5",
        "timeout = 60.0",
        "not 3600.5; it is taken as 60.0",
    ),
    (
        "size = 70000",
        "size = 65535",
        "not 70000; it is taken as 65535",
    ),
    (
        "max_size = 100000",
        "max_size = 65535",
        "it is taken as 65535",
    ),
    ("max_lost = 0", "max_lost = 1", "it is taken as 1"),
    (
        "max_lost = 10000000",
        "max_lost = 1000000",
        "it is taken as 1000000",
    ),
];

#[test]
fn numbers_that_it_takes_are_taken_as_the_nearest_that_we_have() {
    for (line, taken, told) in NUMBERS {
        for file in [
            format!("max_size = 0\n{line}\n[[targets]]\nhost = '192.0.2.1'"),
            format!("max_size = 0\n[[targets]]\nhost = '192.0.2.1'\n{line}"),
        ] {
            if line.starts_with("max_size") {
                continue;
            }
            let found = warnings(&file);
            assert_eq!(found.len(), 1, "{file}: {found:?}");
            assert!(found[0].ends_with(told), "{found:?}");
            assert!(
                effective(&file).contains(taken),
                "{file}\n{}",
                effective(&file)
            );
        }
    }
    let found = warnings("max_size = 100000");
    assert!(
        found[0].ends_with("not 100000; it is taken as 65535"),
        "{found:?}"
    );
    let found = warnings("[metrics]\nsend_interval = 0");
    assert!(
        found[0].ends_with("seconds, not 0; it is taken as 0.1"),
        "{found:?}"
    );
    let flags = flags(&[("interval", "0"), ("timeout", "600")]);
    let found = Config::parse("", &flags).unwrap().warnings;
    assert!(
        found[0].starts_with("`--interval` must be 0.001 to "),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("`--timeout` must be 0.001 to "),
        "{found:?}"
    );
}

#[test]
fn numbers_that_mean_nothing_to_it_stay_mistakes() {
    for line in [
        "timeout = -1",
        "interval = -20",
        "size = -1",
        "interval = nan",
        "timeout = inf",
        "max_size = -5",
        "tcp_port = -1",
    ] {
        assert_eq!(faults(line).len(), 1, "{line}");
    }
    let target = TargetOptions::new("192.0.2.1").timeout_s(61.0);
    assert!(
        Config::default().target(target).is_err(),
        "a program can do better"
    );
}

#[test]
fn no_size_is_no_padding_and_no_largest_size_is_any() {
    let config = parse("max_size = 0\n[[targets]]\nhost = '192.0.2.1'\nsize = 0");
    assert_eq!((config.targets[0].size, config.warnings.len()), (None, 0));
    let config = parse("max_size = 0\n[[targets]]\nhost = '192.0.2.1'\nsize = 9000");
    assert_eq!(
        (config.targets[0].size, config.warnings.len()),
        (Some(9000), 0)
    );
}

/// It waits for one probe at a time, however long that is; all of ours are in flight.
#[test]
fn a_timeout_of_too_many_intervals_is_shortened() {
    let config = parse("[[targets]]\nhost = '192.0.2.1'\ntimeout = 60\ninterval = 0.5");
    let target = &config.targets[0];
    assert_eq!(
        target.timeout_ns,
        u64::from(IN_FLIGHT_MAX) * target.interval_ns
    );
    assert_eq!(
        config.warnings,
        [
            "line 3: `timeout` of 60 s at an `interval` of 0.5 ms keeps 120000 probes in flight, and 65536 is \
             the maximum; it is taken as 32.768"
        ]
    );
}

/// A fleet's file may have ten thousand targets with one size.
#[test]
fn what_many_targets_have_is_told_once() {
    let target = "[[targets]]\nhost = '192.0.2.1'\nsize = 1500\nlabel = ";
    let targets = (0..40).map(|number| format!("{target}'{number}'\n"));
    let file = targets.collect::<Vec<_>>().concat();
    let told = warnings(&file);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("line 3: `size`") && told[0].ends_with("(and 39 more of the kind)")
    );
}

#[test]
fn levels_are_those_of_its_logging() {
    for (word, level) in [
        ("WARN", LogLevel::Warning),
        ("fatal", LogLevel::Critical),
        ("NotSet", LogLevel::Debug),
    ] {
        assert_eq!(parse(&format!("log_level = '{word}'")).log_level, level);
    }
    let told = warnings("log_level = 'ERROR'\nmetrics = { backend = 'log', level = 'INFO' }");
    assert_eq!(
        told,
        ["line 2: `level` is INFO, which a `log_level` of ERROR does not show"]
    );
    assert_eq!(faults("log_level = 'LOUD'").len(), 1);
    assert_eq!(faults("log_level = 30").len(), 1);
}

#[test]
fn strings_that_it_takes_are_taken() {
    let config = parse("log_file = ''\nmax_conn = 40\n[[targets]]\nhost = '127.1'\nlabel = 'a|b'");
    assert_eq!(config.log_file, None);
    assert_eq!(config.targets[0].host, Host::Address([127, 0, 0, 1].into()));
    assert_eq!(&*config.targets[0].label, "a|b");
    assert_eq!(
        config.warnings,
        [
            "line 2: `max_conn` has no effect, as in the Python program",
            "line 4: `host` is 127.1, which is taken for 127.0.0.1",
        ]
    );
    let config = parse("[[targets]]\nhost = 'm\u{fc}nchen.example'\nlabel = ''");
    assert_eq!(
        config.targets[0].host,
        Host::Name("xn--mnchen-3ya.example".into())
    );
    assert_eq!(&*config.targets[0].label, "m\u{fc}nchen.example");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
}

#[cfg(feature = "http-backends")]
#[test]
fn its_client_of_clickhouse_reads_more_out_of_a_port_and_a_table() {
    let table = |rest: &str| {
        let mut config = parse(&format!("[metrics]\nbackend = 'clickhouse'\n{rest}"));
        let warnings = config.warnings.len();
        match config.metrics.remove(0).settings {
            crate::config::BackendSettings::ClickHouse(settings) => (settings, warnings),
            other => panic!("{other:?}"),
        }
    };
    let url = |rest: &str| table(rest).0.server.join([""]).to_string();
    assert_eq!(url(""), "https://localhost:8443/");
    assert_eq!(url("port = 8123"), "http://localhost:8123/");
    assert_eq!(url("port = 8123\nsecure = true"), "https://localhost:8123/");
    assert_eq!(
        (url("port = 9000"), table("port = 9000").1),
        ("https://localhost:9000/".to_owned(), 1)
    );
    assert_eq!(table("port = 9000\nsecure = true").1, 0);
    let (settings, _) = table("table = 'network.delays'");
    assert_eq!(
        (settings.database.as_str(), settings.table.as_str()),
        ("network", "delays")
    );
    let (settings, _) = table("table = 'a.b'\ndatabase = 'c'");
    assert_eq!(
        (settings.database.as_str(), settings.table.as_str()),
        ("c", "a.b")
    );
}
