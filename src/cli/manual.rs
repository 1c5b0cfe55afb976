//! Manual pages and completions: what clap knows of the command line, and what nobody but us knows of the daemon.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, print};
use crate::config::{FILE_MANUAL, file_manual, inlines, titled};

/// What stands before the examples in the help of a command.
const EXAMPLES: &str = "Examples:\n";

/// Sections of latency-monitor(1) that are of no flag: each has terms and what they mean.
const OF_DAEMON: &[(&str, &[(&str, &str)])] = &[
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "End probing, publish what is left within `shutdown_timeout`, and end. A second one ends at once.",
            ),
            (
                "SIGHUP",
                "Reads the configuration again and opens the log file again. A file with a mistake changes nothing.",
            ),
            (
                "SIGUSR1",
                "Dumps the last probes of every flow, if `dump_dir` is set.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "The daemon was ended in order."),
            ("1", "It could not start, or failed."),
            ("2", "A flag or the configuration is wrong."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "LATENCY_MONITOR_PASSWORD, DD_API_KEY, DD_SITE",
                "Hold where the file does not have the key, and no file for it: see latency-monitor.toml(5).",
            ),
            (
                "CREDENTIALS_DIRECTORY",
                "The folder of the unit's credentials (systemd.exec(5)), to which paths in the file may refer.",
            ),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
                "Who is told that the daemon is ready, reloads, ends, and that its poll thread turns: see sd_notify(3).",
            ),
        ],
    ),
    (
        "FILES",
        &[
            ("./latency.toml", "The configuration, if none is named."),
            (
                "/etc/latency-monitor/latency.toml",
                "The configuration that the unit names.",
            ),
            (
                "/var/lib/latency-monitor",
                "Spools, dumps and history of the unit.",
            ),
        ],
    ),
];

/// Where the manual pages go.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ManualRequest {
    /// The page, as latency-monitor-ping or latency-monitor.toml
    #[arg(value_name = "PAGE", default_value = "latency-monitor")]
    page: String,
    /// Write all pages to this folder, which is made if it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    dir: Option<PathBuf>,
}

/// Whose completions are printed.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct CompletionsRequest {
    /// The shell that reads them
    shell: Shell,
}

impl ManualRequest {
    pub(super) fn run(&self) -> io::Result<()> {
        let pages = pages();
        if let Some(folder) = &self.dir {
            return write(folder, &pages);
        }
        let page = pages.iter().find(|page| page.name == self.page);
        let Some(page) = page else {
            let names: Vec<&str> = pages.iter().map(|page| &*page.name).collect();
            let text = format!(
                "there is no page {:?}; there are {}",
                self.page,
                names.join(", ")
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        };
        print(&page.text)
    }
}

impl CompletionsRequest {
    pub(super) fn run(&self) -> io::Result<()> {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

/// A manual page, as roff.
struct Page {
    name: String,
    section: char,
    text: String,
}

fn write(folder: &Path, pages: &[Page]) -> io::Result<()> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write {path}: {error}"))
        }
    };
    fs::create_dir_all(folder).map_err(told(folder))?;
    for page in pages {
        let path = folder.join(format!("{}.{}", page.name, page.section));
        fs::write(&path, &page.text).map_err(told(&path))?;
    }
    Ok(())
}

/// Returns every page: of the program, of each of its commands, and of its file.
fn pages() -> Vec<Page> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, &mut pages);
    pages.push(Page {
        name: FILE_MANUAL.to_owned(),
        section: '5',
        text: file_manual(),
    });
    pages
}

/// Adds the pages of a command, and of those below it.
fn add(command: &clap::Command, pages: &mut Vec<Page>) {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    pages.push(Page {
        name: name.to_owned(),
        section: '1',
        text: titled(name, '1', &sections(command)),
    });
    let below = command.get_subcommands().filter(|it| !it.is_hide_set());
    below.for_each(|command| add(command, pages));
}

fn sections(command: &clap::Command) -> String {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    let mut render = || {
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        page.write_all(own_sections(command).render().as_bytes())
    };
    // Memory takes everything.
    let _ = render();
    String::from_utf8_lossy(&page).into_owned()
}

/// Returns the sections that clap knows nothing of.
fn own_sections(command: &clap::Command) -> Roff {
    let mut page = Roff::new();
    let is_program = command.get_name() == Cli::command().get_name();
    if is_program {
        for (heading, terms) in OF_DAEMON {
            page.control("SH", [*heading]);
            for (term, text) in *terms {
                page.control("TP", []);
                page.text([bold(*term)]);
                page.text(inlines(text));
            }
        }
    }
    let help = command.get_after_help().map(ToString::to_string);
    if let Some(help) = help {
        let (notes, examples) = help.split_once(EXAMPLES).unwrap_or((&help, ""));
        if !notes.trim().is_empty() {
            page.control("SH", ["NOTES"]);
            page.text(inlines(&notes.trim().replace('\n', " ")));
        }
        page.control("SH", ["EXAMPLES"]);
        page.control("nf", []);
        for line in examples.lines() {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        page.control("fi", []);
    }
    page.control("SH", ["SEE ALSO"]);
    if !is_program {
        page.text([bold("latency-monitor"), roman("(1),")]);
    }
    page.text([bold(FILE_MANUAL), roman("(5)")]);
    page
}
