"""Whom events suspect: a host that stands still, the one at the other end, or the network between them.

1. A queue fills in a router. Every burst is laid to the network, and none to a host.
2. The reflector's process is stopped for 20 ms, or a program in real time takes its processor for 20 ms. The prober's
   timeout is 5 ms, so that is an outage: of the peer.
3. The same happens to the prober, which stamps its packets itself. Replies are under way for 10 ms, so the stamps of
   those that come meanwhile are late: bursts in the reverse direction, of this host.

Each is done EVENTS times, and of the events at least 95 in 100 must be laid to the right side. Where one of so few is
not, the part is done again until one in 20 can be told from one in six. LM_SUSPECT_EVENTS has it done more often: 100
for the figures in the documents.

A hypervisor that takes a processor away meanwhile does to the event what was not planted. A witness sees when
(processors.py). What was planted then is planted once more, and its event is not judged.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import burst
from lab import FAR, GIVE_UP_S, collect, expect, pause, points, wait_until
from processors import Witness

EVENTS = int(os.environ.get("LM_SUSPECT_EVENTS", "6"))
STAND_S = 0.02
SHARE = 0.95
# One event that is laid to the wrong side is within that share of so many.
JUDGED_LEAST = 20
# Events of that size are those planted, whatever else the host does to itself.
LEAST_NS = 5_000_000
RELAY = pathlib.Path(__file__).with_name("relay.py")
RELAY_PORT = 9001

# What is planted is an event within so long.
PLANTED_NS = int(3 * STAND_S * 1e9)
# An event is not judged if processors were away for so long, in all, within its time: half of it lays it to a host. Nor
# if they were for so long since a reading of the system before it: what that tells of steal time may have been within
# the event.
AWAY_NS, STEAL_NS, READINGS_NS = LEAST_NS // 2 - 500_000, 20_000_000, 100_000_000

# Takes its processor from all that do not run in real time, for as long as each line says.
HOG = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
for line in sys.stdin:
    until = time.monotonic() + float(line)
    while time.monotonic() < until:
        pass
"""


def run(lab):
    witness = Witness(lab)
    hold(lab, witness, "a queue", "network", lambda turn: queues(lab, witness, turn))
    for how in (stop, load):
        for side in ("peer", "local"):
            part = lambda turn, side=side, how=how: stand_still(lab, witness, side, how, turn)
            hold(lab, witness, f"{how.__doc__} of the {side}", side, part)


def hold(lab, witness, what, right, part):
    """Does a part, again if one of its few events is laid to the wrong side, and holds the share of all of them."""
    events, besides, turn = [], 0, 0
    wrong = lambda: [event for event in events if event["suspect"] != right]
    while turn == 0 or wrong() and len(events) < JUDGED_LEAST:
        alone, others = part(turn)
        expect(len(alone) >= EVENTS / 2, f"{what}: {EVENTS} times, and {len(alone)} events: {alone}")
        events, besides, turn = events + alone, besides + others, turn + 1
        if right == "network":
            hosts = [event for event in wrong() if event["suspect"]]
            expect(not hosts, f"{what}: laid to a host: {hosts}")
    shown = f" ({besides} more while a processor was away)" if besides else ""
    lab.note(f"{what}: {len(events)} events, {len(events) - len(wrong())} of them laid to: {right}{shown}")
    away = lambda event: witness.away_ns(event["start"] - READINGS_NS, end_of(event))
    told = [f"processors were away for {away(event)} ns from 100 ms before on: {event}" for event in wrong()]
    expect(len(wrong()) <= (1 - SHARE) * len(events), f"{what}: {told}")


def planting(witness, settle_s):
    """Goes on until EVENTS times were alone. `settle_s`: before and after each."""
    return witness.times(EVENTS, settle_s, lambda began: is_alone(witness, began, began + PLANTED_NS))


def is_alone(witness, start, end):
    """True if no processor was away that may have a part in what was then."""
    return witness.away_ns(start, end) < AWAY_NS and witness.away_ns(start - READINGS_NS, end) < STEAL_NS


def settings(name, cpu, **more):
    common = {"name": name, "protocol": "native", "metrics": {"mode": "windows", "send_interval": 1}}
    return {**common, "engine": {"cpu": cpu}, **more}


def target(address, **more):
    return {"host": address, "label": "far", "interval": 1, "type": "udp", "tcp_latency": False, **more}


