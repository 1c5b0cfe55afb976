//! `latency-monitor trace`, against ports of this host where nothing listens.

use serde_json::Value;

use crate::ports::Deaf;
use crate::{run, text};

#[test]
fn a_closed_port_is_reached_from_every_flow_and_no_file_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("latency.toml"), "no file").expect("a file");
    let deaf = Deaf::new();
    let port = deaf.port();
    let arguments = [
        "trace",
        "127.0.0.1",
        "--flows",
        "3",
        "--json",
        "--udp-port",
        &port,
    ];
    let output = run(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let paths: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let mut flows: Vec<_> = paths
        .iter()
        .map(|path| path["flow_number"].as_u64())
        .collect();
    flows.sort_unstable();
    assert_eq!(flows, [Some(1), Some(2), Some(3)]);
    for path in paths {
        assert_eq!(path["why"], "asked");
        assert_eq!(path["reached"], true);
        let hops = path["hops"].as_array().expect("hops");
        assert_eq!(hops.len(), 1);
        assert_eq!(hops[0]["address"], "127.0.0.1");
        assert_eq!(hops[0]["icmp"], "port unreachable");
    }
}

#[test]
fn for_people_each_flow_is_a_column() {
    let deaf = Deaf::new();
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        folder.path(),
        &[
            "trace",
            "localhost",
            "--flows",
            "2",
            "--udp-port",
            &deaf.port(),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("flow 1 port ") && shown.contains("flow 2 port "),
        "{shown}"
    );
    assert!(
        shown.ends_with("2 of 2 flows reached localhost\n"),
        "{shown}"
    );
}

#[test]
fn a_name_that_leads_nowhere_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["trace", "nowhere.invalid"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot find the address of nowhere.invalid"),
        "{said}"
    );
}
