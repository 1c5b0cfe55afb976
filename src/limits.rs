//! Every maximum of the program, in one place, each with its reason.
//!
//! What a stranger on the network can make us keep is bounded here; what is refused because of a
//! bound is counted and published (`monitor.responder.refused` and its neighbours).

/// Targets one process probes. Three flows each; ten thousand is the scale we are built for.
pub const TARGETS_MAX: usize = 16_384;

/// Bytes of a probe at most: what the text wire's `size` may ask for.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Payload of a UDP datagram over IPv4 (65,535 less the IPv4 and UDP headers).
pub const UDP_PAYLOAD_V4_MAX: usize = 65_507;

/// Payload of a UDP datagram over IPv6 (65,535 less the UDP header; no jumbograms).
pub const UDP_PAYLOAD_V6_MAX: usize = 65_527;

/// Bytes of a source name or a target label: DNS names end at 253.
pub const NAME_BYTES_MAX: usize = 255;

/// Tags one target or one message may carry.
pub const TAGS_MAX: usize = 64;

/// Bytes of the whole tag list as it stands on the text wire.
pub const TAGS_BYTES_MAX: usize = 4_096;

/// Bytes of a text message before its padding: sequence, name, time, tags and separators.
/// A stream keeps no more than this and an identifier of an unfinished message.
pub const HEADER_BYTES_MAX: usize = NAME_BYTES_MAX + TAGS_BYTES_MAX + 64;

/// Probes of one flow that may be in flight, which bounds `timeout / interval`.
pub const IN_FLIGHT_MAX: u32 = 65_536;

/// Descriptors that are neither a flow's nor a listener's: the event queue, logs, backends, resolvers,
/// shared UDP sockets, the files of dumps.
pub const DESCRIPTORS_OWN: u64 = 64;

/// Connect probes of one target in flight: each is a descriptor, also while the peer is silent.
pub const CONNECTS_IN_FLIGHT_MAX: usize = 128;

/// Nanoseconds between two lasting connections that are begun: ten thousand a second, as many as ten
/// thousand targets at a second have probes. A listener's queue holds some thousands.
pub const CONNECTIONS_EVERY_NS: u64 = 100_000;

/// UDP senders a responder remembers (sequence window, tags); the oldest of those heard
/// once goes first, then the idlest.
pub const SESSIONS_MAX: usize = 32_768;

/// TCP connections a responder accepts at once: each is a descriptor. What our own flows leave of those
/// that the process may have, if that is less.
pub const ACCEPTED_MAX: usize = 16_384;

/// Distinct (source, tags) pairs that strangers may make us publish under at one time, and new ones
/// in an hour: a store keeps every series that it has ever seen.
pub const REMOTE_LABELS_MAX: usize = 4_096;

/// Such pairs that are remembered when they end, so that a fleet whose network was away comes back
/// at once. 8 bytes each, and their place in a set.
pub const REMOTE_LABELS_KNOWN_MAX: usize = 16_384;

/// Replies waiting for the engine within one batch of events.
pub const REPLIES_QUEUED_MAX: usize = 4_096;

/// Bytes of those replies.
pub const REPLY_BYTES_QUEUED_MAX: usize = 8 * 1024 * 1024;

/// Bytes of half-written replies, over all streams; a peer that never reads meets this.
pub const UNWRITTEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of unfinished native packets on accepted connections, over all of them: a stranger could
/// begin a large one on each and never finish it.
pub const FRAME_BYTES_HELD_MAX: usize = 16 * 1024 * 1024;

/// Timers that fire in one turn. After a stall every flow is due, and each is some packets and a handful
/// of results that are kept until the turn's end; replies are taken in between.
pub const TIMERS_PER_TURN_MAX: usize = 512;

/// Receives taken in one turn of the loop, and four more for each socket that has something to read.
pub const RECEIVES_PER_TURN_MAX: usize = 256;

/// Datagrams that one system call sends or receives. Past some dozens a call's own cost is hardly
/// seen in theirs, and the first of a batch waits for the last to be made.
pub const DATAGRAMS_PER_CALL_MAX: usize = 64;

