"""Cuts a link in four ways; each kind of probe tells the outage when it begins and when it ends, as long as it was.

The link of the prober goes down, its route is taken away, the link swallows all packets, and the peer's host does
not answer at all from the start. Each time the share of probes that users compute as loss is 1, the log says what the
system says, and all is measured again within a timeout and a second.
"""

import time

from lab import FAR, collect, expect, pause, run as command, values

KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
FLOWS = ["udp", "tcp", "connect"]
INTERVAL_MS = 50
TIMEOUT_S = 0.5
AWAY_S = 8
SAMPLES = 20
# A neighbour that was given up is asked for again after a second, by the kernel.
NEIGHBOUR_S = 1
# A busy host acts late: the cut and the repair are each a program that has to be started.
LATE_S = 0.5
NO_ROUTE, DOWN, SILENT = "there is no route to the peer", "the network is down", "no probe is answered"


def run(lab):
    near, far = lab.ends()
    server = lab.ours("server", {"name": "far"}, namespace=far)
    target = {"host": FAR, "interval": INTERVAL_MS, "timeout": TIMEOUT_S}
    settings = {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.5}, "targets": [target]}
    nft = ["ip", "netns", "exec", near, "nft"]
    command(*nft, "add table ip lmtest")
    command(*nft, "add chain ip lmtest out { type filter hook output priority 0; }")
    link = ["ip", "-n", near, "link", "set", "lm0"]
    ways = {
        "link-down": ([*link, "down"], [*link, "up"], (NO_ROUTE, DOWN)),
        "no-route": (
            ["ip", "-n", near, "route", "del", "192.0.2.0/24", "dev", "lm0"],
            ["ip", "-n", near, "route", "add", "192.0.2.0/24", "dev", "lm0"],
            (NO_ROUTE,),
        ),
        # Of what the host's own filter drops, the system says that it is not permitted; so a link swallows it.
        "black-hole": (
            ["ip", "-n", far, "addr", "del", f"{FAR}/24", "dev", "lm0"],
            ["ip", "-n", far, "addr", "add", f"{FAR}/24", "dev", "lm0"],
            (SILENT, NO_ROUTE),
        ),
        "filter": ([*nft, "add rule ip lmtest out drop"], [*nft, "flush chain ip lmtest out"], (SILENT, "does not permit")),
    }
    for way, (cut, mend, reasons) in ways.items():
        client = lab.ours(way, settings, namespace=near)
        collect(client, has_samples, "samples")
        told_before = client.log().count("an outage has begun")
        began = time.time()
        command(*cut)
        cut_at = time.time()
        pause(AWAY_S)
        during = client.records()
        told = [event for event in during if event.get("event") == "outage_begin"]
        for flow in FLOWS:
            expect(any(event["flow"] == flow for event in told), f"{way}: no begin of an outage of {flow}: {told}")
        check_share(way, during)
        mended = time.time()
        command(*mend)
        records = collect(client, lambda found: has_samples(found) and has_ends(found), "samples and ends of outages", 20)
        check_lengths(lab, way, records, began, cut_at, mended)
        log = client.log()
        expect(any(reason in log for reason in reasons), f"{way}: the log says none of {reasons}: {log[-800:]}")
        lines = log.count("an outage has begun") - told_before
        expect(lines <= 2 * len(FLOWS), f"{way}: {lines} lines for {len(FLOWS)} outages")
        end(client)
    end(server)
    check_never_there(lab, near)


def check_share(way, during):
    """Checks the documented expression over the windows in the middle of the outage."""
    for protocol in ("udp.wan", "tcp.wan"):
        lost, unsent, sent = (sum(values(during, f"{protocol}.{name}")[2:-1]) for name in ("lost", "unsent", "sent"))
        share = (lost + unsent) / (sent + unsent)
        # What is lost was sent a timeout before.
        expect(share > 0.8, f"{way}: {lost} lost and {unsent} unsent of {sent} and {unsent} of {protocol}")


def check_lengths(lab, way, records, began, cut_at, mended):
    ends = {event["flow"]: event for event in records if event.get("event") == "outage"}
    back = {}
    for flow in FLOWS:
        event = ends[flow]
        start, length = event["start"] / 1e9, event["duration"] / 1e9
        # The first slot after the cut, or one whose reply was cut off.
        expect(began - TIMEOUT_S <= start <= cut_at + LATE_S + INTERVAL_MS / 1e3, f"{way}: {flow} was cut at {start - cut_at:+.3f} s")
        back[flow] = start + length - mended
        slack = TIMEOUT_S + 1 + NEIGHBOUR_S + LATE_S
        expect(-LATE_S <= back[flow] <= slack, f"{way}: {flow} was back {back[flow]:+.3f} s after the repair")
    lab.note(f"{way}: back after " + ", ".join(f"{flow} {seconds:.2f} s" for flow, seconds in back.items()))


def check_never_there(lab, near):
    """Nobody answers at this address from the start: that is an outage as well, and its share of losses is 1."""
    target = {"host": "192.0.2.99", "interval": INTERVAL_MS, "timeout": TIMEOUT_S}
    settings = {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.5}, "targets": [target]}
    client = lab.ours("never-there", settings, namespace=near)
    records = collect(client, lambda found: begun(found) == set(FLOWS), "begins of outages", 20)
    pause(2)
    records += client.records()
    for protocol in ("udp.wan", "tcp.wan"):
        lost, unsent, sent = (sum(values(records, f"{protocol}.{name}")) for name in ("lost", "unsent", "sent"))
        expect(sent + unsent > 0, f"{protocol}: nothing was due")
        in_flight = TIMEOUT_S * 1000 / INTERVAL_MS + 1
        expect(lost + unsent >= sent + unsent - in_flight, f"{protocol}: {lost} lost, {unsent} unsent, {sent} sent")
    end(client)


def begun(records):
    return {event["flow"] for event in records if event.get("event") == "outage_begin"}


def has_samples(records):
    return all(sum(window["count"] for window in windows(records, kind)) >= SAMPLES for kind in KINDS)


def windows(records, metric):
    return [record for record in records if record.get("metric") == metric and "count" in record]


def has_ends(records):
    return {event["flow"] for event in records if event.get("event") == "outage"} == set(FLOWS)


def end(daemon):
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
