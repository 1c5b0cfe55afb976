//! The manual page latency-monitor.toml(5), from the table of keys.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::config::reference::{facts, parts};

/// The page's name.
pub(crate) const NAME: &str = "latency-monitor.toml";

const ABOUT: &[&str] = &[
    "The file is TOML. `latency-monitor` reads `latency.toml` in its working directory unless `--config-file` names \
     another one; the packages' unit reads `/etc/latency-monitor/latency.toml`. Every key has a default, and without \
     a file the daemon answers probes.",
    "A flag goes over the top level of the file, and a target's own key goes over both. An environment variable holds \
     where the file does not have the key. Words may be in upper or lower case. An unknown key, a wrong type and a value \
     out of range are errors; all of them are reported at once, each with its line.",
    "`latency-monitor check -c FILE` says what is wrong with a file, and prints it with every default filled in. \
     `latency-monitor schema config` prints a JSON Schema for editors. SIGHUP has the daemon read the file again.",
    "A path that begins with `$CREDENTIALS_DIRECTORY/` leads to a credential, which systemd gives to a unit with \
     `LoadCredential=`.",
];

const EXAMPLE: &str = "\
name = \"ams\"

[[targets]]
host = \"192.0.2.7\"
label = \"fra\"
interval = 1
tags = [\"isp:example\"]

[http]
listen = \"127.0.0.1:8003\"

[[metrics]]
backend = \"clickhouse\"
host = \"clickhouse.example.com\"
password_file = \"$CREDENTIALS_DIRECTORY/clickhouse\"
";

/// Returns the page as roff.
pub(crate) fn manual() -> String {
    let mut page = Roff::new();
    page.control("SH", ["NAME"]);
    page.text([roman(format!(
        "{NAME} - configuration of latency-monitor(1)"
    ))]);
    page.control("SH", ["DESCRIPTION"]);
    for text in ABOUT {
        page.control("PP", []);
        page.text(inlines(text));
    }
    for part in parts() {
        page.control("SH", [&*heading(&part.heading)]);
        for key in part.keys {
            page.control("TP", []);
            page.text([bold(key.name)]);
            page.text(inlines(key.help));
            page.control("br", []);
            page.text(inlines(&capitalised(&facts(key))));
        }
    }
    page.control("SH", ["EXAMPLES"]);
    page.control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("latency-monitor"), roman("(1)")]);
    titled(NAME, '5', &page.render())
}

/// What roff writes at the beginning of all that it renders: how an apostrophe is written.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Returns a page of sections that were rendered one by one. The title has no date, so that a build can be repeated,
/// which roff cannot write.
pub(crate) fn titled(name: &str, section: char, sections: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let sections = sections.replace(PREAMBLE, "");
    format!(
        "{PREAMBLE}.TH \"{name}\" \"{section}\" \"\" \"latency\\-monitor {version}\" \"\"\n{sections}"
    )
}

/// Writes what stands in backticks in bold.
pub(crate) fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts
        .map(|(index, part)| {
            if index % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

/// Returns a heading of the reference without its links and backticks.
fn heading(markdown: &str) -> String {
    let mut rest = markdown;
    let mut heading = String::new();
    while let Some((before, link)) = rest.split_once(" ([") {
        heading.push_str(before);
        rest = link.split_once("))").map_or("", |(_, after)| after);
    }
    heading.push_str(rest);
    heading.replace('`', "")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, Sealed, keys};

    #[test]
    fn every_key_is_in_the_page_and_the_example_is_right() {
        let page = manual();
        for key in keys() {
            let name = key.name.replace('-', "\\-");
            assert!(page.contains(&format!("\n.TP\n\\fB{name}\\fR\n")), "{name}");
        }
        // No letter of Markdown is left, and nothing that roff would take for itself.
        assert!(!page.contains('`') && !page.contains("]("), "{page}");
        let example = EXAMPLE.replace("$CREDENTIALS_DIRECTORY", "/run/credentials");
        let text = example.replace("password_file", "#");
        #[cfg(all(feature = "http-backends", feature = "http-server"))]
        Config::parse_effective(&text, &Overrides::default(), &Sealed).unwrap();
        #[cfg(not(all(feature = "http-backends", feature = "http-server")))]
        drop(text);
    }

    #[test]
    fn headings_have_no_links() {
        for (markdown, wanted) in [
            ("The daemon", "The daemon"),
            (
                "`[[mesh]]`: hosts ([mesh.md](mesh.md)). It has any",
                "[[mesh]]: hosts. It has any",
            ),
            ("`[path]`: hops ([paths.md](paths.md))", "[path]: hops"),
        ] {
            assert_eq!(heading(markdown), wanted);
        }
    }
}
