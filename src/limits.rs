//! Every maximum of the program, in one place, each with its reason.
//!
//! Strangers on the network can make us keep no more than this. What a bound refuses is counted and
//! published (`monitor.responder.refused` and its neighbours).
//!
//! Under fuzzing the tables that strangers fill are small, so that short inputs fill them.

/// Targets that one process probes, with three flows each. The design scale is ten thousand.
pub const TARGETS_MAX: usize = 16_384;

/// UDP flows of a target, and as many TCP flows. By 5-tuple they cover sixteen parallel links with a chance of 76 %
/// (docs/paths.md); more would be a load test.
pub const FLOWS_MAX: u16 = 64;

/// Flows of all targets, as many as [`TARGETS_MAX`] have with one of each kind. Each is an origin of series, and with
/// UDP and TCP a socket.
pub const FLOWS_TOTAL_MAX: usize = 3 * TARGETS_MAX;

/// Meshes of one file, each of which is searched for this host.
pub const MESHES_MAX: usize = 256;

/// Members of a mesh. Where each probes some others they may be more than the targets of one host.
pub const MESH_MEMBERS_MAX: usize = 65_536;

/// Others that each member of a mesh probes with `shape = "k"`. Every member hashes all names as often.
pub const MESH_K_MAX: i64 = 64;

/// Groups that a member of a mesh may be in.
pub const GROUPS_MAX: usize = 64;

/// Files of a folder whose modes are looked at when the daemon locks itself in: a folder of keys has no more.
pub const SANDBOX_ENTRIES_MAX: usize = KEYS_MAX;

/// Sources that list targets. Each is looked at by a thread of its own.
pub const DISCOVERIES_MAX: usize = 64;

/// Paths of one source.
pub const DISCOVERY_GLOBS_MAX: usize = 64;

/// Files of one source.
pub const DISCOVERY_FILES_MAX: usize = 1_024;

/// Bytes of what one source says: a kilobyte for each target that there may be.
pub const DISCOVERY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of the stack of a source's thread, which reads lists and certificates.
pub const DISCOVERY_STACK_BYTES: usize = 1024 * 1024;

/// Keys that requests may be authenticated with. Those that a packet can be made with are tried.
pub const KEYS_MAX: usize = 1_024;

/// Bytes of a probe: the largest `size` of the text wire.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Payload of a UDP datagram over IPv4 (65,535 less the IPv4 and UDP headers).
pub const UDP_PAYLOAD_V4_MAX: usize = 65_507;

/// Payload of a UDP datagram over IPv6 (65,535 less the UDP header; no jumbograms).
pub const UDP_PAYLOAD_V6_MAX: usize = 65_527;

/// Bytes of a source name or a target label: DNS names end at 253.
pub const NAME_BYTES_MAX: usize = 255;

/// Tags one target or one message may carry.
pub const TAGS_MAX: usize = 64;

/// Bytes of the whole tag list on the text wire.
pub const TAGS_BYTES_MAX: usize = 4_096;

/// Bytes of a text message before its padding: sequence, name, time, tags and separators. A stream
/// keeps at most this and the identifier of an unfinished message.
pub const HEADER_BYTES_MAX: usize = NAME_BYTES_MAX + TAGS_BYTES_MAX + 64;

/// Probes of one flow that may be in flight, which bounds `timeout / interval`.
pub const IN_FLIGHT_MAX: u32 = 65_536;

/// Descriptors of neither a flow nor a listener: the event queue, logs, backends, resolvers, shared
/// UDP sockets, dump files.
pub const DESCRIPTORS_OWN: u64 = 64;

/// Connect probes of one target in flight. Each holds a descriptor, even if the peer is silent.
pub const CONNECTS_IN_FLIGHT_MAX: usize = 128;

/// Nanoseconds between the starts of two persistent connections: ten thousand a second, as many as
/// ten thousand targets at 1 s send probes. A listener's queue holds some thousands.
pub const CONNECTIONS_EVERY_NS: u64 = 100_000;

/// UDP sessions that a responder keeps (sequence window, tags). Those that have not shown that they
/// receive replies make room first, then the one idle longest.
pub const SESSIONS_MAX: usize = if cfg!(fuzzing) { 8 } else { 32_768 };

/// Places where the requests of a second are counted by their source, at 16 bytes each. Of ten thousand
/// sources some share one, which matters only if one of them exceeds the rate.
pub const RATE_SLOTS: usize = 65_536;

