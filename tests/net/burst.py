"""Bursts of cross traffic through a router with a narrow link: the daemon reports each of them, on the right flow, in
the right direction, as captures at both ends of the path have it.

The namespaces are near - router - far. Toward far the router sends 100 Mbit/s. Every second or so near sends as many
packets at once as the link carries in 16 ms, and they queue before the probes. First both ends speak the native wire,
and the prober reports. Then both speak text, and the probed end reports. Each burst has a dump with all its probes.

On a host that loses its processors the probes may meet other bursts than those planted: packets of a burst leave one
by one, or no probe leaves while the queue stands. So the lab plants more bursts than it asks for. The captures say
which of them the probes met, and the daemon must report each of those.
"""

import bisect
import json
import math
import random
import statistics
import subprocess
import sys
import time

from capture import UDP, Capture, end_captures, join
from lab import GIVE_UP_S, collect, expect, pause, points, run as command, wait_until
from truth import percentile

NEAR, FAR = "192.0.2.1", "198.51.100.1"
RATE_MBIT = 100
BURST_MS = 16
PLANTED, BURSTS = 15, 10
# A peak below this may be the host: single packets exceed the threshold where nothing was planted.
PLANTED_MS_LEAST = 4
INTERVAL_MS = 1
# The daemon learns the base line and its noise in this time.
QUIET_S = 8
# By docs/design/bursts.md: so many packets in a row over the threshold, or over half of it, begin a burst; so long
# under half of it ends one (the default of `quiet_ms`).
OVER, OVER_HALF = 2, 4
QUIET_NS = 5_000_000
NOISE_TIMES = 3
# The defaults of `pre_ms` and `post_ms`.
MARGIN_NS = 200_000_000
# A line through the least delays of a program, and those of all the time, may be so far from each other.
BASE_OFF_NS = 50_000
START_MS, DURATION_MS, DURATION_SHARE, PEAK_SHARE = 2, 3, 0.2, 0.1

PACKET_BYTES = 1_400
# With the headers of UDP, IP and Ethernet.
ON_LINK_BYTES = PACKET_BYTES + 42
BURST_PACKETS = RATE_MBIT * 1_000 * BURST_MS // 8 // ON_LINK_BYTES
BLAST = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
for _ in sys.stdin:
    for _ in range({packets}):
        out.sendto(bytes({size}), ("{far}", 9))
    print("sent", flush=True)