/// Bytes of datagrams that are made before they are sent: a few of the largest, or a whole call's of
/// the usual ones.
pub const DATAGRAM_BYTES_PER_CALL_MAX: usize = 256 * 1024;

/// Remote addresses that a shared UDP socket remembers, those included that have left it for
/// another one; past it those are forgotten, and may come back.
pub const SHARED_REMOTES_MAX: usize = 2 * TARGETS_MAX;

/// Messages of the network about packets of ours (ICMP) taken off a socket's error queue at once: the
/// kernel tells again of those that are left, and a flood of them must not hold up the loop.
pub const REPORTS_PER_TURN_MAX: usize = 256;

/// Addresses of which it is remembered that packets do not reach them, so that each is told once. They
/// are those of flows only; names that move leave some behind, and past it all are told afresh.
pub const UNREACHABLE_TOLD_MAX: usize = 2 * TARGETS_MAX;

/// Bytes taken from a stream at once. Each message in them is counted as a receive, so a peer that
/// glues the smallest ones together gets no more of a turn than one that sends datagrams.
pub const STREAM_READ_BYTES: usize = 4_096;

/// Connections accepted in one turn, for the same reason.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;

/// Readiness events taken from the kernel in one call.
pub const EVENTS_PER_POLL_MAX: usize = 1_024;

/// Addresses to listen on.
pub const LISTEN_ADDRESSES_MAX: usize = 64;

/// Addresses of one name that are looked at.
pub const RESOLVED_ADDRESSES_MAX: usize = 16;

/// Samples and windows between the poll thread and the flush thread; past it they are dropped and
/// counted. A hundred targets at 1 ms, both ways, fill it when the flush thread has had no processor
/// for 60 ms, one target in 6 s. A ring is walked through from end to end, so this is resident: 2 MiB.
pub const RING_RECORDS_MAX: usize = 32_768;

/// The ring's length where there are no samples: windows and counts wait for room, and are not
/// dropped.
pub const RING_WINDOWS: usize = RING_RECORDS_MAX / 8;

/// Records a library user's channel holds before samples are dropped and counted.
pub const CHANNEL_RECORDS_MAX: usize = 65_536;

/// Values of one series kept as they are in a window before a histogram takes the next ones. At 4
/// bytes each they stay far below the 110 KiB of a histogram, so a series that takes one has enough
/// values to pay for it: 32 bytes for each at worst (60 with both signs). At 512 it would be 220.
pub const WINDOW_VALUES_MAX: usize = 4_096;

/// Numbers that series' owners are known by: flows, and remote senders. They index a table, so a
/// wild one must not make it grow.
pub const ORIGINS_MAX: u32 = 262_144;

/// Room kept in a ring for windows and counts, so that a flood of samples cannot keep them out. It
/// takes what one set of labels publishes at once: 15 windows, 27 counts and gauges of its flows with
/// both directions, 3 of the peer's clock, 4 thresholds of bursts. A power of two above that.
pub const RING_RECORDS_RESERVED: usize = 64;

/// Targets whose flows' counters are read in one turn when an interval ends: some hundred
/// microseconds. Ten thousand at once would take five milliseconds, in which nothing is sent.
pub const TARGETS_COUNTED_PER_TURN_MAX: usize = 512;

/// Sets of labels whose counts are taken in one turn when an interval ends, per backend, for the same
/// reason.
pub const SERIES_SETS_ENDED_PER_TURN_MAX: usize = 1_024;

/// Windows and counts handed over in one turn when an interval ends, per backend, however long the turn
/// before took: some hundred microseconds.
pub const PUBLISHED_PER_TURN_MAX: usize = 2_048;

/// Emptied windows on their way back to the poll thread, per backend; the rest waits with the flush thread.
pub const WINDOWS_RETURNED_MAX: usize = 65_536;

/// Emptied windows taken back at once when the poll thread wants memory.
pub const POOL_RETURNS_PER_TAKE_MAX: usize = 16;

/// Unused windows, chunks and histograms released in one turn.
pub const POOL_RELEASES_PER_TURN_MAX: usize = 16;

/// Commands (added and removed targets, resolved names) waiting for the poll thread.
pub const COMMANDS_QUEUED_MAX: usize = 65_536;

