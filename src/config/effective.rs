//! A configuration with every default filled in, as a file.

use std::fmt::{self, Write as _};

use crate::config::burst;
use crate::config::options::Owd;
use crate::config::{BackendSettings, Config, EngineOptions, MetricsConfig, Word};
use crate::proto::TargetSpec;
use crate::publish::{ClickHouseSettings, Secret};

/// The configuration as a file that would give it again, but for secrets, which it does not show.
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
    write_engine(out, &config.engine)?;
    burst::write(out, &config.burst)?;
    for metrics in &config.metrics {
        write_metrics(out, metrics)?;
    }
    for target in &config.targets {
        write_target(out, target)?;
    }
    Ok(())
}

fn write_engine(out: &mut String, engine: &EngineOptions) -> fmt::Result {
    writeln!(out, "\n[engine]")?;
    writeln!(out, "kind = {}", quoted(engine.kind.as_word()))?;
    writeln!(out, "spin_us = {}", engine.spin_us)?;
    if let Some(cpu) = engine.cpu {
        writeln!(out, "cpu = {cpu}")?;
    }
    if let Some(priority) = engine.realtime {
        writeln!(out, "realtime = {priority}")?;
    }
    writeln!(out, "lock_memory = {}", engine.lock_memory)?;
    writeln!(out, "busy_poll_us = {}", engine.busy_poll_us)?;
    let buffers = [
        ("receive_buffer_kib", engine.receive_buffer_kib),
        ("send_buffer_kib", engine.send_buffer_kib),
    ];
    for (key, kib) in buffers {
        if let Some(kib) = kib {
            writeln!(out, "{key} = {kib}")?;
        }
    }
    Ok(())
}

fn write_metrics(out: &mut String, metrics: &MetricsConfig) -> fmt::Result {
    let delivery = &metrics.delivery;
    writeln!(out, "\n[[metrics]]")?;
    writeln!(out, "backend = {}", quoted(metrics.backend.as_word()))?;
    writeln!(out, "mode = {}", quoted(metrics.mode.as_word()))?;
    let interval = delivery.send_interval.as_secs_f64();
    writeln!(out, "send_interval = {interval:?}")?;
    writeln!(out, "format = \"json\"")?;
    writeln!(out, "compat_zero = {}", metrics.compat_zero)?;
    match &metrics.settings {
        BackendSettings::Cli => return Ok(()),
        BackendSettings::Log => {
            return writeln!(out, "level = {}", quoted(metrics.level.as_word()));
        }
        BackendSettings::ZeroMq(settings) => {
            writeln!(out, "address = {}", quoted(&settings.address.to_string()))?;
            return writeln!(out, "port = {}", settings.port);
        }
        BackendSettings::ClickHouse(settings) => write_clickhouse(out, settings)?,
        BackendSettings::Pushgateway(settings) => {
            writeln!(out, "gateway = {}", quoted(&settings.gateway.to_string()))?;
            writeln!(out, "job = {}", quoted(settings.job.as_str()))?;
            if let Some(bounds) = &settings.buckets {
                writeln!(out, "buckets = {:?}", bounds.seconds())?;
            }
            writeln!(out, "delete_on_stop = {}", settings.delete_on_stop)?;
        }
        BackendSettings::Datadog(settings) => {
            writeln!(out, "site = {}", quoted(settings.site.as_str()))?;
            write_secret(out, "api_key", settings.api_key.secret())?;
            if let Some(url) = &settings.url {
                writeln!(out, "url = {}", quoted(&url.to_string()))?;
            }
        }
    }
    writeln!(out, "buffer_mib = {}", delivery.buffer_mib)?;
    if let Some(folder) = &delivery.spool_dir {
        writeln!(out, "spool_dir = {}", quoted(&folder.to_string_lossy()))?;
    }
    Ok(())
}

fn write_clickhouse(out: &mut String, settings: &ClickHouseSettings) -> fmt::Result {
    let server = &settings.server;
    writeln!(out, "host = {}", quoted(&server.host().to_string()))?;
    writeln!(out, "port = {}", server.port())?;
    writeln!(out, "secure = {}", server.is_secure())?;
    writeln!(out, "database = {}", quoted(settings.database.as_str()))?;
    writeln!(out, "username = {}", quoted(settings.username.as_str()))?;
    write_secret(out, "password", &settings.password)?;
    writeln!(out, "table = {}", quoted(settings.table.as_str()))?;
    let columns: toml::Table = settings
        .columns
        .iter()
        .map(|(ours, theirs)| (ours.to_owned(), theirs.into()))
        .collect();
    if !columns.is_empty() {
        writeln!(out, "columns = {}", toml::Value::from(columns))?;
    }
    Ok(())
}

/// A secret's place is shown, and never the secret.
fn write_secret(out: &mut String, key: &str, secret: &Secret) -> fmt::Result {
    if secret.as_str().is_empty() {
        return Ok(());
    }
    writeln!(out, "{key} = {}", quoted(&format!("{secret:?}")))
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
