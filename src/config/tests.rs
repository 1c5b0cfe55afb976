//! What files and flags come to, and what is said about wrong ones.

mod addresses;
mod auth;
#[cfg(all(feature = "zeromq", feature = "http-backends"))]
mod backends;
mod discovery;
mod flows;
#[cfg(feature = "http-server")]
mod http;
mod marks;
mod mesh;
mod names;
mod path;
mod ports;
mod predecessor;
mod reference;
#[cfg(all(feature = "zeromq", feature = "http-backends"))]
mod schema;
mod sessions;
#[cfg(all(feature = "zeromq", feature = "http-backends"))]
mod several;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Backend, Config, LogLevel, Overrides, Sealed, TargetOptions, Timestamps};
use crate::limits::{TAGS_BYTES_MAX, TAGS_MAX};
use crate::proto::{Family, Host, Protocol, Reopen, StampOptions, TargetSpec};
use crate::record::Mode;

fn parse(text: &str) -> Config {
    let read = Config::parse_effective(text, &Overrides::default(), &Sealed);
    read.unwrap_or_else(|error| panic!("{error}\n{text}")).0
}

/// What a file comes to, as a file.
fn effective(text: &str) -> String {
    let read = Config::parse_effective(text, &Overrides::default(), &Sealed);
    read.unwrap_or_else(|error| panic!("{error}\n{text}")).1
}

/// The flags of these keys.
fn flags(given: &[(&str, &str)]) -> Overrides {
    let none = Overrides::default();
    let all = given
        .iter()
        .try_fold(none, |flags, (key, value)| flags.with(key, value));
    all.expect("keys that have flags")
}

/// Everything that is said about a file, a line each.
fn faults(text: &str) -> Vec<String> {
    faults_with(text, &Overrides::default())
}

fn faults_with(text: &str, overrides: &Overrides) -> Vec<String> {
    let error = Config::parse_effective(text, overrides, &Sealed).expect_err("it is wrong");
    error.to_string().lines().map(str::to_owned).collect()
}

fn target(text: &str) -> TargetSpec {
    parse(text).targets.remove(0)
}

#[test]
fn nothing_said_is_server_mode() {
    let config = parse("");
    assert_eq!(config, Config::default());
    assert_eq!(
        (config.tcp_port, &config.udp_ports[..]),
        (8000, &[8001][..])
    );
    assert!(config.addresses.is_empty(), "it listens everywhere");
    assert!(config.allow.is_empty(), "everyone may ask");
    assert_eq!(config.rate_limit, 1_000_000);
    assert!(config.targets.is_empty());
    assert_eq!(config.metrics[0].settings.backend(), Backend::Cli);
    assert_eq!(config.metrics[0].mode, Mode::Samples);
    assert_eq!(
        config.metrics[0].delivery.send_interval,
        Duration::from_secs(30)
    );
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.protocol(), Protocol::Auto);
    assert_eq!(config.timestamps, Timestamps::Auto);
}

#[test]
fn a_target_has_the_defaults_of_the_python_program() {
    let target = target("targets = [{ host = '192.0.2.1' }]");
    assert_eq!(
        target,
        TargetSpec {
            host: Host::Address("192.0.2.1".parse().unwrap()),
            family: Family::Any,
            every_address: false,
            label: "192.0.2.1".into(),
            tags: Box::new([]),
            udp_port: Some(8001),
            tcp_port: Some(8000),
            connect_port: Some(8000),
            interval_ns: 1_000_000_000,
            timeout_ns: 1_000_000_000,
            size: None,
            max_lost: 10,
            flows: 1,
            per_flow: false,
            reopen: Reopen::Auto,
            rtt: true,
            protocol: Protocol::Auto,
            stamp: StampOptions {
                has_ssid: true,
                ..StampOptions::default()
            },
            owd_corrected: false,
            visit: None,
            key: None,
            marks: Arc::default(),
        }
    );
}

