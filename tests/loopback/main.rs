//! The black-box suite that every engine must pass: real sockets over loopback.
//!
//! Nothing here waits for time to pass. A test turns the loops of its hosts until what it waits for
//! has happened. The limit ends a test that would otherwise never end.

mod hosts;
mod suite;

use latency_monitor::engine::EngineConfig;
use latency_monitor::engine::mio::MioEngine;

/// Runs every test on every engine.
macro_rules! engine_suite {
    ({ $($engine:ident: $make:expr),* $(,)? }, $tests:tt) => {
        $(engine_suite!(@one $engine, $make, $tests);)*
    };
    (@one $engine:ident, $make:expr, [$($test:ident),* $(,)?]) => {
        mod $engine {
            use super::*;

            $(
                #[test]
                fn $test() {
                    suite::$test(&$make);
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
        measures_over_udp_and_tcp,
        measures_with_a_key,
        measures_over_ipv6,
        answers_both_families_on_one_port,
        answers_senders_that_are_not_ours,
        measures_reflectors_that_are_not_ours,
        times_connects_without_leaving_time_wait,
        answers_from_the_address_that_was_probed,
        takes_the_largest_probes,
        keeps_many_probes_in_flight,
        comes_back_when_the_peer_restarts,
        tells_answers_from_another_port,
        survives_a_refused_port,
        tells_the_flow_that_is_refused_and_no_other,
        closes_a_stream_that_cannot_be_read,
        does_not_wait_for_a_peer_that_never_reads,
        says_which_port_is_taken,
        wakes_between_two_milliseconds,
        stamps_every_packet,
        stamps_nothing_unless_asked,
    ]
);
