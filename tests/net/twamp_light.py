"""TWAMP Light by RFC 5357 (sections 4.1.2 and 4.2.1, appendix I), for the lab `stamp`:

    twamp_light.py respond PORT          answers for ever, and counts its replies
    twamp_light.py send HOST PORT...     sends requests of 14 bytes and more; prints its findings as JSON
"""

import json
import os
import socket
import struct
import sys
import time

HEAD, REPLY = struct.Struct(">IIIH"), struct.Struct(">IIIH2xIIIIIHxxB")
# Seconds from 1900, where NTP begins, to 1970.
NTP_TO_UNIX_S = 2_208_988_800
SYNCHRONISED, PTP = 0x8000, 0x4000
# One unit of 2^-32 s times 2^20: 0.24 ms.
ERROR = 0x1401
BASE = 44
# Of <linux/in.h>.
IP_RECVTTL = 12
# With padding of random bytes, as the RFC wants it.
LENGTHS = [14, 15, 16, 38, 41, 43, 44, 45, 100, 1400]
ROUNDS = 10
ANSWER_WITHIN_S = 30


def stamp(is_ptp):
    seconds, ns = divmod(time.time_ns(), 1_000_000_000)
    return (seconds, ns) if is_ptp else (seconds + NTP_TO_UNIX_S, (ns << 32) // 1_000_000_000)


def respond(port):
    """Answers in NTP's format, with 41 bytes at least and as many as came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as responder:
        responder.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        responder.bind(("0.0.0.0", port))
        sent = {}
        while True:
            data, control, _, sender = responder.recvmsg(65_535, 64)
            received = stamp(False)
            if len(data) < HEAD.size:
                continue
            ttl = next(struct.unpack("=i", value)[0] for _, kind, value in control if kind == socket.IP_TTL)
            own, head = sent.get(sender, 0), HEAD.unpack_from(data)
            reply = REPLY.pack(own, *stamp(False), SYNCHRONISED | ERROR, *received, *head, ttl)
            responder.sendto(reply + data[len(reply) :], sender)
            sent[sender] = own + 1


def send(host, ports):
    """Sends requests of all lengths in both formats from one socket to every port, one by one; checks every reply."""
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(ANSWER_WITHIN_S)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 200)
        for number in range(ROUNDS * len(LENGTHS)):
            length, is_ptp = LENGTHS[number % len(LENGTHS)], number // len(LENGTHS) % 2 == 1
            head = HEAD.pack(number, *stamp(is_ptp), ERROR | (PTP if is_ptp else 0))
            request = head + os.urandom(length - len(head))
            for port in ports:
                sender.sendto(request, (host, port))
                reply, source = sender.recvfrom(65_535)
                assert source == (host, port), f"{source} answers what was sent to {port}"
                check(request, reply, number, is_ptp)
                answered += 1
    return {"answered": answered, "of": ROUNDS * len(LENGTHS) * len(ports)}


def check(request, reply, number, is_ptp):
    own, t3, _, error, t2, _, *head, ttl = REPLY.unpack_from(reply)
    assert len(reply) == max(BASE, len(request)), f"{len(reply)} bytes answer {len(request)}"
    assert reply[BASE:] == request[BASE:], f"other padding: {reply.hex()} for {request.hex()}"
    assert tuple(head) == HEAD.unpack_from(request), f"not the request's: {head}"
    assert bool(error & PTP) == is_ptp, f"another format than asked for: {error:#x}"
    seconds = stamp(is_ptp)[0]
    assert seconds - 60 < t2 <= t3 <= seconds, f"{t2} and {t3} at {seconds}"
    assert (own, ttl) == (number, 200), f"reply {own} with TTL {ttl} to request {number}"


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "respond":
        respond(int(words[0]))
    print(json.dumps(send(words[0], [int(word) for word in words[1:]])))
