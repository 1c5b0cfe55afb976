"""Probes many targets in one process: ten thousand at 1 s with all three kinds of probe, a hundred at 1 ms, against
one reflector of ours.

Measures how evenly they begin, the memory and descriptors that they take, that nothing grows or is dropped, and that
a probe costs no more among many targets than among few.

LM_SCALE_SECONDS is how long each of the two loads is measured, after two windows (12). The soak is
`LM_SCALE_SECONDS=1800 tests/net/run scale`, an hour, with windows of 30 s: `make scale-soak`. The host's hard limit
of open files must be 12,000 at least. Time is not bounded: what a busy host cannot do in time is printed, and does
not fail.
"""

import collections
import json
import os
import pathlib
import resource
import statistics
import subprocess
import threading
import time

from lab import collect, expect, pause, values, wait_until

PORT = 18600
SECONDS = int(os.environ.get("LM_SCALE_SECONDS", "12"))
MANY, FEW = 10_000, 100
# Descriptors for the lasting connections of 10,000 targets, with room for the connects of a slow second.
FILES = 20_000
FILES_LEAST = 12_000
ONE_MIB_MAX, MANY_MIB_MAX, FAST_MIB_MAX = 24, 400, 256
# A window keeps its values in chunks. How many it takes varies with its end.
GROWTH = 0.03
GROWTH_MIB = 2
COST_TURNS = 2
COST_SECONDS = 3
# Caches hold 100 targets and not 10,000. A scan of all of them for each probe would be far above this.
COST_RATIO_MAX = 3
COUNTS = ("udp.wan.sent", "udp.wan.received", "udp.wan.lost", "tcp.wan.sent", "tcp.wan.received", "tcp.wan.lost")
COUNTS += ("tcp.wan.latency.sent", "tcp.wan.latency.failed")
# Its windows say how many connects were made.
WINDOWS = ("tcp.wan.latency",)
UNSENT = ("udp.wan.unsent", "tcp.wan.unsent", "tcp.wan.latency.unsent")


def run(lab):
    check_limits(lab)
    one_mib = measure_one(lab)
    measure_many(lab, one_mib)
    measure_fast(lab)
    measure_cost(lab)


def targets(count, interval, **options):
    """Gives every flow an address of its own."""
    for number in range(count):
        host = f"127.1.{number // 250}.{number % 250 + 1}"
        yield {"host": host, "label": f"t{number}", "interval": interval, "tcp_port": PORT, "udp_port": PORT, **options}


def near(interval_s, probed, mode="windows"):
    metrics = [{"backend": "cli", "mode": mode, "send_interval": interval_s}]
    return {"name": "near", "tcp_port": PORT + 1, "udp_port": PORT + 1, "metrics": metrics, "targets": list(probed)}


def far(lab, label, interval_s=1):
    settings = {"name": "far", "tcp_port": PORT, "udp_port": PORT, "metrics": {"mode": "windows", "send_interval": interval_s}}
    return lab.ours(label, settings, preexec_fn=limit(FILES))


def limit(hard):
    """Limits a child: a low soft limit that it has to raise itself, and a hard one that it cannot."""
    soft = min(256, hard)

    def lower():
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except ValueError:
            # Without CAP_SYS_RESOURCE not even root raises its hard limit.
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    return lower


def check_limits(lab):
    """Checks that a hard limit that is too low is reported once, with what is needed, and that everything that fits
    is probed. With a sufficient limit nothing is reported.
    """
    server = far(lab, "limits_far")
    for label, hard in (("too_low", 160), ("enough", 700)):
        daemon = lab.ours(label, near(1, targets(200, 1000)), preexec_fn=limit(hard))
        every = lambda records: len({record["tags"][1] for record in answered(records, "udp")}) == 200
        found = collect(daemon, lambda records: every(records) and len(values(records, "monitor.cpu")) >= 3, "UDP replies of all")
        connected = len({record["tags"][1] for record in answered(found, "tcp")})
        said = [line for line in daemon.log().splitlines() if "hard limit of open files" in line]
        if hard < 266:
            expect(len(said) == 1, f"a limit of {hard} is reported {len(said)} times: {daemon.log()[-500:]}")
            for word in ("needed=266", f"limit={hard}", "ulimit -Hn", "LimitNOFILE="):
                expect(word in said[0], f"{word} is not in {said[0]!r}")
            expect(0 < connected < 200, f"{connected} of 200 over TCP with {hard} descriptors")
        else:
            expect(not said, f"a limit of {hard} is too low for it: {said}")
            expect(connected == 200, f"only {connected} of 200 over TCP with {hard} descriptors")
        lab.note(f"200 targets, hard limit {hard}: all over UDP, {connected} over TCP; reported {len(said)} times")
        code, _ = daemon.end()
        expect(code == 0, f"{label} ended with {code}")
    server.end()


