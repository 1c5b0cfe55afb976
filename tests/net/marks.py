"""What targets' packets are marked with: DSCP, source, interface, source ports, TTL and DF, seen on the link.

A host probes another through a router, over two links of which one is in a VRF, on both families. Captures at both ends
hold the marks of every packet, SYNs and connect probes included. Then the router rewrites code points in one direction
of one target and in the other direction of another: an event tells each, with its direction, and one more its end.
"""

import collections
import ipaddress
import pathlib
import struct
import subprocess
import sys
from typing import NamedTuple

from capture import MARK, MARK_PORT, SYN, TCP, TRACE_BYTES, UDP, Capture, end_captures
from lab import collect, expect, pause, run as command, values, wait_until

NEAR = {4: "192.0.2.1", 6: "2001:db8:1::1"}
OTHER = {4: "192.0.2.9", 6: "2001:db8:1::9"}
VIA = {4: "192.0.2.254", 6: "2001:db8:1::fe"}
NEAR_VRF = {4: "198.51.100.1", 6: "2001:db8:2::1"}
VIA_VRF = {4: "198.51.100.254", 6: "2001:db8:2::fe"}
FAR = {4: "203.0.113.2", 6: "2001:db8:3::2"}
VIA_FAR = {4: "203.0.113.254", 6: "2001:db8:3::fe"}
BITS = {4: 24, 6: 64}
EF, AF11, CS6 = 46, 10, 48
TCP_PORT, UDP_PORT = 8000, 8001
KINDS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
SAMPLES = 60
RST, ACK = 0x04, 0x10
# Without a key these are the kernel's and ours.
TTL_TCP, TTL_UDP = 64, 255


class Marked(NamedTuple):
    """A target on each family: what is given, and what is to be seen. It has four ports from `port` on."""

    name: str
    given: dict
    port: int
    source: dict
    dscp: int = 0
    ttl: int | None = None
    df: bool = True


def targets_of(interface):
    return [
        Marked("plain", {}, 40_000, NEAR),
        Marked("voice", {"dscp": "ef", "ttl": 60, "df": True}, 41_000, OTHER, EF, 60),
        Marked("bulk", {"dscp": AF11, "ttl": 33, "df": False}, 42_000, NEAR, AF11, 33, False),
        Marked("vrf", {"dscp": "CS6", "interface": interface}, 43_000, NEAR_VRF, CS6),
    ]


class Packet(NamedTuple):
    """The headers of a packet."""

    family: int
    source: str
    destination: str
    dscp: int
    ttl: int
    df: bool
    protocol: int
    ports: tuple
    flags: int
    payload: int


def run(lab):
    near, router, far = (lab.namespace(name) for name in ("near", "router", "far"))
    interface = lay(lab, near, router, far)
    marked = targets_of(interface)
    server = lab.ours("server", {"name": "far"}, namespace=far)
    captures = {
        "near": Capture(lab, "near", near, "lm0"),
        "vrf": Capture(lab, "vrf", near, "lm2"),
        "far": Capture(lab, "far", far, "lm1"),
    }
    settings = {
        "name": "near",
        "interval": 20,
        "metrics": {"backend": "cli", "send_interval": 1},
        "targets": [settings_of(target, family) for target in marked for family in (4, 6)],
    }
    client = lab.ours("client", settings, namespace=near)
    labels = [target["label"] for target in settings["targets"]]

    def has_samples(records):
        return all(len(values(records, kind, target=label)) >= SAMPLES for kind in KINDS for label in labels)

    records = collect(client, has_samples, "samples of every target")
    # The reflector is the target of all; the senders' tags tell their delays apart.
    by_tag = lambda found: all(values(found, "udp.wan.owd", source="near", dscp=tag) for tag in ("ef", "af11", "cs6"))
    collect(server, by_tag, "one-way delays with the tags of each class")
    end_captures([captures["near"], captures["far"]], near, FAR[4])
    in_vrf = ["ip", "vrf", "exec", interface] if interface != "lm2" else []
    end_capture(captures["vrf"], near, in_vrf)
    check_captures(lab, marked, captures)
    expect(not remarked(records), f"nothing is remarked, and yet: {remarked(records)}")
    check_tags(records, interface)
    records += rewrite(client, router)
    for daemon in (client, server):
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def settings_of(target, family):
    given = dict(target.given)
    if target.source is OTHER:
        given["source"] = OTHER[family]
    ports = f"{target.port}-{target.port + 3}"
    return {"host": FAR[family], "label": f"{target.name}-{family}", "source_port": ports, "timeout": 0.5, **given}


