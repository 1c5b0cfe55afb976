"""Starts and ends the daemon: signals, taken ports, missing rights and descriptors, readers that leave, wrong files."""

import errno
import os
import pathlib
import resource
import signal
import socket
import subprocess

from lab import GIVE_UP_S, collect, expect, values, wait_until

PORT = 17400
ENDS_WITHIN_S = 1.0
NOBODY = 65534
TARGETS = 50
# The daemon needs half of it for itself, so some of the targets' flows fit and most do not.
DESCRIPTORS = 20
# A stop of the host that is shorter is no loss.
TIMEOUT_S = 5

# A wrong file, and what is said about it.
WRONG = [
    ("intervall = 3\n", "line 1: `intervall` is not a key of the top level; did you mean `interval`?"),
    ('[[targets]]\nhost = "a"\nlable = "x"\n', "line 3: `lable` is not a key of [[targets]]; did you mean"),
    ("[metrics]\nsend_intervall = 1\n", "line 2: `send_intervall` is not a key of [metrics]; did you mean"),
    ('[metrics]\nbackend = "clii"\n', 'line 2: `backend` must be "cli" or "log" or "zeromq" or "clickhouse" or "pushgateway" or "datadog" or "otlp", not'),
    ("\n\ninterval = -1\n", "line 3: `interval` must be"),
    ("udp_port = 70000\n", "line 1: `udp_port` must be 0 to 65535, not 70000"),
    ("name = 3\n", "line 1: `name` must be a string, not 3"),
    ('name = "here\n', "line 1: not TOML"),
]


def settings(**extra):
    return {"name": "here", "tcp_port": PORT, "udp_port": PORT + 1, "interval": 5, **extra}


def itself(**extra):
    return {"host": "127.0.0.1", "label": "me", "tcp_port": PORT, "udp_port": PORT + 1, **extra}


def run(lab):
    signals(lab)
    second_signal(lab)
    taken_ports(lab)
    no_permission(lab)
    no_descriptors(lab)
    reader_leaves(lab)
    wrong_files(lab)


def signals(lab):
    for number in (signal.SIGTERM, signal.SIGINT):
        daemon = lab.ours(f"signal-{number.name}", settings(targets=[itself()]))
        collect(daemon, lambda found: len(values(found, "udp.wan.rtt")) > 10, "samples")
        code, took_s = daemon.end(number)
        lab.note(f"{number.name} {took_s * 1e3:.0f} ms")
        expect(code == 0, f"{number.name}: exit code {code}")
        expect(took_s < ENDS_WITHIN_S, f"{number.name}: {took_s:.2f} s to end")
        counted = values(daemon.records(), "udp.wan.sent")
        expect(counted and counted[-1] > 0, "the last counts were not flushed")


def second_signal(lab):
    """Nobody reads its stdout, so the first signal cannot flush: the second one ends it."""
    reader, writer = os.pipe()
    try:
        stuck = settings(interval=1, shutdown_timeout=600, targets=[itself()])
        daemon = lab.ours("second-signal", stuck, stdout=writer)
        wait_until(lambda: writes_wait(daemon.pid), "the pipe to be full")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("ending")
        expect(daemon.process.poll() is None, "it ended although it could not flush")
        code, took_s = daemon.end()
        lab.note(f"second signal {took_s * 1e3:.0f} ms")
        expect(code == 128 + signal.SIGTERM, f"the second signal: exit code {code}")
    finally:
        os.close(reader)
        os.close(writer)


