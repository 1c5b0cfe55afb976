//! Watches hosts and prints each round trip: `cargo run --example watch -- 192.0.2.7 192.0.2.8`.
//!
//! The hosts run latency-monitor. Without arguments it watches itself. It ends after a minute.

use std::env;
use std::time::{Duration, Instant};

use latency_monitor::{Config, LatencyMonitor, TargetOptions};

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
#[expect(
    clippy::disallowed_methods,
    reason = "an example may look at its watch"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Port 0: any free one, so that it runs beside a daemon.
    let mut monitor = LatencyMonitor::new(Config::default().with_ports(0, 0));
    let hosts: Vec<String> = env::args().skip(1).collect();
    for host in &hosts {
        monitor.add_target(
            TargetOptions::new(host)
                .port(8000)
                .udp_port(8001)
                .interval_ms(100.0),
        )?;
    }
    let metrics = monitor.start()?;
    if hosts.is_empty() {
        // Targets may be added while it runs.
        let port = monitor.listening().udp[0].port();
        monitor.add_udp_target(TargetOptions::new("127.0.0.1").port(port).label("myself"))?;
    }
    let end = Instant::now() + Duration::from_mins(1);
    while let Ok(record) = metrics.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let (true, Some(ns)) = (record.metric().contains("rtt"), record.value()) {
            let tags: Vec<String> = record.tags().map(|tag| tag.to_string()).collect();
            println!("{:>12} ns  {}  {}", ns, record.metric(), tags.join(" "));
        }
    }
    monitor.stop()?;
    Ok(())
}
