//! The tables `[[mesh]]`: hosts that probe each other, each with the same file.
//!
//! A host finds itself among the members by its `name`. The others that the mesh's shape gives it become
//! its targets, and from there on they are targets as any.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::config::error::{Place, Problems};
use crate::config::key::Table;
use crate::config::keys::{
    self, GROUPS, HOST, LABEL, MEMBER_ADDRESS, MEMBER_NAME, MEMBER_TAGS, MESH_K, MESH_NAME,
    MESH_SHAPE, TAGS,
};
use crate::config::layer::Layer;
use crate::config::rules;
use crate::config::section::{Section, Times};
use crate::config::value::{nearest, suggestion};
use crate::config::words::Shape;
use crate::limits::{MESH_MEMBERS_MAX, MESHES_MAX};

/// One table as it is written.
#[derive(Debug)]
pub(super) struct MeshTable {
    place: Place,
    /// What the mesh itself has.
    own: Layer,
    /// What its members inherit.
    shared: Layer,
    /// None if they cannot be read, which was told.
    members: Option<Vec<(Layer, Place)>>,
}

/// A member whose settings are right.
#[derive(Debug)]
struct Member {
    name: String,
    address: String,
    tags: Vec<String>,
    groups: Vec<String>,
    place: Place,
}

/// What this host has of all meshes.
#[derive(Debug, Default)]
pub(super) struct Meshed {
    /// The settings of its targets.
    pub(super) targets: Vec<(Layer, Place)>,
    pub(super) membership: Membership,
}

/// What a host is to the meshes of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Membership {
    /// There is none.
    #[default]
    NoMesh,
    /// No member of any.
    Stranger,
    /// A member of one at least.
    Member,
}

impl MeshTable {
    /// Returns what its members inherit.
    pub(super) const fn shared(&self) -> &Layer {
        &self.shared
    }

    pub(super) fn read(mesh: &Section<'_>, problems: &mut Problems) -> Self {
        let names = keys::of(Table::Mesh).chain(keys::shared());
        mesh.check_names(names.map(|key| key.name).chain(["members"]), problems);
        let before = problems.faults.len();
        let tables = mesh.tables("members", "[[mesh.members]]", Times::More, problems);
        let is_told = problems.faults.len() > before;
        let mut members = Vec::new();
        for member in tables {
            member.check_names(keys::of(Table::Member).map(|key| key.name), problems);
            let settings = member.read(Table::Member, keys::of(Table::Member), problems);
            members.push((settings, member.place));
        }
        Self {
            place: mesh.place,
            own: mesh.read(Table::Mesh, keys::of(Table::Mesh), problems),
            shared: mesh.read(Table::Targets, keys::shared(), problems),
            members: (!is_told).then_some(members),
        }
    }

    /// Returns the members whose settings are right, and reports those that are not.
    fn members(&mut self, shape: Shape, problems: &mut Problems) -> Vec<Member> {
        let mut seen = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut members = Vec::new();
        for (layer, place) in self.members.iter_mut().flatten() {
            layer.check(Table::Member, problems);
            let (name, address) = (layer.find(&MEMBER_NAME), layer.find(&MEMBER_ADDRESS));
            let Some((name, address)) = name.zip::<String>(address) else {
                problems.add_text(
                    *place,
                    "a member of a mesh must have a `name` and an `address`",
                );
                continue;
            };
            let name: String = name;
            if let Some(other) = seen.insert(name.clone(), *place) {
                let at = layer.place(&MEMBER_NAME);
                let text = format_args!("is {name:?}, as that of another member{}", on(other));
                problems.add(at, MEMBER_NAME.name, text);
            }
            if let Some(other) = addresses.insert(address.clone(), *place) {
                let at = layer.place(&MEMBER_ADDRESS);
                let text = format_args!("is {address}, as that of another member{}", on(other));
                problems.warn(at, MEMBER_ADDRESS.name, text);
            }
            let groups: Vec<String> = layer.get(&GROUPS);
            if shape == Shape::Groups && groups.is_empty() {
                let text = format!(
                    "the member {name:?} has no `groups`, and by the mesh's `shape` those of a group probe each other"
                );
                problems.add_text(*place, text);
            }
            let tags: Option<Vec<String>> = layer.find(&MEMBER_TAGS);
            let mut all: Vec<String> = self.shared.find(&TAGS).unwrap_or_default();
            all.extend(tags.unwrap_or_default());
            if let Err(fault) = rules::tags(&all) {
                let text = format_args!("{fault}, with those of the mesh");
                problems.add(layer.place_or(&MEMBER_TAGS, *place), TAGS.name, text);
            }
            members.push(Member {
                name,
                address,
                tags: all,
                groups,
                place: *place,
            });
        }
        members
    }

