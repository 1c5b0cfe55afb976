//! What the `clickhouse` backend can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::publish::{BaseUrl, Name, Secret};

/// Which server rows go to, as whom, and into which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseSettings {
    /// The HTTP interface of the server.
    pub server: BaseUrl,
    /// The database.
    pub database: Name,
    /// The user.
    pub username: Name,
    /// The user's password.
    pub password: Secret,
    /// The table of samples.
    pub table: Name,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The names of its columns, where they are not ours.
    pub columns: Columns,
}

/// What we call the columns of the table of samples: first those that the Python program had, in the
/// order of its list.
pub const COLUMNS: [&str; 10] = [
    "MetricName",
    "Timestamp",
    "MetricValue",
    "Tags",
    "InsertedAt",
    "Source",
    "Target",
    "Stamp",
    "Seq",
    "Dwell",
];

/// How many of [`COLUMNS`] the Python program had.
pub const COLUMNS_LISTED: usize = 5;

/// The columns that have another name in the table: ours leads to the table's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(BTreeMap<String, String>);

impl Columns {
    /// Parses pairs of our name and the table's. Ours are [`COLUMNS`]; the table's are all different.
    pub fn parse(renamed: BTreeMap<String, String>) -> Result<Self, String> {
        let mut theirs = BTreeSet::new();
        for (ours, name) in &renamed {
            if !COLUMNS.contains(&ours.as_str()) {
                let all = COLUMNS.join(", ");
                return Err(format!(
                    "must rename columns of ours, which are {all}, and not {ours:?}"
                ));
            }
            if Name::parse(name).is_err() {
                return Err(format!("must name columns, and {name:?} is no name"));
            }
            if !theirs.insert(name) {
                return Err(format!("must not name {name:?} twice"));
            }
        }
        Ok(Self(renamed))
    }

    /// The table's name for a column of ours, if it was given.
    pub(super) fn renamed(&self, ours: &str) -> Option<&str> {
        self.0.get(ours).map(String::as_str)
    }

    /// Pairs of our name and the table's.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(ours, theirs)| (ours.as_str(), theirs.as_str()))
    }
}
