//! What it means if nothing answers, and what else the host answers: that is tried, for a bounded time.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::PingRequest;
use crate::limits::CHANNEL_RECORDS_MAX;
use crate::monitor::ping::figures::Figures;
use crate::monitor::ping::json::Tried;
use crate::monitor::ping::start::{self, PingError};
use crate::monitor::ping::subject::Subject;
use crate::monitor::ping::words::shown;
use crate::monitor::{LatencyMonitor, nanos};
use crate::proto::{CloseReason, FlowKind, FlowView, IcmpType, Protocol, Refused};
use crate::publish;
use crate::record::{Mode, Record, SinkConfig};

/// What is tried where nothing answers: as many probes, so far apart.
const TRIES: u64 = 3;
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How long the last of them may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long all of it takes at most.
const PATIENCE: Duration = Duration::from_secs(2);
const TRY_WINDOW_NS: u64 = 50_000_000;

const UDP_PORT: u16 = 8001;
const STAMP_PORT: u16 = 862;
const TCP_PORT: u16 = 8000;

/// Returns what the figures and the network's own words say of a host that did not answer.
pub(super) fn meaning(subject: &Subject, figures: &Figures, views: &[FlowView]) -> String {
    let mut text = String::new();
    let counts = &figures.counts;
    let (whom, over) = (subject.whom(), subject.over());
    let refused = views.iter().find_map(|view| view.refused);
    let trouble = views.iter().find_map(|view| view.trouble);
    if counts.corrupt > 0 {
        let _ = writeln!(
            text,
            "{} packets came back that are no answers to these probes: {over} of {whom} speaks something else.",
            counts.corrupt
        );
    }
    if counts.misaddressed > 0 {
        let _ = writeln!(
            text,
            "{} answers came from another address or port than was probed. A translator, or a host with several \
             addresses, answers for it: probe the address that answers.",
            counts.misaddressed
        );
    }
    if let Some(refused) = refused {
        let local = views.iter().find_map(|view| view.subject.local);
        let _ = writeln!(text, "{}", icmp(subject, refused, local.map(|at| at.ip())));
    } else if let Some(trouble) = trouble {
        let _ = writeln!(text, "{}", system(subject, trouble));
    } else if counts.sent == 0 && subject.kind == FlowKind::Tcp {
        let _ = writeln!(
            text,
            "No connection to {over} of {whom}: no answer at all, not even a refusal. A filter drops the packets, or the \
             host is down or elsewhere."
        );
    } else if counts.corrupt + counts.misaddressed == 0 {
        let _ = writeln!(text, "{}", nothing(subject));
    }
    if subject.has_key {
        text.push_str(
            "With a key, a packet that another key made is silence: compare the two key files, and the clocks of \
             whoever made them.\n",
        );
    }
    for other in &subject.others {
        let flag = if other.is_ipv4() { "-4" } else { "-6" };
        let is_other_family = other.is_ipv4() != subject.remote.is_ipv4();
        if is_other_family {
            let _ = writeln!(
                text,
                "The name also leads to {other}: try it with `{flag}`."
            );
            break;
        }
    }
    text
}

/// What an ICMP error says.
fn icmp(subject: &Subject, refused: Refused, local: Option<IpAddr>) -> String {
    let (whom, over, icmp) = (subject.whom(), subject.over(), refused.icmp);
    let remote = subject.remote.ip();
    let by = match refused.by {
        Some(by) if by == remote => "The host itself".to_owned(),
        Some(by) if local.is_some_and(|local| local == by) => "This host itself".to_owned(),
        Some(by) => format!("The router {by}"),
        None => "The system".to_owned(),
    };
    let is_host = refused.by == Some(remote);
    let means = match said(icmp) {
        Said::Port if is_host => {
            format!(
                "{whom} is there, and nothing listens on {over}, or a filter of that host refuses it so"
            )
        }
        Said::Port => format!("it refuses {over} in the name of {whom}"),
        Said::Host => format!(
            "{remote} does not answer on its own link: it is down, or nobody has the address"
        ),
        Said::Network => format!("there is no route to {remote} from there"),
        Said::Prohibited => format!("a filter rejects {over}"),
        Said::Other => "the probes did not get there".to_owned(),
    };
    format!("{by} says (ICMP): {icmp}. So {means}.")
}

