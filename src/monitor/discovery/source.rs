//! One source of targets: how it is read, and whether it is believed.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use crate::config::{Config, DiscoveryConfig, FileGlob, Format, List};
use crate::limits::{DISCOVERY_BYTES_MAX, DISCOVERY_FILES_MAX};
use crate::proto::TargetSpec;
#[cfg(feature = "http-backends")]
use crate::publish::{Fetch, read_secret};

/// A server must have answered within this.
#[cfg(feature = "http-backends")]
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Source {
    /// What its targets inherit of; without targets.
    config: Config,
    discovery: DiscoveryConfig,
    #[cfg(feature = "http-backends")]
    fetch: Option<Fetch>,
    judge: Judge,
}

/// What a source has said so far.
#[derive(Debug, Default)]
struct Judge {
    last: Option<Vec<TargetSpec>>,
    /// The last look has failed, and that was told.
    is_failing: bool,
    /// It has had targets, and listed none the last time.
    has_none: bool,
}

impl Source {
    /// A source of a configuration, of which this is known from before.
    pub(super) fn new(
        config: &Config,
        discovery: &DiscoveryConfig,
        last: Option<Vec<TargetSpec>>,
    ) -> Self {
        let mut config = config.clone();
        config.targets = Vec::new();
        Self {
            config,
            #[cfg(feature = "http-backends")]
            fetch: (discovery.url.clone()).map(|url| Fetch::new(url, discovery.ca_file.clone())),
            discovery: discovery.clone(),
            judge: Judge {
                last,
                ..Judge::default()
            },
        }
    }

    /// Looks at it. Returns its targets if they are others than before.
    pub(super) fn look(&mut self) -> Option<Vec<TargetSpec>> {
        let listed = self.read().and_then(|lists| {
            let listed = self.config.listed(&self.discovery, &lists);
            listed.map_err(|error| error.to_string())
        });
        self.judge.take(&self.discovery.name(), listed)
    }

    #[cfg(feature = "http-backends")]
    fn read(&self) -> Result<Vec<List>, String> {
        match &self.fetch {
            None => files(&self.discovery.files),
            Some(fetch) => {
                let headers = headers(&self.discovery)?;
                let text = fetch.get(&headers, ANSWER_WITHIN, DISCOVERY_BYTES_MAX)?;
                Ok(vec![List {
                    name: self.discovery.name(),
                    format: Format::Json,
                    text,
                }])
            }
        }
    }

    #[cfg(not(feature = "http-backends"))]
    fn read(&self) -> Result<Vec<List>, String> {
        files(&self.discovery.files)
    }
}

impl Judge {
    /// Takes what a look has brought. Returns the targets if they are others than before.
    ///
    /// 1. A failure changes nothing, and is told until the source is well again: once.
    /// 2. A source that lists nothing any more is believed when it says so a second time.
    fn take(
        &mut self,
        name: &str,
        listed: Result<Vec<TargetSpec>, String>,
    ) -> Option<Vec<TargetSpec>> {
        let targets = match listed {
            Ok(targets) => targets,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(source = name, "its targets stay as they are: {error}");
                }
                return None;
            }
        };
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(source = name, "targets can be read again");
        }
        let had_some = self.last.as_ref().is_some_and(|last| !last.is_empty());
        if targets.is_empty() && had_some && !std::mem::replace(&mut self.has_none, true) {
            tracing::warn!(
                source = name,
                "it lists no targets any more; they end if it says so again"
            );
            return None;
        }
        self.has_none &= targets.is_empty();
        if self.last.as_ref() == Some(&targets) {
            return None;
        }
        self.last = Some(targets.clone());
        Some(targets)
    }
}

/// Reads the files that fit, in the order of their names.
fn files(globs: &[FileGlob]) -> Result<Vec<List>, String> {
    let mut lists = Vec::new();
    let mut left = DISCOVERY_BYTES_MAX;
    for glob in globs {
        let mut names = Vec::new();
        let cannot = |error| format!("cannot read the folder {}: {error}", glob.folder.display());
        for entry in fs::read_dir(&glob.folder).map_err(cannot)? {
            let name = entry.map_err(cannot)?.file_name();
            // One that is being written has another name, or a hidden one.
            names.extend(name.into_string().ok().filter(|name| glob.fits(name)));
        }
        names.sort();
        for name in names {
            if lists.len() >= DISCOVERY_FILES_MAX {
                return Err(format!("more than {DISCOVERY_FILES_MAX} files fit"));
            }
            let path = glob.folder.join(&name);
            let text = read(&path, &mut left);
            lists.push(List {
                text: text.map_err(|error| format!("{}: {error}", path.display()))?,
                name: path.display().to_string(),
                format: Format::of(&name).ok_or("no format")?,
            });
        }
    }
    if lists.is_empty() {
        return Err("no file fits".to_owned());
    }
    Ok(lists)
}

/// Reads a file that may have `left` bytes.
fn read(path: &Path, left: &mut u64) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    // A pipe would hold us up until somebody writes into it.
    if !fs::metadata(path).map_err(said)?.is_file() {
        return Err("is no file".to_owned());
    }
    let file = File::open(path).map_err(said)?;
    let mut text = String::new();
    file.take(*left + 1)
        .read_to_string(&mut text)
        .map_err(said)?;
    let read = text.len() as u64;
    *left = left
        .checked_sub(read)
        .ok_or_else(|| format!("the lists have more than {DISCOVERY_BYTES_MAX} bytes"))?;
    Ok(text)
}

