"""Programs that measure round trips, ours and others': how each is installed and started, which bytes number its packets, and
what it reports of each probe.

Each runs as its own documentation says for one target at 1 ms, and reports the round trip of every probe.
"""

import json
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import tempfile

import truth
from capture import HEADER, UDP, Exchange, join, packets
from lab import FAR, GIVE_UP_S, PYTHON_DAEMON, ROOT, VENV, collect, expect, sockets, values, wait_until
from lab import run as command

TOOLS = ROOT / "target" / "tools"
# A bare Debian, for the lab `install`, and what it is looked at with.
BARE_ROOT = ROOT / "target" / "net-debian.tar"
PACKAGING = {"mmdebstrap": "mmdebstrap", "rpm": "rpm", "buildah": "buildah", "objdump": "binutils", "lintian": "lintian"}
STAMP_SUITE = TOOLS / "bin" / "stamp-suite"
IRTT_RS = TOOLS / "bin" / "irtt-rs"
# With the features that make them exact: kernel stamps are not in every default.
CRATES = {
    STAMP_SUITE: ["stamp-suite", "--version", "1.0.0", "--features", "hwtstamp"],
    IRTT_RS: ["irtt-rs", "--version", "0.10.2", "--no-default-features", "--features", "client,server,stats"],
}
SOURCES = [pathlib.Path("/etc/apt/sources.list.d/debian.sources"), pathlib.Path("/etc/apt/sources.list")]
DEBIAN = {"irtt": "irtt", "sockperf": "sockperf"}
MATPLOTLIB = "matplotlib==3.11.2"

INTERVAL_MS = 1
SPIN_US = int(os.environ.get("LM_SPIN_US", "500"))
# The offset of the number in irtt's packets, and the length of the shortest packet with a number.
IRTT_NUMBER, IRTT_BYTES = 12, 16
IRTT_OPEN = 0x01
# sockperf's packets begin with their number and flags. Packets of its warm-up are not of the test.
SOCKPERF_HEAD = struct.Struct(">QH")
SOCKPERF_WARM_UP = 0x04
# sockperf's log begins so long after its first probe, give or take SHIFTS probes. The second best pairing of the log with the
# link must be PAIR_CLEARLY times as unlike as the best.
SOCKPERF_SKIPS_NS = 400_000_000
SHIFTS = 8
PAIR_CLEARLY = 1.25
UNPAIRED = "no one pairing of its log with the link fits"


def apt_install(packages, check=True):
    """Installs Debian packages. With `check` a failure raises."""
    # A package that would ask a question takes its own answer.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=check)
    words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *sorted(packages)]
    subprocess.run(words, check=check, env=quiet)


def install_packages():
    """Tries to install the Debian packages that are missing."""
    missing = [package for name, package in DEBIAN.items() if not shutil.which(name)]
    if missing:
        apt_install(missing, check=False)


def install_crate(binary):
    """Tries to build a program of crates.io; keeps only the binary."""
    if binary.exists() or not shutil.which("cargo"):
        return
    with tempfile.TemporaryDirectory(prefix="crate-") as folder:
        words = ["cargo", "install", "--locked", "--root", str(TOOLS), *CRATES[binary]]
        subprocess.run(words, env={**os.environ, "CARGO_TARGET_DIR": folder}, cwd=folder)


def install_packaging():
    """Installs what makes packages and images, and a root to install them in, of where this host has its packages from."""
    missing = {package for name, package in PACKAGING.items() if not shutil.which(name)}
    if missing:
        apt_install(missing)
    tools = ["cargo-deb", "cargo-generate-rpm", "cargo-cyclonedx"]
    subprocess.run([str(ROOT / "packaging" / "tools"), *tools], check=True)
    if not BARE_ROOT.exists():
        sources = [str(path) for path in SOURCES if path.exists()]
        made = BARE_ROOT.with_suffix(".new.tar")
        words = ["mmdebstrap", "--quiet", "--variant=essential", "--include=libstdc++6", "bookworm", str(made)]
        subprocess.run([*words, *sources], check=True)
        made.rename(BARE_ROOT)


def install():
    """Tries to install everything. A program that cannot be installed has a row that says so."""
    install_packages()
    for binary in CRATES:
        install_crate(binary)
    words = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", MATPLOTLIB]
    subprocess.run(words)


class Numbers:
    """Numbers the packets of one capture; a reply has its request's number."""

    def __init__(self):
        self.asked, self.count = {}, 0

    def irtt(self, data, _):
        has_number = len(data) >= IRTT_BYTES and not data[3] & IRTT_OPEN
        return struct.unpack_from("<I", data, IRTT_NUMBER)[0] if has_number else None

    def stamp(self, data, is_reply):
        return struct.unpack_from(">I", data, 24 if is_reply else 0)[0]

    def sockperf(self, data, _):
        number, flags = SOCKPERF_HEAD.unpack_from(data)
        return None if flags & SOCKPERF_WARM_UP else number

    def python(self, data, is_reply):
        # Its numbers wrap: a reply answers the last request with its number.
        seq = int(HEADER.match(data)[1])
        if not is_reply:
            self.asked[seq] = self.count
            self.count += 1
        return self.asked.get(seq)