enum Said {
    Port,
    Host,
    Network,
    Prohibited,
    Other,
}

fn said(icmp: IcmpType) -> Said {
    match (icmp.is_v6, icmp.kind, icmp.code) {
        (false, 3, 2 | 3) | (true, 1, 4) => Said::Port,
        (false, 3, 1 | 7 | 8 | 12) | (true, 1, 3) => Said::Host,
        (false, 3, 0 | 5 | 6 | 11) | (true, 1, 0) => Said::Network,
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => Said::Prohibited,
        _ => Said::Other,
    }
}

/// What the system says of a socket.
fn system(subject: &Subject, trouble: CloseReason) -> String {
    let (whom, over) = (subject.whom(), subject.over());
    match trouble {
        CloseReason::Reset => format!(
            "The connection was refused: {whom} is there, and nothing listens on {over}, or a filter refuses it so."
        ),
        CloseReason::Finished => format!(
            "{whom} takes connections on {over} and ends them: what listens there is something else."
        ),
        CloseReason::NoRoute => format!(
            "No probe could leave: there is no route to {whom}, or nobody answers on its link."
        ),
        other => format!("No probe could leave for {whom}: {other}."),
    }
}

/// What complete silence means.
fn nothing(subject: &Subject) -> String {
    let (whom, over) = (subject.whom(), subject.over());
    match (subject.kind, subject.protocol) {
        (FlowKind::Connect, _) => format!(
            "No answer to a connect to {over} of {whom}, not even a refusal: a filter drops the packets, or the host is \
             down or elsewhere."
        ),
        (_, Protocol::Native) => format!(
            "Silence: no answer from {over} of {whom}, and no ICMP error. A filter drops the packets, the host is down, \
             or what listens there does not speak the native wire: the Python program speaks text alone."
        ),
        (_, Protocol::Stamp) => format!(
            "Silence: no answer from {over} of {whom}, and no ICMP error. A filter drops the packets, the host is down, \
             or nothing there reflects STAMP or TWAMP Light."
        ),
        _ => format!(
            "Silence: no answer from {over} of {whom}, and no ICMP error. A filter drops the packets, the host is down, \
             or what listens there answers no such probes (it may want a key, or speak STAMP alone)."
        ),
    }
}

/// Something else that the host may answer.
#[derive(Clone, Debug)]
pub(super) struct Try {
    /// What it is called among the others.
    label: String,
    /// What is tried, as it is told.
    pub(super) what: String,
    /// The command that does so.
    pub(super) command: String,
    request: PingRequest,
    answers: u64,
    /// What the network or the system said of it.
    said: Option<String>,
}

impl Try {
    /// Returns it as JSON has it.
    pub(super) fn json(&self) -> Tried<'_> {
        Tried {
            what: &self.what,
            command: &self.command,
            answers: self.answers,
        }
    }
}