#[test]
fn a_target_goes_over_a_flag_and_a_flag_over_the_file() {
    let file = "
        interval = 100
        timeout = 3
        tags = ['all']
        targets = [{ host = '192.0.2.1' }, { host = '192.0.2.2', interval = 0.25, tags = [] }]";
    let flags = flags(&[("interval", "50"), ("rtt", "false"), ("udp_port", "9")]);
    let config = Config::parse(file, &flags).unwrap();
    let [one, two] = &config.targets[..] else {
        panic!("two targets")
    };
    assert_eq!((one.interval_ns, two.interval_ns), (50_000_000, 250_000));
    assert_eq!(
        (one.timeout_ns, two.timeout_ns),
        (3_000_000_000, 3_000_000_000)
    );
    assert_eq!((one.tags.len(), two.tags.len()), (1, 0));
    assert!(!one.rtt && !two.rtt);
    assert_eq!((&config.udp_ports[..], one.udp_port), (&[9][..], Some(9)));
}

#[test]
fn reflectors_of_others_have_udp_alone_and_another_port_than_ours() {
    let file = "
        protocol = 'stamp'
        utc_offset = 37
        targets = [
            { host = '192.0.2.1', udp_port = 862, timestamp_format = 'ptp', ssid = false },
            { host = '192.0.2.2', utc_offset = -1 },
            { host = '192.0.2.3', protocol = 'native' },
        ]";
    let config = parse(file);
    let [first, second, third] = &config.targets[..] else {
        panic!("three targets")
    };
    let options = StampOptions {
        is_ptp: true,
        has_ssid: false,
        utc_offset_ns: 37_000_000_000,
    };
    assert_eq!((first.protocol, first.stamp), (Protocol::Stamp, options));
    assert_eq!((first.udp_port, first.tcp_port), (Some(862), None));
    assert_eq!(first.connect_port, None);
    assert!(second.stamp.has_ssid && !second.stamp.is_ptp);
    assert_eq!(second.stamp.utc_offset_ns, -1_000_000_000);
    assert!(third.tcp_port.is_some());
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    assert!(warning.contains("is `udp_port = 862` meant?"), "{warning}");
    // The first of several is where this host listens, and no answer to where that one does.
    for (ports, warned) in [("[8001, 862]", 1), ("[862, 8001]", 0), ("8001", 0)] {
        let config = parse(&format!("udp_port = {ports}\n{file}"));
        assert_eq!(
            config.warnings.len(),
            warned,
            "{ports}: {:?}",
            config.warnings
        );
    }
    let target = TargetOptions::new("192.0.2.4").protocol(Protocol::Stamp);
    let spec = config.target(target.udp_port(862).ptp(true).ssid(false).utc_offset_s(0));
    let StampOptions {
        is_ptp,
        has_ssid,
        utc_offset_ns,
    } = spec.unwrap().stamp;
    assert!(is_ptp && !has_ssid && utc_offset_ns == 0);
}

#[test]
fn the_wire_and_the_delays_are_inherited_and_the_top_level_says_what_is_answered() {
    let file = "
        protocol = 'text'
        owd = 'corrected'
        timestamps = 'USER'
        targets = [
            { host = '192.0.2.1' },
            { host = '192.0.2.2', protocol = 'native' },
            { host = '192.0.2.3', owd = 'raw' },
        ]";
    let config = parse(file);
    let told: Vec<_> = config
        .targets
        .iter()
        .map(|target| (target.protocol, target.owd_corrected))
        .collect();
    let expected = [
        (Protocol::Text, true),
        (Protocol::Native, true),
        (Protocol::Text, false),
    ];
    assert_eq!(told, expected);
    assert_eq!(config.protocol(), Protocol::Text);
    assert_eq!(config.timestamps, Timestamps::User);
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings)
    };
    assert!(warning.starts_with("\"192.0.2.1\" speaks the text wire only"));
    let flags = flags(&[("protocol", "auto"), ("timestamps", "kernel")]);
    let config = Config::parse(file, &flags).unwrap();
    assert_eq!(config.protocol(), Protocol::Auto);
    assert_eq!(config.timestamps, Timestamps::Kernel);
    assert_eq!(config.targets[0].protocol, Protocol::Auto);
    assert_eq!(config.targets[1].protocol, Protocol::Native);
    assert!(config.warnings.is_empty());
    let target = TargetOptions::new("192.0.2.4");
    let spec = config.target(target.protocol(Protocol::Text).owd_corrected(false));
    let spec = spec.unwrap();
    assert_eq!((spec.protocol, spec.owd_corrected), (Protocol::Text, false));
}

