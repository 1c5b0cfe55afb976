"""The unit of systemd: its file, its drop-ins and what they expose, by systemd's own tools; and the daemon as the unit
starts it: as nobody, without capabilities, with the unit's system calls only, told about to a manager of the lab's own.

A thread that hangs is made by ptrace, which stops the poll thread and no other. systemd itself does not run here.
"""

import ctypes
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys

from lab import GIVE_UP_S, ROOT, collect, expect, values, wait_until
from lab import run as command

UNIT = ROOT / "packaging" / "systemd" / "latency-monitor.service"
DROP_INS = UNIT.parent / "drop-ins"
# Lower is better; the most exposed service has 10.
EXPOSURE_MAX = 2.0
# From this version on systemd knows the type of the drop-in notify-reload.
NOTIFY_RELOAD = 253
# The daemon's signs of life come twice in this time.
WATCHDOG_US = 1_000_000
SIGN = "WATCHDOG=1"
PTRACE_ATTACH, PTRACE_DETACH, WAIT_ALL = 16, 17, 0x40000000
PAGES = ("latency-monitor.1", "latency-monitor-ping.1", "latency-monitor.toml.5")


class Manager:
    """Whom the daemon tells how it is, at an abstract name."""

    def __init__(self, lab):
        self.name = f"latency-monitor-lab-{os.getpid()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        lab.cleanup.callback(self.socket.close)
        self.socket.bind("\0" + self.name)
        self.socket.settimeout(GIVE_UP_S)

    def told(self):
        return self.socket.recv(256).decode()

    def told_of_state(self):
        while (told := self.told()) == SIGN:
            pass
        return told

    def so_far(self):
        """Returns all that has come."""
        found = []
        self.socket.setblocking(False)
        try:
            while True:
                found.append(self.told())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(GIVE_UP_S)


def run(lab):
    settings = read(UNIT)
    whole = judged(lab, "whole", [])
    for drop_in in sorted(DROP_INS.glob("*.conf")):
        judged(lab, drop_in.stem, [drop_in])
    lab.note(f"exposure {whole}")
    manual(lab)
    calls = allowed(settings.getall("SystemCallFilter"))
    lab.note(f"{len(calls)} system calls")
    for engine in ("mio", "io_uring"):
        as_the_unit_does(lab, settings, calls, engine)


class Settings(dict):
    """The settings of a unit, each with all values that it has, in order."""

    def getall(self, key):
        return self.get(key, [])

    def only(self, key):
        values = self.getall(key)
        expect(len(values) == 1, f"{key} is there {len(values)} times")
        return values[0]


def read(path):
    settings = Settings()
    for line in path.read_text().splitlines():
        key, found, value = line.partition("=")
        if found and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


def judged(lab, label, drop_ins):
    """Has systemd's own tools read the unit with these drop-ins; returns what it exposes."""
    folder = lab.folder / label
    beside = folder / f"{UNIT.name}.d"
    beside.mkdir(parents=True)
    for drop_in in drop_ins:
        shutil.copy(drop_in, beside)
    # Where the program and its pages are not installed nothing else is wrong.
    text = UNIT.read_text().replace("/usr/bin/latency-monitor", str(lab.binary))
    text = "".join(line for line in text.splitlines(True) if not line.startswith("Documentation="))
    unit = folder / UNIT.name
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    version = int(re.search(r"systemd (\d+)", command("systemd-analyze", "--version"))[1])
    if label != "notify-reload" or version >= NOTIFY_RELOAD:
        expect(done.returncode == 0 and not said, f"{label}: {said}")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    expect(found, f"{label}: {done.stdout[-500:]}{done.stderr}")
    expect(float(found[1]) <= EXPOSURE_MAX, f"{label} has an exposure of {found[1]}\n{done.stdout}")
    return found[1]


def manual(lab):
    """The manual pages are right by two readers that know how they must be."""
    folder = lab.folder / "man"
    command(str(lab.binary), "man", "--dir", str(folder))
    names = {path.name for path in folder.iterdir()}
    expect(names.issuperset(PAGES), f"only {names}")
    for path in sorted(folder.iterdir()):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", path], capture_output=True, text=True)
        expect(done.returncode == 0, f"{path.name}: {done.stdout}")
        words = ["groff", "-man", "-Tutf8", "-ww", "-z", path]
        done = subprocess.run(words, capture_output=True, text=True)
        expect(done.returncode == 0 and not done.stderr, f"{path.name}: {done.stderr[:500]}")
    lab.note(f"{len(names)} manual pages")


def allowed(lines):
    """Returns the numbers of the system calls that the unit allows on this host."""
    names = set()
    for line in lines:
        is_taken_away, words = line.startswith("~"), line.lstrip("~").split()
        found = set().union(*(group(word) if word.startswith("@") else {word} for word in words))
        names = names - found if is_taken_away else names | found
    # The kernel's own numbers, as its headers have them.
    header = subprocess.run(
        ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True, text=True
    )
    numbers = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", header.stdout, re.MULTILINE))
    expect(len(numbers) > 200, f"no numbers of system calls: {header.stderr}")
    # The program itself is started behind the filter.
    return {int(numbers[name]) for name in names | {"execve"} if name in numbers}


