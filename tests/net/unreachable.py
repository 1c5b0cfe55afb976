"""Probes two targets from one socket while a router rejects one of them.

The rejected flow counts the ICMP errors, and the other loses nothing. The daemon reports the address once, with who
rejects it, and that it answers again. Then routes prefer another address of this host, and the flows keep the one
that they have. A full queue of this host's own interface loses probes, but costs the others no stamps, although the
kernel reports such losses as errors where ICMP errors are asked for. At last probes are too long for a link and leave
in pieces.
"""

import json
import re

from lab import collect, expect, run as command, sockets, values, wait_until

NEAR, OTHER, ROUTER = "192.0.2.1", "192.0.2.7", "192.0.2.254"
GOOD, BAD = "198.51.100.2", "198.51.100.3"
NEAR6, ROUTER6, GOOD6, BAD6 = "2001:db8:1::1", "2001:db8:1::254", "2001:db8:2::2", "2001:db8:2::3"
PORT = 8001
INTERVAL_MS = 5
REJECTED = 100
ANSWERED = 100
# A stop of the host that is shorter is no loss.
TIMEOUT_S = 3
# More probes than a flow sends in a timeout.
SETTLED = 1_200 * TIMEOUT_S // INTERVAL_MS
LOST = 600
# So many probes fit into an interface's queue, more than are lost there until the first error.
QUEUED = 64
# Bytes of a probe that fits no link here.
PIECES_SIZE = 3000
REJECTS = [
    (BAD, f"ip daddr {BAD}", "reject with icmp host-unreachable", f"host unreachable: .*, says {ROUTER}"),
    (BAD6, f"ip6 daddr {BAD6}", "reject with icmpv6 admin-prohibited", f"prohibited: .*, says {ROUTER6}"),
]


def run(lab):
    near, router, far = (lab.namespace(name) for name in ("near", "router", "far"))
    lab.link(near, router, [f"{NEAR}/24", f"{OTHER}/24", f"{NEAR6}/64"], [f"{ROUTER}/24", f"{ROUTER6}/64"], device="lm0")
    inner, outer = ["198.51.100.254/24", "2001:db8:2::254/64"], [f"{GOOD}/24", f"{BAD}/24", f"{GOOD6}/64", f"{BAD6}/64"]
    lab.link(router, far, inner, outer, device="lm1")
    # A router sends few ICMP errors to one host, and would not let all be counted.
    rates = ["net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv6.icmp.ratelimit=0"]
    forward = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
    command("ip", "netns", "exec", router, "sysctl", "-q", "-w", *rates, *forward)
    for namespace, via, via6 in ((near, ROUTER, ROUTER6), (far, "198.51.100.254", "2001:db8:2::254")):
        command("ip", "-n", namespace, "route", "add", "default", "via", via)
        command("ip", "-n", namespace, "-6", "route", "add", "default", "via", via6)
    filtering = Rejects(router)
    metrics = {"mode": "windows", "send_interval": 0.5}
    server = lab.ours("server", {"name": "far", "address": ["0.0.0.0", "::"], "max_size": PIECES_SIZE, "metrics": metrics}, namespace=far)
    # Those that are rejected are lost at the end: that a host answers again is told only seconds later.
    common = {"type": "udp", "interval": INTERVAL_MS, "tcp_latency": False, "max_lost": 1_000_000, "timeout": TIMEOUT_S}
    targets = [{"host": host, "label": host, **common} for host in (GOOD, BAD, GOOD6, BAD6)]
    # Packets of a trace go beyond the router once a host is cut off, and would be counted among what is rejected.
    settings = {"name": "near", "metrics": metrics, "path": {"on": [], "interval": 0}, "targets": targets}
    client = lab.ours("client", settings, namespace=near)
    # Links that have just come up lose or delay the first packets of IPv6. By then those losses are published.
    begun = collect(client, every(SETTLED, "received", GOOD, BAD, GOOD6, BAD6), "replies from all")
    expect(total(begun, "unreachable") == 0, "messages before anything was rejected")
    before = bound(near)
    expect(len(before) == 2, f"two targets of a family share a socket: {before}")
    for _, packets, verdict, _ in REJECTS:
        filtering.begin(packets, verdict)
    records = collect(client, every(REJECTED, "unreachable", BAD, BAD6), "messages about those that are rejected")
    rejected = filtering.end()
    command("ip", "-n", near, "route", "replace", "default", "via", ROUTER, "src", OTHER)
    again = "".join(f"(?=.*{re.escape(host)} answers again)" for host in (BAD, BAD6))
    wait_until(lambda: re.search(again, client.log(), re.DOTALL), "the daemon to say that they answer again")
    records += collect(client, every(ANSWERED, "received", GOOD, BAD, GOOD6, BAD6), "replies by the new route")
    after = bound(near)
    expect(before == after, f"the flows have moved from {before} to {after}")
    end(client)
    check_full_queue(lab, near)
    check_pieces(lab, near, [router, far])
    end(server)
    check(lab, records + client.records(), client.log(), rejected)


