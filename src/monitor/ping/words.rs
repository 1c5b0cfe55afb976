//! Times, names and counts as a terminal shows them.

/// Returns the text of another as it can be shown: what a terminal would obey, what reverses the direction of writing
/// and what is not seen stands there escaped.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' => out.push(letter),
            _ => out.extend(letter.escape_debug()),
        }
    }
    out
}

/// Units of time, and the nanoseconds from which they are used.
const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];

/// Returns a time with four digits, in a unit that fits.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(super) fn time(ns: i64) -> String {
    let size = ns.unsigned_abs();
    if size < 1_000 {
        return format!("{ns} ns");
    }
    let fits = |&&(least, _): &&(f64, &str)| size as f64 >= least;
    let (scale, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    let value = ns as f64 / scale;
    let digits = match value.abs() {
        small if small < 9.9995 => 3,
        small if small < 99.995 => 2,
        small if small < 9_999.5 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Returns a share as a percentage with what digits it needs.
pub(super) fn percent(share: f64) -> String {
    if share == 0.0 || share >= 99.95 {
        format!("{share:.0} %")
    } else if share < 0.1 {
        format!("{share:.3} %")
    } else {
        format!("{share:.1} %")
    }
}

/// Returns a number with its noun, which has an `s` unless there is one.
pub(super) fn number(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
