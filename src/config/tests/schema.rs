//! The JSON Schema, held against files that are right and files that are not.

use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value as Json;

use super::{backends, effective, marks, names, path, ports};
use crate::config::{Config, Overrides, Sealed, schema};

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let schema: Json = serde_json::from_str(&schema()).expect("JSON");
        compiler
            .add_resource("config.json", schema)
            .expect("a name");
        let index = compiler.compile("config.json", &mut schemas);
        let index = index.expect("a schema of its draft");
        Self { schemas, index }
    }

    /// What is wrong with a file that is TOML, if anything is.
    fn fault(&self, file: &str) -> Option<String> {
        let json: Json = toml::from_str(file).ok()?;
        let result = self.schemas.validate(&json, self.index);
        result.err().map(|error| format!("{error:#}"))
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(path.to_str().expect("UTF-8"), extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_examples_of_the_documents_are_right() {
    let validator = Validator::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = files("docs", "md");
    documents.push(root.join("README.md"));
    let mut examples = vec![(root.join("latency.toml"), read(&root.join("latency.toml")))];
    for path in documents {
        let text = read(&path);
        for block in text.split("```toml\n").skip(1) {
            let end = block.find("```").expect("a block has an end");
            examples.push((path.clone(), block[..end].to_owned()));
        }
    }
    assert!(examples.len() >= 8, "{examples:?}");
    for (path, example) in examples {
        let place = path.display();
        assert_eq!(validator.fault(&example), None, "{place}\n{example}");
        let parsed = Config::parse_effective(&example, &Overrides::default(), &Sealed);
        // There are no secrets in the documents, and their files are not on this host.
        let told = parsed
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        let is_of_file = |line: &str| line.contains("_file` \"") || line.contains("`key_dir` \"");
        let is_right = told.lines().all(is_of_file);
        assert!(is_right, "{place}\n{example}\n{told}");
    }
}

#[test]
fn what_the_program_takes_the_schema_takes_too() {
    let validator = Validator::new();
    let mut taken = 0;
    for path in files("fuzz/corpus/config", "toml") {
        let file = read(&path);
        if Config::parse_effective(&file, &Overrides::default(), &Sealed).is_ok() {
            taken += 1;
            for file in [&file, &effective(&file)] {
                assert_eq!(validator.fault(file), None, "{}\n{file}", path.display());
            }
        }
    }
    assert!(taken > 8);
}

/// What is said about mistakes that lie between keys, or that only a parser of addresses, names or
/// URLs sees.
const BEYOND: &[&str] = &[
    "must be a whole number, not 1e3",
    "which ends it on the wire",
    "must be an IP address",
    "the address of one host",
    "an address of this host",
    "a second time",
    "can be listened on and not probed",
    "needs an API key",
    "no metric or event is called so",
    "and must have some of",
    "leaves no metric",
    "letters, digits and signs",
    "no control characters",
    "which is ours to give",
    "nor a prefix",
    "1 to 1024 prefixes",
];

#[test]
fn what_is_wrong_by_itself_the_schema_refuses() {
    let validator = Validator::new();
    let top = super::MISTAKES
        .iter()
        .chain(path::MISTAKES)
        .chain(ports::MISTAKES)
        .chain(marks::MISTAKES)
        .chain(names::MISTAKES)
        .map(|(file, told)| ((*file).to_owned(), *told));
    let metrics = backends::MISTAKES.iter();
    let metrics = metrics.map(|(file, told)| (format!("[metrics]\n{file}"), *told));
    for (file, told) in top.chain(metrics) {
        let is_beyond = told.contains("not TOML") || BEYOND.iter().any(|it| told.contains(it));
        let is_taken = validator.fault(&file).is_none();
        assert_eq!(is_taken, is_beyond, "{file}\n{told}");
    }
}
