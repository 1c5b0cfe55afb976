#!/usr/bin/env python3
"""What ours and others report beside what was on the link: UDP round trips, a probe a millisecond between two
namespaces, captures at both ends of the link. Prints a Markdown table; a tool that is not there is said to be.

    tests/net/truth_compare.py              with what is installed
    tests/net/truth_compare.py --install    tries to install irtt (Debian) and stamp-suite (crates.io, with the
                                            kernel's stamps) first; the Python program comes with the labs

LM_TRUTH_SECONDS is how long each measures. Not a test: nothing is held against anybody.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import truth  # noqa: E402
from capture import Capture, end_captures, join  # noqa: E402
from lab import (  # noqa: E402
    PYTHON_DAEMON,
    ROOT,
    Failed,
    Lab,
    clean_up_on_signals,
    collect,
    expect,
    pause,
    run as command,
    values,
)
from programs import (  # noqa: E402
    INTERVAL_MS,
    STAMP_SUITE,
    exchanges,
    install_crate,
    install_packages,
    listens,
)
from truth import FAR, NEAR, SECONDS, microseconds, percentile, row  # noqa: E402

HEAD = "| program | probes/s | link p50 | p99 | reported p50 | p99 | error p50 | p99 |"
FOOT = """(UDP unless it says TCP; us; error: of what is reported from what was on the link. A capture's transmit
stamps run about 1 us ahead of the driver's, and two of them are in it.)"""


def spaces(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, [f"{NEAR}/24"], [f"{FAR}/24"])
    return near, far


def inside(namespace, *words):
    """A foreign prober's run; gives what it wrote."""
    done = subprocess.run(["ip", "netns", "exec", namespace, *map(str, words)], capture_output=True, text=True)
    expect(done.returncode == 0, f"{words[0]}: {done.stderr.strip()[-500:]}")
    return done


def ours(lab):
    measured = truth.measure(lab, *spaces(lab), "idle")
    for protocol, where in truth.PROTOCOLS.items():
        samples = truth.published(measured.records, protocol, truth.DELAYS["rtt"])
        reported = {number: value for number, (value, _) in samples.items()}
        stamped = sum(stamp == "kernel" for _, stamp in samples.values())
        label = f"ours, {protocol.upper()} ({stamped / max(1, len(samples)):.1%} kernel stamps)"
        print_row(label, join(*measured.captures, *where), reported)


def irtt(lab):
    expect(shutil.which("irtt"), "irtt is not installed (apt-get install irtt)")
    near, far = spaces(lab)
    captures = [Capture(lab, label, space) for label, space in (("near", near), ("far", far))]
    lab.start("server", ["irtt", "server", "-i", "0", "-b", f"{FAR}:2112"], namespace=far)
    listens(far, 2112)
    out = lab.folder / "irtt.json"
    flags = ["-i", f"{INTERVAL_MS}ms", "-d", f"{SECONDS}s", "--wait=1s", "-Q", "-o", out]
    inside(near, "irtt", "client", *flags, FAR)
    end_captures(captures, near, FAR)
    trips = json.loads(out.read_text())["round_trips"]
    reported = {trip["seqno"]: trip["delay"]["rtt"] for trip in trips if "rtt" in trip.get("delay", {})}
    version = command("irtt", "version").split()[2]
    print_row(f"irtt {version}", exchanges([capture.path for capture in captures], 2112, "irtt"), reported)


def stamp_suite(lab):
    expect(STAMP_SUITE.exists(), "stamp-suite is not installed (cargo install stamp-suite)")
    near, far = spaces(lab)
    captures = [Capture(lab, label, space) for label, space in (("near", near), ("far", far))]
    lab.start("reflector", [STAMP_SUITE, "-i", "-S", FAR, "-o", "862"], namespace=far)
    listens(far, 862)
    flags = ["-d", INTERVAL_MS, "-c", int(SECONDS * 1000 / INTERVAL_MS), "-L", 1, "-R", "--output-format", "json"]
    done = inside(near, STAMP_SUITE, "-r", FAR, "-p", 862, *flags)
    end_captures(captures, near, FAR)
    # It prints microseconds.
    lines = re.findall(r"^seq=(\d+) rtt=([0-9.]+)ms", done.stderr, re.MULTILINE)
    reported = {int(seq): round(float(rtt) * 1e6) for seq, rtt in lines}
    version = command(str(STAMP_SUITE), "--version").split()[-1]
    print_row(f"stamp-suite {version}", exchanges([capture.path for capture in captures], 862, "stamp"), reported)


def python(lab):
    expect(PYTHON_DAEMON.exists(), "the Python program is not installed (tests/net/run --install-only)")
    near, far = spaces(lab)
    captures = [Capture(lab, label, space) for label, space in (("near", near), ("far", far))]
    ports = {"tcp_port": 8000, "udp_port": 8001}
    lab.python("server", {"name": "far", **ports}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "type": "udp"}
    settings = {"name": "near", **ports, "tcp_latency": False, "targets": [target]}
    client = lab.python("client", settings, namespace=near)
    records = collect(client, lambda found: values(found, "udp.wan.rtt"), "samples")
    pause(SECONDS)
    client.kill()
    records += client.records()
    end_captures(captures, near, FAR)
    # One sample for each probe, in their order, without a number. It publishes a loss as 0.
    trips = [record["points"][0][1] for record in records if record.get("metric", "") == "udp.wan.rtt"]
    reported = {number: value for number, value in enumerate(trips) if value > 0}
    print_row("Python latency-monitor 0.1.2", exchanges([capture.path for capture in captures], 8001, "python"), reported)


def print_row(label, found, reported):
    complete = {number: one.rtt() for number, one in found.items() if one.complete() and not one.again}
    outs = [one.request_out for one in found.values() if one.request_out is not None]
    expect(complete and reported, f"{label}: {len(complete)} round trips on the link, {len(reported)} reported")
    rate = (len(outs) - 1) / (max(outs) - min(outs)) * 1e9
    errors = [abs(value - complete[number]) for number, value in reported.items() if number in complete]
    columns = [complete.values(), reported.values(), errors]
    figures = [microseconds(percentile(column, percent)) for column in columns for percent in (50, 99)]
    print(row(label, f"{rate:.0f}", *figures), flush=True)


def install():
    """Tries to; a tool that cannot be had is missing."""
    install_packages()
    install_crate(STAMP_SUITE)


def main():
    parser = argparse.ArgumentParser(description="Compares reported round trips with those on the link.")
    parser.add_argument("--install", action="store_true", help="try to install what is missing")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("run as root: it makes network namespaces")
    if arguments.install:
        install()
    clean_up_on_signals()
    binary = pathlib.Path(os.environ.get("LM_BIN", ROOT / "target/release/latency-monitor")).resolve()
    print(HEAD)
    print("| --- " * (HEAD.count("|") - 1) + "|")
    notes = []
    for program in (ours, irtt, stamp_suite, python):
        lab = Lab(f"truth-{program.__name__}", binary)
        try:
            with lab.cleanup:
                program(lab)
        except Failed as failure:
            notes.append(f"{program.__name__}: {failure}")
    print("\n".join(["", FOOT, *notes]))


main()
