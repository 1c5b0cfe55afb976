//! Writes durations, and text of others so that nothing obeys it.

use crate::report::series::signed_f64;

/// Formats nanoseconds with a unit, to about three digits.
pub(super) fn duration(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let number = signed_f64(ns);
    match size {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.*} µs", digits(size / 1_000), number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.*} ms", digits(size / 1_000_000), number / 1e6),
        _ => format!("{:.*} s", digits(size / 1_000_000_000), number / 1e9),
    }
}

const fn digits(whole: u64) -> usize {
    match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    }
}

/// Replaces control characters, and those that change the order of others: tags come from the network, and a terminal
/// obeys such characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// Returns a character, or what stands for one that is not to be obeyed.
pub(super) fn shown(c: char) -> char {
    let reorders = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    if c.is_control() || reorders {
        '\u{fffd}'
    } else {
        c
    }
}