def exchanges(captures, port, kind):
    """Returns the exchanges of a foreign program by the number of the probe."""
    found = {}
    for path, outgoing, incoming in zip(captures, ("request_out", "request_in"), ("reply_in", "reply_out")):
        number_of = getattr(Numbers(), kind)
        for packet in packets(path):
            if packet.protocol != UDP or port not in (packet.source_port, packet.target_port):
                continue
            is_reply = packet.source_port == port
            number = number_of(packet.payload, is_reply)
            if number is not None:
                setattr(found.setdefault(number, Exchange()), incoming if is_reply else outgoing, packet.at)
    return found


def listens(namespace, port):
    wait_until(lambda: f":{port} " in sockets("-Hlnu", namespace), f"a reflector on {port}")


def pair(rows, found):
    """Pairs a log without numbers with the link; returns round trips by number.

    The rows of the log are instants of sending and receiving on an unknown clock, of answered probes in order: only the first
    row's probe is unknown. The program and the link sent late at the same probes, and of one start all those gaps agree.
    Fails if no start is plainly the best. Leaves out no row for being off: those rows are the errors.
    """
    answered = sorted((number, one) for number, one in found.items() if one.complete())
    outs = [one.request_out for _, one in answered]
    begin = outs[0] + SOCKPERF_SKIPS_NS if outs else 0
    first = next((at for at, out in enumerate(outs) if out >= begin), 0)
    starts = range(max(0, first - SHIFTS), min(first + SHIFTS, len(outs) - len(rows)) + 1)
    expect(len(rows) > 2 and len(starts) > 1, f"{len(rows)} rows in its log, {len(outs)} answered on the link")
    sent = gaps([at for at, _ in rows])
    fits = sorted((1 - statistics.correlation(sent, gaps(outs[start : start + len(rows)])), start) for start in starts)
    (best, first), (second, _) = fits[:2]
    expect(best * PAIR_CLEARLY < second, f"{UNPAIRED}: {best:.2f} unlike, the next {second:.2f}")
    return {number: back - at for (number, _), (at, back) in zip(answered[first:], rows)}


def gaps(instants):
    """Returns the times between instants of sending.

    Instants of receiving would not do. A program that receives late also sends its next probe late, and then the link has at
    that probe the gap that the log has at this one.
    """
    return [late - early for early, late in zip(instants, instants[1:])]


class Program:
    """Runs a program at both ends of a link for a while."""

    key = name = settings = lacks = ""
    # What its round trip covers: `rtt` excludes the reflector's dwell, `whole` includes it.
    trip = "rtt"
    # Another setting of a program that is in the comparison already.
    variant = False
    port, kind = 0, ""

    def __init__(self, lab, label, near, far, seconds):
        self.lab, self.label, self.near, self.far, self.seconds = lab, label, near, far, seconds
        self.client = self.server = None

    @classmethod
    def version(cls):
        """Returns its version; fails if it is not installed."""
        raise NotImplementedError

    def serve(self, *words):
        self.server = self.lab.start(f"{self.label}-server", words, namespace=self.far)
        listens(self.far, self.port)

    def probe(self, *words):
        self.client = self.lab.start(f"{self.label}-client", words, namespace=self.near)

    def start(self):
        """Starts both ends; the client probes soon after this returns, for `seconds`."""
        raise NotImplementedError

    def finish(self):
        """Waits until the client has reported, and ends the server."""
        code = self.client.process.wait(self.seconds + GIVE_UP_S)
        expect(code == 0, f"{self.client.label} ended with {code}: {self.client.log()[-300:].strip()}")
        self.server.kill()

    def exchanges(self, captures):
        return exchanges(captures, self.port, self.kind)

    def reported(self, found):
        """Returns its round trips in ns by the probe's number; `found` has the exchanges on the link."""
        raise NotImplementedError


