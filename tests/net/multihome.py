"""A host with several addresses on two interfaces answers each probe from the probed address."""

import os
import socket
import subprocess
import sys

from lab import collect, expect, values

V4 = ["192.0.2.2", "192.0.2.3", "198.51.100.2"]
V6 = ["2001:db8:1::2", "2001:db8:1::3", "2001:db8:2::2"]
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
SAMPLES = 20
PORT = 8001


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    one = [f"{address}/24" for address in V4[:2]] + [f"{address}/64" for address in V6[:2]]
    two = [f"{V4[2]}/24", f"{V6[2]}/64"]
    lab.link(near, far, ["192.0.2.1/24", "2001:db8:1::1/64"], one, "lm0")
    lab.link(near, far, ["198.51.100.1/24", "2001:db8:2::1/64"], two, "lm1")
    for label, listening in (("default", {}), ("both", {"address": ["0.0.0.0", "::"]}), ("six", {"address": "::"})):
        probe_each(lab, near, far, label, listening)
    lab.note(f"{len(V4 + V6)} addresses on 2 interfaces, by default, with 0.0.0.0 and ::, and with :: alone")


def probe_each(lab, near, far, label, listening):
    server = lab.ours(f"{label}-server", {"name": "far", **listening}, namespace=far)
    for probed in V4 + V6:
        answered_from(near, probed)
    targets = [{"host": probed, "label": probed, "interval": 20} for probed in V4 + V6]
    settings = {"name": "near", "targets": targets}
    client = lab.ours(f"{label}-client", settings, namespace=near)

    def each(records):
        counts = [len(values(records, kind, target=probed)) for kind in KINDS for probed in V4 + V6]
        return min(counts) >= SAMPLES

    collect(client, each, "samples from each address")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}")


def answered_from(namespace, probed):
    """Probes an address from an unconnected socket, which sees the source of the answer."""
    command = ["ip", "netns", "exec", namespace, sys.executable, __file__, probed]
    done = subprocess.run(command, capture_output=True, text=True)
    sender = done.stdout.strip()
    expect(sender == probed, f"{probed} answered from {sender!r} {done.stderr.strip()}")


def main(probed):
    """Runs the part of `answered_from` inside the namespace."""
    family = socket.AF_INET6 if ":" in probed else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(60)
        probe.sendto(b"0|probe|1768219134587069267|[]|" + b"0" * 40, (probed, PORT))
        answer, sender = probe.recvfrom(2048)
        if answer.startswith(b"0|far|"):
            os.write(1, sender[0].encode())


if __name__ == "__main__":
    main(sys.argv[1])
