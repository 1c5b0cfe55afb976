"""Draws reports in a browser: of a snapshot that SIGUSR1 asks for, and of what the cli backend printed. Chromium
draws each page in a namespace without a network, and reports no error.
"""

import json
import re
import signal
import subprocess

from lab import GIVE_UP_S, collect, expect, wait_until

PORT = 18700
SAMPLES = 2_000
BROWSER = [
    *["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0"],
]


def run(lab):
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
    for file, titles in ((snapshot, ("Snapshot of UDP", "Snapshot of TCP")), (printed, ("udp.wan.rtt", "tcp.wan.rtt"))):
        check_page(lab, file, titles)
        check_text(lab, file)


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
    for title in titles:
        expect(title in done.stdout, f"{title!r} is not on the page of {file.name}")
    expect("&lt;far &amp; b&gt;" in done.stdout and "<far" not in done.stdout, "a tag is not escaped")
    lab.note(f"{page.name}: {page.stat().st_size // 1024} KiB, {len(drawn)} plots")


def check_text(lab, file):
    text = report(lab, "--format", "text", file)
    for word in ("count", "p99.9", "target:<far & b>"):
        expect(word in text, f"{word!r} is not in the text of {file.name}: {text[:500]}")
