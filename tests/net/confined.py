#!/usr/bin/env python3
"""Runs a program as a service of systemd: as nobody, without capabilities, and with a list of system calls.

    confined.py CALLS PROGRAM [ARGUMENT...]

CALLS has the numbers of the calls that are allowed, with commas between; any other call fails with EPERM. Memory that can
be written can never be executed, where the kernel knows that rule.
"""

import ctypes
import errno
import os
import struct
import sys

NOBODY = 65534
SET_SECCOMP, FILTER, SET_NO_NEW_PRIVS, DROP_BOUNDING, SET_MDWE, REFUSE_EXEC_GAIN = 22, 2, 38, 24, 65, 1
# Instructions of BPF (linux/filter.h) and what they return (linux/seccomp.h).
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE, ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000
CAPABILITIES = range(64)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def instruction(code, equal, other, value):
    return struct.pack("=HBBI", code, equal, other, value)


def main():
    calls = sorted({int(call) for call in sys.argv[1].split(",")})
    # The number of the call stands first in what the filter sees.
    steps = [instruction(LOAD, 0, 0, 0)]
    for call in calls:
        steps += [instruction(JUMP_IF_EQUAL, 0, 1, call), instruction(RETURN, 0, 0, ALLOW)]
    steps.append(instruction(RETURN, 0, 0, REFUSE))
    program = Program(len(steps), b"".join(steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in CAPABILITIES:
        # The kernel has fewer.
        prctl(DROP_BOUNDING, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # Since Linux 6.3.
    prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)
    if prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
