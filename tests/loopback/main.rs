//! The black-box suite that every engine must pass: real sockets over loopback.
//!
//! Nothing here waits for time to pass. A test turns the loops of its hosts until what it waits for
//! has happened. The limit ends a test that would otherwise never end.

mod flows;
mod hosts;
mod listening;
mod marks;
mod paths;
mod suite;

use latency_monitor::engine::EngineConfig;
use latency_monitor::engine::mio::MioEngine;
#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
use latency_monitor::engine::uring::UringEngine;

/// Runs every test on every engine.
macro_rules! engine_suite {
    ({ $($(#[$where:meta])* $engine:ident: $make:expr),* $(,)? }, $tests:tt) => {
        $(engine_suite!(@one [$(#[$where])*] $engine, $make, $tests);)*
    };
    (@one [$($where:tt)*] $engine:ident, $make:expr, [$($file:ident::$test:ident),* $(,)?]) => {
        $($where)*
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
        mio_that_reads_late: |config: &EngineConfig| MioEngine::new(&EngineConfig {
            receive_within_ns: 2_000_000,
            ..config.clone()
        }),
        #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
        io_uring: |config: &EngineConfig| UringEngine::new(config),
        #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
        io_uring_that_reads_late: |config: &EngineConfig| UringEngine::new(&EngineConfig {
            receive_within_ns: 2_000_000,
            ..config.clone()
        }),
        #[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
        io_uring_with_error_queues: |config: &EngineConfig| UringEngine::with_error_queues(config),
    },
    [
        suite::measures_over_udp_and_tcp,
        suite::measures_with_a_key,
        suite::measures_over_ipv6,
        listening::answers_both_families_on_one_port,
        listening::answers_on_every_port,
        listening::tells_ports_and_addresses_apart,
        suite::answers_senders_that_are_not_ours,
        suite::answers_all_that_came_while_it_was_away,
        suite::measures_reflectors_that_are_not_ours,
        suite::times_connects_without_leaving_time_wait,
        listening::answers_from_the_address_that_was_probed,
        suite::takes_the_largest_probes,
        suite::keeps_many_probes_in_flight,
        suite::comes_back_when_the_peer_restarts,
        listening::gives_its_ports_free_at_once,
        suite::tells_answers_from_another_port,
        flows::probes_from_ports_that_stay,
        suite::survives_a_refused_port,
        suite::tells_the_flow_that_is_refused_and_no_other,
        suite::closes_a_stream_that_cannot_be_read,
        suite::does_not_wait_for_a_peer_that_never_reads,
        listening::says_which_port_is_taken,
        marks::leaves_from_the_ports_that_are_given,
        marks::passes_over_a_port_that_is_taken,
        marks::says_what_this_host_lacks,
        marks::measures_with_every_mark,
        suite::wakes_between_two_milliseconds,
        paths::traces_beside_probes_and_disturbs_none,
        paths::tells_the_host_that_a_trace_comes_to,
        suite::stamps_every_packet,
        suite::stamps_nothing_unless_asked,
    ]
);
