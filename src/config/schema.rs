//! The configuration file's JSON Schema, from the table of keys: for editors, which complete and
//! check a file with it.

use serde_json::{Map, Value as Json, json};

use crate::config::key::{Key, Preset, Table};
use crate::config::keys;
use crate::config::value::{Kind, PORT_MAX};
use crate::config::words::{Backend, Word as _};
use crate::limits::{
    DISCOVERIES_MAX, MESH_MEMBERS_MAX, MESHES_MAX, SENDERS_MAX, TARGETS_MAX, UDP_PORTS_MAX,
};

/// Returns the schema (JSON Schema, draft 2020-12).
pub fn schema() -> String {
    let mut top = properties(Table::Targets);
    // A key of both can be more here than in a target.
    top.extend(properties(Table::Top));
    top.insert("auth".to_owned(), object(properties(Table::Auth)));
    let mut sessions = object(properties(Table::Sessions));
    sessions["required"] = json!(["from", "label"]);
    top.insert(
        "sessions".to_owned(),
        json!({ "type": "array", "items": sessions, "maxItems": SENDERS_MAX }),
    );
    top.insert("mesh".to_owned(), mesh());
    top.insert("discovery".to_owned(), discovery());
    top.insert("engine".to_owned(), object(properties(Table::Engine)));
    top.insert("sandbox".to_owned(), object(properties(Table::Sandbox)));
    top.insert("burst".to_owned(), object(properties(Table::Burst)));
    top.insert("path".to_owned(), object(properties(Table::Path)));
    top.insert("http".to_owned(), object(properties(Table::Http)));
    top.insert("history".to_owned(), object(properties(Table::History)));
    let metrics = json!({ "$ref": "#/$defs/metrics" });
    top.insert(
        "metrics".to_owned(),
        json!({ "anyOf": [metrics, { "type": "array", "items": metrics }] }),
    );
    let targets = object(properties(Table::Targets));
    top.insert(
        "targets".to_owned(),
        json!({ "type": "array", "items": targets, "maxItems": TARGETS_MAX }),
    );
    let backends: Vec<Json> = Backend::WORDS.iter().map(|(_, it)| backend(*it)).collect();
    let mut schema = object(top);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Configuration of latency-monitor");
    schema["$defs"] = json!({ "metrics": { "oneOf": backends } });
    // A target inherits everything, its host too.
    schema["if"] = json!({ "required": ["host"] });
    schema["else"] = json!({ "properties": { "targets": { "items": { "required": ["host"] } } } });
    format!("{schema:#}\n")
}

/// The `[[mesh]]` tables.
fn mesh() -> Json {
    let mut member = object(properties(Table::Member));
    member["required"] = json!(["name", "address"]);
    let mut own = properties(Table::Mesh);
    own.extend(keys::shared().map(|key| (key.name.to_owned(), property(key, Table::Targets))));
    let members =
        json!({ "type": "array", "items": member, "minItems": 1, "maxItems": MESH_MEMBERS_MAX });
    own.insert("members".to_owned(), members);
    let mut mesh = object(own);
    mesh["required"] = json!(["name", "members"]);
    json!({ "type": "array", "items": mesh, "maxItems": MESHES_MAX })
}

/// The `[[discovery]]` tables.
fn discovery() -> Json {
    let mut own = properties(Table::Discovery);
    own.extend(keys::shared().map(|key| (key.name.to_owned(), property(key, Table::Targets))));
    let mut discovery = object(own);
    discovery["oneOf"] = json!([{ "required": ["files"] }, { "required": ["url"] }]);
    json!({ "type": "array", "items": discovery, "maxItems": DISCOVERIES_MAX })
}

/// A `[[metrics]]` table for one backend.
fn backend(backend: Backend) -> Json {
    let mut properties = properties(Table::Metrics(backend));
    properties["backend"]["anyOf"] = words(&[backend.as_word()])["anyOf"].take();
    let mut table = object(properties);
    if backend != Backend::Cli {
        table["required"] = json!(["backend"]);
    }
    table["title"] = json!(format!("backend = {:?}", backend.as_word()));
    table
}

fn object(properties: Map<String, Json>) -> Json {
    let mut table = json!({ "type": "object", "additionalProperties": false });
    table["properties"] = Json::Object(properties);
    table
}