/// Requests a second from one IPv4 address, or one /64 of IPv6, whose answer is longer than they are, where everyone
/// may ask: a TWAMP-Light sender of less than 44 bytes at 1 ms. With a faked source that is 30 kB/s more than came in.
pub const SHORT_RATE: u32 = 1_000;

/// STAMP senders that the configuration names.
pub const SENDERS_MAX: usize = 16_384;

/// Prefixes that may ask this host. Each costs a request some nanoseconds.
pub const ALLOWED_PREFIXES_MAX: usize = 1_024;

/// TCP connections that a responder accepts at once; each holds a descriptor. The limit is lower if
/// our own flows leave fewer of the process's descriptors.
pub const ACCEPTED_MAX: usize = 16_384;

/// Distinct (source, tags) pairs of remote senders published at one time, and new ones in an hour: of
/// those that have shown that they receive replies, and as many of others. A store keeps every series
/// that it has ever seen.
pub const REMOTE_LABELS_MAX: usize = if cfg!(fuzzing) { 6 } else { 4_096 };

/// Ended pairs that are remembered, so that a fleet returns at once after a network outage, and nobody
/// takes its names meanwhile. Each takes 8 bytes and its place in a set. Past it all are forgotten.
pub const REMOTE_LABELS_KNOWN_MAX: usize = 16_384;

/// Replies that wait for the engine within one batch of events.
pub const REPLIES_QUEUED_MAX: usize = 4_096;

/// Bytes of those replies.
pub const REPLY_BYTES_QUEUED_MAX: usize = 8 * 1024 * 1024;

/// Bytes of half-written replies, over all streams. A peer that never reads reaches this.
pub const UNWRITTEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of unfinished native packets, over all accepted connections. A stranger could begin a
/// large one on each and never finish it.
pub const FRAME_BYTES_HELD_MAX: usize = 16 * 1024 * 1024;

/// Timers that fire in one turn. After a stall every flow is due, and each makes some packets and a
/// few results that stay until the turn ends. Replies are read between turns.
pub const TIMERS_PER_TURN_MAX: usize = 512;

/// Receives in one turn of the loop, and four more for each socket that has something to read.
pub const RECEIVES_PER_TURN_MAX: usize = 256;

/// Datagrams that one system call sends or receives. Past some dozens a call's own cost hardly
/// counts, and the first of a batch waits until the last is made.
pub const DATAGRAMS_PER_CALL_MAX: usize = 64;

/// Bytes of datagrams made before they are sent: a few of the largest, or one call's usual ones.
pub const DATAGRAM_BYTES_PER_CALL_MAX: usize = 256 * 1024;

/// Remote addresses that a shared UDP socket remembers, including those that moved to another
/// socket. Past it the moved ones are forgotten, and may come back.
pub const SHARED_REMOTES_MAX: usize = 2 * TARGETS_MAX;

/// ICMP messages about our packets read from a socket's error queue at once. The kernel reports the
/// remaining ones again, and a flood must not hold up the loop.
pub const REPORTS_PER_TURN_MAX: usize = 256;

/// Bytes read of what an ICMP error quotes, with its extension: as much as IPv6 gives (RFC 4443, section 3.3: no more
/// than its least MTU); IPv4 gives 576 at most.
pub const QUOTE_BYTES_MAX: usize = 1_280;

/// Flows that wait to have the hops of their paths learnt. A trace takes seconds, and later ones of an event that
/// touches all flows show nothing new.
pub const TRACES_WANTED_MAX: usize = 64;

/// Traces that the recorder asks for in one turn.
pub const TRACES_ASKED_MAX: usize = 16;

/// Labels of an MPLS stack that are kept of one hop (RFC 4950). Networks use up to five.
pub const MPLS_LABELS_MAX: usize = 16;

/// Unreachable flow addresses that are remembered, so that each is reported once. Names that move
/// leave some behind; past the limit all are reported afresh.
pub const UNREACHABLE_TOLD_MAX: usize = 2 * TARGETS_MAX;

/// Bytes read from a stream at once. Each message in them counts as a receive, so small messages
/// glued together get no more of a turn than datagrams.
pub const STREAM_READ_BYTES: usize = 4_096;

