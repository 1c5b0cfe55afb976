//! The configuration file as it is written: which keys there are, and in which table.

use crate::config::burst::BurstKeys;
use crate::config::engine::EngineKeys;
use crate::config::error::{Given, Place, Problems};
use crate::config::metrics::MetricsLayer;
use crate::config::options::TargetOptions;
use crate::config::section::{Lines, Section};
use crate::config::{LogLevel, Timestamps};
use toml::de::DeTable;

/// What a file says. Every value has the right type; whether it is in range is seen later, with
/// that of flags.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) name: Option<Given<String>>,
    pub(super) address: Option<Given<Vec<String>>>,
    pub(super) tcp: Option<Given<bool>>,
    pub(super) udp: Option<Given<bool>>,
    pub(super) max_size: Option<Given<i64>>,
    pub(super) resolve_interval: Option<Given<f64>>,
    pub(super) shutdown_timeout: Option<Given<f64>>,
    pub(super) log_level: Option<Given<LogLevel>>,
    pub(super) log_file: Option<Given<String>>,
    pub(super) timestamps: Option<Given<Timestamps>>,
    pub(super) engine: EngineKeys,
    pub(super) burst: BurstKeys,
    /// What targets inherit.
    pub(super) defaults: TargetOptions,
    pub(super) targets: Vec<(TargetOptions, Place)>,
    pub(super) metrics: Vec<MetricsLayer>,
}

impl File {
    /// Reads a file's text; what is wrong with it is added to the problems.
    pub(super) fn parse(text: &str, problems: &mut Problems) -> Self {
        let lines = Lines::of(text);
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let place = error
                    .span()
                    .map_or(Place::Program, |span| lines.place(&span));
                problems.add_text(place, format!("not TOML: {}", error.message()));
                return Self::default();
            }
        };
        let mut top = Section::new("the top level", document.get_ref(), &lines);
        let mut file = Self {
            name: top.string("name", problems),
            address: top.string_or_strings("address", problems),
            tcp: top.boolean("tcp", problems),
            udp: top.boolean("udp", problems),
            max_size: top.integer("max_size", problems),
            resolve_interval: top.number("resolve_interval", problems),
            shutdown_timeout: top.number("shutdown_timeout", problems),
            log_level: top.word("log_level", problems),
            log_file: top.string("log_file", problems),
            timestamps: top.word("timestamps", problems),
            defaults: TargetOptions::read(&mut top, problems),
            ..Self::default()
        };
        if let Some(mut engine) = top.table("engine", "[engine]", problems) {
            file.engine = EngineKeys::read(&mut engine, problems);
            engine.finish(problems);
        }
        if let Some(mut burst) = top.table("burst", "[burst]", problems) {
            file.burst = BurstKeys::read(&mut burst, problems);
            burst.finish(problems);
        }
        for (mut metrics, place) in
            top.tables("metrics", "[[metrics]]", Some("[metrics]"), problems)
        {
            file.metrics
                .push(MetricsLayer::read(&mut metrics, place, problems));
            metrics.finish(problems);
        }
        for (mut target, place) in top.tables("targets", "[[targets]]", None, problems) {
            file.targets
                .push((TargetOptions::read(&mut target, problems), place));
            target.finish(problems);
        }
        top.finish(problems);
        file
    }
}
