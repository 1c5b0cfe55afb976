"""Takes a short turn of the comparison `peers`, with ours and the programs that Debian has.

Writes nothing down. Asks only that the probes of each program are found on the link, and that the tables are regular.
"""

import peers
import programs
from lab import expect

SECONDS = 2


def run(lab):
    wanted = [programs.Ours, programs.OursTcp, programs.Irtt, programs.Sockperf]
    results, failures = peers.take_turns(lab, wanted, *lab.ends(), 1, SECONDS)
    rows = [peers.summed_up(one, results[one], failures[one]) for one in wanted]
    for program, one in zip(wanted, rows):
        expect(one.completed, f"{program.name}: {one.why}")
        lab.note(f"{program.name} {one.completed}, error p50 {one.error[0]} us")
    # Every row of a table has as many cells as its head.
    for make in (peers.short, peers.delays, peers.errors, peers.cost):
        lines = make(rows)
        expect(len({line.count("|") for line in lines}) == 1, f"a crooked table: {lines}")
