"""Holds every delay that our daemons publish against captures at both ends of the link, on an idle host and on a busy
one.

A capture's transmit stamps precede the driver's. A plain program (`lead`) measures by how much, and what every packet
has of that is subtracted from the differences on UDP. Nothing is subtracted on TCP: over a pair of virtual devices its
receive stamps are about as late as the transmit stamps, and both cancel out.

Two conditions must hold.

- Every UDP sample of every measurement, on any host: the kernel's transmit stamp lies between the two of the captures,
  so no delay is below zero or above the link's.
- The percentiles of the errors: at most ERROR_MAX, so one in a hundred may exceed the bound of p99. On a disturbed
  host the plain program's own stamps exceed it as often, so OTHERS_SHARE times its share may, with what chance makes of
  that share. The two still meet other moments of such a host. Where the share does not hold it is measured again,
  MEASURED_MAX times in all. No host moves the median: that holds of every measurement.

LM_SPIN_US is the prober's `spin_us`, LM_TRUTH_SECONDS the time of each measurement.
"""

import json
import math
import os
import pathlib
import sys
import time
from typing import NamedTuple

import lead
from capture import TCP, UDP, Capture, end_captures, join
from lab import FAR, GIVE_UP_S, NEAR, collect, expect, values

SECONDS = float(os.environ.get("LM_TRUTH_SECONDS", "20"))
SPIN_US = os.environ.get("LM_SPIN_US")
# The plain program sends less often than the prober: it takes little from it, and meets the processors as the probes
# leave them.
LEAD_PERIOD_MS = 4
# Slightly off the millisecond. In step with the kernel's tick, the tick could interrupt every probe of a run between
# the capture's stamp and the driver's, and the capture would not be the truth.
INTERVAL_MS = 0.997
PROTOCOLS = {"udp": (UDP, 8001), "tcp": (TCP, 8000)}
# The first and the last second are not judged: the flow begins and ends in them.
EDGE_NS = 1_000_000_000

# The bounds of the error, in ns, by percentile; and the share of the answered probes that must have a sample between
# two kernel stamps.
ERROR_MAX = {"idle": {50: 2_000, 99: 5_000}, "busy": {99: 8_000}}
STAMPED_LEAST = 0.98
# The share is of the packets that came by themselves at every point of the link; a host that stalls brings several at
# once. Of TCP segments that wait together the kernel keeps only the last one's stamp, and of datagrams that leave
# together none can tell when the one before it left. So many must have come by themselves as show such a share.
APART_NS = 0.5e6 * INTERVAL_MS
APART_LEAST = 1_000
# Two programs that meet other moments have different shares of disturbed packets, and a share of few packets is known
# to so many of its standard deviations.
OTHERS_SHARE, DEVIATIONS = 2, 2
MEASURED_MAX = 3

HEAD = "| host | delay | probes | link p50 | p99 | ours p50 | p99 | difference p50 | p99 | error p50 | p99 | stamped |"
FOOT = """(us; link: between the captures' stamps; difference: of ours from that. A capture's transmit stamps run about
1 us ahead of the driver's, here at p10, and by how much others are off that at p99: {}.
error: the difference without that on UDP, as it is on TCP, whose receive stamps come behind the capture too)"""


class Delay(NamedTuple):
    """A published delay: the end that publishes it, the name of it on the link, and the ends whose transmit stamps
    are in it.
    """

    metric: str
    end: str
    tags: dict
    of: str
    senders: tuple


DELAYS = {
    "rtt": Delay("rtt", "near", {}, "rtt", ("near", "far")),
    "forward": Delay("owd", "far", {"source": "near", "target": "far"}, "forward", ("near",)),
    "reverse": Delay("owd", "near", {"source": "far", "target": "near"}, "reverse", ("far",)),
}


class Measured(NamedTuple):
    """The records of both daemons by end, two captures of the link, the lead of each over its end's driver, and the
    instant since when those were measured.
    """

    records: dict
    captures: list
    leads: dict
    since: int


class Lead:
    """How far a capture precedes its end's driver, in ns: what every packet has of that, and the distance from it at
    percentiles.

    A processor that has slept or run others' code takes some 4 us more. Whether most packets of a plain program meet
    one changes from run to run, and its median with that. So the tenth percentile is what every packet has.
    """

    def __init__(self, leads):
        self.base = percentile(leads, 10)
        self.off = [abs(lead - self.base) for lead in leads]

    def scatter(self, percent):
        return percentile(self.off, percent)

    def share_over(self, most):
        """Returns the share of packets that are further off, and how far chance may have moved it."""
        share = share_over(self.off, most)
        return share, DEVIATIONS * math.sqrt(share * (1 - share) / len(self.off))


def percentile(numbers, percent):
    """Returns the nearest-rank percentile."""
    ordered = sorted(numbers)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def share_over(numbers, most):
    return sum(number > most for number in numbers) / max(1, len(numbers))