#[test]
fn what_is_disabled_as_a_whole_is_not_probed() {
    let flags = flags(&[("tcp", "false")]);
    let config = Config::parse("targets = [{ host = '192.0.2.1' }]", &flags).unwrap();
    assert!(!config.tcp && config.udp);
    assert_eq!(
        (config.targets[0].tcp_port, config.targets[0].connect_port),
        (None, None)
    );
    let file = "targets = [{ host = '192.0.2.1', type = 'tcp' }]";
    let config = Config::parse(file, &flags).unwrap();
    assert!(config.targets.is_empty());
    assert_eq!(
        config.warnings,
        [
            "line 1: `type` leaves nothing to probe: TCP or UDP is disabled as a whole (`tcp`, `udp`)"
        ]
    );
    let target = config.target(TargetOptions::new("192.0.2.1").tcp_only());
    assert!(target.is_err(), "a program can do better");
    assert_eq!(
        faults("tcp = false\nudp = false"),
        ["line 2: `tcp` and `udp` are both false: there is nothing to do"]
    );
}

#[test]
fn backends_are_chosen_by_the_flag() {
    let file = "
        [[metrics]]
        backend = 'cli'
        mode = 'windows'
        [[metrics]]
        backend = 'log'
        level = 'error'
        send_interval = 1.5";
    let both = parse(file);
    assert_eq!(both.metrics.len(), 2);
    assert_eq!(both.metrics[0].mode, Mode::Windows);
    assert_eq!(both.metrics[1].level, LogLevel::Error);
    assert_eq!(
        both.metrics[1].delivery.send_interval,
        Duration::from_millis(1500)
    );
    let flags = flags(&[("backend", "log"), ("mode", "both")]);
    let log = Config::parse(file, &flags).unwrap();
    assert_eq!(log.metrics.len(), 1);
    assert_eq!(
        (log.metrics[0].level, log.metrics[0].mode),
        (LogLevel::Error, Mode::Both)
    );
    let only = Config::parse("[metrics]\nbackend = 'cli'\nsend_interval = 5", &flags).unwrap();
    assert_eq!(
        (only.metrics[0].settings.backend(), only.metrics[0].mode),
        (Backend::Log, Mode::Both)
    );
    assert_eq!(
        only.metrics[0].delivery.send_interval,
        Duration::from_secs(5),
        "the rest of the table holds"
    );
}

