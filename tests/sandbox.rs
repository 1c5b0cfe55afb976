//! A small program that locks itself in by the daemon's own rules, and tries what it must not do from then on.
//!
//! It starts itself again for that: what it gives up, it does not get back.

#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
#[path = "sandbox/inside.rs"]
mod inside;

#[cfg(all(target_os = "linux", not(latency_monitor_portable)))]
fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(inside::WORD) => inside::run(&arguments.next().expect("a folder")),
        // Tools ask so which tests there are.
        Some("--list") => {}
        _ => inside::check(),
    }
}

#[cfg(not(all(target_os = "linux", not(latency_monitor_portable))))]
fn main() {}
