#!/usr/bin/env python3
"""Processor time and memory of ours beside the Python program's, in one run: the same two namespaces,
one target at 1 ms, every kind of probe, samples printed, both ends counted.

Prints a Markdown table; fails if ours takes more than a fifth of the processor time of a probe, or a
quarter of the memory. LM_SECONDS is how long each is measured, LM_ROUNDS how often, in turns. Memory is
the proportional set size: what the Python program's processes share is not counted twice.
"""

import math
import os
import pathlib
import statistics
import sys
import time
from typing import NamedTuple

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import (  # noqa: E402
    PYTHON_DAEMON,
    ROOT,
    Lab,
    clean_up_on_signals,
    collect,
    cpu_s,
    pause,
    processes,
    values,
)

SECONDS = float(os.environ.get("LM_SECONDS", "20"))
ROUNDS = int(os.environ.get("LM_ROUNDS", "3"))
WARM_UP_S = 5
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
CPU_RATIO_MAX = 1 / 5
MEMORY_RATIO_MAX = 1 / 4


class Measured(NamedTuple):
    """One round of one program, both ends together."""

    cpu_us_per_probe: float
    cpu_percent: float
    rates: list
    memory_mib: float


def memory_mib(daemons):
    kib = 0
    for daemon in daemons:
        for entry in processes(daemon.pid):
            lines = (entry / "smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def measure(lab, start):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, ["192.0.2.1/24"], ["192.0.2.2/24"])
    ports = {"tcp_port": 8000, "udp_port": 8001}
    # What both of them can do: the Python program pads to this size by itself.
    target = {"host": "192.0.2.2", "label": "far", "interval": 1, "size": 1470}
    server = start("server", {"name": "far", **ports}, namespace=far)
    client = start("client", {"name": "near", **ports, "targets": [target]}, namespace=near)
    ends = (server, client)
    collect(client, lambda records: all(values(records, kind) for kind in KINDS), "samples")
    pause(WARM_UP_S)
    before_s, began_ns = cpu_s(ends), time.time_ns()
    pause(SECONDS)
    used_s, ended_ns = cpu_s(ends) - before_s, time.time_ns()
    memory = memory_mib(ends)
    # All that was measured by the end is printed when something later is.
    later = lambda found: all(completed(found, kind, ended_ns, math.inf) for kind in KINDS)
    records = collect(client, later, "later samples")
    rates = [completed(records, kind, began_ns, ended_ns) / (ended_ns - began_ns) * 1e9 for kind in KINDS]
    cpu_share = used_s / (ended_ns - began_ns) * 1e9
    return Measured(cpu_share / sum(rates) * 1e6, cpu_share * 100, rates, memory)


def completed(records, kind, began_ns, ended_ns):
    """Probes that were answered between two instants. The Python program publishes a loss as 0."""
    points = [record["points"][0] for record in records if record.get("metric", "") == kind]
    return sum(began_ns <= at < ended_ns and value > 0 for at, value in points)


def median(rounds, field):
    return statistics.median(getattr(one, field) for one in rounds)


def row(name, rounds):
    rates = ", ".join(f"{statistics.median(kind):.0f}" for kind in zip(*(one.rates for one in rounds)))
    each = " ".join(f"{one.cpu_us_per_probe:.1f}" for one in rounds)
    cpu = f"{median(rounds, 'cpu_us_per_probe'):.1f} (rounds: {each})"
    share, memory = median(rounds, "cpu_percent"), median(rounds, "memory_mib")
    return f"| {name} | {cpu} | {share:.0f} % | {rates} | {memory:.1f} |"


def main():
    if os.geteuid() != 0 or not PYTHON_DAEMON.exists():
        sys.exit("run as root, after tests/net/run --install-only")
    clean_up_on_signals()
    binary = pathlib.Path(os.environ.get("LM_BIN", ROOT / "target/release/latency-monitor")).resolve()
    results = {"ours": [], "Python": []}
    for number in range(ROUNDS):
        for name, rounds in results.items():
            lab = Lab(f"compare-{name.lower()}-{number}", binary)
            with lab.cleanup:
                rounds.append(measure(lab, lab.ours if name == "ours" else lab.python))
    print("| both ends | CPU us per probe | CPU | probes a second (UDP, TCP, connects) | memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for name, rounds in results.items():
        print(row(name, rounds))
    ratios = [
        median(results["ours"], field) / median(results["Python"], field)
        for field in ("cpu_us_per_probe", "memory_mib")
    ]
    cpu, memory = (f"{ratio:.3f} (1/{1 / ratio:.1f})" for ratio in ratios)
    print(f"| ours / Python | {cpu} | | | {memory} |")
    sys.exit(0 if ratios[0] <= CPU_RATIO_MAX and ratios[1] <= MEMORY_RATIO_MAX else 1)


main()
