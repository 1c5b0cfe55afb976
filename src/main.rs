//! The daemon's command line: parse, run, and turn an error into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use latency_monitor::cli::{Cli, Command};
use latency_monitor::{Config, config, monitor};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Schema { store }) = &cli.command {
        return end(write(&store.statements()).map_err(Into::into));
    }
    let config = match Config::load(cli.config_file(), &cli.overrides()) {
        Ok(config) => config,
        Err(error) => return fail(&error, ExitCode::from(2)), // As clap has it.
    };
    end(match cli.command {
        Some(_) => print(&config).map_err(Into::into),
        None => monitor::run(config).map_err(Into::into),
    })
}

fn end(ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error, ExitCode::FAILURE),
    }
}

fn print(config: &Config) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    write(&config::effective(config))
}

fn write(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    let _ = writeln!(io::stderr(), "latency-monitor: {error}");
    code
}
