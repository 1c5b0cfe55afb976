"""Measures what a probe costs at 1 ms to one target over a pair of virtual devices: system calls, and processor time.

The lab has four parts; LM_PARTS names those to run:

- `calls`: system calls of the poll threads of both ends for each completed UDP probe, as `strace` sees them. Where
  slots are kept they are bounded, on a busy host too (see `kept`).
- `processor`: processor time of a completed probe, UDP alone and all three kinds, with replies read lazily and at once;
  and with an older binary, if LM_BEFORE has one.
- `timeouts`: probes that are called lost with a timeout of 2 ms though their reply was back on the link in time, with
  replies read lazily and at once.
- `accuracy`: by how much delays differ from captures, with replies read lazily and at once. Not among the default.

LM_BEFORE is the path of an older binary, or a revision: that is built into target/before. LM_COST_SECONDS is the length
of a measurement (3), LM_COST_ROUNDS how often each is made, in turns (1). The ratios are medians of paired rounds. They
are printed; LM_COST_BOUNDS=1 asserts them, too: `make bench-cost`.
"""

import collections
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys

import truth
from capture import UDP, Capture, end_captures, join
from lab import FAR, ROOT, collect, expect, pause, points, values, wait_until

SECONDS = int(os.environ.get("LM_COST_SECONDS", "3"))
ROUNDS = int(os.environ.get("LM_COST_ROUNDS", "1"))
BOUNDED = os.environ.get("LM_COST_BOUNDS") == "1"
BEFORE = os.environ.get("LM_BEFORE", "")
BUILT = ROOT / "target" / "before"
INTERVAL_MS = 1

# The calls of a completed UDP probe at the prober and at the reflector.
CALLS_MAX = {"near": 3, "far": 4}
# What the loop asks by the clock and not by the probe: the state of the system's clock, the process's figures, memory.
BY_THE_CLOCK = {"clock_adjtime", "adjtimex", "getrusage", "openat", "statx", "fstat", "read", "close"}
BY_THE_CLOCK |= {"mprotect", "madvise", "mmap", "munmap", "brk", "futex"}
BY_THE_CLOCK_MAX = 40
CALL = re.compile(r"^(\d+)\.(\d+) (\w+)\(.*= (-?\d+)")
# The call that each turn of a poll thread has once, and how many turns are looked at together: a reply that may wait
# makes one turn cheaper and the next one dearer.
SENDS, TURNS = "sendmmsg", 10
# The time between two sends while slots are kept, and how many groups of turns are waited for.
KEPT_MS_MAX = 1.5
GROUPS_LEAST = 20
WINDOW_S = 1
ONLY_UDP = {"type": "udp", "tcp_latency": False}

UDP_KIND, ALL_KINDS = "UDP", "UDP, TCP and connects"
KINDS = {UDP_KIND: ["udp.wan.received"], ALL_KINDS: ["udp.wan.received", "tcp.wan.received", "tcp.wan.latency.sent"]}
LAZY, AT_ONCE = {}, {"receive_within_us": 0}
# The ratios that LM_COST_BOUNDS asserts.
LAZY_RATIO_MAX, BEFORE_RATIO_MAX = 0.7, 0.65

TIMEOUT_MS = 2
# A reply that is back by then is back in time by the prober's clock, which begins before its packet is on the link.
BACK_MS = 1.5
# A host that is held up for a moment may be so in the turns of either.
FALSELY_MORE_MAX = 0.001
# So much may accuracy differ, by percentile, in ns.
ACCURACY_MAX = {50: 200, 99: 1_000}


def prepare():
    """Builds the older revision if one is asked for."""
    if not BEFORE or pathlib.Path(BEFORE).is_file():
        return
    # Root may build what belongs to somebody else.
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--verify", f"{BEFORE}^{{commit}}"], capture_output=True, text=True)
    if commit.returncode != 0:
        sys.exit(f"LM_BEFORE={BEFORE!r} is neither a binary nor a revision: {commit.stderr.strip()}")
    archive = subprocess.run([*git, "archive", commit.stdout.strip()], capture_output=True, check=True)
    source = BUILT / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    words = ["cargo", "build", "--locked", "--profile", "dist", "--bin", "latency-monitor"]
    subprocess.run(words, cwd=source, env={**os.environ, "CARGO_TARGET_DIR": str(BUILT)}, check=True)


