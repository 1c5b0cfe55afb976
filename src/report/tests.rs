//! Reports of dumps and samples that are written here.

use std::fmt::Write as _;
use std::io::Cursor;

use super::series::{Delays, HEAT_COLUMNS};
use super::*;
use crate::limits::REPORT_LINE_BYTES_MAX;
use crate::report::html::escaped;
use crate::report::words::duration;

#[path = "tests/joined.rs"]
mod joined;
#[path = "tests/script.rs"]
mod script;
#[path = "tests/told.rs"]
mod told;
#[path = "tests/zst.rs"]
mod zst;

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
         \"probes\":40,\"lost\":3,\"tags\":[],\"incident\":1,\"suspect\":\"network\"}}}}\n",
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
    for outside in ["http:", "https:", "src=", "href=", "url("] {
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
    let series = data.series.first().unwrap();
    assert_eq!(series.delays.count(), 14);
    assert_eq!((series.delays.least, series.delays.most), (-1_000, 1_000));
    let quantiles = [0.0, 0.5, 0.51, 1.0].map(|part| series.delays.quantile(part));
    assert_eq!(quantiles, [-1_000, -1_000, 1_000, 1_000]);
}

/// The one line that says what could not be read; the report shows it.
fn unread(data: &Data) -> &str {
    let [unread] = &data.unread[..] else {
        panic!("{:?}", data.unread);
    };
    assert!(text::page(data).contains(&**unread));
    assert!(html::page(data).contains(&escaped(unread)));
    unread
}

fn read_bytes(bytes: &[u8]) -> Data {
    let mut data = Data::default();
    read(Path::new("a file"), Cursor::new(bytes), &mut data).unwrap();
    data
}

fn count_of(data: &Data) -> u64 {
    data.series.iter().map(|series| series.delays.count()).sum()
}

#[test]
fn what_cannot_be_read_is_left_out_and_told_with_its_file_and_line() {
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
        for end in ["\n", ""] {
            let lines = format!("{}\n{line}\n{}{line}{end}", sample(1, 1), sample(2, 3));
            let data = data_of(&lines).unwrap();
            let told = unread(&data);
            let begin = "a file: 2 lines are left out, from line 3 on: ";
            assert!(told.starts_with(begin) && told.contains(words), "{told}");
            assert_eq!(count_of(&data), 2, "the lines around it");
        }
    }
}

#[test]
fn a_file_that_was_cut_shows_what_is_there() {
    let dump = dump();
    let cut = &dump[..dump.len() - 40];
    let data = data_of(cut).unwrap();
    assert_eq!(data.flows[0].probes.len(), 199);
    let told = unread(&data);
    assert!(
        told.starts_with("a file, line 201: cut off, and not a line"),
        "{told}"
    );
    assert!(
        told.ends_with("; it is left out: the last dump lacks 1 of its probes"),
        "{told}"
    );
    // Between two lines nothing shows but what the header says.
    let lines: String = dump.split_inclusive('\n').take(150).collect();
    let data = data_of(&lines).unwrap();
    assert_eq!(data.flows[0].probes.len(), 149);
    assert_eq!(
        unread(&data),
        "a file: the last dump lacks 51 of its probes"
    );
    // Samples end in the middle of one, or without the end of the last line.
    let samples = sample(1, 1) + &sample(2, 2);
    let data = data_of(&samples[..samples.len() - 5]).unwrap();
    assert_eq!(count_of(&data), 1);
    assert!(unread(&data).starts_with("a file, line 2: cut off, and"));
    let data = data_of(samples.trim_end()).unwrap();
    assert_eq!((count_of(&data), data.unread.len()), (2, 0), "a whole line");
}

