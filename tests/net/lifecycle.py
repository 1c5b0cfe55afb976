"""How the daemon begins and ends: signals, ports that are taken, rights and descriptors that are
missing, readers that leave, files that are wrong."""

import os
import resource
import signal
import socket
import subprocess

from lab import GIVE_UP_S, collect, expect, values, wait_until

PORT = 17400
ENDS_WITHIN_S = 1.0


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
    """With an end of stdout that nobody reads the first signal cannot flush: the second one ends it."""
    reader, writer = os.pipe()
    try:
        daemon = lab.ours("second-signal", settings(interval=1, shutdown_timeout=600, targets=[itself()]), stdout=writer)
        os.close(writer)
        writer = None
        # The pipe is full when the thread that writes to it waits in a write.
        wait_until(lambda: writes_wait(daemon.pid), "the pipe to be full")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("ending")
        expect(daemon.process.poll() is None, "it ended although it could not flush")
        daemon.send(signal.SIGTERM)
        code = daemon.process.wait(GIVE_UP_S)
        expect(code == 128 + signal.SIGTERM, f"the second signal: exit code {code}")
    finally:
        os.close(reader)
        if writer is not None:
            os.close(writer)


def writes_wait(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/wchan") as wchan:
            if "pipe" in wchan.read():
                return True
        with open(f"/proc/{pid}/task/{task}/syscall") as call:
            # write(1, ...), on a kernel that does not tell where it waits.
            if call.read().startswith("1 0x1 "):
                return True
    return False


def taken_ports(lab):
    for protocol, kind, port in (("TCP", socket.SOCK_STREAM, PORT), ("UDP", socket.SOCK_DGRAM, PORT + 1)):
        with socket.socket(socket.AF_INET, kind) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                holder.listen()
            daemon = lab.ours(f"taken-{protocol}", settings(), wait=False)
            code = daemon.process.wait(GIVE_UP_S)
            expect(code == 1, f"{protocol} port taken: exit code {code}")
            wanted = f"cannot listen on {protocol} 0.0.0.0:{port}"
            expect(wanted in daemon.log(), f"{protocol} port taken: {daemon.log()!r}")


def no_permission(lab):
    path = lab.write("low-port", settings(tcp_port=80, udp_port=81))
    os.chmod(path, 0o644)
    with open(path) as file:
        # As a user who may neither open low ports nor, perhaps, see the repository.
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
        binary = os.open(lab.binary, os.O_RDONLY)
        try:
            done = subprocess.run(
                [*command, f"/proc/self/fd/{binary}", "-c", "/dev/stdin"],
                stdin=file, capture_output=True, text=True, timeout=GIVE_UP_S, pass_fds=[binary], cwd="/",
            )
        finally:
            os.close(binary)
    lowest = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
    if lowest <= 80:
        lab.note("low ports are open to all here: not tried")
        return
    expect(done.returncode == 1, f"low port: exit code {done.returncode}: {done.stderr}")
    expect("CAP_NET_BIND_SERVICE" in done.stderr, f"low port: {done.stderr!r}")


def no_descriptors(lab):
    """Descriptors for a few of fifty targets: said, counted, and the others work."""
    limit = 60
    targets = [itself(label=f"t{number}", interval=100, tcp_latency=False) for number in range(50)]
    daemon = lab.ours(
        "descriptors",
        settings(targets=targets, metrics={"send_interval": 1}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    records = collect(daemon, lambda found: len(values(found, "udp.wan.unsent")) >= 200, "counts")
    expect("open files" in daemon.log(), f"nothing was said: {daemon.log()!r}")
    expect(sum(values(records, "udp.wan.received")) > 0, "the flows that have a descriptor do not work")
    unsent = sum(values(records, "udp.wan.unsent")) + sum(values(records, "tcp.wan.unsent"))
    expect(unsent > 0, "what could not be sent is not counted")
    complaints = daemon.log().count("cannot open a socket") + daemon.log().count("cannot accept")
    lab.note(f"{unsent} unsent with {limit} descriptors, {complaints} complaints")
    code, _ = daemon.end()
    expect(code == 0, f"exit code {code}")


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
    daemon = lab.ours("wrong", settings(intervall=3), wait=False)
    code = daemon.process.wait(GIVE_UP_S)
    expect(code == 2, f"wrong file: exit code {code}")
    wanted = "line 5: `intervall` is not a key of the top level; did you mean `interval`?"
    expect(wanted in daemon.log(), f"wrong file: {daemon.log()!r}")
