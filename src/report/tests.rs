//! Reports of dumps and samples that are written here.

use std::fmt::Write as _;
use std::io::Cursor;

use super::data::{Delays, HEAT_COLUMNS};
use super::*;
use crate::report::html::escaped;
use crate::report::text::duration;

fn data_of(text: &str) -> Result<Data, ReportError> {
    let mut data = Data::default();
    read(Path::new("a file"), Cursor::new(text), &mut data).map(|()| data)
}

/// A burst of 40 ms in the way there, of 200 probes at 1 ms; three lost there and one on the way back.
fn dump() -> String {
    let start = 1_768_219_134_587_000_000_i64;
    let mut text = format!(
        "{{\"dump\":\"burst\",\"version\":1,\"program\":\"p\",\"host\":\"me\",\"flow\":\"udp\",\"tags\":[\"target:<b>\"],\
         \"unit\":\"ns\",\"from\":0,\"to\":0,\"complete\":true,\"probes\":200,\"clock\":{{\"offset\":-1500000,\"skew\":3,\
         \"error\":12000}},\"own_clock\":{{\"synchronised\":true,\"error\":1}},\"event\":{{\"event\":\"burst\",\
         \"direction\":\"forward\",\"start\":{},\"duration\":40000000,\"peak\":2000000,\"mean\":900000,\"base\":50000,\
         \"probes\":40,\"lost\":3,\"tags\":[],\"incident\":1}}}}\n",
        start + 80_000_000
    );
    for seq in 0..200_i64 {
        let at = start + seq * 1_000_000;
        let lost = match seq {
            98..=100 => Some("forward"),
            150 => Some("reverse"),
            _ => None,
        };
        if let Some(way) = lost {
            writeln!(text,
                "{{\"seq\":{seq},\"outcome\":\"lost\",\"lost_on\":\"{way}\",\"t1\":{at},\"s1\":\"kernel\"}}"
            ).unwrap();
        } else {
            let queue = if (80..120).contains(&seq) {
                (20 - (seq - 100).abs()) * 100_000
            } else {
                0
            };
            let (forward, reverse) = (
                -1_450_000 + queue + seq % 7 * 1_000,
                1_550_000 + seq % 5 * 1_000,
            );
            writeln!(text,
                "{{\"seq\":{seq},\"outcome\":\"received\",\"lost_on\":null,\"t1\":{at},\"forward\":{forward},\
                 \"reverse\":{reverse},\"rtt\":{},\"s1\":\"kernel\",\"s4\":\"user\"}}",
                forward + reverse
            ).unwrap();
        }
    }
    text
}

fn sample(at: i64, value: i64) -> String {
    format!(
        "{{\"metric\": \"udp.wan.rtt\", \"points\": [[{at}, {value}]], \"tags\": [\"source:a\"], \"stamp\": \"kernel\", \"seq\": 1}}\n"
    )
}

#[test]
fn a_dump_as_text() {
    insta::assert_snapshot!(text::page(&data_of(&dump()).unwrap()));
}

#[test]
fn samples_and_what_is_told_among_them_as_text() {
    let mut lines: String = (1..=1_000)
        .map(|n| sample(n * 1_000_000, n * 1_000))
        .collect();
    lines += "{\"metric\": \"udp.wan.lost\", \"points\": [[5, 2]], \"tags\": [\"source:a\"]}\n";
    lines += "{\"metric\": \"udp.wan.lost\", \"points\": [[6, 3]], \"tags\": [\"source:a\"]}\n";
    lines += "{\"metric\": \"monitor.cpu\", \"points\": [[6, 3]], \"tags\": [\"source:a\"]}\n";
    lines += "{\"event\": \"burst\", \"flow\": \"udp\", \"direction\": \"forward\", \"start\": 7, \"duration\": 4000, \
              \"peak\": 900, \"lost\": 1, \"tags\": [\"target:\\u001b[2J\"]}\n";
    insta::assert_snapshot!(text::page(&data_of(&lines).unwrap()));
}

#[test]
fn an_outage_is_told_as_one() {
    let outage = dump().replace("\"event\":\"burst\"", "\"event\":\"outage\"");
    let data = data_of(&outage).unwrap();
    let text = text::page(&data);
    assert!(text.contains("outage forward, 40.0 ms long: 3 of 40 probes lost"));
    let page = html::page(&data);
    assert!(page.contains("<h2>Outage on UDP</h2>") && page.contains("ms since the outage began"));
    let among = sample(1_000_000, 1_000)
        + "{\"event\": \"outage\", \"flow\": \"udp\", \"direction\": null, \"start\": 7, \"lost\": 3}\n";
    let text = text::page(&data_of(&among).unwrap());
    assert!(
        text.contains("outage: udp in an unknown direction"),
        "{text}"
    );
}

#[test]
fn a_page_shows_each_loss_and_the_burst_and_asks_for_nothing() {
    let page = html::page(&data_of(&dump()).unwrap());
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<title>lost forward: probe ").count(), 3);
    assert_eq!(page.matches("<title>lost reverse: probe ").count(), 1);
    assert!(
        page.contains("\nburst\n</text>"),
        "the shaded part is in the legend"
    );
    assert!(page.contains("target:&lt;b&gt;") && !page.contains("<b>"));
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=", "href=", "url(", "<script"] {
        assert!(!without_namespace.contains(outside), "{outside}");
    }
}

