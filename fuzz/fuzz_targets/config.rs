//! A configuration file: never a panic, and what is accepted prints as a file that says the same.

#![no_main]

use latency_monitor::Config;
use latency_monitor::config::{ConfigError, Overrides, Sealed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (config, printed) = match Config::parse_effective(text, &Overrides::default(), &Sealed) {
        Ok(read) => read,
        Err(error) => {
            check_error(&error);
            return;
        }
    };
    let read = Config::parse_effective(&printed, &Overrides::default(), &Sealed);
    let (again, printed_again) = match read {
        Ok(again) => again,
        Err(error) => panic!("what was accepted is refused: {error}\n{printed}"),
    };
    check_equal(&config, &again);
    assert_eq!(printed_again, printed);
});

fn check_error(error: &ConfigError) {
    match error {
        ConfigError::Invalid { problems, .. } => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.text.is_empty()));
        }
        other => panic!("no file was read: {other}"),
    }
    assert!(!error.to_string().is_empty());
}

/// All but what targets that are yet to come inherit: that has been given to those there are.
fn check_equal(config: &Config, again: &Config) {
    assert_eq!(again.name, config.name);
    assert_eq!(again.addresses, config.addresses);
    assert_eq!((again.tcp, again.udp), (config.tcp, config.udp));
    assert_eq!(again.tcp_port, config.tcp_port);
    assert_eq!(again.udp_ports, config.udp_ports);
    assert_eq!(again.max_size, config.max_size);
    assert_eq!(again.protocol(), config.protocol());
    assert_eq!(again.timestamps, config.timestamps);
    assert_eq!(again.targets, config.targets);
    // As it is shown: secrets are not printed.
    let (metrics, printed) = (&config.metrics, &again.metrics);
    assert_eq!(format!("{printed:?}"), format!("{metrics:?}"));
    assert_eq!(again.log_level, config.log_level);
    assert_eq!(again.log_file, config.log_file);
    assert_eq!(again.resolve_interval, config.resolve_interval);
    assert_eq!(again.shutdown_timeout, config.shutdown_timeout);
    assert_eq!(again.engine, config.engine);
    // What was taken as another value is printed as that, and then needs no warning; none is new.
    let known: Vec<&str> = config.warnings.iter().map(|text| said(text)).collect();
    for text in &again.warnings {
        assert!(
            known.contains(&said(text)),
            "{text}\nis not among {known:#?}"
        );
    }
}

/// A warning without where it is and of how many places.
fn said(warning: &str) -> &str {
    let text = match warning.split_once(": ") {
        Some((place, text)) if place.starts_with("line ") => text,
        _ => warning,
    };
    text.split_once(" (and ").map_or(text, |(text, _)| text)
}
