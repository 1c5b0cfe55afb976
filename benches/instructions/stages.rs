//! What is counted: the stages of a probe by themselves, each in a loop, and whole paths.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use latency_monitor::proto::wheel::Wheel;
use latency_monitor::proto::wire::native;
use latency_monitor::proto::wire::text::{self, Identifier};
use latency_monitor::proto::{
    FlowKind, Labels, Metric, Mono, Now, Origin, Outcome, Output, Sample, Stamp, StampSource,
    Trace, Wall,
};
use latency_monitor::record::{
    BurstRules, Feed, FlightConfig, FlightRecorder, Mode, Recorder, SinkConfig,
};

use crate::path::{Flows, Path};

/// All stages that are loops run in one process.
pub(crate) const MICRO: &str = "stages";

/// Paths, each in a process of its own, since they use the same functions.
pub(crate) const PATHS: [(&str, Flows); 3] = [
    ("native UDP", Flows::NativeUdp),
    ("text UDP", Flows::TextUdp),
    ("native TCP", Flows::NativeTcp),
];

type Loop = fn(u64);

/// Stages, and the functions that callgrind finds them by.
pub(crate) const LOOPS: [(&str, &str, Loop); 11] = [
    ("wheel: ask, fire, set anew", "stages::wheel", wheel),
    ("text: encode a request", "text_request", text_request),
    ("text: decode it, encode a reply", "text_reply", text_reply),
    ("text: decode the reply", "text_match", text_match),
    ("native: encode a request", "native_request", native_request),
    (
        "native: decode it, encode a reply",
        "native_reply",
        native_reply,
    ),
    ("native: decode the reply", "native_match", native_match),
    ("recorder: a sample in its window", "window", window),
    ("recorder: a probe looked at for bursts", "bursts", bursts),
    ("recorder: a probe kept for dumps", "flight", flight),
    (
        "ring: a sample in, and out at the flush thread",
        "ring",
        ring,
    ),
];

const START: Wall = Wall::from_unix_nanos(1_768_219_134_587_069_267);
const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const TAGS: &str = "['isp:local', 'location:laptop', 'link:primary']";

/// What runs together, each in a process of its own.
pub(crate) fn groups() -> impl Iterator<Item = &'static str> {
    [MICRO].into_iter().chain(PATHS.map(|(name, _)| name))
}

pub(crate) fn run(group: &str, probes: u64) {
    if group == MICRO {
        for (_, _, stage) in LOOPS {
            stage(probes);
        }
    }
    if let Some((_, flows)) = PATHS.iter().find(|(name, _)| *name == group) {
        Path::new(*flows, 1, MILLISECOND_NS).run(probes);
    }
}

/// Two hundred timers, one of which is due every 5 us.
#[inline(never)]
fn wheel(probes: u64) {
    let mut wheel = Wheel::new(Mono::ZERO);
    for number in 0..200 {
        wheel.insert(
            Mono::from_nanos(MILLISECOND_NS + number * 7_919 % 200 * 5_000),
            number,
        );
    }
    for _ in 0..probes {
        let due = wheel.next_deadline().expect("timers are set anew");
        let (deadline, payload) = wheel.pop(due).expect("it is due");
        wheel.insert(deadline.plus(MILLISECOND_NS), payload);
    }
}

fn text_request_into(out: &mut Vec<u8>, number: u64) {
    out.clear();
    let seq = u8::try_from(number % text::SEQUENCES).unwrap_or(0);
    let identifier = Identifier::new(0xdead_beef, low(number));
    let at = START.plus((number * MILLISECOND_NS).cast_signed());
    text::encode_request(out, seq, "host-a", at, TAGS, Some(identifier), None);
}

fn text_reply_into(out: &mut Vec<u8>, request: &[u8]) {
    out.clear();
    let message = text::decode_datagram(request).expect("it is a message");
    assert!(text::encode_reply(out, &message, "host-b", START, true));
}

#[inline(never)]
fn text_request(probes: u64) {
    let mut out = Vec::new();
    for number in 0..probes {
        text_request_into(&mut out, number);
        black_box(&out);
    }
}

#[inline(never)]
fn text_reply(probes: u64) {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    text_request_into(&mut request, 17);
    for _ in 0..probes {
        text_reply_into(&mut out, black_box(&request));
        black_box(&out);
    }
}

#[inline(never)]
fn text_match(probes: u64) {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    text_request_into(&mut request, 17);
    text_reply_into(&mut reply, &request);
    for _ in 0..probes {
        let message = text::decode_datagram(black_box(&reply));
        let _ = black_box(message.ok().and_then(|message| message.identifier));
    }
}

fn native_request_into(out: &mut Vec<u8>, number: u64) {
    out.clear();
    let told = |back: u32| native::FollowUp {
        seq: low(number).wrapping_sub(back),
        stamp: stamp(START),
    };
    let fields = native::RequestFields {
        dscp: None,
        seq: low(number),
        sent: START.plus((number * MILLISECOND_NS).cast_signed()),
        error: native::ErrorEstimate::from_nanos(true, 1_000_000),
        ssid: 1,
        cookie: 0xdead_beef,
        session: 2,
        follow_ups: [Some(told(1)), Some(told(2))],
        offset_ns: None,
        source: "host-a",
        tags: TAGS,
    };
    native::encode_request(out, &fields, None);
}