    /// Returns how many others each member probes with `shape = "k"`.
    fn k(&self, shape: Shape, members: usize, problems: &mut Problems) -> usize {
        let k = self.own.find(&MESH_K);
        let place = self.own.place_or(&MESH_K, self.place);
        let others = members.saturating_sub(1);
        match (shape, k) {
            (Shape::K, None) => {
                let text = "must be given where `shape` is `k`: how many others each member probes";
                problems.add(self.own.place(&MESH_SHAPE), MESH_K.name, text);
            }
            (Shape::K, Some(k)) if k > others => {
                let text = format_args!(
                    "is {k}, and each of the {members} members has {others} others: lower it, or take \
                     `shape = \"full\"`"
                );
                problems.add(place, MESH_K.name, text);
            }
            (Shape::Full | Shape::Groups, Some(_)) => {
                problems.warn(place, MESH_K.name, "has no effect: `shape` is not `k`");
            }
            _ => {}
        }
        k.unwrap_or_default()
    }

    /// Returns the settings of the target that a member is.
    fn target(&self, member: &Member) -> (Layer, Place) {
        let mut layer = self.shared.clone();
        layer.put(&HOST, member.address.clone().into(), member.place);
        layer.put(&LABEL, member.name.clone().into(), member.place);
        if !member.tags.is_empty() {
            layer.put(&TAGS, member.tags.clone().into(), member.place);
        }
        (layer, member.place)
    }
}

/// Returns what the host of this name has of the meshes.
pub(super) fn resolve(tables: Vec<MeshTable>, name: &str, problems: &mut Problems) -> Meshed {
    let mut meshed = Meshed::default();
    if !tables.is_empty() {
        meshed.membership = Membership::Stranger;
    }
    if tables.len() > MESHES_MAX {
        let text = format_args!("are {}, and {MESHES_MAX} is the maximum", tables.len());
        problems.add(Place::Program, "mesh", text);
        return meshed;
    }
    let mut seen = BTreeSet::new();
    for mut mesh in tables {
        let has_k = mesh.own.find::<usize>(&MESH_K).is_some();
        mesh.own.check(Table::Mesh, problems);
        mesh.shared.check(Table::Targets, problems);
        let Some(called) = mesh.own.find::<String>(&MESH_NAME) else {
            problems.add_text(mesh.place, "a mesh must have a `name`");
            continue;
        };
        if !seen.insert(called.clone()) {
            let text = format_args!("is {called:?}, as that of another mesh");
            problems.add(mesh.own.place(&MESH_NAME), MESH_NAME.name, text);
        }
        let Some(len) = mesh.members.as_ref().map(Vec::len) else {
            continue;
        };
        if !(1..=MESH_MEMBERS_MAX).contains(&len) {
            let text = format_args!("of a mesh must be 1 to {MESH_MEMBERS_MAX}, not {len}");
            problems.add(mesh.place, "members", text);
            continue;
        }
        let shape = mesh.own.get(&MESH_SHAPE);
        let members = mesh.members(shape, problems);
        // One that is wrong was told, and is gone.
        let k = match mesh.own.find::<usize>(&MESH_K) {
            None if has_k => 0,
            _ => mesh.k(shape, members.len(), problems),
        };
        let Some(own) = members.iter().position(|member| member.name == name) else {
            let near = nearest(name, members.iter().map(|member| &*member.name));
            let text = format_args!(
                "{called:?} has no member called {name:?}, as this host is (`name`): this host answers, and probes \
                 none of the mesh{}",
                suggestion(near)
            );
            problems.warn(mesh.place, "mesh", text);
            continue;
        };
        meshed.membership = Membership::Member;
        let probed = probed(&members, own, shape, k);
        meshed
            .targets
            .extend(probed.into_iter().map(|other| mesh.target(&members[other])));
    }
    meshed
}

