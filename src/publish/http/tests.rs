//! Against a small server on the loopback, which says what it is told to.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;
use crate::publish::testing::read_request;

type Request = (String, Vec<u8>);

/// Serves one connection, and gives each of these answers to one request on it.
fn serve(answers: Vec<String>) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        for answer in answers {
            let Some((head, body)) = read_request(&mut reader) else {
                return;
            };
            let request = (head.to_ascii_lowercase(), body);
            // Nobody may want to hear it out.
            if stream.write_all(answer.as_bytes()).is_err() || sender.send(request).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const LONG: Duration = Duration::from_mins(1);

fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://me:hush@{address}/in?key=hush")).unwrap()
}

fn post(address: SocketAddr, timeout: Duration) -> Result<Response, SendError> {
    let http = Http::new(None);
    let request = http.request(Method::POST, url(address))?.body("rows");
    http.send(request, timeout)
}

/// The result of one request that gets this answer.
fn result_of(status: &str, headers: &str, body: &str) -> Result<Response, SendError> {
    let (address, _requests) = serve(vec![answer(status, headers, body)]);
    post(address, LONG)
}

#[test]
fn says_who_we_are_and_keeps_the_connection() {
    let (address, requests) = serve(vec![answer("200 OK", "x-a: b\r\n", "fine"); 2]);
    let http = Http::new(None);
    for _ in 0..2 {
        let request = http.request(Method::POST, url(address)).unwrap();
        let request = request.body("rows");
        let response = http.send(request, LONG).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            (response.text().as_str(), response.header("X-A")),
            ("fine", Some("b"))
        );
        let (head, body) = requests.recv().unwrap();
        assert!(head.contains(concat!(
            "user-agent: latency-monitor/",
            env!("CARGO_PKG_VERSION")
        )));
        assert_eq!(body, b"rows");
    }
}

#[test]
fn statuses_that_pass_are_for_later() {
    for status in [
        "408 A", "425 A", "429 A", "500 A", "502 A", "503 A", "504 A",
    ] {
        let error = result_of(status, "", "Too busy\nsecond line").unwrap_err();
        assert_eq!((error.verdict, error.after), (Verdict::Later, None));
        let reason = error.reason;
        assert!(reason.contains(&status[..3]), "{reason}");
        assert!(reason.ends_with(": Too busy"), "{reason}");
        assert!(!reason.contains("hush"), "{reason}");
    }
}

#[test]
fn other_statuses_are_about_us_or_about_what_was_sent_and_say_why() {
    for (status, is_about_us) in [
        ("400 A", false),
        ("401 A", true),
        ("402 A", true),
        ("403 A", true),
        ("404 A", true),
        ("405 A", true),
        ("407 A", true),
        ("410 A", true),
        ("413 A", false),
        ("415 A", false),
        ("421 A", true),
        ("422 A", false),
    ] {
        let error = result_of(status, "", "\r\nBad \x07key\r\nmore").unwrap_err();
        let verdict = if is_about_us {
            Verdict::Barred
        } else {
            Verdict::Never
        };
        assert_eq!(error.verdict, verdict, "{status}");
        let reason = error.reason;
        assert!(reason.ends_with(": Bad  key"), "{reason}");
        assert!(!reason.contains("hush"), "{reason}");
    }
    let long = "x".repeat(2 * REASON_BYTES_MAX);
    let reason = result_of("400 A", "", &long).unwrap_err().to_string();
    assert!(reason.len() < REASON_BYTES_MAX + 100, "{}", reason.len());
}

#[test]
fn a_redirect_is_not_followed() {
    let location = "location: https://me:hush@elsewhere/there?key=hush\r\n";
    let error = result_of("307 A", location, "").unwrap_err();
    assert_eq!(error.verdict, Verdict::Barred);
    let reason = error.reason;
    assert!(
        reason.contains("moved to https://elsewhere/there;"),
        "{reason}"
    );
}

#[test]
fn the_server_says_when_to_ask_again() {
    let after = |headers: &str| match result_of("429 A", headers, "") {
        Err(error) if error.verdict == Verdict::Later => error.after,
        other => panic!("{other:?}"),
    };
    assert_eq!(after("retry-after: 17\r\n"), Some(Duration::from_secs(17)));
    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\n\
                retry-after: Wed, 21 Oct 2015 07:29:30 GMT\r\n";
    assert_eq!(after(date), Some(Duration::from_secs(90)));
    let past = "retry-after: Wed, 21 Oct 2015 07:29:30 GMT\r\n";
    assert_eq!(after(past), None, "by which clock?");
    let over = format!("date: Wed, 21 Oct 2015 07:30:00 GMT\r\n{past}");
    assert_eq!(after(&over), Some(Duration::ZERO));
    // The oldest of the three forms that a date can have (RFC 9110, section 5.6.7).
    let asctime =
        "date: Wed, 21 Oct 2015 07:28:00 GMT\r\nretry-after: Wed Oct 21 07:28:09 2015\r\n";
    assert_eq!(after(asctime), Some(Duration::from_secs(9)));
    for nonsense in ["soon", "", "-1", "Wed, 41 Oct 2015 07:28:00 GMT", ", , ,"] {
        assert_eq!(after(&format!("retry-after: {nonsense}\r\n")), None);
    }
}

