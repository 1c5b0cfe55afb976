"""What a UDP probe costs both ends in processor time: 100 targets of 16 flows beside 1,600 targets of one, at 10 ms.

They take turns, so that what else the host does falls on both. LM_COST_SECONDS is the length of each measurement (5),
LM_COST_ROUNDS how often it is made (5). With LM_COST_BOUNDS=1 the lab fails if the ratio is over its bound.
"""

import os
import statistics

from lab import expect, pause
from scale import FILES, counters, cpu_ns, far, limit, near, targets

SECONDS = int(os.environ.get("LM_COST_SECONDS", "5"))
ROUNDS = int(os.environ.get("LM_COST_ROUNDS", "5"))
INTERVAL_MS, TARGETS, FLOWS = 10, 100, 16
RATIO_MAX = 1.1


def run(lab):
    shapes = {"flows": (TARGETS, FLOWS), "targets": (TARGETS * FLOWS, 1)}
    cost, rate = {name: [] for name in shapes}, {name: [] for name in shapes}
    for turn in range(ROUNDS):
        for name, (count, flows) in shapes.items():
            label = f"{name}_{turn}"
            server = far(lab, label + "_far", 600)
            probed = targets(count, INTERVAL_MS, type="udp", flows=flows)
            daemon = lab.ours(label, near(600, probed), preexec_fn=limit(FILES))
            # By then every flow speaks the native wire, which takes two probes.
            pause(3)
            before_ns, before = cpu_ns((daemon, server)), counters()[2]
            pause(SECONDS)
            probes = (counters()[2] - before) / 2
            cost[name].append((cpu_ns((daemon, server)) - before_ns) / probes / 1e3)
            rate[name].append(probes / SECONDS)
            for end in (daemon, server):
                end.kill()
    for name, (count, flows) in shapes.items():
        us, a_second = statistics.median(cost[name]), statistics.median(rate[name])
        lab.note(f"{count} targets x {flows} flows: {us:.2f} us a probe at {a_second:.0f} a second")
    ratios = [one / other for one, other in zip(cost["flows"], cost["targets"])]
    ratio = statistics.median(ratios)
    lab.note(f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if os.environ.get("LM_COST_BOUNDS") == "1":
        expect(ratio <= RATIO_MAX, f"a probe of several flows costs {ratio:.2f} times one of a target")
