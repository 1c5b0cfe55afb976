"""Names with several addresses, names whose answer rotates, and peers that answer from another address.

1. The first address of a name does not answer: its port is closed, nobody has it, or it is `::1` of a host that
   listens on IPv4 only. Each kind of probe goes on to the second address, which is told, and stays there.
2. The address in use goes away: the other one of the name takes over, and is kept when the first one is back.
3. A name leads to one of two good addresses and to the other in turn, with 20 probes in flight: none is lost.
4. A relay answers from another port, one from another address, and the predecessor on a host with two addresses
   from the one that was not probed. The probes are lost, each answer is counted, and the log names where they
   come from, once.
"""

import pathlib
import sys
import time

from dns import own_etc
from lab import collect, expect, pause, run as command, values, wait_until

KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
LOSSES = ["udp.wan.lost", "tcp.wan.lost", "tcp.wan.latency.failed"]
# Probes without a socket count as well: a connection that is made anew takes a round trip.
SAMPLES = 20
RELAY = pathlib.Path(__file__).with_name("relay.py")
DELAY_S = 0.1
INTERVAL_MS = 5
TURNS = 4
# The timeout toward addresses that may be silent, and the one where nothing is to be lost. A stop of the host that is
# shorter loses no probe.
SILENT_S, STALL_S = 1, 5
PORTS = {"tcp_port": 8000, "udp_port": 8001}
OWN_PORTS = {"tcp_port": 18000, "udp_port": 18001}
FAR6, NOBODY6 = "2001:db8:1::2", "2001:db8:1::99"


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    addresses = [f"192.0.2.{last}/24" for last in (2, 3, 4, 5)] + [f"{FAR6}/64"]
    lab.link(near, far, ["192.0.2.1/24", "2001:db8:1::1/64"], addresses)
    etc = own_etc(lab, near)
    far_server = lab.ours("far", {"name": "far", "address": "0.0.0.0"}, namespace=far)
    near_server = lab.ours("near-server", {"name": "near", "address": "0.0.0.0"}, namespace=near)
    first_address_is_silent(lab, near, etc)
    address_goes_away(lab, near, far, etc)
    name_rotates(lab, near, far, etc)
    answers_from_elsewhere(lab, near, far)
    for daemon in (near_server, far_server):
        end(daemon)


def prober(lab, label, namespace, targets, **settings):
    """Starts a daemon that probes these targets, and does not take the usual ports from others."""
    settings = {"name": "prober", "metrics": {"send_interval": 0.5}, **OWN_PORTS, **settings}
    targets = [{**PORTS, **target} for target in targets]
    return lab.ours(label, {**settings, "targets": targets}, namespace=namespace)


def write_hosts(etc, names):
    # Written in place: the file is mounted where the daemon sees it.
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {name}" for name, addresses in names.items() for address in addresses]
    with open(etc / "hosts", "w") as hosts:
        hosts.write("\n".join(lines) + "\n")


def first_address_is_silent(lab, near, etc):
    names = {"closed.example": [FAR6, "192.0.2.2"], "nobody.example": [NOBODY6, "192.0.2.2"]}
    write_hosts(etc, names)
    hosts = [*names, "localhost"]
    targets = [{"host": host, "interval": 50, "timeout": SILENT_S} for host in hosts]
    client = prober(lab, "silent", near, targets)
    began = time.monotonic()
    collect(client, each(hosts, SAMPLES), "samples of every kind from every name")
    took_s = time.monotonic() - began
    # Long enough for every flow to fall silent again.
    collect(client, each(hosts, 10 * SAMPLES), "more of them")
    for dead in (FAR6, NOBODY6, "::1"):
        said = client.log().count(f"{dead} does not answer: going on to")
        expect(said == 1, f"{said} lines about {dead}: {client.log()[-2000:]}")
    lab.note(f"the second address answers within {took_s:.1f} s")
    end(client)


def address_goes_away(lab, near, far, etc):
    write_hosts(etc, {"two.example": ["192.0.2.3", "192.0.2.4"]})
    # Where a name leads at first is no news at INFO.
    target = {"host": "two.example", "interval": 20, "timeout": SILENT_S, "max_lost": 50}
    client = prober(lab, "away", near, [target], log_level="DEBUG")
    collect(client, each(["two.example"], SAMPLES), "samples")
    # The order of two addresses of one family is the resolver's.
    used = next(f"192.0.2.{last}" for last in (3, 4) if f"the name leads to 192.0.2.{last}" in client.log())
    other = "192.0.2.4" if used.endswith("3") else "192.0.2.3"
    for gone, taken in ((used, other), (other, used)):
        command("ip", "-n", far, "addr", "del", f"{gone}/24", "dev", "lm0")
        said = f"{gone} does not answer: going on to {taken}"
        client.wait_for_log(said)
        since_ns = time.time_ns()
        collect(client, made_after(since_ns), f"samples from {taken}")
        command("ip", "-n", far, "addr", "add", f"{gone}/24", "dev", "lm0")
        collect(client, made_after(time.time_ns()), f"samples while {gone} is back")
        expect(client.log().count("going on to") == [used, other].index(gone) + 1, "a working address was left")
    end(client)


