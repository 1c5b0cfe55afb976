//! What packages are made of fits together: the lists of `Cargo.toml`, the unit, the configurations, the
//! manifests. That they install and run is for the labs `install` and `kubernetes`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use latency_monitor::Config;
use latency_monitor::config::Overrides;
use toml::{Table, Value};

/// A file in a package: where it goes, from where, and its mode.
type Assets = BTreeMap<String, (String, String)>;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metadata(packager: &str) -> Table {
    let manifest: Table = read("Cargo.toml").parse().expect("a manifest");
    let metadata = &manifest["package"]["metadata"][packager];
    metadata.as_table().expect("a table").clone()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Where an asset goes, with its name, without the slash that only rpm has in front.
fn destination(source: &str, dest: &str) -> String {
    let name = source.rsplit('/').next().expect("a name");
    let dest = dest.trim_start_matches('/');
    match dest.strip_suffix('/') {
        Some(folder) => format!("{folder}/{name}"),
        None => dest.to_owned(),
    }
}

fn deb() -> Assets {
    let list = metadata("deb")["assets"]
        .as_array()
        .expect("a list")
        .clone();
    let all = list.iter().map(|asset| {
        let [source, dest, mode] = asset.as_array().expect("three strings").as_slice() else {
            panic!("{asset} is not three strings");
        };
        (
            destination(&text(source), &text(dest)),
            (text(source), text(mode)),
        )
    });
    all.collect()
}

fn rpm() -> Assets {
    let list = metadata("generate-rpm")["assets"]
        .as_array()
        .expect("a list")
        .clone();
    let all = list.iter().map(|asset| {
        let source = text(&asset["source"]);
        (
            destination(&source, &text(&asset["dest"])),
            (source, text(&asset["mode"])),
        )
    });
    all.collect()
}

#[test]
fn deb_and_rpm_have_the_same_files() {
    let (mut deb, mut rpm) = (deb(), rpm());
    // cargo-deb takes the unit and the licence from elsewhere; zsh looks in other folders.
    rpm.remove("usr/lib/systemd/system/latency-monitor.service")
        .expect("the unit");
    rpm.remove("usr/share/licenses/latency-monitor/LICENSE")
        .expect("the licence");
    let zsh = rpm
        .remove("usr/share/zsh/site-functions/_latency-monitor")
        .expect("zsh's");
    let debian = deb
        .remove("usr/share/zsh/vendor-completions/_latency-monitor")
        .expect("zsh's");
    assert_eq!((deb, debian), (rpm, zsh));
}

#[test]
fn every_file_of_the_repository_is_there() {
    for (source, _) in deb().into_values().chain(rpm().into_values()) {
        if source.starts_with("target/package/root/") {
            continue;
        }
        let folder = source.strip_suffix("/*").unwrap_or(&source);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        assert!(path.exists(), "{source} is not there");
        assert_eq!(path.is_dir(), folder != source, "{source}");
    }
    for key in [
        "post_install_script",
        "pre_uninstall_script",
        "post_uninstall_script",
    ] {
        read(&text(&metadata("generate-rpm")[key]));
    }
}

#[test]
fn the_unit_starts_what_is_installed() {
    let units = &metadata("deb")["systemd-units"];
    let name = format!("{}/latency-monitor.service", text(&units["unit-scripts"]));
    assert_eq!(
        rpm()["usr/lib/systemd/system/latency-monitor.service"].0,
        name
    );
    let unit = read(&name);
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("a command line");
    let paths: Vec<_> = start
        .split(' ')
        .filter_map(|word| word.strip_prefix('/'))
        .collect();
    assert_eq!(paths.len(), 2, "{start}");
    for path in paths {
        assert!(deb().contains_key(path), "{start}: no package has {path}");
    }
}

#[test]
fn the_configurations_are_right() {
    let installed = Config::parse(&read("packaging/latency.toml"), &Overrides::default())
        .expect("a right configuration");
    assert_eq!(installed.warnings, Vec::<String>::new());
    assert!(installed.targets.is_empty(), "it only answers");
    // Its JSON lines would go to the journal.
    assert!(installed.metrics.is_empty(), "it prints nothing");
    let http = installed.http.expect("[http]");
    assert!(http.listen.is_none() && http.socket.is_some(), "{http:?}");

    let node = Config::parse(
        &read("packaging/kubernetes/latency.toml"),
        &Overrides::default(),
    )
    .expect("a right configuration");
    assert_eq!(node.warnings, Vec::<String>::new());
    let http = node.http.expect("[http]");
    // It is on addresses that others reach.
    assert!(http.token_file.is_some(), "{http:?}");
    assert_eq!(http.socket, Some("/run/latency-monitor/http".into()));
}

#[test]
fn what_is_installed_says_where_more_is_told() {
    // The commented keys of the installed file are right as well.
    let uncommented: String = read("packaging/latency.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = Config::parse(&uncommented, &Overrides::default()).expect("right keys");
    assert_eq!((config.targets.len(), config.allow.len()), (1, 2));
}

#[test]
fn the_image_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let tag = format!("newTag: \"{version}\"");
    assert!(read("packaging/kubernetes/kustomization.yaml").contains(&tag));
    // One health check for all: the manifests' is that of the image.
    let check =
        r#"["/usr/bin/latency-monitor", "health", "-c", "/etc/latency-monitor/latency.toml"]"#;
    assert!(read("packaging/image/Containerfile").contains(check));
    assert!(read("packaging/kubernetes/daemonset.yaml").contains(check));
}
