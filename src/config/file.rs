//! The configuration file as it is written: the settings of each table.

use crate::config::discovery::DiscoveryTable;
use crate::config::error::{Place, Problems};
use crate::config::key::Table;
use crate::config::keys;
use crate::config::layer::Layer;
use crate::config::mesh::MeshTable;
use crate::config::metrics::MetricsTable;
use crate::config::section::{Document, Section, Times};

/// Keys that the Python program has and never reads.
const IDLE: [&str; 2] = ["max_conn", "max_seq"];

/// What a file says. Every value has the right type; whether it is in range is checked later, with the
/// values of flags.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The settings at the top level: the daemon's own, and those that targets inherit.
    pub(super) top: Layer,
    pub(super) auth: Layer,
    pub(super) sessions: Vec<(Layer, Place)>,
    pub(super) mesh: Vec<MeshTable>,
    pub(super) discovery: Vec<DiscoveryTable>,
    pub(super) engine: Layer,
    pub(super) burst: Layer,
    pub(super) http: Option<(Layer, Place)>,
    pub(super) metrics: Vec<MetricsTable>,
    pub(super) targets: Vec<(Layer, Place)>,
}

impl File {
    /// Reads a file's text. What is wrong with it is added to the problems.
    pub(super) fn parse(text: &str, problems: &mut Problems) -> Self {
        let Some(document) = Document::parse(text, problems) else {
            return Self::default();
        };
        let top = document.top("the top level");
        let tables = [
            "auth",
            "sessions",
            "mesh",
            "discovery",
            "engine",
            "burst",
            "http",
            "metrics",
            "targets",
        ];
        let names = keys::top().map(|key| key.name);
        top.check_names(names.chain(tables).chain(IDLE), problems);
        for (name, place) in IDLE
            .into_iter()
            .filter_map(|key| Some((key, top.find(key)?.1)))
        {
            problems.warn(place, name, "has no effect, as in the Python program");
        }
        let mut file = Self {
            top: top.read(Table::Top, keys::top(), problems),
            ..Self::default()
        };
        let layer = |section: Section<'_>, table, problems: &mut Problems| {
            section.check_names(keys::of(table).map(|key| key.name), problems);
            section.read(table, keys::of(table), problems)
        };
        for auth in top.tables("auth", "[auth]", Times::Once, problems) {
            file.auth = layer(auth, Table::Auth, problems);
        }
        for session in top.tables("sessions", "[[sessions]]", Times::More, problems) {
            let settings = layer(session, Table::Sessions, problems);
            file.sessions.push((settings, session.place));
        }
        for mesh in top.tables("mesh", "[[mesh]]", Times::More, problems) {
            file.mesh.push(MeshTable::read(&mesh, problems));
        }
        for discovery in top.tables("discovery", "[[discovery]]", Times::More, problems) {
            file.discovery
                .push(DiscoveryTable::read(&discovery, problems));
        }
        for engine in top.tables("engine", "[engine]", Times::Once, problems) {
            file.engine = layer(engine, Table::Engine, problems);
        }
        for burst in top.tables("burst", "[burst]", Times::Once, problems) {
            file.burst = layer(burst, Table::Burst, problems);
        }
        for http in top.tables("http", "[http]", Times::Once, problems) {
            let place = http.place;
            file.http = Some((layer(http, Table::Http, problems), place));
        }
        for metrics in top.tables("metrics", "[[metrics]]", Times::OnceOrMore, problems) {
            file.metrics.push(MetricsTable::read(&metrics, problems));
        }
        for target in top.tables("targets", "[[targets]]", Times::More, problems) {
            let settings = layer(target, Table::Targets, problems);
            file.targets.push((settings, target.place));
        }
        file
    }
}
