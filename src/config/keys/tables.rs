//! The keys of the tables that stand beside the targets: who is asked, who may ask, and how it is done.

use crate::config::key::Key;
use crate::config::key::Scope;
use crate::config::key::Scope::{
    Auth, Burst, Discovery, Engine, History, Http, Member, Mesh, Sandbox, Sessions,
};
use crate::config::named::Usage;
use crate::config::rules;
use crate::config::value::Kind::{
    Number, NumberOrAuto, Numbers, Path, Switch, Text, Texts, Whole, Word,
};
use crate::config::words::Word as _;
use crate::config::words::{EngineKind, SandboxKind, Shape};
use crate::limits::{BURST_MARGIN_MS_MAX, DUMPS_KEPT_MAX, MESH_K_MAX};
use crate::proto::Host;
use crate::publish::{Bounds, HistogramKind};

keys! { OF_TABLES:
    KEY_DIR = Key::new("key_dir", Auth, Path)
        .help("A folder of keys for requests to this host, a file for each, as `key_file` of a target has it. A \
               file whose name is a number from 0 to 65535 is for the session identifier of a STAMP sender (0: \
               without one); any other name is yours. A request that no key fits is answered as one without a key.")
        .absent("no keys").example("\"/etc/latency-monitor/keys\"").usage(Usage::ReadFolder);

    REQUIRE_KEY = Key::new("require_key", Auth, Switch)
        .help("Whether requests are answered only if a key of `key_dir` has authenticated them. Text never is, \
               nor is a TCP connect.")
        .preset("false");

    FROM = Key::new("from", Sessions, Text(|text| rules::prefix(text).map(drop)))
        .help("The address that the requests of a STAMP or TWAMP Light sender come from, or a prefix of such \
               addresses. Of several that fit an address the longest counts. Each address of a prefix is \
               published for itself, with the tag `address`.")
        .absent("a session must have one").example("\"192.0.2.7\"");

    SESSION_SSID = Key::new("ssid", Sessions, Whole(0, 65_535, ""))
        .help("The session identifier of the requests (RFC 8972); 0: they have none.")
        .absent("any").example("7");

    SESSION_LABEL = Key::new("label", Sessions, Text(rules::name))
        .help("What the sender is called in the tag `source`. Nobody else is published under it. Another sender \
               at the same address that lasts is published with the tag `port`.")
        .absent("a session must have one").example("\"pe1-fra\"");

    SESSION_TAGS = Key::new("tags", Sessions, Texts(rules::tags))
        .help("Tags of the sender's one-way delays.")
        .preset("[]").example("[\"maker:example\"]");

    SESSION_UTC_OFFSET = Key::new("utc_offset", Sessions, Whole(-86_400, 86_400, "seconds"))
        .help("Seconds that the sender's times are ahead of UTC: 37 if it keeps TAI, as PTP does. They are \
               subtracted.")
        .preset("0").example("37");

    SESSION_KEY_FILE = Key::new("key_file", Sessions, Path)
        .help("A file with the sender's key, as `key_file` of a target. Requests that it has not authenticated \
               are not answered, and are counted in `monitor.responder.unauthentic`.")
        .absent("no key").example("\"/etc/latency-monitor/pe1\"");

    MESH_NAME = Key::new("name", Mesh, Text(rules::name))
        .help("What the mesh is called in messages.")
        .absent("a mesh must have one").example("\"backbone\"");

    MESH_SHAPE = Key::new("shape", Mesh, Word(Shape::names))
        .help("Who probes whom: all members each other (`full`), those that have a group in common (`groups`), or \
               each of them `k` others, for large fleets (`k`).")
        .preset("\"full\"").example("\"k\"");

    MESH_K = Key::new("k", Mesh, Whole(1, MESH_K_MAX, ""))
        .help("How many others each member probes with `shape = \"k\"`. About as many probe it. The names of the \
               members alone decide which, and a member more or less moves few pairs.")
        .absent("none; with `shape = \"k\"` it must be given").example("5");

    MEMBER_NAME = Key::new("name", Member, Text(rules::name))
        .help("The member's `name`, by which it finds itself. For the others it is the target's label.")
        .absent("a member must have one").example("\"fra1\"");

    MEMBER_ADDRESS = Key::new("address", Member, Text(|text| text.parse::<Host>().map(drop)))
        .help("The member's IP address or host name, as the others reach it.")
        .absent("a member must have one").example("\"192.0.2.7\"");

    MEMBER_TAGS = Key::new("tags", Member, Texts(rules::tags))
        .help("Tags of everything that the others publish about the member, behind the mesh's own.")
        .preset("[]").example("[\"site:fra\"]");

    GROUPS = Key::new("groups", Member, Texts(rules::groups))
        .help("The groups that the member is in, for `shape = \"groups\"`.")
        .preset("[]").example("[\"eu\"]");

    DISCOVERY_FILES = Key::new("files", Discovery, Texts(rules::lists))
        .help("Files with lists of targets, in whose names `*` stands for anything: JSON or YAML as Prometheus reads \
               them from files, or TOML with [[targets]]. They are read when something in their folders changes.")
        .absent("none; `files` or `url` must be given").example("[\"/etc/latency-monitor/targets/*.json\"]");

    DISCOVERY_URL = Key::new("url", Discovery, Text(rules::list_url))
        .help("A URL that answers with a list of targets, in JSON as Prometheus reads it over HTTP.")
        .absent("none; `files` or `url` must be given").example("\"https://inventory.example.com/targets\"");

    REFRESH = Key::new("refresh", Discovery, Number(1.0, 86_400.0, "seconds"))
        .help("Seconds between two looks at the files or the URL.")
        .preset("30").example("60");

    HEADERS_OF_FILE = Key::new("headers_file", Discovery, Path)
        .help("A file with headers of the request for `url`, a line for each: `name: value`. It is read for every \
               request.")
        .absent("no headers").example("\"/run/secrets/inventory-headers\"");

    DISCOVERY_TOKEN_FILE = Key::new("token_file", Discovery, Path)
        .help("A file with a bearer token for `url`. It is read for every request.")
        .absent("no token").example("\"/run/secrets/inventory\"");

    DISCOVERY_CA_FILE = Key::new("ca_file", Discovery, Path)
        .help("A file with certificates in PEM that HTTPS trusts for `url`, beside those of the system.")
        .absent("only those of the system").example("\"/etc/ssl/inventory.pem\"");

    KIND = Key::new("kind", Engine, Word(EngineKind::names))
        .help("The engine: how the loop waits, and moves packets. `io_uring` takes less processor time where \
               connects in numbers are due together, and needs Linux 6.1; `auto` takes it there if the system allows \
               it, and `mio` otherwise.")
        .preset("\"auto\"");

    SPIN_US = Key::new("spin_us", Engine, Whole(0, 10_000, "microseconds"))
        .help("Microseconds before a probe is due at which the poll thread wakes and spins. This costs \
               processor time.")
        .preset("0").example("20");

    // A thousandth of a second is the shortest interval of most; longer than this nobody sees live.
    RECEIVE_WITHIN_US = Key::new("receive_within_us", Engine, Whole(0, 100_000, "microseconds"))
        .help("Microseconds that a reply may wait until it is read. The kernel has stamped it by then, \
               so no delay changes, and the poll thread sleeps on until the next probe is due. What is \
               measured is seen that much later at most. 0 reads every reply as it comes, as where \
               this process makes the stamps.")
        .preset("2000").example("0");

    CPU = Key::new("cpu", Engine, Whole(0, 8_191, ""))
        .help("The processor that the poll thread stays on, so that it loses no time to moves and cold \
               caches.")
        .absent("any").example("3");

    REALTIME = Key::new("realtime", Engine, Whole(1, 99, ""))
        .help("The priority of the poll thread under SCHED_FIFO, so that other programs do not keep it \
               waiting. This needs CAP_SYS_NICE or `ulimit -r`. With `spin_us` give it a processor of \
               its own.")
        .absent("the usual scheduler").example("50");

    LOCK_MEMORY = Key::new("lock_memory", Engine, Switch)
        .help("Whether the process's memory is kept from being paged out. This needs CAP_IPC_LOCK or \
               `ulimit -l`.")
        .preset("false");

    // More than a millisecond would hold up the next probe.
    BUSY_POLL_US = Key::new("busy_poll_us", Engine, Whole(0, 1_000, "microseconds"))
        .help("Microseconds for which every receive polls the interface's queue (SO_BUSY_POLL), where \
               the driver can. Older kernels want CAP_NET_ADMIN for more than net.core.busy_read.")
        .preset("0").example("50");

    RECEIVE_BUFFER_KIB = Key::new("receive_buffer_kib", Engine, Whole(4, 1_048_576, "kibibytes"))
        .help("Kibibytes of every UDP socket's receive buffer. The log tells if the kernel gives less \
               (net.core.rmem_max).")
        .absent("4096, or as much of it as the kernel gives").example("4096");

    SEND_BUFFER_KIB = Key::new("send_buffer_kib", Engine, Whole(4, 1_048_576, "kibibytes"))
        .help("Kibibytes of every UDP socket's send buffer. The log tells if the kernel gives less \
               (net.core.wmem_max).")
        .absent("4096, or as much of it as the kernel gives").example("4096");

    SANDBOX_KIND = Key::new("kind", Sandbox, Word(SandboxKind::names))
        .help("Whether the daemon locks itself in, as far as the kernel can (`auto`): it then opens no files but those \
               that it was started with, starts no program, makes only the system calls that it needs, and has no \
               capability that it does not use. A reload cannot name files elsewhere (docs/security.md).")
        .preset("\"auto\"").example("\"off\"");

    THRESHOLD_US = Key::new("threshold_us", Burst, NumberOrAuto(0.1, 60_000_000.0, "microseconds"))
        .help("Microseconds of queueing delay at which a micro-burst begins, or `auto`: from each \
               flow's own noise. The burst ends when the delay stays under half of that for `quiet_ms`.")
        .preset("\"auto\"").example("250");

    QUIET_MS = Key::new("quiet_ms", Burst, Number(0.01, 60_000.0, "milliseconds"))
        .help("Milliseconds of quiet that end a burst.")
        .preset("5");

    PRE_MS = Key::new("pre_ms", Burst, Number(0.0, BURST_MARGIN_MS_MAX, "milliseconds"))
        .help("Milliseconds before a burst from which its dump has the single probes.")
        .preset("200");

    POST_MS = Key::new("post_ms", Burst, Number(0.0, BURST_MARGIN_MS_MAX, "milliseconds"))
        .help("Milliseconds after a burst up to which its dump has the single probes.")
        .preset("200");

    DUMP_DIR = Key::new("dump_dir", Burst, Path)
        .help("A folder for dumps, of this daemon alone: the single probes around each burst, for \
               `latency-monitor report`. SIGUSR1 dumps what there is of every flow.")
        .absent("no dumps").example("\"/var/lib/latency-monitor\"").usage(Usage::WriteFolder);

    DUMPS_MAX = Key::new("dumps_max", Burst, Whole(1, DUMPS_KEPT_MAX, ""))
        .help("Dumps that are kept. The oldest go first.")
        .preset("100");

    PATH_ON = Key::new("on", Scope::Path, Texts(rules::path_events))
        .help("The events at which the hops of the path of a UDP flow are learnt: `burst`, `outage`, `divergence` and \
               `reopen`. At most once a minute for each of them, and a few packets a second for the whole daemon.")
        .preset("[\"burst\", \"outage\", \"divergence\", \"reopen\"]").example("[\"outage\"]");

    PATH_INTERVAL = Key::new("interval", Scope::Path, Number(0.0, 86_400.0, "seconds"))
        .help("Seconds between two times that the hops of each UDP flow are learnt without an event, to compare with. \
               0: never.")
        .preset("600").example("3600");

    HOPS_MAX = Key::new("hops_max", Scope::Path, Whole(1, 64, "hops"))
        .help("The greatest TTL that is sent for that.")
        .preset("30");

    LISTEN = Key::new("listen", Http, Text(|text| rules::socket_address(text).map(drop)))
        .help("The address and port to answer HTTP on. Whoever reaches it may read everything, unless there is a \
               token or a CA of clients; without those `POST /-/reload` is for this host alone.")
        .absent("nobody can ask").example("\"127.0.0.1:8003\"");

    SOCKET = Key::new("socket", Http, Path)
        .help("A Unix socket to answer HTTP on, beside `listen` or in its place. Only the daemon's user and group may \
               connect.")
        .example("\"/run/latency-monitor/http\"").usage(Usage::Socket);

    TLS_CERT_FILE = Key::new("tls_cert_file", Http, Path)
        .help("A file with the certificate in PEM, and those between it and its CA: `listen` then speaks HTTPS. It \
               and the key are read again at a reload.")
        .absent("plain HTTP").example("\"/etc/latency-monitor/cert.pem\"");

    TLS_KEY_FILE = Key::new("tls_key_file", Http, Path)
        .help("A file with the certificate's private key in PEM.")
        .example("\"/etc/latency-monitor/key.pem\"");

    CLIENT_CA_FILE = Key::new("client_ca_file", Http, Path)
        .help("A file with CAs in PEM: only clients with a certificate of theirs are answered over `listen`.")
        .absent("no certificate is asked for").example("\"/etc/latency-monitor/clients.pem\"");

    TOKEN_FILE = Key::new("token_file", Http, Path)
        .help("A file with a token that requests over `listen` must have in `Authorization: Bearer`. It is read again \
               at a reload.")
        .absent("none is asked for").example("\"/run/secrets/scrape\"");

    HTTP_INTERVAL = Key::new("interval", Http, Number(0.1, 3_600.0, "seconds"))
        .help("Seconds after which /metrics and /api have new values.")
        .preset("5");

    HTTP_METRICS = Key::new("metrics", Http, Texts(|names| rules::metrics(names).map(drop)))
        .help("Which metrics /metrics has, by name, with `*` for any letters, and `!` to exclude: as in \
               `[[metrics]]`.")
        .absent("all").example("[\"*.rtt\", \"*.wan.lost\"]");

    HISTOGRAMS = Key::new("histograms", Http, Word(HistogramKind::names))
        .help("Which buckets delays have: `native` ones, which only Prometheus' protobuf format carries, `classic` \
               ones with fixed bounds, or both: native ones in that format, and classic ones in text.")
        .preset("\"both\"").example("\"native\"");

    SCHEMA = Key::new("schema", Http, Whole(-4, 8, ""))
        .help("How fine native buckets are, in Prometheus' schemas: at 5 one is 2.2 % wide, and one more halves that.")
        .preset("5");

    HTTP_BUCKETS = Key::new("buckets", Http, Numbers(|seconds| Bounds::parse(seconds).map(drop)))
        .help("Upper bounds of the classic buckets in seconds, ascending.")
        .absent("from 1 us to 10 s").example("[0.0001, 0.001, 0.01, 0.1, 1]");

    HISTORY_DIR = Key::new("dir", History, Path)
        .help("A folder of this daemon alone, in which it keeps what it has measured, for `latency-monitor report \
               --last 24h`, `latency-monitor top` and the page.")
        .absent("nothing is kept").example("\"/var/lib/latency-monitor/history\"").usage(Usage::WriteFolder);

    HISTORY_KEEP = Key::new("keep", History, Whole(1, 3_650, "days"))
        .help("Days after which what is kept is dropped: hours and events. The finest intervals are kept for a day at \
               most, minutes for two weeks.")
        .preset("7").example("90");

    HISTORY_MAX_MIB = Key::new("max_mib", History, Whole(16, 1_048_576, "mebibytes"))
        .help("Mebibytes of all that is kept. Past it the oldest part goes, whatever `keep` says.")
        .preset("1024").example("16384");

    HISTORY_INTERVAL = Key::new("interval", History, Whole(1, 60, "seconds"))
        .help("Seconds of the finest intervals, which fill a minute: 1, 2, 5, 10, 15, 20, 30 or 60. Minutes and hours \
               are made of them.")
        .preset("10").example("1");

    HISTORY_METRICS = Key::new("metrics", History, Texts(|names| rules::metrics(names).map(drop)))
        .help("Which metrics are kept, by name, with `*` for any letters, and `!` to exclude: as in `[[metrics]]`.")
        .absent("all").example("[\"*.rtt\", \"*.pdv\", \"*.sent\", \"*.lost*\"]");
}
