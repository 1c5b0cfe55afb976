"""A stranger with raw sockets fakes the addresses of two honest hosts, and of thousands that are none.

No forged value is published under a name of theirs, the honest flows keep their samples, and a host that comes during the
flood is answered at once, and published within ten seconds of its end. At last the server's replies are dropped: whatever
is received then is the stranger's. docs/security.md says what else holds.
"""

import pathlib
import time

from lab import at_least, collect, expect, pause, points, run as command, sockets, values, wait_until
from processors import Witness

CLIENT, LATE, SERVER, STRANGER = "192.0.2.1", "192.0.2.3", "192.0.2.2", "192.0.2.66"
WIRES = ["auto", "text", "native"]
INTERVAL_MS = 20
# Packets a second; seconds of the flood, and those of them without a reply of the server's.
RATE, FLOOD_S, SILENT_S = 4000, 18, 5
# A reply that is on its way then is there by then.
SETTLED_NS = 500_000_000
# No delay here is as long; those of the stranger are an hour.
LONGEST_NS = 10_000_000_000
# The least part of its samples that an honest flow keeps.
KEPT = 0.99
PUBLISHED_WITHIN_S = 10


def run(lab):
    witness = Witness(lab)
    hosts = {name: lab.namespace(name) for name in ("client", "late", "server", "stranger", "switch")}
    addresses = {"client": CLIENT, "late": LATE, "server": SERVER, "stranger": STRANGER}
    switch = hosts["switch"]
    command("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
    for number, (name, address) in enumerate(addresses.items()):
        device = f"lm{number}"
        lab.link(hosts[name], switch, [f"{address}/24"], [], device=device)
        command("ip", "-n", switch, "link", "set", device, "master", "br0")
        # Replies to addresses that are nobody's leave, as they would to the Internet.
        command("ip", "-n", hosts[name], "route", "add", "default", "via", STRANGER)
    command("ip", "-n", switch, "link", "set", "br0", "up")

    metrics = {"metrics": {"send_interval": 1, "mode": "both"}}
    server = lab.ours("server", {"name": "server", **metrics}, namespace=hosts["server"])
    client = start(lab, "client", hosts["client"], metrics)
    found = {"client": collect(client, at_least(100, ["udp.wan.rtt"]), "samples before"), "server": [], "late": []}
    collect(server, lambda records: all(delays(records, "client", wire) for wire in WIRES), "delays before")

    ports = ",".join(own_ports(hosts["client"]))
    forge = pathlib.Path(__file__).with_name("forge.py")
    words = ["python3", "-u", forge, CLIENT, SERVER, "client", ports, FLOOD_S, RATE]
    stranger = lab.start("stranger", words, namespace=hosts["stranger"])
    began, began_ns = time.monotonic(), time.time_ns()
    late = start(lab, "late", hosts["late"], metrics)
    found["late"] += collect(late, at_least(100, ["udp.wan.rtt"]), "answers during the flood", FLOOD_S - SILENT_S)
    pause(began + FLOOD_S - SILENT_S - time.monotonic())
    silent_ns = time.time_ns()
    nft = ["ip", "netns", "exec", hosts["server"], "nft"]
    command(*nft, "add table ip lmtest")
    command(*nft, "add chain ip lmtest out { type filter hook output priority 0; }")
    command(*nft, f"add rule ip lmtest out udp sport 8001 ip daddr {CLIENT} drop")
    wait_until(lambda: stranger.process.poll() is not None, "the end of the flood", FLOOD_S + 60)
    over_ns = time.time_ns()
    command(*nft, "flush ruleset")
    expect(stranger.process.returncode == 0, f"the stranger failed: {stranger.log()}")

    def is_published():
        found["server"].extend(server.records())
        return all(delays(found["server"], "late", wire) for wire in WIRES)

    wait_until(is_published, "the new host to be published", PUBLISHED_WITHIN_S)
    for daemon in (client, late, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
        found[daemon.label].extend(daemon.records())
    check_delays(found)
    check_kept(lab, found, began_ns, silent_ns, witness)
    forged = [at for at, _ in points(found["client"], "udp.wan.rtt") if silent_ns + SETTLED_NS < at < over_ns]
    expect(not forged, f"{len(forged)} forged round trips")
    lab.note(f"the stranger {stranger.log().split(chr(10))[-2]}")


def start(lab, name, namespace, settings):
    targets = [
        {"host": SERVER, "label": wire, "tags": [] if wire == "auto" else [f"wire:{wire}"], "protocol": wire}
        for wire in WIRES
    ]
    targets = [{**target, "type": "udp", "tcp_latency": False, "interval": INTERVAL_MS, "max_lost": 10**6} for target in targets]
    return lab.ours(name, {"name": name, **settings, "targets": targets}, namespace=namespace)


def own_ports(namespace):
    """The UDP ports that this namespace's daemon probes from."""
    lines = sockets("-Hanu", namespace).splitlines()
    ports = {line.split()[3].rpartition(":")[2] for line in lines}
    return sorted(ports - {"8001"})


def delays(records, source, wire):
    """One-way delays under the labels of a host's flow, and under no others."""
    tags = {f"source:{source}", "target:server"} | (set() if wire == "auto" else {f"wire:{wire}"})
    samples = [record for record in records if record.get("metric") == "udp.wan.owd" and "points" in record]
    return [record["points"][0][1] for record in samples if set(record["tags"]) == tags]


def check_delays(found):
    """No value is a stranger's under the labels of an honest flow."""
    for name in ("client", "late"):
        rtt = values(found[name], "udp.wan.rtt")
        expect(all(0 < value < LONGEST_NS for value in rtt), f"{name}: forged round trips")
        for wire in WIRES:
            owd = delays(found["server"], name, wire)
            forged = [value for value in owd if abs(value) > LONGEST_NS]
            expect(not forged, f"{name}, {wire}: {len(forged)} of {len(owd)} delays are forged: {forged[:5]}")


def check_kept(lab, found, began_ns, silent_ns, witness):
    """The flows lose nothing by the flood, at neither end. While processors are away, slots are missed without it."""
    due = (silent_ns - began_ns - witness.any_away_ns(began_ns, silent_ns)) / (INTERVAL_MS * 1e6)
    for wire in WIRES:
        during = [at for at, _ in points(found["client"], "udp.wan.rtt", target=wire) if began_ns < at < silent_ns]
        published = len(delays(found["server"], "client", wire))
        lab.note(f"{wire}: {len(during)} of {due:.0f} round trips, {published} delays")
        # Two are on their way when it begins and when it ends.
        expect(len(during) >= KEPT * due - 2, f"{wire}: {len(during)} of {due:.0f} round trips")
        expect(published >= KEPT * due - 2, f"{wire}: {published} of {due:.0f} delays")