def end(daemon):
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def check_full_queue(lab, near):
    # The queue passes half of the probes, and holds a dozen.
    shape = ["rate", "4mbit", "burst", "2000", "limit", "16000"]
    command("tc", "-n", near, "qdisc", "add", "dev", "lm0", "root", "tbf", *shape)
    metrics = {"mode": "windows", "send_interval": 0.5}
    target = {"host": GOOD, "label": GOOD, "type": "udp", "interval": 1, "size": 1000, "max_lost": 1_000_000, "protocol": "native"}
    client = lab.ours("full", {"name": "near", "metrics": metrics, "targets": [target]}, namespace=near)
    records = collect(client, every(LOST, "lost.forward", GOOD), "losses in the queue")
    end(client)
    records += client.records()
    command("tc", "-n", near, "qdisc", "del", "dev", "lm0", "root")
    sent, lost, unsent, received = (total(records, name) for name in ("sent", "lost.forward", "unsent", "received"))
    missing = sum(values(records, "monitor.stamps_missing.transmit"))
    lab.note(f"full queue: {received} of {sent} received, {lost} lost forward, {unsent} unsent, {missing} without a transmit stamp")
    expect(unsent <= QUEUED, "losses in the interface's queue go on as errors")
    # A packet lost there never leaves, so it has no stamp, also before it is published as lost. In addition there are
    # the packets that waited at the first error.
    expect(missing <= sent - received + QUEUED, "losses in the interface's queue cost the stamps of others")


def check_pieces(lab, near, ends):
    """Checks that probes too long for one piece, on their first link or on a later one, are answered all the same."""
    for namespace in ends:
        command("ip", "-n", namespace, "link", "set", "lm1", "mtu", "1400")
    common = {"type": "udp", "interval": INTERVAL_MS, "tcp_latency": False, "max_lost": 1_000_000, "protocol": "native"}
    targets = [{"host": host, "label": f"{size} {host}", "size": size, **common} for host in (GOOD, GOOD6) for size in (1450, PIECES_SIZE)]
    settings = {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.5}, "max_size": PIECES_SIZE, "targets": targets}
    client = lab.ours("pieces", settings, namespace=near)
    labels = [target["label"] for target in targets]
    collect(client, every(ANSWERED, "received", *labels), "replies to probes in pieces")
    end(client)


class Rejects:
    """Rejects and counts packets that a namespace forwards."""

    def __init__(self, namespace):
        self.nft = ["ip", "netns", "exec", namespace, "nft"]
        command(*self.nft, "add table inet lmtest")
        command(*self.nft, "add counter inet lmtest rejected")
        command(*self.nft, "add chain inet lmtest through { type filter hook forward priority 0; }")

    def begin(self, packets, verdict):
        command(*self.nft, f"add rule inet lmtest through {packets} counter name rejected {verdict}")

    def end(self):
        """Stops rejecting; returns how many it has rejected."""
        command(*self.nft, "flush chain inet lmtest through")
        listed = json.loads(command(*self.nft, "-j", "list counter inet lmtest rejected"))
        (counter,) = (entry["counter"] for entry in listed["nftables"] if "counter" in entry)
        return counter["packets"]


def bound(namespace):
    """Returns the addresses and ports that probes leave from."""
    lines = sockets("-Hanu", namespace).splitlines()
    locals_ = (line.split()[3] for line in lines)
    return sorted(local for local in locals_ if not local.endswith(f":{PORT}"))


def every(count, name, *targets):
    return lambda records: all(total(records, name, target=target) >= count for target in targets)


def total(records, name, **tags):
    return sum(values(records, f"udp.wan.{name}", **tags))


def check(lab, records, log, rejected):
    unreachable = total(records, "unreachable")
    lost = total(records, "lost")
    shown = f"{rejected} rejected, {unreachable} unreachable, {lost} lost"
    lab.note(shown)
    expect(unreachable == rejected and lost == rejected, f"not what was rejected: {shown}")
    for good in (GOOD, GOOD6):
        expect(total(records, "unreachable", target=good) == 0, f"{good}: messages of another")
        expect(total(records, "lost", target=good) == 0, f"{good}: losses of another")
    expect(total(records, "unsent") == 0, "probes were not sent for what was said of others")
    for bad, _, _, words in REJECTS:
        lines = re.findall(rf"UDP port {PORT} of {re.escape(bad)}: {words}", log)
        expect(len(lines) == 1, f"{bad}: reported {len(lines)} times: {log[-1000:]}")