class Ours(Program):
    key, name = "ours", "this one"
    settings = "`type = \"udp\"`, `interval = 1`, samples printed"
    lacks = (
        "Excludes the time in the two hosts' sockets and schedulers, which an application on them would also see. Skips and "
        "counts the slots that the host sleeps through."
    )
    # The settings of the prober's engine, and of the reflector's.
    protocol, engine, server_engine = "udp", {}, {}

    @classmethod
    def version(cls):
        return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]

    def start(self):
        metrics = {"mode": "samples", "send_interval": 0.2}
        answering = {"name": "far", "metrics": metrics, "engine": self.server_engine}
        self.server = self.lab.ours(f"{self.label}-server", answering, namespace=self.far)
        target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "type": self.protocol, "tcp_latency": False}
        settings = {"name": "near", "metrics": metrics, "engine": self.engine, "targets": [target]}
        self.client = self.lab.ours(f"{self.label}-client", settings, namespace=self.near)

    def finish(self):
        for daemon in (self.client, self.server):
            code, _ = daemon.end()
            expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-300:].strip()}")

    def exchanges(self, captures):
        return join(*captures, *truth.PROTOCOLS[self.protocol])

    def reported(self, found):
        samples = truth.published({"near": self.client.records()}, self.protocol, truth.DELAYS["rtt"])
        return {number: value for number, (value, _) in samples.items()}


class OursSpinning(Ours):
    key, name = "ours-spin", f"this one, `spin_us = {SPIN_US}`"
    settings = f"the same with `[engine] spin_us = {SPIN_US}`"
    engine, variant = {"spin_us": SPIN_US}, True


class OursAtOnce(Ours):
    key, name = "ours-at-once", "this one, `receive_within_us = 0`"
    settings = "the same with `[engine] receive_within_us = 0`: every reply is read as it comes"
    engine, variant = {"receive_within_us": 0}, True


class OursTcp(Ours):
    key, name = "ours-tcp", "this one, over TCP"
    settings = "the same with `type = \"tcp\"`"
    protocol, variant = "tcp", True


class OursUring(Ours):
    key, name = "ours-uring", "this one, io_uring"
    settings = "the same with `[engine] kind = \"io_uring\"` at both ends"
    engine = server_engine = {"kind": "io_uring"}
    variant = True


class OursUringTcp(OursUring):
    key, name = "ours-uring-tcp", "this one, io_uring over TCP"
    settings = "the same with `[engine] kind = \"io_uring\"` at both ends and `type = \"tcp\"`"
    protocol = "tcp"


class Irtt(Program):
    key, name, port, kind = "irtt", "irtt", 2112, "irtt"
    flags = ()
    settings = "`irtt client -i 1ms -Q -o FILE`, `irtt server -i 0`"
    lacks = "Stamps packets in the process; uses no kernel stamps."

    @classmethod
    def version(cls):
        expect(shutil.which("irtt"), "not installed (apt-get install irtt)")
        return command("irtt", "version").split()[2]

    def start(self):
        self.serve("irtt", "server", "-i", "0", "-b", f"{FAR}:{self.port}")
        self.out = self.lab.folder / f"{self.label}.json"
        flags = ["-i", f"{INTERVAL_MS}ms", "-d", f"{self.seconds}s", "--wait=1s", "-Q", "-o", self.out, *self.flags]
        self.probe("irtt", "client", *flags, FAR)

    def reported(self, found):
        trips = json.loads(self.out.read_text())["round_trips"]
        return {trip["seqno"]: trip["delay"]["rtt"] for trip in trips if "rtt" in trip.get("delay", {})}


class IrttBusy(Irtt):
    key, name = "irtt-busy", "irtt, `--timer=busy`"
    flags, variant = ("--timer=busy",), True
    settings = "the same with `--timer=busy`"


class IrttRs(Program):
    key, name, port, kind = "irtt-rs", "irtt-rs", 2112, "irtt"
    settings = "`irtt-rs client -i 1ms --no-stats -f csv`, `irtt-rs server --min-interval 0s`"
    lacks = "Takes the round trip between stamps of the process, in whole us; uses kernel stamps only for one-way delays."

    @classmethod
    def version(cls):
        expect(IRTT_RS.exists(), "not installed (cargo install irtt-rs)")
        return command(str(IRTT_RS), "--version").split()[-1]

    def start(self):
        self.serve(IRTT_RS, "server", "--bind", f"{FAR}:{self.port}", "--min-interval", "0s")
        flags = ["-i", f"{INTERVAL_MS}ms", "-d", f"{self.seconds}s", "--no-stats"]
        shown = ["-f", "csv", "--events", "echo_reply", "-c", "seq,rtt_us", "--header", "never"]
        self.probe(IRTT_RS, "client", *flags, *shown, FAR)

    def reported(self, found):
        rows = re.findall(r"^(\d+),(-?\d+)$", self.client.out_path.read_text(), re.MULTILINE)
        return {int(seq): int(us) * 1000 for seq, us in rows}


