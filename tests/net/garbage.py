"""Garbage, slow-loris connections and ten thousand strangers: the daemon stays up, the honest flow
loses nothing, memory stays bounded, and what is refused is counted."""

import random
import socket
import time

from lab import collect, expect, values, wait_until

PORT = 17300
STRANGERS = 10_000
SLOW = 500
# The responder publishes so many senders at once (src/limits.rs).
REMOTE_LABELS_MAX = 4096
GROWTH_KIB = 64 * 1024


# Datagrams that are thrown before the thrower waits until the server has come that far: this is no
# test of how fast the host's processors are.
BURST = 100


class Pace:
    """Asks the server for an answer every so often: what was sent before has been read by then."""

    def __init__(self):
        self.probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.probe.settimeout(60)
        self.sent = 0
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.probe.close()

    def count(self):
        self.sent += 1
        if self.sent % BURST == 0:
            self.ask()

    def ask(self):
        self.asked += 1
        self.probe.sendto(request(self.asked % 101, "pace"), ("127.0.0.1", PORT + 1))
        self.probe.recv(2048)


def request(seq, name, padding=100):
    return f"{seq}|{name}|{time.time_ns()}|['isp:x']|".encode() + b"0" * padding


def run(lab):
    randomness = random.Random(1)
    server = lab.ours(
        "server", {"name": "far", "tcp_port": PORT, "udp_port": PORT + 1, "metrics": {"mode": "both", "send_interval": 1}}
    )
    target = {"host": "127.0.0.1", "label": "far", "interval": 10, "tcp_port": PORT, "udp_port": PORT + 1}
    client = lab.ours(
        "client",
        {"name": "near", "tcp_port": PORT + 2, "udp_port": PORT + 3, "metrics": {"send_interval": 1}, "targets": [target]},
    )
    collect(client, lambda found: len(values(found, "udp.wan.sent")) >= 2, "an exchange before")
    before_kib, before_files = server.resident_kib(), server.descriptors()
    slow = throw_slowly()
    throw_datagrams(randomness)
    throw_streams(randomness)
    throw_strangers()
    for connection in slow:
        connection.close()
    wait_until(lambda: server.descriptors() <= before_files + 4, "descriptors to come back")
    # One more interval on both sides tells the counts.
    seen = [0, 0]
    found = []

    def later():
        for index, daemon in enumerate((server, client)):
            daemon.expect_alive()
            records = daemon.records()
            found.extend(records)
            seen[index] += len(values(records, "monitor.slots_missed"))
        return min(seen) >= 3

    wait_until(later, "counts after the attack")
    check_honest(lab, found)
    check_server(lab, server, found, before_kib)


def check_honest(lab, found):
    for kind in ("udp.wan.lost", "tcp.wan.lost", "tcp.wan.latency.failed"):
        lost = values(found, kind, target="far")
        expect(sum(lost) == 0, f"the honest flow: {kind} {sum(lost)}")
    lab.note(f"honest {sum(values(found, 'udp.wan.received', target='far'))} + {sum(values(found, 'tcp.wan.received', target='far'))}, lost 0")


def check_server(lab, server, found, before_kib):
    grown = server.resident_kib() - before_kib
    lab.note(f"server grew {grown} KiB")
    expect(grown < GROWTH_KIB, f"the server grew by {grown} KiB")
    for name in ("corrupt", "refused"):
        counted = sum(values(found, f"monitor.responder.{name}", source="far"))
        lab.note(f"{name} {counted}")
        expect(counted > 0, f"no {name} requests were counted")
    names = {tuple(record["tags"]) for record in found if record["metric"].endswith(".owd")}
    lab.note(f"{len(names)} senders published")
    # As many at once, and as many new ones in an hour, of which this was some minutes at most.
    expect(len(names) <= REMOTE_LABELS_MAX * 1.1, f"{len(names)} senders published")
    expect("panicked" not in server.log(), server.log()[-500:])
    code, _ = server.end()
    expect(code == 0, f"the server ended with {code}")


def throw_datagrams(randomness):
    """Random, truncated, oversized and mutated datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, Pace() as pace:
        for number in range(20_000):
            kind = number % 4
            if kind == 0:
                data = randomness.randbytes(randomness.randrange(0, 200))
            elif kind == 1:
                data = request(number % 101, "cut")[: randomness.randrange(0, 60)]
            elif kind == 2:
                mutated = bytearray(request(number % 101, "mutant"))
                mutated[randomness.randrange(len(mutated))] = randomness.randrange(256)
                data = bytes(mutated)
            else:
                data = hostile(randomness, number)
            sender.sendto(data, ("127.0.0.1", PORT + 1))
            pace.count()
        for number in range(100):
            data = randomness.randbytes(65507) if number % 2 else b"0" * 65507
            sender.sendto(data, ("127.0.0.1", PORT + 1))
            if number % 2:
                pace.ask()


def hostile(randomness, number):
    """Well-formed to the eye, and not to be believed."""
    return [
        b"0|x|99999999999999999999999|[]|0",
        b"0|" + b"n" * 300 + b"|1|[]|0",
        b"0|x|1|[" + b"'t', " * 500 + b"]|0",
        b"0|x|1|['unclosed|0",
        b"101|x|1|[]|0",
        b"-1|x|1|[]|0",
        b"0|x|-1|[]|0",
        b"0|x|1|[]|~bffffffffffffffffffff~",
        b"0|x|1|[]|~" + b"a" * 60_000,
        b"|" * 1000,
        b"",
    ][(number // 4 + randomness.randrange(3)) % 11]


def throw_streams(randomness):
    """Random bytes, headers that never end, and messages cut and mutated."""
    streams = [
        randomness.randbytes(100_000),
        b"0" * 200_000,
        b"1" * 200_000,
        b"0|name-without-end" + b"n" * 100_000,
        b"0|x|1|[" + b"'a', " * 20_000,
        b"".join(request(number % 101, "glued") for number in range(500)),
        request(0, "mutant")[:20] + b"\xff\xfe|||" + request(1, "mutant"),
    ]
    for number in range(300):
        data = streams[number % len(streams)]
        with socket.socket() as stream:
            stream.settimeout(60)
            stream.connect(("127.0.0.1", PORT))
            try:
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(65536):
                    pass
            except OSError:
                # Hung up on, as it should be.
                pass


def throw_slowly():
    """Connections that begin a message and do not finish it."""
    connections = []
    for _ in range(SLOW):
        connection = socket.create_connection(("127.0.0.1", PORT))
        connection.sendall(b"0|slow")
        connections.append(connection)
    return connections


def throw_strangers():
    """Ten thousand names, each from a port of its own, twice; and as many from one."""
    with Pace() as pace:
        for number in range(STRANGERS):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for seq in range(2):
                    stranger.sendto(request(seq, f"stranger-{number}"), ("127.0.0.1", PORT + 1))
                    pace.count()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number in range(STRANGERS):
                stranger.sendto(request(number % 101, f"alias-{number}"), ("127.0.0.1", PORT + 1))
                pace.count()
