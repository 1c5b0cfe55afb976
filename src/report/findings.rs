//! What events have in common: which target, flow and direction, how often, the worst of them, and whom they suspect.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::REPORT_FINDINGS_MAX;
use crate::report::read::Line;

/// Kinds of events, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Outage,
    Divergence,
    Burst,
    Remarked,
    Reopened,
    PathChange,
    RouteChange,
    HopsChange,
    Wire,
    ClockStep,
}

impl Kind {
    /// Returns the kind that an event's name stands for; `None` if a verdict has nothing to say of it.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "outage" | "outage_begin" => Self::Outage,
            "path_divergence" => Self::Divergence,
            "burst" => Self::Burst,
            "remarked" => Self::Remarked,
            "reopened" => Self::Reopened,
            "path_change" => Self::PathChange,
            "route_change" => Self::RouteChange,
            "hops_change" => Self::HopsChange,
            "wire" => Self::Wire,
            "clock_step" => Self::ClockStep,
            _ => return None,
        })
    }
}

/// Events that belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// The host that tells, as an index of the report's hosts.
    pub(super) host: usize,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) flow: String,
    pub(super) direction: Option<String>,
}

/// What they have in common.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) count: u64,
    /// When the first began, and the last.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Nanoseconds of all together.
    pub(super) duration: i64,
    pub(super) lost: u64,
    /// How many suspect the network, the host that tells, its peer, and none.
    pub(super) suspects: [u64; 4],
    /// The longest outage, the highest burst, the largest divergence; of other events the last.
    pub(super) worst: Line,
    /// True if one of them had begun and was not over at the end of the file.
    pub(super) is_open: bool,
}

/// All events of a report.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) all: BTreeMap<Key, Finding>,
    /// What began and is not over yet: outages and divergences, with when they began.
    open: BTreeMap<Key, Line>,
    /// Events that are known. A dump repeats that of its burst, and two files may overlap.
    known: BTreeSet<(i64, bool, Key)>,
}

/// Events that are told apart from their repetitions, for each group of them.
const KNOWN_FOR_EACH: usize = 16;

impl Findings {
    /// Adds an event. Returns false if there is no room for it.
    pub(super) fn add(&mut self, host: usize, line: &Line) -> bool {
        let (Some(kind), Some(at)) = (Kind::of(line.word()), line.when()) else {
            return true;
        };
        let tag = |key| line.tag(key).unwrap_or_default().to_owned();
        let mut flow = line.flow.clone();
        if let Some(number) = line
            .tag("flow")
            .map(str::to_owned)
            .or_else(|| Some(line.flow_number?.to_string()))
        {
            flow = format!("{flow} flow {number}");
        }
        let key = Key {
            kind,
            host,
            source: tag("source"),
            target: tag("target"),
            flow,
            direction: line.direction.clone(),
        };
        let begins =
            line.word() == "outage_begin" || (kind == Kind::Divergence && line.duration.is_none());
        // An event is the same whichever file tells of it.
        let known = (
            at,
            begins,
            Key {
                host: 0,
                ..key.clone()
            },
        );
        if self.known.contains(&known) {
            return true;
        }
        if self.known.len() < KNOWN_FOR_EACH * REPORT_FINDINGS_MAX {
            self.known.insert(known);
        }
        // Where an outage is, in which direction is known only when it is over.
        let place = Key {
            direction: key.direction.clone().filter(|_| kind == Kind::Divergence),
            ..key.clone()
        };
        if begins {
            let has_room = self.open.len() < REPORT_FINDINGS_MAX;
            if has_room {
                self.open.insert(place, line.clone());
            }
            return has_room;
        }
        self.open.remove(&place);
        self.put(key, line, at)
    }

    /// Counts what is not over at the end of all files.
    pub(super) fn end(&mut self) {
        for (key, line) in std::mem::take(&mut self.open) {
            let at = line.when().unwrap_or(0);
            if self.put(key.clone(), &line, at)
                && let Some(finding) = self.all.get_mut(&key)
            {
                finding.is_open = true;
                finding.worst = line;
            }
        }
    }

    fn put(&mut self, key: Key, line: &Line, at: i64) -> bool {
        if self.all.len() >= REPORT_FINDINGS_MAX && !self.all.contains_key(&key) {
            return false;
        }
        let kind = key.kind;
        let finding = self.all.entry(key).or_insert_with(|| Finding {
            first: at,
            last: at,
            worst: line.clone(),
            ..Finding::default()
        });
        finding.count += 1;
        (finding.first, finding.last) = (finding.first.min(at), finding.last.max(at));
        let duration = line.duration.unwrap_or(0).max(0);
        finding.duration = finding.duration.saturating_add(duration);
        finding.lost = finding.lost.saturating_add(line.lost.unwrap_or(0));
        let suspect = match line.suspect.as_deref() {
            Some("network") => 0,
            Some("local") => 1,
            Some("peer") => 2,
            _ => 3,
        };
        finding.suspects[suspect] += 1;
        if measure(kind, line) >= measure(kind, &finding.worst) {
            finding.worst = line.clone();
        }
        true
    }
}

/// Returns by what the worst of a kind is found.
fn measure(kind: Kind, line: &Line) -> f64 {
    let number = super::series::signed_f64;
    match kind {
        Kind::Outage => number(line.duration.unwrap_or(0)),
        Kind::Burst => number(line.peak),
        Kind::Divergence => line.value.unwrap_or(0.0),
        _ => number(line.when().unwrap_or(0)),
    }
}