def before():
    """Returns the older binary, if there is one."""
    if not BEFORE:
        return None
    path = pathlib.Path(BEFORE) if pathlib.Path(BEFORE).is_file() else BUILT / "dist" / "latency-monitor"
    expect(path.is_file(), f"LM_BEFORE={BEFORE!r}: there is no {path}")
    return path.resolve()


def run(lab):
    wanted = os.environ.get("LM_PARTS", "calls processor timeouts").split()
    unknown = set(wanted) - set(PARTS)
    expect(wanted and not unknown, f"LM_PARTS={' '.join(wanted)!r}: there are {', '.join(PARTS)}")
    spaces = lab.ends()
    for part in wanted:
        PARTS[part](lab, *spaces)


def start(lab, label, near, far, engine=None, window_s=WINDOW_S, binary=None, **target):
    """Starts a reflector and a prober of windows; returns prober and reflector."""
    metrics = {"mode": "windows", "send_interval": window_s}
    ours = lab.binary
    lab.binary = binary or ours
    try:
        server = lab.ours(f"{label}-server", {"name": "far", "metrics": metrics}, namespace=far)
        target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, **target}
        settings = {"name": "near", "metrics": metrics, "engine": engine or {}, "targets": [target]}
        client = lab.ours(f"{label}-client", settings, namespace=near)
    finally:
        lab.binary = ours
    return client, server


