"""Link-local addresses with their zone: as targets, as addresses to listen on, and of a ZeroMQ socket.

Two links, which have no other addresses, lead to two hosts with the same one. A target is the host at its own link:
when that host is gone, the probes to it are lost, and the other's are answered.
"""

import json
import pathlib

from lab import VENV, collect, expect, run as command, values, wait_until

SUBSCRIBER = pathlib.Path(__file__).with_name("subscribe.py")
NEAR, FAR = "fe80::11", "fe80::22"
KEPT, ENDED = LINKS = ["lm0", "lm1"]
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
LOSSES = ["udp.wan.lost", "tcp.wan.unsent", "tcp.wan.latency.failed"]
SAMPLES = 20
PORT = 5556


def run(lab):
    near, peers, subscribers = lab.namespace("near"), {}, []
    for link in LINKS:
        far = lab.namespace(f"far-{link}")
        lab.link(near, far, [f"{NEAR}/64"], [f"{FAR}/64"], link)
        peers[link] = lab.ours(link, {"name": link, "address": f"{FAR}%{link}"}, namespace=far)
        words = [VENV / "bin" / "python", SUBSCRIBER, f"tcp://[{NEAR}%{link}]:{PORT}"]
        subscribers.append(lab.start(f"subscriber-{link}", words, namespace=far))
    # A zone is the number of an interface as well.
    number = json.loads(command("ip", "-n", near, "-j", "link", "show", ENDED))[0]["ifindex"]
    zones = {KEPT: KEPT, ENDED: number}
    settings = {
        "name": "near",
        "address": [f"{NEAR}%{KEPT}", f"[{NEAR}%{number}]"],
        "metrics": [
            {"backend": "cli", "send_interval": 0.5},
            {"backend": "zeromq", "address": f"{NEAR}%{KEPT}", "port": PORT},
        ],
        "targets": [
            {"host": f"{FAR}%{zone}", "label": link, "interval": 20, "timeout": 0.3, "tags": [f"link:{link}"]}
            for link, zone in zones.items()
        ],
    }
    client = lab.ours("near", settings, namespace=near)
    collect(client, has_samples, "samples of both")
    for link, peer in peers.items():
        # Each host is probed by those probes alone that are meant for it.
        other = ENDED if link == KEPT else KEPT
        records = collect(peer, lambda found: len(values(found, "udp.wan.owd", link=link)) >= SAMPLES, "one-way delays")
        expect(not values(records, "udp.wan.owd", link=other), f"{link} gets the probes of {other}")
    wait_until(lambda: len(subscribers[0].records()) > 0, "messages to whom the socket's zone is")
    expect(not subscribers[1].records(), "messages to another link")
    end(peers[ENDED])
    client.records()
    collect(client, lambda found: has_samples(found, [KEPT]) and has_losses(found), "losses of one and samples of the other")
    lab.note("two hosts with one link-local address, each by its own link")
    end(client)
    end(peers[KEPT])


def has_samples(records, links=LINKS):
    return all(len(values(records, kind, target=link)) >= SAMPLES for kind in KINDS for link in links)


def has_losses(records):
    return all(sum(values(records, loss, target=ENDED)) >= SAMPLES for loss in LOSSES)


def end(daemon):
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
