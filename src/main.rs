//! The daemon's command line: parse, run, and turn an error into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use latency_monitor::cli::{Cli, Command};
use latency_monitor::{Config, monitor};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Schema { of }) => return end(write(&of.text())),
        #[cfg(feature = "report")]
        Some(Command::Report(request)) => return end(request.run()),
        Some(Command::Check { .. }) | None => {}
    }
    let (file, member) = (cli.file(), cli.member());
    match Config::load_as(file, &cli.overrides, member) {
        Err(error) => fail(&error, ExitCode::from(2)), // As clap has it.
        Ok((config, text)) if cli.command.is_some() => check(&config, &text, member.is_none()),
        Ok((config, _)) => end(monitor::run(config, || Config::load(file, &cli.overrides))),
    }
}

fn end(ended: Result<(), impl std::fmt::Display>) -> ExitCode {
    let failed = |error| fail(&error, ExitCode::FAILURE);
    ended.map_or_else(failed, |()| ExitCode::SUCCESS)
}

fn check(config: &Config, text: &str, is_here: bool) -> ExitCode {
    let report = monitor::preflight::report(config, is_here);
    match write!(io::stderr(), "{report}").and_then(|()| write(text)) {
        Ok(()) if is_here => end(monitor::preflight::check(config)),
        ended => end(ended),
    }
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
