"""Public reports of other monitors, tried on this one: each part is what somebody met in the field.

docs/field-reports.md names the reports and says what came out. What the simulation shows is not shown again here.
"""

import pathlib

from dns import own_etc
from lab import FAR, NEAR, at_least, collect, expect, pause, run as command, values

NAME = "both.example"
FAR6 = "2001:db8:1::2"
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
SAMPLES = 20
# Seconds without a network, and without a name server.
AWAY_S = 6
# Probes of each whole window: `SEND_S` seconds at `EVERY_MS`.
SEND_S, EVERY_MS, WINDOWS = 1, 50, 5
CROWD = 200
# How much the median round trip of one target among many may exceed that of one alone: the kernel stamps, so that the
# daemon's own queues are not in it. The reports have factors of ten and more.
CROWD_FACTOR = 3
MISSED = "monitor.slots_missed"
TIMEOUT_S = 5


def run(lab):
    for part in (late_network, no_ipv6, name_server_away, steady_windows, duplicates, short_replies, crowd):
        part(lab)


def ends(lab, part):
    """Two namespaces for one part, joined by a link with both families."""
    near, far = lab.namespace(f"{part}-near"), lab.namespace(f"{part}-far")
    lab.link(near, far, [f"{NEAR}/24", "2001:db8:1::1/64"], [f"{FAR}/24", f"{FAR6}/64"])
    return near, far


def server_of(lab, part, far):
    return lab.ours(f"{part}-server", {"name": "far"}, namespace=far)


def end(*daemons):
    for daemon in daemons:
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def total(records, name, **tags):
    return sum(values(records, name, **tags))


def late_network(lab):
    """A network that comes after the daemon (smokeping_prober 213): probing begins by itself, and the log says why not before."""
    near, far = ends(lab, "late")
    command("ip", "-n", near, "link", "set", "lm0", "down")
    server = server_of(lab, "late", far)
    settings = {"name": "near", "metrics": {"send_interval": 0.5}, "targets": [{"host": FAR, "interval": 50, "timeout": 0.5}]}
    client = lab.ours("late", settings, namespace=near)
    pause(AWAY_S)
    expect(not any(values(client.records(), kind) for kind in KINDS), "samples without a network")
    expect("there is no route" in client.log(), f"no reason in the log: {client.log()[-500:]}")
    command("ip", "-n", near, "link", "set", "lm0", "up")
    collect(client, at_least(SAMPLES, KINDS), "samples once the network is there", 10)
    end(client, server)


