//! The page that a browser gets: one file, which asks nobody but this host.
//!
//! It has no figures in it. They come over `/api/v1/live`, so the page itself is for everyone, and asks for the token
//! that its requests need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");

/// The parts of the script, in the order of who uses whom.
const SCRIPTS: [&str; 4] = [
    include_str!("page/words.js"),
    include_str!("page/model.js"),
    include_str!("page/draw.js"),
    include_str!("page/page.js"),
];

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Page {
    pub(super) html: Bytes,
    /// What the browser lets it do: run this one script, and ask where it came from.
    pub(super) policy: HeaderValue,
}

impl Page {
    pub(super) fn new() -> Self {
        let script = SCRIPTS.concat();
        let html = PAGE.replace("/*STYLE*/", STYLE);
        let html = html.replace("/*SCRIPT*/", &script);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(&script),
            hash(STYLE)
        );
        Self {
            html: html.into(),
            policy: HeaderValue::from_str(&policy).expect("hashes and words are ASCII"),
        }
    }
}

/// Returns a hash as a policy has it (CSP Level 3, section 2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_not_ours_has_another_hash() {
        let page = Page::new();
        let html = std::str::from_utf8(&page.html).unwrap();
        let policy = page.policy.to_str().unwrap();
        for name in ["style", "script"] {
            let (_, rest) = html.split_once(&format!("<{name}>")).unwrap();
            let (text, _) = rest.split_once(&format!("</{name}>")).unwrap();
            let allowed = format!("{name}-src '{}'", hash(text));
            assert!(policy.contains(&allowed), "{name}: {policy}");
        }
        // Nothing else in it would run, or be asked for.
        assert_eq!(html.matches("<script").count(), 1);
        for foreign in ["http://", "https://", " style=", "onclick="] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn text_of_others_never_becomes_markup() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(
                SCRIPTS.iter().all(|script| !script.contains(word)),
                "{word}"
            );
        }
        let is_strict = |script: &&str| script.starts_with("'use strict';\n");
        assert!(SCRIPTS.iter().all(is_strict));
    }
}
