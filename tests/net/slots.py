"""Counts the slots that a prober misses beside busy loops, with settings of `[engine]` in turns: docs/design/schedule.md.

Prober and reflector share the host's processors with an endless loop on each. The lab runs only when it is named, and
asserts nothing of the counts: what is missed is the host's. LM_SLOTS_SECONDS is how long each setting is measured in a turn
(4), LM_SLOTS_TURNS how many turns there are (3).
"""

import os
import statistics

import truth
from lab import FAR, collect, expect, points

SECONDS = int(os.environ.get("LM_SLOTS_SECONDS", "4"))
TURNS = int(os.environ.get("LM_SLOTS_TURNS", "3"))
# Intervals in ms with what each is tried with. A spin of the whole interval would meet the kernel's brake on real time.
TRIED = {
    1: [{}, {"realtime": 50}],
    0.1: [{}, {"spin_us": 50}, {"realtime": 50}, {"realtime": 50, "spin_us": 50}],
}


def run(lab):
    spaces = lab.ends()
    for loops in (False, True):
        burners = truth.keep_busy(lab) if loops else []
        for interval_ms, settings in TRIED.items():
            missed = [[] for _ in settings]
            for turn in range(TURNS):
                for place, engine in enumerate(settings):
                    label = f"{'loops' if loops else 'idle'}-{interval_ms}-{place}-{turn}"
                    missed[place].append(measure(lab, *spaces, label, interval_ms, engine))
            for counts, engine in zip(missed, settings):
                said = ", ".join(f"{key} = {value}" for key, value in engine.items()) or "no setting"
                share = ", ".join(f"{100 * count:.2f}" for count in counts)
                beside = "beside loops" if loops else "without loops"
                median = 100 * statistics.median(counts)
                print(f"  {interval_ms} ms, {beside}, {said}: missed {share} %, median {median:.2f}", flush=True)
        for burner in burners:
            burner.kill()


def measure(lab, near, far, label, interval_ms, engine):
    """Returns the share of the slots of one window that was missed."""
    metrics = {"mode": "windows", "send_interval": SECONDS}
    server = lab.ours(f"{label}-server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": interval_ms, "type": "udp", "tcp_latency": False}
    settings = {"name": "near", "metrics": metrics, "engine": engine, "targets": [target]}
    client = lab.ours(f"{label}-client", settings, namespace=near)
    # The first window has the beginning.
    records = collect(client, lambda found: len(points(found, "monitor.slots_missed")) >= 2, "two windows")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    at, missed = points(records, "monitor.slots_missed")[1]
    sent = next(value for ended, value in points(records, "udp.wan.sent") if ended == at)
    expect(sent > 0, f"{label}: nothing was sent")
    return missed / (sent + missed)