"""


def run(lab):
    for protocol in ("auto", "text"):
        check(lab, protocol)


def check(lab, protocol):
    near, _, far = path(lab, f"{protocol}-")
    captures = [Capture(lab, f"{protocol}-near-capture", near), Capture(lab, f"{protocol}-far-capture", far, "lm1")]
    dumps = {name: lab.folder / f"{protocol}-{name}-dumps" for name in ("near", "far")}
    common = {"metrics": {"mode": "windows", "send_interval": 1}, "protocol": protocol, "tcp": True}
    burst = {name: {"burst": {"dump_dir": str(folder)}} for name, folder in dumps.items()}
    server = lab.ours(f"{protocol}-server", {"name": "far", **common, **burst["far"]}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "tcp_latency": False, "type": "udp"}
    settings = {"name": "near", **common, **burst["near"], "targets": [target]}
    client = lab.ours(f"{protocol}-client", settings, namespace=near)
    records = collect(client, lambda found: len(counted(found)) >= QUIET_S, "windows", QUIET_S + GIVE_UP_S)
    since = time.time_ns()
    blast(lab, protocol, near)
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    reported = {"near": records + client.records(), "far": server.records()}
    end_captures(captures, near, FAR)
    reporter = reported["near" if protocol == "auto" else "far"]
    # The daemon's own threshold defines a burst; the captures say where they were. They have noise of their own, by
    # which their stamps precede the driver's, and the threshold stands over that as over the daemon's.
    events = [record for record in reporter if record.get("event") == "burst" and record["start"] >= since]
    link = crossings([capture.path for capture in captures], events if protocol == "text" else [])
    noise = NOISE_TIMES * percentile([queue for at, queue in link["forward"] if at < since], 99)
    known = [(at, max(value, noise)) for at, value in thresholds(reporter)]
    planted = queues(link["forward"], known, since)
    met = f"{protocol}: of {PLANTED} bursts the probes met {len(planted)}, fewer than {BURSTS}: {planted}"
    expect(len(planted) >= BURSTS, met)
    if protocol == "text":
        # A pause of the sending program before a probe is on the link looks like a queue to its receiver.
        link["forward"] = link["said"]
    # In the second of a burst the threshold may be the one published before it or the one after.
    truth = [queues(link["forward"], one, since) for one in (known, sooner(known))]
    events = compare(lab, protocol, reported, truth, link, since)
    check_dumps(lab, protocol, events, dumps["near" if protocol == "auto" else "far"])


def path(lab, prefix=""):
    """Makes namespaces near - router - far, with a narrow link from the router to far; returns their names."""
    near, router, far = (lab.namespace(f"{prefix}{name}") for name in ("near", "router", "far"))
    lab.link(near, router, [f"{NEAR}/24"], ["192.0.2.254/24"], device="lm0")
    lab.link(router, far, ["198.51.100.254/24"], [f"{FAR}/24"], device="lm1")
    command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    command("ip", "-n", near, "route", "add", "default", "via", "192.0.2.254")
    command("ip", "-n", far, "route", "add", "default", "via", "198.51.100.254")
    shape = f"rate {RATE_MBIT}mbit burst 3000 limit 1000000".split()
    command("tc", "-n", router, "qdisc", "add", "dev", "lm1", "root", "handle", "1:", "tbf", *shape)
    return near, router, far


def thresholds(records):
    """Returns the published thresholds of a queue toward far, in ns, with the instants of their publication.

    Noise goes on being learned, so a later threshold says nothing about the bursts before it.
    """
    found = points(records, "udp.wan.burst.threshold", source="near", target="far", direction="forward")
    expect(found, "no threshold is published")
    return sorted(found)


def sooner(thresholds):
    """Returns each threshold with the instant at which the one before it was published."""
    values = [value for _, value in thresholds]
    return [(at, later) for (at, _), later in zip(thresholds, values[1:] + values[-1:])]


def counted(records):
    return [record for record in records if record.get("metric") == "udp.wan.sent"]


def blast(lab, protocol, near):
    """Fills the queue again and again, at times in step with nothing."""
    code = BLAST.format(packets=BURST_PACKETS, size=PACKET_BYTES, far=FAR)
    words = ["ip", "netns", "exec", near, sys.executable, "-c", code]
    out = lab.folder / f"{protocol}-blast.out"
    with open(out, "wb") as file:
        sender = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, text=True)
    lab.cleanup.callback(sender.kill)
    times = random.Random(protocol)
    for number in range(PLANTED):
        pause(times.uniform(0.6, 1.4))
        sender.stdin.write("\n")
        sender.stdin.flush()
        wait_until(lambda n=number: out.read_text().count("sent") > n, "a burst to be sent")
    # Longer than a timeout, so every probe is decided.
    pause(2)
    sender.stdin.close()
    sender.wait()


def crossings(captures, events):
    """Returns the queue that each probe met by direction, as the captures have it: an instant and ns.

    The instant is when the probe left, or where its receiver reports, when it would have arrived without the queue.
    Without a queue it takes the least delay. What a text probe takes varies with its program by microseconds, as much
    as the threshold is, so there it takes what the events say, if that is not far from the range between the least delay
    and the median. The base is a line through the least delays of the last seconds. Where a program's delays change
    within those, it passes under the least delay of all or over the median.
    """
    exchanges = [one for one in join(*captures, UDP, 8001).values() if not one.again]
    forward = sorted((one.request_out, one.forward()) for one in exchanges if one.request_out and one.request_in)
    reverse = sorted((one.reply_out, one.reverse()) for one in exchanges if one.reply_out and one.reply_in)
    # A text probe says when its program sent it. Its receiver knows nothing else about its departure.
    said = [one for one in exchanges if one.request_said and one.request_in]
    said = sorted((one.request_said, one.request_in - one.request_said) for one in said)
    ways = {"forward": forward, "reverse": reverse, "said": said}
    least = {way: min((delay for _, delay in crossed), default=0) for way, crossed in ways.items()}
    ahead = {"forward": 0, "reverse": least["reverse"], "said": least["said"]}
    queued = {way: [(at + ahead[way], delay - least[way]) for at, delay in crossed] for way, crossed in ways.items()}
    if events:
        median = statistics.median(delay for _, delay in said)
        for event in events:
            holds = least["said"] - BASE_OFF_NS <= event["base"] <= median + BASE_OFF_NS
            expect(holds, f"{event}: no base of delays from {least['said']} ns with a median of {median}")
        lines = sorted((event["start"], event["base"]) for event in events)
        based = [(at, delay, line_at(lines, at)) for at, delay in said]
        queued["said"] = [(at + base, delay - base) for at, delay, base in based]
    return queued


def line_at(lines, at):
    """Returns the base of the last burst that began before an instant, or of the first."""
    return lines[max(0, bisect.bisect_right(lines, (at, math.inf)) - 1)][1]


def is_the_hosts(event, link):
    """Returns whether an event is too small to be asked for, or in the other direction, and is in the captures, too.
    A host that loses its processor has queues.
    """
    if event["direction"] == "forward" and event["peak"] > (1 + PEAK_SHARE) * PLANTED_MS_LEAST * 1_000_000:
        return False
    begin, end = event["start"] - START_MS * 1_000_000, event["start"] + event["duration"] + START_MS * 1_000_000
    met = [queue for at, queue in link[event["direction"]] if begin <= at <= end]
    return bool(met) and max(met) >= (1 - PEAK_SHARE) * event["peak"]


def queues(crossed, thresholds, since):
    """Returns the bursts of the captures as start, duration and peak in ns: each queue over the threshold of its
    time. Bursts from before the daemon has learned a threshold are left out.
    """
    found, running, last, rising, over = [], None, 0, [], 0
    (_, threshold), *later = thresholds
    for at, queue in crossed:
        while running is None and later and later[0][0] <= at:
            _, threshold = later.pop(0)
        if running is None and queue > threshold / 2:
            is_over = queue > threshold
            if is_over and not over:
                rising = []
            rising.append((at, queue))
            over = over + 1 if is_over else 0
            if over >= OVER or len(rising) >= OVER_HALF:
                running = [rising[0][0], 0, max(queue for _, queue in rising)]
        elif running is None:
            rising, over = [], 0
        if running and queue > threshold / 2:
            running[1:] = [at - running[0], max(running[2], queue)]
            last = at
        elif running and at - last >= QUIET_NS:
            found.append(tuple(running))
            running, rising, over = None, [], 0
    return [queue for queue in found if queue[0] >= since and queue[2] >= PLANTED_MS_LEAST * 1_000_000]


def apart(event, queue):
    """Returns how far an event is off a queue of the captures, as shares of what is allowed: start, duration and
    peak.
    """
    start, duration, peak = queue
    late = abs(event["start"] - start) / 1e6
    longer = abs(event["duration"] - duration) / 1e6
    higher = abs(event["peak"] / peak - 1)
    return late / START_MS, longer / max(DURATION_MS, DURATION_SHARE * duration / 1e6), higher / PEAK_SHARE


def overlap(one, other):
    return one[0] <= other[0] + other[1] and other[0] <= one[0] + one[1]


def compare(lab, protocol, reported, truth, link, since):
    """Holds events and queues of the captures since an instant against each other: each event is a queue, and each queue
    an event. An event before it is the host's, and in the captures, too.

    The two thresholds of its time may make two bursts of one queue, or one of two. Either is right.
    """
    reporter = "near" if protocol == "auto" else "far"
    told = (record for record in reported[reporter] if record.get("event") == "burst")
    told = list(told)
    events = [record for record in told if record["start"] >= since]
    early = [record for record in told if record["start"] < since and not is_the_hosts(record, link)]
    expect(not early, f"{protocol}: bursts before one was planted, which the captures do not have: {early}")
    found, nearest, matched, own = [], [], set(), 0
    for event in events:
        expect(event["flow"] == "udp", f"{protocol}: a burst of another flow: {event}")
        expect(event["stamp"] == "kernel" or protocol == "text", f"{protocol}: not the kernel's: {event}")
        tags = ["source:near", "target:far"]
        expect(all(tag in event["tags"] for tag in tags), f"{protocol}: a burst of others: {event}")
        queue = min(truth[0] + truth[1], key=lambda queue: max(apart(event, queue)))
        is_reported = event["direction"] == "forward" and max(apart(event, queue)) <= 1
        if not is_reported and is_the_hosts(event, link):
            own += 1
            continue
        off = ", ".join(f"{share:.0%}" for share in apart(event, queue))
        what = f"{event} is off {queue} on the link by {off} of what is allowed, of start, duration and peak"
        expect(is_reported, f"{protocol}: {what}")
        expect(queue not in matched, f"{protocol}: reported twice: {queue}")
        found.append(event)
        matched.add(queue)
        nearest.append(apart(event, queue))
    unreported = [queue for queue in truth[0] if not any(overlap(queue, other) for other in matched)]
    expect(not unreported, f"{protocol}: {len(found)} events, none of {unreported}")
    if own:
        lab.note(f"{protocol}: {own} smaller ones, which the captures have too")
    if protocol == "auto":
        others = [record for record in reported["far"] if record.get("event") == "burst"]
        expect(not others, f"reported by both ends: {others}")
    peaks = ", ".join(f"{event['peak'] / 1e6:.1f}" for event in found)
    worst = ", ".join(f"{max(shares):.1%}" for shares in zip(*nearest))
    lab.note(f"{protocol}: {len(found)} bursts of {peaks} ms; off by {worst} of what is allowed, of start, duration and peak")
    return found


def check_dumps(lab, protocol, events, folder):
    """Holds the dumps against the events: each event has one, with every probe from `pre_ms` before to `post_ms`
    after it.
    """
    dumps = [[json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("*.jsonl")]
    by_start = {head["event"]["start"]: (head, probes) for head, *probes in dumps if head["dump"] == "burst"}
    most = 0
    for event in events:
        expect(event["start"] in by_start, f"{protocol}: no dump of {event} in {folder}")
        head, probes = by_start[event["start"]]
        expect(head["event"] == event, f"{protocol}: a dump of {head['event']}, not of {event}")
        expect(head["complete"] and head["probes"] == len(probes), f"{protocol}: not all of it: {head}")
        begin, end = event["start"], event["start"] + event["duration"]
        expect(head["from"] == begin - MARGIN_NS and head["to"] == end + MARGIN_NS, f"{protocol}: not around it: {head}")
        # The receiver counts from when a probe would have arrived without the queue.
        ahead = event["base"] if protocol == "text" else 0
        # The base is a line under the delays, and is exact to some microseconds.
        edge = INTERVAL_MS * 1_000_000 // 4 if ahead else 0
        inside = [probe for probe in probes if begin - edge <= probe["t1"] + ahead <= end + edge]
        # A probe that left behind the burst may overtake the last one of it, and its receiver counts it: the other
        # processor may deliver a packet before one that was stamped sooner.
        last = max(probe["t2"] for probe in inside if probe["t2"])
        overtaking = [probe for probe in probes if probe not in inside and probe["t2"] and 0 <= probe["t2"] - last <= edge]
        count = len(inside) + len(overtaking)
        expect(count >= event["probes"], f"{protocol}: {count} probes of {event['probes']}: {event}")
        numbers = [probe["seq"] for probe in probes]
        expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{protocol}: not in their order: {numbers}")
        peak = max(probe["forward"] for probe in inside if probe["forward"] is not None) - event["base"]
        expect(abs(peak / event["peak"] - 1) <= PEAK_SHARE, f"{protocol}: a peak of {peak} in the dump of {event}")
        most = max(most, len(probes))
    lab.note(f"{protocol}: a dump of each, of {most} probes at most")