def lay(lab, near, router, far):
    """Lays the links. Returns the device that leads to the second one: a VRF, or the link if the kernel has none."""
    for namespace in (near, router, far):
        # Nobody has the addresses twice, and looking for that takes seconds.
        for scope in ("all", "default"):
            command("ip", "netns", "exec", namespace, "sysctl", "-q", "-w", f"net.ipv6.conf.{scope}.accept_dad=0")
    with_bits = lambda addresses: [f"{address}/{BITS[family]}" for family, address in addresses.items()]
    lab.link(near, router, with_bits(NEAR), with_bits(VIA), "lm0")
    for address in with_bits(OTHER):
        # The system chooses none that is deprecated.
        extra = ["nodad", "preferred_lft", "0"] if ":" in address else []
        command("ip", "-n", near, "addr", "add", address, "dev", "lm0", *extra)
    lab.link(router, far, with_bits(VIA_FAR), with_bits(FAR), "lm1")
    lab.link(near, router, [], with_bits(VIA_VRF), "lm2")
    vrf = subprocess.run(["ip", "-n", near, "link", "add", "blue", "type", "vrf", "table", "10"], capture_output=True)
    interface, table = ("blue", ["table", "10"]) if vrf.returncode == 0 else ("lm2", ["metric", "9000"])
    lab.note(f"by {'a VRF' if interface == 'blue' else 'a second device'}")
    if interface == "blue":
        command("ip", "-n", near, "link", "set", "blue", "up")
        command("ip", "-n", near, "link", "set", "lm2", "master", "blue")
    for address in with_bits(NEAR_VRF):
        command("ip", "-n", near, "addr", "add", address, "dev", "lm2", *(["nodad"] if ":" in address else []))
    for family in (4, 6):
        command("ip", "-n", near, f"-{family}", "route", "add", "default", "via", VIA[family])
        command("ip", "-n", near, f"-{family}", "route", "add", "default", "via", VIA_VRF[family], "dev", "lm2", *table)
        command("ip", "-n", far, f"-{family}", "route", "add", "default", "via", VIA_FAR[family])
    for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        command("ip", "netns", "exec", router, "sysctl", "-q", "-w", f"{key}=1")
    return interface


def end_capture(capture, near, within):
    """Ends the capture of the second link, after a last packet that leaves by it."""
    code = f"import socket; socket.socket(2, 2).sendto({MARK!r}, ({VIA_VRF[4]!r}, {MARK_PORT}))"
    subprocess.run(["ip", "netns", "exec", near, *within, sys.executable, "-c", code], check=True)
    wait_until(capture.has_mark, "the last packet of the second link")
    capture.end()


def check_captures(lab, marked, captures):
    seen = {end: list(headers(capture.path)) for end, capture in captures.items()}
    count = 0
    for target in marked:
        ports = range(target.port, target.port + 4)
        for family in (4, 6):
            who = f"{target.name}-{family}"
            for end, hops in (("vrf" if target.name == "vrf" else "near", 0), ("far", 1)):
                packets = [packet for packet in seen[end] if packet.family == family]
                sent = [packet for packet in packets if packet.destination == FAR[family] and packet.ports[0] in ports]
                for packet in filter(is_of_socket, sent):
                    check_packet(who, end, target, family, packet, hops)
                check_flows(who, end, target, sent)
                count += len(sent)
                back = [packet for packet in packets if packet.source == FAR[family] and packet.ports[1] in ports]
                check_answers(who, end, target, back)
        elsewhere = "near" if target.name == "vrf" else "vrf"
        strayed = [packet for packet in seen[elsewhere] if packet.ports[0] in ports]
        expect(not strayed, f"{target.name}: {len(strayed)} packets left by the other link")
    lab.note(f"{count} packets with their marks")


def is_of_socket(packet):
    """False for what the kernel answers to a packet of a connection that is gone: no socket marks that."""
    return packet.protocol == UDP or packet.flags & (RST | ACK) != RST


def check_packet(who, end, target, family, packet, hops):
    usual = TTL_UDP if packet.protocol == UDP else TTL_TCP
    wanted = {
        "source": target.source[family],
        "dscp": target.dscp,
        "ttl": (target.ttl or usual) - hops,
        "df": target.df if family == 4 else False,
    }
    if packet.protocol == UDP and packet.payload == TRACE_BYTES:
        # It has the flow's marks, but for the TTL.
        del wanted["ttl"]
    found = {key: getattr(packet, key) for key in wanted}
    expect(found == wanted, f"{who} at {end}: {found}, not {wanted}: {packet}")


def check_flows(who, end, target, sent):
    """UDP and TCP flows have the first port, connect probes take turns with the others. SYNs are there of both."""
    udp = {packet.ports[0] for packet in sent if packet.protocol == UDP}
    syns = collections.Counter(packet.ports[0] for packet in sent if packet.protocol == TCP and packet.flags & SYN)
    expect(udp == {target.port}, f"{who} at {end}: datagrams left from {udp}")
    expect(syns[target.port] >= 1, f"{who} at {end}: no handshake of the TCP flow: {syns}")
    others = [syns[target.port + place] for place in (1, 2, 3)]
    least = SAMPLES // 3 - 2
    expect(min(others) >= least and max(others) - min(others) <= 3, f"{who} at {end}: connect probes from {syns}")


