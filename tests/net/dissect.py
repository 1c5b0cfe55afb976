"""Lets others read our packets: Scapy every field, with and without a key, Wireshark those that it knows. Our reflector
also answers senders that do not know it: one by the RFC, and stamp-suite's.
"""

import json
import secrets
import subprocess

from capture import HEADER, UDP, Capture, decode_native, end_captures, packets
from lab import FAR, ROOT, VENV, collect, expect, run as command, values
from programs import STAMP_SUITE

PORT = 8001
ENOUGH = 200
FOREIGN_PROBES = 100
# The format of its times, and the session.
SSIDS = {"NTP": 77, "PTP": 78}
LAYERS = ROOT / "tests" / "net" / "stamp_layers.py"
# Wireshark knows STAMP as TWAMP's test packet, which is the same as far as it goes. The sender's time in a reply is
# left out: Wireshark takes it for NTP's whatever its Error Estimate says.
TSHARK_FIELDS = [
    "udp.srcport",
    "twamp.test.seq_number",
    "twamp.test.error_estimate.z",
    "twamp.test.sender_seq_number",
    "twamp.test.sender_ttl",
    "twamp.test.timestamp",
    "twamp.test.receive_timestamp",
]


def run(lab):
    near, far = lab.ends()
    server = lab.ours("server", {"name": "far", "metrics": {"send_interval": 0.2}}, namespace=far)
    capture = probe(lab, near)
    found = layers("decode", capture, PORT)
    lab.note(f"Scapy reads {found}")
    least = {"requests": 2 * ENOUGH, "replies": 2 * ENOUGH, "padded": 2 * ENOUGH, "followed up": ENOUGH}
    for what, count in least.items():
        expect(found.get(what, 0) >= count, f"{what} in the capture: {found.get(what, 0)}")
    lab.note(f"Wireshark reads {wireshark(capture)}")
    capture, key = probe_with_a_key(lab)
    found = layers("sealed", capture, PORT, key)
    expect(min(found["requests"], found["replies"]) >= ENOUGH, f"authenticated packets in the capture: {found}")
    lab.note(f"Scapy and Python's HMAC read {found} authenticated")
    found = layers("send", FAR, PORT, namespace=near)
    lab.note(f"a sender by the book has {found}")
    lab.note(stamp_suite(near) if STAMP_SUITE.exists() else "stamp-suite is not installed")
    code, _ = server.end()
    expect(code == 0, f"the server ended with {code}: {server.log()[-500:]}")


def probe(lab, near):
    """Probes with two flows for a while, one of them padded, with tags; returns the capture."""
    capture = Capture(lab, "near", near)
    target = {"host": FAR, "type": "udp", "interval": 5}
    targets = [
        {**target, "label": "plain", "tags": ["isp:local", "it's: \u00fc"]},
        {**target, "label": "padded", "size": 700},
    ]
    settings = {"name": "near", "metrics": {"mode": "samples", "send_interval": 0.2}, "targets": targets}
    client = lab.ours("client", settings, namespace=near)

    def enough(records):
        native = [record for record in records if "dwell" in record]
        return all(len(values(native, "udp.wan.rtt", target=one["label"])) >= ENOUGH for one in targets)

    collect(client, enough, "native round trips")
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    end_captures([capture], near, FAR)
    return capture.path


def probe_with_a_key(lab):
    """Probes a host of ours with a key for a while; returns the capture, and the key's file."""
    near, far = lab.ends("sealed-")
    folder = lab.folder / "sealed"
    folder.mkdir()
    key = make_key(folder / "near")
    lab.ours("sealed-server", {"name": "far", "auth": {"key_dir": str(folder), "require_key": True}}, namespace=far)
    capture = Capture(lab, "sealed-near", near)
    target = {"host": FAR, "label": "far", "type": "udp", "interval": 5, "key_file": str(key)}
    targets = [target, {**target, "label": "padded", "size": 700}]
    settings = {"name": "near", "metrics": {"mode": "samples", "send_interval": 0.2}, "targets": targets}
    client = lab.ours("sealed-client", settings, namespace=near)
    enough = lambda records: all(len(values(records, "udp.wan.rtt", target=of)) >= ENOUGH for of in ("far", "padded"))
    collect(client, enough, "authenticated round trips")
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    end_captures([capture], near, FAR)
    return capture.path, key


