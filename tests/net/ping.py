"""`latency-monitor ping` against all that it may meet: one of ours, over UDP and TCP, the Python program, stamp-suite's
reflector, a TWAMP-Light responder, a closed port, an address behind a router that says so, one that is silent, and a name with two families.
The right words and exit codes are held against `EXPECTED`. What it shows of one of ours is held against a daemon's
windows beside it and against a capture. Ctrl-\\ and Ctrl-C do what they do in every other ping.
"""

import json
import os
import re
import signal
import subprocess
import sys

import stamp
from capture import UDP, Capture, Exchange, end_captures, messages
from lab import FAR, NEAR, collect, expect, run as command, sockets, wait_until
from programs import STAMP_SUITE

NEAR6, FAR6 = "2001:db8::1", "2001:db8::2"
SILENT, REJECTED = "198.51.100.9", "203.0.113.9"
NAME = "two.example"
PROBES = 200
EVERY = "2ms"
# Nobody's stall makes a probe late.
PATIENT = ["-W", "30"]
# Text and native probes of this run go to other ports than those of the daemon.
OURS, PYTHON, TWAMP, SUITE = 8001, 8201, 862, 8620

# Words that must stand in what is shown, by case: the snapshot of this lab.
EXPECTED = {
    "ours": (0, ["native wire ---", "200 sent, 200 answered, 0 lost (0 %)", "forward ipdv", "reverse ipdv"]),
    "tcp": (0, ["TCP port 8000", "native wire ---", "20 sent, 20 answered, 0 lost (0 %)"]),
    "connect": (0, ["connects ---", "5 sent, 5 answered, 0 lost (0 %)"]),
    "python": (0, ["text wire ---", "5 sent, 5 answered", "The other end speaks text, as the Python program does."]),
    "stamp": (0, ["STAMP ---", "20 sent, 20 answered", "forward", "reverse"]),
    "stamp-suite": (0, ["STAMP ---", "20 sent, 20 answered, 0 lost (0 %)", "forward pdv", "reverse pdv", "process"]),
    "stamp-auto": (
        1,
        ["packets came back that are no answers", "Tried STAMP to UDP port 862: it answers. Use `latency-monitor ping --protocol stamp --udp 862"],
    ),
    "closed": (
        1,
        [
            "3 reported as unreachable (ICMP)",
            f"The host itself says (ICMP): port unreachable. So {FAR} is there, and nothing listens on UDP port 9,",
            "Tried a TCP connect to port 8000: it answers. Use `latency-monitor ping --connect 8000",
        ],
    ),
    "refused": (1, [f"The connection was refused: {FAR} is there, and nothing listens on TCP port 9"]),
    "rejected": (1, [f"The router {FAR} says (ICMP): prohibited. So a filter rejects UDP port 8001."]),
    "silent": (1, [f"Silence: no answer from UDP port 8001 of {SILENT}, and no ICMP error.", "Tried STAMP to UDP port 862: no answer."]),
    "two": (0, [f"PING {NAME} ({FAR6}), UDP port 8001", f"; the name also leads to {FAR}"]),
    "two-4": (0, [f"PING {NAME} ({FAR}), UDP port 8001", f"; the name also leads to {FAR6}"]),
    "no-name": (2, ["cannot find the address of nowhere.invalid"]),
    "wrong": (2, ["cannot be used with"]),
    "plugin": (0, ["PING OK - ", " | rtt.p99="]),
    "plugin-silent": (2, ["PING CRITICAL - ", "no answer to"]),
}


