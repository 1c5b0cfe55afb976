#!/usr/bin/env python3
"""A ZeroMQ subscriber for the labs: prints each message as a line. Runs where pyzmq is installed.

    subscribe.py ENDPOINT [PREFIX [MESSAGES]]

MESSAGES is how many may wait for it (1: the queue under test is the publisher's).
"""

import sys

import zmq

socket = zmq.Context().socket(zmq.SUB)
socket.set_hwm(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
socket.setsockopt(zmq.IPV6, 1)
socket.subscribe(sys.argv[2] if len(sys.argv) > 2 else "")
socket.connect(sys.argv[1])
while True:
    try:
        frames = socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        sys.stdout.buffer.flush()
        frames = socket.recv_multipart()
    assert len(frames) == 1, frames
    sys.stdout.buffer.write(frames[0] + b"\n")