def make_key(path):
    """Makes a file with a random key, which only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def layers(*words, namespace=None):
    """Runs `stamp_layers.py`; returns its findings."""
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    python = str(VENV / "bin" / "python")
    words = [str(word) for word in words]
    done = subprocess.run([*prefix, python, "-B", str(LAYERS), *words], capture_output=True, text=True)
    expect(done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def wireshark(path):
    """Compares the fields that Wireshark reads; returns the number of packets."""
    fields = [word for field in TSHARK_FIELDS for word in ("-e", field)]
    kind = ["-d", f"udp.port=={PORT},twamp.test", "-Y", "udp && !icmp", "-T", "fields", "-E", "occurrence=f"]
    lines = command("tshark", "-n", "-r", str(path), *kind, "-E", "separator=|", *fields).splitlines()
    udp = [packet for packet in packets(path) if packet.protocol == UDP]
    expect(len(lines) == len(udp), f"{len(lines)} UDP packets, not {len(udp)}")
    count = 0
    for packet, line in zip(udp, lines):
        if PORT not in (packet.source_port, packet.target_port) or HEADER.match(packet.payload):
            continue
        ours = decode_native(packet.payload)
        source, seq, z, sender_seq, ttl, *times = line.split("|")
        meant = [packet.source_port, ours.seq, 1, ours.sender_seq, ours.ttl]
        read = [int(word or 0) for word in (source, seq, z, sender_seq, ttl)]
        expect(read == meant, f"Wireshark reads {line!r}, not {meant}")
        fractions = [int(time.partition(".")[2][:9] or 0) for time in times]
        meant = [time % 1_000_000_000 for time in (ours.at, ours.received)]
        expect(fractions == meant, f"Wireshark reads {line!r}, not the ns {meant}")
        count += 1
    return count


def stamp_suite(namespace, *more):
    """Lets stamp-suite probe our reflector with times in both formats; returns its findings."""
    made = []
    for form, ssid in SSIDS.items():
        flags = ["--follow-up-telemetry", "--extra-padding", "30", "--timestamp-info", "--location", "--cos"]
        flags += ["--dscp", "46", "--direct-measurement", "--access-report", "1", "--ssid", str(ssid), "-K", form]
        flags += ["-d", "5", "-c", str(FOREIGN_PROBES), "-L", "30", "--output-format", "json"]
        words = ["ip", "netns", "exec", namespace, str(STAMP_SUITE), "-r", FAR, "-p", str(PORT), *flags, *more]
        said = json.loads(command(*words))
        answered, rejected = said["packets_received"], said["measurements"]["tlv_validation"]["rejected_replies"]
        text = f"stamp-suite, {form}: {answered} answers, {rejected} rejected"
        expect((answered, rejected) == (FOREIGN_PROBES, 0), text)
        for kind, found in said["measurements"]["tlv_validation"]["by_type"].items():
            unrecognized, malformed = found["flags"]["unrecognized"], found["flags"]["malformed"]
            expect((unrecognized, malformed) == (0, 0), f"stamp-suite, {form}, type {kind}: {found}")
        follow_up = said["measurements"]["follow_up"]
        wrong = follow_up["unmatched"] + follow_up["ambiguous"]
        expect(follow_up["matched"] > 0 and wrong == 0, f"stamp-suite, {form}: {follow_up}")
        made.append(f"{answered} answers in {form}'s format, {follow_up['matched']} followed up")
    return f"stamp-suite has {', '.join(made)}"