def stop(*daemons):
    for daemon in daemons:
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def poll_thread(daemon):
    for task in pathlib.Path(f"/proc/{daemon.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "lm-poll":
            return int(task.name)
    expect(False, f"{daemon.label} has no poll thread")


def calls(lab, near, far):
    """Counts the calls of each end in seconds of its own: `strace` slows whom it looks at."""
    for end, most in CALLS_MAX.items():
        client, server = start(lab, f"calls-{end}", near, far, **ONLY_UDP)
        records = collect(client, lambda found: len(values(found, "udp.wan.received")) >= 2, "windows")
        daemon = client if end == "near" else server
        path = lab.folder / f"calls-{end}.strace"
        tracer = lab.start(f"strace-{end}", ["strace", "-q", "-ttt", "-p", poll_thread(daemon), "-o", path])
        # Whole windows lie within the trace: one may have begun before it, another ends after it.
        seen = len(values(records, "udp.wan.received"))
        enough = lambda found: len(values(found, "udp.wan.received")) >= SECONDS + 2
        records += collect(client, enough, f"{SECONDS} windows after the first {seen}")
        wait_until(lambda: len(kept(trace(path))) >= GROUPS_LEAST, f"{end} to keep {TURNS} slots in a row often enough")
        records += client.records()
        tracer.send(signal.SIGINT)
        tracer.process.wait()
        stop(client, server)
        traced = trace(path)
        names, by_the_clock, completed, seconds = calls_of(traced, records)
        listed = ", ".join(f"{name} {count / completed:.2f}" for name, count in names.most_common())
        besides = sum(by_the_clock.values()) / seconds
        each = f"{sum(names.values()) / completed:.2f} calls of a completed UDP probe ({listed})"
        groups = kept(traced)
        median = statistics.median(groups)
        where = f"{median:.2f} where slots are kept, {len(groups)} times"
        lab.note(f"{end}: {each}, besides {besides:.0f} a second; {where}")
        expect(median <= most, f"{end}: {median:.2f} calls of a probe where slots are kept, not {most}: {listed}")
        expect(besides <= BY_THE_CLOCK_MAX, f"{end}: {besides:.0f} calls a second are not of probes: {by_the_clock}")


def trace(path):
    """Reads a trace; returns the calls in order, each as its instant in ns, name and result."""
    lines = path.read_text(errors="replace").splitlines()
    matches = [match for line in lines if (match := CALL.match(line))]
    return [(int(one[1]) * 10**9 + int(one[2].ljust(9, "0")), one[3], int(one[4])) for one in matches]


def calls_of(traced, records):
    """Counts the calls of the whole windows within a trace, by name, apart from those by the clock; and the probes
    completed in them, and their seconds. Ends of windows and calls have instants of one clock.
    """
    expect(traced, "the trace has no calls")
    ends = [(at, count) for at, count in points(records, "udp.wan.received") if traced[0][0] < at < traced[-1][0]]
    expect(len(ends) >= 2, "no whole window within the trace")
    began, ended = ends[0][0], ends[-1][0]
    completed = sum(count for _, count in ends[1:])
    expect(completed > 0, "no probe was completed")
    names, by_the_clock = collections.Counter(), collections.Counter()
    for at, name, _ in traced:
        if began <= at < ended:
            (by_the_clock if name in BY_THE_CLOCK else names)[name] += 1
    return names, by_the_clock, completed, (ended - began) / 1e9


def kept(traced):
    """Returns the calls of a probe in each group of so many turns in a row that have kept their slots.

    After a slot that the host slept through a reply is older, and may cost a call of its own. So those turns are not
    looked at: the figures do not depend on how busy the host is. A call more in each turn, or in one of ten, moves the
    median.
    """
    calls = [one for one in traced if one[1] not in BY_THE_CLOCK]
    sends = [place for place, (_, name, _) in enumerate(calls) if name == SENDS]
    groups, turns = [], []
    for place, following in zip(sends, sends[1:]):
        sent = calls[place][2]
        if sent < 1 or calls[following][0] - calls[place][0] > KEPT_MS_MAX * 1e6:
            turns = []
            continue
        turns.append((following - place, sent))
        if len(turns) == TURNS:
            groups.append(sum(count for count, _ in turns) / sum(sent for _, sent in turns))
            turns = []
    return groups


def processor(lab, near, far):
    """Compares the processor time of completed probes, in turns."""
    variants = {"lazy": (LAZY, None), "at once": (AT_ONCE, None)}
    if old := before():
        variants["before"] = ({}, old)
    for kinds, received in KINDS.items():
        target = ONLY_UDP if kinds == UDP_KIND else {}
        found = {name: [] for name in variants}
        for number in range(ROUNDS):
            names = list(variants)
            # Each round begins with another one.
            for name in names[number % len(names) :] + names[: number % len(names)]:
                engine, binary = variants[name]
                label = f"{len(received)}-{name.replace(' ', '_')}-{number}"
                found[name].append(measure(lab, label, near, far, received, engine, binary, target))
                near_us, far_us, rate = found[name][-1]
                print(f"  {kinds}, {name}: {near_us:.1f} + {far_us:.1f} us a completed probe, {rate:.0f}/s", flush=True)
        for name, rounds in found.items():
            near_us, far_us, rate = (statistics.median(column) for column in zip(*rounds))
            lab.note(f"{kinds}, {name}: {near_us:.1f} + {far_us:.1f} us of processor, {rate:.0f} a second")
        most = LAZY_RATIO_MAX if kinds == UDP_KIND else None
        prober = lambda one: one[0]
        compare(lab, f"{kinds}: prober, lazy of at once", found["lazy"], found["at once"], prober, most)
        if old:
            most = BEFORE_RATIO_MAX if kinds == ALL_KINDS else None
            both = lambda one: one[0] + one[1]
            compare(lab, f"{kinds}: both ends, of the build before", found["lazy"], found["before"], both, most)


def compare(lab, what, ours, others, figure, most):
    """Notes the median of the rounds' ratios, and their spread; asserts it if that is asked for."""
    ratios = sorted(figure(own) / figure(other) for own, other in zip(ours, others))
    ratio = statistics.median(ratios)
    lab.note(f"{what} {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} rounds)")
    if BOUNDED and most:
        expect(ratio <= most, f"{what}: {ratio:.2f}, not {most}")


def measure(lab, label, near, far, received, engine, binary, target):
    """Measures one window; returns the processor time of a completed probe at both ends in us, and probes a second.

    The daemons say both for the same windows: nothing lies between two readings.
    """
    client, server = start(lab, label, near, far, engine, SECONDS, binary, **target)
    enough = lambda found: len(points(found, "monitor.cpu")) >= 2
    records = {end: collect(daemon, enough, "two windows") for end, daemon in (("near", client), ("far", server))}
    stop(client, server)
    (began, _), (ended, own_ns) = points(records["near"], "monitor.cpu")[:2]
    count = lambda metric: next((value for at, value in points(records["near"], metric) if at == ended), 0)
    completed = sum(map(count, received)) - count("tcp.wan.latency.failed")
    expect(completed > 0, f"{label}: no probe was completed")
    rate = completed / (ended - began) * 1e9
    (far_began, _), (far_ended, far_ns) = points(records["far"], "monitor.cpu")[:2]
    return own_ns / completed / 1e3, far_ns / (far_ended - far_began) / rate * 1e6, rate


def in_turn(number):
    """Returns how replies are read, by name. Each round begins with the other one."""
    ways = [("lazy", LAZY), ("at once", AT_ONCE)]
    return ways if number % 2 == 0 else ways[::-1]


def timeouts(lab, near, far):
    """Counts the probes that were called lost though the reply was back in time on the link."""
    found = {"lazy": [], "at once": []}
    for number in range(ROUNDS):
        for name, engine in in_turn(number):
            found[name].append(falsely_lost(lab, f"timeouts-{name.replace(' ', '_')}-{number}", near, far, engine))
    shares = {}
    for name, rounds in found.items():
        asked, lost, late, falsely = map(sum, zip(*rounds))
        shares[name] = falsely / asked
        back = f"{falsely} of the lost were back within {BACK_MS} ms"
        lab.note(f"timeout of {TIMEOUT_MS} ms, {name}: of {asked} probes {lost} lost, {late} late; {back}")
    if BOUNDED:
        most = shares["at once"] + FALSELY_MORE_MAX
        expect(shares["lazy"] <= most, f"lazily more probes are called lost that are not: {shares}")


def falsely_lost(lab, label, near, far, engine):
    """Probes for a while with a short timeout. Returns answered requests on the link, probes lost and late, and those
    without a sample though the reply was back.
    """
    captures = [Capture(lab, f"{label}-{end}", space) for end, space in (("near", near), ("far", far))]
    metrics = [{"backend": "cli", "mode": "samples", "send_interval": 0.2}]
    server = lab.ours(f"{label}-server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "protocol": "native", **ONLY_UDP}
    # A flow that starts anew would number its probes anew.
    target |= {"timeout": TIMEOUT_MS / 1e3, "max_lost": 1_000_000}
    settings = {"name": "near", "metrics": metrics, "engine": engine, "targets": [target]}
    client = lab.ours(f"{label}-client", settings, namespace=near)
    records = collect(client, lambda found: values(found, "udp.wan.rtt"), "samples")
    pause(SECONDS)
    stop(client, server)
    records += client.records()
    end_captures(captures, near, FAR)
    exchanges = join(*[capture.path for capture in captures], UDP, 8001)
    sampled = truth.published({"near": records}, "udp", truth.DELAYS["rtt"])
    outs = [one.request_out for one in exchanges.values() if one.request_out is not None]
    # The last probes have no sample: the daemon was stopped.
    end = max(outs) - truth.EDGE_NS
    asked = {number: one for number, one in exchanges.items() if one.complete() and one.request_out < end}
    back = [number for number, one in asked.items() if one.reply_in - one.request_out <= BACK_MS * 1e6]
    total = lambda metric: sum(values(records, metric))
    return len(asked), total("udp.wan.lost"), total("udp.wan.late"), sum(number not in sampled for number in back)


def accuracy(lab, near, far):
    """Compares by how much round trips and one-way delays differ from captures, in turns. The captures' own leads are
    in both: to take them out would add the scatter of what is measured to know them.
    """
    found = {}
    for number in range(ROUNDS):
        for name, engine in in_turn(number):
            label = f"accuracy-{name.replace(' ', '_')}-{number}"
            # The first and the last second are not judged.
            measured = truth.measure(lab, near, far, "idle", label, engine, SECONDS + 2)
            for delay, apart in truth.differences(measured, "udp").items():
                for percent in ACCURACY_MAX:
                    rounds = found.setdefault((delay, percent), {}).setdefault(name, [])
                    rounds.append(truth.percentile(apart, percent))
    for (delay, percent), by_name in found.items():
        apart = statistics.median(lazy - at_once for lazy, at_once in zip(by_name["lazy"], by_name["at once"]))
        shown = ", ".join(f"{name} {truth.microseconds(statistics.median(rounds))}" for name, rounds in by_name.items())
        lab.note(f"udp {delay} off the link p{percent}: {shown} us, apart {apart / 1e3:+.2f}")
        if BOUNDED:
            more = f"udp {delay}: p{percent} off the link is {apart / 1e3:.2f} us more when replies are read lazily"
            # Closer to the captures is not worse.
            expect(apart <= ACCURACY_MAX[percent], more)


PARTS = {"calls": calls, "processor": processor, "timeouts": timeouts, "accuracy": accuracy}
