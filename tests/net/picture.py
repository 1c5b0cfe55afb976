"""Takes the picture in README.md: a real burst as `latency-monitor report` draws it. Runs only when it is named.

Cross traffic of 150 Mbit/s meets a link of 100 Mbit/s for BURST_MS. The router's queue holds QUEUE_PACKETS packets, and drops
what comes while it is full. The daemon probes through it, finds the burst and dumps its probes. The first plot of the dump's
page becomes docs/burst.svg, with a background of its own, and the burst's event is printed.
"""

import json
import re
import sys

import burst
from lab import ROOT, collect, expect, run as command

PLOT = ROOT / "docs" / "burst.svg"
INTERVAL_MS = 0.25
BURST_MS, BLAST_MBIT = 35, 150
QUEUE_PACKETS = 80
MARGIN_MS = 30
LEARNED_S = 8
# A busy host would interrupt the cross traffic and the prober: both are real-time programs here.
PRIORITY = 20
# Sends at a steady rate: what is due by now leaves at once.
BLAST = """
import os, socket, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({priority}))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < {seconds}:
    while sent < now * {rate}:
        out.sendto(bytes({size}), ("{far}", 9))
        sent += 1
"""
# The points that a mouse finds on the page are of no use in a picture.
SPOTS = re.compile(r'<circle class="spot".*?</circle>', re.DOTALL)


def run(lab):
    near, router, far = burst.path(lab)
    command("tc", "-n", router, "qdisc", "add", "dev", "lm1", "parent", "1:", "pfifo", "limit", str(QUEUE_PACKETS))
    metrics = {"mode": "windows", "send_interval": 1}
    lab.ours("far", {"name": "fra", "metrics": metrics}, namespace=far)
    dumps = lab.folder / "dumps"
    target = {"host": burst.FAR, "label": "fra", "type": "udp", "interval": INTERVAL_MS, "tcp_latency": False}
    kept = {"dump_dir": str(dumps), "pre_ms": MARGIN_MS, "post_ms": MARGIN_MS}
    settings = {"name": "ams", "metrics": metrics, "burst": kept, "targets": [target]}
    settings["engine"] = {"realtime": PRIORITY}
    client = lab.ours("near", settings, namespace=near)
    collect(client, lambda found: len(burst.counted(found)) >= LEARNED_S, "windows")
    rate = BLAST_MBIT * 1e6 / 8 / burst.ON_LINK_BYTES
    code = BLAST.format(seconds=BURST_MS / 1e3, rate=rate, size=burst.PACKET_BYTES, far=burst.FAR, priority=PRIORITY)
    command("ip", "netns", "exec", near, sys.executable, "-c", code)
    of_ours = lambda one: one.get("event") == "burst" and one["duration"] > BURST_MS * 1e6 / 2
    records = collect(client, lambda found: any(map(of_ours, found)), "the burst")
    (event,) = filter(of_ours, records)
    code, _ = client.end()
    expect(code == 0, f"the daemon ended with {code}: {client.log()[-500:]}")
    (dump,) = (one for one in dumps.glob("*.jsonl") if f'"start": {event["start"]}' in one.read_text())
    page = lab.folder / "burst.html"
    command(str(lab.binary), "report", str(dump), "-o", str(page))
    plot = re.search(r"<svg.*?</svg>", page.read_text(), re.DOTALL)
    expect(plot, f"no plot on {page}")
    style = "<style>svg { background: #fff } text { font-family: sans-serif }</style>"
    PLOT.write_text(re.sub(r"(<svg[^>]*>)", rf"\1{style}", SPOTS.sub("", plot[0]), count=1) + "\n")
    print(json.dumps(event))
    lab.note(f"{PLOT.name}: {PLOT.stat().st_size // 1024} KiB")
