"""Tells when a hypervisor has taken a processor away: what was measured meanwhile is no fault of what is tested."""

import os
import subprocess
import sys
import time

from lab import expect, pause

# A witness sleeps so long each time. What wakes it is late by a part of a millisecond at any time.
SLEEP_NS, LATE_NS = 1_000_000, 1_500_000

# What is done again since a processor was away is done for so long at most, and as often as this.
AGAIN_S, AGAIN_MAX = 120, 10

# Tells each time for which its processor was away. It is ahead of all that runs there.
WITNESS = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(60))
sleep_ns, late_ns = int(sys.argv[2]), int(sys.argv[3])
before = time.time_ns()
while True:
    time.sleep(sleep_ns / 1e9)
    now = time.time_ns()
    if now - before >= sleep_ns + late_ns:
        print(before + sleep_ns, now, flush=True)
    before = now
"""


class Witness:
    """Knows when each processor was away for more than a millisecond or two."""

    def __init__(self, lab):
        self.files = []
        for cpu in range(os.cpu_count()):
            file = lab.folder / f"witness-{cpu}.out"
            self.files.append(file)
            with open(file, "wb") as out:
                words = [sys.executable, "-c", WITNESS, str(cpu), str(SLEEP_NS), str(LATE_NS)]
                lab.cleanup.callback(subprocess.Popen(words, stdout=out).kill)

    def away_ns(self, began, ended):
        """Returns for how long processors were away in that time, in all."""
        away = (span for file in self.files for span in spans(file))
        return sum(max(0, min(until, ended) - max(since, began)) for since, until in away)

    def any_away_ns(self, began, ended):
        """Returns for how long one processor or more was away in that time."""
        counted, away = began, 0
        for since, until in sorted(span for file in self.files for span in spans(file)):
            away += max(0, min(until, ended) - max(since, counted))
            counted = max(counted, until)
        return away

    def longest_away_ns(self, began, ended):
        """Returns the longest for which a processor was away at once, of what met that time."""
        away = (span for file in self.files for span in spans(file))
        return max((until - since for since, until in away if since <= ended and until >= began), default=0)

    def times(self, count, settle_s, is_alone):
        """Counts up to `count`, past the times that began at an instant that is not alone. `settle_s`: before and after
        each."""
        tried, done, until = 0, 0, time.monotonic() + AGAIN_S
        while done < count:
            began = time.time_ns()
            yield
            pause(settle_s)
            tried, done = tried + 1, done + is_alone(began)
            is_over = time.monotonic() > until and tried >= AGAIN_MAX * count
            expect(done == count or not is_over, f"processors were away in all but {done} of {tried} times")


def spans(file):
    lines = file.read_text().splitlines(keepends=True)
    # The last one may not be whole yet.
    return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
