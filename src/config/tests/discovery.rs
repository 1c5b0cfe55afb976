//! Tables of sources, and what their lists come to.

use super::{effective, faults, parse};
use crate::config::{Config, FileGlob, Format, List};
use crate::proto::TargetSpec;

const DISCOVERY: &str = "
timeout = 3
[[discovery]]
files = ['/etc/targets/*.json', 'more.toml']
interval = 20
protocol = 'native'
tags = ['found:yes']
";

fn list(format: Format, text: &str) -> List {
    List {
        name: "list".to_owned(),
        format,
        text: text.to_owned(),
    }
}

/// What a list comes to in the first discovery of a file.
fn listed(file: &str, format: Format, text: &str) -> Result<Vec<TargetSpec>, String> {
    let config = parse(file);
    let found = config.listed(&config.discovery[0], &[list(format, text)]);
    found.map_err(|error| error.to_string())
}

fn shown(targets: &[TargetSpec]) -> Vec<String> {
    let one = |target: &TargetSpec| format!("{} {} {:?}", target.host, target.label, target.tags);
    targets.iter().map(one).collect()
}

#[test]
fn a_discovery_has_its_sources_and_what_targets_inherit() {
    let config = parse(DISCOVERY);
    let [discovery] = &config.discovery[..] else {
        panic!("one discovery")
    };
    assert_eq!(discovery.name(), "/etc/targets/*.json, ./more.toml");
    assert_eq!(discovery.refresh.as_secs(), 30);
    assert!(discovery.url.is_none() && config.targets.is_empty());
    let shown = effective(DISCOVERY);
    let again = parse(&shown);
    let found = |config: &Config| {
        let json = list(Format::Json, "[{\"targets\": [\"a\"]}]");
        config
            .listed(&config.discovery[0], &[json])
            .expect("a right list")
    };
    assert_eq!(found(&again), found(&config), "{shown}");
    assert_eq!(again.discovery[0].files, discovery.files);
    let url = parse("[[discovery]]\nurl = 'https://sd.example.com/t?q=secret'\nrefresh = 5");
    assert_eq!(url.discovery[0].name(), "https://sd.example.com/t");
    assert_ne!(url.discovery[0], parse(DISCOVERY).discovery[0]);
}

#[test]
fn groups_become_targets_and_labels_tags() {
    let json = r#"[
        { "targets": ["192.0.2.1", "fra.example.com:862"], "labels": { "site": "fra", "isp": "x", "__meta_a": "b" } },
        { "targets": ["[2001:db8::1]:99", "2001:db8::2"], "labels": { "__label__": "six" } },
        { "targets": [] }
    ]"#;
    let yaml = "
- targets: [192.0.2.1, 'fra.example.com:862']
  labels: { site: fra, isp: x, __meta_a: b }
- targets:
    - '[2001:db8::1]:99'
    - 2001:db8::2
  labels:
    __label__: six
- targets: []
";
    for (format, text) in [(Format::Json, json), (Format::Yaml, yaml)] {
        let targets = listed(DISCOVERY, format, text).expect("a right list");
        let tags = "[\"found:yes\", \"isp:x\", \"site:fra\"]";
        assert_eq!(
            shown(&targets),
            [
                format!("192.0.2.1 192.0.2.1 {tags}"),
                format!("fra.example.com fra.example.com {tags}"),
                "2001:db8::1 six [\"found:yes\"]".to_owned(),
                "2001:db8::2 six [\"found:yes\"]".to_owned(),
            ]
        );
        let ports: Vec<_> = targets
            .iter()
            .map(|it| (it.udp_port, it.tcp_port))
            .collect();
        let own = (Some(8001), Some(8000));
        assert_eq!(
            ports,
            [own, (Some(862), Some(862)), (Some(99), Some(99)), own]
        );
        assert!(targets.iter().all(|it| it.interval_ns == 20_000_000));
        assert!(targets.iter().all(|it| it.timeout_ns == 3_000_000_000));
    }
    // The port of a scraper is none of ours.
    let ours = format!("{DISCOVERY}udp_port = 8001\ntype = 'udp'");
    let targets = listed(&ours, Format::Json, json).expect("a right list");
    assert!(
        targets
            .iter()
            .all(|it| it.udp_port == Some(8001) && it.tcp_port.is_none())
    );
}

#[test]
fn tables_are_targets_as_in_the_configuration() {
    let toml = "
        [[targets]]
        host = '192.0.2.1'
        interval = 5
        tags = ['site:fra']
        [[targets]]
        host = '192.0.2.2'
        label = 'two'
        type = 'udp'";
    let targets = listed(DISCOVERY, Format::Toml, toml).expect("a right list");
    assert_eq!(
        shown(&targets),
        [
            "192.0.2.1 192.0.2.1 [\"found:yes\", \"site:fra\"]",
            "192.0.2.2 two [\"found:yes\"]"
        ]
    );
    assert_eq!(
        (targets[0].interval_ns, targets[1].interval_ns),
        (5_000_000, 20_000_000)
    );
    assert_eq!(targets[1].tcp_port, None);
    let alone = parse(&format!(
        "timeout = 3\n{}",
        toml.replace("interval = 5\n", "interval = 5\nprotocol = 'native'\n")
    ));
    assert_eq!(alone.targets[0].timeout_ns, targets[0].timeout_ns);
}

