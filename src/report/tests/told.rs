//! The verdict.

use super::*;

const TAGS: &str = "\"tags\": [\"source:near\", \"target:far\"]";
const S: i64 = 1_000_000_000;

fn event(word: &str, rest: &str) -> String {
    format!("{{\"event\": \"{word}\", \"flow\": \"udp\", {rest}, {TAGS}}}\n")
}

fn burst(second: i64, peak: i64, suspect: &str, evidence: &str) -> String {
    event(
        "burst",
        &format!(
            "\"direction\": \"forward\", \"start\": {}, \"duration\": 40000000, \"peak\": {peak}, \"mean\": 1, \"base\": 1, \
             \"probes\": 40, \"lost\": 2, \"suspect\": {suspect}, \"evidence\": {evidence}",
            second * S
        ),
    )
}

fn count(name: &str, second: i64, value: i64) -> String {
    format!(
        "{{\"metric\": \"{name}\", \"points\": [[{}, {value}]], {TAGS}}}\n",
        second * S
    )
}

fn verdict_of(lines: &str) -> (Data, String) {
    let mut data = data_of(lines).unwrap();
    data.findings.end();
    let text = text::page(&data);
    let verdict = text.split("\n\n").next().unwrap().to_owned();
    (data, verdict)
}

/// Everything that a daemon may tell.
fn all() -> String {
    let host = "{\"local\": {\"kept_waiting\": 12000000, \"steal\": 0, \"drops\": 3}, \"peer\": {\"kept_waiting\": null}}";
    let divergence = "\"direction\": \"reverse\", \"what\": \"loss\", \"start\": 7000000000, \"value\": 0.05, \"others\": 0.001, \
                      \"noticed\": 1, \"suspect\": \"network\", \"evidence\": null";
    let mut lines = count("udp.wan.sent", 10, 4_000) + &count("udp.wan.lost", 10, 3);
    lines += &(count("udp.wan.lost", 11, 5) + &count("udp.wan.lost", 12, 1));
    lines += &(count("udp.wan.lost.forward", 12, 6) + &count("udp.wan.lost.reverse", 12, 2));
    lines += &count("monitor.lateness", 12, 0);
    lines += &burst(3, 2_000_000, "\"network\"", "null");
    lines += &burst(5, 4_000_000, "\"local\"", host);
    lines += &burst(9, 1_000_000, "\"network\"", "null");
    lines += &event("outage_begin", "\"start\": 20000000000");
    lines += &event(
        "outage",
        "\"direction\": \"forward\", \"start\": 20000000000, \"duration\": 3000000000, \"peak\": 0, \"lost\": 300, \
         \"suspect\": null",
    );
    lines += &event("outage_begin", "\"start\": 40000000000");
    lines += &event(
        "path_divergence",
        &format!("{divergence}, \"duration\": null, \"lost\": 9"),
    );
    lines += &event(
        "path_divergence",
        &format!("{divergence}, \"duration\": 9000000000, \"lost\": 12"),
    );
    lines += &event(
        "remarked",
        "\"direction\": \"forward\", \"at\": 5000000000, \"sent\": \"EF\", \"arrived\": \"CS0\"",
    );
    lines += &event(
        "reopened",
        "\"at\": 8000000000, \"old_port\": 5, \"new_port\": 6, \"lost\": 9, \"helped\": true",
    );
    lines += &event(
        "path_change",
        "\"start\": 8000000000, \"why\": \"reopened\", \"hops\": [], \"old\": []",
    );
    lines += &event(
        "path",
        "\"start\": 8000000000, \"why\": \"interval\", \"hops\": []",
    );
    lines += &event(
        "route_change",
        "\"direction\": \"reverse\", \"at\": 9000000000, \"old\": 250000, \"new\": 900000",
    );
    lines += &event("hops_change", "\"at\": 9000000000, \"old\": 5, \"new\": 7");
    lines += &event("wire", "\"at\": 9000000000, \"wire\": \"text\"");
    lines += &event(
        "clock_step",
        "\"clock\": \"peer\", \"at\": 9500000000, \"step\": -3600000000000",
    );
    lines
}

