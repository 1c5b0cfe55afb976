"""Sends a probe a millisecond of each kind between two namespaces, for LM_SECONDS: all of them complete, and nothing
grows.
"""

import os

from lab import FAR, GIVE_UP_S, collect, expect, sockets, values

SECONDS = int(os.environ.get("LM_SECONDS", "120"))
# Virtual machines oversleep by milliseconds now and then. The client spins to meet every slot there.
SPIN_US = int(os.environ.get("LM_SPIN_US", "500"))
# Seconds until histograms and tables have their sizes.
WARM_UP_S = 5
GROWTH_KIB = 1024
# A stop of the host that is shorter is no loss.
STALL_S = 3
# At the end of one of so many windows neither end stands still.
LAST_WINDOWS = 5
RATE_LEAST = 999
# Of each kind: the counts of sent, of completed, and of failed probes.
COUNTS = {
    "udp": ("udp.wan.sent", "udp.wan.received", "udp.wan.lost"),
    "tcp": ("tcp.wan.sent", "tcp.wan.received", "tcp.wan.lost"),
    "connect": ("tcp.wan.latency.sent", None, "tcp.wan.latency.failed"),
}
SENT = [sent for sent, _, _ in COUNTS.values()]


def run(lab):
    near, far = lab.ends()
    metrics = {"mode": "windows", "send_interval": 1}
    server = lab.ours("server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": FAR, "label": "far", "interval": 1, "timeout": STALL_S}
    engine = {"spin_us": SPIN_US}
    settings = {"name": "near", "metrics": metrics, "engine": engine, "targets": [target]}
    client = lab.ours("client", settings, namespace=near)
    ends = (client, server)
    windows(client, WARM_UP_S)
    before = [(end.resident_kib(), end.descriptors()) for end in ends]
    # The interval of the first point began before it, so it is not of this measurement.
    records = windows(client, SECONDS + 1)
    after = [(end.resident_kib(), end.descriptors()) for end in ends]
    check_probes(lab, records)
    for end, (kib, files), (kib_after, files_after) in zip(ends, before, after):
        grown, opened = kib_after - kib, files_after - files
        lab.note(f"{end.label} {kib_after} KiB ({grown:+}), {files_after} descriptors ({opened:+})")
        expect(grown <= GROWTH_KIB, f"{end.label} has grown by {grown} KiB")
        # A connect probe may be under way at either look.
        expect(abs(opened) <= 2, f"{end.label}: {files} descriptors, then {files_after}")
    waiting = [len(sockets("-Htan", space, "state", "time-wait").splitlines()) for space in (near, far)]
    lab.note(f"TIME_WAIT {waiting}")
    expect(waiting == [0, 0], f"sockets in TIME_WAIT: {waiting}")
    for end in ends:
        code, _ = end.end()
        expect(code == 0, f"{end.label} ended with {code}: {end.log()[-500:]}")


def windows(client, count):
    """Collects the records of so many windows of each kind."""

    def enough(records):
        return all(len(values(records, metric)) >= count for metric in (*SENT, "monitor.slots_missed"))

    return collect(client, enough, f"{count} windows", 2 * count + GIVE_UP_S)


def check_probes(lab, records):
    """Fails unless every slot of every kind has a completed probe. Slots that the host missed are counted by the
    daemon, and left out.
    """
    ends = set.intersection(*({at for at, _ in points(records, sent)} for sent in SENT))
    begin = min(ends)

    def total(metric, end):
        # A window's counts bear its end: the first one lies before the span.
        return sum(count for at, count in points(records, metric) if begin < at <= end)

    def under_way(end):
        return sum(total(sent, end) - total(received, end) for sent, received, _ in COUNTS.values() if received)

    # Some probes are under way at the end of each window: many where one end stands still just then.
    end = min(sorted(ends)[1:][-LAST_WINDOWS:], key=under_way)
    span_s = (end - begin) / 1e9

    missed, complete = total("monitor.slots_missed", end), 0
    for kind, (sent, received, lost) in COUNTS.items():
        # A connect probe that did not fail is complete.
        done = total(received, end) if received else total(sent, end) - total(lost, end)
        complete += done
        all_lost = total(lost, max(ends))
        lab.note(f"{kind} {done / span_s:.1f}/s, {all_lost} lost")
        expect(all_lost == 0, f"{kind}: {all_lost} lost")
    lab.note(f"{missed} slots missed in {span_s:.0f} s")
    least = RATE_LEAST * len(COUNTS) * span_s
    enough = complete + missed >= least
    expect(enough, f"{complete} probes completed and {missed} slots missed, not {least:.0f} together")


def points(records, metric):
    return [record["points"][0] for record in records if record.get("metric", "") == metric]