/// Commands run in one turn: an added target takes some ten microseconds.
pub const COMMANDS_PER_TURN_MAX: usize = 32;

/// Threads that wait for the system's resolver, so that one name that hangs does not hold up all.
pub const RESOLVER_THREADS: usize = 4;

/// Bytes of packets that a UDP socket's kernel buffers hold, either way, while the process or the
/// interface is busy: some thousands of small ones, which at 1 ms a probe is a stall of tens of
/// milliseconds for a hundred peers. Transmit stamps that were not taken yet are among those received.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Log lines that wait for a slow console or disk; past it they are dropped. The log backend's
/// records are among them. 32 bytes each, whether there is a line or not.
pub const LOG_LINES_MAX: usize = 16_384;

/// Stretches of time that a peer's clock is estimated from, each with its fastest exchange in either
/// direction: a hundred seconds at a second and a half each. 3 KiB for every flow that does so.
pub const CLOCK_BINS: usize = 64;

/// Packets sent on one socket of a flow whose transmit stamps may still come. They come within
/// microseconds, or while the interface's queue drains; where a driver makes none, this many are
/// kept for nothing.
pub const STAMPS_OUTSTANDING_MAX: usize = 64;

/// The same on a UDP socket, which sends to many peers at once.
pub const STAMPS_OUTSTANDING_UDP_MAX: usize = 4_096;

/// Stamps of such a socket that may overtake one: an interface has several transmit queues.
pub const STAMPS_OVERTAKING_MAX: u32 = 64;

/// Messages that wait for one ZeroMQ subscriber; past it they are dropped and counted.
/// At some 200 bytes each it is 13 MiB at worst, and what one target at 1 ms makes in ten seconds.
pub const ZEROMQ_MESSAGES_MAX: i32 = 65_536;

/// Milliseconds that a ZeroMQ subscriber may take nothing though something waits for it; then it is
/// disconnected, since until then nobody gets anything. A reader that works takes something within
/// milliseconds.
pub const ZEROMQ_STUCK_MS_MAX: i32 = 10_000;

/// Bytes of a message from a ZeroMQ subscriber: a subscription, which is a prefix of our JSON.
pub const ZEROMQ_RECEIVED_BYTES_MAX: i64 = 1_024;

/// Series that are kept for a Pushgateway, histograms, counters and gauges together. Each target has
/// some fifty; a histogram's text is 4 to 8 KiB, so that the whole stays under a hundred mebibytes.
pub const PUSHGATEWAY_SERIES_MAX: usize = 16_384;

/// Bounds of a Pushgateway histogram. Each is a line for every series in every push.
pub const BUCKETS_MAX: usize = 512;

/// Bytes of a file that holds a secret: more is some other file.
pub const SECRET_BYTES_MAX: u64 = 4_096;

/// Batches that wait for one backend, besides the bytes that its `buffer_mib` allows: what is known of
/// each is in memory, some 150 bytes. A second's worth a batch, as with a spool, is a day.
pub const BATCHES_QUEUED_MAX: usize = 86_400;

/// Bytes of an HTTP answer that are read: enough for the columns of any table and for a reason; a
/// server that says more is not heard out.
pub const HTTP_ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Bytes of a reason that a server gives, as far as it is logged.
pub const REASON_BYTES_MAX: usize = 300;

/// Bytes of a spool file's pages that are kept in memory.
pub const SPOOL_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Reasons for which a backend refused batches that are remembered, so that each is told once.
pub const REASONS_MAX: usize = 16;

/// Bytes of JSON at which a batch for `ClickHouse` is closed: some 50,000 samples, a block of a size that
/// the server likes, and compressed a mebibyte at most while it waits.
pub const CLICKHOUSE_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that such a batch may unpack to: what was gathered, and the largest of windows. A spool file is
/// not trusted to hold no more.
pub const CLICKHOUSE_UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a payload that Datadog's intake takes, before it was compressed and after it. A payload
/// that passes either is split.
pub const DATADOG_JSON_BYTES_MAX: usize = 5_242_880;

/// See [`DATADOG_JSON_BYTES_MAX`].
pub const DATADOG_COMPRESSED_BYTES_MAX: usize = 512_000;

