"""Makes ours and the Python program each other's targets: all five metrics on both sides, tags intact, nothing zero,
nothing negative.
"""

from lab import ALL_METRICS, at_least, collect, expect, points, values
from processors import Witness

# The sequence on the wire ends at 100 and begins anew.
SAMPLES = 110
INTERVAL_MS = 100
TAGS = ["isp:o'neil", 'say:"hi"', "both:'\"", "path:a\\b", "city:Zürich", "plain"]

# The keys of our target, and the Python program's settings. Without its size the Python program's TCP end drops
# messages that a stall has glued together, so there the probes are far apart.
VARIANTS = {
    "plain": ({}, {}),
    "padded": ({"size": 1470}, {}),
    "large": ({"size": 9000}, {"max_size": 9000}),
    "fast": ({"size": 1470, "interval": 10}, {}),
}


# What the Python program publishes for a packet is at most this much later than a stop of its process.
AFTER_NS = 1_000_000_000


def run(lab):
    witness = Witness(lab)
    for number, (variant, (ours_extra, python_extra)) in enumerate(VARIANTS.items()):
        exchange(lab, witness, variant, 17100 + 10 * number, ours_extra, python_extra)
    lab.note(f"{len(VARIANTS)} variants, {SAMPLES} samples of each of {len(ALL_METRICS)} metrics a side")


def exchange(lab, witness, variant, port, ours_extra, python_extra):
    ours = lab.ours(
        f"{variant}-ours",
        {
            "name": "new",
            "tcp_port": port,
            "udp_port": port + 1,
            "interval": INTERVAL_MS,
            "max_size": 65535,
            "targets": [
                {
                    "host": "127.0.0.1",
                    "label": "python",
                    "tags": TAGS,
                    "tcp_port": port + 2,
                    "udp_port": port + 3,
                    **ours_extra,
                }
            ],
        },
    )
    python = lab.python(
        f"{variant}-python",
        {
            "name": "old",
            "tcp_port": port + 2,
            "udp_port": port + 3,
            "interval": 50,
            **python_extra,
            "targets": [
                {"host": "127.0.0.1", "label": "rust", "tags": TAGS, "tcp_port": port, "udp_port": port + 1}
            ],
        },
    )
    # Who receives a packet publishes its one-way delay, under the sender's name and tags.
    by_ours = {"rtt": ["source:new", "target:python"], "owd": ["source:old", "target:new"]}
    by_python = {"rtt": ["source:old", "target:rust"], "owd": ["source:new", "target:old"]}
    for daemon, names in ((ours, by_ours), (python, by_python)):
        records = collect(daemon, at_least(SAMPLES, ALL_METRICS), f"{SAMPLES} of each metric")
        for metric in ALL_METRICS:
            found = values(records, metric)
            if variant == "fast" and daemon is python and metric == "udp.wan.owd":
                # The Python program handles each datagram on a thread of its own. After a stall of its process the
                # threads overtake each other; it takes that for a loss and publishes a 0. Its own probes never arrive
                # two at a time.
                lab.note(f"{found.count(0)} zeros of {len(found)} by the Python program's threads")
                found = [value for value in found if value != 0]
            elif daemon is python and metric.endswith("owd"):
                # A long stop does the same to slower probes. Messages of TCP that it has glued together are none for
                # the Python program, and the next one then follows a gap.
                found = [value for at, value in points(records, metric) if value != 0 or not stopped(witness, at)]
            wrong = [value for value in found if value <= 0]
            expect(not wrong, f"{variant}, {daemon.label}: {metric} has values {wrong[:5]} of {len(found)}")
            wanted = names["owd" if metric.endswith("owd") else "rtt"] + TAGS
            tags = {tuple(record["tags"]) for record in records if record.get("metric", "") == metric}
            # Ours also publishes counts; the Python program has nothing else under these names.
            expect(tags == {tuple(wanted)}, f"{variant}, {daemon.label}: {metric} under {tags}, not {wanted}")
    code, _ = ours.end()
    expect(code == 0, f"ours ended with {code}")
    expect("panicked" not in ours.log(), ours.log()[-500:])
    python.kill()


def stopped(witness, at):
    """True if a processor was away soon before for so long at once that two probes may have waited for the program."""
    return witness.longest_away_ns(at - AFTER_NS, at) >= INTERVAL_MS * 500_000
