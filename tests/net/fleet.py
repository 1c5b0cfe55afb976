"""Replaces the peer of a running prober without notice: ours by the Python program, that by ours, ours by another one
of ours. Measurement resumes in time, and every sample agrees with the link.

The four combinations of old and new are in interop_loopback and interop_restart.
"""

import time
from typing import NamedTuple

from capture import TCP, UDP, Capture, end_captures, join
from lab import FAR, collect, expect, run as command

PROTOCOLS = {"udp": (UDP, 8001), "tcp": (TCP, 8000)}
INTERVAL_NS = 20_000_000
TIMEOUT_NS = 1_000_000_000
# A peer is heard again within a timeout and an interval. That includes TCP's wait before it connects again, half the
# timeout at most.
RESUME_NS = {"udp": TIMEOUT_NS + INTERVAL_NS, "tcp": TIMEOUT_NS + INTERVAL_NS}
# Another probe's stamp would be wrong by an interval at least. A smaller error proves nothing: the host may lose its
# processor between the capture's stamp and the driver's.
OTHER_NS = INTERVAL_NS // 2
ENOUGH = 50


class Trip(NamedTuple):
    """A published round trip."""

    number: int
    left: int
    back: int
    value: int
    stamp: str
    native: bool


def trips(records, protocol):
    found = []
    for record in records:
        if record.get("metric", "") == f"{protocol}.wan.rtt" and "seq" in record:
            (back, value), dwell = record["points"][0], record.get("dwell")
            left = back - value - (dwell or 0)
            found.append(Trip(record["seq"] & 0xFFFF_FFFF, left, back, value, record["stamp"], dwell is not None))
    return found


def run(lab):
    near, far = lab.ends()
    # The Python program cannot bind its port while connections that the program before it closed are in TIME_WAIT.
    command("ip", "netns", "exec", far, "sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
    captures = [Capture(lab, label, space) for label, space in (("near", near), ("far", far))]
    peer = {"name": "far", "tcp_port": 8000, "udp_port": 8001}
    # One read of the Python program's TCP end must be one message: see docs/design/text-wire.md.
    target = {"host": FAR, "label": "far", "interval": INTERVAL_NS / 1e6, "size": 1470, "tcp_latency": False}
    target["timeout"] = TIMEOUT_NS / 1e9
    settings = {"name": "near", "metrics": {"mode": "samples", "send_interval": 0.2}, "targets": [target]}
    ours = lambda label: lab.ours(label, {**peer, "metrics": settings["metrics"]}, namespace=far)
    python = lambda label: lab.python(label, peer, namespace=far)
    running = ours("ours-0")
    client = lab.ours("client", settings, namespace=near)
    records = collect(client, measured(0, native=True), "native round trips between kernel stamps")
    changes = [("to Python", python), ("back to ours", ours), ("ours again", ours), ("to Python again", python)]
    for number, (what, start) in enumerate(changes, 1):
        running.kill()
        gone_ns = time.time_ns()
        running = start(f"peer-{number}")
        ready_ns = time.time_ns()
        records += collect(client, measured(ready_ns, native=start is ours), f"round trips {what}")
        resumed(lab, what, records, gone_ns, ready_ns)
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    records += client.records()
    end_captures(captures, near, FAR)
    explained(lab, records, [capture.path for capture in captures])


def measured(since_ns, native):
    """Makes a condition: enough round trips of probes that left after an instant. With a native peer they are between
    kernel stamps, without the dwell.
    """

    def enough(records):
        for protocol in PROTOCOLS:
            after = [trip for trip in trips(records, protocol) if trip.left > since_ns]
            good = [trip for trip in after if not native or (trip.native and trip.stamp == "kernel")]
            if len(good) < ENOUGH or (not native and any(trip.native for trip in after)):
                return False
        return True

    return enough


def resumed(lab, what, records, gone_ns, ready_ns):
    """Fails unless the first probe that was answered again left in time. Slots that the host missed do not count; the
    daemon reports them.
    """
    shown = []
    for protocol, most_ns in RESUME_NS.items():
        first = min(trip.left for trip in trips(records, protocol) if trip.left > ready_ns)
        missed = sum(
            record["points"][0][1]
            for record in records
            if record.get("metric", "") == "monitor.slots_missed" and record["points"][0][0] > gone_ns
        )
        took_ns = first - ready_ns
        allowed_ns = most_ns + missed * INTERVAL_NS
        shown.append(f"{protocol} {took_ns / 1e6:.0f} ms")
        text = f"{what}: {protocol} resumed after {took_ns / 1e6:.0f} ms, not {allowed_ns / 1e6:.0f}"
        expect(took_ns <= allowed_ns, text)
    lab.note(f"{what}: {', '.join(shown)}")


def explained(lab, records, captures):
    """Holds every sample against the link: each is of one probe of the link, and says no more than the link."""
    delays = [record for record in records if record.get("metric", "").endswith((".wan.rtt", ".wan.owd"))]
    wrong = [record for record in delays if not 0 < record["points"][0][1] <= TIMEOUT_NS]
    expect(not wrong, f"{len(wrong)} delays that cannot be: {wrong[:3]}")
    for protocol, on in PROTOCOLS.items():
        exchanges = join(*captures, *on)
        seen, kernel = set(), 0
        for trip in trips(records, protocol):
            expect(trip.number not in seen, f"{protocol}: two round trips of one probe: {trip}")
            seen.add(trip.number)
            exchange = exchanges.get(trip.number)
            expect(exchange and exchange.complete(), f"{protocol}: not answered on the link: {trip}")
            if exchange.again:
                continue
            # A process's first stamp is early, and its last one late.
            early, late = exchange.request_out - trip.left, trip.back - exchange.reply_in
            shown = f"{protocol}: shorter than on the link by {early} and {late} ns: {trip}"
            expect(early > -OTHER_NS and late > -OTHER_NS, shown)
            if trip.stamp == "kernel":
                kernel += 1
                link = exchange.rtt() if trip.native else exchange.whole()
                error = abs(trip.value - link)
                expect(error < OTHER_NS, f"{protocol}: {error} ns off the link's {link}: {trip}")
        lab.note(f"{protocol}: {len(seen)} round trips as on the link, {kernel} between kernel stamps")