/// Connect probes a second from which `[engine] kind = "auto"` takes io_uring: all are in time there, with 0.5 to 0.9
/// of the processor time. It costs as much as mio or more on all other loads (docs/design/engines.md).
pub const RING_CONNECTS_PER_SECOND: u64 = 30_000;

/// Buffers of a ring of io_uring that bytes of streams come into: some turns' worth. What finds none waits at its
/// socket. A power of two.
pub const RING_BUFFERS: u16 = 256;

/// Writes to streams that one call of a ring makes: the first of them waits until the last is made.
pub const WRITES_PER_CALL_MAX: usize = 32;

/// Connections that one listener accepts in one turn. The reason is that of [`STREAM_READ_BYTES`].
pub const ACCEPTS_PER_TURN_MAX: usize = 64;

/// Readiness events that one call reads from the kernel.
pub const EVENTS_PER_POLL_MAX: usize = 1_024;

/// Addresses to listen on.
pub const LISTEN_ADDRESSES_MAX: usize = 64;

/// UDP ports to listen on, each on every address: a socket for each of both, and a look at each port for
/// every request in text.
pub const UDP_PORTS_MAX: usize = 16;

/// Addresses of one name that a target goes through while they are silent.
pub const RESOLVED_ADDRESSES_MAX: usize = 16;

/// Addresses of one answer: as many of IPv4 as a DNS message has room for, and a bound for what comes from a server.
pub const ANSWER_ADDRESSES_MAX: usize = 4_096;

/// Addresses of one name that are targets of their own. A headless service or a pool has some dozens; a name of others
/// must not take all of [`TARGETS_MAX`].
pub const EVERY_ADDRESS_MAX: usize = 256;

/// Targets of such addresses begun or ended in one turn; each takes some ten microseconds.
pub const POOL_STEPS_PER_TURN_MAX: usize = 32;

/// Answers in a row that lack an address before it is gone for sure, however the name has answered so far: an hour of
/// them at the default `resolve_interval`.
pub const ABSENT_ANSWERS_MAX: u32 = 64;

/// Targets that are looked at in a second for whose probe a datagram answers that came from an
/// address which is not probed. Each look takes some nanoseconds. With 100 targets every one of
/// 10,000 such datagrams a second is found out; ten thousand targets leave a hundred.
pub const STRAY_TARGETS_PER_SECOND_MAX: usize = 1_000_000;

/// 5-tuples of a flow that it has left for another address and still hears on. A name whose answer
/// changes with every look-up is followed once a second at most; with a timeout over four of them
/// the probes on the oldest are lost early.
pub const TUPLES_LEFT_MAX: usize = 4;

/// Samples and windows between the poll thread and the flush thread; past it they are dropped and
/// counted. A hundred targets at 1 ms, in both directions, fill it after 60 ms without a processor
/// for the flush thread; one target after 6 s. The whole ring is used, so all 2 MiB are resident.
pub const RING_RECORDS_MAX: usize = 32_768;

/// The ring's length without samples. Windows and counts wait for room and are not dropped.
pub const RING_WINDOWS: usize = RING_RECORDS_MAX / 8;

/// Records a library user's channel holds before samples are dropped and counted.
pub const CHANNEL_RECORDS_MAX: usize = 65_536;

/// Values of one series that a window keeps as they are, before a histogram takes the next ones.
/// They take 4 bytes each, far below the 110 KiB of a histogram. So a histogram costs at most 32
/// bytes for each value (60 with both signs). At 512 values it would cost 220.
pub const WINDOW_VALUES_MAX: usize = 4_096;

/// Numbers that identify the owners of series: flows, and remote senders. They index a table, which
/// a wild number must not enlarge.
pub const ORIGINS_MAX: u32 = 262_144;

/// Ring places reserved for windows and counts, so that a flood of samples cannot keep them out.
/// One set of labels publishes at once: 15 windows, 28 counts and gauges of its flows with both
/// directions, 3 of the peer's clock, 4 burst thresholds. This is the power of two above that with
/// every count for each kind of flow.
pub const RING_RECORDS_RESERVED: usize = 128;

/// Steps of this host's clock that cut the windows of one interval, and of the one that is handed
/// over meanwhile. Later ones cut none; lengths stay those of the monotonic clock.
pub const WINDOW_CUTS_MAX: usize = 64;

