//! What the page runs, and what others' text may do in it: nothing.

use sha2::Digest as _;

use super::*;
use crate::report::words::plain;
use base64::Engine as _;

fn policy_and_script(page: &str) -> (&str, &str) {
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    let (_, rest) = page.split_once("<script>").unwrap();
    let (script, _) = rest.split_once("</script>").unwrap();
    let (_, rest) = page
        .split_once("Content-Security-Policy\" content=\"")
        .unwrap();
    (rest.split_once('"').unwrap().0, script)
}

#[test]
fn the_policy_lets_the_pages_own_script_run_and_nothing_else() {
    let page = html::page(&data_of(&dump()).unwrap());
    let (policy, script) = policy_and_script(&page);
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(script));
    assert!(
        policy.contains(&format!("script-src 'sha256-{hash}';")),
        "{policy}"
    );
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for word in [
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "EventSource",
        "sendBeacon",
        "import",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "localStorage",
        "cookie",
        "</",
    ] {
        assert!(!script.contains(word), "{word}");
    }
}

/// The script goes by the attributes of each plot: where its axes are, and what they mean.
#[test]
fn each_plot_says_what_its_axes_mean() {
    let lines: String = (1..=100)
        .map(|n| sample(n * 1_000_000_000, 5_000))
        .collect();
    let page = html::page(&data_of(&(dump() + &lines)).unwrap());
    for (kind, count) in [("time", 1), ("percentiles", 2), ("heat", 1)] {
        let begin = format!("<svg role=\"img\" data-kind=\"{kind}\" data-plot=\"");
        assert_eq!(page.matches(&begin).count(), count, "{kind}");
    }
    let (_, heat) = page.split_once("data-kind=\"heat\"").unwrap();
    // The first time of all is that of a sample, and the last one that of a probe.
    assert!(
        heat.split_once('>')
            .unwrap()
            .0
            .contains("data-origin=\"1000\" data-unit=\"1000\""),
        "{}",
        &heat[..300]
    );
}

#[test]
fn text_of_others_stays_text_on_the_page_and_at_a_terminal() {
    let longest = "x".repeat(255);
    let names = [
        "<img onerror=1>",
        "\u{202e}gnp",
        "\u{1b}[2J",
        "\u{5d0}\u{5d1}",
        "a\u{2066}b",
        &longest,
    ];
    for name in names {
        let text = serde_json::to_string(&format!("target:{name}")).unwrap();
        let lines = sample(1_000, 5).replace("\"source:a\"", &format!("\"source:a\", {text}"))
            + &format!(
                "{{\"event\":\"burst\",\"flow\":\"udp\",\"start\":9,\"duration\":4,\"peak\":5,\"lost\":0,\"tags\":[{text}]}}\n"
            )
            + &format!("{{\"metric\":\"udp.wan.lost\",\"points\":[[5,2]],\"tags\":[{text}]}}\n")
            + &dump().replace("\"target:<b>\"", &text);
        let data = data_of(&lines).unwrap();
        assert!(data.unread.is_empty(), "{:?}", data.unread);
        let (page, terminal) = (html::page(&data), text::page(&data));
        policy_and_script(&page);
        for shown in [&page, &terminal] {
            for bad in ["\u{202e}", "\u{1b}", "\u{2066}"] {
                assert!(!shown.contains(bad), "{name:?}");
            }
        }
        assert!(!page.contains("<img"), "{name:?}");
        assert!(
            page.matches(&escaped(name)).count() >= 4 && terminal.contains(&plain(name)),
            "{name:?}"
        );
    }
}
