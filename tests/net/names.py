"""Names with several addresses: which one is used, of which family, and each of them as a target of its own.

1. A name rotates each second between two good hosts, 50 ms away, with five probes in flight: nothing moves and nothing
   is lost. When it stays with the other host the flows move there, and lose nothing.
2. The first address of a name is of IPv6 and dead: the second one, of IPv4, is measured after `max_lost` losses.
3. `family` keeps to one family, as captured; a name without it is told once, and probed when it has it.
4. With `every_address` addresses come and go with the answer. The others lose nothing meanwhile, and keep their ports.
   A name that does not resolve, and one answer that lacks an address, end nothing.
"""

import collections
import re
import time

from addresses import FAR6, NOBODY6, OWN_PORTS, PORTS, end, prober, relay, write_hosts
from capture import UDP, Capture, end_captures
from dns import own_etc
from lab import collect, expect, pause, values, wait_until
from marks import headers
from reload import Reloads

FAR = [f"192.0.2.{last}" for last in (2, 3, 4, 5)]
DELAY_S, INTERVAL_MS = 0.05, 10
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
LOSSES = ["udp.wan.lost", "tcp.wan.lost", "tcp.wan.latency.failed"]
SAMPLES, FEW, MAX_LOST = 20, 3, 3
UDP_PORT = 8001
# A stop of the host that is shorter is no loss.
STALL_S = 5
# So many answers in a row must lack an address before it is gone.
ABSENT = 3


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, ["192.0.2.1/24", "2001:db8:1::1/64"], [f"{address}/24" for address in FAR] + [f"{FAR6}/64"])
    etc = own_etc(lab, near)
    server = lab.ours("far", {"name": "far", "address": "::"}, namespace=far)
    name_rotates(lab, near, far, etc)
    first_is_dead(lab, near, etc)
    of_a_family(lab, near, etc)
    every_address(lab, near, etc, server)
    end(server)


def name_rotates(lab, near, far, etc):
    hosts, name = FAR[:2], "rotating.example"
    relays = [relay(lab, far, f"late-{address}", address, 9001, 9000, DELAY_S) for address in hosts]
    write_hosts(etc, {name: hosts[:1]})
    flow = {"host": name, "interval": INTERVAL_MS, "tcp_port": 9000, "udp_port": 9001}
    # A relay that has no processor for a while is late, and loses nothing. Connects would not wait for it.
    flow = {**flow, "timeout": 5, "tcp_latency": False}
    targets = [{**flow, "label": wire, "protocol": wire} for wire in ("auto", "text", "native")]
    labels = [target["label"] for target in targets]
    client = prober(lab, "rotating", near, targets, resolve_interval=1, log_level="DEBUG")
    has_samples = lambda found, since_ns=0: all_have(found, labels, SAMPLES, since_ns, KINDS[:2])
    records = collect(client, has_samples, "samples")
    turn = 0
    while min(answers(client, name).count(address) for address in hosts) < 3:
        turn += 1
        write_hosts(etc, {name: [hosts[turn % 2]]})
        pause(1)
    seen = answers(client, name)
    # A host that was busy for seconds may have looked only while the name led to the other one.
    others = max((len(run) for run in "".join("x" if it == hosts[1] else " " for it in seen).split()), default=0)
    moved = client.log().count("and no longer to")
    expect(moved == 0 or others >= ABSENT, f"{moved} moves, and {others} answers in a row had the other host")
    write_hosts(etc, {name: hosts[1:]})
    left = lambda: client.log().count(f"leads to {hosts[1]} and no longer to {hosts[0]}")
    wait_until(lambda: left() >= len(targets), "the move to the host that the name keeps to")
    since_ns = time.time_ns()
    records += collect(client, lambda found: has_samples(found, since_ns), "samples from there")
    end(client)
    records += client.records()
    lost = {metric: sum(values(records, metric)) for metric in LOSSES}
    expect(not any(lost.values()), f"a name that rotates has lost {lost}")
    lab.note(f"{turn} turns and a move with {DELAY_S * 1000 / INTERVAL_MS:.0f} probes in flight lost none")
    for one in relays:
        one.kill()


