"""Subscribes to the ZeroMQ backend with pyzmq: subscribers receive the lines of the cli backend, message by message.
One that stops reading costs messages that are counted, and never a probe.
"""

import json
import pathlib
import signal
import time

from lab import GIVE_UP_S, VENV, Failed, expect, pause, wait_until

PORT = 17700
SUBSCRIBER = pathlib.Path(__file__).with_name("subscribe.py")
SAMPLES = 500
# Enough targets to fill the publisher's queue and the system's buffers within half a minute or so.
TARGETS = 2
# Samples around a reader's first one whose order is unknown.
SLACK = 100
# For so long at a time one does not read. Then it reads so many messages.
STOPPED_S, READ_AGAIN = 5, 1_000


def run(lab):
    check_equal_to_cli(lab, "v4", "0.0.0.0", "tcp://127.0.0.1", PORT)
    check_equal_to_cli(lab, "v6", "::", "tcp://[::1]", PORT + 10)
    check_taken_port(lab, PORT + 20)
    check_slow_subscriber(lab, PORT + 30)


def publisher(lab, label, address, port, targets, **settings):
    """Starts a daemon that probes itself, and publishes on stdout and as messages."""
    target = {"host": "127.0.0.1", "tcp_port": port + 1, "udp_port": port + 2}
    return lab.ours(
        label,
        {
            "name": "near",
            # A reader without a processor gets all that waits at the end.
            "shutdown_timeout": 60,
            "tcp_port": port + 1,
            "udp_port": port + 2,
            "metrics": [
                {"backend": "cli", "send_interval": 1},
                {"backend": "zeromq", "address": address, "port": port, "send_interval": 1},
            ],
            "targets": [{**target, "label": f"t{number}"} for number in range(targets)],
            **settings,
        },
    )


def subscriber(lab, label, endpoint, messages=1000):
    return lab.start(label, [VENV / "bin" / "python", SUBSCRIBER, endpoint, "", messages])


def of_the_network(records):
    """Returns the records that every backend gets alike: self-metrics also count each backend's own losses."""
    return [record for record in records if record.get("metric", "").startswith(("udp.", "tcp."))]


def is_sample(record):
    return "seq" in record


def check_equal_to_cli(lab, label, address, host, port):
    daemon = publisher(lab, f"daemon-{label}", address, port, 1, interval=10)
    reader = subscriber(lab, f"reader-{label}", f"{host}:{port}")
    received = []

    def has_enough():
        daemon.expect_alive()
        reader.expect_alive()
        received.extend(reader.records())
        counts = [r for r in received if r.get("metric", "") == "udp.wan.sent"]
        return len([r for r in received if is_sample(r)]) >= SAMPLES and len(counts) >= 2

    wait_until(has_enough, f"{SAMPLES} samples and two counts as messages over {label}")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}")
    printed = of_the_network(daemon.records())
    # What stands before the first sample that it got may be in both, or on stdout only.
    first = next(r for r in received if is_sample(r))
    printed = printed[printed.index(first) :]
    samples = [r for r in printed if is_sample(r)]
    counts = {json.dumps(r) for r in printed if not is_sample(r) and "points" in r}
    expect(counts, "there are no counts on stdout")

    def has_all():
        received.extend(reader.records())
        return samples[-1] in received and counts <= {json.dumps(r) for r in received}

    wait_until(has_all, f"{len(counts)} counts and the last sample of stdout as messages")
    of_samples = [r for r in of_the_network(received) if is_sample(r)]
    expect(samples == of_samples, "samples as messages are not those on stdout, in order")
    lab.note(f"{label}: {len(samples)} samples and {len(counts)} counts as on stdout")


def check_taken_port(lab, port):
    publisher(lab, "first", "127.0.0.1", port, 1, interval=1000)
    second = lab.ours(
        "second",
        {
            "tcp_port": 0,
            "udp_port": 0,
            "log_file": str(lab.folder / "second.log"),
            "metrics": {"backend": "zeromq", "address": "127.0.0.1", "port": port},
        },
        wait=False,
    )
    code = second.process.wait(30)
    wanted = f"cannot start the backend zeromq: cannot bind tcp://127.0.0.1:{port}: Address already in use"
    expect(code == 1 and wanted in second.log(), f"a taken port ended it with {code}: {second.log()[-500:]}")


