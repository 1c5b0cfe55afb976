//! Rows to the byte, and what refusals mean.

use std::collections::BTreeMap;

use serde_json::json;

use super::http::refusal;
use super::row::{Type, write_varint};
use super::*;
use crate::publish::testing::gauge;

fn bytes(kind: &str, value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let kind = Type::parse(kind).unwrap();
    kind.write(value, &mut out).then_some(out)
}

#[test]
fn each_type_has_its_bytes() {
    let some = |kind: &str, value: Value| bytes(kind, &value).unwrap();
    assert_eq!(some("UInt64", json!(258)), [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        some("Int64", json!(-2)),
        [254, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(some("UInt32", json!(258)), [2, 1, 0, 0]);
    assert_eq!(some("Int32", json!(-1)), [255; 4]);
    assert_eq!(some("Float64", json!(1)), [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    assert_eq!(some("DateTime", json!(2_999_999_999_u64)), [2, 0, 0, 0]);
    assert_eq!(
        some("DateTime64(3, 'UTC')", json!(1_002_000_000)),
        [0xea, 3, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(some("DateTime64(9)", json!(5)), [5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(some("LowCardinality(String)", json!("ab")), *b"\x02ab");
    assert_eq!(some("Nullable(UInt32)", Value::Null), [1]);
    assert_eq!(some("Nullable(UInt32)", json!(3)), [0, 3, 0, 0, 0]);
    let tags = json!(["a:b:c", "d"]);
    assert_eq!(
        some("Map(LowCardinality(String), String)", tags.clone()),
        *b"\x02\x01a\x03b:c\x01d\0"
    );
    assert_eq!(some("Array(String)", tags), *b"\x02\x05a:b:c\x01d");
    assert_eq!(Type::parse("Enum8('a' = 1)"), None);
}

#[test]
fn what_does_not_fit_is_never_wrapped() {
    assert_eq!(bytes("UInt64", &json!(-1)), None);
    assert_eq!(bytes("Int64", &json!(u64::MAX)), None);
    assert_eq!(bytes("UInt32", &json!(1_u64 << 32)), None);
    assert!(bytes("UInt64", &json!(u64::MAX)).is_some());
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
    let description = "MetricName\tString\t\nTimestamp\tUInt64\t\nMetricValue\tUInt64\t\n\
                       Labels\tMap(String, String)\t\nInsertedAt\tDateTime\tDEFAULT\tnow()\n";
    let renamed = BTreeMap::from([("Tags".to_owned(), "Labels".to_owned())]);
    let columns = parse_columns(description, 0, &renamed);
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["MetricName", "Timestamp", "MetricValue", "Labels"]);
    let mut encoder = ClickHouseEncoder::new();
    for value in [-5, 7] {
        assert!(encoder.add(&gauge(value)));
    }
    let mut payloads = Vec::new();
    encoder.take(&mut payloads);
    let mut rows = Vec::new();
    assert_eq!(rows_of(&payloads[0], &columns, &mut rows), Ok(1));
    let mut expected = b"\x0cclock.offset".to_vec();
    expected.extend_from_slice(&1_768_219_134_587_069_267_u64.to_le_bytes());
    expected.extend_from_slice(b"\x07\0\0\0\0\0\0\0\x01\x06source\x01a");
    assert_eq!(rows, expected);
}

#[test]
fn what_an_operator_can_mend_is_kept() {
    let is_later = |status, code| {
        let refusal = refusal(status, code, String::new(), None);
        matches!(refusal.error, SendError::Later { .. })
    };
    assert!(is_later(500, None) && is_later(429, None) && is_later(404, Some(60)));
    assert!(is_later(403, Some(516)) && is_later(401, None));
    assert!(!is_later(400, Some(62)));
}

#[test]
fn the_statements_name_the_tables() {
    let one = schema::ddl("net`s", "metrics", None);
    assert!(one.contains("CREATE TABLE IF NOT EXISTS `net\\`s`.`metrics`\n"));
    assert!(!one.contains("Replicated") && one.contains("non_replicated_deduplication_window"));
    let many = schema::ddl("default", "metrics", Some("c"));
    assert!(many.contains("ReplicatedAggregatingMergeTree"));
    assert!(many.contains("Distributed(`c`, `default`, `metrics_local`"));
}
