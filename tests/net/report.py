"""Draws reports in a browser: of a snapshot that SIGUSR1 asks for, and of what the cli backend printed. Chromium
draws each page in a namespace without a network, and reports no error.

First a queue fills in a router between two hosts. The report of both hosts' output says which target, in which
direction, when, and that it was the network; and it counts in `mode = "both"` what the windows alone count.
"""

import calendar
import gzip
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import burst
import suspect
from lab import GIVE_UP_S, collect, expect, pause, run as command, wait_until
from processors import Witness

PORT = 18700
SAMPLES = 2_000
LARGE_BYTES = 200_000_000
LARGE_MIB_MAX = 100
# Runs a command, and tells the most memory that it had. What it was begun from counts as its own, so that is small.
PEAK_KIB = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
BROWSER = [
    *["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0"],
]


def run(lab):
    check_burst(lab)
    dumps = lab.folder / "dumps"
    lab.ours("far", {"name": "far", "tcp_port": PORT, "udp_port": PORT, "metrics": {"mode": "windows"}})
    daemon = lab.ours(
        "near",
        {
            "name": "near",
            "tcp_port": PORT + 1,
            "udp_port": PORT + 1,
            "burst": {"dump_dir": str(dumps)},
            "targets": [{"host": "127.0.0.1", "label": "<far & b>", "interval": 1, "tcp_port": PORT, "udp_port": PORT}],
        },
    )
    enough = lambda records: sum("seq" in record for record in records) >= SAMPLES
    collect(daemon, enough, "samples")
    daemon.send(signal.SIGUSR1)
    wait_until(lambda: list(dumps.glob("lm-snapshot-*.jsonl")), "a snapshot")
    code, _ = daemon.end()
    expect(code == 0, f"it ended with {code}: {daemon.log()[-500:]}")
    (snapshot,) = dumps.glob("lm-snapshot-*.jsonl")
    check_snapshot(lab, snapshot)
    printed = lab.folder / "printed.jsonl"
    printed.write_bytes(daemon.out_path.read_bytes())
    check_large(lab, printed)
    check_script(lab)
    for file, titles in ((snapshot, ("Snapshot of UDP", "Snapshot of TCP")), (printed, ("udp.wan.rtt", "tcp.wan.rtt"))):
        check_page(lab, file, titles)
        check_text(lab, file)