#[test]
fn the_verdict_comes_first_the_gravest_before_all() {
    let (data, verdict) = verdict_of(&(all() + &sample(S, 5)));
    assert!(data.unread.is_empty(), "{:?}", data.unread);
    insta::assert_snapshot!(verdict);
    let page = html::page(&data);
    let places = [
        "class=\"headline\"",
        "<li>far: udp is cut off since <time ",
        "<h2>Series</h2>",
    ];
    let places = places.map(|words| {
        page.find(words)
            .unwrap_or_else(|| panic!("{words}: {page}"))
    });
    assert!(places.is_sorted());
    assert!(page.contains("<time datetime=\"1970-01-01T00:00:40.000000000Z\">"));
}

/// Some keep the events alone: of these there is a verdict, in both formats.
#[test]
fn events_alone_are_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    fs::write(&file, all()).unwrap();
    let out = |format, name: &str| {
        let output = folder.path().join(name);
        let request = Request {
            past: Past::default(),
            files: vec![file.clone()],
            output: Some(output.clone()),
            format,
        };
        request.run().unwrap();
        fs::read_to_string(output).unwrap()
    };
    let (page, terminal) = (out(Format::Html, "page"), out(Format::Text, "text"));
    assert!(
        page.contains("<li>far: udp is cut off since <time "),
        "{page}"
    );
    assert!(page.contains("<h2>Events</h2>") && !page.contains("<svg"));
    let first = terminal.lines().next().unwrap();
    assert!(
        first.contains("outage") && first.contains("from 1970-01-01T"),
        "{first}"
    );
    assert!(terminal.contains("far: udp is cut off since"), "{terminal}");
    // Losses alone are one, too. A daemon's look at its paths is nothing that a report tells of.
    for (lines, is_report) in [
        (count("udp.wan.lost", 2, 3), true),
        (
            event(
                "path",
                "\"start\": 8000000000, \"why\": \"interval\", \"hops\": []",
            ),
            false,
        ),
    ] {
        fs::write(&file, lines).unwrap();
        let request = Request {
            past: Past::default(),
            files: vec![file.clone()],
            output: Some(folder.path().join("other")),
            format: Format::Text,
        };
        assert_eq!(request.run().is_ok(), is_report);
    }
}

#[test]
fn where_nothing_stands_out_the_verdict_says_so() {
    let (_, verdict) =
        verdict_of(&(sample(S, 5) + &count("udp.wan.sent", 2, 9) + &count("udp.wan.lost", 2, 0)));
    let want = "Nothing stands out: no event and no loss, from 1970-01-01T00:00:01.000000000Z to 1970-01-01T00:00:02.000000000Z.";
    assert_eq!(verdict, want);
}

/// A dump repeats the event that is among the samples, and two files may have the same lines.
#[test]
fn an_event_that_several_files_tell_is_one() {
    let start = "1768219134667000000";
    let told = format!(
        "{{\"event\": \"burst\", \"flow\": \"udp\", \"direction\": \"forward\", \"start\": {start}, \"duration\": 40000000, \
         \"peak\": 2000000, \"lost\": 3, \"tags\": [\"target:<b>\"], \"suspect\": \"network\"}}\n"
    );
    let (data, verdict) = verdict_of(&(told.clone() + &told + &dump()));
    assert_eq!(
        data.findings
            .all
            .values()
            .map(|finding| finding.count)
            .sum::<u64>(),
        1
    );
    assert!(
        verdict.starts_with("1 burst, ") && verdict.contains("<b>: udp waited in a queue once"),
        "{verdict}"
    );
}

/// Findings of more targets than a report tells apart are left out and counted.
#[test]
fn findings_and_lines_are_bounded() {
    use crate::limits::{REPORT_FINDINGS_MAX, REPORT_VERDICT_LINES_MAX};
    let lines: String = (0..REPORT_FINDINGS_MAX + 10)
        .map(|n| burst(3, 2_000_000, "null", "null").replace("target:far", &format!("target:{n}")))
        .collect();
    let (data, verdict) = verdict_of(&(lines + &sample(S, 5)));
    assert_eq!(data.findings.all.len(), REPORT_FINDINGS_MAX);
    assert_eq!(verdict.lines().count(), REPORT_VERDICT_LINES_MAX + 2);
    assert!(verdict.ends_with("things more, which weigh less") && data.left_out >= 10);
}
