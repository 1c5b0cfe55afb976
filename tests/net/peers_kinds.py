"""Compares our processor time and memory with the Python program's: every kind of probe to one target at 1 ms.

Both ends count, samples are printed, and the programs take turns. This is a part of the comparison `peers`, which writes
the table down. It fails if a probe of ours takes more than CPU_RATIO_MAX of the Python program's processor time, or our
two ends more than MEMORY_RATIO_MAX of its memory.
"""

import math
import statistics
import time
from typing import NamedTuple

import programs
from lab import FAR, Lab, collect, cpu_s, expect, pause, proportional_mib, values
from truth import row

KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
WARM_UP_S = 5
CPU_RATIO_MAX = 1 / 5
MEMORY_RATIO_MAX = 1 / 4
PORTS = {"tcp_port": 8000, "udp_port": 8001}
HEAD = ["both ends", "CPU us a probe", "completed a second: UDP, TCP, connects", "memory, MiB (PSS)"]


class Measured(NamedTuple):
    """One program in one round, both ends together."""

    cpu_us: float
    rates: list
    memory_mib: float


def completed(records, kind, began_ns, ended_ns):
    """Counts the probes that were answered between two instants. The Python program publishes a loss as 0."""
    points = [record["points"][0] for record in records if record.get("metric", "") == kind]
    return sum(began_ns <= at < ended_ns and value > 0 for at, value in points)


def measure(lab, start, seconds):
    """Lets a program measure for so many seconds."""
    near, far = lab.ends("kinds-")
    # The Python program pads to this size by itself.
    target = {"host": FAR, "label": "far", "interval": programs.INTERVAL_MS, "size": 1470}
    server = start("server", {"name": "far", **PORTS}, namespace=far)
    client = start("client", {"name": "near", **PORTS, "targets": [target]}, namespace=near)
    ends = (server, client)
    collect(client, lambda records: all(values(records, kind) for kind in KINDS), "samples")
    pause(WARM_UP_S)
    before_s, began_ns = cpu_s(ends), time.time_ns()
    pause(seconds)
    used_s, ended_ns = cpu_s(ends) - before_s, time.time_ns()
    memory_mib = sum(map(proportional_mib, ends))
    # A sample of a later instant is printed after all samples of the measured time.
    later = lambda found: all(completed(found, kind, ended_ns, math.inf) for kind in KINDS)
    records = collect(client, later, "later samples")
    rates = [completed(records, kind, began_ns, ended_ns) / (ended_ns - began_ns) * 1e9 for kind in KINDS]
    share = used_s / (ended_ns - began_ns) * 1e9
    return Measured(share / sum(rates) * 1e6, rates, memory_mib)


def take_turns(lab, rounds, seconds):
    """Measures both programs in turns; returns their rounds by name."""
    results = {programs.Ours.name: [], programs.Python.name: []}
    for number in range(rounds):
        for name, found in results.items():
            # A lab of its own: what it starts is gone before the other program's turn.
            turn = Lab(f"{lab.name}-kinds-{len(found)}-{name.split()[0].lower()}", lab.binary)
            with turn.cleanup:
                found.append(measure(turn, turn.ours if name == programs.Ours.name else turn.python, seconds))
            print(f"  round {number + 1} of {rounds}, {name}, every kind: {found[-1].cpu_us:.1f} us a probe", flush=True)
    return results


def median(rounds, field):
    return statistics.median(getattr(one, field) for one in rounds)


def table(results):
    """Makes the table of both programs."""
    lines = [row(*HEAD), "| --- " * len(HEAD) + "|"]
    for name, rounds in results.items():
        rates = ", ".join(f"{statistics.median(kind):.0f}" for kind in zip(*(one.rates for one in rounds)))
        lines.append(row(name, f"{median(rounds, 'cpu_us'):.0f}", rates, f"{median(rounds, 'memory_mib'):.1f}"))
    return lines


def ratios(results):
    """Divides our processor time a probe and our memory by the Python program's."""
    ours, python = results.values()
    return [median(ours, field) / median(python, field) for field in ("cpu_us", "memory_mib")]


def check(results):
    """Fails if ours costs more than its share of the Python program's."""
    cpu, memory = ratios(results)
    expect(cpu <= CPU_RATIO_MAX, f"a probe of ours takes {cpu:.3f} of the Python program's processor time")
    expect(memory <= MEMORY_RATIO_MAX, f"ours takes {memory:.3f} of the Python program's memory")
