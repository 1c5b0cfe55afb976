"""Hostile peers: garbage in datagrams and streams, connections that trickle, and strangers."""

import random
import select
import socket
import threading
import time

# The thrower waits for the server after so many datagrams: the speed of the host's processors is not under test.
BURST = 100
DATAGRAM_BYTES_MAX = 65_507
ANSWER_WITHIN_S = 60
# Seconds between the bytes of a connection that trickles.
TRICKLE_S = 0.05


def request(seq, name, padding=100):
    return f"{seq}|{name}|{time.time_ns()}|['isp:x']|".encode() + b"0" * padding


def identified(seq, name):
    """Makes a request like our prober, with an identifier in its padding (docs/design/text-wire.md)."""
    plain = request(seq, name)
    identifier = f"~a{1:08x}{seq:08x}{len(plain):04x}~".encode()
    head, tail = plain[:-100], plain[-100:]
    return head + identifier + tail[len(identifier) :]


class Thrower:
    """Throws datagrams at a server's UDP port. Every so often it waits for an answer: by then the server has read
    what was sent before, and no honest datagram meets a full kernel buffer.
    """

    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asker.settimeout(ANSWER_WITHIN_S)
        self.thrown = 0
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.asker.close()

    def throw(self, sender, data):
        sender.sendto(data, self.to)
        self.thrown += 1
        if self.thrown % BURST == 0 or len(data) > 10_000:
            self.ask()

    def ask(self):
        self.asker.sendto(request(self.asked % 101, "asker"), self.to)
        self.asker.recv(2048)
        self.asked += 1


def throw_datagrams(port, count, seed):
    """Sends random, truncated, mutated and oversized datagrams; returns their number."""
    randomness = random.Random(seed)
    makers = [random_bytes, truncated, mutated, misleading]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, Thrower(port) as thrower:
        for number in range(count):
            thrower.throw(sender, makers[number % len(makers)](randomness, number))
        for _ in range(count // 200):
            thrower.throw(sender, randomness.randbytes(DATAGRAM_BYTES_MAX))
            thrower.throw(sender, b"0" * DATAGRAM_BYTES_MAX)
        return thrower.thrown


def random_bytes(randomness, _):
    return randomness.randbytes(randomness.randrange(200))


def truncated(randomness, number):
    return request(number % 101, "cut")[: randomness.randrange(60)]


def mutated(randomness, number):
    data = bytearray((request, identified)[number // 4 % 2](number % 101, "mutant"))
    data[randomness.randrange(len(data))] = randomness.randrange(256)
    return bytes(data)


def misleading(randomness, _):
    """Sends messages that are well-formed and not to be believed."""
    return randomness.choice(
        [
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
        ]
    )


def throw_floods(port, count, size):
    """Sends the smallest messages, glued together as fast as the server takes them."""
    glued = b"".join(b"%d||1||" % (number % 101) for number in range(101)) * 100
    floods = [threading.Thread(target=flood, args=(port, glued, size)) for _ in range(count)]
    for thread in floods:
        thread.start()
    for thread in floods:
        thread.join()


def flood(port, data, size):
    sent = 0
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.setblocking(False)
        while sent < size:
            readable, writable, _ = select.select([stream], [stream], [], ANSWER_WITHIN_S)
            if not readable and not writable:
                raise TimeoutError("the server takes no more of a flood")
            if readable and not stream.recv(65536):
                raise ConnectionError("the server hung up on a flood of messages")
            if writable:
                # Continues where the last piece ended, so the stream stays valid.
                start = sent % len(data)
                sent += stream.send(data[start : start + 65536])


def throw_streams(port, count, seed):
    """Sends random bytes, endless headers, and messages glued, cut and mutated; returns their number."""
    randomness = random.Random(seed)
    streams = [
        randomness.randbytes(100_000),
        b"0" * 200_000,
        b"1" * 200_000,
        b"0|name-without-end" + b"n" * 100_000,
        b"0|x|1|[" + b"'a', " * 20_000,
        b"".join(request(number % 101, "glued") for number in range(500)),
        b"".join(identified(number % 101, "ours") for number in range(101)),
        request(0, "mutant")[:20] + b"\xff\xfe|||" + request(1, "mutant"),
    ]
    for number in range(count):
        data = bytearray(streams[number % len(streams)])
        # The first round is unchanged.
        for _ in range(3 * (number // len(streams))):
            data[randomness.randrange(len(data))] = randomness.randrange(256)
        throw_stream(port, data)
    return count


def throw_stream(port, data):
    with socket.socket() as stream:
        stream.settimeout(ANSWER_WITHIN_S)
        stream.connect(("127.0.0.1", port))
        try:
            stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            # The server closed the connection, as it should.
            pass


class SlowConnections:
    """Opens connections that send a request one byte at a time, from a thread, until the server closes them."""

    def __init__(self, port, count):
        self.open = {socket.create_connection(("127.0.0.1", port)) for _ in range(count)}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.trickle)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        for connection in self.open:
            connection.close()

    def trickle(self):
        data = request(0, "slow" + "w" * 200)
        for at in range(len(data)):
            for connection in list(self.open):
                self.send_byte(connection, data[at : at + 1])
            if not self.open or self.stop.wait(TRICKLE_S):
                return

    def send_byte(self, connection, byte):
        readable, _, _ = select.select([connection], [], [], 0)
        try:
            if not readable:
                connection.send(byte)
                return
        except OSError:
            pass
        # The server answers nothing to half a request: it has closed the connection.
        connection.close()
        self.open.discard(connection)


def throw_strangers(port, count, name, datagrams):
    """Sends under so many names, each from a port of its own, each so many times."""
    with Thrower(port) as thrower:
        for number in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for seq in range(datagrams):
                    thrower.throw(stranger, request(seq, f"{name}-{number}"))


def throw_aliases(port, count, name, datagrams):
    """Sends under so many names from one port, each so many times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, Thrower(port) as thrower:
        for number in range(count):
            for seq in range(datagrams):
                thrower.throw(stranger, request(seq, f"{name}-{number}"))
