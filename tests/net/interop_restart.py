"""Kills and restarts each end several times: the other end resumes."""

import time

from lab import collect, expect, run as command, values

PORT = 17200
TIMES = 5
ENOUGH = 20
ROUND_TRIPS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]


def settings(name, own, other, **extra):
    return {
        "name": name,
        "tcp_port": own,
        "udp_port": own + 1,
        "interval": 20,
        "timeout": 0.3,
        "targets": [{"host": "127.0.0.1", "label": "peer", "tcp_port": other, "udp_port": other + 1}],
        **extra,
    }


def run(lab):
    # One read of the Python program's TCP end must be one message: see docs/design/text-wire.md.
    ours_settings = settings("new", PORT, PORT + 2, metrics={"send_interval": 1}, size=1470)
    python_settings = settings("old", PORT + 2, PORT)
    ours = lab.ours("ours", ours_settings)
    python = lab.python("python-0", python_settings)
    fresh(ours, 0, "a first exchange")
    fresh(python, 0, "a first exchange")
    python = restart_python(lab, ours, python, python_settings)
    restart_ours(lab, ours, python, ours_settings)


def restart_python(lab, ours, python, python_settings):
    outages, recoveries, lost = [], [], []
    for number in range(1, TIMES + 1):
        if number == 2:
            # The Python program cannot bind its port while its old connections are in TIME_WAIT. That makes the first
            # outage a long one; the others have no TIME_WAIT and are short.
            command("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0")
        gone_s = time.monotonic()
        python.kill()
        seen = collect(
            ours,
            # Without a connection TCP loses no probes, but has slots that it could not use.
            lambda found: all(sum(values(found, count)) > 0 for count in ("udp.wan.lost", "tcp.wan.unsent")),
            "losses while the peer is away",
        )
        zeros = [value for metric in ROUND_TRIPS for value in values(seen, metric) if value <= 0]
        expect(not zeros, f"a loss was published as a delay: {zeros[:5]}")
        python = lab.python(f"python-{number}", python_settings)
        outages.append(time.monotonic() - gone_s)
        began_ns = time.time_ns()
        seen += fresh(ours, began_ns, f"samples after restart {number} of the Python program")
        recoveries.append((time.time_ns() - began_ns) / 1e9)
        lost.append(sum(values(seen, "udp.wan.lost")))
        fresh(python, began_ns, f"the Python program's samples after its restart {number}")
    lab.note(f"Python away for {shown(outages)}, udp lost {lost}, ours back after {shown(recoveries)}")
    return python


def restart_ours(lab, ours, python, ours_settings):
    recoveries = []
    for number in range(1, TIMES + 1):
        ours.kill()
        ours = lab.ours(f"ours-{number}", ours_settings)
        began_ns = time.time_ns()
        fresh(python, began_ns, f"the Python program's samples after restart {number} of ours")
        recoveries.append((time.time_ns() - began_ns) / 1e9)
        fresh(ours, began_ns, f"our samples after restart {number} of ours")
    lab.note(f"ours away, Python's back after {shown(recoveries)}")


def fresh(daemon, since_ns, what):
    """Waits for measurements made after an instant; returns what was printed meanwhile."""
    return collect(
        daemon,
        lambda records: all(
            sum(is_fresh(record, metric, since_ns) for record in records) >= ENOUGH for metric in ROUND_TRIPS
        ),
        what,
    )


def is_fresh(record, metric, since_ns):
    if record.get("metric", "") != metric or "points" not in record:
        return False
    at, value = record["points"][0]
    # The Python program publishes a loss as 0.
    return at > since_ns and value > 0


def shown(seconds):
    return ", ".join(f"{one:.1f}" for one in seconds) + " s"
