"""Several flows over parallel links: an event names the flows that cross the bad link, and no others.

The namespaces are near - r1 = four links = r2 - far. Both routers spread flows over the links by their addresses and
ports. On r1 a set of each link holds the source ports of the flows that cross it: that is what the events are compared
with. First the link drops 5 % of what goes to far, then cross traffic keeps a queue before it.

Where a hypervisor takes processors away for a part of that time, hosts are rightly suspected too, so it is done again.
"""

import json
import os
import subprocess
import sys
import time

from lab import GIVE_UP_S, collect, expect, pause, run as command
from processors import AGAIN_S, Witness

NEAR, FAR = "192.0.2.1", "198.51.100.1"
LINKS = 4
UDP_PORT = 8001
FLOWS, INTERVAL_MS = 16, 10
QUIET_S, TOLD_WITHIN_S = 5, 10
# The link is bad once more if processors were away for such a part of the time of an event, in all: after half of it a
# host is suspected.
AWAY = 1 / 3
# Of a host with many short waits no more than the last second is known, perhaps.
LAST_NS = 1_000_000_000
# Seconds without anything at 1 ms; 600 for the ten minutes of docs/design/paths.md.
WELL_S = int(os.environ.get("LM_PATHS_SECONDS", 0))
# Cross traffic: every 7 ms as much as the link carries in 6 ms. Flows at 10 ms so meet each state of the queue, and not
# always the same one.
RATE_MBIT, CROSS = 20, "198.51.100.77"
CROSS_TRAFFIC = f"""
import select, socket, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
due = time.monotonic()
while True:
    for _ in range(10):
        out.sendto(bytes(1400), ("{CROSS}", 9))
    due += 0.007
    select.select([], [], [], max(0, due - time.monotonic()))
"""


