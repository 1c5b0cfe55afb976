"""Measures how far the transmit stamps of a capture precede the driver's, by a plain program that is none of ours.

A capture stamps an outgoing packet before the driver does. What the capture itself takes lies between the two: about
a microsecond, and more when the processor has just slept. This program sends datagrams over the captured link, and
the kernel returns the driver's stamp of each. In a namespace of its own:

    lead.py ADDRESS SECONDS PERIOD_MS     sends to an address; prints the stamps as JSON
"""

import json
import select
import socket
import struct
import sys
import time

from capture import MARK_PORT, UDP, packets

# From linux/net_tstamp.h: the kernel stamps a packet when the driver has it, and returns the stamp with the packet's
# number alone.
SO_TIMESTAMPING = getattr(socket, "SO_TIMESTAMPING", 37)
TX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 11
# From linux/errqueue.h.
EXTENDED_ERROR = struct.Struct("=IBBBBII")
TIMES = struct.Struct("=qq")
TAG = b"lead"
NUMBER = struct.Struct(">I")


def stamps_of(sender):
    """Returns the stamps that have arrived, by number."""
    found = {}
    while True:
        try:
            _, notes, _, _ = sender.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        at = number = None
        for level, kind, data in notes:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
                seconds, ns = TIMES.unpack_from(data)
                at = seconds * 1_000_000_000 + ns
            elif len(data) >= EXTENDED_ERROR.size:
                number = EXTENDED_ERROR.unpack_from(data)[6]
        if at and number is not None:
            found[number] = at


def main(address, seconds, period_ms):
    stamps = {}
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        # The other end's datagrams arrive here and stay unread, so no ICMP error answers them.
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
    ):
        sink.bind(("0.0.0.0", MARK_PORT))
        sender.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY)
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            sender.sendto(TAG + NUMBER.pack(number), (address, MARK_PORT))
            number += 1
            select.select([], [], [], period_ms / 1000)
            stamps |= stamps_of(sender)
    print(json.dumps(stamps))


def leads(path, source, stamps):
    """Returns the leads of a capture over what an address sent, in ns."""
    found = []
    for packet in packets(path):
        if packet.protocol == UDP and packet.source == source and packet.payload.startswith(TAG):
            (number,) = NUMBER.unpack_from(packet.payload, len(TAG))
            if str(number) in stamps:
                found.append(stamps[str(number)] - packet.at)
    return found


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
