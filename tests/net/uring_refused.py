"""Starts the daemon where a filter refuses io_uring, as the filters of containers do: by each of their two errors.

A configuration that asks for io_uring ends at once with an error that says who refuses it and what would be right; so
does `check`. With `auto` the daemon runs on mio, says why in one line, and warns of nothing.
"""

import ctypes
import errno
import struct
import subprocess

from lab import GIVE_UP_S, collect, expect, values

PORT = 17600
# Their connect probes are more than those from which `auto` wants io_uring.
TARGETS = 32
REFUSALS = {errno.EPERM: "a seccomp filter forbids it", errno.ENOSYS: "a seccomp filter hides it"}

# From prctl(2), seccomp(2) and bpf(2). The call's number is one on all architectures.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RETURN_ERROR, RETURN_ALLOW = 0x0005_0000, 0x7FFF_0000
IO_URING_SETUP = 425


def run(lab):
    target = {"host": "127.0.0.1", "type": "tcp", "tcp_port": PORT, "interval": 1}
    targets = [{**target, "label": f"t{number}"} for number in range(TARGETS)]
    for code, why in REFUSALS.items():
        name = errno.errorcode[code]
        settings = {"name": "here", "tcp_port": PORT, "udp_port": PORT + 1, "targets": targets}
        is_refused = {"preexec_fn": lambda: refuse(code)}
        asked = {**settings, "engine": {"kind": "io_uring"}}
        daemon = lab.ours(f"asked-{name}", asked, wait=False, **is_refused)
        expect(daemon.process.wait(GIVE_UP_S) == 1, f"{name}: exit code {daemon.process.returncode}")
        told = daemon.log()
        for wanted in ("cannot use io_uring, refused to make a ring", why, '`[engine] kind` = "mio"'):
            expect(wanted in told, f"{name}: no {wanted!r} in {told!r}")
        checked = check(lab, f"checked-{name}", asked, is_refused)
        expect(checked.returncode == 1 and why in checked.stderr, f"{name}: check says {checked}")

        # So few records that none are too many, which would be told.
        automatic = {**settings, "engine": {"kind": "auto"}, "metrics": {"mode": "windows", "send_interval": 0.5}}
        checked = check(lab, f"checked-auto-{name}", automatic, is_refused)
        expect(checked.returncode == 0, f"{name}: check says {checked}")
        expect("engine: mio (" in checked.stderr and why in checked.stderr, f"{name}: check says {checked}")
        daemon = lab.ours(f"auto-{name}", automatic, **is_refused)
        collect(daemon, lambda found: sum(values(found, "tcp.wan.received")) > 10, "replies")
        told = daemon.log()
        lines = [line for line in told.splitlines() if "the engine is mio: " in line and why in line]
        expect(len(lines) == 1, f"{name}: {told!r}")
        expect("WARN" not in told and "ERROR" not in told, f"{name}: {told!r}")
        daemon.end()
    # Where nobody refuses it, the same configuration gets it.
    checked = check(lab, "checked-allowed", {**settings, "engine": {"kind": "auto"}}, {})
    expect("engine: io_uring (" in checked.stderr, f"check says {checked}")


def check(lab, label, settings, options):
    path = lab.write(label, settings)
    command = [lab.binary, "check", "-c", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S, **options)


def refuse(code, *numbers):
    """Has the kernel refuse calls to this process, and to those that it starts, with this error: those that make rings, if
    it is not told others."""
    steps = [(LOAD_NUMBER, 0, 0, 0)]
    for number in numbers or [IO_URING_SETUP]:
        steps += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, RETURN_ERROR | code)]
    steps.append((RETURN, 0, 0, RETURN_ALLOW))
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(packed)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