/// Returns the headers of a request. Their files are read again each time: tokens are changed.
#[cfg(feature = "http-backends")]
fn headers(discovery: &DiscoveryConfig) -> Result<Vec<[String; 2]>, String> {
    let read = |path: &Path| {
        let text = read_secret(path);
        text.map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let refresh = discovery.refresh.as_secs_f64().to_string();
    let mut headers = vec![
        ["Accept".to_owned(), "application/json".to_owned()],
        // As Prometheus asks.
        ["X-Prometheus-Refresh-Interval-Seconds".to_owned(), refresh],
    ];
    if let Some(path) = &discovery.token_file {
        let bearer = format!("Bearer {}", read(path)?.trim());
        headers.push(["Authorization".to_owned(), bearer]);
    }
    if let Some(path) = &discovery.headers_file {
        for line in read(path)?.lines().filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| {
                format!(
                    "{} has a line without `:`, which ends a header's name",
                    path.display()
                )
            })?;
            headers.push([name.trim().to_owned(), value.trim().to_owned()]);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn parse(text: &str) -> Config {
        Config::parse(text, &Overrides::default()).expect("a right file")
    }

    fn targets(hosts: &[&str]) -> Vec<TargetSpec> {
        let target = |host: &&str| format!("{{ host = '{host}' }}");
        let all: Vec<String> = hosts.iter().map(target).collect();
        parse(&format!("targets = [{}]", all.join(", "))).targets
    }

    #[test]
    fn a_failure_changes_nothing_and_an_end_of_all_must_be_said_twice() {
        let mut judge = Judge::default();
        let (one, two) = (targets(&["a", "b"]), targets(&["b"]));
        let failed = || Err("no".to_owned());
        assert_eq!(judge.take("s", failed()), None);
        assert_eq!(judge.take("s", Ok(one.clone())), Some(one.clone()));
        assert_eq!(judge.take("s", Ok(one.clone())), None, "as before");
        assert_eq!(judge.take("s", failed()), None);
        assert!(judge.is_failing);
        assert_eq!(judge.take("s", Ok(two.clone())), Some(two.clone()));
        assert!(!judge.is_failing);
        assert_eq!(judge.take("s", Ok(Vec::new())), None);
        assert_eq!(judge.take("s", Ok(one.clone())), Some(one.clone()));
        assert_eq!(judge.take("s", Ok(Vec::new())), None, "it had some between");
        assert_eq!(judge.take("s", failed()), None);
        assert_eq!(judge.take("s", Ok(Vec::new())), Some(Vec::new()));
        assert_eq!(judge.take("s", Ok(Vec::new())), None);
        assert_eq!(judge.take("s", Ok(two.clone())), Some(two));
        // One that never had any is believed at once.
        assert_eq!(Judge::default().take("s", Ok(Vec::new())), Some(Vec::new()));
    }

    #[test]
    fn files_are_read_in_order_and_only_those_that_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = format!("[[discovery]]\nfiles = ['{}']", at("*.json").display());
        let config = parse(&file);
        let mut source = Source::new(&config, &config.discovery[0], None);
        assert_eq!(source.read().unwrap_err(), "no file fits");
        fs::write(at("b.json"), "[{\"targets\": [\"b\"]}]").unwrap();
        fs::write(at("a.json"), "[{\"targets\": [\"a\", \"b\"]}]").unwrap();
        fs::write(at("c.json.tmp"), "half of a").unwrap();
        assert_eq!(source.look(), Some(targets(&["a", "b"])));
        assert_eq!(source.look(), None);
        fs::write(at("b.json"), "half of a").unwrap();
        assert_eq!(source.look(), None);
        fs::create_dir(at("d.json")).unwrap();
        let said = source.read().unwrap_err();
        assert!(said.ends_with("d.json: is no file"), "{said}");
        fs::remove_dir(at("d.json")).unwrap();
        let large = File::create(at("e.json")).unwrap();
        large.set_len(DISCOVERY_BYTES_MAX + 1).unwrap();
        let said = source.read().unwrap_err();
        assert!(
            said.ends_with("the lists have more than 16777216 bytes"),
            "{said}"
        );
    }

    #[cfg(feature = "http-backends")]
    #[test]
    fn headers_come_from_files_that_are_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = parse(&format!(
            "[[discovery]]\nurl = 'http://127.0.0.1:9/'\ntoken_file = '{}'\nheaders_file = '{}'",
            at("token").display(),
            at("headers").display()
        ));
        let read = || headers(&config.discovery[0]);
        assert!(read().unwrap_err().contains("cannot read"));
        fs::write(at("token"), "one\n").unwrap();
        fs::write(at("headers"), "X-Scope: a: b\n\n").unwrap();
        let found = read().unwrap();
        assert_eq!(
            found[2..],
            [["Authorization", "Bearer one"], ["X-Scope", "a: b"]]
        );
        fs::write(at("token"), "two").unwrap();
        assert_eq!(read().unwrap()[2][1], "Bearer two");
        fs::write(at("headers"), "nonsense").unwrap();
        assert!(read().unwrap_err().contains("has a line without `:`"));
    }
}
