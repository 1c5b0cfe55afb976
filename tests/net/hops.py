"""The hops of paths over parallel links, as events and `trace` tell them, are those that each flow's packets crossed;
and nothing that is counted knows of it.

Two daemons probe the same host side by side, one of which traces. A third one traces its path to the Python program.
"""

import itertools
import json

from lab import collect, expect, pause, points, run as command, values
from paths import FAR, LINKS, UDP_PORT, topology

TARGETS = 4
INTERVAL_MS = 1
TRACED_S = 15
# The flows of `trace`.
FLOWS = 8
# A stop of the host that is shorter is no loss.
STALL_S = 5
# The probes that are completed may differ by this share, with tracing and without.
SHARE = 0.001
# At the end of one of so many windows neither end stands still.
LAST_WINDOWS = 5


def run(lab):
    paths = topology(lab)
    for router in (paths.r1, paths.r2):
        # Linux answers a host's packets whose TTL is used up once a second. Eight flows ask at once.
        command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0")
    server = lab.ours("server", {"name": "far"}, namespace=paths.far)
    listens = {"name": "old", "tcp_port": 7000, "udp_port": 7001}
    python = lab.python("python", {**listens, "targets": []}, namespace=paths.far)
    targets = [
        {"host": FAR, "label": f"far{number}", "interval": INTERVAL_MS, "type": "udp", "protocol": "native", "timeout": STALL_S}
        for number in range(TARGETS)
    ]
    old = {"host": FAR, "label": "old", "interval": 100, "type": "udp", "protocol": "text", "udp_port": 7001, "timeout": STALL_S}
    metrics = {"metrics": {"mode": "windows", "send_interval": 1}}
    settings = {"name": "near", **metrics, "path": {"interval": 5}}
    client = lab.ours("client", {**settings, "targets": targets}, namespace=paths.near)
    settings = {**settings, "udp_port": 8201, "tcp_port": 8200, "targets": [old]}
    to_python = lab.ours("to-python", settings, namespace=paths.near)
    plain = {"name": "plain", "udp_port": 8101, "tcp_port": 8100, **metrics, "path": {"interval": 0, "on": []}}
    plain["targets"] = [{**target, "udp_port": UDP_PORT} for target in targets]
    untraced = lab.ours("untraced", plain, namespace=paths.near)
    pause(TRACED_S)
    shown = command("ip", "netns", "exec", paths.near, str(lab.binary), "trace", "--flows", str(FLOWS), "--json", FAR)
    for daemon in (client, untraced):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    records = client.records()
    crossed = {port: link for link in range(LINKS) for port in paths.crossing(link, "forward")}
    told = [event for event in records if event.get("event") == "path"]
    check_hops(told, crossed)
    expect(len({event["source_port"] for event in told}) == TARGETS, f"not every flow has its path: {told}")
    changes = [event for event in records if event.get("event") == "path_change"]
    expect(not changes, f"nothing has changed: {changes}")
    check_probes(lab, records, untraced.records())
    at_terminal = [json.loads(line) for line in shown.splitlines()]
    check_hops(at_terminal, crossed)
    flows = {event["source_port"] for event in at_terminal}
    expect(len(flows) == FLOWS, f"`trace` shows {len(flows)} flows of {FLOWS}: {at_terminal}")
    links = {crossed[port] for port in flows}
    expect(len(links) > 1, f"{FLOWS} flows over one link: {links}")
    lab.note(f"`trace`: {FLOWS} flows over {len(links)} links")
    check_python(to_python, python)
    server.expect_alive()


def check_hops(events, crossed):
    for event in events:
        expect(event["reached"], f"a path that ends: {event}")
        link = crossed[event["source_port"]]
        wanted = ["192.0.2.254", f"203.0.113.{4 * link + 2}", FAR]
        expect([hop["address"] for hop in event["hops"]] == wanted, f"not by {wanted}: {event}")


def check_probes(lab, traced, untraced):
    """No probe is lost or counted twice, and as many are completed as without tracing."""
    shares = []
    for records in (traced, untraced):
        counts = {}
        for count in ("sent", "received", "lost", "duplicate"):
            found = (values(records, f"udp.wan.{count}", target=f"far{number}") for number in range(TARGETS))
            counts[count] = sum(sum(one) for one in found)
        expect(counts["sent"] > TARGETS * TRACED_S * 1000 / INTERVAL_MS / 2, f"few probes: {counts}")
        expect(counts["lost"] == counts["duplicate"] == 0, f"nothing is lost here, or comes twice: {counts}")
        shares.append(1 - under_way(records) / counts["sent"])
    expect(abs(shares[0] - shares[1]) <= SHARE, f"completed with tracing and without: {shares}")
    lab.note("completed with tracing and without: {:.5f} and {:.5f}".format(*shares))


def under_way(records):
    """Returns how many probes were sent and not completed at the end of that one of the last windows where they were
    fewest: some are under way at each.
    """
    balance = {}
    for sign, count in ((1, "sent"), (-1, "received")):
        for at, value in points(records, f"udp.wan.{count}"):
            balance[at] = balance.get(at, 0) + sign * value
    sums = list(itertools.accumulate(value for _, value in sorted(balance.items())))
    return min(sums[-LAST_WINDOWS:])


def check_python(ours, python):
    """The Python program has answered every probe, and has nothing to say of traces."""
    is_told = lambda found: any(one.get("event") == "path" for one in found)
    records = collect(ours, is_told, "a path to the Python program")
    code, _ = ours.end()
    expect(code == 0, f"{ours.label} ended with {code}: {ours.log()[-500:]}")
    records += ours.records()
    lost, received = (sum(values(records, f"udp.wan.{count}")) for count in ("lost", "received"))
    expect(lost == 0 and received > TRACED_S * 5, f"{received} answered by the Python program, {lost} not")
    said = [line for line in python.log().splitlines() if "[ERROR]" in line or "[WARNING]" in line]
    expect(not said, f"the Python program complains: {said[:3]}")
    python.expect_alive()
