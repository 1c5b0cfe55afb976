"""Reads captures with nanosecond stamps: which packets were on the link, when, and what their bytes say.

A capture stamps an outgoing packet before the driver does (see lead.py), and an incoming one with the stamp that the
socket gets. TCP over a pair of virtual devices is an exception: its packets carry their own time of departure, and
the kernel stamps them anew, after the capture. The messages are those of docs/design/native-wire.md and
docs/design/text-wire.md.
"""

import bisect
import re
import signal
import socket
import struct
import subprocess
import sys
from typing import NamedTuple

from lab import expect, wait_until

# The kernel buffers this much of a capture while tcpdump has no processor.
BUFFER_KIB = 65_536
NANOSECOND_PCAP = 0xA1B2_3C4D
ETHERNET = 1
UDP, TCP = 17, 6
FIN, SYN = 0x01, 0x02
# The last packet of a capture goes to this port. Nobody listens there.
MARK_PORT = 9
MARK = b"the lab's last packet"

# Length of the fixed part of a native packet.
NATIVE_BYTES = 44
# A datagram of a trace on the native wire: how it begins, and how long it is. On the text wire it is empty.
TRACE, TRACE_BYTES = b"hops", 12
PREAMBLE = b"LMS1"
# A length below this begins with a byte that no text message has.
PRINTABLE_LEAST = 0x20
HEADER = re.compile(rb"0*?(\d{1,3})\|([^|]*)\|(\d+)\|([^|]*)\|((?:~[a-z0-9]{1,64}~)*)")
IDENTIFIER = re.compile(rb"~[a-d]([0-9a-f]{8})([0-9a-f]{8})([0-9a-f]{4})~")


class Capture:
    """Runs tcpdump on a namespace's link, and captures what comes after it is made."""

    def __init__(self, lab, label, namespace, device="lm0"):
        self.namespace = namespace
        self.path = lab.folder / f"{label}.pcap"
        # Without --immediate-mode tcpdump wakes a few times a second and not for each packet: it disturbs the
        # measurement less.
        command = ["tcpdump", "-i", device, "-w", self.path, "--time-stamp-precision=nano", "-U", "-n"]
        command += ["-B", str(BUFFER_KIB), "-Z", "root"]
        self.daemon = lab.start(label, command, namespace=namespace)
        self.daemon.wait_for_log("listening on")
        self.read_to = 0

    def has_mark(self):
        """Returns whether the file has the mark. Reads what it has not read before."""
        with open(self.path, "rb") as file:
            file.seek(max(0, self.read_to - len(MARK)))
            data = file.read()
            self.read_to = file.tell()
        return MARK in data

    def end(self):
        """Ends the capture. Fails if the kernel dropped packets of it."""
        self.daemon.end(signal.SIGINT)
        log = self.daemon.log()
        dropped = re.search(r"(\d+) packets? dropped by kernel", log)
        expect(dropped, f"{self.daemon.label}: {log[-500:]}")
        expect(dropped[1] == "0", f"{self.daemon.label}: {dropped[1]} packets were not captured")


def end_captures(captures, sender, address):
    """Ends captures that all see what the namespace `sender` sends to an address.

    tcpdump reads what the kernel holds in blocks, so it ends only after a last packet is in the file.
    """
    code = f"import socket; socket.socket(2, 2).sendto({MARK!r}, ({address!r}, {MARK_PORT}))"
    subprocess.run(["ip", "netns", "exec", sender, sys.executable, "-c", code], check=True)
    for capture in captures:
        wait_until(capture.has_mark, f"{capture.daemon.label} to have captured the last packet")
        capture.end()


class Packet(NamedTuple):
    """A UDP or TCP packet on the link."""

    at: int  # ns since 1970
    protocol: int
    source: str
    source_port: int
    target: str
    target_port: int
    payload: bytes
    seq: int = 0  # TCP
    flags: int = 0  # TCP


def packets(path):
    """Yields the UDP and TCP packets of a capture in order."""
    data = path.read_bytes()
    for order in "<>":
        magic, _, _, _, _, _, kind = struct.unpack_from(order + "IHHiIII", data)
        if magic == NANOSECOND_PCAP:
            break
    expect(magic == NANOSECOND_PCAP and kind == ETHERNET, f"{path} is no capture of nanoseconds on Ethernet")
    record = struct.Struct(order + "IIII")
    at, names = 24, {}
    # The last packet may be incomplete in the file: it is left out.
    while at + record.size <= len(data):
        seconds, ns, kept, _ = record.unpack_from(data, at)
        at += record.size
        packet = parse(seconds * 1_000_000_000 + ns, data[at : at + kept], names)
        at += kept
        if packet and at <= len(data):
            yield packet


