//! Which UDP ports a host listens on, and which one a target inherits.

use super::{effective, faults, faults_with, flags, parse};
use crate::config::keys::UDP_PORT;
use crate::config::{Config, TargetOptions};

/// Files, and what is said about them.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    (
        "udp_port = [8001, '862']",
        "line 1: `udp_port` must be a whole number or a list of them, not a list of something else",
    ),
    (
        "udp_port = []",
        "line 1: `udp_port` must be 1 to 16 ports, not 0",
    ),
    (
        "udp_port = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]",
        "line 1: `udp_port` must be 1 to 16 ports, not 17",
    ),
    (
        "udp_port = [862, 8001, 862]",
        "line 1: `udp_port` has 862 twice",
    ),
    ("udp_port = [0, 0]", "line 1: `udp_port` has 0 twice"),
    (
        "udp_port = [-1, 8001, 65536]",
        "line 1: `udp_port` must be 0 to 65535, not -1, and must be 0 to 65535, not 65536",
    ),
    (
        "udp_port = [8001, 862]\n[[targets]]\nhost = '192.0.2.1'\nudp_port = [8001, 862]",
        "line 4: `udp_port` must be a whole number, not a list, which only the top level can have",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\nudp_port = ['a']",
        "line 3: `udp_port` must be a whole number, not a list",
    ),
    (
        "tcp_port = [8000, 8002]",
        "line 1: `tcp_port` must be a whole number, not a list",
    ),
];

#[test]
fn a_host_listens_on_several_udp_ports_and_targets_inherit_the_first() {
    let file = "
        udp_port = [8001, 0, 862]
        targets = [{ host = '192.0.2.1' }, { host = '192.0.2.2', udp_port = 862 }]";
    let config = parse(file);
    assert_eq!(config.udp_ports, [8001, 0, 862]);
    let ports = config.targets.iter().map(|target| target.udp_port);
    assert_eq!(ports.collect::<Vec<_>>(), [Some(8001), Some(862)]);
    let shown = effective(file);
    assert!(shown.contains("\nudp_port = [8001, 0, 862]\n"), "{shown}");
    assert_eq!(parse(&shown).udp_ports, config.udp_ports);
    assert_eq!(parse(&shown).targets, config.targets);
    let added = config.target(TargetOptions::new("192.0.2.3")).unwrap();
    assert_eq!(added.udp_port, Some(8001));
    let one = parse("udp_port = [9]\ntargets = [{ host = '192.0.2.1' }]");
    assert_eq!(
        (&one.udp_ports[..], one.targets[0].udp_port),
        (&[9][..], Some(9))
    );
    let many: Vec<String> = (1..=16).map(|port| port.to_string()).collect();
    let most = parse(&format!("udp_port = [{}]", many.join(", ")));
    assert_eq!(most.udp_ports, (1..=16).collect::<Vec<u16>>());
    let free_first = "udp_port = [0, 862]\ntargets = [{ host = '192.0.2.1' }]";
    let told =
        "line 2: `udp_port` is 0, which can be listened on and not probed: give the target its own";
    assert_eq!(faults(free_first), [told]);
}

#[test]
fn the_flag_takes_several_udp_ports_as_well() {
    for (argument, ports) in [
        ("862", &[862][..]),
        ("8001,862", &[8001, 862]),
        ("0, 9", &[0, 9]),
    ] {
        let flags = flags(&[("udp_port", argument)]);
        let config = Config::parse("udp_port = [1, 2, 3]", &flags).unwrap();
        assert_eq!(config.udp_ports, ports);
    }
    for (argument, told) in [
        ("9,9", "`--udp-port` has 9 twice"),
        ("9,70000", "`--udp-port` must be 0 to 65535, not 70000"),
    ] {
        assert_eq!(faults_with("", &flags(&[("udp_port", argument)])), [told]);
    }
    for argument in ["", "9,", "9;10", "[9]"] {
        let read = UDP_PORT.read_argument(argument);
        assert_eq!(
            read,
            Err("must be a whole number or a list of them".to_owned()),
            "{argument}"
        );
    }
}

#[test]
fn a_program_can_have_no_ports_that_a_file_cannot() {
    for (ports, told) in [
        (&[][..], "`udp_port` must be 1 to 16 ports, not 0"),
        (&[9, 10, 9], "`udp_port` has 9 twice"),
    ] {
        let config = Config {
            udp_ports: ports.to_vec(),
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().to_string(), told);
    }
    assert!(Config::default().with_ports(0, 0).check().is_ok());
}

#[test]
fn what_can_be_no_port_is_said_with_its_line() {
    for (file, told) in MISTAKES {
        assert_eq!(faults(file), [*told], "{file}");
    }
}
