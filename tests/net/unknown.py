"""Keeps from the daemon what it would publish: the state of the clock, as systemd's ProtectClock=yes does, and /proc.

What is not known is in no store, and the log says once that the clock's state is not; all else is published.
"""

import json
import pathlib
import signal
import sys

import pushgateway
from lab import at_least, collect, expect, values, wait_until

PROTECT_CLOCK = pathlib.Path(__file__).with_name("protect_clock.py")
NO_PROC = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs lm-lab /proc && exec "$@"', "sh"]
PORT = 18500
# The daemon asks for the state of the clock once a second.
WINDOWS = 4
# No value of a metric is near the largest number that fits.
PLAUSIBLE = 2**60
CLOCK, PROC = {"monitor.clock.error", "monitor.clock.synchronised"}, {"monitor.resident"}
TOLD = "the system does not tell the state of this host's clock"


def run(lab):
    pushgateway.start_gateway(lab, "gateway")
    ways = {"plain": ([], set()), "clock": ([sys.executable, PROTECT_CLOCK], CLOCK), "proc": (NO_PROC, PROC)}
    daemons = {}
    for place, (way, (prefix, _)) in enumerate(ways.items()):
        path = lab.write(way, settings(lab, way, PORT + 10 * place))
        daemons[way] = lab.start(way, [*prefix, lab.binary, "-c", path])
    for way, (_, unknown) in ways.items():
        daemon, others = daemons[way], (CLOCK | PROC) - unknown
        # That of the peer's clock needs no word of the system.
        known = [*others, "monitor.cpu", "udp.wan.sent", "clock.error"]
        records = collect(daemon, at_least(WINDOWS, known), "windows")
        wait_until(lambda: others <= pushed(way), f"{way}: a push with {others}")
        check_numbers(way, records, unknown)
        told = daemon.log().count(TOLD)
        expect(told == (unknown == CLOCK), f"{way}: told {told} times: {daemon.log()[-500:]}")
        check_dump(lab, way, daemon, unknown)
        code, _ = daemon.end()
        expect(code == 0, f"{way} ended with {code}: {daemon.log()[-500:]}")
    lab.note(f"no number stands for what is unknown of {', '.join(sorted(CLOCK | PROC))}")


def settings(lab, way, port):
    ports = {"tcp_port": port, "udp_port": port + 1}
    shared = {"send_interval": 0.5, "mode": "windows"}
    backends = [{"backend": "cli"}, {"backend": "pushgateway", "gateway": pushgateway.GATEWAY}]
    return {
        "name": way,
        **ports,
        "burst": {"dump_dir": str(lab.folder / f"dumps-{way}")},
        "metrics": [{**shared, **backend} for backend in backends],
        "targets": [{"host": "127.0.0.1", "interval": 20, **ports}],
    }


def pushed(way):
    """Returns which of the metrics that may be unknown are at the gateway."""
    lines = [line for line in (pushgateway.fetch() or "").splitlines() if f'instance="{way}"' in line]
    return {metric for metric in CLOCK | PROC if any(line.startswith(metric.replace(".", "_")) for line in lines)}


def check_numbers(way, records, unknown):
    for metric in unknown:
        found = values(records, metric)
        expect(not found, f"{way}: {metric} is {found[:3]}")
    for record in records:
        for _, value in record.get("points", []):
            expect(abs(value) < PLAUSIBLE, f"{way}: {record}")
    expect(not unknown & pushed(way), f"{way}: {unknown & pushed(way)} at the gateway")


def check_dump(lab, way, daemon, unknown):
    """A dump does not know the clock's state either."""
    daemon.send(signal.SIGUSR1)
    daemon.wait_for_log("dumped")
    (path,) = (lab.folder / f"dumps-{way}").glob("*.jsonl")
    header = json.loads(path.read_text().splitlines()[0])
    expect((header["own_clock"] is None) == (unknown == CLOCK), f"{way}: {header}")
