//! Numbers and the words of others as short text.

use std::fmt::Write as _;

use crate::limits::TOP_TEXT_CHARS_MAX;

/// Returns the words of others as text that a terminal only shows: what would move, hide or turn around what stands
/// beside it is written as its code point.
pub(super) fn plain(foreign: &str) -> String {
    let mut text = String::new();
    for (count, character) in foreign.chars().enumerate() {
        if count == TOP_TEXT_CHARS_MAX {
            text.push('…');
            break;
        }
        if is_plain(character) {
            text.push(character);
        } else {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
        }
    }
    text
}

/// True if a character has a place of its own and does nothing else.
fn is_plain(character: char) -> bool {
    // Marks of direction (UAX #9), joiners and other characters without a width, and those that no font has. Rust
    // escapes controls, formats, private ones and combining marks, for which no table has to stand here.
    let is_escaped = character.escape_debug().nth(1).is_some();
    !is_escaped || ['"', '\'', '\\'].contains(&character)
}

/// Returns nanoseconds with three digits and a unit, of six characters at most (seven below zero).
pub(super) fn delay(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let Some((unit, name)) = units.into_iter().find(|unit| ns >= unit.0) else {
        return format!("{sign}{ns}ns");
    };
    let whole = ns / unit;
    let digits = match whole {
        0..10 => format!("{whole}.{:02}", ns % unit / (unit / 100)),
        10..100 => format!("{whole}.{}", ns % unit / (unit / 10)),
        _ => whole.to_string(),
    };
    format!("{sign}{digits}{name}")
}

/// Returns a share as percents, of four characters at most; `-` of nothing.
pub(super) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return if part > 0 { "all" } else { "-" }.to_owned();
    }
    let hundredths = i128::from(part) * 10_000 / i128::from(whole);
    match hundredths {
        0 if part > 0 => "<.01".to_owned(),
        0 => "0".to_owned(),
        1..1_000 => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{}", hundredths / 100, hundredths % 100 / 10),
        _ => (hundredths / 100).to_string(),
    }
}

/// Returns a number of bytes.
pub(super) fn bytes(bytes: i64) -> String {
    match bytes {
        i64::MIN..10_240 => format!("{bytes}B"),
        10_240..10_485_760 => format!("{}KiB", bytes >> 10),
        _ => format!("{}MiB", bytes >> 20),
    }
}

/// Returns the time of day of Unix nanoseconds, in UTC: `12:34:56`, with `digits` of the second behind it.
pub(super) fn time_of_day(unix_ns: i64, digits: usize) -> String {
    let second = unix_ns.div_euclid(1_000_000_000).rem_euclid(86_400);
    let (hour, minute, rest) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = format!("{hour:02}:{minute:02}:{rest:02}");
    if digits > 0 {
        let part = format!("{:09}", unix_ns.rem_euclid(1_000_000_000));
        text.push('.');
        text.extend(part.chars().take(digits));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_do_nothing_to_a_terminal() {
        for (foreign, shown) in [
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\tc\r", "a\\u{a}b\\u{9}c\\u{d}"),
            ("\u{202e}evil\u{2066}", "\\u{202e}evil\\u{2066}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("e\u{301}", "e\\u{301}"),
            ("München \"日本\" o'x \\", "München \"日本\" o'x \\"),
        ] {
            assert_eq!(plain(foreign), shown);
        }
        assert_eq!(plain(&"x".repeat(9_999)).chars().count(), 2_049);
    }

    #[test]
    fn a_delay_has_three_digits() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (12_345, "12.3µs"),
            (999_999, "999µs"),
            (1_234_567, "1.23ms"),
            (-45_678_900, "-45.6ms"),
            (61_000_000_000, "61.0s"),
        ] {
            assert_eq!(delay(ns), text);
        }
        assert_eq!(delay(i64::MIN), "-9223372036s");
    }

    #[test]
    fn a_share_is_never_rounded_to_none_or_all() {
        for (part, whole, text) in [
            (0, 0, "-"),
            (3, 0, "all"),
            (0, 10, "0"),
            (1, 100_000, "<.01"),
            (1, 8, "12.5"),
            (99_999, 100_000, "99.9"),
            (5, 5, "100"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn a_time_of_day_is_of_utc() {
        assert_eq!(time_of_day(1_768_219_137_587_069_267, 3), "11:58:57.587");
        assert_eq!(time_of_day(-1, 0), "23:59:59");
    }
}