/// Files, and what is said about them.
const MISTAKES: &[(&str, &str)] = &[
    (
        "intervall = 1",
        "line 1: `intervall` is not a key of the top level; did you mean `interval`?",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\nlabbel = 'x'",
        "line 3: `labbel` is not a key of [[targets]]; did you mean `label`?",
    ),
    (
        "[metrics]\nbackend = 'cli'\n[engine]\nspin = 3",
        "line 4: `spin` is not a key of [engine]; did you mean `spin_us`?",
    ),
    (
        "\n\ninterval = 'fast'",
        "line 3: `interval` must be a number, not the string \"fast\"",
    ),
    (
        "interval = nan",
        "line 1: `interval` must be 0.001 to 86400000 milliseconds, not NaN",
    ),
    (
        "max_size = -1",
        "line 1: `max_size` must be 0 to 65535 bytes, not -1",
    ),
    (
        "timeout = -1.5",
        "line 1: `timeout` must be 0.001 to 60 seconds, not -1.5",
    ),
    (
        "tcp_port = 70000",
        "line 1: `tcp_port` must be 0 to 65535, not 70000",
    ),
    (
        "udp_port = '8001'",
        "line 1: `udp_port` must be a whole number or a list of them, not the string \"8001\"",
    ),
    (
        "max_size = 1e3",
        "line 1: `max_size` must be a whole number, not 1e3",
    ),
    ("rtt = 1", "line 1: `rtt` must be true or false, not 1"),
    (
        "tags = 'isp:a'",
        "line 1: `tags` must be a list of strings, not the string \"isp:a\"",
    ),
    (
        "tags = [1]",
        "line 1: `tags` must be a list of strings, not a list of something else",
    ),
    (
        "tags = ['a|b']",
        "line 1: `tags` must have no `|`, which ends them on the wire: \"a|b\"",
    ),
    ("name = ''", "line 1: `name` must not be empty"),
    (
        "name = 'a|b'",
        "line 1: `name` must have no `|`, which ends it on the wire, and no control character: \"a|b\"",
    ),
    (
        "address = 'local host'",
        "line 1: `address` must be an address of this host, such as 0.0.0.0 or ::, or a name for one, \
         not \"local host\"",
    ),
    ("address = ['::', '::']", "line 1: `address` has :: twice"),
    (
        "allow = ['192.0.2.0/24', 'home/8']",
        "line 1: `allow` has \"home/8\", which is neither an address nor a prefix such as 192.0.2.0/24",
    ),
    (
        "allow = []",
        "line 1: `allow` must be 1 to 1024 prefixes, not 0",
    ),
    (
        "rate_limit = 0",
        "line 1: `rate_limit` must be 1 to 1000000000 requests a second, not 0",
    ),
    (
        "address = []",
        "line 1: `address` must be 1 to 64 addresses, not 0",
    ),
    (
        "address = '224.0.0.1'",
        "line 1: `address` must be an address of this host: 224.0.0.1 is the address of many hosts",
    ),
    (
        "log_level = 'INFOO'",
        "line 1: `log_level` must be \"DEBUG\" or \"INFO\" or \"WARNING\" or \"ERROR\" or \"CRITICAL\", not the string \"INFOO\"; did you mean `INFO`?",
    ),
    (
        "protocol = 'nativ'",
        "line 1: `protocol` must be \"auto\" or \"text\" or \"native\" or \"stamp\", not the string \"nativ\"; did you mean `native`?",
    ),
    (
        "timestamp_format = 'gps'",
        "line 1: `timestamp_format` must be \"ntp\" or \"ptp\", not the string \"gps\"",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\nprotokol = 'text'",
        "line 3: `protokol` is not a key of [[targets]]; did you mean `protocol`?",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\nowd = true",
        "line 3: `owd` must be \"raw\" or \"corrected\", not true",
    ),
    (
        "timestamps = 'hw'",
        "line 1: `timestamps` must be \"auto\" or \"kernel\" or \"user\", not the string \"hw\"",
    ),
    (
        "type = 'icmp'",
        "line 1: `type` must be \"tcp\" or \"udp\" or \"both\", not the string \"icmp\"",
    ),
    (
        "resolve_interval = 0.5",
        "line 1: `resolve_interval` must be 1 to 86400 seconds, not 0.5",
    ),
    (
        "[engine]\nkind = 'uring'",
        "line 2: `kind` must be \"auto\" or \"mio\" or \"io_uring\", not the string \"uring\"; did you mean `io_uring`?",
    ),
    (
        "[burst]\nthreshold_us = 'some'",
        "line 2: `threshold_us` must be a number or \"auto\", not the string \"some\"",
    ),
    (
        "[burst]\nthreshold_us = 0",
        "line 2: `threshold_us` must be 0.1 to 60000000 microseconds, not 0",
    ),
    (
        "[burst]\npre_ms = -1",
        "line 2: `pre_ms` must be 0 to 10000 milliseconds, not -1",
    ),
    (
        "[burst]\ndumps_max = 0",
        "line 2: `dumps_max` must be 1 to 10000, not 0",
    ),
    (
        "[burst]\ndump_dirs = '/tmp'",
        "line 2: `dump_dirs` is not a key of [burst]; did you mean `dump_dir`?",
    ),
    (
        "[engine]\nspin_us = 20000",
        "line 2: `spin_us` must be 0 to 10000 microseconds, not 20000",
    ),
    (
        "[engine]\ncpu = -1",
        "line 2: `cpu` must be 0 to 8191, not -1",
    ),
    (
        "[engine]\nrealtime = 0",
        "line 2: `realtime` must be 1 to 99, not 0",
    ),
    (
        "[engine]\nbusy_poll_us = 2000",
        "line 2: `busy_poll_us` must be 0 to 1000 microseconds, not 2000",
    ),
    (
        "[engine]\nsend_buffer_kib = 1",
        "line 2: `send_buffer_kib` must be 4 to 1048576 kibibytes, not 1",
    ),
    (
        "engine = 3",
        "line 1: `engine` must be a table, [engine], not 3",
    ),
    (
        "targets = 3",
        "line 1: `targets` must be tables, each under [[targets]], not 3",
    ),
    (
        "[targets]\nhost = '192.0.2.1'",
        "line 1: `targets` must be tables, each under [[targets]], not a table",
    ),
    (
        "metrics = ['cli']",
        "line 1: `metrics` must be tables, each under [[metrics]], not a list of something else",
    ),
    (
        "[metrics]\nbackend = 'clii'",
        "line 2: `backend` must be \"cli\" or \"log\" or \"zeromq\" or \"clickhouse\" or \
         \"pushgateway\" or \"datadog\" or \"otlp\", not the string \"clii\"; did you mean `cli`?",
    ),
    #[cfg(feature = "http-backends")]
    (
        "[metrics]\nbackend = 'datadog'\napi_key = 'k'\nurl = 'ftp://me:word@proxy'",
        "line 4: `url` must be an http or https URL, not \"ftp://me:(secret)@proxy\"",
    ),
    (
        "[metrics]\nlevel = 'INFO'",
        "line 2: `level` is for `backend = \"log\"` only",
    ),
    (
        "[[metrics]]\n[[metrics]]\nbackend = 'cli'",
        "line 3: `backend` is \"cli\" a second time, and there is one standard output",
    ),
    (
        "[[targets]]\nlabel = 'x'",
        "line 1: a target has no `host`: give its IP address or name",
    ),
    (
        "[[targets]]\nhost = '192.0.2.300'",
        "line 2: `host` must be an IP address or a host name, without a port, not \"192.0.2.300\"",
    ),
    (
        "[[targets]]\nhost = 'a.example:80'",
        "line 2: `host` must be an IP address or a host name, without a port, not \"a.example:80\"",
    ),
    (
        "[[targets]]\nhost = '0.0.0.0'",
        "line 2: `host` must be the address of one host: 0.0.0.0 is the address of no host",
    ),
    (
        "tcp_port = 0\n[[targets]]\nhost = '192.0.2.1'",
        "line 2: `tcp_port` is 0, which can be listened on and not probed: give the target its own",
    ),
    ("name = 'a'\nname = 'b'", "line 2: not TOML: duplicate key"),
    (
        "name = ",
        "line 1: not TOML: string values must be quoted, expected literal string",
    ),
];

