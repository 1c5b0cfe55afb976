#!/usr/bin/env python3
"""Runs a program as systemd does with ProtectClock=yes: no call that reads or sets the clock's state is permitted.

    protect_clock.py PROGRAM [ARGUMENT...]
"""

import ctypes
import errno
import os
import struct
import sys

# adjtimex, settimeofday, clock_settime, clock_adjtime.
CALLS = {"x86_64": (159, 164, 227, 305), "aarch64": (171, 170, 112, 266)}[os.uname().machine]
SET_SECCOMP, FILTER, SET_NO_NEW_PRIVS = 22, 2, 38
# Instructions of BPF (linux/filter.h) and what they return (linux/seccomp.h).
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE, ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def instruction(code, equal, other, value):
    return struct.pack("=HBBI", code, equal, other, value)


# The number of the call stands first in what the filter sees.
steps = [instruction(LOAD, 0, 0, 0)]
steps += [instruction(JUMP_IF_EQUAL, len(CALLS) - place, 0, call) for place, call in enumerate(CALLS)]
steps += [instruction(RETURN, 0, 0, ALLOW), instruction(RETURN, 0, 0, REFUSE)]
program = Program(len(steps), b"".join(steps))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
