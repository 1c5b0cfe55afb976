//! The daemon's command line: parse, run, and turn an error into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use latency_monitor::{Config, cli, cli::Cli, cli::Command, monitor};

fn main() -> ExitCode {
    let cli = Cli::read();
    if let Some(ended) = cli.command.as_ref().and_then(Command::run) {
        return end(ended);
    }
    match &cli.command {
        Some(Command::Ping(asked)) => return monitor::ping::run(asked).into(),
        Some(Command::Trace(it)) => return end(monitor::trace::run(&it.request, &it.settings.0)),
        _ => {}
    }
    let (file, overrides, member) = (cli.daemon.file(), &cli.daemon.overrides, cli.member());
    match Config::load_as(file, overrides, member) {
        Err(error) => fail(&error, ExitCode::from(2)), // As clap has it.
        Ok((config, text)) if cli.command.is_some() => check(&config, &text, member.is_none()),
        Ok((config, _)) => end(monitor::run(config, || Config::load(file, overrides))),
    }
}

fn end(ended: Result<(), impl std::fmt::Display>) -> ExitCode {
    let failed = |error| fail(&error, ExitCode::FAILURE);
    ended.map_or_else(failed, |()| ExitCode::SUCCESS)
}

fn check(config: &Config, text: &str, is_here: bool) -> ExitCode {
    let report = monitor::preflight::report(config, is_here);
    match write!(io::stderr(), "{report}").and_then(|()| cli::print(text)) {
        Ok(()) if is_here => end(monitor::preflight::check(config)),
        ended => end(ended),
    }
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    let _ = writeln!(io::stderr(), "latency-monitor: {error}");
    code
}
