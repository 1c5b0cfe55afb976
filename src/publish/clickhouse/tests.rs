//! Rows to the byte, and what refusals mean.

use std::collections::BTreeMap;

use super::answer::{Cause, Meaning};
use super::halves::{first_series, halves};
use super::kind::{Cell, Class, Type, write_varint};
use super::line::Text;
use super::table::FIELDS;
use super::*;
use crate::publish::Verdict;
use crate::publish::testing::{count, gauge, read_request, window};
use crate::publish::text::gunzip;
use crate::publish::{Batch, BatchId, Encode as _, Payload, Secret, Transport as _};
use crate::record::Record;

const WINDOWS: u8 = 1;

fn bytes(kind: &str, cell: Cell<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let kind = Type::parse(kind).unwrap();
    kind.write(cell, &mut out).then_some(out)
}

fn number(number: i128) -> Cell<'static> {
    Cell::Number(Some(number))
}

/// A description as the server gives it, of names and types.
fn described(columns: &[(&str, &str)]) -> String {
    let line = |(name, kind): &(&str, &str)| format!("{name}\t{kind}\t\t\t\t\t\n");
    columns.iter().map(line).collect()
}

fn parse(columns: &[(&str, &str)], renamed: &[(&str, &str)]) -> Result<Table, String> {
    let renamed = renamed
        .iter()
        .map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned()));
    Table::parse(
        &described(columns),
        0,
        &Columns::parse(renamed.collect()).unwrap(),
    )
}

fn rows(table: &Table, records: &[Record]) -> (u64, Vec<u8>) {
    let mut encoder = ClickHouseEncoder::default();
    for record in records {
        assert!(encoder.add(record));
    }
    let (mut payloads, mut rows) = (Vec::new(), Vec::new());
    encoder.take(&mut payloads);
    assert_eq!(payloads.len(), 1);
    assert_eq!(payloads[0].records, records.len() as u64);
    let left_out = table.write_rows(&payloads[0], 2_999_999_999, &mut rows);
    (left_out.expect("what was just written can be read"), rows)
}

