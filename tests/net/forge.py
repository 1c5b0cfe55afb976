"""A stranger who fakes addresses: sends whatever might harm a host that is probed, from raw sockets, at a steady rate.

    forge.py VICTIM SERVER NAME PORTS SECONDS RATE

VICTIM is an honest host that calls itself NAME and probes SERVER from these UDP ports, with commas between them. That is
more than who is off the path knows.
"""

import random
import socket
import struct
import sys
import time

UDP_PORT = 8001
# How far off every time is that it tells.
FORGED_S = 3600
TAGS = ["[]", "['wire:text']", "['wire:native']"]


def packet(source, destination, payload):
    """An IPv4 packet with a UDP datagram; the kernel fills in what is 0 in the header, but not the source."""
    udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp


def text(rng, name, tags, identifier=""):
    left_ns = time.time_ns() - FORGED_S * 10**9
    return f"{rng.randrange(101)}|{name}|{left_ns}|{tags}|{identifier}".encode().ljust(120, b"0")


def native(rng, name, tags, is_reply=False):
    """A packet of docs/design/native-wire.md with identifiers that are guessed."""
    left = struct.pack("!II", int(time.time()) - FORGED_S, 0)
    number = rng.getrandbits(32)
    head = struct.pack("!I", number) + left + struct.pack("!HH", 0x4001, rng.getrandbits(16))
    middle = left + struct.pack("!I", number) + left + struct.pack("!HHB3x", 0x4001, 0, 255) if is_reply else bytes(28)
    labels = (name + tags).encode()
    ours = b"LMon" + struct.pack("!BBBB", 1, 1 if is_reply else 2, 0xAA, len(name))
    ours += struct.pack("!IIIQ", rng.getrandbits(32), rng.getrandbits(32), 1, rng.getrandbits(64))
    ours += (struct.pack("!I", number - 1 & 0xFFFFFFFF) + left) * 2
    ours += struct.pack("!qHH", 10**15, 0 if is_reply else len(tags), 0) + labels.ljust(32, b"\0")
    flags = 0 if is_reply else 0x80
    return head + middle + struct.pack("!BBH", flags, 252, len(ours)) + ours


def draw(rng, victim, server, name, ports):
    far = f"203.0.113.{rng.randrange(1, 255)}" if rng.random() < 0.5 else f"198.18.{rng.randrange(256)}.{rng.randrange(256)}"
    any_port, its_port = rng.randrange(1024, 65536), rng.choice(ports)
    tags = rng.choice(TAGS)
    target, own_name = (server, UDP_PORT), f"stranger-{far}"
    identifier = f"~c{rng.getrandbits(32):08x}{rng.getrandbits(32):08x}0078~"
    kind = rng.randrange(8)
    if kind == 0:
        return packet((victim, any_port), target, text(rng, name, tags))
    if kind == 1:
        return packet((far, any_port), target, text(rng, name, tags))
    if kind == 2:
        return packet((victim, its_port), target, text(rng, name, tags, identifier))
    if kind == 3:
        return packet((victim, its_port), target, native(rng, name, tags))
    if kind == 4:
        return packet((far, 4000), target, text(rng, own_name, tags))
    if kind == 5:
        return packet((far, any_port), target, native(rng, own_name, tags))
    if kind == 6:
        return packet(target, (victim, its_port), text(rng, "server", tags))
    return packet(target, (victim, its_port), native(rng, "server", tags, is_reply=True))


def main():
    victim, server, name, ports, seconds, rate = sys.argv[1:]
    ports, seconds, rate = [int(port) for port in ports.split(",")], float(seconds), int(rate)
    rng = random.Random(1)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    began = time.monotonic()
    sent = 0
    while (now := time.monotonic() - began) < seconds:
        if sent >= now * rate:
            time.sleep(0.001)
            continue
        one = draw(rng, victim, server, name, ports)
        out.sendto(one, (socket.inet_ntoa(one[16:20]), 0))
        sent += 1
    print(f"sent {sent}", file=sys.stderr, flush=True)


main()
