//! The simulation: probers on a virtual clock and a seeded network.
//!
//! It is the third engine, and where most of the truth is proved. After every step an account that
//! is kept beside each prober is compared with the prober's own (`account.rs`): every probe has one
//! outcome, every delay is what the network did, and every slot of the schedule is accounted for.
//!
//! Scenarios are files; their results are snapshots (`INSTA_UPDATE=always cargo test --test sim`
//! writes them anew). `SIM_RUNS` sets how many random worlds are run, `SIM_SEED` which is the first.
//! The virtual hour takes longer than all others together: `make sim` runs it, whose build is optimised.

mod account;
mod bursts;
mod chaos;
mod clock;
mod host;
mod network;
mod python;
mod rng;
mod scenario;
mod spread;
mod traces;
mod truth;
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
    asymmetric_loss
    reordered_and_duplicated
    many_in_flight
    late_replies
    split_and_glued
    largest_size
    peer_restarts
    power_cut
    outage
    clocks
    frozen_host
    names
    targets_come_and_go
    python_peer
    refused_sends
    unreachable
    strangers
    aliases
    lost_address
    peer_reads_nothing
    one_way_only
    #[cfg(not(debug_assertions))]
    hour
    native_lan
    native_wan
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
    clock_set_meanwhile
    bursts
}