def check_answers(who, end, target, back):
    """Replies come with the class of their requests; on TCP all but the SYN-ACK."""
    udp = [packet for packet in back if packet.protocol == UDP]
    data = [packet for packet in back if packet.protocol == TCP and packet.payload > 0]
    for packet in udp + data:
        expect(packet.dscp == target.dscp, f"{who} at {end}: answered with {packet.dscp}: {packet}")
    expect(len(udp) >= SAMPLES and len(data) >= SAMPLES, f"{who} at {end}: {len(udp)} and {len(data)} answers")


def check_tags(records, interface):
    wanted = {
        "plain-4": [],
        "voice-6": ["dscp:ef", f"via:{OTHER[6]}"],
        "bulk-4": ["dscp:af11"],
        "vrf-6": ["dscp:cs6", f"via:{interface}"],
    }
    for label, tags in wanted.items():
        found = [record["tags"] for record in records if f"target:{label}" in record.get("tags", [])]
        marks = [[tag for tag in tags if tag.startswith(("dscp:", "via:"))] for tags in found]
        wrong = [one for one in marks if one != tags]
        expect(marks and not wrong, f"{label} has the tags {wrong[:1]}, not {tags}")
    for label, dscp in (("voice-4", EF), ("bulk-6", AF11), ("vrf-4", CS6)):
        for direction in ("forward", "reverse"):
            found = values(records, f"udp.wan.dscp.{direction}", target=label)
            expect(found and set(found) == {dscp}, f"{label}: {direction} arrives with {found}")
    expect(not values(records, "udp.wan.dscp.forward", target="plain-4"), "an unmarked target has a code point")


def remarked(records):
    """Returns which targets were told to be remarked, in which direction, what was sent and what arrived."""
    found = [record for record in records if record.get("event") == "remarked"]
    target = lambda record: next(tag for tag in record["tags"] if tag.startswith("target:"))[len("target:") :]
    return [(target(one), one["direction"], one["sent"], one["arrived"]) for one in found]


def rewrite(client, router):
    """Has the router rewrite code points for a while. Returns the client's records meanwhile."""
    nft = ["ip", "netns", "exec", router, "nft"]
    command(*nft, "add table inet lmtest")
    command(*nft, "add chain inet lmtest way { type filter hook forward priority 0; }")
    command(*nft, f"add rule inet lmtest way ip daddr {FAR[4]} udp sport 41000 ip dscp set cs0")
    command(*nft, f"add rule inet lmtest way ip6 saddr {FAR[6]} udp dport 43000 ip6 dscp set af11")
    begun = [("vrf-6", "reverse", "cs6", "af11"), ("voice-4", "forward", "ef", "cs0")]
    ended = [("vrf-6", "reverse", "cs6", "cs6"), ("voice-4", "forward", "ef", "ef")]
    records = collect(client, lambda found: len(remarked(found)) >= 2, "word of both directions")
    # Probes that go on to be remarked are no news.
    pause(1)
    records += client.records()
    expect(sorted(remarked(records)) == sorted(begun), f"told: {remarked(records)}")
    command(*nft, "delete table inet lmtest")
    after = collect(client, lambda found: len(remarked(found)) >= 2, "word of its end")
    expect(sorted(remarked(after)) == sorted(ended), f"told: {remarked(after)}")
    return records + after


def headers(path):
    """Yields the headers of each UDP and TCP packet of a capture."""
    data = pathlib.Path(path).read_bytes()
    place = 24
    while place + 16 <= len(data):
        (length,) = struct.unpack_from("<I", data, place + 8)
        frame = data[place + 16 : place + 16 + length]
        place += 16 + length
        packet = read(frame[14:], struct.unpack_from(">H", frame, 12)[0])
        if packet:
            yield packet


def read(ip, kind):
    if kind == 0x0800:
        header, family, tos, ttl, protocol = (ip[0] & 15) * 4, 4, ip[1], ip[8], ip[9]
        total, df = struct.unpack_from(">H", ip, 2)[0], bool(ip[6] & 0x40)
        source, destination = ip[12:16], ip[16:20]
    elif kind == 0x86DD:
        header, family, tos, ttl, protocol = 40, 6, (ip[0] & 15) << 4 | ip[1] >> 4, ip[7], ip[6]
        total, df = 40 + struct.unpack_from(">H", ip, 4)[0], False
        source, destination = ip[8:24], ip[24:40]
    else:
        return None
    if protocol not in (UDP, TCP):
        return None
    ports = struct.unpack_from(">HH", ip, header)
    flags, inner = (ip[header + 13], (ip[header + 12] >> 4) * 4) if protocol == TCP else (0, 8)
    source, destination = (str(ipaddress.ip_address(address)) for address in (source, destination))
    return Packet(
        family, source, destination, tos >> 2, ttl, df, protocol, ports, flags, total - header - inner
    )
