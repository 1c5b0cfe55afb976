"""Each end is killed and started again, several times over: the other end finds its way back."""

import time

from lab import collect, expect, values

PORT = 17200
TIMES = 3
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


def fresh(daemon, peer, since_ns, what):
    """Waits for measurements of the peer that were made after an instant."""
    return collect(
        daemon,
        lambda records: all(
            sum(1 for record in records if is_fresh(record, metric, since_ns)) >= ENOUGH for metric in ROUND_TRIPS
        ),
        what,
    )


def is_fresh(record, metric, since_ns):
    if record["metric"] != metric or "points" not in record:
        return False
    at, value = record["points"][0]
    # The Python program publishes a loss as 0.
    return at > since_ns and value > 0


def run(lab):
    ours_settings = settings("new", PORT, PORT + 2, metrics={"send_interval": 1})
    python_settings = settings("old", PORT + 2, PORT)
    ours = lab.ours("ours", ours_settings)
    python = lab.python("python-0", python_settings)
    fresh(ours, "old", 0, "a first exchange")
    recoveries = []
    for number in range(1, TIMES + 1):
        python.kill()
        lost = collect(ours, lambda found: sum(values(found, "udp.wan.lost")) > 0, "losses while the peer is away")
        zeros = [value for metric in ROUND_TRIPS for value in values(lost, metric) if value <= 0]
        expect(not zeros, f"a loss was published as a delay: {zeros[:5]}")
        python = lab.python(f"python-{number}", python_settings)
        began_ns = time.time_ns()
        fresh(ours, "old", began_ns, f"samples after restart {number} of the Python program")
        recoveries.append(time.time_ns() - began_ns)
    lab.note(f"ours back with {ENOUGH} of each after {shown(recoveries)}")
    recoveries = []
    for number in range(1, TIMES + 1):
        ours.kill()
        ours = lab.ours(f"ours-{number}", ours_settings)
        began_ns = time.time_ns()
        fresh(python, "new", began_ns, f"the Python program's samples after restart {number} of ours")
        recoveries.append(time.time_ns() - began_ns)
        fresh(ours, "old", began_ns, f"our samples after restart {number} of ours")
    lab.note(f"Python's after {shown(recoveries)}")


def shown(recoveries_ns):
    return ", ".join(f"{ns / 1e9:.1f} s" for ns in recoveries_ns)
