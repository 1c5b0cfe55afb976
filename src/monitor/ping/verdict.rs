//! The one line of a monitoring plugin, and its exit code: the Monitoring Plugins' guidelines.

use std::fmt::Write as _;

use crate::config::{Loss, Of, Threshold};
use crate::monitor::ping::figures::Figures;
use crate::monitor::ping::subject::Subject;

/// What a plugin says, in the order of its exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// How bad it is: what is unknown is worse than a warning, and better than what is known to be critical.
    const fn weight(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        }
    }

    /// Returns the exit code.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }
}

/// Returns the line of a ping that could not be made.
pub(super) fn unknown(why: &str) -> String {
    // Behind a bar a reader looks for figures, and the first line is all that it shows.
    let why = why.replace('|', "/").replace('\n', "; ");
    format!("PING UNKNOWN - {why}\n")
}

/// Judges the figures by the thresholds.
pub(super) fn judge(
    subject: &Subject,
    figures: &Figures,
    thresholds: &[Threshold],
) -> (State, String) {
    let is_answered = figures.counts.received > 0;
    let mut worst = State::Ok;
    let (mut told, mut data) = (Vec::new(), Vec::new());
    for threshold in thresholds {
        let value = value(figures, threshold.of);
        let state = value.map_or(State::Unknown, |value| state(value, threshold));
        if state.weight() > worst.weight() {
            worst = state;
        }
        told.push(words(threshold.of, value, state));
        data.push(performance(threshold, value));
    }
    let mut line = String::new();
    if !is_answered {
        worst = State::Critical;
    }
    let _ = write!(
        line,
        "PING {} - {}, {}: ",
        worst.as_str(),
        subject.whom().replace('|', "/"),
        subject.over()
    );
    if is_answered {
        line += &told.join(", ");
    } else {
        let _ = write!(line, "no answer to {} probes", figures.counts.sent);
    }
    let _ = writeln!(line, " | {}", data.join(" "));
    (worst, line)
}

/// Returns a figure: nanoseconds, or percent.
fn value(figures: &Figures, of: Of) -> Option<f64> {
    match of {
        Of::Loss(loss) => figures.loss_percent(loss),
        Of::Delay { part, figure } => figures.values(part).figure(figure).map(real),
        Of::Pdv { part, figure } => figures.values(part).figure_over_least(figure).map(real),
    }
}

#[expect(clippy::cast_precision_loss, reason = "half a century of nanoseconds")]
const fn real(ns: i64) -> f64 {
    ns as f64
}

fn state(value: f64, threshold: &Threshold) -> State {
    if value >= threshold.limits.critical {
        State::Critical
    } else if value >= threshold.limits.warning {
        State::Warning
    } else {
        State::Ok
    }
}

const fn unit(of: Of) -> (f64, &'static str) {
    match of {
        Of::Delay { .. } | Of::Pdv { .. } => (1e6, "ms"),
        Of::Loss(_) => (1.0, "%"),
    }
}

/// Returns a number without the zeros behind it.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn words(of: Of, value: Option<f64>, state: State) -> String {
    let (name, (scale, unit)) = (of.name(), unit(of));
    let mark = match state {
        State::Ok => "",
        State::Warning => " (WARNING)",
        State::Critical => " (CRITICAL)",
        State::Unknown => " (UNKNOWN)",
    };
    match value {
        Some(value) => format!("{name} {} {unit}{mark}", plain(value / scale)),
        None if matches!(of, Of::Loss(Loss::Forward | Loss::Reverse)) => {
            format!("{name} not told by this wire{mark}")
        }
        None => format!("{name} not measured{mark}"),
    }
}

/// Returns `'label'=value[unit];warning;critical;least;most`. `U` is a value that could not be had.
fn performance(threshold: &Threshold, value: Option<f64>) -> String {
    let (scale, unit) = unit(threshold.of);
    let value = value.map_or_else(|| "U".to_owned(), |value| plain(value / scale) + unit);
    let [warning, critical] = [threshold.limits.warning, threshold.limits.critical];
    // One-way delays on two clocks may be below zero.
    let ends = match threshold.of {
        Of::Loss(_) => "0;100",
        Of::Delay { part, .. } if part.is_signed() => "",
        Of::Delay { .. } | Of::Pdv { .. } => "0",
    };
    let (name, warning, critical) = (
        threshold.of.name(),
        plain(warning / scale),
        plain(critical / scale),
    );
    format!("{name}={value};{warning};{critical};{ends}")
}