def microseconds(ns):
    return "-" if math.isnan(ns) else f"{ns / 1000:.1f}"


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def run(lab):
    print(HEAD)
    print("| --- " * (HEAD.count("|") - 1) + "|")
    failures, leads = [], []
    for load in ERROR_MAX:
        measured, wrong = hold(lab, load)
        failures += wrong
        for end, ahead in measured.leads.items():
            leads.append(f"{load} {end} {microseconds(ahead.base)} and {microseconds(ahead.scatter(99))}")
    print(FOOT.format(", ".join(leads)), flush=True)
    expect(not failures, "\n    ".join(failures))


def hold(lab, load):
    """Measures until everything holds. Returns the last measurement with what does not hold of it, and of any what no
    host excuses.
    """
    beyond = []
    for turn in range(MEASURED_MAX):
        label = f"{load}{turn or ''}"
        measured = measure(lab, *lab.ends(f"{label}-"), load, label)
        beyond += beyond_link(label, measured)
        wrong = []
        for protocol in PROTOCOLS:
            never, seldom = compare(lab, load, label, protocol, measured)
            beyond, wrong = beyond + never, wrong + seldom
        if not wrong:
            break
        print("\n".join(wrong), flush=True)
    return measured, beyond + wrong


def beyond_link(label, measured):
    """Returns which UDP delays do not lie between zero and what the link took."""
    _, asked = asked_on(measured, "udp")
    failures = []
    for name, delay in DELAYS.items():
        outside = [(own, whole) for own, whole in stamped_pairs(measured, "udp", delay, asked) if not 0 <= own <= whole]
        if outside:
            failures.append(f"{label} udp {name}: {len(outside)} are not between 0 and what the link took: {outside[:5]}")
    return failures