def no_ipv6(lab):
    """A name with two families on a host without IPv6 (blackbox_exporter 342, 567): IPv4 is measured at once."""
    near, far = ends(lab, "no6")
    command("ip", "netns", "exec", near, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1")
    etc = own_etc(lab, near)
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{FAR6} {NAME}\n{FAR} {NAME}\n")
    server = server_of(lab, "no6", far)
    settings = {"name": "near", "metrics": {"send_interval": 0.5}, "targets": [{"host": NAME, "interval": 50, "timeout": 0.5}]}
    client = lab.ours("no6", settings, namespace=near)
    collect(client, at_least(SAMPLES, KINDS), "samples over IPv4", 10)
    end(client, server)


def name_server_away(lab):
    """A name server that is away for a while (blackbox_exporter 591): the address is kept, and nothing is lost."""
    near, far = ends(lab, "dns")
    etc = own_etc(lab, near)
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{FAR} {NAME}\n")
    server = server_of(lab, "dns", far)
    # A stop of the host that is shorter is no loss.
    target = {"host": NAME, "interval": 50, "timeout": TIMEOUT_S}
    client = lab.ours("dns", {"name": "near", "resolve_interval": 1, "metrics": {"send_interval": 0.5}, "targets": [target]}, namespace=near)
    collect(client, at_least(SAMPLES, KINDS), "samples")
    with open(etc / "hosts", "w") as hosts:
        hosts.write("127.0.0.1 localhost\n")
    client.wait_for_log("cannot resolve")
    client.records()
    # Whatever was lost in it is known then.
    pause(AWAY_S + TIMEOUT_S)
    away = client.records()
    expect(len(values(away, "udp.wan.rtt")) > AWAY_S * 10, "probing stopped with the name server")
    lost = total(away, "udp.wan.lost") + total(away, "tcp.wan.lost")
    expect(lost == 0, f"{lost} probes lost while the name server was away")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{FAR} {NAME}\n")
    client.records()
    collect(client, at_least(SAMPLES, KINDS), "samples afterwards", 10)
    end(client, server)


def steady_windows(lab):
    """Probes of a window (telegraf 6280, 8501): as many in each as the interval says, neither one more nor one less."""
    near, far = ends(lab, "steady")
    server = server_of(lab, "steady", far)
    target = {"host": FAR, "interval": EVERY_MS, "timeout": 0.5}
    client = lab.ours("steady", {"name": "near", "metrics": {"mode": "windows", "send_interval": SEND_S}, "targets": [target]}, namespace=near)
    names = ["udp.wan.sent", "tcp.wan.sent", "tcp.wan.latency.sent"]
    records = collect(client, at_least(WINDOWS + 2, [*names, MISSED]), "windows")
    missed = sum(int(count) for count in values(records, MISSED))
    for name in names:
        counts = [int(count) for count in values(records, name)][1 : WINDOWS + 1]
        lab.note(f"{name}: {counts}")
        due = SEND_S * 1000 // EVERY_MS
        # A probe that is due at the cut falls on either side of it: what one window lacks the next has. Slots that the
        # host has slept through are told.
        shown = f"{name}: {counts} in windows that have {due} slots each, {missed} missed by the host"
        expect(-1 - missed <= sum(counts) - due * len(counts) <= 1, shown)
        expect(all(-1 - missed <= count - due <= 1 for count in counts), shown)
    end(client, server)


def duplicates(lab):
    """A path that doubles every packet (telegraf 8819: half of the replies taken for losses): each probe has one reply."""
    near, far = ends(lab, "double")
    nft = ["ip", "netns", "exec", far, "nft"]
    command(*nft, "add table ip lmtest")
    command(*nft, "add chain ip lmtest out { type filter hook output priority 0; }")
    command(*nft, f"add rule ip lmtest out udp sport 8001 dup to {NEAR} device lm0")
    server = server_of(lab, "double", far)
    target = {"host": FAR, "interval": 20, "timeout": 0.5, "type": "udp", "tcp_latency": False}
    client = lab.ours("double", {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.5}, "targets": [target]}, namespace=near)
    records = collect(client, lambda found: total(found, "udp.wan.duplicate") >= 100, "duplicates")
    sent, received, lost, twice = (total(records, f"udp.wan.{name}") for name in ("sent", "received", "lost", "duplicate"))
    lab.note(f"doubled: {sent} sent, {received} received, {twice} duplicate, {lost} lost")
    expect(lost == 0, f"{lost} lost of {sent}, {received} received")
    expect(received <= sent, f"{received} received of {sent}")
    expect(twice <= received, f"{twice} duplicates of {received}")
    end(client, server)


def short_replies(lab):
    """A peer whose replies are cut (irtt 13): losses, counted and told, whatever the length; and no round trip below zero."""
    near, far = ends(lab, "short")
    # A process of its own: a thread of this one would be in the wrong namespace.
    echo = pathlib.Path(__file__).with_name("short_echo.py")
    peer = lab.start("short-peer", ["python3", "-u", echo, FAR, "8001"], namespace=far)
    peer.wait_for_log("listening")
    settings = {"name": "near", "metrics": {"mode": "windows", "send_interval": 0.5}}
    targets = [
        {"host": FAR, "label": wire, "protocol": wire, "interval": 10, "timeout": 0.2, "type": "udp", "tcp_latency": False}
        for wire in ("text", "native")
    ]
    client = lab.ours("short", {**settings, "targets": targets}, namespace=near)
    records = collect(client, lambda found: all(total(found, "udp.wan.corrupt", target=wire) >= 100 for wire in ("text", "native")), "cut replies")
    client.expect_alive()
    received = total(records, "udp.wan.received")
    expect(received == 0, f"{received} cut replies taken for replies")
    end(client)


def crowd(lab):
    """Many targets at once (google/cloudprober 531): one among them has the delays that it has alone."""
    near, far = ends(lab, "crowd")
    server = server_of(lab, "crowd", far)
    target = {"host": FAR, "interval": 100, "timeout": 0.5, "type": "udp", "tcp_latency": False, "protocol": "native"}
    settings = {"name": "near", "metrics": {"send_interval": 1}}
    medians = []
    for label, count in (("alone", 1), ("among-many", CROWD)):
        targets = [{**target, "label": f"t{number}"} for number in range(count)]
        client = lab.ours(f"crowd-{label}", {**settings, "targets": targets}, namespace=near)
        found = collect(client, lambda records: len(values(records, "udp.wan.rtt", target="t0")) >= 100, "samples")
        samples = sorted(values(found, "udp.wan.rtt", target="t0"))
        medians.append(samples[len(samples) // 2] / 1e3)
        end(client)
    lab.note(f"median alone {medians[0]:.1f} us, among {CROWD} {medians[1]:.1f} us")
    expect(medians[1] < medians[0] * CROWD_FACTOR, f"{medians[1]:.1f} us among {CROWD}, {medians[0]:.1f} us alone")
    end(server)
