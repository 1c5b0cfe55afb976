"""STAMP and TWAMP Light with others. Our sender measures stamp-suite's reflector, stateful and stateless, in NTP's and
PTP's format, with and without a key, and a TWAMP-Light responder, while packets of both directions are dropped: both
one-way delays are published, and as many losses of each direction as nftables has dropped. A TWAMP-Light sender of 14
bytes and more is answered, and so is stamp-suite's with a key; both are published under the names that `[[sessions]]`
has for them. TWAMP Light's asks two ports of one host as well, while ours probes it. The lab `dissect` has
stamp-suite's sender, and Scapy's reading of what our sender says.
"""

import json
import subprocess
import sys
import time
from typing import NamedTuple

import loss
from capture import Capture, end_captures
from dissect import FOREIGN_PROBES, SSIDS, layers, make_key, stamp_suite
from lab import FAR, NEAR, ROOT, collect, expect, pause, sockets, values, wait_until
from programs import STAMP_SUITE

PORT = 862
OURS = 8001
TWAMP_LIGHT = ROOT / "tests" / "net" / "twamp_light.py"
SECONDS = 4
SEND_INTERVAL_S = 0.5
METRICS = {"mode": "samples", "send_interval": SEND_INTERVAL_S}
# No stall of the host makes a reply late, or fills the receive buffer of a reflector that reads nothing meanwhile: the
# kernel's default holds a few hundred requests.
TIMEOUT_S = 5
INTERVAL_MS = 10
ENOUGH = 50
# Packets of a sender without a key.
STRANGERS = 40


class Case(NamedTuple):
    label: str
    # What answers, with its flags.
    reflector: list
    counts: bool
    target: dict = {}
    # Both ends authenticate every packet with one key.
    has_key: bool = False


def cases():
    twamp = [sys.executable, "-B", TWAMP_LIGHT, "respond", PORT]
    yield Case("twamp-light", twamp, True)
    if STAMP_SUITE.exists():
        for form in ("ntp", "ptp"):
            suite = [STAMP_SUITE, "-i", "--local-addr", FAR, "--local-port", PORT, "-K", form.upper()]
            target = {"timestamp_format": form}
            yield Case(f"stateful-{form}", [*suite, "--stateful-reflector"], True, {**target, "size": 100})
            yield Case(f"stateless-{form}", suite, False, target)
            keyed = [*suite, "--auth-mode", "A", "--stateful-reflector"]
            yield Case(f"keyed-{form}", keyed, True, {**target, "size": 200}, has_key=True)


def run(lab):
    for case in cases():
        measure(lab, case)
    if not STAMP_SUITE.exists():
        lab.note("stamp-suite is not installed")
    near, far = lab.ends("light-")
    settings = {"name": "far", "metrics": METRICS, "sessions": [{"from": f"{NEAR}/24", "label": "light"}]}
    server = lab.ours("light-server", settings, namespace=far)
    answered = ask_as_twamp_light(near, OURS)
    lab.note(f"a TWAMP-Light sender has {answered} answers")
    check_published(server, answered, source="light", address=NEAR)
    answer_on_two_ports(lab)
    if STAMP_SUITE.exists():
        answer_with_a_key(lab)