def name_rotates(lab, near, far, etc):
    relays = [relay(lab, far, f"late-{last}", f"192.0.2.{last}", 9001, 9000, DELAY_S) for last in (2, 3)]
    name = "rotating.example"
    write_hosts(etc, {name: ["192.0.2.2"]})
    flow = {"host": name, "interval": INTERVAL_MS, "tcp_port": 9000, "udp_port": 9001, "timeout": STALL_S}
    targets = [{**flow, "label": wire, "protocol": wire} for wire in ("auto", "text", "native")]
    client = prober(lab, "rotating", near, targets, resolve_interval=1)
    labels = [target["label"] for target in targets]
    records = collect(client, each(labels, 10 * SAMPLES), "samples")
    moved = "the name leads to {} and no longer to {}"
    for turn in range(TURNS):
        old, new = ("192.0.2.2", "192.0.2.3") if turn % 2 == 0 else ("192.0.2.3", "192.0.2.2")
        seen = client.log().count(moved.format(new, old))
        write_hosts(etc, {name: [new]})
        wait_until(lambda: client.log().count(moved.format(new, old)) == seen + len(targets), f"the move to {new}")
        records += collect(client, made_after(time.time_ns()), f"samples from {new}")
    # Whatever was lost is known then.
    pause(STALL_S + 1)
    end(client)
    records += client.records()
    lost = {metric: sum(values(records, metric)) for metric in LOSSES}
    expect(not any(lost.values()), f"moves have lost {lost}")
    in_flight = DELAY_S * 1000 / INTERVAL_MS
    lab.note(f"{TURNS} moves with {in_flight:.0f} probes in flight lost none")
    for one in relays:
        one.kill()


def answers_from_elsewhere(lab, near, far):
    relays = [
        relay(lab, far, "port", "192.0.2.4", 9001, 9000, 0, "192.0.2.4", 9009),
        relay(lab, far, "address", "192.0.2.4", 9011, 9010, 0, "192.0.2.5", 9011),
    ]
    # It answers from the host's first address, whichever was probed.
    python = lab.python("python", {"name": "old", "tcp_port": 7000, "udp_port": 7001, "targets": []}, namespace=far)
    flow = {"type": "udp", "interval": 20, "timeout": 0.2}
    targets = [
        {**flow, "label": "port", "host": "192.0.2.4", "udp_port": 9001},
        {**flow, "label": "address", "host": "192.0.2.4", "udp_port": 9011, "protocol": "native"},
        {**flow, "label": "python", "host": "192.0.2.5", "udp_port": 7001},
        # The address that the predecessor answers from is probed, too: that flow loses nothing.
        {**flow, "label": "right", "host": "192.0.2.2", "udp_port": 7001, "protocol": "text", "timeout": STALL_S},
    ]
    client = prober(lab, "elsewhere", near, targets)
    count = lambda records, metric, label: sum(values(records, metric, target=label))
    wrong = {"port": "192.0.2.4:9009", "address": "192.0.2.5:9011", "python": "192.0.2.2:7001"}
    enough = lambda records: all(
        count(records, metric, label) >= SAMPLES for metric in ("udp.wan.misaddressed", "udp.wan.lost") for label in wrong
    ) and count(records, "udp.wan.received", "right") >= SAMPLES
    records = collect(client, enough, "answers from elsewhere")
    # Whatever was lost is known then.
    pause(STALL_S + 1)
    end(client)
    records += client.records()
    for label, where in wrong.items():
        received = count(records, "udp.wan.received", label)
        expect(received == 0, f"{label}: {received} answers from elsewhere were taken for replies")
        said = client.log().count(f"answered from {where}, which was not probed")
        expect(said == 1, f"{said} lines about {where}: {client.log()[-2000:]}")
    for metric in ("udp.wan.corrupt", "udp.wan.misaddressed", "udp.wan.lost"):
        expect(count(records, metric, "right") == 0, f"{metric} of the flow that is answered rightly")
    counted = sum(count(records, "udp.wan.misaddressed", label) for label in wrong)
    lab.note(f"{counted} answers from elsewhere are told as what they are")
    for one in (*relays, python):
        one.kill()


def relay(lab, namespace, label, listen, udp_port, tcp_port, delay_s, *reply):
    command = [sys.executable, RELAY, listen, udp_port, tcp_port, "192.0.2.2", delay_s, *reply]
    daemon = lab.start(f"relay-{label}", command, namespace=namespace)
    daemon.wait_for_log("relaying")
    return daemon


def each(labels, count):
    """Makes a condition for `collect`: at least so many samples of every kind from every target."""
    return lambda records: all(len(values(records, kind, target=label)) >= count for kind in KINDS for label in labels)


def made_after(since_ns):
    """Makes one: enough samples of every kind that were made after an instant."""

    def enough(records):
        for kind in KINDS:
            made = [record["points"][0][0] for record in records if record.get("metric") == kind]
            if sum(at > since_ns for at in made) < SAMPLES:
                return False
        return True

    return enough


def end(daemon):
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
