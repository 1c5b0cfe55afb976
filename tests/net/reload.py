"""A configuration that is read again. A host that probes a thousand targets gets a file with ten others: the 990 keep
their ports and lose no slot and no probe. Then all of them get other tags, and keep their ports. A file with a mistake
changes nothing. A thousand reloads that each replace
ten targets cost no memory and no descriptor in the end.
"""

import os
import signal

from capture import UDP, Capture, end_captures, packets
from lab import FAR, expect, pause, values, wait_until

TARGETS, CHANGED = 1_000, 10
PORT = 8001
INTERVAL_MS = int(os.environ.get("LM_RELOAD_INTERVAL_MS", "50"))
TIMEOUT_S = 5
WINDOW_S = 0.5
RELOADS = int(os.environ.get("LM_RELOADS", "1000"))
# What the heap may keep in its holes, of what there was after half of them. If the five thousand targets of the second
# half left a tenth of themselves behind, it would be more.
GROWTH_MAX = 0.15
CAPTURE_S = 20 * INTERVAL_MS / 1_000
# Room for seconds of all probes: a stop of the host loses none.
RECEIVE_BUFFER_KIB = 1 << 16


def settings(generation, interval_ms=INTERVAL_MS, window_s=WINDOW_S, tags=()):
    """Ten targets are others in each generation."""
    label = lambda number: f"changed-{number}-{generation}" if number < CHANGED else f"kept-{number}"
    target = {"host": FAR, "type": "udp", "interval": interval_ms, "timeout": TIMEOUT_S}
    metrics = {"mode": "windows", "send_interval": window_s}
    # The rest of a target decides whether its flows can go on, and its label does not.
    max_lost = lambda number: 10 + (generation if number < CHANGED else 0)
    targets = [{**target, "label": label(number), "max_lost": max_lost(number)} for number in range(TARGETS)]
    if tags:
        targets = [{**target, "tags": list(tags)} for target in targets]
    return {"name": "near", "metrics": metrics, "targets": targets}


class Reloads:
    """Gives a daemon other files, and reads what it says of them."""

    def __init__(self, lab, client):
        self.lab, self.client = lab, client
        self.log = open(client.err_path)

    def reload(self, settings, more=""):
        path = self.lab.write(self.client.label, settings)
        with open(path, "a") as file:
            file.write(more)
        self.log.read()
        self.client.send(signal.SIGHUP)
        told = ""

        def is_told():
            nonlocal told
            told += self.log.read()
            return "read again" in told and told.endswith("\n")

        wait_until(is_told, "the daemon to have read its file again")
        return told


def run(lab):
    near, far = lab.ends()
    lab.ours("server", {"name": "far", "engine": {"receive_buffer_kib": RECEIVE_BUFFER_KIB}}, namespace=far)
    client = lab.ours("client", settings(0), namespace=near)
    reloads, records = Reloads(lab, client), []

    def is_probed(label, tag=""):
        records.extend(client.records())
        tagged = [record for record in records if not tag or tag in record.get("tags", ())]
        return sum(values(tagged, "udp.wan.received", target=label)) > 0

    wait_until(lambda: is_probed(f"kept-{TARGETS - 1}"), "the last target to be probed")
    pause(2 * WINDOW_S)
    before = ports(lab, "before", near)
    told = reloads.reload(settings(1))
    expect(f"kept={TARGETS - CHANGED} relabelled=0 rekeyed=0 added={CHANGED} removed={CHANGED}" in told, told)
    wait_until(lambda: is_probed(f"changed-{CHANGED - 1}-1"), "the new targets to be probed")
    after = ports(lab, "after", near)
    kept = len(before & after)
    lab.note(f"{kept} of {len(before)} ports are the same")
    expect(len(before) == len(after) == TARGETS and kept == TARGETS - CHANGED, f"{kept} ports are the same")
    told = reloads.reload(settings(1, tags=["again:yes"]))
    expect(f"kept=0 relabelled={TARGETS} rekeyed=0 added=0 removed=0" in told, told)
    wait_until(lambda: is_probed(f"kept-{TARGETS - 1}", "again:yes"), "the targets to have other tags")
    renamed = ports(lab, "renamed", near)
    expect(renamed == after, f"{len(renamed & after)} of {len(after)} ports are the same")
    told = reloads.reload(settings(1), "no_such_key = 5\n")
    expect("nothing has changed" in told and "no_such_key" in told, told)
    # Whatever was lost is known then.
    pause(TIMEOUT_S + 2 * WINDOW_S)
    records.extend(client.records())
    check_kept(lab, records)
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
    flat(lab, near)


