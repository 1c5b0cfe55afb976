//! The black-box suite that every engine must pass: real sockets over loopback.
//!
//! Nothing here waits for time to pass. A test turns the loops of its hosts until what it waits for
//! has happened. The limit ends a test that would otherwise never end.

mod hosts;
mod listening;
mod suite;

use latency_monitor::engine::EngineConfig;
use latency_monitor::engine::mio::MioEngine;

/// Runs every test on every engine.
macro_rules! engine_suite {
    ({ $($engine:ident: $make:expr),* $(,)? }, $tests:tt) => {
        $(engine_suite!(@one $engine, $make, $tests);)*
    };
    (@one $engine:ident, $make:expr, [$($file:ident::$test:ident),* $(,)?]) => {
        mod $engine {
            use super::*;

            $(
                #[test]
                fn $test() {
                    $file::$test(&$make);
                }
            )*
        }
    };
}

engine_suite!(
    // The engines: a new one is a line here.
    {
        mio: |config: &EngineConfig| MioEngine::new(config),
    },
    [
        suite::measures_over_udp_and_tcp,
        suite::measures_with_a_key,
        suite::measures_over_ipv6,
        listening::answers_both_families_on_one_port,
        listening::answers_on_every_port,
        listening::tells_ports_and_addresses_apart,
        suite::answers_senders_that_are_not_ours,
        suite::measures_reflectors_that_are_not_ours,
        suite::times_connects_without_leaving_time_wait,
        listening::answers_from_the_address_that_was_probed,
        suite::takes_the_largest_probes,
        suite::keeps_many_probes_in_flight,
        suite::comes_back_when_the_peer_restarts,
        suite::tells_answers_from_another_port,
        suite::survives_a_refused_port,
        suite::tells_the_flow_that_is_refused_and_no_other,
        suite::closes_a_stream_that_cannot_be_read,
        suite::does_not_wait_for_a_peer_that_never_reads,
        listening::says_which_port_is_taken,
        suite::wakes_between_two_milliseconds,
        suite::stamps_every_packet,
        suite::stamps_nothing_unless_asked,
    ]
);
