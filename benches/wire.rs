//! What the text wire costs for a probe: writing it, reading it, answering it, and knowing the
//! answer again; and what a stream costs that arrives in pieces.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use latency_monitor::proto::Wall;
use latency_monitor::proto::wire::text::{
    Identifier, Role, SEQUENCES, StreamDecoder, decode_datagram, encode_reply, encode_request,
};

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

/// Only the writing: the request was read before.
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

/// What a prober does with a datagram before it knows which probe has come back.
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

/// A stream of requests glued together, in chunks of a receive buffer and of 17 bytes.
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
    bench_stream
);
criterion_main!(benches);
