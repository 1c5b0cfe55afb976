//! `[path]`: when the hops of paths are learnt.

use std::time::Duration;

use super::{effective, faults, parse};
use crate::proto::Why;

/// Files, and what is said about them.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    (
        "[path]\non = ['outages']",
        "line 2: `on` has \"outages\", and must have some of [\"burst\", \"outage\", \"divergence\", \"reopen\"]; did you mean `outage`?",
    ),
    (
        "[path]\ninterval = -1",
        "line 2: `interval` must be 0 to 86400 seconds, not -1",
    ),
    (
        "[path]\nhops_max = 0",
        "line 2: `hops_max` must be 1 to 64 hops, not 0",
    ),
    (
        "[path]\nhop_max = 9",
        "line 2: `hop_max` is not a key of [path]; did you mean `hops_max`?",
    ),
];

#[test]
fn every_mistake_is_told_with_its_line() {
    for (file, told) in MISTAKES {
        assert_eq!(faults(file), [*told], "{file}");
    }
}

#[test]
fn paths_are_traced_by_default_and_as_the_file_says() {
    let default = parse("").path;
    assert_eq!(default.on, Why::EVENTS);
    assert_eq!(default.interval, Duration::from_mins(10));
    assert_eq!(default.hops_max, 30);
    let file = "[path]\non = [\"outage\"]\ninterval = 0\nhops_max = 9";
    let given = parse(file).path;
    assert_eq!(given.on, [Why::Outage]);
    assert!(given.interval.is_zero() && given.hops_max == 9);
    assert_eq!(parse(&effective(file)).path, given);
    assert!(parse("[path]\non = []").path.on.is_empty());
}
