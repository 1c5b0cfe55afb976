"""Bursts of cross traffic through a router whose link is narrow: the daemon tells each of them, on the right
flow, in the right direction, as captures at both ends of the path have it.

Namespaces near - router - far. Toward far the router sends 100 Mbit/s. Every so often near sends as many packets at
once as that takes about 16 ms for, and they stand before the probes. Once both ends speak our own wire, and the
prober tells; once they speak text, and the one that is probed does. Of each of them there is a dump with all its probes.
"""

import json
import random
import subprocess
import sys
import time

from capture import UDP, Capture, end_captures, join
from lab import GIVE_UP_S, collect, expect, pause, points, run as command, wait_until

NEAR, FAR = "192.0.2.1", "198.51.100.1"
RATE_MBIT = 100
BURST_MS = 16
BURSTS = 10
# Single packets are over the threshold, too, where nothing was planted.
PLANTED_MS_LEAST = 4
INTERVAL_MS = 1
# The daemon learns the line and its noise in this time.
QUIET_S = 8
# The defaults of `pre_ms` and `post_ms`.
MARGIN_NS = 200_000_000
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
    near, router, far = (lab.namespace(f"{protocol}-{name}") for name in ("near", "router", "far"))
    lab.link(near, router, [f"{NEAR}/24"], ["192.0.2.254/24"], device="lm0")
    lab.link(router, far, ["198.51.100.254/24"], [f"{FAR}/24"], device="lm1")
    command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    command("ip", "-n", near, "route", "add", "default", "via", "192.0.2.254")
    command("ip", "-n", far, "route", "add", "default", "via", "198.51.100.254")
    shape = f"rate {RATE_MBIT}mbit burst 3000 limit 1000000".split()
    command("tc", "-n", router, "qdisc", "add", "dev", "lm1", "root", "tbf", *shape)
    captures = [Capture(lab, f"{protocol}-near-capture", near), Capture(lab, f"{protocol}-far-capture", far, "lm1")]
    dumps = {name: lab.folder / f"{protocol}-{name}-dumps" for name in ("near", "far")}
    common = {"metrics": {"mode": "windows", "send_interval": 1}, "protocol": protocol, "tcp": True}
    burst = {name: {"burst": {"dump_dir": str(folder)}} for name, folder in dumps.items()}
    server = lab.ours(f"{protocol}-server", {"name": "far", **common, **burst["far"]}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "tcp_latency": False, "type": "udp"}
    settings = {"name": "near", **common, **burst["near"], "targets": [target]}
    client = lab.ours(f"{protocol}-client", settings, namespace=near)
    records = collect(client, lambda found: len(counted(found)) >= QUIET_S, "windows", QUIET_S + GIVE_UP_S)
    blast(lab, protocol, near)
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    told = {"near": records + client.records(), "far": server.records()}
    end_captures(captures, near, FAR)
    teller = told["near" if protocol == "auto" else "far"]
    # The daemon's own threshold, from its noise, says what a burst is; the captures, where they were.
    link = crossings([capture.path for capture in captures])
    truth = queues(link["forward"], thresholds(teller))
    if protocol == "text":
        truth = as_said(link["said"], truth, thresholds(teller))
    events = compare(lab, protocol, told, truth, link)
    check_dumps(lab, protocol, events, dumps["near" if protocol == "auto" else "far"])


def thresholds(records):
    """Over how much a queue toward far is a burst, in ns, and from when on: noise goes on being learned, and a threshold that
    came later says nothing of the bursts before it."""
    found = points(records, "udp.wan.burst.threshold", source="near", target="far", direction="forward")
    expect(found, "no threshold is published")
    return sorted(found)


def counted(records):
    return [record for record in records if record.get("metric") == "udp.wan.sent"]


def blast(lab, protocol, near):
    """Fills the queue, again and again, at times that are not in step with anything."""
    code = BLAST.format(packets=BURST_PACKETS, size=PACKET_BYTES, far=FAR)
    words = ["ip", "netns", "exec", near, sys.executable, "-c", code]
    out = lab.folder / f"{protocol}-blast.out"
    with open(out, "wb") as file:
        sender = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, text=True)
    lab.cleanup.callback(sender.kill)
    times = random.Random(protocol)
    for number in range(BURSTS):
        pause(times.uniform(0.6, 1.4))
        sender.stdin.write("\n")
        sender.stdin.flush()
        wait_until(lambda n=number: out.read_text().count("sent") > n, "a burst to be sent")
    # Longer than a timeout, so that every probe is decided.
    pause(2)
    sender.stdin.close()
    sender.wait()


def crossings(captures):
    """The queue that each probe met, each way, as the captures have it: when it left, or would have come in without, and ns."""
    exchanges = [one for one in join(*captures, UDP, 8001).values() if not one.again]
    forward = sorted((one.request_out, one.forward()) for one in exchanges if one.request_out and one.request_in)
    reverse = sorted((one.reply_out, one.reverse()) for one in exchanges if one.reply_out and one.reply_in)
    # A text probe says when its program sent it, and that is all that its receiver knows of that.
    said = [one for one in exchanges if one.request_said and one.request_in]
    said = sorted((one.request_said, one.request_in - one.request_said) for one in said)
    ways = {"forward": forward, "reverse": reverse, "said": said}
    least = {way: min((delay for _, delay in crossed), default=0) for way, crossed in ways.items()}
    ahead = {"forward": 0, "reverse": least["reverse"], "said": least["said"]}
    return {way: [(at + ahead[way], delay - least[way]) for at, delay in crossed] for way, crossed in ways.items()}


