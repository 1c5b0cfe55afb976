"""Probes a target by name: first the name does not resolve, then it does, then its host moves.

Then a name of /etc/hosts stands behind more than there are threads, all of one domain whose name server is silent: it
is measured within seconds, and the log has one line for each of the others, however often they are asked for.
"""

import contextlib
import pathlib
import shutil
import time

from lab import collect, expect, run as command, values, wait_until

NAME = "moving.example"
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
SAMPLES = 20
MOVES = ["192.0.2.22", "192.0.2.23", "192.0.2.2"]
# The system's resolver gives up after so long. Four threads that ask for one name after the other would come to the last
# one after 400 s, which is longer than a lab waits.
SILENT, NAME_TIMEOUT_S = 800, 2
# An address of each family is asked for, in several rounds.
QUERIES = SILENT * 2 * 3


def run(lab):
    near, far = lab.ends()
    etc = own_etc(lab, near)
    moves(lab, near, far, etc)
    silent_server(lab, near, far, etc)


def moves(lab, near, far, etc):
    server = lab.ours("server", {"name": "far"}, namespace=far)
    target = {"host": NAME, "interval": 20, "timeout": 0.5}
    settings = {"name": "near", "resolve_interval": 2, "metrics": {"send_interval": 1}, "targets": [target]}
    client = lab.ours("client", settings, namespace=near)
    collect(client, lambda found: sum(values(found, "udp.wan.unsent")) > 0, "slots without an address")
    client.wait_for_log("cannot resolve")

    at, took = "192.0.2.2", []
    point_to(etc, at)
    took.append(fresh(client, time.time_ns(), "samples when the name resolves"))
    for to in MOVES:
        command("ip", "-n", far, "addr", "del", f"{at}/24", "dev", "lm0")
        command("ip", "-n", far, "addr", "add", f"{to}/24", "dev", "lm0")
        # Nothing answers at the old address from here on.
        moved_ns = time.time_ns()
        point_to(etc, to)
        took.append(fresh(client, moved_ns, f"samples after the move to {to}"))
        at = to
    lab.note(f"resolved after {took[0]:.1f} s, moves followed within {shown(took[1:])}")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}")


def silent_server(lab, near, far, etc):
    nft = ["ip", "netns", "exec", far, "nft"]
    command(*nft, "add table ip lmtest")
    command(*nft, "add chain ip lmtest in { type filter hook input priority 0; }")
    command(*nft, "add rule ip lmtest in udp dport 53 counter drop")
    point_to(etc, "192.0.2.2")
    (etc / "resolv.conf").write_text(f"nameserver 192.0.2.2\noptions timeout:{NAME_TIMEOUT_S} attempts:1\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    server = lab.ours("last-server", {"name": "far"}, namespace=far)
    names = [f"host-{number}.silent.example" for number in range(SILENT)]
    targets = [{"host": name, "interval": 100} for name in [*names, NAME]]
    settings = {"name": "near", "resolve_interval": 1, "metrics": {"send_interval": 1}, "targets": targets}
    began_ns = time.time_ns()
    client = lab.ours("last", settings, namespace=near)
    waited_s = fresh(client, began_ns, f"samples of the name behind {SILENT} silent ones")
    asked = lambda: int(command(*nft, "list chain ip lmtest in").partition("counter packets ")[2].split()[0])
    wait_until(lambda: asked() >= QUERIES, "several rounds of queries")
    told = [line for line in client.log().splitlines() if "cannot resolve" in line]
    expect(len(told) == SILENT, f"{len(told)} lines about {SILENT} names: {told[-3:]}")
    lab.note(f"first samples {waited_s:.1f} s behind {SILENT} silent names, which have a line each in {asked()} queries")
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}")


def own_etc(lab, namespace):
    """Makes files that `ip netns exec` shows in place of the host's: no name server, no names."""
    all_etc = pathlib.Path("/etc/netns")
    if not all_etc.exists():
        all_etc.mkdir()
        lab.cleanup.callback(remove_if_empty, all_etc)
    etc = all_etc / namespace
    etc.mkdir()
    lab.cleanup.callback(shutil.rmtree, etc)
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "resolv.conf").write_text("")
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    return etc


def remove_if_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()


def point_to(etc, address):
    # Written in place: the file is mounted where the daemon sees it.
    with open(etc / "hosts", "w") as hosts:
        hosts.write(f"127.0.0.1 localhost\n{address} {NAME}\n")


def fresh(client, since_ns, what):
    """Waits for measurements made after an instant; returns the seconds until the first of each."""
    found = collect(
        client,
        lambda records: all(len(made_after(records, kind, since_ns)) >= SAMPLES for kind in KINDS),
        what,
    )
    return (max(made_after(found, kind, since_ns)[0] for kind in KINDS) - since_ns) / 1e9


def made_after(records, kind, since_ns):
    times = [record["points"][0][0] for record in records if record.get("metric", "") == kind]
    return [at for at in times if at > since_ns]


def shown(seconds):
    return ", ".join(f"{one:.1f}" for one in seconds) + " s"
