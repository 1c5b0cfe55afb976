//! What the packets of targets are marked with, and where they leave from.

use super::{effective, faults, parse, target};
use crate::config::{Config, TargetOptions};
use crate::proto::{Dscp, Marks, SourcePorts};

/// Files, and what is said about them.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    (
        "dscp = 64\ntargets = [{ host = '192.0.2.1' }]",
        "line 1: `dscp` must be 0 to 63, not 64",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\ndscp = -1",
        "line 3: `dscp` must be 0 to 63, not -1",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\ndscp = true",
        "line 3: `dscp` must be a name or a number, not true",
    ),
    (
        "source_port = 0",
        "line 1: `source_port` must be 1 to 65535, not 0",
    ),
    (
        "source_port = [40000, 40063]",
        "line 1: `source_port` must be a port or a range of ports, not a list",
    ),
    ("ttl = 0", "line 1: `ttl` must be 1 to 255, not 0"),
    ("ttl = 256", "line 1: `ttl` must be 1 to 255, not 256"),
    (
        "df = 'do'",
        "line 1: `df` must be true or false, not the string \"do\"",
    ),
    (
        "interface = ''",
        "line 1: `interface` must be the name of an interface, of 1 to 15 letters, as eth0, not \"\"",
    ),
];

/// Those that only we find, and no schema.
const FINER_MISTAKES: &[(&str, &str)] = &[
    (
        "dscp = 'af44'",
        "line 1: `dscp` must be a name such as \"ef\", \"af41\", \"cs6\" or \"le\", or a number from 0 to 63, not \"af44\"",
    ),
    (
        "source_port = '5-4'",
        "line 1: `source_port` must be a port from 1 to 65535, or a range such as \"40000-40063\", not \"5-4\"",
    ),
    (
        "source = 'eth0'",
        "line 1: `source` must be an IP address of this host, not \"eth0\"",
    ),
    (
        "source = '::'",
        "line 1: `source` must be an IP address of this host: :: is the address of no host",
    ),
    (
        "source = '224.0.0.1'",
        "line 1: `source` must be an IP address of this host: 224.0.0.1 is the address of many hosts",
    ),
    (
        "interface = 'eth0/1'",
        "line 1: `interface` must be the name of an interface, of 1 to 15 letters, as eth0, not \"eth0/1\"",
    ),
    (
        "interface = 'an-interface-name'",
        "line 1: `interface` must be the name of an interface, of 1 to 15 letters, as eth0, not \"an-interface-name\"",
    ),
    (
        "source = '192.0.2.9'\n[[targets]]\nhost = '2001:db8::1'",
        "line 1: `source` is 192.0.2.9, and the target's address is 2001:db8::1: it must be an IPv6 address of this \
         host",
    ),
    (
        "[[targets]]\nhost = '::ffff:192.0.2.1'\nsource = '2001:db8::1'",
        "line 3: `source` is 2001:db8::1, and the target's address is ::ffff:192.0.2.1: it must be an IPv4 address of \
         this host",
    ),
    (
        "[[targets]]\nhost = '192.0.2.1'\nsource_port = 40000",
        "line 3: `source_port` is one port, which the TCP flow has: connect probes need another one, so give a range \
         such as \"40000-40001\", or `tcp_latency = false`",
    ),
];

fn all() -> Marks {
    Marks {
        dscp: Dscp::new(46),
        source: Some([192, 0, 2, 9].into()),
        interface: Some("eth1".into()),
        source_ports: SourcePorts::new(40_000, 40_063),
        ttl: Some(64),
        df: Some(true),
    }
}

const ALL: &str = "dscp = 'ef'\nsource = '192.0.2.9'\ninterface = 'eth1'\nsource_port = '40000-40063'\nttl = 64\n\
                   df = true\n";

#[test]
fn a_mistake_is_told_with_its_line_and_what_would_be_right() {
    for (file, told) in MISTAKES.iter().chain(FINER_MISTAKES) {
        assert_eq!(faults(file), [*told], "{file}");
    }
}

