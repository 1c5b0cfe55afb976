//! The table `[http]`.

use std::time::Duration;

use crate::config::{Config, Overrides};
use crate::publish::{HistogramKind, Scale};

fn read(text: &str) -> Result<(Config, String), String> {
    let read = Config::parse_effective(text, &Overrides::default(), &crate::config::Sealed);
    read.map_err(|error| error.to_string())
}

#[test]
fn nobody_can_ask_unless_it_is_said() {
    assert_eq!(Config::default().http, None);
}

#[test]
fn it_is_what_its_table_says() {
    let (config, shown) = read(
        "[http]\nlisten = '[::1]:8003'\nsocket = '/run/lm'\ntls_cert_file = 'a'\ntls_key_file = 'b'\n\
         client_ca_file = 'c'\ntoken_file = 'd'\ninterval = 0.5\nmetrics = ['*.rtt']\nhistograms = 'native'\n\
         schema = 8\nbuckets = [0.001, 1]",
    )
    .unwrap();
    let http = config.http.clone().unwrap();
    assert_eq!(http.listen, "[::1]:8003".parse().ok());
    assert_eq!(http.socket, Some("/run/lm".into()));
    let tls = http.tls.unwrap();
    assert_eq!((tls.certificates, tls.key), ("a".into(), "b".into()));
    assert_eq!(tls.client_ca, Some("c".into()));
    assert_eq!(http.token_file, Some("d".into()));
    assert_eq!(http.interval, Duration::from_millis(500));
    assert_eq!(http.scrape.histograms, HistogramKind::Native);
    assert_eq!(http.scrape.scale, Scale::MAX);
    assert_eq!(http.scrape.buckets.unwrap().seconds(), [0.001, 1.0]);
    assert_eq!(read(&shown).unwrap().0.http, config.http);
    let (config, _) = read("[http]\nsocket = 's'").unwrap();
    let http = config.http.unwrap();
    assert_eq!((http.listen, http.tls, http.token_file), (None, None, None));
    assert_eq!(http.interval, Duration::from_secs(5));
    assert_eq!(http.scrape.histograms, HistogramKind::Both);
    assert_eq!(http.scrape.scale, Scale::DEFAULT);
}

#[test]
fn who_is_asked_need_not_print() {
    let backends = |text| read(text).unwrap().0.metrics.len();
    assert_eq!(backends(""), 1);
    assert_eq!(backends("[http]\nlisten = '127.0.0.1:1'"), 0);
    let both = "[http]\nlisten = '127.0.0.1:1'\n[metrics]\nbackend = 'cli'";
    assert_eq!(backends(both), 1);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (table, wanted) in [
        (
            "interval = 5",
            "line 1: [http] has neither `listen` nor `socket`: nobody could ask",
        ),
        (
            "listen = 'localhost:80'",
            "line 2: `listen` must be an IP address and a port, as 127.0.0.1:8003 or [::1]:8003, not \"localhost:80\"",
        ),
        (
            "listen = '127.0.0.1'",
            "line 2: `listen` must be an IP address and a port",
        ),
        (
            "listen = '127.0.0.1:1'\ntls_cert_file = 'a'",
            "line 3: `tls_cert_file` needs the certificate's key: give `tls_key_file`, too",
        ),
        (
            "listen = '127.0.0.1:1'\ntls_key_file = 'a'",
            "line 3: `tls_key_file` needs the certificate: give `tls_cert_file`, too",
        ),
        (
            "listen = '127.0.0.1:1'\nclient_ca_file = 'a'",
            "line 3: `client_ca_file` needs HTTPS: give `tls_cert_file` and `tls_key_file`, too",
        ),
        (
            "listen = '127.0.0.1:1'\nschema = 9",
            "line 3: `schema` must be -4 to 8, not 9",
        ),
        (
            "listen = '127.0.0.1:1'\nhistograms = 'nativ'",
            "line 3: `histograms` must be \"both\" or \"native\" or \"classic\", not the string \"nativ\"; \
             did you mean `native`?",
        ),
        ("lisen = '127.0.0.1:1'", "did you mean `listen`?"),
    ] {
        let error = read(&format!("[http]\n{table}")).unwrap_err();
        assert!(error.contains(wanted), "{table}: {error}");
    }
}
