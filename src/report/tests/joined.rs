//! Several files: of one host in each mode, and of both ends of a link.

use super::*;

/// Counts are the same however the daemon was told to publish: as samples, as windows or as both.
#[test]
fn each_mode_gives_the_same_counts() {
    const SECONDS: i64 = 20;
    let one = |at_ms: i64| sample(at_ms * 1_000_000, 1_000);
    let mut files = [(); 3].map(|()| String::new());
    for second in 0..SECONDS {
        let from = second * 1_000;
        // The last sample comes at the very end of its window, and the next window begins there.
        let samples: String = (1..=50).map(|n| one(from + n * 20)).collect();
        let window = window(from, from + 1_000, 50);
        let count = format!(
            "{{\"metric\": \"udp.wan.lost\", \"points\": [[{}, 2]], \"tags\": [\"source:a\"]}}\n",
            from * 1_000_000
        );
        files[0] += &(samples.clone() + &count);
        files[1] += &(window.clone() + &count);
        files[2] += &(samples + &window + &count);
    }
    let [samples, windows, both] = files.map(|file| data_of(&file).unwrap());
    for data in [samples, windows, both] {
        assert_eq!(count_of(&data), 50 * SECONDS.unsigned_abs());
        let series = data.series.first().unwrap();
        assert_eq!(
            [0.0, 0.5, 1.0].map(|part| series.delays.quantile(part)),
            [1_000; 3]
        );
        let cells = series
            .heat
            .cells
            .iter()
            .flatten()
            .map(|cell| u64::from(*cell));
        assert_eq!(cells.sum::<u64>(), 50 * SECONDS.unsigned_abs());
        assert_eq!(
            data.counts.values().map(|count| count.sum).sum::<i64>(),
            2 * SECONDS
        );
        assert!(text::page(&data).contains("udp probes were lost"));
    }
}

fn metric(name: &str, at_ms: i64, value: i64, tags: &str) -> String {
    format!(
        "{{\"metric\": \"{name}\", \"points\": [[{}, {value}]], \"tags\": [{tags}], \"stamp\": \"kernel\", \"seq\": 1}}\n",
        at_ms * 1_000_000
    )
}

fn ends() -> Data {
    let (there, back) = ("\"source:a\", \"target:b\"", "\"source:b\", \"target:a\"");
    let mut near = metric("monitor.lateness", 1_000, 70, "\"source:a\"");
    for at in 1_000..1_100 {
        near += &metric("udp.wan.rtt", at, 900_000, there);
        near += &metric("udp.wan.owd", at, 400_000, back);
        near += &metric(
            "udp.wan.pdv",
            at,
            1_000,
            &format!("{there}, \"direction:forward\""),
        );
    }
    // This end was started a minute later.
    let mut far = String::new();
    for at in 61_000..61_100 {
        far += &metric("udp.wan.owd", at, 500_000, there);
    }
    far += &metric("monitor.lateness", 61_000, 80, "\"source:b\"");
    let mut data = Data::default();
    for (name, file) in [("near.jsonl", near), ("far.jsonl", far)] {
        read(Path::new(name), Cursor::new(file), &mut data).unwrap();
    }
    data
}

#[test]
fn both_ends_of_a_link_stand_beside_each_other_on_one_axis() {
    let data = ends();
    assert_eq!(data.hosts, ["a", "b"]);
    let seen: Vec<_> = data
        .ordered()
        .iter()
        .map(|series| {
            let place = &series.place;
            let way = place
                .direction
                .clone()
                .map_or(String::new(), |way| way.join(">"));
            format!("{} {way} {}", place.metric, data.host(place.host))
        })
        .collect();
    let want = [
        "udp.wan.rtt  a",
        "udp.wan.owd a>b b",
        "udp.wan.pdv a>b a",
        "udp.wan.owd b>a a",
        "monitor.lateness  a",
        "monitor.lateness  b",
    ];
    assert_eq!(seen, want);
    insta::assert_snapshot!(text::page(&data));
    let page = html::page(&data);
    // All heatmaps have the same axis, so what happened at once stands one above the other.
    let axes: Vec<_> = page
        .split("data-kind=\"heat\"")
        .skip(1)
        .map(|rest| {
            rest.split("data-origin=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(axes, ["1000"; 6]);
    assert!(page.contains("seen by b") && page.contains("<small><bdi>a to b</bdi></small>"));
}

/// A host whose lines do not name it is called by its file, and two parts of one host's output are one host's.
#[test]
fn a_host_is_told_by_what_it_says_of_itself_or_by_its_file() {
    let own = metric("monitor.lateness", 5, 70, "\"source:a\"");
    let others = metric("udp.wan.owd", 5, 70, "\"source:a\", \"target:b\"");
    let mut data = Data::default();
    for (name, file) in [("1", &own), ("2", &own), ("dir/owd.jsonl", &others)] {
        read(Path::new(name), Cursor::new(file), &mut data).unwrap();
    }
    assert_eq!(data.hosts, ["a", "owd.jsonl"]);
}