/// Targets whose counters are read in one turn when an interval ends: some hundred microseconds.
/// Ten thousand at once would stop all sending for five milliseconds.
pub const TARGETS_COUNTED_PER_TURN_MAX: usize = 512;

/// Targets whose flows are copied in one turn for somebody who asks: some tens of microseconds.
pub const TARGETS_VIEWED_PER_TURN_MAX: usize = 64;

/// Label sets whose counts are read in one turn when an interval ends, per backend. The reason is
/// that of [`TARGETS_COUNTED_PER_TURN_MAX`].
pub const SERIES_SETS_ENDED_PER_TURN_MAX: usize = 1_024;

/// Windows and counts handed over in one turn when an interval ends, per backend, however long the
/// turn before was: some hundred microseconds.
pub const PUBLISHED_PER_TURN_MAX: usize = 2_048;

/// Emptied windows on their way to the poll thread, per backend. The flush thread keeps the rest.
pub const WINDOWS_RETURNED_MAX: usize = 65_536;

/// Emptied windows taken back at once when the poll thread needs memory.
pub const POOL_RETURNS_PER_TAKE_MAX: usize = 16;

/// Unused windows, chunks and histograms released in one turn.
pub const POOL_RELEASES_PER_TURN_MAX: usize = 16;

/// Commands (added and removed targets, resolved names) that wait for the poll thread.
pub const COMMANDS_QUEUED_MAX: usize = 65_536;

/// Commands run in one turn. An added target takes some ten microseconds.
pub const COMMANDS_PER_TURN_MAX: usize = 32;

/// Threads that wait for the system's resolver as long as it answers quickly.
pub const RESOLVER_THREADS: usize = 4;

/// The same while many names hang: each holds a thread for ten seconds, and must not hold up others.
pub const RESOLVER_THREADS_MAX: usize = 512;

/// Bytes of their stacks, which `lock_memory` keeps in memory. The C library's resolver needs some 100 kB.
pub const RESOLVER_STACK_BYTES: usize = 256 * 1024;

/// Bytes in a UDP socket's kernel buffers, per direction, while the process or the interface is
/// busy. They hold some thousands of small packets: at 1 ms, a stall of tens of milliseconds for a
/// hundred peers. The receive buffer also holds transmit stamps that are not read yet.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Log lines that wait for a slow console or disk, including the log backend's records; past it
/// they are dropped. Each place takes 32 bytes, even if empty.
pub const LOG_LINES_MAX: usize = 16_384;

/// Time bins that a peer's clock is estimated from, each with its fastest exchange in each
/// direction: a hundred seconds at a second and a half each. 3 KiB for every flow with an estimate.
pub const CLOCK_BINS: usize = 64;

/// Packets sent on one socket of a flow whose transmit stamps may still come. Stamps come within
/// microseconds, or while the interface's queue drains. Where a driver makes none, this many
/// entries are kept in vain.
pub const STAMPS_OUTSTANDING_MAX: usize = 64;

/// The same for a UDP socket that sends to many peers at once.
pub const STAMPS_OUTSTANDING_UDP_MAX: usize = 4_096;

/// Stamps of a shared socket that may overtake one: an interface has several transmit queues.
pub const STAMPS_OVERTAKING_MAX: u32 = 64;

/// Messages that wait for one ZeroMQ subscriber; past it they are dropped and counted. At some 200
/// bytes each they take 13 MiB at most, which one target at 1 ms makes in ten seconds.
pub const ZEROMQ_MESSAGES_MAX: i32 = 65_536;

/// Milliseconds that a ZeroMQ subscriber may read nothing while messages wait for it. Then it is
/// disconnected, because it blocks all others until then. A working reader reads within
/// milliseconds.
pub const ZEROMQ_STUCK_MS_MAX: i32 = 10_000;

/// Bytes of a message from a ZeroMQ subscriber: a subscription, which is a prefix of our JSON.
pub const ZEROMQ_RECEIVED_BYTES_MAX: i64 = 1_024;

/// Senders whose series are kept for Prometheus: as many as are published at one time. Every
/// target has room besides, with the peer that answers for it.
pub const PUSHGATEWAY_SENDERS_MAX: usize = REMOTE_LABELS_MAX;

/// Buckets of a native histogram from the first to the last on one side of zero. At 2 % they reach over six decades;
/// a wider spread gets coarser ones. Prometheus takes as many.
pub const NATIVE_BUCKETS_MAX: usize = 640;

