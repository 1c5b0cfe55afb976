"""Whether the Python program takes configuration files: run by the Python that it is installed in.

    predecessor.py FOLDER

For each file in FOLDER its own code runs: reads file and flags, sets up the log and the backend, starts the servers, and
sends one probe of each kind to each target. Sockets, threads and stores that are not installed are stood in for, and are as
strict as those in whose place they stand. Prints a line of JSON for each file: its name, and why it is not taken, or null.
"""

import json
import os
import pathlib
import queue
import select
import socket
import sys
import tempfile
import types
from unittest import mock

for name in ("clickhouse_connect", "prometheus_client"):
    sys.modules.setdefault(name, mock.MagicMock(name=name))

from latency_monitor import core, main  # noqa: E402
from latency_monitor.metrics import accumulator  # noqa: E402
from latency_monitor.metrics.zeromq import ZeroMQ  # noqa: E402


class Done(BaseException):
    """A part of the program has done what is to be seen of it."""


class Socket:
    """Sends one probe and receives its answer. What it is asked is checked as a socket of the system does."""

    def __init__(self, family, kind):
        self.family, self.kind, self.sent = family, kind, None
        # A second one is for a second probe, or for a connection anew.
        State.made += 1
        if State.depth and State.made > 1:
            raise Done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def address(self, address):
        host, port = address
        if not isinstance(host, str):
            raise TypeError(f"host is {host!r}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real:
            # Raises for what is no port.
            real.connect(("127.0.0.1", port))

    def bind(self, address):
        self.address(address)

    def listen(self, backlog):
        pass

    def accept(self):
        raise Done

    def settimeout(self, timeout):
        with socket.socket() as real:
            real.settimeout(timeout)

    def connect(self, address):
        self.address(address)

    def shutdown(self, how):
        pass

    def close(self):
        pass

    def sendto(self, message, address):
        self.address(address)
        self.sendall(message)

    def sendall(self, message):
        if self.sent is not None:
            raise Done
        self.sent = bytes(message)

    def recvfrom(self, size):
        return self.recv(size), ("127.0.0.1", 1)

    def recv(self, size):
        if self.sent is None:
            raise Done
        # As the system checks a buffer's size.
        return self.sent[: len(bytearray(size))] if size else self.sent


def connected(address, timeout=None):
    made = Socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(timeout)
    made.connect(address)
    return made


class State:
    depth = made = 0


class Thread:
    """Runs at once, until its first probe is over."""

    def __init__(self, target, args=(), kwargs=None):
        self.run = lambda: target(*args, **(kwargs or {}))

    def start(self):
        State.depth, State.made = State.depth + 1, 0
        try:
            self.run()
        except Done:
            pass
        finally:
            State.depth -= 1

    def is_alive(self):
        return True


def sleep(seconds):
    """Lets no time pass. A loop of the program that is not a probe's ends here."""
    float(seconds)
    if not State.depth:
        raise Done


def readable(sockets, *others):
    """Says that the sockets can be read, if the time to wait for them is one."""
    select.select([], [], [], min(others[-1], 0))
    return sockets, [], []


class Queue(queue.Queue):
    """Has one sample to publish."""

    def get(self):
        if State.depth:
            raise Done
        State.depth += 1
        return {"metric": "udp.wan.rtt", "points": [(0, 1)], "tags": ["source:a", "target:b"]}


def start_process(function, *arguments, **options):
    if getattr(function, "__name__", "") == "start":
        if isinstance(function.__self__, ZeroMQ):
            # It takes the file, and ends with its first sample (0.1.2): it sends a dictionary where bytes are due.
            return types.SimpleNamespace(is_alive=lambda: True)
        State.depth = 0
        arguments = (Queue(),)
    try:
        function(*arguments, **options)
    except Done:
        pass
    finally:
        State.depth = 0
    return types.SimpleNamespace(is_alive=lambda: True)


def take(path):
    """Runs the program with a file; raises what it raises."""
    sys.argv = ["latency-monitor", "-c", str(path)]
    fake = types.SimpleNamespace(**{**vars(socket), "socket": Socket, "create_connection": connected})
    time = types.SimpleNamespace(**{**vars(core.time), "sleep": sleep})
    with (
        mock.patch.object(core, "socket", fake),
        mock.patch.object(core, "time", time),
        mock.patch.object(main, "time", time),
        mock.patch.object(accumulator, "time", time),
        mock.patch.object(core, "select", types.SimpleNamespace(select=readable)),
        mock.patch.object(core, "threading", types.SimpleNamespace(Thread=Thread)),
        mock.patch.object(main, "_start_proc", start_process),
        mock.patch.object(main.signal, "signal"),
        mock.patch.object(main.log, "critical", side_effect=ValueError),
        mock.patch.object(accumulator.Accumulator, "_push_metrics", lambda *_: None),
    ):
        try:
            main.start()
        except Done:
            pass


def judge(path):
    """Returns why a file is not taken. Each is a process of its own: the program changes much of one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            take(path)
            said = None
        except BaseException as error:  # SystemExit is how the program refuses a backend.
            said = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(said).encode()[:4096])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return json.loads(said)


for file in sorted(pathlib.Path(sys.argv[1]).resolve().glob("*.toml")):
    print(json.dumps([file.name, judge(file)]), flush=True)