#[test]
fn a_target_in_two_groups_is_one() {
    let json = r#"[{ "targets": ["192.0.2.1", "192.0.2.1"] }, { "targets": ["192.0.2.1", "192.0.2.1:9"] }]"#;
    assert_eq!(
        listed(DISCOVERY, Format::Json, json).expect("a list").len(),
        2
    );
}

#[test]
fn a_list_that_is_wrong_has_no_targets_and_says_why() {
    let bombs = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n\
                 c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c]";
    let many: Vec<String> = (0..20_000).map(|n| format!("\"h{n}.example\"")).collect();
    let many = format!("[{{\"targets\": [{}]}}]", many.join(","));
    for (format, text, told) in [
        (
            Format::Json,
            "",
            "list: no list of groups with `targets`: EOF while parsing",
        ),
        (
            Format::Json,
            "{}",
            "list: no list of groups with `targets`: invalid type",
        ),
        (
            Format::Json,
            "[{\"labels\": {}}]",
            "list: no list of groups with `targets`: missing field `targets`",
        ),
        (
            Format::Json,
            "[{\"targets\": [7]}]",
            "list: no list of groups",
        ),
        (Format::Yaml, "- target: [a]", "list: no list of groups"),
        (Format::Yaml, bombs, "list: no list of groups"),
        (Format::Json, "<html>", "list: no list of groups"),
        (
            Format::Json,
            "[{\"targets\": [\"a.example\", \"https://a/b\"]}]",
            "target \"https://a/b\": `host` must be an \
          IP address or a host name",
        ),
        (
            Format::Json,
            "[{\"targets\": [\"a.example:70000\"]}]",
            "target \"a.example:70000\": `host` must be",
        ),
        (
            Format::Json,
            "[{\"targets\": [\"a.example:0\"]}]",
            "target \"a.example:0\": `tcp_port` is 0",
        ),
        (
            Format::Json,
            "[{\"targets\": [\"a.example\"], \"labels\": {\"a\": \"b|c\"}}]",
            "target \"a.example\": `tags` \
          must have no `|`",
        ),
        (Format::Toml, "[[targets]]\nhots = 'a'", "list, line 2: "),
        (
            Format::Toml,
            "[[targets]]\nhost = 'a'\n[metrics]\n",
            "list, line 3: ",
        ),
        (Format::Toml, "[[targets]\n", "list, line 1: not TOML"),
        (
            Format::Json,
            &many,
            "`targets` are more than 16384, which is the maximum",
        ),
    ] {
        let said = listed(DISCOVERY, format, text).expect_err("it is wrong");
        let head: String = text.chars().take(80).collect();
        assert!(said.starts_with(told), "{head}\n{said}");
    }
}

#[test]
fn what_is_wrong_with_a_discovery_is_told_with_its_line() {
    for (rest, told) in [
        (
            "",
            "line 1: a discovery must have either `files` or a `url`",
        ),
        (
            "files = ['a.json']\nurl = 'http://a/'",
            "line 1: a discovery must have either `files` or a `url`",
        ),
        ("files = []", "line 2: `files` must be 1 to 64 paths, not 0"),
        (
            "files = ['a.txt']",
            "line 2: `files` must be files that end in .json, .yml, .yaml or .toml, not \"a.txt\"",
        ),
        (
            "files = ['*/a.json']",
            "line 2: `files` may have a `*` only in the last part of a path, not in \"*/a.json\"",
        ),
        (
            "file = ['a.json']",
            "line 2: `file` is not a key of [[discovery]]; did you mean `files`?",
        ),
        (
            "url = 'ftp://a/'",
            "line 2: `url` must be an http or https URL, not \"ftp://a/\"",
        ),
        (
            "url = 'http://me:pw@a/'",
            "line 2: `url` must have no user and no password",
        ),
        (
            "url = 'http://a/'\nrefresh = 0.5",
            "line 3: `refresh` must be 1 to 86400 seconds, not 0.5",
        ),
        (
            "url = 'http://a/'\nlabel = 'a'",
            "line 3: `label` is not a key of [[discovery]]",
        ),
        (
            "url = 'http://a/'\ninterval = -1",
            "line 3: `interval` must be 0.001",
        ),
    ] {
        let found = faults(&format!("[[discovery]]\n{rest}"));
        assert!(
            found.iter().any(|line| line.starts_with(told)),
            "{rest}\n{found:?}"
        );
    }
}

#[test]
fn a_star_stands_for_anything_in_a_name() {
    let fits = |glob: &str, name: &str| FileGlob::parse(glob).expect("a glob").fits(name);
    assert!(
        fits("a.json", "a.json") && !fits("a.json", "b.json") && !fits("a.json", "a.json.json")
    );
    assert!(fits("*.json", "a.json") && fits("*.json", ".json") && !fits("*.json", "a.json.tmp"));
    assert!(
        fits("a*b*.yml", "a-b-b-c.yml")
            && fits("a*b*.yml", "ab.yml")
            && !fits("a*b*.yml", "ba.yml")
    );
    assert!(!fits("a*.json", "a.jso") && !fits("aa*aa.yml", "aaa.yml"));
    let parsed = FileGlob::parse("/etc/x/*.toml").expect("a glob");
    assert_eq!(parsed.folder.to_str(), Some("/etc/x"));
}