#[test]
fn names_from_the_network_stay_text() {
    let hostile = "<script>alert('1')</script>\"&\u{1b}";
    assert_eq!(
        escaped(hostile),
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}"
    );
}

#[test]
fn windows_of_the_encoder_are_read_with_their_signs() {
    let window = "{\"metric\": \"udp.wan.owd\", \"tags\": [\"source:a\"], \"start\": 0, \"end\": 10, \"stamp\": \"kernel\", \
                  \"hdr\": \"HDR\", \"hdr_negative\": \"HDR\"}";
    let mut histogram =
        hdrhistogram::Histogram::<u32>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    histogram.record_n(1_000, 7).unwrap();
    let mut bytes = Vec::new();
    let mut serializer = hdrhistogram::serialization::V2DeflateSerializer::new();
    hdrhistogram::serialization::Serializer::serialize(&mut serializer, &histogram, &mut bytes)
        .unwrap();
    let hdr = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let data = data_of(&window.replace("HDR", &hdr)).unwrap();
    let series = data.series.values().next().unwrap();
    assert_eq!(series.delays.count(), 14);
    assert_eq!((series.delays.least, series.delays.most), (-1_000, 1_000));
    let quantiles = [0.0, 0.5, 0.51, 1.0].map(|part| series.delays.quantile(part));
    assert_eq!(quantiles, [-1_000, -1_000, 1_000, 1_000]);
}

#[test]
fn a_mistake_is_told_with_its_file_and_line() {
    let mistakes = [
        ("{", "not a line"),
        ("{\"a\": 1}", "neither"),
        ("{\"outcome\": \"lost\", \"t1\": 5}", "whose"),
        ("{\"dump\": \"burst\", \"version\": 2}", "version 2"),
        ("{\"metric\": \"m\", \"points\": []}", "without a point"),
        (
            "{\"metric\": \"m\", \"points\": [[-1, 2]], \"seq\": 1}",
            "before 1970",
        ),
        ("{\"metric\": \"m\", \"hdr\": \"*\"}", "base64"),
        ("{\"metric\": \"m\", \"hdr\": \"AAAA\"}", "not a histogram"),
    ];
    for (line, words) in mistakes {
        let error = data_of(&format!("{}\n{line}\n", sample(1, 1)))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a file, line 3: "), "{error}");
        assert!(error.contains(words), "{error}");
    }
    let long = " ".repeat(usize::try_from(REPORT_LINE_BYTES_MAX).unwrap() + 1);
    assert!(
        data_of(&long)
            .unwrap_err()
            .to_string()
            .contains("longer than")
    );
}

#[test]
fn extremes_make_a_report_too() {
    let mut lines = sample(i64::MAX, i64::MAX) + &sample(0, i64::MIN) + &sample(5, 0);
    lines += "{\"dump\": \"snapshot\", \"version\": 1, \"event\": {\"start\": -9223372036854775808, \"duration\": 9223372036854775807}}\n";
    for (at, delay) in [(0, i64::MIN), (i64::MAX, i64::MAX)] {
        writeln!(
            lines,
            "{{\"outcome\": \"received\", \"t1\": {at}, \"forward\": {delay}, \"rtt\": {delay}}}"
        )
        .unwrap();
    }
    let data = data_of(&lines).unwrap();
    assert_eq!(html::page(&data).matches("<svg").count(), 3);
    assert!(text::page(&data).contains("udp.wan.rtt"));
}

#[test]
fn columns_get_wider_and_lose_no_delay() {
    let lines: String = (0..10_000).map(|n| sample(n * 1_000_000, 1_000)).collect();
    let data = data_of(&lines).unwrap();
    let heat = &data.series.values().next().unwrap().heat;
    assert_eq!(heat.cells.len(), HEAT_COLUMNS);
    assert_eq!(heat.column_ns, 64_000_000);
    assert_eq!(heat.cells.iter().flatten().sum::<u32>(), 10_000);
}

#[test]
fn quantiles_are_within_a_thousandth() {
    let mut delays = Delays::default();
    (-500..500).for_each(|ns| delays.add(ns * 1_000, 1));
    for (part, want) in [
        (0.001, -500_000),
        (0.25, -251_000),
        (0.75, 249_000),
        (1.0, 499_000),
    ] {
        let got = delays.quantile(part);
        assert!(
            i64::abs(got - want) <= want.abs() / 1_000 + 1,
            "{part}: {got}, not {want}"
        );
    }
}

#[test]
fn durations_have_three_digits() {
    let texts = [
        0,
        -7,
        999,
        1_500,
        12_345,
        999_999,
        20_000_000,
        -3_600_000_000_000,
    ]
    .map(duration);
    let want = [
        "0 ns", "-7 ns", "999 ns", "1.50 µs", "12.3 µs", "1000 µs", "20.0 ms", "-3600 s",
    ];
    assert_eq!(texts, want);
}

#[test]
fn a_page_goes_beside_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl");
    fs::write(&file, dump()).unwrap();
    let request = |files| Request {
        files,
        output: None,
        format: Format::Html,
    };
    request(vec![file]).run().unwrap();
    let page = fs::read_to_string(folder.path().join("a.jsonl.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    let missing = request(vec![folder.path().join("b")]).run().unwrap_err();
    assert!(matches!(missing, ReportError::Read { .. }));
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let empty = request(vec![folder.path().join("empty")])
        .run()
        .unwrap_err();
    assert!(matches!(empty, ReportError::Empty));
}