fn native_reply_into(out: &mut Vec<u8>, packet: &[u8]) {
    out.clear();
    let request = native::decode_request(packet).expect("it is a request");
    let told = |back: u32| native::FollowUp {
        seq: request.seq.wrapping_sub(back),
        stamp: stamp(START),
    };
    let fields = native::ReplyFields {
        seq: request.seq,
        sent: START,
        error: native::ErrorEstimate::from_nanos(true, 1_000_000),
        received: stamp(START),
        follow_ups: [Some(told(1)), Some(told(2)), Some(told(3))],
        session: 2,
        received_count: request.seq,
        seen: u64::MAX,
        name: "host-b",
        headers: None,
        is_light: false,
        totals: None,
    };
    native::encode_reply(out, packet, &fields);
}

#[inline(never)]
fn native_request(probes: u64) {
    let mut out = Vec::new();
    for number in 0..probes {
        native_request_into(&mut out, number);
        black_box(&out);
    }
}

#[inline(never)]
fn native_reply(probes: u64) {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    native_request_into(&mut request, 17);
    for _ in 0..probes {
        native_reply_into(&mut out, black_box(&request));
        black_box(&out);
    }
}

#[inline(never)]
fn native_match(probes: u64) {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    native_request_into(&mut request, 17);
    native_reply_into(&mut reply, &request);
    for _ in 0..probes {
        let _ = black_box(native::decode_reply(black_box(&reply)));
    }
}

/// Samples of one series in windows without end: past `WINDOW_VALUES_MAX`, so that it is a histogram.
#[inline(never)]
fn window(probes: u64) {
    let (mut recorder, _feed) = recorder(Mode::Windows);
    for number in 0..probes {
        recorder.handle_output(&sample(number));
    }
}

#[inline(never)]
fn bursts(probes: u64) {
    let mut recorder = Recorder::new("host-a", now());
    recorder.find_bursts(BurstRules {
        threshold_ns: None,
        quiet_ns: 5_000_000,
    });
    recorder.handle_output(&opened());
    for number in 0..probes {
        recorder.handle_output(&trace(number));
    }
}

#[inline(never)]
fn flight(probes: u64) {
    let (writer, _dumps) = sync_channel(1);
    let config = FlightConfig {
        pre_ns: 200_000_000,
        post_ns: 200_000_000,
        settle_ns: SECOND_NS,
    };
    let mut flight = FlightRecorder::new(config, writer);
    flight.handle_output(&opened());
    for number in 0..probes {
        flight.handle_output(&trace(number));
    }
}

/// The samples themselves: each passes the ring.
#[inline(never)]
fn ring(probes: u64) {
    let (mut recorder, mut feed) = recorder(Mode::Samples);
    for number in 0..probes {
        recorder.handle_output(&sample(number));
        let record = feed.poll().expect("one has just been pushed");
        feed.recycle(black_box(record));
    }
}

fn recorder(mode: Mode) -> (Recorder, Feed) {
    let mut recorder = Recorder::new("host-a", now());
    let feed = recorder.add_sink(SinkConfig::new(mode, SECOND_NS));
    recorder.handle_output(&opened());
    (recorder, feed)
}

fn opened() -> Output {
    Output::Opened {
        origin: Origin(0),
        labels: Arc::new(Labels::new("host-a", "host-b", &["isp:local"])),
    }
}

fn sample(number: u64) -> Output {
    Output::Sample(Sample {
        origin: Origin(0),
        metric: Metric::UdpRtt,
        outcome: Outcome::Received,
        value_ns: 250_000 + noise_ns(number),
        at: START,
        seq: number,
        stamp: StampSource::Kernel,
        dwell_ns: Some(20_000),
        is_corrected: false,
    })
}

/// Both directions of a probe, a millisecond after the one before.
fn trace(number: u64) -> Output {
    let left = START.plus((number * MILLISECOND_NS).cast_signed());
    let received = left.plus(250_000 + noise_ns(number));
    let sent = received.plus(20_000);
    let back = sent.plus(250_000 + noise_ns(number + 7));
    Output::Trace(Trace {
        origin: Origin(0),
        kind: FlowKind::Udp,
        seq: number,
        stamps: [left, received, sent, back].map(|at| Some(stamp(at))),
        outcome: Outcome::Received,
        lost_on: None,
    })
}

/// Up to 65 us, in no order.
fn noise_ns(number: u64) -> i64 {
    (number * 7_919 % 65_536).cast_signed()
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

fn stamp(at: Wall) -> Stamp {
    Stamp {
        at,
        source: StampSource::Kernel,
    }
}

fn now() -> Now {
    Now {
        mono: Mono::ZERO,
        wall: START,
    }
}