#[test]
fn a_line_that_is_no_text_or_too_long_is_one_line() {
    let longest = usize::try_from(REPORT_LINE_BYTES_MAX).unwrap();
    let binary: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    for (middle, words) in [
        (binary, "not a line"),
        (vec![0; 4_096], "not a line"),
        (vec![b'x'; longest + 1], "longer than"),
        (vec![b' '; 3 * longest], "longer than"),
    ] {
        let mut bytes = sample(1, 1).into_bytes();
        bytes.extend(middle);
        bytes.extend(format!("\n{}", sample(2, 2)).bytes());
        let data = read_bytes(&bytes);
        assert_eq!(count_of(&data), 2);
        let told = unread(&data);
        assert!(
            told.starts_with("a file, line 2: ") && told.contains(words),
            "{told}"
        );
    }
    // One that is as long as it may be is read.
    let padded = format!(
        "{}{}\n",
        " ".repeat(longest - sample(1, 1).len()),
        sample(1, 1).trim_end()
    );
    let data = read_bytes(padded.as_bytes());
    assert_eq!((count_of(&data), data.unread.len()), (1, 0));
}

#[test]
fn an_empty_file_is_told_beside_others() {
    let mut data = data_of(&sample(1, 1)).unwrap();
    read(Path::new("b file"), Cursor::new(""), &mut data).unwrap();
    assert_eq!(unread(&data), "b file: it is empty");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_that_gzip_has_written_is_read_as_any() {
    let plain = text::page(&data_of(&dump()).unwrap());
    assert_eq!(text::page(&read_bytes(&gzip(&dump()))), plain);
    // As `cat a.gz b.gz` makes it, also if a line goes over from one to the other.
    let text = dump();
    let (one, two) = text.split_at(text.len() / 3);
    let both = [gzip(one), gzip(""), gzip(two)].concat();
    assert_eq!(text::page(&read_bytes(&both)), plain);
    let data = read_bytes(&gzip(""));
    assert_eq!(data.unread, ["a file: it is empty"]);
}

#[test]
fn a_file_of_gzip_that_was_cut_or_damaged_shows_what_is_there() {
    let lines: String = (1..=20_000)
        .map(|n| sample(n * 1_000_000, n * 37 % 9_973))
        .collect();
    let whole = gzip(&lines);
    let cut = read_bytes(&whole[..whole.len() / 2]);
    assert!(
        (1_000..19_999).contains(&count_of(&cut)),
        "{}",
        count_of(&cut)
    );
    let told = unread(&cut);
    assert!(told.contains("it cannot be read to its end: "), "{told}");
    // Behind a whole part stands something else, or the beginning of another part.
    for rest in [&b"rubbish"[..], &whole[..100], &[0; 512]] {
        let bytes = [&whole, rest].concat();
        let data = read_bytes(&bytes);
        assert_eq!(count_of(&data), 20_000);
        assert!(
            unread(&data).contains("it cannot be read to its end"),
            "{rest:?}"
        );
    }
    // A byte in the middle is another one: the checksum or the codes do not fit.
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let data = read_bytes(&damaged);
    assert!(count_of(&data) <= 20_000 && !data.unread.is_empty());
}

/// A window of so many values of 1 us from one millisecond to another.
fn window(from_ms: i64, to_ms: i64, values: u64) -> String {
    let mut histogram =
        hdrhistogram::Histogram::<u32>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    histogram
        .record_n(1_000, u32::try_from(values).unwrap())
        .unwrap();
    let mut bytes = Vec::new();
    let mut serializer = hdrhistogram::serialization::V2DeflateSerializer::new();
    hdrhistogram::serialization::Serializer::serialize(&mut serializer, &histogram, &mut bytes)
        .unwrap();
    let hdr = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let (start, end) = (from_ms * 1_000_000, to_ms * 1_000_000);
    format!(
        "{{\"metric\": \"udp.wan.rtt\", \"tags\": [\"source:a\"], \"start\": {start}, \"end\": {end}, \
         \"stamp\": \"kernel\", \"hdr\": \"{hdr}\"}}\n"
    )
}

/// Samples of 1 us, one in each tenth of a second.
fn samples(from_ms: i64, to_ms: i64) -> String {
    let times = (from_ms + 50..to_ms).step_by(100);
    times.map(|ms| sample(ms * 1_000_000, 1_000)).collect()
}

#[test]
fn with_samples_and_windows_each_value_counts_once() {
    let second = |n: i64| samples(n * 1_000, (n + 1) * 1_000);
    let window_of = |n: i64| window(n * 1_000, (n + 1) * 1_000, 10);
    let both = |n: i64| second(n) + &window_of(n);
    let cases = [
        ("both", (0..10).map(both).collect(), 100),
        ("windows alone", (0..10).map(window_of).collect(), 100),
        ("samples alone", (0..10).map(second).collect(), 100),
        // Two files, in either order.
        (
            "windows first",
            (0..10).map(window_of).chain((0..10).map(second)).collect(),
            100,
        ),
        (
            "samples first",
            (0..10).map(second).chain((0..10).map(window_of)).collect(),
            100,
        ),
        // The mode was changed in between.
        (
            "one, then the other",
            (0..5).map(window_of).chain((5..10).map(second)).collect(),
            100,
        ),
        // The ring had no room for samples for four seconds: the windows have them.
        (
            "no samples for a while",
            (0..10)
                .map(|n| {
                    if (3..7).contains(&n) {
                        window_of(n)
                    } else {
                        both(n)
                    }
                })
                .collect(),
            100,
        ),
        // The samples of a slow flow are far apart.
        (
            "a slow flow",
            (0..10_i64)
                .map(|n| {
                    samples(n * 60_000, n * 60_000 + 100)
                        + &window(n * 60_000, n * 60_000 + 60_000, 1)
                })
                .collect(),
            10,
        ),
    ] as [(&str, String, u64); 8];
    for (name, lines, values) in cases {
        let data = data_of(&lines).unwrap();
        assert_eq!(count_of(&data), values, "{name}");
        let series = data.series.first().unwrap();
        let cells = series
            .heat
            .cells
            .iter()
            .flatten()
            .map(|cell| u64::from(*cell));
        assert_eq!(cells.sum::<u64>(), values, "{name}");
    }
}

/// Windows whose values are all below 0, or all beyond what a histogram holds, and one from a clock that was set back.
#[test]
fn windows_of_any_kind_are_read() {
    let negative = window(0, 1_000, 7).replace("\"hdr\"", "\"hdr_negative\"");
    let data = data_of(&negative).unwrap();
    let series = data.series.first().unwrap();
    assert_eq!((series.delays.count(), series.delays.most), (7, -1_000));
    let empty =
        "{\"metric\": \"udp.wan.rtt\", \"tags\": [], \"start\": 0, \"end\": 5, \"hdr\": \"\"}\n";
    let data = data_of(&format!("{}{empty}{}", sample(1, 1), window(0, 1, 0))).unwrap();
    assert_eq!((data.series.len(), data.unread.len()), (1, 0));
    let backwards = window(3_600_000, 1_000, 5) + &window(1_000, 2_000, 5);
    assert_eq!(count_of(&data_of(&backwards).unwrap()), 10);
}

/// A series of samples that are all far apart has a bounded number of spans, and no sample is lost.
#[test]
fn spans_are_bounded() {
    let count = 2 * i64::try_from(crate::limits::REPORT_SPANS_MAX).unwrap();
    let lines: String = (0..count)
        .map(|n| sample(n * 10_000_000_000, 1_000))
        .collect();
    let data = data_of(&lines).unwrap();
    assert_eq!(count_of(&data), count.cast_unsigned());
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
    let heat = &data.series.first().unwrap().heat;
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
        past: Past::default(),
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
    let told = empty.to_string();
    assert!(told.starts_with("there is nothing to report"), "{told}");
    // What was wrong with it is told then too.
    fs::write(folder.path().join("other"), "no line of ours\n").unwrap();
    let other = request(vec![folder.path().join("other")])
        .run()
        .unwrap_err();
    let told = other.to_string();
    assert!(
        told.contains("other, line 1: not a line of a dump"),
        "{told}"
    );
    // A folder is none.
    let folder = request(vec![folder.path().to_owned()]).run().unwrap_err();
    assert!(matches!(folder, ReportError::Read { .. }), "{folder}");
}