def ask_as_twamp_light(near, *ports):
    """Has a TWAMP-Light sender ask these ports from one socket. Returns how many requests it sent: all are answered."""
    words = ["ip", "netns", "exec", near, sys.executable, "-B", TWAMP_LIGHT, "send", FAR, *ports]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    expect(done.returncode == 0, f"TWAMP Light's sender: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout)
    expect(found["answered"] == found["of"], f"TWAMP Light's sender: {found}")
    return found["of"]


def answer_on_two_ports(lab):
    """Has a TWAMP-Light sender ask one host of ours on two ports at once, while ours probes it on one of them."""
    near, far = lab.ends("ports-")
    lab.ours("ports-server", {"name": "far", "udp_port": [OURS, PORT]}, namespace=far)
    target = {"host": FAR, "label": "far", "type": "udp", "protocol": "native", "interval": 2, "timeout": TIMEOUT_S}
    client = lab.ours("ports-client", {"name": "near", "metrics": METRICS, "targets": [target]}, namespace=near)
    enough = lambda found: len(values(found, "udp.wan.rtt")) >= ENOUGH
    records = collect(client, enough, "round trips before")
    answered = ask_as_twamp_light(near, OURS, PORT)
    records += collect(client, enough, "round trips after")
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    records += client.records()
    missing = [sum(values(records, f"udp.wan.{name}")) for name in ("lost", "misaddressed")]
    expect(missing == [0, 0], f"lost and misaddressed probes of ours beside TWAMP Light's: {missing}")
    trips = len(values(records, "udp.wan.rtt"))
    lab.note(f"on two ports it has {answered}, and ours {trips} meanwhile")


def answer_with_a_key(lab):
    """Has stamp-suite's sender ask a host of ours that answers nothing without a key: with the key, and without."""
    near, far = lab.ends("keyed-")
    key = make_key(lab.folder / "router.key")
    router = {"from": NEAR, "label": "router", "key_file": str(key)}
    # Two senders, one after the other: neither is kept waiting until the other is known to have ended.
    sessions = [{**router, "ssid": ssid, "tags": [f"form:{form}"]} for form, ssid in SSIDS.items()]
    sessions.append({"from": FAR, "label": "other"})
    settings = {"name": "far", "metrics": METRICS, "auth": {"require_key": True}, "sessions": sessions}
    server = lab.ours("keyed-server", settings, namespace=far)
    lab.note(f"with a key {stamp_suite(near, '--auth-mode', 'A', '--hmac-key-file', str(key))}")
    without = [STAMP_SUITE, "-r", FAR, "-p", OURS, "-c", STRANGERS, "-d", 5, "-L", 1, "--output-format", "json"]
    words = ["ip", "netns", "exec", near, *(str(word) for word in without)]
    said = subprocess.run(words, capture_output=True, text=True).stdout
    expect(json.loads(said)["packets_received"] == 0, f"answered without a key: {said}")
    records = check_published(server, 2 * FOREIGN_PROBES, refused_most=0, source="router")
    refused = sum(values(records, "monitor.responder.unauthentic"))
    expect(refused == STRANGERS, f"{refused} of {STRANGERS} packets without a key are counted")


def check_published(server, count, refused_most=None, **tags):
    """Ends a host of ours that has answered so many requests; expects as many one-way delays under these tags. A
    sender of the same session that follows another one at once is refused for a tenth of a second, and counted.
    Returns all records.
    """
    code, _ = server.end()
    expect(code == 0, f"the server ended with {code}: {server.log()[-500:]}")
    records = server.records()
    delays = values(records, "udp.wan.owd", target="far", **tags)
    refused = sum(values(records, "monitor.responder.refused"))
    most = count // 4 if refused_most is None else refused_most
    told = f"{len(delays)} of {count} delays are published for {tags}, {refused} refused"
    expect(len(delays) + refused == count and refused <= most, told)
    # One host, one clock.
    expect(min(delays) > 0, f"a negative delay of {tags}")
    return records


def measure(lab, case):
    near, far = lab.ends(f"{case.label}-")
    reflector, key = case.reflector, {}
    if case.has_key:
        path = make_key(lab.folder / f"{case.label}.key")
        reflector, key = [*reflector, "--hmac-key-file", path], {"key_file": str(path)}
    lab.start(f"{case.label}-reflector", reflector, namespace=far)
    wait_until(lambda: f":{PORT} " in sockets("-Hlnu", far), f"{case.label} to listen")
    forward, reverse = loss.Dropper(far), loss.Dropper(near)
    capture = Capture(lab, f"{case.label}-near", near)
    target = {"host": FAR, "label": "far", "udp_port": PORT, "protocol": "stamp"}
    # A fresh port is another session, which says nothing of the losses before it.
    target.update({"interval": INTERVAL_MS, "timeout": TIMEOUT_S, "reopen": "never"})
    # The datagrams of a trace would be dropped and counted, too.
    settings = {"name": "near", "log_level": "DEBUG", "metrics": METRICS, "path": {"interval": 0, "on": []}}
    settings["targets"] = [{**target, **case.target, **key}]
    client = lab.ours(f"{case.label}-client", settings, namespace=near)
    records = collect(client, lambda found: len(values(found, "udp.wan.rtt")) >= ENOUGH, "round trips")
    told = "counts its replies" if case.counts else "is stateless"
    client.wait_for_log(told)
    forward.begin(f"udp dport {PORT}")
    reverse.begin(f"udp sport {PORT}")
    pause(SECONDS)
    dropped = [forward.end(), reverse.end()]
    ended_ns = time.time_ns()
    records += collect(client, settled(case, ended_ns), "all losses accounted for")
    end_captures([capture], near, FAR)
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    records += client.records()
    check(lab, case, dropped, records)
    if case.has_key:
        found = layers("sealed", capture.path, PORT, path)
    else:
        found = layers("plain", capture.path, PORT)
    expect(found["requests"] >= ENOUGH, f"Scapy reads {found}")


def settled(case, ended_ns):
    """Makes a condition: everything lost before an instant is counted, and has a direction if the reflector counts."""
    after_ns = ended_ns + (TIMEOUT_S + 2 * SEND_INTERVAL_S) * 1e9

    def enough(records):
        later = [record["points"][0] for record in records if record.get("metric") == "udp.wan.lost.unattributed"]
        return later and later[-1][0] > after_ns and (not case.counts or later[-1][1] == 0)

    return enough


def check(lab, case, dropped, records):
    total = lambda name: sum(values(records, f"udp.wan.{name}"))
    lost = [total("lost.forward"), total("lost.reverse")]
    shown = f"{case.label}: dropped {dropped}, lost {total('lost')}, by direction {lost}"
    lab.note(shown)
    expect(all(dropped), f"nothing was dropped: {shown}")
    expect(total("lost") == sum(dropped), f"not what was dropped: {shown}")
    expect(lost == (dropped if case.counts else [0, 0]), f"not the direction: {shown}")
    expect(total("late") == total("corrupt") == 0, f"{case.label}: late or corrupt replies")
    delays = [record for record in records if record.get("metric") in ("udp.wan.rtt", "udp.wan.owd")]
    trips = [one for one in delays if one["metric"] == "udp.wan.rtt"]
    expect(all("dwell" in one for one in trips), f"{case.label}: a round trip with the reflector's dwell in it")
    there = values(delays, "udp.wan.owd", source="near", target="far")
    back = values(delays, "udp.wan.owd", source="far", target="near")
    expect(len(there) == len(back) == len(trips), f"{case.label}: {len(there)}, {len(back)} of {len(trips)} delays")
    # One host, one clock.
    expect(min(there) > 0 and min(back) > 0, f"{case.label}: a negative delay")
    hops = set(values(records, "udp.wan.hops"))
    expect(hops == {0}, f"{case.label}: hops {hops}")