/// Bounds of a classic histogram. Each adds a line to every series in every answer and every push.
pub const BUCKETS_MAX: usize = 512;

/// Seconds that a backend which a reload has ended may take to send the batches that wait in memory.
pub const LINGER_S_MAX: u64 = 3_600;

/// Connections over HTTP at one time. Prometheus, its twin and some who look need a few each.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Answers with all series or all flows at one time. One of 1,000 targets has tens of mebibytes as text.
pub const HTTP_LARGE_ANSWERS_MAX: usize = 4;

/// Connections that wait for events. They leave room for others.
pub const HTTP_LISTENERS_MAX: usize = 16;

/// Events that a slow listener may be behind, before it loses the oldest.
pub const HTTP_EVENTS_QUEUED_MAX: usize = 1_024;

/// Figures of intervals that a slow page may be behind, before it has to begin again. One of 1,000 targets has a few
/// hundred kibibytes.
pub const HTTP_UPDATES_QUEUED_MAX: usize = 4;

/// Intervals whose figures are kept for whoever begins to look: ten minutes at a second each.
pub const LIVE_INTERVALS_MAX: usize = 600;

/// Bytes of them. An interval of 1,000 targets with flows of two kinds has some 200 KiB, so five minutes fit at a
/// second each, and ten at two seconds.
pub const LIVE_PAST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Intervals times series in the answer that has the main figures of all: some 5 MB of JSON.
pub const LIVE_PAST_CELLS_MAX: usize = 131_072;

/// Events that are kept for whoever begins to look. Each has a kilobyte, a path some more.
pub const LIVE_EVENTS_KEPT: usize = 512;

/// Paths that are kept, the last one of each flow.
pub const LIVE_PATHS_KEPT: usize = 1_024;

/// Bytes of a file that holds a secret. A larger file is not a secret.
pub const SECRET_BYTES_MAX: u64 = 4_096;

/// Batches that wait for one backend, besides the bytes that its `buffer_mib` allows. Each takes
/// some 150 bytes in memory. With a batch a second, as with a spool, this is a day.
pub const BATCHES_QUEUED_MAX: usize = 86_400;

/// Bytes read of an HTTP answer: enough for the columns of any table and for a reason. The rest is
/// not read.
pub const HTTP_ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Bytes of a server's reason that are logged.
pub const REASON_BYTES_MAX: usize = 300;

/// Bytes of a spool file's pages in memory.
pub const SPOOL_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Parts of a refused batch that are divided again, each with two requests. Ten find one series among
/// a thousand.
pub const REFUSED_PARTS_MAX: usize = 64;

/// Reasons for refused batches that are remembered per backend, so that each is reported once.
pub const REASONS_MAX: usize = 16;

/// Bytes of JSON at which a batch for `ClickHouse` is closed: some 50,000 samples, a block size
/// that suits the server. Compressed, it takes at most a mebibyte while it waits.
pub const CLICKHOUSE_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that such a batch may unpack to: the gathered bytes, and the largest window. A spool file
/// is not trusted to stay within that.
pub const CLICKHOUSE_UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a payload that Datadog's intake accepts, before compression. A payload over this or
/// [`DATADOG_COMPRESSED_BYTES_MAX`] is split.
pub const DATADOG_JSON_BYTES_MAX: usize = 5_242_880;

/// The same after compression. See [`DATADOG_JSON_BYTES_MAX`].
pub const DATADOG_COMPRESSED_BYTES_MAX: usize = 512_000;

/// Approximate bytes of JSON at which a payload for Datadog is closed. Random values compress to a
/// sixth, so it is seldom split.
pub const DATADOG_BATCH_BYTES: usize = 2_500_000;

/// Backends of one daemon. Each has a ring, a flush thread and a copy of what goes on in an interval.
pub const BACKENDS_MAX: usize = 32;

/// Bytes of JSON at which a batch for an OTLP receiver is closed. A collector takes 20 MiB unless told otherwise, and a
/// window at the finest scale has 10 KiB.
pub const OTLP_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that such a batch may unpack to. A spool file is not trusted to stay within what was gathered.
pub const OTLP_UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Series whose totals are kept for an OTLP receiver: 64 of each of the most targets. Idle ones make room.
pub const OTLP_SERIES_MAX: usize = 64 * TARGETS_MAX;

