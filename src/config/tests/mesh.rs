//! What meshes come to on each of their hosts, and what is said about wrong ones.

use std::collections::BTreeSet;

use super::{faults, flags, parse};
use crate::config::{Config, Membership, Sealed};
use crate::proto::Protocol;

/// Four members, two of which share a group with the others.
const MESH: &str = "
[[mesh]]
name = 'backbone'
interval = 20
type = 'udp'
udp_port = 862
protocol = 'native'
tags = ['mesh:backbone']
members = [
    { name = 'fra1', address = '192.0.2.1', tags = ['site:fra'], groups = ['eu'] },
    { name = 'ams1', address = 'ams1.example.com', groups = ['eu', 'sea'] },
    { name = 'lon1', address = '2001:db8::3', tags = ['site:lon', 'isp:x'], groups = ['eu'] },
    { name = 'nyc1', address = '192.0.2.4', groups = ['us', 'sea'] },
]";

fn as_host(name: &str, file: &str) -> Config {
    let read = Config::parse_effective(file, &flags(&[("name", name)]), &Sealed);
    read.unwrap_or_else(|error| panic!("{error}\n{file}")).0
}

fn is_member(config: &Config) -> bool {
    config.membership == Membership::Member
}

fn labels(config: &Config) -> Vec<&str> {
    config.targets.iter().map(|target| &*target.label).collect()
}

#[test]
fn each_host_probes_the_others_as_the_mesh_says() {
    let config = as_host("ams1", MESH);
    assert_eq!(labels(&config), ["fra1", "lon1", "nyc1"]);
    assert!(is_member(&config) && config.warnings.is_empty());
    let [fra, lon, nyc] = &config.targets[..] else {
        panic!("three targets")
    };
    assert_eq!(fra.host.to_string(), "192.0.2.1");
    assert_eq!(lon.host.to_string(), "2001:db8::3");
    assert_eq!((fra.interval_ns, fra.udp_port), (20_000_000, Some(862)));
    assert_eq!((fra.protocol, fra.tcp_port), (Protocol::Native, None));
    let tags = |of: &crate::proto::TargetSpec| of.tags.join(" ");
    assert_eq!(tags(fra), "mesh:backbone site:fra");
    assert_eq!(tags(lon), "mesh:backbone site:lon isp:x");
    assert_eq!(tags(nyc), "mesh:backbone");
    let all = ["fra1", "ams1", "lon1", "nyc1"];
    let pairs = all.iter().map(|host| as_host(host, MESH).targets.len());
    assert_eq!(pairs.sum::<usize>(), 12);
}

#[test]
fn members_inherit_the_top_level_and_stand_beside_other_targets() {
    let file = format!("timeout = 3\ntags = ['all']\n[[targets]]\nhost = '198.51.100.1'\n{MESH}");
    let config = as_host("nyc1", &file);
    assert_eq!(labels(&config), ["198.51.100.1", "fra1", "ams1", "lon1"]);
    assert_eq!(config.targets[1].timeout_ns, 3_000_000_000);
    assert_eq!(*config.targets[2].tags, ["mesh:backbone".into()]);
    let bare = file.replace("tags = ['mesh:backbone']", "");
    assert_eq!(*as_host("nyc1", &bare).targets[2].tags, ["all".into()]);
}

#[test]
fn the_file_may_say_who_it_is_and_the_flag_goes_over_it() {
    let file = format!("name = 'lon1'\n{MESH}");
    assert_eq!(labels(&parse(&file)), ["fra1", "ams1", "nyc1"]);
    assert_eq!(labels(&as_host("fra1", &file)), ["ams1", "lon1", "nyc1"]);
}

#[test]
fn groups_probe_those_that_share_one() {
    let file = format!("{MESH}\nshape = 'groups'");
    let of = |host| as_host(host, &file);
    assert_eq!(labels(&of("fra1")), ["ams1", "lon1"]);
    assert_eq!(labels(&of("ams1")), ["fra1", "lon1", "nyc1"]);
    assert_eq!(labels(&of("nyc1")), ["ams1"]);
}