/// Returns which members one of them probes, in the order of the list.
fn probed(members: &[Member], own: usize, shape: Shape, k: usize) -> Vec<usize> {
    let others = (0..members.len()).filter(|other| *other != own);
    match shape {
        Shape::Full => others.collect(),
        Shape::Groups => {
            let groups: BTreeSet<&String> = members[own].groups.iter().collect();
            let shares = |other: &usize| {
                let mut theirs = members[*other].groups.iter();
                theirs.any(|group| groups.contains(group))
            };
            others.filter(shares).collect()
        }
        Shape::K => {
            let names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
            neighbours(&names, own, k)
        }
    }
}

/// Returns `k` others for one of these names. All names stand on `k` rings, on each in another order that only the
/// names decide; one probes the first behind it that it has not from a ring before. So everyone is probed by about
/// `k` others, and by one at least, all are connected, and a name that comes or goes moves about one pair on a ring.
/// The k highest hashes of pairs would leave one name in e^k that nobody probes.
fn neighbours(names: &[&str], own: usize, k: usize) -> Vec<usize> {
    let mut found = BTreeSet::new();
    for ring in 0..k {
        let place = |at: usize| (place_on(ring, names[at]), names[at]);
        let mine = place(own);
        let others = (0..names.len()).filter(|at| *at != own && !found.contains(at));
        // Past the end of the ring comes its beginning.
        let next = others.min_by_key(|at| {
            let place = place(*at);
            (place < mine, place)
        });
        found.extend(next);
    }
    found.into_iter().collect()
}

/// Returns where a name stands on a ring: by a hash that is the same on every host and in every version.
fn place_on(ring: usize, name: &str) -> [u8; 32] {
    Sha256::digest(format!("{ring} {name}")).into()
}

/// Names the line of another table.
fn on(place: Place) -> String {
    match place {
        Place::Line(line) => format!(" (line {line})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: usize = 4;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("host-{at}.example")).collect()
    }

    /// Who probes whom.
    fn pairs(names: &[String]) -> BTreeSet<(&str, &str)> {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let of = |own: usize| {
            let found = neighbours(&names, own, K);
            assert_eq!(found.len(), K);
            found.into_iter().map(move |other| (own, other))
        };
        let all = (0..names.len()).flat_map(of);
        all.map(|(one, other)| (names[one], names[other])).collect()
    }

    #[test]
    fn everyone_is_probed_by_about_k_others() {
        for count in [5, 8, 100, 300] {
            let names = names(count);
            let mut probed_by = BTreeMap::new();
            for (one, other) in pairs(&names) {
                assert_ne!(one, other);
                *probed_by.entry(other).or_insert(0) += 1;
            }
            assert_eq!(probed_by.len(), count, "everyone is probed");
            let most = probed_by.values().max();
            assert!(most <= Some(&(2 * K)), "{count}: {most:?}");
        }
    }

    #[test]
    fn a_member_more_or_less_moves_few_pairs_wherever_it_stands_in_the_list() {
        let all = names(300);
        let whole = pairs(&all);
        for at in [0, 77, 150, 299] {
            let mut fewer = all.clone();
            let gone = fewer.remove(at);
            let is_of = |pair: &&(&str, &str)| pair.0 == gone || pair.1 == gone;
            let without = pairs(&fewer);
            let moved = whole.difference(&without).filter(|pair| !is_of(pair));
            // On each ring the one before the member goes on to the one behind it.
            assert!(
                moved.count() <= 2,
                "those of {gone} are gone, and hardly others"
            );
            let begun = without.difference(&whole).count();
            assert!((1..=K + 2).contains(&begun), "{begun}");
        }
    }

    #[test]
    fn the_order_of_the_list_decides_nothing() {
        let list = names(50);
        let mut turned = list.clone();
        turned.reverse();
        assert_eq!(pairs(&list), pairs(&turned));
    }

    #[test]
    fn a_pair_stays_what_it_was_in_every_version() {
        let names = ["fra1", "ams1", "lon1", "nyc1", "sin1", "syd1"];
        assert_eq!(neighbours(&names, 0, 2), [1, 3]);
        assert_eq!(neighbours(&names, 3, 2), [2, 4]);
    }
}