/// Characters of an event's text that Datadog accepts. Many long tags would exceed it.
pub const DATADOG_EVENT_CHARS_MAX: usize = 4_000;

/// Milliseconds kept before and after a burst. A flight recorder's rings are longer by this.
pub const BURST_MARGIN_MS_MAX: f64 = 10_000.0;

/// Burst dumps in a folder. Each new one lists it; a file has at most a megabyte.
pub const DUMPS_KEPT_MAX: i64 = 10_000;

/// Buckets of half a second, or 16 probes if those take longer, that keep the least delay; the line
/// under them is the base of bursts. Eight seconds exceed a burst, and a clock's rate hardly
/// changes within them.
pub const BURST_BUCKETS: usize = 16;

/// Bursts of one flow whose probes are not all decided, which takes a timeout: 16 a second at 4 s.
pub const BURSTS_UNDECIDED_MAX: usize = 64;

/// Recent bursts, of all flows, that a new one is compared with to find a common beginning.
pub const INCIDENTS_RECENT: usize = 64;

/// Times at which this host was late that are kept to judge events by. With more of them the older ones are joined.
pub const HELD_KEPT: usize = 256;

/// The same of the host at the other end, for each flow, of which there are many.
pub const PEER_HELD_KEPT: usize = 24;

/// Readings of the system's counters that are kept: those of 12 s, in which the longest burst has room.
pub const HOST_READINGS_KEPT: usize = 128;

/// Nanoseconds of a burst, back from its end, that a flight recorder's ring holds besides its
/// margins. A queue of a second is a bad one, and an outage's event has its beginning.
pub const BURST_KEPT_NS: u64 = 2_000_000_000;

/// Nanoseconds that a dump waits at most after its last probe, until losses are known. The rings
/// are longer by this.
pub const DUMP_SETTLE_NS_MAX: u64 = 2_000_000_000;

/// Initial probes of a flow's ring: what a flow at 1 s shows of a burst. At 48 bytes each, ten
/// thousand targets with two flows take 15 MiB.
pub const FLIGHT_PROBES_LEAST: usize = 16;

/// Probes of one flow's ring, 768 KiB: at 1 ms and the defaults 4,096 are needed.
pub const FLIGHT_PROBES_MAX: usize = 16_384;

/// Probes by which all rings may grow, 192 MiB: a thousand flows at 1 ms. Past it no ring grows,
/// and dumps say that they are incomplete.
pub const FLIGHT_PROBES_TOTAL_MAX: usize = 4 * 1024 * 1024;

/// Probes examined in one turn for a dump: some ten microseconds.
pub const FLIGHT_COPIES_PER_TURN_MAX: usize = 4_096;

/// Bursts whose dumps wait for the probes after them. More at once are one common outage, which a
/// few dumps show as well.
pub const DUMPS_PENDING_MAX: usize = 256;

/// Bytes of a target's name in a file name. File systems limit the whole name to 255.
pub const DUMP_NAME_BYTES_MAX: usize = 64;

/// Dumps that wait for the disk. At 1 ms and the defaults one is some 100 KiB.
pub const DUMPS_QUEUED_MAX: usize = 64;

/// Probes of dumps that a report holds, 72 bytes each; a burst's dump has a few thousand.
pub const REPORT_PROBES_MAX: usize = 1_048_576;

/// Bytes of a dump of which the HTTP face makes a report: some 60,000 probes. A longer one is cut, and `report` at the
/// command line draws it whole.
pub const REPORT_SERVED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Series that a report distinguishes, at 320 KiB each: two histograms and a heatmap.
pub const REPORT_SERIES_MAX: usize = 512;

/// Spans of time that a report tells apart in one series, of samples and of windows, to count no
/// delay twice. At a second or less between two samples there is one span between two pauses.
pub const REPORT_SPANS_MAX: usize = 4_096;

/// Flows of dumps, and series, that a page plots. Of all others it shows the numbers.
pub const REPORT_FLOWS_MAX: usize = 32;

/// Flows of dumps that a report has; a snapshot of a daemon with 10,000 targets has 20,000.
pub const REPORT_DUMPS_MAX: usize = 32_768;

/// Bursts that a report lists beside samples and windows: more than anybody reads.
pub const REPORT_BURSTS_MAX: usize = 1_000;

/// Series of losses that a report adds up, at some 200 bytes each.
pub const REPORT_NUMBERS_MAX: usize = 8_192;

