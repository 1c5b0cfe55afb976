//! Measures a probe on the text and the native wire: writing, reading, answering, and matching the
//! reply; and a stream that arrives in pieces.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use latency_monitor::proto::wire::native;
use latency_monitor::proto::wire::native::authenticated::{self, Direction};
use latency_monitor::proto::wire::text::{
    Identifier, Role, SEQUENCES, StreamDecoder, decode_datagram, encode_reply, encode_request,
};
use latency_monitor::proto::{Key, Stamp, StampSource, Wall};

const TIME: Wall = Wall::from_unix_nanos(1_768_219_134_587_069_267);
const COOKIE: u32 = 0xdead_beef;

/// As small as they come, padded a little, the predecessor's maximum, a jumbo frame.
const SIZES: [Option<usize>; 4] = [None, Some(64), Some(1_470), Some(9_000)];

const NO_TAGS: &str = "[]";
const TAGS: &str = "['isp:local', 'location:laptop', 'link:primary']";

/// Messages in the stream that is read at once.
const STREAM_MESSAGES: u32 = 1_000;

struct Case {
    name: String,
    tags: &'static str,
    size: Option<usize>,
}

fn cases() -> impl Iterator<Item = Case> {
    [("no_tags", NO_TAGS), ("3_tags", TAGS)]
        .into_iter()
        .flat_map(|(name, tags)| {
            SIZES.into_iter().map(move |size| Case {
                name: match size {
                    Some(bytes) => format!("{name}_{bytes}_bytes"),
                    None => format!("{name}_unpadded"),
                },
                tags,
                size,
            })
        })
}

fn request(out: &mut Vec<u8>, case: &Case, number: u32) {
    let seq = u8::try_from(u64::from(number) % SEQUENCES).expect("less than 101");
    let at = TIME.plus(i64::from(number) * 1_000_000);
    let identifier = Some(Identifier::new(COOKIE, number));
    encode_request(out, seq, "host-a", at, case.tags, identifier, case.size);
}

fn bench_request(criterion: &mut Criterion) {
    let mut group = group(criterion, "encode_request");
    let mut out = Vec::new();
    let mut number = 0_u32;
    for case in cases() {
        group.bench_function(&case.name, |bencher| {
            bencher.iter(|| {
                out.clear();
                number = number.wrapping_add(1);
                request(&mut out, black_box(&case), number);
                out.len()
            });
        });
    }
    group.finish();
}

fn bench_decode(criterion: &mut Criterion) {
    let mut group = group(criterion, "decode_datagram");
    for case in cases() {
        let mut payload = Vec::new();
        request(&mut payload, &case, 17);
        group.bench_function(&case.name, |bencher| {
            bencher.iter(|| decode_datagram(black_box(&payload)).is_ok());
        });
    }
    group.finish();
}

/// Measures only the writing: the request was read before.
fn bench_reply(criterion: &mut Criterion) {
    let mut group = group(criterion, "encode_reply");
    for case in cases() {
        let mut payload = Vec::new();
        request(&mut payload, &case, 17);
        let message = decode_datagram(&payload).expect("it is a message");
        let mut out = Vec::new();
        group.bench_function(&case.name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_reply(&mut out, black_box(&message), "host-b", TIME, true)
            });
        });
    }
    group.finish();
}

/// Measures what a prober does with a datagram before it knows which probe it answers.
fn bench_match(criterion: &mut Criterion) {
    let mut group = group(criterion, "match_reply");
    for case in cases() {
        let mut payload = Vec::new();
        request(&mut payload, &case, 17);
        let message = decode_datagram(&payload).expect("it is a message");
        let mut reply = Vec::new();
        assert!(encode_reply(&mut reply, &message, "b", TIME, true));
        group.bench_function(&case.name, |bencher| {
            bencher.iter(|| {
                let message = decode_datagram(black_box(&reply)).ok()?;
                let identifier = message.identifier?;
                (identifier.cookie == black_box(COOKIE)).then_some(identifier.number)
            });
        });
    }
    group.finish();
}

/// Measures a stream of requests glued together, in chunks of a receive buffer and of 17 bytes.
fn bench_stream(criterion: &mut Criterion) {
    let mut group = group(criterion, "stream");
    for case in cases() {
        let mut stream = Vec::new();
        for number in 0..STREAM_MESSAGES {
            request(&mut stream, &case, number);
        }
        group.throughput(Throughput::Bytes(stream.len() as u64));
        for (name, chunk_bytes) in [("glued", 65_536), ("split_17", 17)] {
            group.bench_function(BenchmarkId::new(name, &case.name), |bencher| {
                let mut decoder = StreamDecoder::new(Role::Requests);
                bencher.iter(|| {
                    let mut seen = 0;
                    for chunk in stream.chunks(chunk_bytes) {
                        decoder
                            .feed(black_box(chunk), |message| {
                                seen += u32::from(message.identifier.is_some());
                            })
                            .expect("these are messages");
                    }
                    assert_eq!(seen, STREAM_MESSAGES);
                });
            });
        }
    }
    group.finish();
}

