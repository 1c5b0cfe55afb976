"""Echoes UDP packets cut short: to a half, to a byte, to nothing, and with a byte too many, in turn."""

import socket
import sys

peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.bind((sys.argv[1], int(sys.argv[2])))
print("listening", file=sys.stderr, flush=True)
turn = 0
while True:
    packet, sender = peer.recvfrom(65536)
    lengths = (len(packet) // 2, 1, 0, len(packet) - 1)
    peer.sendto(packet[: lengths[turn % len(lengths)]], sender)
    turn += 1
