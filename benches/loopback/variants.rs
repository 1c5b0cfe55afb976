//! What is compared: variants of the daemon's `[engine]`, each a name and some lines.

use std::io;

use super::daemons;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) name: String,
    /// Lines of the table `[engine]`, at both ends.
    pub(crate) engine: String,
}

impl Variant {
    /// Returns the daemon as it is by default.
    pub(crate) fn plain() -> Self {
        Self {
            name: "default".to_owned(),
            engine: String::new(),
        }
    }
}

/// An argument and its words: each is the name of a variant, with its line of `[engine]`.
type Axis = (&'static str, &'static [(&'static str, &'static str)]);

/// `both` stands for the first two words of an axis.
const AXES: [Axis; 2] = [
    (
        "--engine",
        &[
            ("mio", "kind = \"mio\""),
            ("io_uring", "kind = \"io_uring\""),
            ("auto", "kind = \"auto\""),
        ],
    ),
    (
        "--receive",
        &[
            ("at_once", "receive_within_us = 0"),
            ("lazy", "receive_within_us = 2000"),
        ],
    ),
];

/// Returns the variants that the arguments ask for: of several axes, each with each. None: nothing
/// is compared.
///
/// # Errors
///
/// If an argument has no value, or one that is no word of its axis.
pub(crate) fn asked(args: &[String]) -> io::Result<Vec<Variant>> {
    let mut variants = Vec::new();
    for (argument, words) in AXES {
        let Some(value) = value_of(args, argument)? else {
            continue;
        };
        let chosen: Vec<_> = if value == "both" {
            words[..2].to_vec()
        } else {
            words
                .iter()
                .copied()
                .filter(|(name, _)| *name == value)
                .collect()
        };
        if chosen.is_empty() {
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            let text = format!("{argument} {value}: it can be {}, both", names.join(", "));
            return Err(io::Error::other(text));
        }
        if variants.is_empty() {
            variants.push(Variant {
                // `auto` would take another engine for some of the loads.
                engine: if argument == "--engine" {
                    ""
                } else {
                    "kind = \"mio\"\n"
                }
                .to_owned(),
                ..Variant::default()
            });
        }
        variants = variants
            .iter()
            .flat_map(|before| with(before, &chosen))
            .collect();
    }
    Ok(variants)
}

/// Returns a variant with each of the words.
fn with(before: &Variant, words: &[(&str, &str)]) -> Vec<Variant> {
    let each = words.iter().map(|(name, line)| Variant {
        name: format!("{} {name}", before.name).trim_start().to_owned(),
        engine: format!("{}{line}\n", before.engine),
    });
    each.collect()
}

/// Returns what stands behind an argument.
pub(crate) fn value_of<'a>(args: &'a [String], argument: &str) -> io::Result<Option<&'a str>> {
    let Some(place) = args.iter().position(|arg| arg == argument) else {
        return Ok(None);
    };
    match args.get(place + 1) {
        Some(value) if !value.starts_with("--") => Ok(Some(value)),
        _ => Err(io::Error::other(format!("{argument} wants a value"))),
    }
}

/// Removes the variants that the daemon refuses on this host, and prints what it says of each.
pub(crate) fn allowed(variants: Vec<Variant>) -> io::Result<Vec<Variant>> {
    let mut allowed = Vec::new();
    for variant in variants {
        match daemons::refusal(&variant.engine)? {
            None => allowed.push(variant),
            Some(said) => println!(
                "`{}` is refused here, and is left out:\n{said}",
                variant.name
            ),
        }
    }
    if allowed.is_empty() {
        return Err(io::Error::other("every variant is refused here"));
    }
    Ok(allowed)
}
