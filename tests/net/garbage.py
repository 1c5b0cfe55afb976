"""Attacks the daemon with garbage, slow connections and ten thousand strangers. It stays up, the honest flow loses
nothing, memory and series stay bounded, and refusals are counted.
"""

import time

from hostile import SlowConnections, throw_aliases, throw_datagrams, throw_floods, throw_strangers, throw_streams
from lab import collect, expect, values, wait_until

PORT = 17300
STRANGERS = 10_000
DATAGRAMS = 20_000
STREAMS = 300
SLOW = 500
FLOODS = 2
FLOOD_BYTES = 8 * 1024 * 1024
# The responder publishes so many strangers at once, and so many new ones in an hour (src/limits.rs).
REMOTE_LABELS_MAX = 4096
GROWTH_KIB = 64 * 1024
SEED = 1
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
LOSSES = ["udp.wan.lost", "tcp.wan.lost", "tcp.wan.latency.failed", "udp.wan.corrupt", "tcp.wan.corrupt"]


def run(lab):
    began_s = time.monotonic()
    server_settings = {"name": "far", "tcp_port": PORT, "udp_port": PORT + 1}
    server = lab.ours("server", {**server_settings, "metrics": {"mode": "both", "send_interval": 1}})
    target = {"host": "127.0.0.1", "label": "far", "tcp_port": PORT, "udp_port": PORT + 1}
    client_settings = {
        "name": "near",
        "tcp_port": PORT + 2,
        "udp_port": PORT + 3,
        "interval": 10,
        # A stall of the host must not count as a loss.
        "timeout": 20,
        "metrics": {"send_interval": 1},
        "targets": [target],
    }
    client = lab.ours("client", client_settings)
    honest = collect(client, lambda found: len(values(found, "udp.wan.sent")) >= 2, "an exchange before")
    # The honest client's connections are among them; one or two of those come and go.
    before_kib, before_files = server.resident_kib(), server.descriptors()
    with SlowConnections(PORT, SLOW) as slow:
        wait_until(lambda: server.descriptors() >= before_files + SLOW - 2, "slow connections to be accepted")
        attack(lab)
        wait_until(lambda: not slow.open, "the server to hang up on slow connections")
    wait_until(lambda: server.descriptors() <= before_files + 2, "descriptors to come back")
    check_honest(lab, client, honest)
    check_server(lab, server, before_kib, began_s)


def attack(lab):
    datagrams = throw_datagrams(PORT + 1, DATAGRAMS, SEED)
    streams = throw_streams(PORT, STREAMS, SEED)
    lab.note(f"{datagrams} datagrams and {streams} streams of garbage, {SLOW} slow connections")
    throw_floods(PORT, FLOODS, FLOOD_BYTES)
    lab.note(f"{FLOODS} floods of {FLOOD_BYTES >> 20} MiB")
    throw_aliases(PORT + 1, STRANGERS, "once-alias", 1)
    throw_strangers(PORT + 1, STRANGERS, "once", 1)
    throw_aliases(PORT + 1, STRANGERS, "twice-alias", 2)
    throw_strangers(PORT + 1, STRANGERS, "twice", 2)
    lab.note(f"4 x {STRANGERS} strangers")


def check_honest(lab, client, found):
    """Waits until every probe sent by the end of the attack has its sample."""

    def sums(*names):
        return [sum(values(found, name)) for name in names]

    sent = ["udp.wan.sent", "tcp.wan.sent", "tcp.wan.latency.sent"]
    found += collect(client, lambda records: values(records, sent[-1]), "counts after the attack")
    attacked = sums(*sent)

    def settled(records):
        counts = [len(values(found, kind)) + len(values(records, kind)) for kind in KINDS]
        lost = any(sum(values(records, name)) for name in LOSSES)
        return lost or all(count >= sent for count, sent in zip(counts, attacked))

    found += collect(client, settled, "answers to all honest probes")
    lost = sums(*LOSSES)
    expect(not any(lost), f"the honest flow has lost: {dict(zip(LOSSES, lost))}")
    unsent = sums("tcp.wan.unsent", "udp.wan.unsent", "tcp.wan.latency.unsent", "monitor.slots_missed")
    lab.note(f"honest probes {attacked}, none lost, unsent and missed {unsent}")


def check_server(lab, server, before_kib, began_s):
    found = collect(server, lambda records: len(values(records, "monitor.resident")) >= 3, "counts")
    took_s = time.monotonic() - began_s
    grown = server.resident_kib() - before_kib
    lab.note(f"server grew from {before_kib} by {grown} KiB")
    expect(grown < GROWTH_KIB, f"the server grew by {grown} KiB")
    for name in ("corrupt", "refused"):
        counted = sum(values(found, f"monitor.responder.{name}"))
        lab.note(f"{name} {counted}")
        expect(counted > 0, f"no {name} requests were counted")
    series = {(record.get("metric", ""), *record["tags"]) for record in found if record.get("metric", "").endswith(".owd")}
    lab.note(f"{len(series)} series of one-way delays in {took_s:.0f} s")
    once = [one for one in series if one[1].startswith("source:once")]
    expect(not once, f"strangers who said one thing are published: {once[:3]}")
    most = REMOTE_LABELS_MAX * (1 + took_s / 3600)
    expect(len(series) <= most, f"{len(series)} series of strangers are published, of at most {most:.0f}")
    expect("panicked" not in server.log(), server.log()[-500:])
    code, _ = server.end()
    expect(code == 0, f"the server ended with {code}")