def answered(records, protocol):
    metric = f"{protocol}.wan.received"
    return [record for record in records if record.get("metric") == metric and record["points"][0][1] > 0]


def measure_one(lab):
    server = far(lab, "one_far")
    daemon = lab.ours("one", near(1, targets(1, 1000)))
    collect(daemon, lambda records: len(values(records, "monitor.cpu")) >= 4, "windows")
    kib, far_kib = daemon.resident_kib(), server.resident_kib()
    lab.note(f"1 target: {kib / 1024:.1f} MiB, its reflector {far_kib / 1024:.1f} MiB")
    for mib in (kib / 1024, far_kib / 1024):
        expect(mib < ONE_MIB_MAX, f"one target takes {mib:.1f} MiB, not {ONE_MIB_MAX}")
    for end in (daemon, server):
        end.end()
    return kib / 1024


class Reader(threading.Thread):
    """Reads what a prober prints as it comes: ten thousand targets print gigabytes in half an hour."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream = stream
        self.totals = collections.Counter()
        # Of each window: all its counts, and the self-metrics.
        self.windows = []
        self.own = {}
        self.start()

    def run(self):
        for line in self.stream:
            name = line[12 : line.index(b'"', 12)].decode()
            if name.startswith("monitor."):
                record = json.loads(line)
                self.own[name] = record if "points" not in record else record["points"][0][1]
                # The last record of a window is one of this process.
                if name == "monitor.clock.error":
                    self.windows.append((self.totals, self.own))
                    self.totals, self.own = collections.Counter(), {}
            elif name in COUNTS or name in UNSENT:
                self.totals[name] += int(line[line.index(b"[[") + 2 : line.index(b"]]")].split(b",")[1])
            elif name in WINDOWS:
                self.totals[name] += json.loads(line)["count"]


def start_prober(lab, label, settings):
    # Ten thousand targets print 40,000 lines a second. Most of them are not parsed.
    words = [word for name in ("monitor.", *(f'{name}"' for name in (*COUNTS, *UNSENT, *WINDOWS))) for word in ("-e", f'{{"metric": "{name}')]
    sieve = subprocess.Popen(
        ["grep", "--line-buffered", "-F", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    lab.cleanup.callback(sieve.wait)
    daemon = lab.ours(label, settings, wait=False, stdout=sieve.stdin, preexec_fn=limit(FILES))
    sieve.stdin.close()
    return daemon, Reader(sieve.stdout)


def counters():
    """Returns what this network namespace has sent: connections begun, segments sent again, datagrams."""
    rows = [line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines()]
    found = {}
    for names, numbers in zip(rows[::2], rows[1::2]):
        found.update({names[0] + name: int(number) for name, number in zip(names[1:], numbers[1:])})
    return found["Tcp:ActiveOpens"], found["Tcp:RetransSegs"], found["Udp:OutDatagrams"]


def measure_many(lab, one_mib):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    expect(hard >= FILES_LEAST, f"the hard limit of open files is {hard}; {MANY} targets take {FILES_LEAST}")
    window_s = 30 if SECONDS >= 300 else 10
    server = far(lab, "many_far", window_s)
    daemon, reader = start_prober(lab, "many", near(window_s, targets(MANY, 1000)))
    note_start(lab, daemon)
    resident = watch(lab, "10,000 targets", (daemon, server), reader, window_s, MANY_MIB_MAX)
    per_target = (resident[0] - one_mib) * 1024 / (MANY - 1)
    lab.note(f"{per_target:.1f} KiB a target, {daemon.descriptors()} descriptors")
    totals, own = reader.windows[0]
    unsent = ", ".join(f"{name} {totals[name]}" for name in UNSENT)
    lab.note(f"at the start {own['monitor.slots_missed']} slots missed, {unsent}")
    finish(lab, reader, (daemon, server), window_s)


def note_start(lab, daemon):
    """Measures how evenly the first second begins: the most connections begun, and datagrams sent, in any tenth of
    it.
    """
    first = counters()
    wait_until(lambda: counters()[0] > first[0], "the first connection")
    looks = [(time.monotonic(), *counters())]
    while looks[-1][0] - looks[0][0] < 1:
        pause(0.01)
        looks.append((time.monotonic(), *counters()))
    daemon.expect_alive()
    most = []
    for column in (1, 3):
        rates = []
        for began in looks:
            later = [look for look in looks if look[0] - began[0] >= 0.1]
            if later:
                rates.append((later[0][column] - began[column]) / (later[0][0] - began[0]))
        most.append(max(rates))
    # Its lasting connections take a second to begin, its connects are a probe a second each. The other end answers
    # datagrams.
    lab.note(f"first second: at most {most[0] / 10:.0f} connections in a tenth (even: {2 * MANY / 10:.0f}), {most[1] / 10:.0f} datagrams ({2 * MANY / 10:.0f})")
    again = looks[-1][2] - first[1]
    lab.note(f"{again} segments sent again")


def watch(lab, what, ends, reader, window_s, mib_max):
    """Measures the memory of both ends after two windows; returns the medians of the last third."""
    wait_until(lambda: len(reader.windows) >= 2, f"two windows of {what}", 120 + 4 * window_s)
    looks, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        pause(0.5)
        looks.append([one.resident_kib() / 1024 for one in ends])
    third = len(looks) // 3
    resident = []
    for one, name in enumerate(("prober", "reflector")):
        before, after = (statistics.median(look[one] for look in part) for part in (looks[:third], looks[-third:]))
        lab.note(f"{what}: {name} {after:.1f} MiB ({after - before:+.1f} in {SECONDS} s)")
        expect(after < mib_max, f"{what}: the {name} takes {after:.1f} MiB, not {mib_max}")
        grown_max = max(GROWTH_MIB, GROWTH * before)
        expect(after - before <= grown_max, f"{what}: the {name} has grown by {after - before:.1f} MiB")
        resident.append(after)
    return resident


def finish(lab, reader, ends, window_s):
    """Checks the windows after the first one; then ends both."""
    windows = reader.windows[1:]
    totals = sum((counts for counts, _ in windows), collections.Counter())
    own = [own for _, own in windows]
    for protocol in ("udp.wan", "tcp.wan"):
        if sent := totals[f"{protocol}.sent"]:
            lab.note(f"{protocol} {sent} sent, {totals[f'{protocol}.received'] / sent:.2%} back")
    if sent := totals["tcp.wan.latency.sent"]:
        lab.note(f"connects {sent}, {totals['tcp.wan.latency.failed']} failed")
    late = [window["monitor.lateness"] for window in own]
    p50, p99 = (statistics.median(window[key] for window in late) / 1e6 for key in ("p50", "p99"))
    length = statistics.median((window["end"] - window["start"]) / 1e9 for window in late)
    missed = sum(window["monitor.slots_missed"] for window in own)
    lab.note(f"lateness p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {max(window['max'] for window in late) / 1e6:.1f} ms; {missed} slots missed")
    lab.note(f"windows of {length:.1f} s, asked for {window_s}")
    dropped = sum(window["monitor.samples_dropped"] for window in own)
    expect(dropped == 0, f"{dropped} records found no room on their way to the flush thread")
    for end in ends:
        code, _ = end.end()
        expect(code == 0, f"{end.label} ended with {code}: {end.log()[-500:]}")


def measure_fast(lab):
    window_s = 30 if SECONDS >= 300 else 2
    server = far(lab, "fast_far", window_s)
    daemon, reader = start_prober(lab, "fast", near(window_s, targets(FEW, 1, type="udp")))
    watch(lab, "100 targets at 1 ms", (daemon, server), reader, window_s, FAST_MIB_MAX)
    finish(lab, reader, (daemon, server), window_s)


def measure_cost(lab):
    """Measures the processor time of a probe at one rate, spread over more and more targets. No window ends
    meanwhile: publishing costs by series and interval, and not by probe.
    """
    cost = {count: [] for count in (100, 1_000, MANY)}
    for turn in range(COST_TURNS):
        for count, found in cost.items():
            label = f"cost_{count}_{turn}"
            server = far(lab, label + "_far", 600)
            daemon = lab.ours(label, near(600, targets(count, count / 10, type="udp")), preexec_fn=limit(FILES))
            # By then every flow speaks the native wire, which takes two probes.
            pause(3)
            before_ns, before = cpu_ns((daemon, server)), counters()[2]
            pause(COST_SECONDS)
            probes = (counters()[2] - before) / 2
            found.append((cpu_ns((daemon, server)) - before_ns) / probes / 1e3)
            for end in (daemon, server):
                end.kill()
    medians = {count: statistics.median(found) for count, found in cost.items()}
    each = ", ".join(f"{count} targets {us:.1f} us" for count, us in medians.items())
    ratio = medians[MANY] / medians[100]
    lab.note(f"a UDP probe at 10,000 a second, both ends: {each} ({ratio:.2f})")
    expect(ratio <= COST_RATIO_MAX, f"a probe costs {ratio:.1f} times as much among {MANY} targets as among 100")


def cpu_ns(ends):
    """Returns the time on processors, to the nanosecond."""
    total = 0
    for end in ends:
        for task in pathlib.Path(f"/proc/{end.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total