#[test]
fn k_of_a_large_fleet_are_probed_by_each() {
    let mut file = "[[mesh]]\nname = 'fleet'\nshape = 'k'\nk = 3\n".to_owned();
    for host in 0..40 {
        let member = format!("[[mesh.members]]\nname = 'h{host}'\naddress = '192.0.2.{host}'\n");
        file.push_str(&member);
    }
    let mut probed = BTreeSet::new();
    for host in 0..40 {
        let name = format!("h{host}");
        let config = as_host(&name, &file);
        let found: BTreeSet<_> = labels(&config).into_iter().map(str::to_owned).collect();
        assert!(found.len() == 3 && !found.contains(&name), "{found:?}");
        probed.extend(found);
    }
    assert_eq!(probed.len(), 40, "everyone is probed");
    // As many as there are: everyone.
    let four = |k| format!("{MESH}\nshape = 'k'\nk = {k}");
    assert_eq!(labels(&as_host("fra1", &four(3))), ["ams1", "lon1", "nyc1"]);
    assert_eq!(as_host("fra1", &four(1)).targets.len(), 1);
}

#[test]
fn a_host_that_is_no_member_answers_and_is_told_so() {
    let config = as_host("fra", MESH);
    assert!(config.targets.is_empty() && !is_member(&config));
    let told = "line 2: `mesh` \"backbone\" has no member called \"fra\", as this host is (`name`): this host \
                answers, and probes none of the mesh; did you mean `fra1`?";
    assert_eq!(config.warnings, [told]);
    let other = as_host("zrh9", MESH).warnings;
    assert!(other[0].ends_with("probes none of the mesh"), "{other:?}");
    assert!(!is_member(&as_host("fra1", "")));
}

#[test]
fn the_effective_configuration_has_the_targets_and_no_mesh() {
    let read = Config::parse_effective(MESH, &flags(&[("name", "ams1")]), &Sealed);
    let text = read.expect("a right file").1;
    assert!(!text.contains("mesh]]"), "{text}");
    let again = parse(&text);
    assert_eq!(again.targets, as_host("ams1", MESH).targets);
}

#[test]
fn two_meshes_may_share_hosts_and_must_not_share_series() {
    let second = MESH
        .replace("backbone", "other")
        .replace("interval = 20", "interval = 500");
    let both = as_host("fra1", &format!("{MESH}{second}"));
    assert_eq!((both.targets.len(), both.warnings.len()), (6, 0));
    let same = second.replace("mesh:other", "mesh:backbone");
    let told = as_host("fra1", &format!("{MESH}{same}")).warnings;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("cannot be told apart"), "{told:?}");
}

const ONE: &str = "{ name = 'a', address = '192.0.2.1' }";
const TWO: &str = "{ name = 'b', address = '192.0.2.2' }";

/// A mesh of this host with these lines.
fn mesh(rest: &str) -> String {
    format!("name = 'a'\n[[mesh]]\nname = 'm'\n{rest}")
}

fn check_told(cases: &[(String, &str)]) {
    for (file, told) in cases {
        let found = faults(file).join("\n");
        assert!(found.starts_with(told), "{file}\n{found}\n{told}");
    }
}