def first_is_dead(lab, near, etc):
    write_hosts(etc, {"dead.example": [NOBODY6, FAR[0]]})
    # A probe is lost well before the next one leaves, also where the host is late, and the last one after more than
    # the second that an address has.
    flow = {"host": "dead.example", "interval": 2500, "timeout": 1, "max_lost": MAX_LOST}
    kinds = {"udp": {"type": "udp"}, "tcp": {"type": "tcp", "tcp_latency": False}, "all": {}}
    targets = [{**flow, "label": label, **kind} for label, kind in kinds.items()]
    client = prober(lab, "dead", near, targets)
    has_samples = lambda found, label: all(
        len(values(found, kind, target=label)) >= FEW
        for kind in KINDS
        if label == "all" or kind == f"{label}.wan.rtt"
    )
    records = collect(client, lambda found: all(has_samples(found, label) for label in kinds), "samples from IPv4")
    end(client)
    records += client.records()
    said = client.log().count(f"{NOBODY6} does not answer: going on to {FAR[0]}")
    expect(said == len(kinds), f"{said} of {len(kinds)} targets have left the dead address: {client.log()[-2000:]}")
    for label in ("udp", "all"):
        lost = sum(values(records, "udp.wan.lost", target=label))
        expect(0 < lost <= MAX_LOST, f"{label}: {lost} probes were lost")
    lab.note(f"beside a dead IPv6 address {sum(values(records, 'udp.wan.lost', target='udp'))} probes were lost")


def of_a_family(lab, near, etc):
    both, lacking = "both.example", "lacking.example"
    write_hosts(etc, {both: [FAR6, FAR[0]], lacking: [FAR[0]]})
    flow = {"type": "udp", "interval": 20, "timeout": 5}
    families = {"auto": "auto", "four": 4, "six": 6}
    ports = {label: 41_000 + place for place, label in enumerate([*families, "lacking"])}
    targets = [{**flow, "label": label, "host": both, "family": family} for label, family in families.items()]
    targets.append({**flow, "label": "lacking", "host": lacking, "family": 6})
    targets = [{**target, "source_port": ports[target["label"]]} for target in targets]
    capture = Capture(lab, "family", near)
    client = prober(lab, "family", near, targets, resolve_interval=1, log_level="DEBUG")
    collect(client, lambda found: all_have(found, families, SAMPLES, kinds=KINDS[:1]), "samples of each family")
    told = f"the name has no IPv6 address, but {FAR[0]}"
    client.wait_for_log(told)
    looked = len(answers(client, lacking))
    wait_until(lambda: len(answers(client, lacking)) >= looked + 2, "two look-ups more")
    write_hosts(etc, {both: [FAR6, FAR[0]], lacking: [FAR[0], FAR6]})
    has_it = lambda found: all_have(found, ["lacking"], SAMPLES, kinds=KINDS[:1])
    collect(client, has_it, "samples of the name that has the family now")
    expect(client.log().count(told) == 1, f"told {client.log().count(told)} times")
    end(client)
    end_captures([capture], near, FAR[0])
    sent = collections.defaultdict(set)
    for packet in headers(capture.path):
        if packet.protocol == UDP and packet.ports[1] == UDP_PORT:
            sent[packet.ports[0]].add((packet.family, packet.destination))
    wanted = {"auto": (6, FAR6), "four": (4, FAR[0]), "six": (6, FAR6), "lacking": (6, FAR6)}
    found = {label: sent[port] for label, port in ports.items()}
    expect(found == {label: {address} for label, address in wanted.items()}, f"packets went to {found}")
    lab.note("each family alone, as captured")


