//! What a monitoring plugin warns of.

use std::str::FromStr;

use crate::config::ping::seconds;

/// A figure, and from which value on it is a warning, and critical.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub of: Of,
    /// From where on.
    pub limits: Limits,
}

/// What is held against a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    /// A delay.
    Delay {
        /// Of which part of the exchange.
        part: Part,
        /// Which figure of its values: its name, and what share of them does not exceed it.
        figure: Figure,
    },
    /// A one-way delay over the least of them (RFC 5481's PDV).
    Pdv {
        /// Of which direction.
        part: Part,
        /// Which figure of its values.
        figure: Figure,
    },
    /// A share of the probes sent.
    Loss(Loss),
}

/// What a delay is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The round trip, or the connect.
    RoundTrip,
    /// The one-way delay of probes.
    Forward,
    /// The one-way delay of replies.
    Reverse,
    /// The variation of the delay of probes (RFC 3393).
    ForwardVariation,
    /// The variation of the delay of replies.
    ReverseVariation,
}

impl Part {
    /// True if its values are on two clocks, and may be below zero.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Forward | Self::Reverse)
    }
}

/// A figure of many values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// The least.
    Min,
    /// The mean.
    Mean,
    /// The greatest.
    Max,
    /// What this share of the values does not exceed.
    Quantile(f64),
}

/// Losses of which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All.
    All,
    /// Of probes on their way there.
    Forward,
    /// Of replies.
    Reverse,
}

/// The values from which on a figure is a warning, and critical: nanoseconds of a delay, percent of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// A warning.
    pub warning: f64,
    /// Critical; at least the warning's.
    pub critical: f64,
}

const PARTS: [(&str, Part); 5] = [
    ("forward.ipdv", Part::ForwardVariation),
    ("reverse.ipdv", Part::ReverseVariation),
    ("rtt", Part::RoundTrip),
    ("forward", Part::Forward),
    ("reverse", Part::Reverse),
];

const PDVS: [(&str, Part); 2] = [
    ("forward.pdv", Part::Forward),
    ("reverse.pdv", Part::Reverse),
];

const LOSSES: [(&str, Loss); 3] = [
    ("loss", Loss::All),
    ("loss.forward", Loss::Forward),
    ("loss.reverse", Loss::Reverse),
];

const FIGURES: [(&str, Figure); 8] = [
    ("", Figure::Mean),
    (".mean", Figure::Mean),
    (".min", Figure::Min),
    (".max", Figure::Max),
    (".p50", Figure::Quantile(0.5)),
    (".p90", Figure::Quantile(0.9)),
    (".p99", Figure::Quantile(0.99)),
    (".p99.9", Figure::Quantile(0.999)),
];

impl Of {
    /// Returns its name, as it is given.
    pub fn name(self) -> String {
        match self {
            Self::Loss(loss) => name_of(&LOSSES, &loss).to_owned(),
            Self::Delay { part, figure } => name_of_figure(&PARTS, part, figure),
            Self::Pdv { part, figure } => name_of_figure(&PDVS, part, figure),
        }
    }
}

fn name_of_figure(names: &[(&'static str, Part)], part: Part, figure: Figure) -> String {
    // The mean has two names, of which the longer one says more.
    let figure = match figure {
        Figure::Mean => ".mean",
        other => name_of(&FIGURES, &other),
    };
    format!("{}{figure}", name_of(names, &part))
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], of: &T) -> &'static str {
    let found = names.iter().find(|(_, known)| known == of);
    found.map_or("", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, of)| *of)
}

impl FromStr for Of {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(loss) = named(&LOSSES, name) {
            return Ok(Self::Loss(loss));
        }
        let find = |parts: &[(&str, Part)]| {
            parts.iter().find_map(|(part_name, part)| {
                let figure = named(&FIGURES, name.strip_prefix(part_name)?)?;
                Some((*part, figure))
            })
        };
        let pdv = find(&PDVS).map(|(part, figure)| Self::Pdv { part, figure });
        let delay = || find(&PARTS).map(|(part, figure)| Self::Delay { part, figure });
        pdv.or_else(delay).ok_or_else(|| {
            "is no figure: there are rtt, forward, reverse, forward.pdv, reverse.pdv, forward.ipdv and reverse.ipdv, \
             each with .min, .mean, .max, .p50, .p90, .p99 or .p99.9 behind it, and loss, loss.forward and loss.reverse"
                .to_owned()
        })
    }
}

impl FromStr for Threshold {
    type Err = String;

    /// Parses a figure, and two values: `rtt.p99=5ms,20ms`, `loss=1%,10%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be as rtt.p99=5ms,20ms or loss=1%,10%: a figure, the value that warns, the critical one";
        let (name, values) = text.split_once('=').ok_or(form)?;
        let (warning, critical) = values.split_once(',').ok_or(form)?;
        let of: Of = name.trim().parse()?;
        let read = |text: &str| value(of, text.trim());
        let limits = Limits {
            warning: read(warning)?,
            critical: read(critical)?,
        };
        if limits.critical < limits.warning {
            return Err("has a critical value under the one that warns".to_owned());
        }
        Ok(Self { of, limits })
    }
}

fn value(of: Of, text: &str) -> Result<f64, String> {
    match of {
        Of::Delay { .. } | Of::Pdv { .. } => {
            let ns = seconds(text)? * 1e9;
            let is_time = ns.is_finite() && ns.abs() < 1e15;
            is_time.then_some(ns).ok_or_else(|| "is no time".to_owned())
        }
        Of::Loss(_) => {
            let number = text.strip_suffix('%').unwrap_or(text).trim().parse();
            let percent = number
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent));
            percent.ok_or_else(|| "must be 0 to 100 percent".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_called() {
        for (name, shown) in [
            ("rtt", "rtt.mean"),
            ("rtt.p99.9", "rtt.p99.9"),
            ("forward.ipdv.p50", "forward.ipdv.p50"),
            ("forward.max", "forward.max"),
            ("forward.pdv", "forward.pdv.mean"),
            ("reverse.pdv.p99", "reverse.pdv.p99"),
            ("reverse.ipdv", "reverse.ipdv.mean"),
            ("loss.reverse", "loss.reverse"),
        ] {
            let of: Of = name.parse().unwrap();
            assert_eq!(of.name(), shown);
        }
    }

    #[test]
    fn a_threshold_has_two_values_of_its_unit() {
        let read: Threshold = "rtt.p99=500us,0.02".parse().unwrap();
        assert_eq!(
            (read.limits.warning, read.limits.critical),
            (500_000.0, 20_000_000.0)
        );
        let read: Threshold = "loss=0.5%, 10".parse().unwrap();
        assert_eq!((read.limits.warning, read.limits.critical), (0.5, 10.0));
        for wrong in [
            "rtt",
            "rtt=1",
            "rtt=2,1",
            "rtt.p98=1,2",
            "rtt.pdv=1,2",
            "loss=1,101",
            "loss=-1,2",
            "loss=1ms,2ms",
            "owd=1,2",
            "rtt=nan,nan",
        ] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
    }
}
