"""Lets backends hang beside some that do not. Two daemons probe the same host every millisecond at the same time. One
of them has a Datadog and a Pushgateway that accept connections and never answer, and a ZeroMQ subscriber that has
stopped. Both keep the same schedule, and once the buffer is full, memory stays flat. At the end the log says of each how
many records it did not take.

LM_HANG_SECONDS is how long it goes on with a full buffer (20).
"""

import os
import pathlib
import re
import signal
import socket

from lab import GIVE_UP_S, VENV, expect, pause, wait_until

SUBSCRIBER = pathlib.Path(__file__).with_name("subscribe.py")
PORT = 18000
SECONDS = int(os.environ.get("LM_HANG_SECONDS", "20"))
FLOWS = ("udp", "tcp")
TARGETS = 2
# Both daemons are on one host at one time, and meet the same noise. A backend that delayed the probes would do so for
# the ten or thirty seconds of a request.
SHARE_MAX = 0.15
COMPLETED_MIN = 0.8
# Share by which resident memory may grow once everything is full.
GROWTH_MAX = 0.1


def run(lab):
    lab.ours("far", {"name": "far", "tcp_port": PORT, "udp_port": PORT, "metrics": {"mode": "windows"}})
    datadog, gateway = silent(lab), silent(lab)
    hung = [
        {"backend": "datadog", "mode": "samples", "api_key": "key", "url": url(datadog), "buffer_mib": 1},
        {"backend": "pushgateway", "gateway": url(gateway)},
        {"backend": "zeromq", "address": "127.0.0.1", "port": PORT + 1},
    ]
    hanging, plain = Seen(prober(lab, "hanging", hung)), Seen(prober(lab, "plain", []))
    subscriber = lab.start("subscriber", [VENV / "bin" / "python", SUBSCRIBER, f"tcp://127.0.0.1:{PORT + 1}"])
    wait_until(subscriber.records, "the subscriber to receive")
    subscriber.send(signal.SIGSTOP)
    wait_until(lambda: hanging.look().totals.get("dropped"), "the buffer to be full")
    plain.look()
    before = [seen.look().figures() for seen in (hanging, plain)]
    full_kib = hanging.daemon.resident_kib()
    most_kib = watch(hanging, plain)
    after = [seen.look().figures() for seen in (hanging, plain)]
    check_schedule(lab, *(subtract(end, begin) for end, begin in zip(after, before)))
    check_memory(lab, hanging, plain, full_kib, most_kib)
    for seen in (hanging, plain):
        code, took_s = seen.daemon.end()
        expect(code == 0, f"{seen.daemon.label} ended with {code}: {seen.daemon.log()[-500:]}")
        lab.note(f"{seen.daemon.label} ended in {took_s:.1f} s")
    warnings = [line for line in hanging.daemon.log().splitlines() if "the buffer is full" in line]
    expect(len(warnings) == 1, f"a full buffer is reported {len(warnings)} times")
    check_told(lab, hanging.daemon, [backend["backend"] for backend in hung])


def check_told(lab, daemon, names):
    """At the end each backend that hangs is named with its number, and only those are."""
    told = re.findall(r'(\d+) records are lost since the start.*backend="(\w+)"', daemon.log())
    lost = {name: int(number) for number, name in told}
    expect(sorted(lost) == sorted(names) and len(told) == len(names), f"told of {told}")
    lab.note(f"lost at the end: {lost}")


def silent(lab):
    """A server whose connections the system accepts, and that never answers."""
    server = lab.cleanup.enter_context(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen(1024)
    return server


def url(server):
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def prober(lab, label, backends):
    shared = {"send_interval": 1}
    target = {"host": "127.0.0.1", "interval": 1, "tcp_port": PORT, "udp_port": PORT}
    return lab.ours(
        label,
        {
            "name": label,
            "tcp_port": 0,
            "udp_port": 0,
            "metrics": [{**shared, **backend} for backend in [{"backend": "cli", "mode": "windows"}, *backends]],
            "targets": [{**target, "label": f"{label}-{number}"} for number in range(TARGETS)],
        },
    )


class Seen:
    """Adds up what a daemon has printed."""

    COUNTS = {
        "monitor.slots_missed": "missed",
        "monitor.backend.dropped": "dropped",
        **{f"{flow}.wan.sent": "sent" for flow in FLOWS},
        **{f"{flow}.wan.received": "received" for flow in FLOWS},
    }

    def __init__(self, daemon):
        self.daemon = daemon
        self.totals = {}

    def look(self):
        self.daemon.expect_alive()
        for record in self.daemon.records():
            name = self.COUNTS.get(record.get("metric", ""))
            if name:
                self.totals[name] = self.totals.get(name, 0) + record["points"][0][1]
        return self

    def figures(self):
        return {key: self.totals.get(key, 0) for key in ("sent", "received", "missed")}


def subtract(end, begin):
    return {key: end[key] - begin[key] for key in end}


def watch(hanging, plain):
    """Lets both go on for so many seconds of slots; returns the most memory of the hanging one."""
    slots = lambda seen: sum(seen.look().figures()[key] for key in ("sent", "missed"))
    goal = slots(hanging) + SECONDS * 1000 * TARGETS * len(FLOWS)
    most_kib = 0

    def enough():
        nonlocal most_kib
        most_kib = max(most_kib, hanging.daemon.resident_kib())
        plain.look()
        pause(0.5)
        return slots(hanging) >= goal

    wait_until(enough, f"{goal} slots", give_up_s=GIVE_UP_S + 4 * SECONDS)
    return most_kib


def check_schedule(lab, hanging, plain):
    shares, completed, all_slots = [], [], []
    for label, figures in (("hanging", hanging), ("plain", plain)):
        slots = figures["sent"] + figures["missed"]
        shares.append(figures["missed"] / slots)
        completed.append(figures["received"] / slots)
        all_slots.append(slots)
        lab.note(f"{label}: {figures['missed']} of {slots} slots missed, {figures['received']} probes completed")
    expect(shares[0] <= shares[1] + SHARE_MAX, f"a share of {shares[0]:.4f} of the slots is missed, not {shares[1]:.4f}")
    # Each of its own slots: the windows of one may be a part of a second ahead of the other's.
    expect(all_slots[0] >= COMPLETED_MIN * all_slots[1], f"slots that are neither sent nor missed: {all_slots}")
    ratio = completed[0] / completed[1]
    expect(ratio >= COMPLETED_MIN, f"{ratio:.3f} as many probes are completed")


def check_memory(lab, hanging, plain, full_kib, most_kib):
    growth = most_kib / full_kib - 1
    lab.note(
        f"resident {full_kib} KiB when the buffer was full, {most_kib} KiB at most in {SECONDS} s more, while "
        f"{hanging.totals['dropped']} records were dropped and counted; {plain.daemon.resident_kib()} KiB without those backends"
    )
    expect(growth <= GROWTH_MAX, f"resident memory grew by {growth:.2f} after the buffer was full")
