//! The configuration file as it is written: the settings of each table.

use std::collections::BTreeSet;

use crate::config::discovery::DiscoveryTable;
use crate::config::error::{Place, Problems};
use crate::config::key::Table;
use crate::config::keys;
use crate::config::layer::Layer;
use crate::config::mesh::MeshTable;
use crate::config::metrics::MetricsTable;
use crate::config::named::NamedPath;
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
    pub(super) sandbox: Layer,
    pub(super) burst: Layer,
    pub(super) path: Layer,
    pub(super) http: Option<(Layer, Place)>,
    pub(super) history: Layer,
    pub(super) metrics: Vec<MetricsTable>,
    pub(super) targets: Vec<(Layer, Place)>,
}

impl File {
    /// Reads a file's text. What is wrong with it is added to the problems. `credentials` is their folder.
    pub(super) fn parse(text: &str, credentials: Option<String>, problems: &mut Problems) -> Self {
        let Some(document) = Document::parse(text, problems) else {
            return Self::default();
        };
        let document = document.with_credentials(credentials);
        let top = document.top("the top level");
        let tables = [
            "auth",
            "sessions",
            "mesh",
            "discovery",
            "engine",
            "sandbox",
            "burst",
            "path",
            "http",
            "history",
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
        for sandbox in top.tables("sandbox", "[sandbox]", Times::Once, problems) {
            file.sandbox = layer(sandbox, Table::Sandbox, problems);
        }
        for burst in top.tables("burst", "[burst]", Times::Once, problems) {
            file.burst = layer(burst, Table::Burst, problems);
        }
        for path in top.tables("path", "[path]", Times::Once, problems) {
            file.path = layer(path, Table::Path, problems);
        }
        for http in top.tables("http", "[http]", Times::Once, problems) {
            let place = http.place;
            file.http = Some((layer(http, Table::Http, problems), place));
        }
        for history in top.tables("history", "[history]", Times::Once, problems) {
            file.history = layer(history, Table::History, problems);
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

    /// Returns the paths in all tables, as they are written: also those of tables that turn out to be wrong.
    pub(super) fn named_paths(&self) -> BTreeSet<NamedPath> {
        let once = [
            (&self.auth, Table::Auth),
            (&self.burst, Table::Burst),
            (&self.engine, Table::Engine),
            (&self.history, Table::History),
            (&self.path, Table::Path),
            (&self.top, Table::Targets),
            (&self.top, Table::Top),
        ];
        let http = self.http.iter().map(|(layer, _)| (layer, Table::Http));
        let sessions = self.sessions.iter();
        let targets = self.targets.iter();
        let tables = once
            .into_iter()
            .chain(http)
            .chain(sessions.map(|(layer, _)| (layer, Table::Sessions)))
            .chain(targets.map(|(layer, _)| (layer, Table::Targets)))
            .chain(self.mesh.iter().map(|mesh| (mesh.shared(), Table::Targets)))
            .chain(self.discovery.iter().flat_map(DiscoveryTable::layers))
            .chain(self.metrics.iter().map(MetricsTable::layer));
        tables
            .flat_map(|(layer, table)| layer.named_paths(table))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::named::Usage::{ReadFile, ReadFolder, Socket, WriteFile, WriteFolder};
    use crate::config::value::Kind;
    use crate::config::{Config, Overrides, SandboxKind};

    const FILE: &str = "
        log_file = 'log_file'
        key_file = 'key_file-of-all'
        [auth]
        key_dir = 'key_dir'
        [burst]
        dump_dir = 'dump_dir'
        [history]
        dir = 'dir'
        [http]
        socket = 'socket'
        tls_cert_file = 'tls_cert_file'
        tls_key_file = 'tls_key_file'
        client_ca_file = 'client_ca_file'
        token_file = 'token_file'
        [[sessions]]
        key_file = 'key_file-of-a-session'
        [[mesh]]
        key_file = 'key_file-of-a-mesh'
        [[discovery]]
        key_file = 'key_file-of-a-list'
        headers_file = 'headers_file-of-a-list'
        token_file = 'token_file-of-a-list'
        ca_file = 'ca_file-of-a-list'
        [[targets]]
        key_file = 'key_file-of-a-target'
        [[metrics]]
        backend = 'clickhouse'
        password_file = 'password_file'
        ca_file = 'ca_file'
        spool_dir = 'spool_dir'
        [[metrics]]
        backend = 'datadog'
        api_key_file = 'api_key_file'
        [[metrics]]
        backend = 'otlp'
        headers_file = 'headers_file'
    ";

    #[test]
    fn every_path_of_every_table_is_named_with_what_is_done_there() {
        let paths = File::parse(FILE, None, &mut Problems::default()).named_paths();
        let usages = [
            ("key_dir", ReadFolder),
            ("log_file", WriteFile),
            ("dump_dir", WriteFolder),
            ("dir", WriteFolder),
            ("spool_dir", WriteFolder),
            ("socket", Socket),
        ];
        for named in &paths {
            let name = named.path.display().to_string();
            assert_eq!(name.split('-').next(), Some(named.key));
            let usage = usages.iter().find(|(key, _)| *key == named.key);
            assert_eq!(
                named.usage,
                usage.map_or(ReadFile, |(_, usage)| *usage),
                "{name}"
            );
        }
        assert_eq!(
            paths.len(),
            FILE.matches(" = '").count() - FILE.matches("backend").count()
        );
        // A key that is new is in the file above, too.
        for key in keys::all().filter(|key| matches!(key.kind, Kind::Path)) {
            assert!(
                paths.iter().any(|named| named.key == key.name),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn a_flag_goes_over_the_file_and_the_file_itself_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lm.toml");
        fs::write(&path, "log_file = 'old'").unwrap();
        let flags = Overrides::default().with("log_file", "new").unwrap();
        let config = Config::load(Some(&path), &flags).unwrap();
        let has = |path: &Path| config.paths.iter().any(|named| named.path == path);
        assert!(has(Path::new("new")) && has(&path));
        assert!(Config::default().paths.is_empty());
    }

    #[test]
    fn the_sandbox_is_on_unless_it_is_switched_off() {
        let of = |text: &str| Config::parse(text, &Overrides::default());
        assert_eq!(of("").unwrap().sandbox, SandboxKind::Auto);
        assert_eq!(
            of("[sandbox]\nkind = 'off'").unwrap().sandbox,
            SandboxKind::Off
        );
        let told = of("[sandbox]\nkind = 'on'").unwrap_err().to_string();
        assert!(
            told.contains("line 2: `kind` must be \"auto\" or \"off\""),
            "{told}"
        );
    }
}