/// Returns what to try for a request that nobody answered.
pub(super) fn tries(request: &PingRequest) -> Vec<Try> {
    let (kind, port) = request.over();
    let mut tries = Vec::new();
    let mut add = |what: String, flags: String, change: &dyn Fn(&mut PingRequest)| {
        let mut request = request.clone();
        (request.udp, request.tcp, request.connect) = (None, None, None);
        (request.protocol, request.size, request.flows) = (Protocol::Auto, None, 1);
        (request.count, request.interval) = (Some(TRIES), Some(TRY_EVERY));
        request.timeout = TRY_TIMEOUT;
        change(&mut request);
        let family = match (request.ipv4, request.ipv6) {
            (true, _) => "-4 ",
            (_, true) => "-6 ",
            _ => "",
        };
        let host = shown(&request.host);
        tries.push(Try {
            label: format!("try {}", tries.len() + 1),
            what,
            command: format!("latency-monitor ping {family}{flags} {host}"),
            request,
            answers: 0,
            said: None,
        });
    };
    let udp = if kind == FlowKind::Udp {
        port
    } else {
        UDP_PORT
    };
    if kind != FlowKind::Udp || !matches!(request.protocol, Protocol::Auto | Protocol::Text) {
        let what = format!("text probes to UDP port {udp}");
        add(what, format!("--udp {udp}"), &|request| {
            request.udp = Some(udp);
        });
    }
    let is_tried = |at| kind == FlowKind::Udp && request.protocol == Protocol::Stamp && port == at;
    let mut ports = vec![STAMP_PORT];
    if kind == FlowKind::Udp && port != STAMP_PORT {
        ports.push(port);
    }
    for at in ports.into_iter().filter(|at| !is_tried(*at)) {
        let what = format!("STAMP to UDP port {at}");
        add(what, format!("--protocol stamp --udp {at}"), &|request| {
            (request.protocol, request.udp) = (Protocol::Stamp, Some(at));
        });
    }
    let tcp = if kind == FlowKind::Udp {
        TCP_PORT
    } else {
        port
    };
    if kind != FlowKind::Connect {
        let what = format!("a TCP connect to port {tcp}");
        add(what, format!("--connect {tcp}"), &|request| {
            (request.connect, request.key_file) = (Some(tcp), None);
        });
    }
    tries
}

/// Tries them, all at once and for a bounded time, and notes the answers.
pub(super) fn attempt(subject: &Subject, tries: &mut [Try]) -> Result<(), PingError> {
    let mut config = start::config(None)?;
    for one in &*tries {
        let spec = start::target(&config, subject, &one.request, &one.label)?;
        config.targets.push(spec);
    }
    (config.tcp, config.udp) = (false, false);
    let mut monitor = LatencyMonitor::new(config);
    let (backend, records) = publish::channel(CHANNEL_RECORDS_MAX);
    let sink = SinkConfig::new(Mode::Windows, TRY_WINDOW_NS);
    monitor.start_with(vec![(sink, Box::new(backend))], || ())?;
    let clock = Clock::new();
    let give_up = clock.mono_for_sure().plus(nanos(PATIENCE));
    while tries.iter().any(|one| one.answers == 0) && !monitor.has_failed() {
        let left = give_up.since(clock.mono_for_sure());
        match records.recv_timeout(Duration::from_nanos(left)) {
            Ok(record) => note(&record, tries),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if left == 0 {
            break;
        }
    }
    for view in super::views(&monitor) {
        let label = &view.subject.labels.target;
        if let Some(one) = tries.iter_mut().find(|one| *one.label == **label) {
            let refused = view.refused.map(|refused| refused.icmp.to_string());
            one.said = refused.or_else(|| view.trouble.map(|trouble| trouble.to_string()));
        }
    }
    monitor.stop()?;
    while let Ok(record) = records.try_recv() {
        note(&record, tries);
    }
    Ok(())
}

/// Notes an answer: a reply that was received, or the time of a connect.
fn note(record: &Record, tries: &mut [Try]) {
    let answers = match record {
        Record::Count { metric, value, .. } if metric.name.ends_with(".wan.received") => *value,
        Record::Window(window) if window.series().metric.flow == Some(FlowKind::Connect) => {
            window.count()
        }
        _ => return,
    };
    let of = |one: &&mut Try| record.tags().any(|tag| *tag.value == *one.label);
    if let Some(one) = tries.iter_mut().find(of) {
        one.answers += answers;
    }
}

/// Says what came of them.
pub(super) fn told(tries: &[Try]) -> String {
    let mut text = String::new();
    for one in tries {
        if one.answers > 0 {
            let _ = writeln!(
                text,
                "Tried {}: it answers. Use `{}`.",
                one.what, one.command
            );
        } else {
            let said = one.said.as_deref().unwrap_or("no answer");
            let _ = writeln!(text, "Tried {}: {said}.", one.what);
        }
    }
    text
}
