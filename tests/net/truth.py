"""What our daemons publish beside what was on the link, probe by probe: captures at both ends of it are
the truth. Once with the host idle, once with all its processors kept busy.

LM_SPIN_US is the prober's `spin_us`, LM_TRUTH_SECONDS how long each is measured.
"""

import math
import os
from typing import NamedTuple

from capture import TCP, UDP, Capture, end_captures, join
from lab import collect, expect, pause, values

SECONDS = float(os.environ.get("LM_TRUTH_SECONDS", "20"))
SPIN_US = os.environ.get("LM_SPIN_US")
NEAR, FAR = "192.0.2.1", "192.0.2.2"
PROTOCOLS = {"udp": (UDP, 8001), "tcp": (TCP, 8000)}
# Nothing is asked of the first and the last second: there the flow begins and ends.
EDGE_NS = 1_000_000_000

# What an error may be, in ns, at these percentiles; and how many of the probes that were answered on the
# link have a sample between two kernel stamps.
ERROR_MAX = {"idle": {50: 2_000, 99: 5_000}, "busy": {99: 8_000}}
STAMPED_LEAST = 0.98

HEAD = "| host | delay | probes | link p50 | p99 | ours p50 | p99 | error p50 | p99 | stamped |"
FOOT = "(us; a capture's transmit stamps run about 1 us ahead of the driver's, which is in the error)"


class Delay(NamedTuple):
    """A delay that is published, with the end that does, and how the link has it."""

    metric: str
    end: str
    tags: dict
    of: str


DELAYS = {
    "rtt": Delay("rtt", "near", {}, "rtt"),
    "forward": Delay("owd", "far", {"source": "near", "target": "far"}, "forward"),
    "reverse": Delay("owd", "near", {"source": "far", "target": "near"}, "reverse"),
}


def percentile(numbers, percent):
    """The nearest-rank percentile."""
    ordered = sorted(numbers)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def microseconds(ns):
    return "-" if math.isnan(ns) else f"{ns / 1000:.1f}"


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def run(lab):
    print(HEAD)
    print("| --- " * (HEAD.count("|") - 1) + "|")
    failures = []
    for load in ERROR_MAX:
        near, far = lab.namespace(f"{load}-near"), lab.namespace(f"{load}-far")
        lab.link(near, far, [f"{NEAR}/24"], [f"{FAR}/24"])
        records, captures = measure(lab, near, far, load)
        for protocol in PROTOCOLS:
            failures += compare(lab, load, protocol, records, captures)
    print(FOOT, flush=True)
    expect(not failures, "\n    ".join(failures))


def measure(lab, near, far, load):
    """Lets two daemons measure; gives what each printed, by its end, and the two captures."""
    captures = [Capture(lab, f"{load}-{end}", space) for end, space in (("near", near), ("far", far))]
    metrics = {"mode": "samples", "send_interval": 0.2}
    server = lab.ours(f"{load}-server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": 1, "tcp_latency": False}
    engine = {"spin_us": int(SPIN_US)} if SPIN_US else {}
    settings = {"name": "near", "metrics": metrics, "engine": engine, "targets": [target]}
    burners = keep_busy(lab) if load == "busy" else []
    client = lab.ours(f"{load}-client", settings, namespace=near)
    records = {"near": [], "far": []}
    wanted = [f"{protocol}.wan.rtt" for protocol in PROTOCOLS]
    records["near"] += collect(client, lambda found: all(values(found, one) for one in wanted), "samples")
    pause(SECONDS)
    for daemon, end in ((client, "near"), (server, "far")):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
        records[end] += daemon.records()
    for burner in burners:
        burner.kill()
    end_captures(captures, near, FAR)
    return records, [capture.path for capture in captures]


def keep_busy(lab):
    """A process on each processor that does nothing, all the time."""
    loop = ["sh", "-c", "while :; do :; done"]
    processors = sorted(os.sched_getaffinity(0))
    return [lab.start(f"busy-{one}", ["taskset", "-c", str(one), *loop]) for one in processors]


def published(records, protocol, delay):
    """The samples of a delay by the probe's number: value and stamp."""
    found = {}
    wanted = [f"{key}:{value}" for key, value in delay.tags.items()]
    for record in records[delay.end]:
        if record.get("metric") != f"{protocol}.wan.{delay.metric}" or "seq" not in record:
            continue
        if all(tag in record["tags"] for tag in wanted):
            number = record["seq"] & 0xFFFF_FFFF
            expect(number not in found, f"{protocol} {delay}: two samples of probe {number}")
            found[number] = (record["points"][0][1], record.get("stamp"))
    return found


def compare(lab, load, protocol, records, captures):
    """A row for each delay of a protocol; gives what does not hold."""
    exchanges = join(*captures, *PROTOCOLS[protocol])
    answered = {number: one for number, one in exchanges.items() if one.complete() and not one.again}
    outs = [one.request_out for one in exchanges.values() if one.request_out is not None]
    begin, end = min(outs) + EDGE_NS, max(outs) - EDGE_NS
    asked = {number: one for number, one in answered.items() if begin <= one.request_out <= end}
    failures = [] if asked else [f"{load} {protocol}: no answered probes on the link"]
    for name, delay in DELAYS.items():
        samples = published(records, protocol, delay)
        strangers = set(samples) - set(exchanges)
        expect(not strangers, f"{load} {protocol} {name}: not on the link: probes {sorted(strangers)[:5]}")
        stamped = {number: value for number, (value, stamp) in samples.items() if stamp == "kernel"}
        link = {number: getattr(one, delay.of)() for number, one in answered.items()}
        errors = [abs(value - link[number]) for number, value in stamped.items() if number in link]
        share = len(asked.keys() & stamped.keys()) / max(1, len(asked))
        ours, errors_at = [value for value, _ in samples.values()], {}
        figures = [percentile(link.values(), 50), percentile(link.values(), 99)]
        figures += [percentile(ours, 50), percentile(ours, 99)]
        for percent in (50, 99):
            errors_at[percent] = percentile(errors, percent)
        shown = [microseconds(figure) for figure in (*figures, *errors_at.values())]
        print(row(load, f"{protocol} {name}", len(asked), *shown, f"{share:.1%}"))
        what = f"{load} {protocol} {name}"
        for percent, most in ERROR_MAX[load].items():
            # Without an error there is no sample, and that does not hold either.
            if not errors_at[percent] <= most:
                error = microseconds(errors_at[percent])
                failures.append(f"{what}: error p{percent} {error} us, not {most / 1000:.0f}")
        if share < STAMPED_LEAST:
            failures.append(f"{what}: {share:.1%} of {len(asked)} answered probes have a kernel sample")
        if name == "rtt":
            lab.note(f"{load} {protocol} error p50 {shown[4]} us, p99 {shown[5]} us, {share:.1%} stamped")
    return failures
