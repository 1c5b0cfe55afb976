"""Probes a hundred targets at 1 ms with all three kinds of probe, against one reflector of ours, for a long time. That is
more than two processors can do: slots are missed, replies are late, connects fail. All the same memory and descriptors
of both ends stay as they are, no record is dropped, and each probe that was sent came back, was lost, or is under way.

LM_SCALE_SECONDS is how long, after two windows (12). Half an hour of each engine: `make soak`.
"""

import collections
import statistics
import time

from lab import expect, pause, wait_until
from scale import FEW, SECONDS, far, finish, near, start_prober, targets

TIMEOUT_S = 1
MIB_MAX = 512
# A third's median may be above an earlier one's by so much: windows keep values in chunks, connects come and go.
GROWTH, GROWTH_MIB, GROWTH_FILES = 0.03, 4, 256
# Of a probe sent the outcome, by kind.
OUTCOMES = {
    "udp.wan": ("udp.wan.received", "udp.wan.lost"),
    "tcp.wan": ("tcp.wan.received", "tcp.wan.lost"),
    "tcp.wan.latency": ("tcp.wan.latency", "tcp.wan.latency.failed"),
}


def run(lab):
    window_s = 30 if SECONDS >= 300 else 2
    ends = {"reflector": far(lab, "far", window_s)}
    settings = near(window_s, targets(FEW, 1, timeout=TIMEOUT_S))
    ends["prober"], reader = start_prober(lab, "near", settings)
    wait_until(lambda: len(reader.windows) >= 2, "two windows", 120 + 4 * window_s)
    looks, until = collections.defaultdict(list), time.monotonic() + SECONDS
    while time.monotonic() < until:
        pause(0.5)
        for name, end in ends.items():
            looks[name, "MiB"].append(end.resident_kib() / 1024)
            looks[name, "descriptors"].append(end.descriptors())
    for (name, what), found in looks.items():
        check_flat(lab, f"{name}, {what}", found, GROWTH_MIB if what == "MiB" else GROWTH_FILES)
    for name in ends:
        expect(max(looks[name, "MiB"]) < MIB_MAX, f"the {name} took {max(looks[name, 'MiB']):.0f} MiB")
    # The prober ends first, with all that it has counted.
    finish(lab, reader, (ends["prober"], ends["reflector"]), window_s)
    reader.join()
    totals = sum((counts for counts, _ in reader.windows), reader.totals.copy())
    for kind, outcomes in OUTCOMES.items():
        sent, ended = totals[f"{kind}.sent"], sum(totals[outcome] for outcome in outcomes)
        shown = ", ".join(f"{totals[outcome]} {outcome}" for outcome in outcomes)
        lab.note(f"{kind}: {sent} sent, {shown}, {sent - ended} under way at the end")
        # No more can be under way than leave within their timeout and a stall of as long.
        expect(0 <= sent - ended <= 2 * TIMEOUT_S * FEW * 1_000, f"{kind}: {sent} were sent, {ended} have an outcome")


def check_flat(lab, what, found, most):
    third = len(found) // 3
    before, after = (statistics.median(part) for part in (found[:third], found[-third:]))
    lab.note(f"{what}: {before:.0f}, then {after:.0f}")
    expect(after - before <= max(most, GROWTH * before), f"{what}: grown from {before:.0f} to {after:.0f}")
