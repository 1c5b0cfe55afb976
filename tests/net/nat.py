"""A translator (NAT) that gives every probe of a slow flow another port: the reflector publishes each flow's one-way delay.

The router forgets a mapping after a second, and probes are two seconds apart, so it masquerades each of them as a sender
of its own. Six flows are behind its one address; those at 10 ms keep their ports.
"""

import json

from lab import collect, expect, run as command, values

INSIDE, ROUTER_IN, ROUTER_OUT, SERVER = "192.0.2.1", "192.0.2.254", "198.51.100.1", "198.51.100.2"
WIRES = ["text", "native", "auto"]
# Milliseconds between two probes, and the delays to wait for.
FLOWS = {"slow": (2000, 6), "fast": (10, 200)}


def run(lab):
    inside, router, outside = (lab.namespace(name) for name in ("inside", "router", "outside"))
    lab.link(inside, router, [f"{INSIDE}/24"], [f"{ROUTER_IN}/24"], device="lm0")
    lab.link(router, outside, [f"{ROUTER_OUT}/24"], [f"{SERVER}/24"], device="lm1")
    command("ip", "-n", inside, "route", "add", "default", "via", ROUTER_IN)
    within = ["ip", "netns", "exec", router]
    nft = [*within, "nft"]
    command(*nft, "add table ip lmtest")
    command(*nft, "add chain ip lmtest out { type nat hook postrouting priority srcnat; }")
    # A chain of this kind sees the first packet of each mapping only.
    command(*nft, "add rule ip lmtest out oifname lm1 udp dport 8001 counter masquerade fully-random")
    command(*within, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    for name in ("udp_timeout", "udp_timeout_stream"):
        command(*within, "sysctl", "-q", "-w", f"net.netfilter.nf_conntrack_{name}=1")

    server = lab.ours("server", {"name": "server"}, namespace=outside)
    targets = [
        {"host": SERVER, "label": f"{pace}-{wire}", "tags": [f"flow:{pace}-{wire}"], "protocol": wire, "interval": interval}
        for pace, (interval, _) in FLOWS.items()
        for wire in WIRES
    ]
    targets = [{**target, "type": "udp", "tcp_latency": False} for target in targets]
    client = lab.ours("client", {"name": "client", "targets": targets}, namespace=inside)

    def enough(records):
        counts = {
            f"{pace}-{wire}": (len(values(records, "udp.wan.owd", source="client", flow=f"{pace}-{wire}")), least)
            for pace, (_, least) in FLOWS.items()
            for wire in WIRES
        }
        return all(count >= least for count, least in counts.values())

    collect(server, enough, "one-way delays of every flow")
    rules = json.loads(command(*nft, "-j", "list", "chain", "ip", "lmtest", "out"))["nftables"]
    counters = [part["counter"] for rule in rules if "rule" in rule for part in rule["rule"]["expr"] if "counter" in part]
    mapped = counters[0]["packets"]
    lab.note(f"{mapped} mappings for {len(targets)} flows")
    expect(mapped >= len(targets) + 5 * len(WIRES), f"only {mapped} mappings: slow probes kept their ports")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
