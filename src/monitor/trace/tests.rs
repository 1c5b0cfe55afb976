//! The columns of a trace, as they are shown, and when it has reached the host.

use std::net::IpAddr;
use std::sync::Arc;

use super::columns::{Column, render};
use crate::proto::{Hop, IcmpType, Label, Origin, Path, StampSource, Wall, Why};

const EXCEEDED: (u8, u8) = (11, 0);
const PORT: (u8, u8) = (3, 3);
const PROHIBITED: (u8, u8) = (3, 13);

fn hop(ttl: u8, address: &str, rtt_us: u64, icmp: Option<(u8, u8)>) -> Hop {
    Hop {
        ttl,
        address: Some(address.parse::<IpAddr>().unwrap()),
        rtt_ns: Some(rtt_us * 1_000),
        stamp: Some(StampSource::Kernel),
        icmp: icmp.map(|(kind, code)| IcmpType {
            is_v6: false,
            kind,
            code,
        }),
        labels: Box::default(),
    }
}

fn silent(ttl: u8) -> Hop {
    Hop {
        ttl,
        address: None,
        rtt_ns: None,
        stamp: None,
        icmp: None,
        labels: Box::default(),
    }
}

fn column(number: u16, is_reached: bool, hops: Vec<Hop>) -> Column {
    let path = Path {
        origin: Origin(number.into()),
        at: Wall::from_unix_nanos(0),
        why: Why::Asked,
        source_port: 40_000 + number,
        remote: "192.0.2.7:8001".parse().unwrap(),
        hops: hops.into(),
        is_reached,
        before: None,
    };
    Column {
        number,
        path: Arc::new(path),
    }
}

/// Three flows over two links, of which one has labels, and one ends at a filter.
fn columns() -> Vec<Column> {
    let mut labelled = hop(2, "10.2.0.9", 1_204, Some(EXCEEDED));
    let label = |label, ttl| Label {
        label,
        traffic_class: 0,
        ttl,
    };
    labelled.labels = [label(16_001, 1), label(24, 255)].into();
    let first = || hop(1, "10.1.0.1", 61, Some(EXCEEDED));
    let host = hop(3, "192.0.2.7", 2_088, Some(PORT));
    let mut late = hop(3, "192.0.2.7", 12_345, None);
    late.stamp = Some(StampSource::User);
    vec![
        column(1, true, vec![first(), labelled, host]),
        column(2, true, vec![first(), silent(2), late]),
        column(
            3,
            false,
            vec![first(), hop(2, "10.3.0.9", 900, Some(PROHIBITED))],
        ),
    ]
}

#[test]
fn parallel_paths_stand_side_by_side() {
    insta::assert_snapshot!(render("fra1", &columns(), 3, 80));
}

#[test]
fn on_a_narrow_terminal_the_columns_that_find_no_room_follow_below() {
    let text = render("fra1", &columns(), 3, 48);
    assert!(text.lines().all(|line| line.len() <= 48), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_flow_without_a_path_has_reached_nothing() {
    assert_eq!(render("fra1", &[], 1, 80), "0 of 1 flow reached fra1\n");
}
