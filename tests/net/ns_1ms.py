"""A probe a millisecond of each kind between two namespaces, for LM_SECONDS: all of them complete,
and nothing grows."""

import os

from lab import GIVE_UP_S, collect, expect, sockets, values

SECONDS = float(os.environ.get("LM_SECONDS", "30"))
# Histograms and tables have their sizes after this.
WARM_UP_S = 5
GROWTH_KIB = 1024
COUNTS = {
    "udp": ("udp.wan.sent", "udp.wan.received", "udp.wan.lost"),
    "tcp": ("tcp.wan.sent", "tcp.wan.received", "tcp.wan.lost"),
    "connect": ("tcp.wan.latency.sent", None, "tcp.wan.latency.failed"),
}


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, ["192.0.2.1/24"], ["192.0.2.2/24"])
    metrics = {"mode": "windows", "send_interval": 1}
    server = lab.ours("server", {"name": "far", "metrics": metrics}, namespace=far)
    target = {"host": "192.0.2.2", "label": "far", "interval": 1}
    client = lab.ours("client", {"name": "near", "metrics": metrics, "engine": {"spin_us": int(os.environ.get("LM_SPIN_US", "500"))}, "targets": [target]}, namespace=near)
    windows = lambda count: lambda records: len(values(records, "udp.wan.sent")) >= count
    collect(client, windows(WARM_UP_S), "windows of the warm-up")
    ends = (client, server)
    before = [(end.resident_kib(), end.descriptors()) for end in ends]
    count = int(SECONDS)
    records = collect(client, windows(count), f"{count} windows", SECONDS * 2 + GIVE_UP_S)
    after = [(end.resident_kib(), end.descriptors()) for end in ends]
    # A count belongs to the interval that ends with its point: the first one's began earlier.
    sent = [record["points"][0] for record in records if record["metric"] == "udp.wan.sent"]
    span_s = (sent[-1][0] - sent[0][0]) / 1e9
    missed = sum(values(records, "monitor.slots_missed"))
    for kind, (all_sent, received, lost) in COUNTS.items():
        gone = sum(values(records, lost))
        done = values(records, received) if received else values(records, all_sent)
        rate = sum(done[1:]) / span_s
        lab.note(f"{kind} {rate:.1f}/s")
        expect(gone == 0, f"{kind}: {gone} lost")
        # A slot that this host had no processor for is counted by the daemon and says nothing of it.
        given = 999 - missed / span_s
        expect(rate >= given, f"{kind}: {rate:.1f} completed a second ({missed} slots missed by the host)")
    lab.note(f"slots missed {missed} in {span_s:.0f} s")
    for end, (kib, files), (kib_after, files_after) in zip(ends, before, after):
        lab.note(f"{end.label} {kib_after} KiB ({kib_after - kib:+}), {files_after} descriptors ({files_after - files:+})")
        expect(kib_after - kib <= GROWTH_KIB, f"{end.label} has grown by {kib_after - kib} KiB")
        # One connect probe may be under way at either look.
        expect(abs(files_after - files) <= 2, f"{end.label}: {files} descriptors, then {files_after}")
    waiting = [len(sockets("-Htan", space, "state", "time-wait").splitlines()) for space in (near, far)]
    lab.note(f"TIME_WAIT {waiting}")
    expect(waiting == [0, 0], f"sockets in TIME_WAIT: {waiting}")
    for end in ends:
        code, took_s = end.end()
        expect(code == 0, f"{end.label} ended with {code}: {end.log()[-500:]}")