def run(lab):
    paths = topology(lab)
    common = {"metrics": {"mode": "windows", "send_interval": 1}, "tcp": False}
    server = lab.ours("server", {"name": "far", **common}, namespace=paths.far)
    target = {"host": FAR, "label": "far", "interval": INTERVAL_MS, "flows": FLOWS, "type": "udp"}
    client = lab.ours("client", {"name": "near", **common, "targets": [target]}, namespace=paths.near)
    records = collect(client, lambda found: len(counted(found)) >= QUIET_S, "windows", QUIET_S + GIVE_UP_S)
    expect(not divergences(records), f"all links are well: {divergences(records)}")
    by_link = [paths.crossing(link, "forward") for link in range(LINKS)]
    flows = set.union(*by_link)
    expect(len(flows) == FLOWS, f"{len(flows)} source ports, and there are {FLOWS} flows")
    # A link that some flows cross, and not most of them.
    bad = min(range(LINKS), key=lambda link: (not by_link[link], abs(len(by_link[link]) - FLOWS // LINKS)))
    lab.note(f"flows by link: {', '.join(str(len(ports)) for ports in by_link)}")
    witness = Witness(lab)
    for what, spoil, heal in (
        ("loss", lambda: paths.drop(bad, 5), paths.heal),
        ("delay", lambda: queue(lab, paths, bad), lambda: drain(lab, paths, bad)),
    ):
        until = time.monotonic() + AGAIN_S
        while not is_told(lab, client, witness, what, by_link[bad], spoil, heal):
            expect(time.monotonic() < until, f"{what}: processors were away each time")
    for link, ports in enumerate(by_link):
        now = paths.crossing(link, "forward")
        expect(now == ports, f"flows have left link {link}, or come to it: {ports} and {now}")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    if WELL_S:
        well(lab, paths)


def is_told(lab, client, witness, what, expected, spoil, heal):
    """Has a link be bad until all of its flows are told. False if it is not to be judged who is suspected."""
    spoil()
    began = time.time_ns()
    found = collect(client, lambda got: {it["source_port"] for it in begun(got, what)} >= expected, f"{what} told")
    took_ns = time.time_ns() - began
    away = lambda it: witness.away_ns(it["start"], it["start"] + it["noticed"]) / it["noticed"]
    # Where only the last waits of a host are known, their share of that time is what counts.
    end_of = lambda it: it["start"] + it["noticed"]
    late = lambda it: witness.away_ns(end_of(it) - LAST_NS, end_of(it)) > LAST_NS * AWAY
    is_judged = all(away(event) < AWAY and not late(event) for event in begun(found, what))
    others = {it["source_port"] for it in begun(found, what)} - expected
    expect(not others, f"{what}: {others} do not cross the link, which {expected} do")
    for event in begun(found, what):
        expect(event["direction"] in ("forward", None) and event["value"] > event["others"], f"{event}")
        expect((event["source"], event["destination"]) == (NEAR, FAR), f"{event}")
        is_right = event["suspect"] == "network" or not is_judged
        expect(is_right, f"not laid to the network, with processors away for {away(event):.0%}: {event}")
    took_s = took_ns / 1e9
    # No probe shows anything while it cannot be sent.
    away_s = witness.any_away_ns(began, began + took_ns) / 1e9
    shown = f"{what}: it took {took_s:.1f} s until all flows of the link were told, {away_s:.1f} without a processor"
    expect(took_s - away_s <= TOLD_WITHIN_S, shown)
    heal()
    is_over = lambda got: {it["source_port"] for it in ended(got, what)} >= expected
    more = collect(client, is_over, f"the end of the {what}")
    expect(not begun(more, what) or {it["source_port"] for it in begun(more, what)} <= expected, f"{what}: {more}")
    besides = "" if is_judged else "; processors were away, so once more"
    lab.note(f"{what}: {len(expected)} flows told within {took_s:.1f} s, and their end{besides}")
    return is_judged


def well(lab, paths):
    """Nothing is told for as long as all links are well, at 1 ms."""
    common = {"metrics": {"mode": "windows", "send_interval": 10}, "tcp": False}
    lab.ours("well-server", {"name": "far", **common}, namespace=paths.far)
    target = {"host": FAR, "label": "far", "interval": 1, "flows": FLOWS, "type": "udp"}
    client = lab.ours("well-client", {"name": "near", **common, "targets": [target]}, namespace=paths.near)
    end = time.monotonic() + WELL_S
    records = []
    while time.monotonic() < end:
        pause(1)
        records += client.records()
    client.end()
    records += client.records()
    expect(len(counted(records)) >= WELL_S // 10 - 2, "too few windows")
    expect(not divergences(records), f"all links are well: {divergences(records)}")
    probes = sum(record["points"][0][1] for record in counted(records))
    lab.note(f"well: none in {WELL_S} s, of {probes} probes")


def queue(lab, paths, link):
    """Has cross traffic fill a queue before a link again and again, most of the time."""
    shape = f"rate {RATE_MBIT}mbit burst 3000 limit 1000000".split()
    command("tc", "-n", paths.r1, "qdisc", "add", "dev", f"p{link}", "root", "handle", "1:", "tbf", *shape)
    via = ["via", f"203.0.113.{4 * link + 2}", "dev", f"p{link}"]
    command("ip", "-n", paths.r1, "route", "replace", f"{CROSS}/32", *via)
    words = ["ip", "netns", "exec", paths.r1, sys.executable, "-c", CROSS_TRAFFIC]
    paths.cross = subprocess.Popen(words)
    lab.cleanup.callback(paths.cross.kill)


def drain(lab, paths, link):
    paths.cross.kill()
    paths.cross.wait()
    command("tc", "-n", paths.r1, "qdisc", "del", "dev", f"p{link}", "root")


def counted(records):
    return [record for record in records if record.get("metric") == "udp.wan.sent"]


def divergences(records):
    return [record for record in records if record.get("event") == "path_divergence"]


def begun(records, what):
    return [it for it in divergences(records) if it["what"] == what and it["duration"] is None]


def ended(records, what):
    return [it for it in divergences(records) if it["what"] == what and it["duration"] is not None]


class Paths:
    """The namespaces, and what crosses each link between the routers."""

    def __init__(self, near, r1, r2, far):
        self.near, self.r1, self.r2, self.far = near, r1, r2, far
        self.links = [f"p{link}" for link in range(LINKS)]

    def crossing(self, link, direction):
        """Returns the source ports, at near, of the UDP flows that have crossed a link in a direction."""
        text = nft(self.r1, "-j", "list", "set", "inet", "paths", f"{direction}{link}")
        (found,) = [one["set"] for one in json.loads(text)["nftables"] if "set" in one]
        return set(found.get("elem", []))

    def forget_crossings(self):
        for link in range(LINKS):
            for direction in ("forward", "reverse"):
                nft(self.r1, "flush", "set", "inet", "paths", f"{direction}{link}")

    def drop(self, link, percent):
        """Drops a share of what goes from r1 to r2 over a link."""
        rule = f"oifname p{link} numgen random mod 100 < {percent} drop"
        nft(self.r1, "add", "rule", "inet", "paths", "bad", *rule.split())

    def heal(self):
        nft(self.r1, "flush", "chain", "inet", "paths", "bad")


def topology(lab, prefix=""):
    """Makes near - r1 = four links = r2 - far; a router's hash is over addresses and ports, with seeds of its own."""
    near, r1, r2, far = (lab.namespace(f"{prefix}{name}") for name in ("near", "r1", "r2", "far"))
    lab.link(near, r1, [f"{NEAR}/24"], ["192.0.2.254/24"], device="lm0")
    lab.link(r2, far, ["198.51.100.254/24"], [f"{FAR}/24"], device="lm0")
    for router, there, number in ((r1, "198.51.100.0/24", 2), (r2, "192.0.2.0/24", 1)):
        command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.fib_multipath_hash_policy=1")
        if router == r1:
            for link in range(LINKS):
                lab.link(r1, r2, [f"203.0.113.{4 * link + 1}/30"], [f"203.0.113.{4 * link + 2}/30"], device=f"p{link}")
        for link in range(LINKS):
            via = ["via", f"203.0.113.{4 * link + number}", "dev", f"p{link}"]
            command("ip", "-n", router, "nexthop", "add", "id", str(link + 1), *via)
        group = "/".join(str(link + 1) for link in range(LINKS))
        command("ip", "-n", router, "nexthop", "add", "id", "100", "group", group)
        command("ip", "-n", router, "route", "add", there, "nhid", "100")
    command("ip", "-n", near, "route", "add", "default", "via", "192.0.2.254")
    command("ip", "-n", far, "route", "add", "default", "via", "198.51.100.254")
    command("ip", "-n", r2, "route", "add", "blackhole", f"{CROSS}/32")
    nft(r1, "add", "table", "inet", "paths")
    hook = "{ type filter hook forward priority 0 ; }"
    nft(r1, "add", "chain", "inet", "paths", "seen", hook)
    # After the ports have been noted.
    nft(r1, "add", "chain", "inet", "paths", "bad", hook.replace("0", "10"))
    for link in range(LINKS):
        for direction, rule in (
            ("forward", f"oifname p{link} udp dport {UDP_PORT} add @forward{link} {{ udp sport }}"),
            ("reverse", f"iifname p{link} udp sport {UDP_PORT} add @reverse{link} {{ udp dport }}"),
        ):
            kind = "{ type inet_service ; size 65535 ; flags dynamic ; }"
            nft(r1, "add", "set", "inet", "paths", f"{direction}{link}", kind)
            nft(r1, "add", "rule", "inet", "paths", "seen", *rule.split())
    return Paths(near, r1, r2, far)


def nft(namespace, *words):
    return command("ip", "netns", "exec", namespace, "nft", *words)