def check_slow_subscriber(lab, port):
    daemon = publisher(lab, "daemon-slow", "127.0.0.1", port, TARGETS, interval=2)
    printed = Seen(daemon)
    good = Seen(subscriber(lab, "good", f"tcp://127.0.0.1:{port}"))
    slow = Seen(subscriber(lab, "slow", f"tcp://127.0.0.1:{port}", messages=1))
    wait_until(lambda: good.look().samples and slow.look().samples, "both to receive")
    hold_up(slow, printed)
    # Its buffers fill, and nobody gets anything until it is disconnected. Then the other subscriber gets the number
    # of lost messages, in a message.
    wait_until(lambda: good.look().dropped, "drops to be counted")
    printed.look()
    began, newest = good.newest, printed.newest
    wait_until(lambda: good.look().newest > max(began, newest), "the good one to get what is measured again")
    slow.daemon.send(signal.SIGCONT)
    wait_until(lambda: slow.look().newest > newest, "the slow one to be back")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}")
    printed.look()
    wait_until(lambda: good.look().newest >= printed.newest, "what was sent at the end")
    check_account(lab, printed, good)
    check_unharmed(printed)


def hold_up(slow, printed):
    """Stops the slow one, with its queue full. The kernel ends a connection on which nothing moves for ten seconds, and
    what waits there is not counted: where a slow host has not filled the queue by then, it reads a little.
    """
    until = time.monotonic() + GIVE_UP_S
    dropped = lambda: printed.look().totals.get("dropped by zeromq", 0)
    at_first = dropped()
    while True:
        slow.daemon.send(signal.SIGSTOP)
        stopped = time.monotonic()
        while time.monotonic() < stopped + STOPPED_S:
            if dropped() > at_first:
                return
            pause(0.1)
        expect(time.monotonic() < until, "nothing is counted as dropped")
        before = slow.samples
        slow.daemon.send(signal.SIGCONT)
        wait_until(lambda: slow.look().samples >= before + READ_AGAIN, "the slow one to read a little")


class Seen:
    """Counts what one reader has read so far."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.first = self.newest = self.samples = self.others = self.dropped = 0
        self.totals = {}
        # The instant of each sample: a reader may begin later.
        self.times = []

    def look(self):
        for record in self.daemon.records():
            at, value = record["points"][0] if "points" in record else (0, 0)
            if is_sample(record):
                self.samples += 1
                self.times.append(at)
                self.newest = max(self.newest, at)
                continue
            self.others += 1
            if record.get("metric", "") == "monitor.samples_dropped":
                self.dropped += value
            name = record.get("metric", "")
            if name == "monitor.backend.samples_dropped" and "backend:zeromq" in record["tags"]:
                name = "dropped by zeromq"
            self.totals[name] = self.totals.get(name, 0) + value
        return self


def check_account(lab, printed, good):
    """Checks that a reader misses what the counts say: samples, and at most as many others as there are."""
    begin = good.times[0]
    since = sum(1 for at in printed.times if at > begin)
    missed = since - sum(1 for at in good.times if at > begin)
    expect(
        missed > 0 and missed - SLACK <= good.dropped <= missed + printed.others + SLACK,
        f"of {since} samples {missed} are missed, and {good.dropped} records were counted as dropped",
    )
    expect(not printed.dropped, f"the cli backend lost {printed.dropped} with it")
    lab.note(f"one that stopped reading: {missed} of {since} samples dropped, {good.dropped} records counted")


def check_unharmed(printed):
    """Checks that every probe of every flow has its outcome on stdout: a subscriber does not affect the schedule."""
    sent, received, lost = (printed.totals.get(f"udp.wan.{key}", 0) for key in ("sent", "received", "lost"))
    # The end leaves probes in flight.
    if not 0 <= sent - received - lost <= 4 * TARGETS + 8 or lost > sent // 100:
        raise Failed(f"{printed.totals}")
