#!/usr/bin/env python3
"""Processor time and memory of ours beside the Python program's, in one run: the same two namespaces,
one target at 1 ms, every kind of probe, both ends.

Prints a Markdown table. LM_SECONDS is how long each is measured, LM_ROUNDS how often, taking turns.
Memory is the proportional set size, so that what the Python program's processes share counts once.
"""

import os
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import ROOT, Lab, collect, pause, values  # noqa: E402

SECONDS = float(os.environ.get("LM_SECONDS", "20"))
ROUNDS = int(os.environ.get("LM_ROUNDS", "3"))
WARM_UP_S = 5
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
CPU_RATIO_MAX = 1 / 5
MEMORY_RATIO_MAX = 1 / 4


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def cpu_s(pid):
    """Processor time of a tree, in user space and kernel; that of children that have ended, too."""
    total = 0
    for process in tree(pid):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(ticks) for ticks in fields[11:15])
    return total * TICK_S


def memory_kib(pid):
    total = 0
    for process in tree(pid):
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def measure(lab, start):
    """Processor time per completed probe of both ends together, the probes, and their memory."""
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, ["192.0.2.1/24"], ["192.0.2.2/24"])
    target = {"host": "192.0.2.2", "label": "far", "interval": 1, "size": 1470}
    ports = {"tcp_port": 8000, "udp_port": 8001}
    server = start("server", {"name": "far", **ports}, namespace=far)
    client = start("client", {"name": "near", **ports, "targets": [target]}, namespace=near)
    collect(client, lambda records: all(values(records, kind) for kind in KINDS), "samples")
    pause(WARM_UP_S)
    client.records()
    before = cpu_s(server.pid) + cpu_s(client.pid)
    pause(SECONDS)
    used = cpu_s(server.pid) + cpu_s(client.pid) - before
    records = client.records()
    memory = memory_kib(server.pid) + memory_kib(client.pid)
    # The Python program publishes a loss as 0.
    counts = [sum(1 for value in values(records, kind) if value > 0) for kind in KINDS]
    return used / sum(counts) * 1e6, [count / SECONDS for count in counts], memory


def main():
    binary = pathlib.Path(os.environ.get("LM_BIN", ROOT / "target/release/latency-monitor"))
    results = {"ours": [], "python": []}
    for number in range(ROUNDS):
        for name, found in results.items():
            lab = Lab(f"compare-{name}-{number}", binary)
            with lab.cleanup:
                found.append(measure(lab, lab.ours if name == "ours" else lab.python))
    medians = {}
    print("| program | CPU us per completed probe | probes a second (UDP, TCP, connects) | memory, both ends, MiB |")
    print("| --- | --- | --- | --- |")
    for name, found in results.items():
        cpu, memory = (statistics.median(column) for column in (list(zip(*found))[0], list(zip(*found))[2]))
        rates = [statistics.median(rates) for rates in zip(*(rates for _, rates, _ in found))]
        medians[name] = cpu, memory
        shown = ", ".join(f"{rate:.0f}" for rate in rates)
        spread = " ".join(f"{one[0]:.1f}" for one in found)
        print(f"| {name} | {cpu:.1f} (of {spread}) | {shown} | {memory / 1024:.1f} |")
    cpu = medians["ours"][0] / medians["python"][0]
    memory = medians["ours"][1] / medians["python"][1]
    print(f"| ratio | {cpu:.3f} (1/{1 / cpu:.1f}) | | {memory:.3f} (1/{1 / memory:.1f}) |")
    sys.exit(0 if cpu <= CPU_RATIO_MAX and memory <= MEMORY_RATIO_MAX else 1)


main()
