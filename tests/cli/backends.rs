//! Backends that a reload adds, changes and removes.

use std::net::TcpListener;

use crate::Daemon;
use crate::samples::Samples;

#[test]
fn backends_come_change_and_go_and_every_sample_is_told_once() {
    let far = Daemon::start("name = \"far\"", &[]);
    let target = format!(
        "[[targets]]\nhost = \"127.0.0.1\"\nlabel = \"far\"\ntype = \"udp\"\nudp_port = {}\ninterval = 5\n\
         timeout = 30\n",
        far.udp_port
    );
    let file = |backends: &str| format!("name = \"near\"\n{backends}{target}");
    let cli = |more: &str| format!("[[metrics]]\nbackend = \"cli\"\n{more}\n");
    let log = "[[metrics]]\nbackend = \"log\"\nname = \"second\"\nmetrics = [\"udp.wan.sent\"]\n\
               send_interval = 0.1\n";
    let mut near = Daemon::start(&file(&cli("send_interval = 0.1")), &[]);
    let lines = near.lines();
    let mut samples = Samples::of(lines);
    samples.next("udp.wan.rtt", "far");

    // Another interval is another backend; it takes over from the one before, on the same output.
    near.reload(&file(
        &[cli("send_interval = 0.2\nmode = \"both\""), log.to_owned()].concat(),
    ));
    let told = near.told("backends have changed");
    assert!(told.contains("added=1 replaced=1 removed=0"), "{told}");
    assert!(near.told("has ended").contains("backend=\"cli\""));
    near.told("udp.wan.sent");
    samples.find(|record| record["metric"] == "udp.wan.rtt" && record["count"].is_number());
    samples.find(|record| {
        let tags = record["tags"].as_array();
        let is_second = |tag: &serde_json::Value| tag == "backend:second";
        record["metric"] == "monitor.backend.sent"
            && tags.is_some_and(|tags| tags.iter().any(is_second))
    });

    // One that cannot be made changes nothing.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let zeromq =
        format!("[[metrics]]\nbackend = \"zeromq\"\naddress = \"127.0.0.1\"\nport = {port}\n");
    let told = near.reload(&file(&[cli(""), zeromq].concat()));
    assert!(
        told.contains("nothing has changed: cannot start the backend zeromq"),
        "{told}"
    );

    near.reload(&file(&cli("send_interval = 0.2\nmode = \"both\"")));
    let told = near.told("backends have changed");
    assert!(told.contains("added=0 replaced=0 removed=1"), "{told}");
    assert!(near.told("has ended").contains("backend=\"second\""));
    samples.next("udp.wan.rtt", "far");
    near.signal("-TERM");
    samples.end_without_a_gap("udp.wan.rtt", &["far"]);
    assert_eq!(near.end().code(), Some(0));
}