def every_address(lab, near, etc, server):
    name, kept = "pool.example", [FAR[0], FAR6]
    at = lambda *addresses: write_hosts(etc, {name: addresses})
    at(*kept, FAR[1])
    target = {**PORTS, "host": name, "label": "pool", "type": "udp", "interval": 10, "timeout": STALL_S, "tags": ["of:pool"]}
    target["every_address"] = True
    settings = {"name": "prober", "resolve_interval": 1, "log_level": "DEBUG", **OWN_PORTS}
    settings["metrics"] = {"mode": "both", "send_interval": 0.5}
    of = lambda target: {**settings, "targets": [target]}
    capture = Capture(lab, "every", near)
    client = lab.ours("every", of(target), namespace=near)
    records = collect(client, lambda found: each_has(found, [*kept, FAR[1]]), "samples of each address")
    delays = collect(server, lambda found: values(found, "udp.wan.owd", of="pool"), "one-way delays at the other end")
    expect(not values(delays, "udp.wan.owd", address=FAR[1]), "a sender says what an address is")
    # One more comes, and one goes. A name that does not resolve, and one answer that lacks an address, end none.
    at(*kept, FAR[2])
    records += collect(client, lambda found: each_has(found, [FAR[2]]), "samples of the address that came")
    client.wait_for_log(f"{FAR[1]} is probed no more: {ABSENT} answers in a row")
    write_hosts(etc, {})
    client.wait_for_log("cannot resolve")
    failed = lambda: len(re.findall(r"resolved.*addresses=\[\]", client.log()))
    wait_until(lambda: failed() > ABSENT, "look-ups that fail")
    count = len(answers(client, name))
    at(FAR[0], FAR[2])
    wait_until(lambda: len(answers(client, name)) > count, "an answer that lacks one")
    at(*kept, FAR[2])
    count = len(answers(client, name))
    wait_until(lambda: len(answers(client, name)) > count, "an answer that has it again")
    since_ns = time.time_ns()
    alive = [*kept, FAR[2]]
    records += collect(client, lambda found: each_has(found, alive, since_ns), "samples of all that are there")
    # Whatever was lost until then is known.
    pause(STALL_S + 1)
    records += client.records()
    end_captures([capture], near, FAR[0])
    check_every(capture, records, kept)
    # A reload that takes the key away leaves one target; one that gives it back makes them anew.
    reloads = Reloads(lab, client)
    said = reloads.reload(of(target))
    expect("kept=1 relabelled=0 rekeyed=0 added=0 removed=0" in plain(said), f"the same file: {said}")
    said = reloads.reload(of({**target, "tags": ["of:pool", "new:tag"]}))
    expect("relabelled=1" in plain(said), f"other tags: {said}")
    collect(client, lambda found: each_has(found, alive, new="tag"), "samples with other tags")
    without = {key: value for key, value in target.items() if key != "every_address"}
    reloads.reload(of(without))
    alone = collect(client, lambda found: len(untagged(found)) >= SAMPLES, "samples of the name as one target")
    expect(not tagged_after(alone, min(untagged(alone))), "addresses go on as targets of their own")
    reloads.reload(of(target))
    collect(client, lambda found: each_has(found, alive), "samples of each address again")
    end(client)


def check_every(capture, records, kept):
    """What stays loses nothing, and keeps its port; what is gone gets nothing after that."""
    for address in kept:
        for metric in ("udp.wan.lost", "udp.wan.unsent"):
            lost = sum(values(records, metric, address=address))
            expect(lost == 0, f"{address}: {lost} of {metric}")
    ports, order = collections.defaultdict(set), []
    for packet in headers(capture.path):
        if packet.protocol == UDP and packet.ports[1] == UDP_PORT:
            ports[packet.destination].add(packet.ports[0])
            order.append(packet.destination)
    expect(all(len(ports[address]) == 1 for address in [*kept, FAR[2]]), f"source ports by address: {dict(ports)}")
    gone = len(order) - order[::-1].index(FAR[1])
    expect(set(order[gone:]) == {*kept, FAR[2]} and len(order) - gone > SAMPLES, "the address that is gone is probed")


def plain(text):
    """Returns a text of the log without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def answers(client, name):
    """Returns the addresses that look-ups have brought, in order."""
    found = [line for line in plain(client.log()).splitlines() if f'name="{name}"' in line and "resolved" in line]
    lists = [re.findall(r"ip: ([0-9a-f.:]+)", line) for line in found]
    return [addresses[0] for addresses in lists if addresses]


def times(records, kind, **tags):
    wanted = [f"{key}:{value}" for key, value in tags.items()]
    return [
        record["points"][0][0]
        for record in records
        if record.get("metric") == kind and "points" in record and all(tag in record["tags"] for tag in wanted)
    ]


def all_have(records, labels, count, since_ns=0, kinds=KINDS):
    return all(
        sum(at > since_ns for at in times(records, kind, target=label)) >= count for label in labels for kind in kinds
    )


def each_has(records, addresses, since_ns=0, **tags):
    tags = {"target": "pool", **tags}
    made = lambda address: times(records, KINDS[0], address=address, **tags)
    return all(sum(at > since_ns for at in made(address)) >= SAMPLES for address in addresses)


def untagged(records):
    """Returns when samples of the pool were made that belong to no address."""
    of_pool = [record for record in records if record.get("metric") == KINDS[0] and "points" in record]
    return [it["points"][0][0] for it in of_pool if not any(tag.startswith("address:") for tag in it["tags"])]


def tagged_after(records, since_ns):
    of_pool = [record for record in records if record.get("metric") == KINDS[0] and "points" in record]
    of_address = [it for it in of_pool if any(tag.startswith("address:") for tag in it["tags"])]
    return [it for it in of_address if it["points"][0][0] > since_ns]
