//! The daemon's command line: parse, run, and turn an error into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use latency_monitor::cli::{Cli, Command};
use latency_monitor::{Config, config, monitor};

/// The exit code of a wrong command line or configuration, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config_file(), &cli.overrides()) {
        Ok(config) => config,
        Err(error) => return fail(&error, ExitCode::from(USAGE)),
    };
    let ended = match cli.command {
        Some(Command::Check) => print(&config).map_err(anyhow::Error::from),
        None => monitor::run(config).map_err(anyhow::Error::from),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error, ExitCode::FAILURE),
    }
}

fn print(config: &Config) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    match io::stdout().write_all(config::effective(config).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "latency-monitor: {error}");
    code
}