def measure(lab, near, far, load, label=None, engine=None, seconds=SECONDS):
    """Lets two daemons measure, the prober with these settings of its engine beside `spin_us`."""
    label = label or load
    spaces = {"near": near, "far": far}
    captures = [Capture(lab, f"{label}-{end}", space) for end, space in spaces.items()]
    metrics = {"mode": "samples", "send_interval": 0.2}
    server = lab.ours(f"{label}-server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "tcp_latency": False}
    engine = {**({"spin_us": int(SPIN_US)} if SPIN_US else {}), **(engine or {})}
    settings = {"name": "near", "metrics": metrics, "engine": engine, "targets": [target]}
    burners = keep_busy(lab) if load == "busy" else []
    client = lab.ours(f"{label}-client", settings, namespace=near)
    records = {"near": [], "far": []}
    wanted = [f"{protocol}.wan.rtt" for protocol in PROTOCOLS]
    records["near"] += collect(client, lambda found: all(values(found, one) for one in wanted), "samples")
    since = time.time_ns()
    stamps = lead_stamps(lab, label, spaces, seconds, LEAD_PERIOD_MS)
    for daemon, end in ((client, "near"), (server, "far")):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
        records[end] += daemon.records()
    for burner in burners:
        burner.kill()
    end_captures(captures, near, FAR)
    addresses = {"near": NEAR, "far": FAR}
    leads = {}
    for (end, sent), capture in zip(stamps.items(), captures):
        leads[end] = Lead(lead.leads(capture.path, addresses[end], sent))
        expect(not math.isnan(leads[end].base), f"{label} {end}: the kernel has stamped nothing")
    return Measured(records, [capture.path for capture in captures], leads, since)


def lead_stamps(lab, label, spaces, seconds, period_ms):
    """Sends the datagrams that show the leads of the captures; returns the driver's stamps by end."""
    senders = {}
    for end, other in (("near", FAR), ("far", NEAR)):
        command = [sys.executable, "-B", pathlib.Path(lead.__file__), other, seconds, period_ms]
        senders[end] = lab.start(f"{label}-lead-{end}", command, namespace=spaces[end])
    for sender in senders.values():
        code = sender.process.wait(seconds + GIVE_UP_S)
        expect(code == 0, f"{sender.label} ended with {code}: {sender.log()[-500:]}")
    return {end: json.loads(sender.out_path.read_text()) for end, sender in senders.items()}


def keep_busy(lab):
    """Starts a process on each processor that keeps it busy."""
    loop = ["sh", "-c", "while :; do :; done"]
    processors = sorted(os.sched_getaffinity(0))
    return [lab.start(f"busy-{one}", ["taskset", "-c", str(one), *loop]) for one in processors]


def published(records, protocol, delay):
    """Returns the samples of a delay as value and stamp, by the number of the probe."""
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


def allowed_share(percent, most, leads):
    """Returns the share of errors that may exceed the bound of a percentile: on an undisturbed host, and on this one."""
    # A disturbed host does not excuse the median: it does not move it.
    if percent <= 50:
        return 1 - percent / 100, 0
    plain = [one.share_over(most) for one in leads]
    return 1 - percent / 100, OTHERS_SHARE * sum(share + chance for share, chance in plain)


def too_far_off(what, errors, percent, most, leads):
    """Returns what does not hold of the errors at a percentile: one line, or none."""
    own = share_over(errors, most)
    # Without an error there is no sample, which fails, too.
    if errors and own <= max(allowed_share(percent, most, leads)):
        return []
    error = f"error p{percent} {microseconds(percentile(errors, percent))} us, not {most / 1000:.0f}"
    plain = sum(share_over(one.off, most) for one in leads)
    return [f"{what}: {error}; {own:.2%} are over that, of a plain program's {plain:.2%}"]


def asked_on(measured, protocol):
    """Returns the exchanges of a protocol on the link, and those of them that are judged: answered ones, without the edges."""
    exchanges = join(*measured.captures, *PROTOCOLS[protocol])
    answered = {number: one for number, one in exchanges.items() if one.complete() and not one.again}
    outs = [one.request_out for one in exchanges.values() if one.request_out is not None]
    begin, end = max(min(outs), measured.since) + EDGE_NS, max(outs) - EDGE_NS
    return exchanges, {number: one for number, one in answered.items() if begin <= one.request_out <= end}


def differences(measured, protocol):
    """Returns by how much a protocol's delays differ from the link's, in ns, by the delay's name. The captures' leads are in it."""
    _, asked = asked_on(measured, protocol)
    pairs = {name: stamped_pairs(measured, protocol, delay, asked) for name, delay in DELAYS.items()}
    return {name: [abs(own - whole) for own, whole in found] for name, found in pairs.items()}


def stamped(measured, protocol, delay):
    """Returns the samples of a delay between stamps of the kernel, by the number of the probe."""
    samples = published(measured.records, protocol, delay)
    return {number: value for number, (value, stamp) in samples.items() if stamp == "kernel"}


def stamped_pairs(measured, protocol, delay, asked):
    """Returns those samples of the exchanges that were asked for, each with what the link took."""
    own = stamped(measured, protocol, delay)
    return [(own[number], getattr(asked[number], delay.of)()) for number in own.keys() & asked.keys()]


def apart(exchanges):
    """Returns the numbers of the exchanges whose packets were half an interval from the next ones at all four points."""
    near = set()
    for point in ("request_out", "request_in", "reply_out", "reply_in"):
        stamps = ((getattr(one, point), number) for number, one in exchanges.items())
        ordered = sorted((at, number) for at, number in stamps if at is not None)
        for (before, one), (after, other) in zip(ordered, ordered[1:]):
            if after - before < APART_NS:
                near |= {one, other}
    return exchanges.keys() - near


def compare(lab, load, label, protocol, measured):
    """Prints a row for each delay of a protocol. Returns what does not hold: what no host excuses, and what a disturbed
    one may do.
    """
    exchanges, asked = asked_on(measured, protocol)
    never, seldom = [] if asked else [f"{label} {protocol}: no answered probes on the link"], []
    judged = asked.keys() & apart(exchanges)
    if len(judged) < APART_LEAST:
        seldom.append(f"{label} {protocol}: only {len(judged)} of {len(asked)} answered probes came by themselves")
    for name, delay in DELAYS.items():
        what = f"{label} {protocol} {name}"
        samples = published(measured.records, protocol, delay)
        strangers = set(samples) - set(exchanges)
        expect(not strangers, f"{what}: not on the link: probes {sorted(strangers)[:5]}")
        link = {number: getattr(one, delay.of)() for number, one in asked.items()}
        differ = [own - whole for own, whole in stamped_pairs(measured, protocol, delay, asked)]
        leads = [measured.leads[sender] for sender in delay.senders]
        ahead = sum(one.base for one in leads) if protocol == "udp" else 0
        errors = [abs(difference + ahead) for difference in differ]
        ours = [samples[number][0] for number in link.keys() & samples.keys()]
        columns = [link.values(), ours, [abs(difference) for difference in differ], errors]
        share = len(judged & stamped(measured, protocol, delay).keys()) / max(1, len(judged))
        shown = [microseconds(percentile(column, percent)) for column in columns for percent in (50, 99)]
        print(row(label, f"{protocol} {name}", len(asked), *shown, f"{share:.1%}"))
        for percent, most in ERROR_MAX[load].items():
            found = too_far_off(what, errors, percent, most, leads)
            (never if percent <= 50 or not errors else seldom).extend(found)
        if share < STAMPED_LEAST:
            seldom.append(f"{what}: {share:.1%} of {len(judged)} answered probes have a kernel sample")
        if name == "rtt":
            plain = microseconds(sum(one.scatter(99) for one in leads))
            error = f"error p50 {shown[-2]} us, p99 {shown[-1]} (a plain program's {plain})"
            lab.note(f"{label} {protocol} {error}, {share:.1%} stamped")
    return never, seldom
