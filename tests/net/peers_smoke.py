"""A short turn of the comparison with others (`peers`): ours, and what Debian has. Nothing is written down, and
nothing is held against anybody but that each program's probes are found on the link."""

import peers
import programs
from lab import expect

SECONDS = 2


def run(lab):
    wanted = [programs.Ours, programs.Irtt, programs.Sockperf]
    results, failures = peers.take_turns(lab, wanted, *peers.link(lab), 1, SECONDS)
    rows = [peers.summed_up(one, results[one], failures[one]) for one in wanted]
    for program, one in zip(wanted, rows):
        expect(one.completed, f"{program.name}: {one.why}")
        lab.note(f"{program.name} {one.completed}, error p50 {one.off[0]} us")
    # The tables must hold whatever there is.
    for make in (peers.short, peers.accuracy, peers.cost, peers.settings):
        lines = make(rows)
        expect(len({line.count("|") for line in lines}) == 1, f"a crooked table: {lines}")