#[test]
fn a_target_has_its_own_marks_or_those_of_the_top_level() {
    let of_target = format!("[[targets]]\nhost = '192.0.2.1'\n{ALL}");
    assert_eq!(*target(&of_target).marks, all());
    let inherited = format!(
        "{ALL}targets = [{{ host = '192.0.2.1' }}, {{ host = '192.0.2.1', dscp = 8, df = false }}]"
    );
    let config = parse(&inherited);
    assert_eq!(*config.targets[0].marks, all());
    let other = Marks {
        dscp: Dscp::new(8),
        df: Some(false),
        ..all()
    };
    assert_eq!(*config.targets[1].marks, other);
    assert_eq!(parse(&effective(&inherited)).targets, config.targets);
    assert_eq!(
        *target("targets = [{ host = '192.0.2.1' }]").marks,
        Marks::default()
    );
    let one =
        target("targets = [{ host = '192.0.2.1', type = 'udp', dscp = 'LE', source_port = 9 }]");
    assert_eq!(one.marks.dscp, Dscp::new(1));
    assert_eq!(one.marks.source_ports, SourcePorts::new(9, 9));
}

#[test]
fn a_mesh_and_a_list_can_have_marks_for_all_their_targets() {
    let mesh = format!(
        "name = 'a'\n[[mesh]]\nname = 'm'\n{ALL}members = [{{ name = 'a', address = '192.0.2.9' }}, \
         {{ name = 'b', address = '192.0.2.2' }}]"
    );
    assert_eq!(*target(&mesh).marks, all());
    let told = faults("[[discovery]]\nfiles = ['/a/*.json']\ndscp = 99");
    assert_eq!(told, ["line 3: `dscp` must be 0 to 63, not 99"]);
    parse(&format!("[[discovery]]\nfiles = ['/a/*.json']\n{ALL}"));
}

#[test]
fn tags_tell_targets_apart_that_differ_in_their_marks() {
    let file = "[[targets]]\nhost = '192.0.2.1'\ntags = ['isp:a']\n";
    let tags = |marks: &str| target(&format!("{file}{marks}")).tags.join(" ");
    assert_eq!(tags(""), "isp:a");
    assert_eq!(tags("dscp = 46"), "isp:a dscp:ef");
    assert_eq!(
        tags("dscp = 3\ninterface = 'vrf-blue'"),
        "isp:a dscp:3 via:vrf-blue"
    );
    assert_eq!(tags("source = '192.0.2.9'"), "isp:a via:192.0.2.9");
    assert_eq!(
        tags("source = '192.0.2.9'\ninterface = 'eth1'"),
        "isp:a via:192.0.2.9%eth1"
    );
    assert_eq!(tags("ttl = 9\ndf = false\nsource_port = '5-6'"), "isp:a");
    let given = target("targets = [{ host = '192.0.2.1', tags = ['dscp:ef'], dscp = 'ef' }]");
    assert_eq!(given.tags.join(" "), "dscp:ef");
    let of_program = TargetOptions::new("192.0.2.1").dscp(Dscp::new(46).unwrap());
    let of_program = Config::default().target(of_program).unwrap();
    assert_eq!(of_program.tags.join(" "), "dscp:ef");
}

#[test]
fn targets_are_called_alike_only_if_no_tag_tells_them_apart() {
    let pair = |one: &str, other: &str| {
        let file = format!(
            "targets = [{{ host = '192.0.2.1', {one} }}, {{ host = '192.0.2.1', {other} }}]"
        );
        parse(&file).warnings
    };
    assert_eq!(pair("dscp = 'ef'", "dscp = 'cs1'"), [""; 0]);
    assert_eq!(pair("dscp = 'ef'", "rtt = true"), [""; 0]);
    assert_eq!(
        pair("source = '192.0.2.8'", "source = '192.0.2.9'"),
        [""; 0]
    );
    assert_eq!(pair("interface = 'a'", "interface = 'b'"), [""; 0]);
    assert_eq!(pair("dscp = 'ef'", "dscp = 46").len(), 1);
    assert_eq!(pair("ttl = 4", "ttl = 5").len(), 1, "no tag has the TTL");
}