fn native_request(out: &mut Vec<u8>, case: &Case, number: u32) {
    let follow_up = |back: u32| native::FollowUp {
        seq: number.wrapping_sub(back),
        stamp: stamp(-i64::from(back)),
    };
    let fields = native::RequestFields {
        dscp: None,
        seq: number,
        sent: TIME,
        error: native::ErrorEstimate::from_nanos(true, 1_000_000),
        ssid: 1,
        cookie: COOKIE,
        session: 2,
        follow_ups: [Some(follow_up(1)), Some(follow_up(2))],
        offset_ns: Some(-17),
        source: "host-a",
        tags: case.tags,
    };
    native::encode_request(out, &fields, case.size);
}

fn native_reply(out: &mut Vec<u8>, request: &[u8], number: u32) {
    let follow_up = |back: u32| native::FollowUp {
        seq: number.wrapping_sub(back),
        stamp: stamp(-i64::from(back)),
    };
    let fields = native::ReplyFields {
        seq: number,
        sent: TIME,
        error: native::ErrorEstimate::from_nanos(true, 1_000_000),
        received: stamp(0),
        follow_ups: [Some(follow_up(1)), Some(follow_up(2)), Some(follow_up(3))],
        session: 2,
        received_count: number,
        seen: u64::MAX,
        name: "host-b",
        headers: None,
        is_light: false,
        totals: None,
    };
    native::encode_reply(out, request, &fields);
}

fn stamp(milliseconds: i64) -> Stamp {
    Stamp {
        at: TIME.plus(milliseconds * 1_000_000),
        source: StampSource::Kernel,
    }
}

/// Measures each step of a probe on the native wire.
fn bench_native(criterion: &mut Criterion) {
    let mut group = group(criterion, "native");
    for case in cases() {
        let mut request = Vec::new();
        native_request(&mut request, &case, 17);
        let mut reply = Vec::new();
        native_reply(&mut reply, &request, 17);
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encode_request", &case.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                native_request(&mut out, black_box(&case), 17);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("decode_request", &case.name), |bencher| {
            bencher.iter(|| native::decode_request(black_box(&request)).is_ok());
        });
        group.bench_function(BenchmarkId::new("encode_reply", &case.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                native_reply(&mut out, black_box(&request), 17);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("decode_reply", &case.name), |bencher| {
            bencher.iter(|| {
                let reply = native::decode_reply(black_box(&reply)).ok()?;
                let ours = reply.ours?;
                (ours.cookie == black_box(COOKIE)).then_some(reply.sender_seq)
            });
        });
    }
    group.finish();
}

/// Measures what a key adds to each packet: its HMACs over the base and over the TLVs, and the wider base.
fn bench_authenticated(criterion: &mut Criterion) {
    let mut group = group(criterion, "authenticated");
    let key = Key::new(&[7; 32]).expect("32 bytes are a key");
    for case in cases() {
        let mut open = Vec::new();
        native_request(&mut open, &case, 17);
        let (direction, mac_at) = (Direction::Request, Some(open.len()));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("seal", &case.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&open));
                authenticated::seal(&mut out, 0, direction, &key, mac_at);
                out.len()
            });
        });
        let mut scratch = Vec::new();
        group.bench_function(BenchmarkId::new("open", &case.name), |bencher| {
            bencher.iter(|| {
                authenticated::open(black_box(&out), direction, &key, &mut scratch).is_some()
            });
        });
    }
    group.finish();
}

/// Measures packets behind their lengths, glued together as `bench_stream` has its messages.
fn bench_native_stream(criterion: &mut Criterion) {
    let mut group = group(criterion, "native_stream");
    for case in cases() {
        let mut stream = Vec::new();
        for number in 0..STREAM_MESSAGES {
            let framed =
                native::encode_frame(&mut stream, |out| native_request(out, &case, number));
            assert!(framed);
        }
        group.throughput(Throughput::Bytes(stream.len() as u64));
        for (name, chunk_bytes) in [("glued", 65_536), ("split_17", 17)] {
            group.bench_function(BenchmarkId::new(name, &case.name), |bencher| {
                let mut decoder = native::FrameDecoder::after_preamble();
                bencher.iter(|| {
                    let mut seen = 0;
                    for chunk in stream.chunks(chunk_bytes) {
                        decoder
                            .feed(black_box(chunk), |packet, _| {
                                seen += u32::from(native::decode_request(packet).is_ok());
                            })
                            .expect("these are packets");
                    }
                    assert_eq!(seen, STREAM_MESSAGES);
                });
            });
        }
    }
    group.finish();
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

criterion_group!(
    benches,
    bench_request,
    bench_decode,
    bench_reply,
    bench_match,
    bench_stream,
    bench_native,
    bench_authenticated,
    bench_native_stream
);
criterion_main!(benches);