def writes_wait(pid):
    """Returns whether a thread of a process waits in `write` to its standard output."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        # Kernels differ in which of the two they show: where it waits, or the call and its arguments.
        if "pipe" in (task / "wchan").read_text() or (task / "syscall").read_text().startswith("1 0x1 "):
            return True
    return False


def taken_ports(lab):
    for protocol, kind, port in (("TCP", socket.SOCK_STREAM, PORT), ("UDP", socket.SOCK_DGRAM, PORT + 1)):
        with socket.socket(socket.AF_INET, kind) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A second signal has ended the one before: the kernel ends its ring, if it had one, some milliseconds later.
            wait_until(lambda h=holder, p=port: takes(h, p), f"{protocol} {port} to be free")
            if kind == socket.SOCK_STREAM:
                holder.listen()
            daemon = lab.ours(f"taken-{protocol}", settings(), wait=False)
            code = daemon.process.wait(GIVE_UP_S)
        expect(code == 1, f"{protocol} port taken: exit code {code}")
        wanted = f"cannot listen on {protocol} 0.0.0.0:{port}"
        expect(wanted in daemon.log(), f"{protocol} port taken: {daemon.log()!r}")
        expect(not group_is_there(daemon.pid), f"{protocol} port taken: a process is left")


def takes(holder, port):
    try:
        holder.bind(("0.0.0.0", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def group_is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def no_permission(lab):
    """Asks for a low port as a user who may neither open it nor, perhaps, see the repository."""
    path = lab.write("low-port", settings(tcp_port=80, udp_port=81))
    path.chmod(0o644)
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    with open(path) as file, open(lab.binary, "rb") as binary:
        done = subprocess.run(
            [*command, f"/proc/self/fd/{binary.fileno()}", "-c", "/dev/stdin"],
            stdin=file,
            capture_output=True,
            text=True,
            timeout=GIVE_UP_S,
            pass_fds=[binary.fileno()],
            cwd="/",
        )
    expect(done.returncode == 1, f"low port: exit code {done.returncode}: {done.stderr}")
    for wanted in ("0.0.0.0:8", "CAP_NET_BIND_SERVICE"):
        expect(wanted in done.stderr, f"low port: {done.stderr!r}")


def no_descriptors(lab):
    """Gives descriptors for a few of many targets: it says so, counts, and the others work."""
    peer = lab.ours("descriptors-peer", settings(tcp_port=PORT + 2, udp_port=PORT + 3))
    there = {"tcp_port": PORT + 2, "udp_port": PORT + 3, "interval": 100, "timeout": TIMEOUT_S}
    targets = [itself(**{**there, "label": f"t{number}"}) for number in range(TARGETS)]
    daemon = lab.ours(
        "descriptors",
        settings(targets=targets, metrics={"send_interval": 1}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
    )
    # Until what was sent first would be lost, and some intervals more.
    records = collect(daemon, lambda found: len(values(found, "monitor.cpu")) >= 2 * TIMEOUT_S, "counts")
    for wanted in ("the hard limit of open files is too low", "needed=", f"limit={DESCRIPTORS}", "LimitNOFILE="):
        expect(wanted in daemon.log(), f"too few descriptors: {daemon.log()!r}")
    expect("cannot open a socket" in daemon.log(), f"too few descriptors: {daemon.log()!r}")
    received = {
        tag
        for record in records
        if record.get("metric", "") in ("udp.wan.received", "tcp.wan.received") and record["points"][0][1] > 0
        for tag in record["tags"]
        if tag.startswith("target:")
    }
    expect(received, "the flows that have a descriptor do not work")
    unsent = sum(values(records, "udp.wan.unsent")) + sum(values(records, "tcp.wan.unsent"))
    expect(unsent > 0, "what could not be sent is not counted")
    lost = sum(values(records, "udp.wan.lost"))
    expect(lost == 0, f"{lost} probes that were not sent are counted as lost")
    lines = len(daemon.log().splitlines())
    expect(lines < TARGETS, f"{lines} lines of log: a complaint for every target")
    lab.note(f"{DESCRIPTORS} descriptors: {len(received)} of {TARGETS} targets work, {unsent} probes unsent")
    for one in (daemon, peer):
        code, _ = one.end()
        expect(code == 0, f"{one.label}: exit code {code}")


def reader_leaves(lab):
    reader, writer = os.pipe()
    daemon = lab.ours("reader-leaves", settings(targets=[itself()]), stdout=writer)
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    code = daemon.process.wait(GIVE_UP_S)
    expect(code == 0, f"reader gone: exit code {code}")
    expect("panicked" not in daemon.log() and "ERROR" not in daemon.log(), daemon.log())


def wrong_files(lab):
    for number, (text, wanted) in enumerate(WRONG):
        path = lab.folder / f"wrong-{number}.toml"
        path.write_text(text)
        for command in ([], ["check"]):
            call = [lab.binary, *command, "-c", path]
            done = subprocess.run(call, capture_output=True, text=True, timeout=GIVE_UP_S)
            expect(done.returncode == 2, f"{text!r}: exit code {done.returncode}")
            expect(f"{path.name}, {wanted}" in done.stderr, f"{text!r}: {done.stderr!r}")
    lab.note(f"{len(WRONG)} wrong files")
