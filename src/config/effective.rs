//! A configuration with every default filled in, as a file.

use std::fmt::{self, Write as _};

use crate::config::options::Owd;
use crate::config::{Backend, Config, Word};
use crate::proto::TargetSpec;

/// The configuration as a file that would give it again, without what it leaves to defaults.
pub fn effective(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_config(&mut out, config);
    out
}

fn write_config(out: &mut String, config: &Config) -> fmt::Result {
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    writeln!(out, "name = {}", quoted(&config.name))?;
    writeln!(out, "address = {}", list(&addresses))?;
    writeln!(out, "tcp = {}", config.tcp)?;
    writeln!(out, "udp = {}", config.udp)?;
    writeln!(out, "tcp_port = {}", config.tcp_port)?;
    writeln!(out, "udp_port = {}", config.udp_port)?;
    writeln!(out, "max_size = {}", config.max_size)?;
    writeln!(out, "protocol = {}", quoted(config.protocol().as_word()))?;
    writeln!(out, "timestamps = {}", quoted(config.timestamps.as_word()))?;
    writeln!(
        out,
        "resolve_interval = {:?}",
        config.resolve_interval.as_secs_f64()
    )?;
    writeln!(
        out,
        "shutdown_timeout = {:?}",
        config.shutdown_timeout.as_secs_f64()
    )?;
    writeln!(out, "log_level = {}", quoted(config.log_level.as_word()))?;
    if let Some(path) = &config.log_file {
        writeln!(out, "log_file = {}", quoted(&path.to_string_lossy()))?;
    }
    writeln!(out, "\n[engine]")?;
    writeln!(out, "kind = {}", quoted(config.engine.kind.as_word()))?;
    writeln!(out, "spin_us = {}", config.engine.spin_us)?;
    for metrics in &config.metrics {
        writeln!(out, "\n[[metrics]]")?;
        writeln!(out, "backend = {}", quoted(metrics.backend.as_word()))?;
        writeln!(out, "mode = {}", quoted(metrics.mode.as_word()))?;
        writeln!(
            out,
            "send_interval = {:?}",
            metrics.send_interval.as_secs_f64()
        )?;
        writeln!(out, "format = \"json\"")?;
        writeln!(out, "compat_zero = {}", metrics.compat_zero)?;
        if metrics.backend == Backend::Log {
            writeln!(out, "level = {}", quoted(metrics.level.as_word()))?;
        }
    }
    for target in &config.targets {
        write_target(out, target)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "intervals and timeouts are far below 2^53 ns"
)]
fn write_target(out: &mut String, target: &TargetSpec) -> fmt::Result {
    let kind = match (target.tcp_port, target.udp_port) {
        (Some(_), Some(_)) => "both",
        (Some(_), None) => "tcp",
        _ => "udp",
    };
    writeln!(out, "\n[[targets]]")?;
    writeln!(out, "host = {}", quoted(&target.host.to_string()))?;
    writeln!(out, "label = {}", quoted(&target.label))?;
    writeln!(out, "tags = {}", list(&target.tags))?;
    writeln!(out, "type = {}", quoted(kind))?;
    writeln!(out, "rtt = {}", target.rtt)?;
    if let Some(port) = target.tcp_port {
        writeln!(out, "tcp_latency = {}", target.connect_port.is_some())?;
        writeln!(out, "tcp_port = {port}")?;
    }
    if let Some(port) = target.udp_port {
        writeln!(out, "udp_port = {port}")?;
    }
    writeln!(out, "interval = {:?}", target.interval_ns as f64 / 1e6)?;
    writeln!(out, "timeout = {:?}", target.timeout_ns as f64 / 1e9)?;
    if let Some(size) = target.size {
        writeln!(out, "size = {size}")?;
    }
    writeln!(out, "max_lost = {}", target.max_lost)?;
    writeln!(out, "protocol = {}", quoted(target.protocol.as_word()))?;
    let owd = if target.owd_corrected {
        Owd::Corrected
    } else {
        Owd::Raw
    };
    writeln!(out, "owd = {}", quoted(owd.as_word()))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