#[test]
fn everything_that_is_wrong_is_told_with_its_line_and_what_would_be_right() {
    for (file, wanted) in MISTAKES {
        assert_eq!(faults(file), [*wanted], "{file}");
    }
}

#[test]
fn a_key_like_no_other_gets_the_list_of_them() {
    let told = faults("[engine]\nzzz = 1");
    assert_eq!(
        told,
        [
            "line 2: `zzz` is not a key of [engine]; it has `busy_poll_us`, `cpu`, `kind`, \
             `lock_memory`, `realtime`, `receive_buffer_kib`, `receive_within_us`, `send_buffer_kib`, `spin_us`"
        ]
    );
}

#[test]
fn everything_is_told_at_once() {
    let told = faults("timeout = -1\nintervall = 1\n[[targets]]\nhots = 'x'");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn a_flag_that_is_wrong_is_named_itself() {
    let flags = flags(&[("timeout", "-1"), ("tcp_port", "65536"), ("name", "")]);
    let told = faults_with("", &flags);
    let all = told.join("\n");
    assert!(
        all.contains("`--timeout` must be 0.001 to 60 seconds, not -1"),
        "{all}"
    );
    assert!(
        all.contains("`--tcp-port` must be 0 to 65535, not 65536"),
        "{all}"
    );
    assert!(all.contains("`--name` must not be empty"), "{all}");
}

#[test]
fn too_many_and_too_long_tags_are_refused() {
    let many = format!("tags = [{}]", "'t', ".repeat(TAGS_MAX + 1));
    assert_eq!(
        faults(&many),
        [format!("line 1: `tags` must be at most {TAGS_MAX}, not 65")]
    );
    let long = format!("tags = ['{}']", "t".repeat(TAGS_BYTES_MAX));
    let wanted = format!(
        "line 1: `tags` must be at most {TAGS_BYTES_MAX} bytes written as a list, not {}",
        TAGS_BYTES_MAX + 4
    );
    assert_eq!(faults(&long), [wanted]);
}

#[test]
fn two_targets_that_cannot_be_told_apart_are_worth_a_warning() {
    let config = parse("targets = [{ host = '192.0.2.1' }, { host = '192.0.2.1', udp_port = 9 }]");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    let told = parse("targets = [{ host = '192.0.2.1' }, { host = '192.0.2.1', label = 'b' }]");
    assert!(told.warnings.is_empty());
}

#[test]
fn the_effective_configuration_says_the_same_again() {
    let file = r#"
        name = "it's \"me\""
        address = ["::", "192.0.2.9"]
        max_size = 9000
        interval = 0.1
        log_level = "DEBUG"
        log_file = "/var/log/a b"
        protocol = "native"
        timestamps = "user"
        [engine]
        spin_us = 20
        cpu = 3
        realtime = 50
        lock_memory = true
        busy_poll_us = 40
        receive_buffer_kib = 8192
        [burst]
        threshold_us = 12.5
        quiet_ms = 1.5
        pre_ms = 0
        post_ms = 300
        dump_dir = "/var/lib/a b"
        dumps_max = 7
        [[metrics]]
        backend = "log"
        level = "debug"
        compat_zero = true
        [[metrics]]
        mode = "both"
        [[targets]]
        host = "2001:db8::1"
        tags = ["a'b", "\u00e9"]
        size = 9000
        [[targets]]
        host = "b.example"
        type = "tcp"
        tcp_latency = false
        rtt = false
        protocol = "auto"
        owd = "corrected"
        timeout = 0.25"#;
    let config = parse(file);
    let printed = effective(file);
    let again = parse(&printed);
    assert_eq!(effective(&printed), printed);
    assert_eq!(
        (&again.targets, &again.metrics),
        (&config.targets, &config.metrics)
    );
    assert_eq!(
        (&again.name, &again.addresses),
        (&config.name, &config.addresses)
    );
    assert_eq!(
        (again.protocol(), again.timestamps, again.engine),
        (config.protocol(), config.timestamps, config.engine)
    );
    assert_eq!(again.burst, config.burst);
    assert_eq!(again.burst.threshold, Some(Duration::from_nanos(12_500)));
    assert_eq!(again.burst.dumps_max, 7);
}

#[test]
fn what_a_program_changes_is_checked_at_the_start() {
    let mut config = Config::default().with_name("a|b");
    config.metrics[0].delivery.send_interval = Duration::ZERO;
    let mut spec = config.target(TargetOptions::new("192.0.2.1")).unwrap();
    spec.interval_ns = 0;
    config.targets.push(spec);
    let told = config.check().unwrap_err().to_string();
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn options_of_a_program_are_checked_too() {
    let error = Config::default().target(TargetOptions::new("192.0.2.1").interval_ms(0.0));
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        "`interval` must be 0.001 to 86400000 milliseconds, not 0"
    );
    let error = Config::default().target(TargetOptions::new("192.0.2.1").port(0).udp_only());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("`udp_port` is 0")
    );
}

#[cfg(not(feature = "http-backends"))]
#[test]
fn a_backend_that_is_not_built_in_is_named_with_its_feature() {
    assert_eq!(
        faults("[metrics]\nbackend = 'pushgateway'"),
        [
            "line 2: `backend` is \"pushgateway\", which this build does not have: it needs the Cargo feature \
             \"http-backends\""
        ]
    );
}

#[test]
fn who_may_ask() {
    let config = parse("allow = ['192.0.2.0/24', '2001:db8::1']\nrate_limit = 50");
    let admits = |address: &str| {
        let address = address.parse().unwrap();
        config.allow.iter().any(|prefix| prefix.contains(address))
    };
    assert!(admits("192.0.2.9") && admits("2001:db8::1") && !admits("2001:db8::2"));
    assert_eq!(config.rate_limit, 50);
}