#[test]
fn a_dropped_connection_and_a_refused_one_are_for_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // It hangs up in the middle of the head.
        let mut reader = BufReader::new(stream);
        read_request(&mut reader);
        reader.get_mut().write_all(b"HTTP/1.1 20").unwrap();
    });
    assert_eq!(post(address, LONG).unwrap_err().verdict, Verdict::Later);
    server.join().unwrap();
    let error = post(address, LONG).unwrap_err();
    assert_eq!(error.verdict, Verdict::Later);
    let reason = error.reason;
    assert!(
        reason.starts_with(&format!("http://{address}/in: ")),
        "{reason}"
    );
    assert!(reason.contains("refused"), "{reason}");
}

#[test]
fn a_server_that_does_not_answer_is_left_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let error = post(address, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.verdict, Verdict::Later, "{error:?}");
    assert!(error.to_string().contains("timed out"), "{error}");
}

#[test]
fn an_answer_that_never_ends_is_left_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, is_done) = channel::<()>();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        read_request(&mut reader);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome";
        reader.get_mut().write_all(head).unwrap();
        // The rest does not come; the connection stays.
        let _ = is_done.recv();
    });
    let error = post(address, Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.verdict, Verdict::Later, "{error:?}");
    drop(done);
    server.join().unwrap();
}

#[test]
fn of_an_endless_answer_only_the_beginning_is_read() {
    let size = usize::try_from(HTTP_ANSWER_BYTES_MAX).unwrap();
    let response = result_of("200 OK", "", &"x".repeat(size + 5_000)).unwrap();
    assert_eq!(response.text().len(), size);
}

/// A server that has this certificate and answers every request with 200.
fn serve_tls(certificate: &str, key: &str) -> Url {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(pem(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(pem(key)).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer("200 OK", "connection: close\r\n", "").as_bytes());
            let _ = stream.flush();
        }
    });
    Url::parse(&format!("https://localhost:{port}/in")).unwrap()
}

fn pem(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("src/publish/http/certificates").join(name)
}

fn asked(url: &Url, ca_file: Option<&str>) -> Result<StatusCode, SendError> {
    let http = Http::new(ca_file.map(pem));
    let request = http.request(Method::GET, url.clone())?;
    http.send(request, LONG).map(|answer| answer.status())
}

#[test]
fn a_certificate_that_is_named_or_whose_issuer_is_works_and_no_other() {
    // As the guide of ClickHouse makes it: of itself, of a CA, and without the server's name.
    let of_itself = serve_tls("server.pem", "server.key");
    let of_a_ca = serve_tls("leaf.pem", "leaf.key");
    assert_eq!(asked(&of_itself, Some("server.pem")).unwrap(), 200);
    assert_eq!(asked(&of_a_ca, Some("ca.pem")).unwrap(), 200);
    assert_eq!(asked(&of_a_ca, Some("leaf.pem")).unwrap(), 200);
    for (url, ca_file) in [(&of_itself, Some("ca.pem")), (&of_a_ca, Some("server.pem"))] {
        let error = asked(url, ca_file).unwrap_err();
        assert_eq!(error.verdict, Verdict::Later);
        assert!(error.reason.contains("with `ca_file`"), "{error}");
    }
}

#[test]
fn without_certificates_http_works_and_https_says_what_is_missing() {
    let error = tls::client(Vec::new(), None).unwrap_err();
    assert!(
        error.contains("ca-certificates") && error.contains("`ca_file`"),
        "{error}"
    );
    assert!(tls::client(Vec::new(), Some(&pem("ca.pem"))).is_ok());
    for (name, wanted) in [
        ("no.pem", "cannot be read"),
        ("server.key", "has no certificate"),
    ] {
        let https = Url::parse("https://localhost:1/").unwrap();
        let error = asked(&https, Some(name)).unwrap_err();
        assert_eq!(error.verdict, Verdict::Barred);
        assert!(error.reason.contains(wanted), "{error}");
        for base in ["https://localhost", "http://localhost"] {
            let base = BaseUrl::parse(base).unwrap();
            let looked = look_at_certificates(&base, Some(&pem(name))).unwrap();
            assert!(looked.contains(wanted), "{looked}");
        }
    }
    let (address, _requests) = serve(vec![answer("200 OK", "", "")]);
    let http = Http::new(Some(pem("no.pem")));
    let request = http.request(Method::POST, url(address)).unwrap();
    assert!(
        http.send(request, LONG).is_ok(),
        "plain HTTP needs no certificate"
    );
}