def group(name):
    """Returns the names of a group of system calls."""
    lines = command("systemd-analyze", "syscall-filter", "--no-pager", name).splitlines()[1:]
    names = [line.strip() for line in lines if line.startswith("    ") and not line.strip().startswith("#")]
    return set().union(*(group(one) if one.startswith("@") else {one} for one in names))


def as_the_unit_does(lab, settings, calls, engine):
    manager = Manager(lab)
    path = lab.folder / f"{engine}.toml"
    http = f"/run/lm-lab-{os.getpid()}"
    os.makedirs(http, exist_ok=True)
    os.chown(http, 65534, 65534)
    lab.cleanup.callback(shutil.rmtree, http, ignore_errors=True)
    text = (
        'name = "unit"\ntcp_port = 18950\nudp_port = 18951\n[engine]\nkind = "%s"\n'
        '[http]\nsocket = "%s/http"\n[metrics]\nsend_interval = 0.2\n'
        '[[targets]]\nhost = "localhost"\ninterval = 20\nlabel = "%s"\n'
    )
    path.write_text(text % (engine, http, "self"))
    words = shlex.split(settings.only("ExecStart"))
    expect(words[:2] == ["/usr/bin/latency-monitor", "-c"], f"ExecStart is {words}")
    confined = [sys.executable, ROOT / "tests" / "net" / "confined.py", ",".join(map(str, calls))]
    os.environ.update(NOTIFY_SOCKET="@" + manager.name, WATCHDOG_USEC=str(WATCHDOG_US))
    daemon = lab.start(engine, [*confined, lab.binary, "-c", path, *words[3:]])
    del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
    expect(settings.only("Type") == "notify", "the unit waits for READY")
    told = manager.told_of_state()
    expect(told == "READY=1", f"{told!r}, and {daemon.log()}")
    # It is confined, and has nothing of root's.
    expect(daemon.status("Seccomp") == 2 and daemon.status("CapBnd") == 0, "it is not confined")
    found = collect(daemon, lambda it: values(it, "udp.wan.rtt") and values(it, "tcp.wan.latency"), "samples")
    collect(daemon, lambda it: values(it, "monitor.clock.synchronised"), "the clock's state, which the filter allows")
    expect(values(found, "udp.wan.rtt", target="self"), "no tags")
    if engine == "mio":
        hang(lab, manager, daemon, path)
    path.write_text(text % (engine, http, "again"))
    # The signs of life that have come fill the socket's queue otherwise.
    manager.so_far()
    reload = settings.only("ExecReload").replace("$MAINPID", str(daemon.pid))
    command(*shlex.split(reload))
    told = manager.told_of_state()
    expect(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", told), f"at a reload: {told!r}")
    told = manager.told_of_state()
    expect(told == "READY=1", f"after a reload: {told!r}")
    collect(daemon, lambda it: values(it, "udp.wan.rtt", target="again"), "samples under another label")
    manager.so_far()
    daemon.send(signal.SIGTERM)
    told = manager.told_of_state()
    expect(told == "STOPPING=1", f"at the end: {told!r}")
    code = daemon.process.wait(GIVE_UP_S)
    expect(code == 0, f"it ended with {code}: {daemon.log()[-500:]}")
    refused = re.search(r".*(not permitted|Permission denied).*", daemon.log())
    expect(not refused, f"with {engine} a call is refused that the unit should allow: {refused and refused[0]}")
    manager.socket.close()


def hang(lab, manager, daemon, path):
    """A poll thread that hangs gives no sign of life, though all others run; once it goes on it does again."""
    expect(SIGN in [manager.told() for _ in range(3)], "no sign of life")
    libc = ctypes.CDLL(None, use_errno=True)
    thread = poll_thread(daemon.pid)
    health = lambda: subprocess.run([lab.binary, "health", "-c", path], capture_output=True, text=True)
    well = health()
    expect(well.returncode == 0, f"health: {well.stderr}")
    expect(libc.ptrace(PTRACE_ATTACH, thread, 0, 0) == 0, f"no ptrace: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, WAIT_ALL)
    manager.so_far()
    # It takes the HTTP thread five seconds to call it stuck, which are ten signs of life.
    wait_until(lambda: health().returncode == 1, "health to be bad")
    said, signs = health().stderr, manager.so_far()
    expect(libc.ptrace(PTRACE_DETACH, thread, 0, 0) == 0, "no end of ptrace")
    expect("has not turned for" in said, f"health: {said}")
    expect(not signs, f"a poll thread that stands still gave {signs}")
    expect(manager.told() == SIGN, "no sign of life from a thread that goes on")
    wait_until(lambda: health().returncode == 0, "health to be good")


def poll_thread(pid):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "lm-poll":
            return int(task.name)
    expect(False, "it has no poll thread")