#[test]
fn each_type_has_its_bytes() {
    let some = |kind: &str, cell| bytes(kind, cell).unwrap();
    assert_eq!(some("UInt64", number(258)), [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        some("Int64", number(-2)),
        [254, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(some("UInt32", number(258)), [2, 1, 0, 0]);
    assert_eq!(some("Int32", number(-1)), [255; 4]);
    assert_eq!(some("Float64", number(1)), [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    assert_eq!(some("Float32", number(1)), [0, 0, 0x80, 0x3f]);
    assert_eq!(some("DateTime", number(2_999_999_999)), [2, 0, 0, 0]);
    assert_eq!(
        some("DateTime64(3, 'UTC')", number(1_002_000_000)),
        [0xea, 3, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(some("DateTime64(9)", number(5)), [5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(some("LowCardinality(String)", Cell::Text("ab")), *b"\x02ab");
    assert_eq!(some("Nullable(UInt32)", Cell::Number(None)), [1]);
    assert_eq!(some("Nullable(UInt32)", number(3)), [0, 3, 0, 0, 0]);
    assert_eq!(some("UInt32", Cell::Number(None)), [0; 4]);
    let tags = ["a:b:c", "d"].map(|tag| Text(tag.into()));
    let tags = Cell::Tags(&tags);
    assert_eq!(
        some("Map(LowCardinality(String), String)", tags),
        *b"\x02\x01a\x03b:c\x01d\0"
    );
    assert_eq!(some("Array(String)", tags), *b"\x02\x05a:b:c\x01d");
    assert_eq!(
        some("Map(Int32, UInt8)", Cell::Buckets(&[(-1, 2)])),
        [1, 255, 255, 255, 255, 2]
    );
    assert_eq!(Type::parse("Enum8('a' = 1)"), None);
}

#[test]
fn what_does_not_fit_is_never_wrapped() {
    assert_eq!(bytes("UInt64", number(-1)), None);
    assert_eq!(bytes("Int64", number(u64::MAX.into())), None);
    assert_eq!(bytes("UInt32", number(1 << 32)), None);
    assert_eq!(bytes("DateTime", number(-1)), None);
    assert!(bytes("UInt64", number(u64::MAX.into())).is_some());
}

#[test]
fn a_column_is_filled_only_with_what_it_can_hold() {
    let can_hold = |kind: &str, class| Type::parse(kind).unwrap().can_hold(class);
    assert!(can_hold("Nullable(Int64)", Class::Number) && can_hold("Float32", Class::Number));
    assert!(!can_hold("String", Class::Number) && !can_hold("DateTime", Class::Number));
    assert!(can_hold("DateTime", Class::Time) && can_hold("UInt64", Class::Time));
    // Nanoseconds do not fit.
    assert!(!can_hold("UInt32", Class::Time) && !can_hold("Float64", Class::Time));
    assert!(can_hold("Array(LowCardinality(String))", Class::Tags));
    assert!(!can_hold("Map(String, Array(String))", Class::Tags));
    assert!(!can_hold("String", Class::Tags) && !can_hold("Map(String, UInt64)", Class::Buckets));
    assert!(can_hold("Map(Int64, UInt64)", Class::Buckets));
}

#[test]
fn lengths_are_varints() {
    for (number, expected) in [(127, &[127][..]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
        let mut out = Vec::new();
        write_varint(number, &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn the_old_layout_takes_numbers_and_leaves_out_negative_ones() {
    let columns = [
        ("MetricName", "String"),
        ("Timestamp", "UInt64"),
        ("MetricValue", "UInt64"),
        ("Labels", "Map(String, String)"),
    ];
    let description = described(&columns) + "InsertedAt\tDateTime\tDEFAULT\tnow()\n";
    let renamed = BTreeMap::from([("Tags".to_owned(), "Labels".to_owned())]);
    let renamed = Columns::parse(renamed).unwrap();
    let table = Table::parse(&description, 0, &renamed).unwrap();
    let names: Vec<&str> = table.names().collect();
    assert_eq!(names, ["MetricName", "Timestamp", "MetricValue", "Labels"]);
    let mut expected = b"\x0cclock.offset".to_vec();
    expected.extend_from_slice(&1_768_219_134_587_069_267_u64.to_le_bytes());
    expected.extend_from_slice(b"\x07\0\0\0\0\0\0\0\x01\x06source\x01a");
    assert_eq!(rows(&table, &[gauge(-5), gauge(7)]), (1, expected));
}

#[test]
fn a_row_without_a_default_for_its_time_gets_one() {
    let columns = [
        ("MetricName", "String"),
        ("Timestamp", "DateTime"),
        ("MetricValue", "Int8"),
        ("InsertedAt", "DateTime"),
    ];
    let table = parse(&columns, &[]).unwrap();
    let expected = b"\x0cclock.offset\xfe\xe1\x64\x69\x01\x02\0\0\0".to_vec();
    assert_eq!(rows(&table, &[gauge(1)]), (0, expected));
}

#[test]
fn a_table_that_cannot_be_used_says_why() {
    let right = [
        ("MetricName", "String"),
        ("Timestamp", "UInt64"),
        ("MetricValue", "Int64"),
    ];
    assert!(parse(&right, &[]).unwrap().odd.is_empty());
    let error = |columns: &[(&str, &str)], renamed| parse(columns, renamed).unwrap_err();
    assert_eq!(error(&right[..2], &[]), "has no column MetricValue");
    let renamed = [("MetricValue", "Value")];
    assert_eq!(
        error(&right, &renamed),
        "has no column Value for our MetricValue"
    );
    assert_eq!(
        error(&right, &[("Tags", "Labels")]),
        "has no column Labels for our Tags"
    );
    let narrow = [right[0], ("Timestamp", "UInt32"), right[2]];
    assert_eq!(
        error(&narrow, &[]),
        "has a column Timestamp that is UInt32, and not DateTime64(9), Int64 or UInt64"
    );
    let made = described(&right[..2]) + "MetricValue\tInt64\tMATERIALIZED\t1\n";
    let made = Table::parse(&made, 0, &Columns::default()).unwrap_err();
    assert!(made.contains("MetricValue that is MATERIALIZED"), "{made}");
    let odd = [right[0], right[1], right[2], ("Tags", "Enum8(\\'a\\' = 1)")];
    assert_eq!(
        parse(&odd, &[]).unwrap().odd,
        ["has a column Tags that is Enum8('a' = 1), and not Map(String, String) or Array(String)"]
    );
}

#[test]
fn a_window_brings_its_buckets() {
    let columns = [
        ("MetricName", "String"),
        ("EndedAt", "UInt64"),
        ("Buckets", "Map(Int64, UInt8)"),
    ];
    let table = Table::parse(&described(&columns), WINDOWS, &Columns::default()).unwrap();
    let (left_out, row) = rows(&table, &[window(&[-3, 5, 5, 4_097])]);
    assert_eq!(left_out, 0);
    let mut buckets = vec![3];
    // 4,097 shares its bucket with its neighbours, the greatest of which stands for it.
    for (value, count) in [(-3_i64, 1), (5, 2), (4_099, 1)] {
        buckets.extend_from_slice(&value.to_le_bytes());
        buckets.push(count);
    }
    assert!(row.ends_with(&buckets), "{row:?}");
}

#[test]
fn our_names_are_those_of_the_table_of_samples() {
    let mut fields: Vec<_> = FIELDS[0].iter().map(|field| field.name).collect();
    fields.sort_unstable();
    let mut columns = COLUMNS;
    columns.sort_unstable();
    assert_eq!(fields, columns);
}

#[test]
fn what_an_operator_can_mend_is_kept() {
    let verdict = |status, code| Meaning::of(status, code).verdict;
    for (status, code) in [
        (500, None),
        (429, None),
        (500, Some(252)),
        (404, Some(60)),
        (403, Some(497)),
    ] {
        assert_eq!(verdict(status, code), Verdict::Later, "{status} {code:?}");
    }
    for (status, code) in [
        (400, None),
        (401, None),
        (302, None),
        (403, Some(516)),
        (404, Some(81)),
    ] {
        assert_eq!(verdict(status, code), Verdict::Barred, "{status} {code:?}");
    }
    for (status, code) in [(400, Some(62)), (413, None), (500, Some(469))] {
        assert_eq!(verdict(status, code), Verdict::Never, "{status} {code:?}");
    }
    assert_eq!(Meaning::of(404, Some(60)).cause, Cause::Table);
    assert_eq!(Meaning::of(400, Some(27)).cause, Cause::Columns);
}

#[test]
fn the_statements_name_the_tables() {
    let one = schema::ddl("net`s", "metrics", None);
    for suffix in ["", "_windows", "_events", "_hourly", "_windows_hourly"] {
        let table = format!("CREATE TABLE IF NOT EXISTS `net\\`s`.`metrics{suffix}`\n");
        assert!(one.contains(&table), "{suffix}");
    }
    assert!(!one.contains("Replicated") && one.contains("non_replicated_deduplication_window"));
    let many = schema::ddl("default", "metrics", Some("c"));
    assert!(many.contains("ReplicatedAggregatingMergeTree"));
    assert!(many.contains("Distributed(`c`, `default`, `metrics_local`"));
    // A roll-up reads what was inserted on its own host.
    assert!(many.contains("FROM `default`.`metrics_windows_local`"));
    assert!(many.contains("TO `default`.`metrics_windows_hourly_local`"));
}

#[test]
fn the_printed_tables_have_all_our_columns() {
    for (kind, fields) in (0..).zip(FIELDS) {
        let types = fields.iter().map(|field| {
            let kind = field.definition.split(" CODEC").next().unwrap_or_default();
            (
                field.name,
                kind.split(" DEFAULT").next().unwrap_or_default(),
            )
        });
        let described = described(&types.collect::<Vec<_>>());
        let table = Table::parse(&described, kind, &Columns::default()).expect("our table");
        assert!(table.odd.is_empty(), "{table:?}");
        assert_eq!(table.names().count(), fields.len());
    }
}

/// Answers each request as this says, and tells the URL of each.
fn server(
    mut answer: impl FnMut(&str) -> (&'static str, String) + Send + 'static,
) -> (ClickHouseTransport, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, urls) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let (head, _) = read_request(&mut reader).unwrap();
            let (status, body) = answer(&head);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            // Whoever has the answer may count the requests at once.
            if sender.send(head).is_err() {
                return;
            }
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    let host = crate::proto::Host::Name("localhost".into());
    let settings = ClickHouseSettings {
        server: crate::publish::BaseUrl::of_host(false, &host, port).unwrap(),
        ..ClickHouseSettings::default()
    };
    (ClickHouseTransport::new("clickhouse", settings), urls)
}

fn batch() -> Batch {
    let mut encoder = ClickHouseEncoder::default();
    encoder.add(&gauge(1));
    let mut payloads = Vec::new();
    encoder.take(&mut payloads);
    let payload = payloads.pop().unwrap();
    Batch {
        id: BatchId(7),
        payload,
    }
}

fn table_of_samples() -> String {
    described(&[
        ("MetricName", "String"),
        ("Timestamp", "UInt64"),
        ("MetricValue", "Int64"),
    ])
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn a_setting_that_the_server_does_not_take_is_done_without() {
    let view = "deduplicate_blocks_in_dependent_materialized_views";
    let refusals = [
        format!(
            "Code: 115. DB::Exception: Unknown setting '{view}': Maybe you meant ['insert_deduplication_token', \
             'async_insert_deduplicate']. (UNKNOWN_SETTING)"
        ),
        format!(
            "Code: 115, e.displayText() = DB::Exception: Unknown setting {view} (version 20.3)"
        ),
        format!(
            "Code: 164. DB::Exception: Cannot modify '{view}' setting in readonly mode. (READONLY)"
        ),
        format!("Code: 452. DB::Exception: Setting {view} should not be changed."),
    ];
    for refusal in refusals {
        let (mut transport, urls) = server(move |head| match head {
            _ if head.contains("DESCRIBE") => ("200 OK", table_of_samples()),
            _ if head.contains(view) => ("404 Refused", refusal.clone()),
            _ => ("200 OK", String::new()),
        });
        for _ in 0..2 {
            transport.send(&batch(), PATIENCE).unwrap();
            assert_eq!(transport.left_out(), 0);
        }
        let inserts: Vec<String> = urls
            .try_iter()
            .filter(|head| head.contains("INSERT"))
            .collect();
        assert_eq!(
            inserts.len(),
            3,
            "the second batch goes at once: {inserts:?}"
        );
        assert!(inserts[2].contains("insert_deduplication_token") && !inserts[2].contains(view));
    }
}

#[test]
fn an_unknown_setting_without_a_name_is_all_of_ours_and_then_waits() {
    let refusal = || "Code: 115. DB::Exception: Unknown setting (UNKNOWN_SETTING)".to_owned();
    let (mut transport, urls) = server(move |head| match head {
        _ if head.contains("DESCRIBE") => ("200 OK", table_of_samples()),
        _ if head.contains("async_insert") => ("400 Bad Request", refusal()),
        _ => ("200 OK", String::new()),
    });
    transport.send(&batch(), PATIENCE).unwrap();
    assert_eq!(urls.try_iter().count(), 3);
    // One that goes on is not ours: the batch is kept until it is mended.
    let (mut transport, _urls) = server(move |head| match head {
        _ if head.contains("DESCRIBE") => ("200 OK", table_of_samples()),
        _ => ("400 Bad Request", refusal()),
    });
    let error = transport.send(&batch(), PATIENCE).unwrap_err();
    assert_eq!(error.verdict, Verdict::Later);
}

#[test]
fn a_password_is_read_again_from_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old\n").unwrap();
    let (mut transport, _urls) =
        server(
            |head| match head.to_lowercase().contains("x-clickhouse-key: new") {
                true if head.contains("DESCRIBE") => ("200 OK", table_of_samples()),
                true => ("200 OK", String::new()),
                false => ("403 Forbidden", "Code: 516. DB::Exception: no".to_owned()),
            },
        );
    transport.settings.password = Secret::parse("old").unwrap().of_file(file.path());
    let error = transport.send(&batch(), PATIENCE).unwrap_err();
    assert_eq!(error.verdict, Verdict::Barred);
    assert_eq!(transport.renew(), Some(false), "it is as it was");
    // Half of a rotation: the last one that was there stays.
    for content in ["", "\n", "\u{1}"] {
        std::fs::write(file.path(), content).unwrap();
        assert_eq!(transport.renew(), Some(false), "{content:?}");
    }
    std::fs::write(file.path(), "new\r\n").unwrap();
    transport.send(&batch(), PATIENCE).unwrap();
    std::fs::remove_file(file.path()).unwrap();
    transport.send(&batch(), PATIENCE).unwrap();
}

fn payload(records: &[Record]) -> Payload {
    let mut encoder = ClickHouseEncoder::default();
    for record in records {
        encoder.add(record);
    }
    let mut payloads = Vec::new();
    encoder.take(&mut payloads);
    payloads.pop().unwrap()
}

fn lines(payload: &Payload) -> Vec<String> {
    let text = gunzip(&payload.body, 1_000_000).unwrap();
    assert_eq!(payload.records, text.lines().count() as u64);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_payload_is_divided_between_series_and_a_series_by_its_rows() {
    // Three series, one after the other again and again, as samples come.
    let records: Vec<Record> = (0..10)
        .flat_map(|value: i64| {
            let sent = count("udp.wan.sent", value.unsigned_abs());
            [gauge(value), sent, count("udp.wan.lost", 0)]
        })
        .collect();
    let whole = payload(&records);
    let [front, back] = halves(&whole).unwrap();
    let (one, other) = (lines(&front), lines(&back));
    assert_eq!((one.len(), other.len()), (10, 20));
    assert!(one.iter().all(|line| line.contains("clock.offset")));
    let [lost, sent] = halves(&back).unwrap();
    assert_eq!(
        first_series(&lost),
        "udp.wan.lost of source:a,target:b,isp:local"
    );
    assert!(
        lines(&sent)
            .iter()
            .all(|line| line.contains("udp.wan.sent"))
    );
    let mut all = [lines(&front), lines(&lost), lines(&sent)].concat();
    let mut before = lines(&whole);
    all.sort();
    before.sort();
    assert_eq!(all, before);
    let [first, second] = halves(&sent).unwrap();
    assert_eq!((first.records, second.records), (5, 5));
    assert_eq!(halves(&payload(&records[..1])), None);
}