def queues(lab, witness, turn):
    name = f"queue{turn or ''}"
    near, _, far = burst.path(lab, f"{name}-")
    server = lab.ours(f"{name}-server", settings("far", 0), namespace=far)
    config = settings("near", 1, burst={"threshold_us": LEAST_NS // 2_000}, targets=[target(burst.FAR)])
    client = lab.ours(f"{name}-client", config, namespace=near)
    records = learn(client)
    since = time.time_ns()
    blast(lab, name, near, planting(witness, 0.3))
    met = lambda event: event["start"] >= since
    return events_of(witness, client, records, met, [server])


def blast(lab, name, near, times):
    """Fills the router's queue again and again. `times` waits after each."""
    code = burst.BLAST.format(packets=burst.BURST_PACKETS, size=burst.PACKET_BYTES, far=burst.FAR)
    out = lab.folder / f"{name}-blast.out"
    with open(out, "wb") as file:
        words = ["ip", "netns", "exec", near, sys.executable, "-c", code]
        sender = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, text=True)
    lab.cleanup.callback(sender.kill)
    for number, _ in enumerate(times):
        print(file=sender.stdin, flush=True)
        wait_until(lambda n=number: out.read_text().count("sent") > n, "a burst to be sent")
    sender.stdin.close()
    sender.wait()


def stand_still(lab, witness, side, how, turn):
    """Has one end stand still again and again; returns the events that the prober tells then."""
    name = f"{side}-{how.__name__}{turn or ''}"
    near, far = lab.ends(f"{name}-")
    server = lab.ours(f"{name}-server", settings("far", 0), namespace=far)
    others = [server]
    if side == "peer":
        more = {"targets": [target(FAR, timeout=0.005, max_lost=1_000_000)]}
    else:
        # Not on the prober's processor: what is taken there must not hold up the relay, which is the network.
        words = ["taskset", "-c", "0", sys.executable, RELAY, FAR, RELAY_PORT, RELAY_PORT, FAR, STAND_S / 2]
        others.append(lab.start(f"{name}-relay", words, namespace=far))
        others[-1].wait_for_log("relaying")
        more = {
            "timestamps": "user",
            "burst": {"threshold_us": LEAST_NS // 1_000},
            "targets": [target(FAR, udp_port=RELAY_PORT)],
        }
    client = lab.ours(f"{name}-client", settings("near", 1, **more), namespace=near)
    records = learn(client)
    spans = [
        span
        for span in how(lab, witness, *{"peer": (server, 0), "local": (client, 1)}[side])
        # A lab that was itself kept waiting has stopped it for longer than it says.
        if span[1] - span[0] < 10 * STAND_S * 1e9
    ]
    met = lambda event: any(overlaps(event, span) for span in spans)
    return events_of(witness, client, records, met, others)


def stop(lab, witness, daemon, _):
    """a stopped process"""
    for _ in planting(witness, 0.2):
        began = time.time_ns()
        daemon.send(signal.SIGSTOP)
        pause(STAND_S)
        daemon.send(signal.SIGCONT)
        yield began, time.time_ns()


def load(lab, witness, _, cpu):
    """a taken processor"""
    words = [sys.executable, "-c", HOG, str(cpu)]
    hog = subprocess.Popen(words, stdin=subprocess.PIPE, text=True)
    lab.cleanup.callback(hog.kill)
    for _ in planting(witness, 0.3):
        began = time.time_ns()
        print(STAND_S, file=hog.stdin, flush=True)
        yield began, began + int(2 * STAND_S * 1e9)
    hog.stdin.close()
    hog.wait()


def learn(client):
    """Waits until the prober finds bursts."""
    known = lambda found: points(found, "udp.wan.burst.threshold", target="far", direction="reverse")
    return collect(client, known, "a threshold", GIVE_UP_S)


def end_of(event):
    return event["start"] + event["duration"] + event["peak"]


def overlaps(event, span):
    return event["start"] <= span[1] and end_of(event) >= span[0]


def events_of(witness, client, records, is_planted, others):
    """Ends the prober, and what it was measured with. Returns the events that were planted, but for those of a time in
    which a processor was away, and how many these are.
    """
    # Longer than a timeout, so every probe is decided.
    pause(1.5)
    code, _ = client.end()
    expect(code == 0, f"{client.label} ended with {code}: {client.log()[-500:]}")
    for other in others:
        other.kill()
    records = records + client.records()
    events = [record for record in records if record.get("event") in ("burst", "outage") and is_planted(record)]
    events = [event for event in events if max(event["duration"], event["peak"]) >= LEAST_NS]
    alone = [event for event in events if is_alone(witness, event["start"], end_of(event))]
    return alone, len(events) - len(alone)