class StampSuite(Program):
    # Its protocol.md: T4 - T1 on the sender's monotonic clock.
    key, name, port, kind, trip = "stamp-suite", "stamp-suite", 862, "stamp", "whole"
    settings = "`stamp-suite -d 1 -L 1 -R --output-format json`, `stamp-suite -i`; feature `hwtstamp`"
    lacks = (
        "Takes the round trip between stamps of the process, in whole us, dwell included; uses kernel stamps only for one-way "
        "delays, reported as least, mean, median and most. Needs `--stateful-reflector` for losses by direction."
    )

    @classmethod
    def version(cls):
        expect(STAMP_SUITE.exists(), "not installed (cargo install stamp-suite)")
        return command(str(STAMP_SUITE), "--version").split()[-1]

    def start(self):
        self.serve(STAMP_SUITE, "-i", "-S", FAR, "-o", self.port)
        count = int(self.seconds * 1000 / INTERVAL_MS)
        flags = ["-d", INTERVAL_MS, "-c", count, "-L", 1, "-R", "--output-format", "json"]
        self.probe(STAMP_SUITE, "-r", FAR, "-p", self.port, *flags)

    def reported(self, found):
        lines = re.findall(r"^seq=(\d+) rtt=([0-9.]+)ms", self.client.log(), re.MULTILINE)
        return {int(seq): round(float(rtt) * 1e6) for seq, rtt in lines}


class Sockperf(Program):
    key, name, port, kind, trip = "sockperf", "sockperf under-load", 11111, "sockperf", "whole"
    mode, flags = "under-load", ("--reply-every=1",)
    settings = "`sockperf under-load --mps=1000 --reply-every=1 --full-rtt --full-log FILE`, `sockperf server`"
    lacks = (
        "Spins: it takes a whole processor of the prober. Includes the dwell in its round trip. Has no one-way delays and no "
        "losses by direction."
    )

    @classmethod
    def version(cls):
        expect(shutil.which("sockperf"), "not installed (apt-get install sockperf)")
        return re.search(r"([0-9.]+)", command("sockperf", "--version"))[1]

    def start(self):
        self.serve("sockperf", "server", "-i", FAR, "-p", self.port)
        self.out = self.lab.folder / f"{self.label}.csv"
        flags = [f"--mps={1000 // INTERVAL_MS}", "--full-rtt", "--full-log", self.out, *self.flags]
        self.probe("sockperf", self.mode, "-i", FAR, "-p", self.port, "-t", self.seconds, *flags)

    def reported(self, found):
        log = self.out.read_text()
        # After a hole in the log its rows would belong to other probes.
        for hole in ("dropped", "out-of-order"):
            expect(f"# {hole} messages = 0" in log, f"{UNPAIRED}: it has {hole} messages")
        rows = re.findall(r"^\d+, ([0-9.]+), ([0-9.]+), ", log, re.MULTILINE)
        # In ns of a clock of its own.
        rows = [(round(float(sent) * 1e9), round(float(received) * 1e9)) for sent, received in rows]
        return pair(rows, found)


class SockperfPingPong(Sockperf):
    key, name, mode, flags = "sockperf-pp", "sockperf ping-pong", "ping-pong", ()
    settings = "`sockperf ping-pong --mps=1000 --full-rtt --full-log FILE`, `sockperf server`"
    variant = True


class Python(Program):
    key, name, port, kind, trip = "python", "Python latency-monitor", 8001, "python", "whole"
    settings = "`type = \"udp\"`, `interval = 1`, samples printed"
    lacks = "Includes the dwell in its round trip. Publishes a loss as a delay of 0, without a direction. Runs several processes."

    @classmethod
    def version(cls):
        expect(PYTHON_DAEMON.exists(), "not installed (tests/net/run --install-only)")
        return command(str(VENV / "bin" / "pip"), "show", "latency-monitor").split("Version: ")[1].split()[0]

    def start(self):
        ports = {"tcp_port": 8000, "udp_port": self.port}
        self.server = self.lab.python(f"{self.label}-server", {"name": "far", **ports}, namespace=self.far)
        target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "type": "udp"}
        settings = {"name": "near", **ports, "tcp_latency": False, "targets": [target]}
        self.client = self.lab.python(f"{self.label}-client", settings, namespace=self.near)
        self.records = collect(self.client, lambda found: values(found, "udp.wan.rtt"), "samples")

    def finish(self):
        self.client.kill()
        self.server.kill()

    def reported(self, found):
        self.records += self.client.records()
        # It prints a sample without a number for each probe, in order, and 0 for a loss.
        trips = [record["points"][0][1] for record in self.records if record.get("metric", "") == "udp.wan.rtt"]
        return {number: value for number, value in enumerate(trips) if value > 0}


PROGRAMS = (
    Ours,
    OursAtOnce,
    OursSpinning,
    OursTcp,
    OursUring,
    OursUringTcp,
    Irtt,
    IrttBusy,
    IrttRs,
    StampSuite,
    Sockperf,
    SockperfPingPong,
    Python,
)
