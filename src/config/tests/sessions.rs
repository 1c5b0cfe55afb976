//! The tables `[[sessions]]`.

use std::fs;

use crate::config::{Config, Overrides, System};
use crate::proto::{Key, SenderSpec};

fn read(text: &str) -> Result<(Config, String), String> {
    let read = Config::parse_effective(text, &Overrides::default(), &System);
    read.map_err(|error| error.to_string())
}

#[test]
fn a_session_is_what_its_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pe1");
    fs::write(&path, [7; 32]).unwrap();
    let (config, shown) = read(&format!(
        "[[sessions]]\nfrom = '192.0.2.7'\nssid = 7\nlabel = 'pe1'\ntags = ['site:fra']\nutc_offset = 37\n\
         key_file = {path:?}\n[[sessions]]\nfrom = '2001:db8::/32'\nlabel = 'six'\n\
         [auth]\nrequire_key = true"
    ))
    .unwrap();
    let six = SenderSpec {
        from: "2001:db8::/32".parse().unwrap(),
        ssid: None,
        label: "six".into(),
        tags: Vec::new(),
        utc_offset_ns: 0,
        key: None,
    };
    let pe1 = SenderSpec {
        from: "192.0.2.7/32".parse().unwrap(),
        ssid: Some(7),
        label: "pe1".into(),
        tags: vec!["site:fra".into()],
        utc_offset_ns: 37_000_000_000,
        key: Key::new(&[7; 32]).map(Into::into),
    };
    assert_eq!(config.senders, [pe1, six]);
    assert_eq!(config.keys.len(), 1);
    let (again, _) = read(&shown).unwrap();
    assert_eq!(again.senders, config.senders);
}

#[test]
fn a_session_that_is_none_is_a_mistake() {
    for (table, wanted) in [
        ("label = 'a'", "line 1: a session must have `from`"),
        ("from = '192.0.2.7'", "line 1: a session must have `from`"),
        (
            "from = '192.0.2.7/33'\nlabel = 'a'",
            "line 2: `from` is \"192.0.2.7/33\", which is neither an address nor a prefix",
        ),
        (
            "from = '192.0.2.7'\nlabel = 'a|b'",
            "line 3: `label` must have no `|`",
        ),
        (
            "from = '192.0.2.7'\nlabel = 'a'\nssid = 65536",
            "line 4: `ssid` must be 0 to 65535, not 65536",
        ),
        (
            "from = '192.0.2.7'\nlabel = 'a'\nkey = 'b'",
            "line 4: `key` is not a key of [[sessions]]",
        ),
        (
            "from = '192.0.2.7'\nlabel = 'a'\n[[sessions]]\nfrom = '192.0.2.7/32'\nlabel = 'b'",
            "line 5: `from` is 192.0.2.7/32, as that of another session",
        ),
    ] {
        let error = read(&format!("[[sessions]]\n{table}")).unwrap_err();
        assert!(error.contains(wanted), "{table}: {error}");
    }
}

#[test]
fn a_session_outside_of_what_is_allowed_is_warned_of() {
    let text = "allow = ['192.0.2.0/24']\n[[sessions]]\nfrom = '192.0.0.0/16'\nlabel = 'a'\n\
                [[sessions]]\nfrom = '192.0.3.1'\nlabel = 'b'";
    let warnings = read(text).unwrap().0.warnings;
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.contains("`from` is 192.0.3.1, which `allow` does not let in"),
        "{warning}"
    );
}
