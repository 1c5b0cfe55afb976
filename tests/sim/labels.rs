//! A target that is called otherwise while it is probed: everything else is as if nothing had happened.

use crate::load;
use crate::scenario::What;
use crate::world::World;

/// Lines of the first host about its flows and what it knows of the peer's clock, under the labels of before.
fn flows(report: &str) -> Vec<String> {
    let own = report.split("\nb, ").next().expect("the first host");
    let lines = own.lines().filter(|line| !line.contains("from source:"));
    let mut lines: Vec<String> = lines
        .map(|line| line.replace("a -> b2 ", "a -> b "))
        .collect();
    lines.sort();
    lines
}

/// How many delays both hosts have published of the other's packets, under whatever labels.
fn published(report: &str) -> [usize; 2] {
    let (own, of_peer) = report.split_once("\nb, ").expect("two hosts");
    [own, of_peer].map(|of_host| {
        let counts = of_host.lines().filter_map(|line| {
            let (_, rest) = line.split_once("from source:")?;
            rest.split_once(" samples")?
                .0
                .rsplit(' ')
                .next()?
                .parse::<usize>()
                .ok()
        });
        counts.sum()
    })
}

#[test]
fn a_flow_that_is_called_otherwise_is_the_same_flow() {
    let changed = World::run(load("labels_changed.toml"));
    let mut scenario = load("labels_changed.toml");
    scenario
        .acts
        .retain(|act| !matches!(act.what, What::Labels { .. }));
    let as_ever = World::run(scenario);
    assert_eq!(flows(&changed), flows(&as_ever));
    let delays = published(&as_ever);
    assert!(delays.iter().all(|count| *count > 10_000), "{as_ever}");
    assert_eq!(published(&changed), delays, "{changed}");
}