def ports(lab, label, near):
    """Returns the ports that the daemon sends from."""
    capture = Capture(lab, label, near)
    pause(CAPTURE_S)
    end_captures([capture], near, FAR)
    of_target = lambda packet: packet.protocol == UDP and packet.target_port == PORT
    return {packet.source_port for packet in packets(capture.path) if of_target(packet)}


def check_kept(lab, records):
    """No target that was kept has lost a probe, or could not send one; and none was late into its slot."""
    by_target = {}
    for record in records:
        if record.get("metric") in ("udp.wan.sent", "udp.wan.lost", "udp.wan.unsent") and "points" in record:
            target = next(tag for tag in record["tags"] if tag.startswith("target:"))
            found = by_target.setdefault(target, {})
            [at_ns, value] = record["points"][0]
            found[record["metric"]] = found.get(record["metric"], 0) + value
            if record["metric"] == "udp.wan.sent":
                found.setdefault("slots", []).append((at_ns, value))
    kept = [found for target, found in by_target.items() if target.startswith("target:kept-")]
    expect(len(kept) == TARGETS - CHANGED, f"{len(kept)} targets are kept")
    # From a window that all have, since a thousand targets begin one after the other, to one that all have printed.
    ends_ns = [at_ns for at_ns, _ in kept[-1]["slots"]]
    first_ns, last_ns = ends_ns[1] + WINDOW_S * 5e8, ends_ns[-2] + WINDOW_S * 5e8
    sent = [sum(value for at_ns, value in found["slots"] if first_ns < at_ns <= last_ns) for found in kept]
    wrong = [found for found in kept if found["udp.wan.lost"] or found.get("udp.wan.unsent")]
    expect(not wrong, f"probes of targets that were kept are lost or unsent: {wrong[:3]}")
    # Their counters are read within an interval at either end. A host that had no processor for longer than that has
    # missed slots, and says so.
    missed = sum(values(records, "monitor.slots_missed"))
    expect(max(sent) - min(sent) <= 2 + missed, f"between {min(sent)} and {max(sent)} slots")
    lab.note(f"{sum(sent)} probes of the {len(kept)} others, none lost; {missed} slots missed by the host")


def flat(lab, near):
    """A thousand reloads: memory after them is what it was after half of them, and so are the descriptors."""
    # Records would be most of the work, and one window has all of the targets that there have been.
    of = lambda generation: settings(generation, interval_ms=1_000, window_s=1)
    client = lab.ours("flat", of(0), namespace=near)
    reloads = Reloads(lab, client)
    pause(2)
    descriptors, half = client.descriptors(), 0
    for generation in range(1, RELOADS + 1):
        reloads.reload(of(generation))
        if generation == RELOADS // 2:
            half = client.resident_kib()
    # What was closed last is closed.
    wait_until(lambda: client.descriptors() <= descriptors, f"{client.descriptors()} descriptors to be {descriptors}")
    grown = client.resident_kib() / half - 1
    lab.note(f"{RELOADS} reloads: {half} KiB after half of them, {grown:+.1%} at the end")
    expect(grown <= GROWTH_MAX, f"memory has grown by {grown:.1%}")
    code, _ = client.end()
    expect(code == 0, f"the client ended with {code}: {client.log()[-500:]}")