fn properties(table: Table) -> Map<String, Json> {
    keys::of(table)
        .map(|key| (key.name.to_owned(), property(key, table)))
        .collect()
}

fn property(key: &Key, table: Table) -> Json {
    let kind = key.kind_in(table);
    let mut schema = values(&kind);
    if let (Some(_), Some(schema)) = (key.lenient, schema.as_object_mut()) {
        schema.remove("maximum");
        schema.insert("minimum".to_owned(), json!(0));
    }
    schema["description"] = json!(key.help);
    if let Preset::Value(text) = key.preset {
        schema["default"] = json!(key.literal(text));
    }
    if let Some(example) = kind.literal(key.example) {
        schema["examples"] = json!([example]);
    }
    schema
}

/// The schema of a key's values.
fn values(kind: &Kind) -> Json {
    let text = json!({ "type": "string", "minLength": 1 });
    match kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Whole(min, max, _) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Ports(_) => {
            let port = values(&Kind::Whole(0, PORT_MAX, ""));
            let list = json!({ "minItems": 1, "maxItems": UDP_PORTS_MAX, "uniqueItems": true, "items": port });
            json!({ "anyOf": [port, { "type": "array", "allOf": [list] }] })
        }
        Kind::WholeOrText(min, max, ..) => {
            json!({ "anyOf": [values(&Kind::Whole(*min, *max, "")), text] })
        }
        Kind::WordOrWhole(names, numbers) => {
            let numbers: Vec<Json> = numbers.iter().map(|number| json!(number)).collect();
            let written: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            json!({ "anyOf": [words(names), { "enum": numbers }, { "enum": written }] })
        }
        Kind::Number(min, max, _) => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::NumberOrAuto(min, max, unit) => {
            json!({ "anyOf": [words(&["auto"]), values(&Kind::Number(*min, *max, unit))] })
        }
        Kind::Word(names) => words(&names()),
        Kind::Text(_) | Kind::Path => text,
        Kind::Url(_) => {
            let other = json!({ "pattern": "://" });
            let any = json!([{ "pattern": "^https?://" }, { "not": other }]);
            json!({ "type": "string", "minLength": 1, "anyOf": any })
        }
        Kind::Secret(_) => json!({ "type": "string" }),
        Kind::Headers => {
            let value = json!({ "type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f]*$" });
            let name = json!({ "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" });
            let table =
                json!({ "type": "object", "propertyNames": name, "additionalProperties": value });
            json!({ "anyOf": [table, { "type": "string" }] })
        }
        Kind::Table(_) => {
            let name = json!({ "minLength": 1 });
            // A name with dots is a table in a table.
            let value = json!({ "type": ["string", "object"] });
            json!({ "type": "object", "propertyNames": name, "additionalProperties": value })
        }
        Kind::Texts(_) => {
            // They are tags: the wire ends them with this character.
            json!({ "type": "array", "items": { "type": "string", "pattern": "^[^|]*$" } })
        }
        Kind::TextOrTexts(_) => {
            let list = json!({ "minItems": 1, "uniqueItems": true, "items": text });
            json!({ "anyOf": [text, { "type": "array", "allOf": [list] }] })
        }
        Kind::Numbers(_) => {
            let above_zero = json!({ "type": "number", "exclusiveMinimum": 0 });
            json!({ "type": "array", "items": above_zero, "minItems": 1, "uniqueItems": true })
        }
        Kind::Names(names, listed, _) => {
            let mut list = json!({ "type": "array", "items": text, "uniqueItems": true });
            list["minItems"] = json!(listed);
            list["maxItems"] = json!(listed);
            let names = json!({ "enum": names });
            let table = json!({ "propertyNames": names, "additionalProperties": text });
            json!({ "anyOf": [{ "type": "object", "allOf": [table] }, list] })
        }
    }
}

/// The words, for completion, and a pattern for other case, since JSON Schema has no flag for it.
fn words(words: &[&str]) -> Json {
    let any_case = |letter: char| {
        let (upper, lower) = (letter.to_ascii_uppercase(), letter.to_ascii_lowercase());
        format!("[{upper}{lower}]")
    };
    let patterns: Vec<String> = words
        .iter()
        .map(|word| word.chars().map(any_case).collect())
        .collect();
    let pattern = format!("^({})$", patterns.join("|"));
    json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": pattern }] })
}