#[test]
fn what_is_wrong_with_a_member_is_told_with_its_line() {
    let members = |rest: &str| mesh(&format!("members = [\n{ONE},\n{rest}]"));
    check_told(&[
        (
            mesh(""),
            "line 2: `members` of a mesh must be 1 to 65536, not 0",
        ),
        (
            mesh("members = []"),
            "line 2: `members` of a mesh must be 1 to 65536, not 0",
        ),
        (
            mesh("members = ['a']"),
            "line 4: `members` must be tables, each under [[mesh.members]], not a list of \
          something else",
        ),
        (
            members("{ address = '192.0.2.2' }"),
            "line 6: a member of a mesh must have a `name` and an `address`",
        ),
        (
            members("{ name = 'b' }"),
            "line 6: a member of a mesh must have a `name` and an `address`",
        ),
        (
            members("{ name = 'a', address = '192.0.2.2' }"),
            "line 6: `name` is \"a\", as that of another member \
          (line 5)",
        ),
        (
            members("{ name = 'b', adress = '192.0.2.2', address = '::1' }"),
            "line 6: `adress` is not a key of \
          [[mesh.members]]; did you mean `address`?",
        ),
        (
            members("{ name = 'b', address = '192.0.2.2:80' }"),
            "line 6: `address` must be an IP address or a host \
          name, without a port, not \"192.0.2.2:80\"\nline 6: a member of a mesh must have a `name` and an `address`",
        ),
        (
            members("{ name = 'b', address = '::1', groups = [''] }"),
            "line 6: `groups` has \"\", and a group must not \
          be empty",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_mesh_is_told_with_its_line() {
    check_told(&[
        (
            mesh(&format!("shap = 'k'\nmembers = [{ONE}]")),
            "line 4: `shap` is not a key of [[mesh]]; did you mean \
          `shape`?",
        ),
        (
            mesh(&format!("host = '::1'\nmembers = [{ONE}]")),
            "line 4: `host` is not a key of [[mesh]]",
        ),
        (
            mesh(&format!("shape = 'star'\nmembers = [{ONE}]")),
            "line 4: `shape` must be \"full\" or \"groups\" or \
          \"k\", not the string \"star\"",
        ),
        (
            mesh(&format!("shape = 'group'\nmembers = [{ONE}]")),
            "line 4: `shape` must be \"full\" or \"groups\" or \
          \"k\", not the string \"group\"; did you mean `groups`?",
        ),
        (
            mesh(&format!("shape = 'k'\nmembers = [{ONE}]")),
            "line 4: `k` must be given where `shape` is `k`: how many \
          others each member probes",
        ),
        (
            mesh(&format!("shape = 'k'\nk = 2\nmembers = [{ONE}, {TWO}]")),
            "line 5: `k` is 2, and each of the 2 members \
          has 1 others: lower it, or take `shape = \"full\"`",
        ),
        (
            mesh(&format!("shape = 'k'\nk = 65\nmembers = [{ONE}]")),
            "line 5: `k` must be 1 to 64, not 65",
        ),
        (
            mesh(&format!("shape = 'groups'\nmembers = [{ONE}]")),
            "line 5: the member \"a\" has no `groups`, and by the \
          mesh's `shape` those of a group probe each other",
        ),
        (
            mesh(&format!(
                "interval = 90000000\nmembers = [{ONE}, {TWO}]\n[[mesh]]\nname = 'n'\ninterval = -1\nmembers = [{ONE}, {TWO}]"
            )),
            "line 8: `interval` must be 0.001 to 86400000 milliseconds, not -1",
        ),
        (
            format!("[[mesh]]\nmembers = [{ONE}]"),
            "line 1: a mesh must have a `name`",
        ),
        (
            format!(
                "[[mesh]]\nname = 'm'\nmembers = [{ONE}]\n[[mesh]]\nname = 'm'\nmembers = [{TWO}]"
            ),
            "line 5: `name` \
          is \"m\", as that of another mesh",
        ),
        (
            "[mesh]\nname = 'm'".to_owned(),
            "line 1: `mesh` must be tables, each under [[mesh]], not a table",
        ),
    ]);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let config = as_host(
        "a",
        "[[mesh]]\nname = 'm'\nk = 1\nmembers = [{ name = 'a', address = '::1' },\n{ name = 'b', address = '::1' }]",
    );
    let told = [
        "line 5: `address` is ::1, as that of another member (line 4)",
        "line 3: `k` has no effect: `shape` is not `k`",
    ];
    assert_eq!(config.warnings, told);
}

#[test]
fn a_host_probes_no_more_than_it_can() {
    let mut file = "[[mesh]]\nname = 'm'\nmembers = [\n".to_owned();
    for host in 0..16_386 {
        let (high, low) = (host / 256, host % 256);
        let member = format!("{{ name = 'h{host}', address = '198.18.{high}.{low}' }},\n");
        file.push_str(&member);
    }
    file += "]";
    let many = Config::parse(&file, &flags(&[("name", "h7")]));
    let told = many.expect_err("too many").to_string();
    assert_eq!(told, "`targets` are 16385, and 16384 is the maximum");
    let few = Config::parse(
        &format!("{file}\nshape = 'k'\nk = 2"),
        &flags(&[("name", "h7")]),
    );
    assert_eq!(few.expect("few").targets.len(), 2);
}