/// Bytes of JSON, about, at which a payload for Datadog is closed: random values compress to a
/// sixth of it, so that it seldom has to be split.
pub const DATADOG_BATCH_BYTES: usize = 2_500_000;

/// Characters of an event's text that Datadog takes; many long tags would pass it.
pub const DATADOG_EVENT_CHARS_MAX: usize = 4_000;

/// Milliseconds that may be kept before and after a burst: a flight recorder's rings are as much longer.
pub const BURST_MARGIN_MS_MAX: f64 = 10_000.0;

/// Dumps of bursts that a folder may keep: it is listed for each new one, and a file has a megabyte at most.
pub const DUMPS_KEPT_MAX: i64 = 10_000;

/// Half seconds, or 16 probes if those take longer, in which the least delay is kept: bursts are found over a line
/// under these. Eight seconds are long beside a burst, and short beside what a clock's rate takes to change.
pub const BURST_BUCKETS: usize = 16;

/// Bursts of one flow that wait until all their probes are decided, which takes a timeout: 16 a second at 4 s.
pub const BURSTS_UNDECIDED_MAX: usize = 64;

/// Bursts, of all flows, that one more is held against to see whether it began with them.
pub const INCIDENTS_RECENT: usize = 64;

/// Nanoseconds of a burst, counted from its end, that a flight recorder's ring holds besides what comes
/// before and after it: a queue of a second is a bad one, and an outage's begin is in its event.
pub const BURST_KEPT_NS: u64 = 2_000_000_000;

/// Nanoseconds that a dump waits at most, after its last probe was sent, for losses to be known: the
/// rings are as much longer.
pub const DUMP_SETTLE_NS_MAX: u64 = 2_000_000_000;

/// Probes that a flow's ring begins with: what a flow at 1 s shows of a burst. At 48 bytes each, ten
/// thousand targets with two flows take 15 MiB.
pub const FLIGHT_PROBES_LEAST: usize = 16;

/// Probes of one flow's ring, 768 KiB: at 1 ms and the defaults 4,096 are needed.
pub const FLIGHT_PROBES_MAX: usize = 16_384;

/// Probes by which all rings may grow, 192 MiB: a thousand flows at 1 ms. Past it rings stay as they are,
/// and dumps say that they are not complete.
pub const FLIGHT_PROBES_TOTAL_MAX: usize = 4 * 1024 * 1024;

/// Probes looked at in one turn when a dump is taken: some ten microseconds.
pub const FLIGHT_COPIES_PER_TURN_MAX: usize = 4_096;

/// Bursts whose dumps wait for what comes after them; more at once are one outage of everything, which a
/// few tell of as well.
pub const DUMPS_PENDING_MAX: usize = 256;

/// Bytes of a target's name in the name of a file: file systems end at 255 for the whole.
pub const DUMP_NAME_BYTES_MAX: usize = 64;

/// Dumps that wait for the disk. At 1 ms and the defaults one is some 100 KiB.
pub const DUMPS_QUEUED_MAX: usize = 64;

/// Probes of dumps that a report holds, 72 bytes each; a burst's dump has a few thousand.
pub const REPORT_PROBES_MAX: usize = 1_048_576;

/// Series that a report tells apart, at 320 KiB each: two histograms and a heatmap.
pub const REPORT_SERIES_MAX: usize = 512;

/// Flows of dumps, and series, that a page has plots of; of all others it has the numbers.
pub const REPORT_FLOWS_MAX: usize = 32;

/// Flows of dumps that a report has; a snapshot of a daemon with 10,000 targets has 20,000.
pub const REPORT_DUMPS_MAX: usize = 32_768;

/// Bursts that a report lists beside samples and windows: more than anybody reads.
pub const REPORT_BURSTS_MAX: usize = 1_000;

/// Series of losses that a report adds up, some 200 bytes each.
pub const REPORT_NUMBERS_MAX: usize = 8_192;

/// Bytes of one line that a report reads: a window with both histograms has 64 KiB at most.
pub const REPORT_LINE_BYTES_MAX: u64 = 1024 * 1024;
