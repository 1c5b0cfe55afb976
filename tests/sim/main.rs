//! The simulation: probers on a virtual clock and a seeded network.
//!
//! It is an engine of its own, and proves most of the protocol. After every step it compares each
//! prober with an account that is kept beside it (`account.rs`): every probe has one outcome,
//! every delay is the network's, and every slot of the schedule is accounted for.
//!
//! Scenarios are files, and their results are snapshots (`INSTA_UPDATE=always cargo test --test
//! sim` writes them anew). `SIM_RUNS` is the number of random worlds, `SIM_SEED` the first of
//! their seeds.

mod account;
mod bursts;
mod chaos;
mod clock;
mod foreign;
mod host;
mod labels;
mod late;
mod late_tests;
mod life;
mod nat;
mod network;
mod outages;
mod paths;
mod python;
mod results;
mod rng;
mod routers;
mod scenario;
mod slots;
mod spread;
mod strangers;
mod stream;
mod traces;
mod truth;
mod windows;
mod world;

use std::path::Path;

use crate::scenario::Scenario;
use crate::world::World;

fn load(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sim/scenarios")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

macro_rules! scenarios {
    ($($(#[$when:meta])? $name:ident)*) => {$(
        $(#[$when])?
        #[test]
        fn $name() {
            let file = concat!(stringify!($name), ".toml");
            insta::assert_snapshot!(stringify!($name), World::run(load(file)));
        }
    )*

    #[test]
    fn every_scenario_file_is_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/scenarios");
        let files = std::fs::read_dir(folder).expect("the folder of scenarios");
        let names = files.map(|file| file.expect("a file").file_name().into_string().expect("text"));
        let mut names: Vec<String> = names.collect();
        names.sort();
        let mut run = vec![$(concat!(stringify!($name), ".toml").to_owned()),*];
        run.sort();
        assert_eq!(names, run);
    }};
}

scenarios! {
    lan
    wan
    asked
    asymmetric_loss
    reordered_and_duplicated
    many_in_flight
    late_replies
    split_and_glued
    largest_size
    peer_restarts
    power_cut
    outage
    link_down
    outage_clock_set
    outages_in_turn
    clocks
    frozen_host
    names
    next_address
    rotating
    misaddressed
    nat_ports
    nat_rebinds
    nat_shared
    targets_come_and_go
    python_peer
    refused_sends
    unreachable
    hops
    strangers
    attack
    attack_restart
    aliases
    lost_address
    peer_reads_nothing
    one_way_only
    #[cfg(not(debug_assertions))]
    hour
    stamp_stateful
    stamp_stateless
    stamp_short
    stamp_misread
    native_lan
    native_wan
    keys
    keys_changed
    labels_changed
    native_slow
    native_loss
    native_slow_loss
    native_peer_restarts
    native_replaced
    native_one_end_stamps
    native_glued
    native_stalled
    clocks_skew
    clocks_jitter
    clocks_peer_steps
    clocks_own_steps
    clocks_stalled
    clock_set
    clocks_step_within_round_trip
    clocks_step_as_path_changes
    clocks_bend
    clock_set_meanwhile
    bursts
    suspects
    every_address
    flows
    reopened
    life
}