/// Groups of events that a report's verdict tells apart: by host, target, flow and direction. Each keeps its worst
/// event, some kilobytes with its tags.
pub const REPORT_FINDINGS_MAX: usize = 4_096;

/// Lines of a report's verdict, the worst first: more than anybody reads at three in the morning.
pub const REPORT_VERDICT_LINES_MAX: usize = 40;

/// Files of a report that are told apart as hosts. A fleet's hosts come in hundreds, the tags of one series in tens.
pub const REPORT_HOSTS_MAX: usize = 1_024;

/// Characters of a name from elsewhere in a line of a report's verdict. A tag has 255 bytes.
pub const REPORT_NAME_CHARS_MAX: usize = 255;

/// Bytes of a file up to which no progress is told: less is read in a moment or two.
pub const REPORT_QUIET_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of one line that a report reads: a window with both histograms has 64 KiB at most.
pub const REPORT_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a line that `top` reads of a daemon: a snapshot of 10,000 targets with two flows each has some 20 MB.
pub const TOP_LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rows that `top` keeps, of 10,000 targets with three kinds of flows; each takes some 10 KiB.
pub const TOP_ROWS_MAX: usize = 32_768;

/// Intervals of every row that `top` keeps for its sparkline and its losses: as many as the widest terminal shows.
pub const TOP_TICKS_KEPT: usize = 120;

/// Intervals of the chosen row that `top` keeps for its heatmaps, as many as the daemon keeps.
pub const TOP_COLUMNS_KEPT: usize = LIVE_INTERVALS_MAX;

/// Events that `top` keeps, as many as the daemon keeps.
pub const TOP_EVENTS_KEPT: usize = LIVE_EVENTS_KEPT;

/// Characters of a name, tag or reason of others that `top` keeps: an escaped one of 255 bytes, and no more.
pub const TOP_TEXT_CHARS_MAX: usize = 2_048;

/// Figures of the host and of its backends that `top` keeps, several times as many as there are.
pub const TOP_HOST_FIGURES_MAX: usize = 512;

/// Messages that wait for the drawing of `top`. Past it the thread that reads the daemon's figures waits.
pub const TOP_MESSAGES_MAX: usize = 64;

/// Characters of a filter that is typed into `top`.
pub const TOP_FILTER_CHARS_MAX: usize = 64;

/// Seconds that a report of what was kept reaches back at most: ten years.
pub const REPORT_LAST_S_MAX: u64 = 315_360_000;

/// Days that the finest intervals of the history are kept at most. A day of them is as large as a week of minutes.
pub const HISTORY_FINE_DAYS: i64 = 1;

/// Days that its minutes are kept at most: two weeks compare with each other.
pub const HISTORY_MINUTE_DAYS: i64 = 14;

/// Bytes of a frame of the history, which is one interval of all series. An hour of 10,000 targets has some 60 MiB.
pub const HISTORY_FRAME_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Subjects that one file of the history names, and metrics: all targets, and as many senders as come and go within an
/// hour.
pub const HISTORY_NAMES_MAX: u64 = 262_144;

/// Files of the history. Each holds an hour at least, so a year has some thousands; restarts add four each.
pub const HISTORY_FILES_MAX: usize = 16_384;

/// Frames that are read of one file of the history: an hour has 3,600 of a second each.
pub const HISTORY_FRAMES_MAX: usize = 65_536;

/// Intervals that are rolled up to one: an hour of minutes, and steps of the clock that cut them.
pub const HISTORY_RUN_MAX: usize = 256;

/// Series of one interval that are gathered for the history, 64 of each of the most targets. Each has some 200 bytes
/// until it is written.
pub const HISTORY_CELLS_MAX: usize = 64 * TARGETS_MAX;

/// Intervals that wait for the history's disk. While an hour is rolled up, two or three come.
pub const HISTORY_INTERVALS_QUEUED_MAX: usize = 4;

/// Bytes of lines of events at which they are written to the history, before their second is over.
pub const HISTORY_EVENTS_BYTES: usize = 64 * 1024;

/// Damaged places of the history that are told one by one.
pub const HISTORY_DAMAGES_TOLD_MAX: usize = 16;

/// Intervals of the history in one answer: those of a tier that is fine enough for any screen.
pub const HISTORY_INTERVALS_SHOWN_MAX: i64 = 2_000;