def parse(at, frame, names):
    """Reads a frame as a packet; returns nothing if it is neither UDP nor TCP."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        begin = 14 + (frame[14] & 0xF) * 4
        protocol, source, target = frame[23], frame[26:30], frame[30:34]
        # Ethernet's padding may follow the packet. A large packet that the device has yet to cut may have no length.
        (length,) = struct.unpack_from(">H", frame, 16)
        end = 14 + length if length else len(frame)
    elif kind == b"\x86\xdd":
        begin = 14 + 40
        protocol, source, target = frame[20], frame[22:38], frame[38:54]
        (length,) = struct.unpack_from(">H", frame, 18)
        end = begin + length if length else len(frame)
    else:
        return None
    if protocol not in (UDP, TCP):
        return None
    for address in (source, target):
        if address not in names:
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            names[address] = socket.inet_ntop(family, address)
    ports = struct.unpack_from(">HH", frame, begin)
    ends = (names[source], ports[0], names[target], ports[1])
    if protocol == UDP:
        return Packet(at, UDP, *ends, frame[begin + 8 : end])
    (seq,) = struct.unpack_from(">I", frame, begin + 4)
    header = (frame[begin + 12] >> 4) * 4
    return Packet(at, TCP, *ends, frame[begin + header : end], seq, frame[begin + 13])


class Tlv(NamedTuple):
    flags: int
    type: int
    value: bytes


class Native(NamedTuple):
    """A native packet. In a request the fields of replies are 0."""

    seq: int
    at: int  # ns since 1970
    error: int
    ssid: int
    received: int
    sender_seq: int
    sender_at: int
    sender_error: int
    ttl: int
    tlvs: list


def ptp(seconds, ns):
    return seconds * 1_000_000_000 + ns


def decode_native(data):
    """Reads a request or a reply. Fails if its TLVs do not end where the packet ends."""
    words = struct.unpack_from(">IIIHHIIIIIHHB3s", data)
    seq, seconds, ns, error, ssid, in_s, in_ns, of_seq, of_s, of_ns, of_error, _, ttl, _ = words
    tlvs, at = [], NATIVE_BYTES
    while at < len(data):
        flags, kind, length = struct.unpack_from(">BBH", data, at)
        at += 4
        expect(at + length <= len(data), f"a TLV of type {kind} goes beyond its packet: {data.hex()}")
        tlvs.append(Tlv(flags, kind, data[at : at + length]))
        at += length
    own, received, sender = ptp(seconds, ns), ptp(in_s, in_ns), ptp(of_s, of_ns)
    return Native(seq, own, error, ssid, received, of_seq, sender, of_error, ttl, tlvs)


class Message(NamedTuple):
    """A request or a reply of a flow of ours. The session is the cookie or the SSID. The number is the request's, low
    32 bits, also in replies.
    """

    at: int
    native: bool
    session: int
    number: int
    data: bytes
    # Its last byte was on the link more than once, or out of order: it has no single time.
    again: bool = False
    # Text only: when its sender claims to have sent it, ns since 1970.
    said: int | None = None

    def key(self):
        return self.native, self.session, self.number


def is_of_a_trace(data):
    """Returns whether a datagram looks for the routers on the way (docs/design/hops.md). It is no message."""
    return not data or data.startswith(TRACE) and len(data) == TRACE_BYTES


def decode_message(at, data, is_reply, again=False):
    """Reads one message; returns nothing if it is a text message without our identifier."""
    text = HEADER.match(data)
    if text is None:
        seq, ssid = struct.unpack_from(">I", data, 24 if is_reply else 0)[0], struct.unpack_from(">H", data, 14)[0]
        return Message(at, True, ssid, seq, data, again)
    found = IDENTIFIER.search(text[5])
    if found is None:
        return None
    return Message(at, False, int(found[1], 16), int(found[2], 16), data, again, int(text[3]))


class Stream:
    """Reassembles one direction of a connection."""

    def __init__(self, first):
        # A SYN takes a sequence number.
        self.base = (first.seq + bool(first.flags & SYN)) & 0xFFFF_FFFF
        self.data = bytearray()
        # The end of the new bytes of each segment, and the time when they were seen first.
        self.ends, self.times = [], []
        self.ahead = {}
        self.repeated = []

    def add(self, packet):
        if not packet.payload:
            return
        distance = (packet.seq - self.base - len(self.data)) & 0xFFFF_FFFF
        # As a signed distance: bytes that were there before lie behind.
        start = len(self.data) + (distance - (1 << 32) if distance >> 31 else distance)
        if start > len(self.data):
            if start in self.ahead:
                self.repeated.append((start, start + len(packet.payload)))
            else:
                self.ahead[start] = packet
            return
        if start < len(self.data):
            self.repeated.append((max(start, 0), min(start + len(packet.payload), len(self.data))))
        self.append(start, packet)
        while True:
            ready = [start for start in self.ahead if start <= len(self.data)]
            if not ready:
                return
            start = min(ready)
            packet = self.ahead.pop(start)
            self.repeated.append((start, start + len(packet.payload)))
            self.append(start, packet)

    def append(self, start, packet):
        new = packet.payload[len(self.data) - start :]
        if new:
            self.data += new
            self.ends.append(len(self.data))
            self.times.append(packet.at)

    def message(self, begin, end, is_reply):
        """Returns the message between two places, with the time of its last byte."""
        at = self.times[bisect.bisect_left(self.ends, end)]
        again = any(first < end <= last for first, last in self.repeated)
        return decode_message(at, bytes(self.data[begin:end]), is_reply, again)


def framed(stream, is_reply):
    """Yields the complete messages of a stream: text first, if there is any, then native ones."""
    data, at = stream.data, 0
    while at < len(data):
        if data[at : at + 4] == PREAMBLE:
            at += len(PREAMBLE)
            break
        # In replies nothing marks the end of the text: a length follows the zeros.
        padding = at
        while padding < len(data) and data[padding] == 0x30:
            padding += 1
        if padding < len(data) and data[padding] < PRINTABLE_LEAST:
            at = padding
            break
        text = HEADER.match(data, at)
        if text is None:
            expect(padding == len(data) or b"|" not in data[at : at + 4], f"no message: {bytes(data[at : at + 80])!r}")
            return
        found = IDENTIFIER.search(text[5])
        expect(found, f"a message without our identifier: {bytes(text[0])!r}")
        # A request has the length that it states. Of a reply only the part before its padding is certain.
        end = at + int(found[3], 16) if not is_reply else text.end()
        if end > len(data):
            return
        yield stream.message(at, end, is_reply)
        at = end
    while at + 2 <= len(data):
        (length,) = struct.unpack_from(">H", data, at)
        expect(length >= NATIVE_BYTES, f"a length of {length} in a stream, at {at}")
        if at + 2 + length > len(data):
            return
        at += 2 + length
        yield stream.message(at - length, at, is_reply)


def messages(path, protocol, port):
    """Returns the requests to a port and the replies from it."""
    requests, replies, streams = [], [], {}
    for packet in packets(path):
        if packet.protocol != protocol or port not in (packet.source_port, packet.target_port):
            continue
        is_reply = packet.source_port == port
        if protocol == UDP:
            if is_of_a_trace(packet.payload):
                continue
            message = decode_message(packet.at, packet.payload, is_reply)
            if message:
                (replies if is_reply else requests).append(message)
            continue
        ends = packet[2:6]
        # A SYN begins a new stream, unless it is the same SYN again.
        known = streams.setdefault(ends, [])
        if not known or packet.flags & SYN and known[-1].base != (packet.seq + 1) & 0xFFFF_FFFF:
            known.append(Stream(packet))
        known[-1].add(packet)
    for (_, source_port, _, _), known in streams.items():
        is_reply = source_port == port
        for stream in known:
            found = [message for message in framed(stream, is_reply) if message]
            (replies if is_reply else requests).extend(found)
    return requests, replies


class Exchange:
    """The four instants of a probe on the link, in ns. An instant that was not captured is None."""

    def __init__(self):
        self.request_out = self.request_in = self.reply_out = self.reply_in = None
        # When the request claims to have been sent, if it is text.
        self.request_said = None
        self.again = False
        self.native = False

    def complete(self):
        return None not in (self.request_out, self.request_in, self.reply_out, self.reply_in)

    def forward(self):
        return self.request_in - self.request_out

    def reverse(self):
        return self.reply_in - self.reply_out

    def dwell(self):
        return self.reply_out - self.request_in

    def whole(self):
        return self.reply_in - self.request_out

    def rtt(self):
        return self.whole() - self.dwell()


def join(near, far, protocol, port):
    """Joins the captures of both ends; returns the exchanges by the number of the probe."""
    found = {}
    for path, outgoing, incoming in ((near, "request_out", "reply_in"), (far, "request_in", "reply_out")):
        requests, replies = messages(path, protocol, port)
        for field, part in ((outgoing, requests), (incoming, replies)):
            for message in part:
                exchange = found.setdefault(message.key(), Exchange())
                # A second packet with the same number makes the exchange ambiguous.
                exchange.again |= message.again or getattr(exchange, field) is not None
                exchange.native = message.native
                setattr(exchange, field, message.at)
                if field == "request_out":
                    exchange.request_said = message.said
    by_number = {}
    for (_, _, number), exchange in found.items():
        expect(number not in by_number, f"two probes with the number {number} on one flow")
        by_number[number] = exchange
    return by_number
