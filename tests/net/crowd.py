"""Opens more connections of strangers than the daemon has descriptors. Its own probes go on, and refused connections
are counted.
"""

import contextlib
import resource
import socket

from hostile import request
from lab import collect, expect, values, wait_until

PORT = 17500
DESCRIPTORS = 256
CROWD = 400
# Enough intervals for the daemon to meet everything that it accepted meanwhile.
INTERVALS = 4
UNSENT = ["udp.wan.unsent", "tcp.wan.unsent", "tcp.wan.latency.unsent"]


def run(lab):
    lab.ours("peer", {"name": "far", "tcp_port": PORT + 2, "udp_port": PORT + 3})
    target = {"host": "127.0.0.1", "label": "far", "tcp_port": PORT + 2, "udp_port": PORT + 3}
    daemon = lab.ours(
        "crowded",
        {
            "name": "near",
            "tcp_port": PORT,
            "udp_port": PORT + 1,
            "interval": 50,
            "metrics": {"send_interval": 1},
            "targets": [target],
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
    )
    collect(daemon, lambda found: len(values(found, "tcp.wan.latency.sent")) >= 2, "an exchange before")
    before = daemon.descriptors()
    with contextlib.ExitStack() as crowd:
        for number in range(CROWD):
            stranger = crowd.enter_context(socket.create_connection(("127.0.0.1", PORT)))
            # A connection that has sent something may be slow to send more, and stays.
            stranger.sendall(request(0, f"stranger-{number}"))
        enough = lambda found: len(values(found, UNSENT[-1])) >= INTERVALS
        records = collect(daemon, enough, "counts in the crowd")
        most = daemon.descriptors()
    wait_until(lambda: daemon.descriptors() <= before + 2, "descriptors to come back")
    refused = sum(values(records, "monitor.responder.refused"))
    unsent = {name: sum(values(records, name)) for name in UNSENT}
    lab.note(f"{CROWD} connections, {most} of {DESCRIPTORS} descriptors in use, {refused} refused")
    expect(not any(unsent.values()), f"strangers have taken the descriptors of our own probes: {unsent}")
    expect(refused > 0, "nobody is counted as refused")
    code, _ = daemon.end()
    expect(code == 0, f"exit code {code}")