def as_said(crossed, truth, thresholds):
    """The planted bursts as whom the probes told of their sending must have met them: a pause of the sending program, before
    a probe is on the link, is a queue to it, and may lengthen one."""
    near = lambda queue: any(abs(queue[0] - start) <= BURST_MS * 1_000_000 for start, _, _ in truth)
    return [queue for queue in queues(crossed, thresholds) if near(queue)]


def is_the_hosts(event, link):
    """Whether this is none that was planted, and the captures have it too: a host whose processor is taken away has queues."""
    if event["direction"] == "forward" and event["peak"] >= PLANTED_MS_LEAST * 1_000_000:
        return False
    begin, end = event["start"] - START_MS * 1_000_000, event["start"] + event["duration"] + START_MS * 1_000_000
    met = [queue for at, queue in link[event["direction"]] if begin <= at <= end]
    return bool(met) and max(met) >= (1 - PEAK_SHARE) * event["peak"]


def queues(crossed, thresholds):
    """Bursts as the captures have them: start, duration and peak, in ns, of each queue over the threshold of its time."""
    found, running, last = [], None, 0
    (_, threshold), *later = thresholds
    for at, queue in crossed:
        while running is None and later and later[0][0] <= at:
            _, threshold = later.pop(0)
        if running is None and queue > threshold:
            running, last = [at, 0, queue], at
        if running and queue > threshold / 2:
            running[1:] = [at - running[0], max(running[2], queue)]
            last = at
        elif running and at - last >= 5_000_000:
            found.append(tuple(running))
            running = None
    return [queue for queue in found if queue[2] >= PLANTED_MS_LEAST * 1_000_000]


def compare(lab, protocol, told, truth, link):
    teller = "near" if protocol == "auto" else "far"
    events = [record for record in told[teller] if record.get("event") == "burst"]
    if protocol == "text":
        # A pause of the host looks like a queue there (see as_said); only what is told of the planted ones can be asked.
        near = lambda event: any(abs(event["start"] - start) <= BURST_MS * 1_000_000 for start, _, _ in truth)
        events = [event for event in events if near(event)]
    else:
        own = [event for event in events if is_the_hosts(event, link)]
        events = [event for event in events if event not in own]
        if own:
            lab.note(f"{protocol}: {len(own)} smaller ones, which the captures have too")
    expect(len(truth) == BURSTS, f"{protocol}: the captures have {len(truth)} bursts, not {BURSTS}: {truth}")
    for event in events:
        expect(event["flow"] == "udp", f"{protocol}: a burst of another flow: {event}")
        expect(event["direction"] == "forward", f"{protocol}: a burst where there was none: {event}")
        tags = ["source:near", "target:far"]
        expect(all(tag in event["tags"] for tag in tags), f"{protocol}: a burst of others: {event}")
        expect(event["stamp"] == "kernel" or protocol == "text", f"{protocol}: not the kernel's: {event}")
    expect(len(events) == BURSTS, f"{protocol}: {len(events)} events, not {BURSTS}: {events}")
    if protocol == "auto":
        others = [record for record in told["far"] if record.get("event") == "burst"]
        expect(not others, f"told by both ends: {others}")
    events.sort(key=lambda event: event["start"])
    worst = [0.0, 0.0, 0.0]
    for event, (start, duration, peak) in zip(events, truth):
        late = abs(event["start"] - start) / 1e6
        longer = abs(event["duration"] - duration) / 1e6
        higher = abs(event["peak"] / peak - 1)
        what = f"{protocol}: {event}, and on the link {start}, {duration}, {peak}"
        expect(late <= START_MS, f"{what}: starts {late:.1f} ms off")
        expect(longer <= max(DURATION_MS, DURATION_SHARE * duration / 1e6), f"{what}: {longer:.1f} ms off")
        expect(higher <= PEAK_SHARE, f"{what}: a peak that is {higher:.0%} off")
        worst = [max(pair) for pair in zip(worst, (late, longer, higher))]
    peaks = ", ".join(f"{peak / 1e6:.1f}" for _, _, peak in truth)
    off = f"{worst[0]:.2f} ms of start, {worst[1]:.2f} ms of duration, {worst[2]:.1%} of peak"
    lab.note(f"{protocol}: {BURSTS} bursts of {peaks} ms; off by at most {off}")
    return events


def check_dumps(lab, protocol, events, folder):
    """Each event has a dump, in which every probe from `pre_ms` before it to `post_ms` after it is."""
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
        # The receiver counts from when a probe would have come in without the queue.
        ahead = event["base"] if protocol == "text" else 0
        # What is drawn under the delays is a line, and tells that to some microseconds.
        edge = INTERVAL_MS * 1_000_000 // 4 if ahead else 0
        inside = [probe for probe in probes if begin - edge <= probe["t1"] + ahead <= end + edge]
        expect(len(inside) >= event["probes"], f"{protocol}: {len(inside)} probes of {event['probes']}: {event}")
        numbers = [probe["seq"] for probe in probes]
        expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{protocol}: not in their order: {numbers}")
        peak = max(probe["forward"] for probe in inside if probe["forward"] is not None) - event["base"]
        expect(abs(peak / event["peak"] - 1) <= PEAK_SHARE, f"{protocol}: a peak of {peak} in the dump of {event}")
        most = max(most, len(probes))
    lab.note(f"{protocol}: a dump of each, of {most} probes at most")

