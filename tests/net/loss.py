"""Drops a tenth of the packets of one direction in the kernel, which counts them. As many losses are published, of
that direction. On the text wire nobody knows the direction. TCP sends again what it loses.

LM_LOSS_SECONDS is how long packets are dropped in each direction on the native wire.
"""

import json
import os
import time
from typing import NamedTuple

from lab import FAR, collect, expect, pause, run as command, values

NATIVE_S = float(os.environ.get("LM_LOSS_SECONDS", "20"))
BRIEF_S = 8
SEND_INTERVAL_S = 0.5
# No stall of the host makes a reply late.
TIMEOUT_S = 5
# TCP needs this long for what is lost several times over, and longer on few processors.
TCP_TIMEOUT_S = 30
TABLE = "lmtest"
DROP = "numgen random mod 100 < 10"
UDP_PORT, TCP_PORT = 8001, 8000
DELAYS = ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd"]
ENOUGH = 20


class Dropper:
    """Drops and counts packets that enter a namespace."""

    def __init__(self, namespace):
        self.nft = ["ip", "netns", "exec", namespace, "nft"]
        self.change("add table inet", "")
        self.change("add counter inet", "dropped")
        self.change("add chain inet", "incoming { type filter hook input priority 0; }")

    def change(self, what, of):
        command(*self.nft, f"{what} {TABLE} {of}")

    def begin(self, packets):
        self.change("add rule inet", f"incoming {packets} {DROP} counter name dropped drop")

    def end(self):
        """Stops dropping; returns how many it has dropped."""
        self.change("flush chain inet", "incoming")
        listed = json.loads(command(*self.nft, "-j", f"list counter inet {TABLE} dropped"))
        (counter,) = (entry["counter"] for entry in listed["nftables"] if "counter" in entry)
        return counter["packets"]


class Case(NamedTuple):
    label: str
    protocol: str
    wire: str
    # Where packets are dropped, and which.
    where: str
    packets: str
    seconds: float
    timeout_s: float = TIMEOUT_S


CASES = [
    Case("forward", "udp", "auto", "far", f"udp dport {UDP_PORT}", NATIVE_S),
    Case("reverse", "udp", "auto", "near", f"udp sport {UDP_PORT}", NATIVE_S),
    Case("text", "udp", "text", "far", f"udp dport {UDP_PORT}", BRIEF_S),
    Case("tcp", "tcp", "auto", "far", f"tcp dport {TCP_PORT}", BRIEF_S, TCP_TIMEOUT_S),
]


def run(lab):
    for case in CASES:
        near, far = lab.ends(f"{case.label}-")
        dropper = Dropper(far if case.where == "far" else near)
        dropped, records = measure(lab, case, near, far, dropper)
        expect(dropped > 0, f"{case.label}: no packet was dropped")
        check(lab, case, dropped, records)


def measure(lab, case, near, far, dropper):
    """Lets two daemons measure while packets are dropped, until all losses are accounted for; returns the number of
    dropped packets, and what the prober printed.
    """
    metrics = {"mode": "samples", "send_interval": SEND_INTERVAL_S}
    server = lab.ours(f"{case.label}-server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "type": case.protocol, "interval": 2, "protocol": case.wire}
    target |= {"timeout": case.timeout_s, "tcp_latency": False}
    # The datagrams of a trace would be dropped and counted, too.
    path = {"interval": 0, "on": []}
    settings = {"name": "near", "metrics": metrics, "path": path, "targets": [target]}
    client = lab.ours(f"{case.label}-client", settings, namespace=near)
    records = collect(client, negotiated(case), f"round trips on the wire {case.wire!r}")
    dropper.begin(case.packets)
    pause(case.seconds)
    dropped = dropper.end()
    ended_ns = time.time_ns()
    settled = resumed(case, ended_ns) if case.protocol == "tcp" else attributed(case, ended_ns)
    records += collect(client, settled, "all losses accounted for")
    for daemon, found in ((client, records), (server, [])):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
        found += daemon.records()
        zeros = [record for record in found if record.get("metric") in DELAYS and record["points"][0][1] == 0]
        expect(not zeros, f"{daemon.label}: a delay of 0: {zeros[:3]}")
    return dropped, records


def negotiated(case):
    """Makes a condition: the flow speaks the wire that it stays on. Only the native wire reports the dwell."""
    metric = f"{case.protocol}.wan.rtt"

    def enough(records):
        found = [record for record in records if record.get("metric", "") == metric]
        return sum(case.wire == "text" or "dwell" in record for record in found) >= ENOUGH

    return enough


def attributed(case, ended_ns):
    """Makes a condition: everything lost before an instant is counted, and attributed if it can be."""
    gauge = "udp.wan.lost.unattributed"
    after_ns = ended_ns + (case.timeout_s + 2 * SEND_INTERVAL_S) * 1e9

    def enough(records):
        later = [record["points"][0] for record in records if record.get("metric", "") == gauge]
        last = later[-1] if later else (0, 0)
        return last[0] > after_ns and (case.wire == "text" or last[1] == 0)

    return enough


def resumed(case, ended_ns):
    """Makes a condition: a probe that left after an instant was answered, and so all those before it, as TCP keeps
    the order; and the counts of that time are there.
    """

    def enough(records):
        trips = [record for record in records if record.get("metric", "") == "tcp.wan.rtt"]
        after = [one["points"][0][0] for one in trips if left_at(one) > ended_ns]
        counted = [record["points"][0][0] for record in records if record.get("metric", "") == "tcp.wan.retransmits"]
        return after and counted and counted[-1] > after[0]

    return enough


def left_at(trip):
    at, rtt = trip["points"][0]
    return at - rtt - trip.get("dwell", 0)


def check(lab, case, dropped, records):
    def total(name):
        found = values(records, f"{case.protocol}.wan.{name}")
        return sum(found) if found else None

    lost, forward, reverse = total("lost"), total("lost.forward"), total("lost.reverse")
    shown = f"{case.label}: {dropped} dropped, {lost} lost, {forward} forward, {reverse} reverse"
    if case.protocol == "tcp":
        again = total("retransmits")
        lab.note(f"{shown}, {again} sent again")
        expect((lost, forward, reverse) == (0, 0, 0), f"TCP loses nothing: {shown}")
        expect(again > 0, "no retransmissions were published")
        return
    lab.note(shown)
    expect(lost == dropped, f"not what was dropped: {shown}")
    expect(total("late") == 0, f"{case.label}: {total('late')} late")
    if case.wire == "text":
        expect((forward, reverse) == (None, None), f"nobody knows the direction: {shown}")
        # A gauge of everything since the start.
        gauge = values(records, "udp.wan.lost.unattributed")[-1]
        expect(gauge == dropped, f"{gauge} unattributed; {shown}")
    else:
        expected = (dropped, 0) if case.label == "forward" else (0, dropped)
        expect((forward, reverse) == expected, f"not the direction: {shown}")
