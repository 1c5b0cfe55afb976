"""A target under a name: the name does not resolve at first, then does, then points elsewhere when its
host has moved."""

import pathlib
import shutil
import time

from lab import collect, expect, run as command, values

NAME = "moving.example"
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]


def run(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, ["192.0.2.1/24"], ["192.0.2.2/24"])
    # `ip netns exec` shows these to what it runs in place of the host's.
    etc = pathlib.Path("/etc/netns") / near
    etc.mkdir(parents=True)
    lab.cleanup.callback(shutil.rmtree, etc)
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "resolv.conf").write_text("")
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    server = lab.ours("server", {"name": "far"}, namespace=far)
    target = {"host": NAME, "interval": 20, "timeout": 0.5}
    settings = {"name": "near", "resolve_interval": 2, "metrics": {"send_interval": 1}, "targets": [target]}
    client = lab.ours("client", settings, namespace=near)
    collect(client, lambda found: sum(values(found, "udp.wan.unsent")) > 0, "slots without an address")
    client.wait_for_log("cannot resolve")

    point_to(etc, "192.0.2.2")
    fresh(client, 0, "samples when the name resolves")
    command("ip", "-n", far, "addr", "del", "192.0.2.2/24", "dev", "lm0")
    command("ip", "-n", far, "addr", "add", "192.0.2.22/24", "dev", "lm0")
    point_to(etc, "192.0.2.22")
    moved_ns = time.time_ns()
    # What was under way when the address went may still be measured: look at what came well after.
    fresh(client, moved_ns + 1_000_000_000, "samples from the new address")
    lab.note(f"followed the name within {(time.time_ns() - moved_ns) / 1e9:.1f} s")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}")


def point_to(etc, address):
    # In place: the file is mounted where the daemon sees it.
    with open(etc / "hosts", "w") as hosts:
        hosts.write(f"127.0.0.1 localhost\n{address} {NAME}\n")


def fresh(client, since_ns, what):
    def enough(records):
        return all(
            sum(1 for record in records if record["metric"] == kind and record["points"][0][0] > since_ns) >= 20
            for kind in KINDS
        )

    collect(client, enough, what)