class Pings:
    """Runs pings in one namespace."""

    def __init__(self, lab, namespace):
        self.lab, self.namespace, self.said = lab, namespace, set()
        # A name with two families, for this namespace alone.
        hosts = f"127.0.0.1 localhost\n{FAR6} {NAME}\n{FAR} {NAME}\n"
        folder = f"/etc/netns/{namespace}"
        os.makedirs(folder)
        lab.cleanup.callback(lambda: (os.remove(f"{folder}/hosts"), os.rmdir(folder)))
        with open(f"{folder}/hosts", "w") as file:
            file.write(hosts)

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.namespace, str(self.lab.binary), "ping", *[str(word) for word in arguments]]

    def expect(self, case, *arguments):
        """Runs a ping to its end; returns what it shows."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        shown = done.stdout + done.stderr
        (self.lab.folder / f"{case}.out").write_text(shown)
        code, words = EXPECTED[case]
        expect(done.returncode == code, f"{case}: ended with {done.returncode}, not {code}: {shown[-1500:]}")
        for part in words:
            expect(part in shown, f"{case}: does not say {part!r}: {shown[-1500:]}")
        expect("panicked" not in shown, f"{case}: {shown}")
        self.said.add(case)
        return done.stdout


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, [f"{NEAR}/24", f"{NEAR6}/64"], [f"{FAR}/24", f"{FAR6}/64"])
    for at in (SILENT, REJECTED):
        command("ip", "-n", near, "route", "add", f"{at}/32", "via", FAR)
    nft = ["ip", "netns", "exec", far, "nft"]
    for rule in ("add table inet lmtest", "add chain inet lmtest through { type filter hook forward priority 0; }",
                 f"add rule inet lmtest through ip daddr {SILENT} drop",
                 f"add rule inet lmtest through ip daddr {REJECTED} reject with icmp admin-prohibited"):
        command(*nft, rule)
    # For the router to have somewhere to send them, and to be one.
    command("ip", "netns", "exec", far, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    for at in (SILENT, REJECTED):
        command("ip", "-n", far, "route", "add", f"{at}/32", "dev", "lo")
    pings = Pings(lab, near)
    metrics = {"mode": "samples", "send_interval": 0.5, "metrics": ["udp.wan.owd"]}
    server = lab.ours("server", {"name": "far", "address": ["0.0.0.0", "::"], "metrics": metrics}, namespace=far)
    if STAMP_SUITE.exists():
        # A reflector of STAMP that others have made, on a port of its own beside TWAMP Light's.
        suite = [STAMP_SUITE, "-i", "--local-addr", FAR, "--local-port", SUITE, "--stateful-reflector"]
        lab.start("stamp-suite", [str(word) for word in suite], namespace=far)
        wait_until(lambda: f":{SUITE} " in sockets("-Hlnu", far), "stamp-suite to listen")
    lab.start("twamp", [sys.executable, "-B", stamp.TWAMP_LIGHT, "respond", TWAMP], namespace=far)
    lab.python("python", {"name": "old", "udp_port": PYTHON, "tcp_port": PYTHON + 1}, namespace=far)
    beside(lab, pings, near)
    on_link(lab, pings, near, far, server)
    kinds(pings)
    nobody(pings)
    signals(lab, pings)
    lab.note(f"{len(pings.said)} cases say what they should")


def beside(lab, pings, near):
    """Has a daemon measure beside a ping."""
    target = {"host": FAR, "label": "far", "type": "udp", "interval": 2, "protocol": "native", "timeout": 30, "tcp_latency": False}
    daemon = lab.ours("daemon", {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.2}, "targets": [target]}, namespace=near)
    collect(daemon, lambda found: any(record.get("metric") == "udp.wan.rtt" for record in found), "round trips")
    text = pings.expect("ours", "-c", PROBES, "-i", EVERY, *PATIENT, FAR)
    expect(re.search(r"^rtt +[\d.]+ \w+ ", text, re.M), text)
    done = subprocess.run(pings.command("-c", PROBES, "-i", EVERY, *PATIENT, "--json", FAR), capture_output=True, text=True, timeout=60)
    summary = json.loads(done.stdout.splitlines()[-1])
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}")
    windows = [record for record in daemon.records() if record.get("metric") == "udp.wan.rtt" and "p50" in record]
    least, theirs = summary["rtt"]["min"], min(record["min"] for record in windows)
    lab.note(f"least round trip {least} ns, the daemon's beside it {theirs} ns")


def on_link(lab, pings, near, far, server):
    """Holds every delay against the captures of both ends of the link, and against what the other end publishes."""
    captures = [Capture(lab, f"link-{label}", namespace) for label, namespace in (("near", near), ("far", far))]
    server.records()
    command = pings.command("-c", PROBES, "-i", EVERY, *PATIENT, "--raw", "--json", "-v", FAR)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    end_captures(captures, near, FAR)
    (lab.folder / "link.json").write_text(done.stdout)
    expect(done.returncode == 0, f"JSON: {done.returncode}: {done.stderr}")
    *probes, summary = [json.loads(line) for line in done.stdout.splitlines()]
    probes = [probe for probe in probes if probe["line"] == "probe"]
    expect(summary["sent"] == summary["received"] == len(probes) == PROBES, f"{len(probes)} probes: {summary}")
    for part in ("rtt", "forward", "reverse"):
        shown = sorted(probe[part] for probe in probes)
        expect(summary[part]["count"] == PROBES, f"{part}: {summary[part]}")
        expect([summary[part]["min"], summary[part]["max"]] == [shown[0], shown[-1]], f"{part}: {summary[part]}")
    exchanges = native_exchanges(captures)
    expect(len(exchanges) == PROBES, f"{len(exchanges)} native exchanges on the link")
    stamped = [probe for probe in probes if probe["stamp"] == "kernel"]
    for probe in stamped:
        # The kernel stamps a departure behind the capture, and an arrival where the capture does: nothing is below
        # zero, or over what the link shows. Both namespaces have one clock.
        on_wire = exchanges[probe["seq"]]
        for part, most in (("forward", on_wire.forward()), ("reverse", on_wire.reverse())):
            expect(0 <= probe[part] <= most, f"{part} of {probe}, on the link {most}")
        expect(probe["forward"] + probe["reverse"] == probe["rtt"], f"not the sum of its directions: {probe}")
    expect(len(stamped) > PROBES // 2, f"{len(stamped)} of {PROBES} probes have kernel stamps alone")
    theirs = {}

    def published():
        for record in server.records():
            if record.get("metric") == "udp.wan.owd" and "points" in record:
                theirs[record["seq"]] = record["points"][0][1]
        # The last ones wait for the time at which their probes left, which nobody tells any more.
        return len(theirs) >= PROBES - 4

    wait_until(published, "the other end to publish as many delays")
    same = sum(theirs.get(probe["seq"]) == probe["forward"] for probe in stamped)
    lab.note(f"of {len(stamped)} forward delays between kernel stamps {same} are published by the other end as they are shown")
    expect(same > len(stamped) * 9 // 10, "the two ends publish different delays")


def native_exchanges(captures):
    """Returns the exchanges of the one native session by their number. A text probe went ahead."""
    found = {}
    for capture, outgoing, incoming in zip(captures, ("request_out", "reply_out"), ("reply_in", "request_in")):
        is_near = outgoing == "request_out"
        requests, replies = messages(capture.path, UDP, OURS)
        for message in requests:
            if message.native:
                setattr(found.setdefault(message.number, Exchange()), outgoing if is_near else incoming, message.at)
        for message in replies:
            if message.native:
                setattr(found.setdefault(message.number, Exchange()), incoming if is_near else outgoing, message.at)
    return {number: exchange for number, exchange in found.items() if exchange.complete()}


def kinds(pings):
    pings.expect("tcp", "--tcp", 8000, "-c", 20, "-i", EVERY, *PATIENT, FAR)
    pings.expect("connect", "--connect", 8000, "-c", 5, "-i", "10ms", *PATIENT, FAR)
    pings.expect("python", "--udp", PYTHON, "-c", 5, "-i", "50ms", *PATIENT, FAR)
    pings.expect("stamp", "--protocol", "stamp", "-c", 20, "-i", EVERY, *PATIENT, FAR)
    if STAMP_SUITE.exists():
        pings.expect("stamp-suite", "--protocol", "stamp", "--udp", SUITE, "-c", 20, "-i", "20ms", *PATIENT, FAR)
    else:
        pings.lab.note("stamp-suite is not installed")
    pings.expect("stamp-auto", "--udp", TWAMP, "-c", 3, "-i", "50ms", "-W", "0.5", FAR)
    pings.expect("two", "-c", 3, "-i", "10ms", *PATIENT, NAME)
    pings.expect("two-4", "-4", "-c", 3, "-i", "10ms", *PATIENT, NAME)
    line = pings.expect("plugin", "--thresholds", "rtt.p99=20s,30s", "--thresholds", "loss=50%,100%", *PATIENT, FAR)
    expect(len(line.splitlines()) == 1, f"a plugin says more than one line: {line}")


def nobody(pings):
    pings.expect("closed", "--udp", 9, "-c", 3, "-i", "50ms", "-W", "0.3", FAR)
    pings.expect("refused", "--tcp", 9, "-c", 3, "-i", "50ms", "-W", "0.3", FAR)
    pings.expect("rejected", "-c", 3, "-i", "50ms", "-W", "0.3", REJECTED)
    pings.expect("silent", "-c", 3, "-i", "50ms", "-W", "0.3", SILENT)
    pings.expect("no-name", "nowhere.invalid")
    pings.expect("wrong", "--udp", 1, "--tcp", 2, FAR)
    pings.expect("plugin-silent", "--thresholds", "rtt=1,2", "-c", 3, "-i", "50ms", "-W", "0.3", SILENT)


def signals(lab, pings):
    """SIGQUIT prints the summary so far and goes on, SIGINT the last one."""
    daemon = lab.start("signals", pings.command("-v", "-i", "20ms", FAR))
    shown = lambda: daemon.out_path.read_text()
    wait_until(lambda: "seq 5 " in shown(), "five probes")
    daemon.send(signal.SIGQUIT)
    wait_until(lambda: "--- " in shown() and "seq " in shown().rpartition("--- ")[2], "a summary, and probes after it")
    code, _ = daemon.end(signal.SIGINT)
    expect(code == 0, f"ended with {code}")
    expect(shown().count(f"--- {FAR}, UDP port {OURS}") == 2, shown())