def check_burst(lab):
    """Plants bursts, and holds the report's words against them."""
    near, _, far = burst.path(lab, "verdict-")
    both = {"mode": "both", "send_interval": 1}
    server = lab.ours("verdict-far", {**suspect.settings("far", 0), "metrics": both}, namespace=far)
    more = {"burst": {"threshold_us": suspect.LEAST_NS // 2_000}, "targets": [suspect.target(burst.FAR)]}
    client = lab.ours("verdict-near", {**suspect.settings("near", 1, **more), "metrics": both}, namespace=near)
    records = suspect.learn(client)
    since = time.time_ns()
    suspect.blast(lab, "verdict", near, suspect.planting(Witness(lab), 0.3))
    # Longer than a timeout, so every probe is decided.
    pause(1.5)
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    records = records + client.records()
    files = []
    for daemon in (client, server):
        file = lab.folder / f"{daemon.label}.jsonl.gz"
        file.write_bytes(gzip.compress(daemon.out_path.read_bytes()))
        files.append(file)
    text = report(lab, "--format", "text", *files)
    verdict, _, rest = text.partition("\n\n")
    planted = [r for r in records if r.get("event") == "burst" and r["direction"] == "forward" and r["start"] >= since]
    expect(planted, "the daemon found no burst")
    (line,) = [one for one in verdict.splitlines() if "waited in a queue" in one and "forward (near to far)" in one]
    expect(line.startswith("  - far, as near saw it: udp "), f"not of the target: {line}")
    expect("suspected is the network" in line, f"not the network: {line}")
    worst = max(planted, key=lambda event: event["peak"])
    told = re.search(r"long, at (\d{4}-\S+T[\d:]+)\.(\d{9})Z", line)
    at = calendar.timegm(time.strptime(told[1], "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(told[2])
    expect(abs(at - worst["start"]) < 1e9, f"{at} is not when the worst burst began: {worst}")
    for row in ("udp.wan.owd source:near target:far seen by far", "udp.wan.owd source:far target:near seen by near"):
        expect(row in rest, f"{row!r} is not in {rest[:2_000]}")
    expect(0 < rest.find("udp.wan.rtt") < rest.find("Of the hosts themselves") < rest.find("monitor."), "the order")
    # What the windows alone count is what there was; samples beside them count nothing twice.
    windows = [r for r in records if r.get("metric") == "udp.wan.rtt" and "count" in r]
    alone = lab.folder / "windows.jsonl"
    alone.write_text("".join(json.dumps(window) + "\n" for window in windows))
    counts = [count(report(lab, "--format", "text", file)) for file in (alone, files[0])]
    expect(counts[0] == counts[1], f"windows alone, and beside samples: {counts}")
    lab.note(f"{line.strip()}; {counts[1]} round trips")
    # Cut files show what is there, and say so.
    for file, cut in ((files[0], files[0].read_bytes()[:-2_000]), (alone, alone.read_bytes()[:-100])):
        short = lab.folder / f"cut-{file.name}"
        short.write_bytes(cut)
        words = report(lab, "--format", "text", short)
        told = re.search(f"^\\S*/{re.escape(short.name)}.*(cut off|to its end)", words, re.MULTILINE)
        expect(told and 0 < count(words) <= counts[0], f"of a cut file: {words[-500:]}")


def count(text):
    """Returns how many round trips a report has."""
    (line,) = re.findall(r"^udp\.wan\.rtt .*?  +(\d+) ", text, re.MULTILINE)
    return int(line)


def check_snapshot(lab, snapshot):
    """Checks that both flows are in the snapshot, each with the probes that its first line announces."""
    lines = [json.loads(line) for line in snapshot.read_text().splitlines()]
    flows = {}
    while lines:
        head = lines.pop(0)
        expect(head["dump"] == "snapshot" and head["event"] is None, f"not the line before a flow: {head}")
        probes, lines = lines[: head["probes"]], lines[head["probes"] :]
        expect(all("t1" in probe for probe in probes), f"a probe without T1 in {head}")
        flows[head["flow"]] = len(probes)
    expect(set(flows) == {"udp", "tcp"} and all(flows.values()), f"in the snapshot: {flows}")
    lab.note(f"SIGUSR1: {flows}")


def report(lab, *words):
    done = subprocess.run([lab.binary, "report", *words], capture_output=True, text=True, timeout=GIVE_UP_S)
    expect(done.returncode == 0, f"report {words} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def check_large(lab, printed):
    """A large file is read in one pass: what it needs does not grow with it."""
    lines, file = printed.read_bytes(), lab.folder / "large.jsonl"
    with open(file, "wb") as large:
        for _ in range(LARGE_BYTES // len(lines) + 1):
            large.write(lines)
    found = []
    for one in (printed, file):
        began = time.monotonic()
        words = [lab.binary, "report", one, "-o", lab.folder / f"{one.stem}-alone.html"]
        kib = command(sys.executable, "-c", PEAK_KIB, *map(str, words))
        found.append((time.monotonic() - began, int(kib) / 1024))
    (_, least_mib), (took_s, mib) = found
    lab.note(f"{file.stat().st_size / 1e6:.0f} MB: a report in {took_s:.1f} s and {mib:.0f} MiB, {least_mib:.0f} of a small file")
    expect(mib < LARGE_MIB_MAX, f"the report of {file} took {mib:.0f} MiB")
    file.unlink()


def check_script(lab):
    """Has a JavaScript engine parse the page's script, where the host has one; Chromium runs it below anyway."""
    script = pathlib.Path(__file__).parents[2] / "src/report/page.js"
    if node := shutil.which("node"):
        done = subprocess.run([node, "--check", script], capture_output=True, text=True, timeout=GIVE_UP_S)
        expect(done.returncode == 0, f"{script}: {done.stderr}")


def check_page(lab, file, titles):
    page = lab.folder / f"{file.stem}.html"
    report(lab, file, "-o", page)
    profile = lab.folder / f"{file.stem}-profile"
    words = [*BROWSER, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    # In a namespace of its own a request of the page to the network would fail, and be reported.
    done = subprocess.run(["unshare", "--net", "--", *words], capture_output=True, text=True, timeout=GIVE_UP_S)
    expect(done.returncode == 0, f"the browser ended with {done.returncode}: {done.stderr[-500:]}")
    # The browser has pages of its own, which want a network.
    own = "source: chrome://"
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line and own not in line]
    expect(not complaints, f"the browser complains of {page}: {complaints}")
    plots = re.findall(r"<svg[^>]*>.*?</svg>", done.stdout, re.DOTALL)
    drawn = [plot for plot in plots if "<circle" in plot or "<rect" in plot or "<polyline" in plot]
    expect(len(drawn) >= 4, f"{len(drawn)} plots are drawn of {file.name}")
    # The script has run: it says below each plot what a reader may do.
    expect(done.stdout.count("<output>") == len(plots), "the page's script has not run to its end")
    for title in titles:
        expect(title in done.stdout, f"{title!r} is not on the page of {file.name}")
    expect("&lt;far &amp; b&gt;" in done.stdout and "<far" not in done.stdout, "a tag is not escaped")
    lab.note(f"{page.name}: {page.stat().st_size // 1024} KiB, {len(drawn)} plots")


def check_text(lab, file):
    text = report(lab, "--format", "text", file)
    for word in ("count", "p99.9", "target:<far & b>"):
        expect(word in text, f"{word!r} is not in the text of {file.name}: {text[:500]}")
