"""Helpers for all labs: daemons, namespaces, and the records that daemons print.

A lab ends and removes whatever it started or made, also when it fails.
"""

import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "net-venv"
# What `make dist` builds: what the labs and the figures in the documents are about.
BINARY = pathlib.Path(os.environ.get("LM_BIN", ROOT / "target" / "dist" / "latency-monitor")).resolve()
PYTHON_DAEMON = VENV / "bin" / "latency-monitor"

# A condition that is false for so long is taken to stay false.
GIVE_UP_S = 90
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# The two ends of the link that `Lab.ends` makes.
NEAR, FAR = "192.0.2.1", "192.0.2.2"

ALL_METRICS = ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency"]


class Failed(Exception):
    """An expectation of a lab that did not hold."""


def expect(condition, text):
    if not condition:
        raise Failed(text)


def toml(value):
    """Writes a value as TOML. Strings of JSON are strings of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def toml_file(settings):
    """Writes a dictionary as a configuration file, with its targets as tables."""
    settings = dict(settings)
    targets = settings.pop("targets", [])
    lines = [f"{key} = {toml(value)}" for key, value in settings.items()]
    for target in targets:
        lines.append("[[targets]]")
        lines.extend(f"{key} = {toml(value)}" for key, value in target.items())
    return "\n".join(lines) + "\n"


def with_engine(settings):
    """Adds the engine that LM_ENGINE names to a configuration of ours, unless that names one."""
    kind = os.environ.get("LM_ENGINE")
    return {**settings, "engine": {"kind": kind, **settings.get("engine", {})}} if kind else settings


class Daemon:
    """A daemon under test, ours or the Python one. Its output goes to files."""

    def __init__(self, lab, label, command, namespace=None, **options):
        self.label = label
        self.out_path = lab.folder / f"{label}.out"
        self.err_path = lab.folder / f"{label}.err"
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        # A daemon that prints no records logs to its standard output.
        logs_there = options.pop("logs_to_stdout", False)
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=options.pop("stdout", err if logs_there else out),
                stderr=err,
                # A process group of its own: the Python program is several processes.
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                **options,
            )
        self.pid = self.process.pid
        self.killed = False
        self.read_to = 0
        self.partial = b""

    def records(self):
        """Returns the records printed since the last call."""
        with open(self.out_path, "rb") as out:
            out.seek(self.read_to)
            data = out.read()
        self.read_to += len(data)
        *lines, self.partial = (self.partial + data).split(b"\n")
        # The Python program logs to stderr, but libraries may print other lines.
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def log(self):
        return self.err_path.read_text(errors="replace")

    def wait_for_log(self, text):
        said = lambda: text in self.log() or self.process.poll() is not None
        wait_until(said, f"{self.label} to say {text!r}")
        expect(text in self.log(), f"{self.label} ended: {self.log()[-500:]}")

    def expect_alive(self):
        code = self.process.poll()
        expect(code is None, f"{self.label} has ended with {code}: {self.log()[-500:]}")

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        """Kills it and its children at once."""
        # Once it has ended, its process id may be another process.
        if self.killed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        # Its children have its ports until they are gone, too.
        left = lambda: [words for words in processes(self.pid).values() if words[0] not in "ZX"]
        wait_until(lambda: not left(), f"the processes of {self.label} to be gone")
        self.killed = True

    def end(self, number=signal.SIGTERM):
        """Ends it in order; returns its exit code and how long that took."""
        began = time.monotonic()
        self.send(number)
        code = self.process.wait(GIVE_UP_S)
        took_s = time.monotonic() - began
        self.kill()
        return code, took_s

    def status(self, key):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise Failed(f"/proc/{self.pid}/status has no {key}")

    def resident_kib(self):
        return self.status("VmRSS")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Lab:
    """The folder and binary of one lab, and everything to be cleaned up after it."""

    def __init__(self, name, binary):
        self.name = name
        self.binary = binary
        self.folder = ROOT / "target" / "net" / name
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self.cleanup = contextlib.ExitStack()
        self.notes = []

    def note(self, text):
        """Adds a figure to the lab's line of output."""
        self.notes.append(text)

    def write(self, label, settings):
        path = self.folder / f"{label}.toml"
        path.write_text(toml_file(settings))
        return path

    def start(self, label, command, **options):
        daemon = Daemon(self, label, command, **options)
        self.cleanup.callback(daemon.kill)
        return daemon

    def ours(self, label, settings, *flags, wait=True, **options):
        """Starts our daemon. It answers probes when this returns, and HTTP where the settings ask for that."""
        path = self.write(label, with_engine(settings))
        daemon = self.start(label, [self.binary, "-c", path, *flags], **options)
        if wait:
            daemon.wait_for_log("answering probes")
            if "http" in settings:
                daemon.wait_for_log("answering HTTP")
        return daemon

    def python(self, label, settings, **options):
        """Starts the Python daemon. It listens when this returns."""
        path = self.write(label, settings)
        daemon = self.start(label, [PYTHON_DAEMON, "-c", path], **options)
        namespace = options.get("namespace")
        for protocol, port in (("-u", settings["udp_port"]), ("-t", settings["tcp_port"])):
            listens = lambda p=protocol, n=port: f":{n} " in sockets(f"-Hln{p[1]}", namespace)
            wait_until(listens, f"{label} to listen on {port}")
        return daemon

    def namespace(self, name):
        """Makes a network namespace with its loopback up."""
        # With our process id: another run on this host has namespaces of its own.
        name = f"lmtest-{os.getpid()}-{name}"
        run("ip", "netns", "add", name)
        self.cleanup.callback(run, "ip", "netns", "del", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def in_memory(self, name, kib):
        """Makes a folder of so much memory: a disk that is small, or that nobody else uses."""
        folder = self.folder / name
        folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={kib}k", "lm-lab", str(folder))
        self.cleanup.callback(run, "umount", str(folder))
        return folder

    def link(self, one, two, one_addresses, two_addresses, device="lm0"):
        """Joins two namespaces by a veth pair; addresses as `192.0.2.1/24`."""
        run("ip", "link", "add", device, "netns", one, "type", "veth", "peer", "name", device, "netns", two)
        for namespace, addresses in ((one, one_addresses), (two, two_addresses)):
            for address in addresses:
                extra = ["nodad"] if ":" in address else []
                run("ip", "-n", namespace, "addr", "add", address, "dev", device, *extra)
            run("ip", "-n", namespace, "link", "set", device, "up")


    def ends(self, prefix=""):
        """Makes two namespaces, NEAR and FAR, joined by one link; returns their names."""
        near, far = self.namespace(f"{prefix}near"), self.namespace(f"{prefix}far")
        self.link(near, far, [f"{NEAR}/24"], [f"{FAR}/24"])
        return near, far


def clean_up_on_signals():
    """Makes signals unwind the stack, so that the labs clean up."""

    def end(number, _):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    # Where a shell starts this in the background it is ignored, and would be in each daemon.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(*command):
    """Runs a command; returns its output, or fails with its error."""
    done = subprocess.run(command, capture_output=True, text=True)
    expect(done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def sockets(flags, namespace=None, *filters):
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    return run(*prefix, "ss", flags, *filters)


def wait_until(condition, what, give_up_s=GIVE_UP_S):
    """Waits until a condition holds. Checks often, and fails after `give_up_s`."""
    end = time.monotonic() + give_up_s
    while not condition():
        expect(time.monotonic() < end, f"gave up waiting for {what}")
        pause(0.02)


def pause(seconds):
    select.select([], [], [], seconds)


def collect(daemon, enough, what, give_up_s=GIVE_UP_S):
    """Collects records until `enough` is true of all of them; returns them all."""
    found = []

    def look():
        daemon.expect_alive()
        found.extend(daemon.records())
        return enough(found)

    wait_until(look, f"{daemon.label}: {what}", give_up_s)
    return found


def values(records, metric, **tags):
    """Returns the values of a metric whose tags have these keys and values."""
    return [value for _, value in points(records, metric, **tags)]


def points(records, metric, **tags):
    """Returns the same values with the instants of their publication."""
    wanted = [f"{key}:{value}" for key, value in tags.items()]
    return [
        record["points"][0]
        for record in records
        if record.get("metric") == metric and "points" in record and all(tag in record["tags"] for tag in wanted)
    ]


def at_least(count, metrics):
    """Makes a condition for `collect`: at least so many values of each metric."""

    def enough(records):
        return all(len(values(records, metric)) >= count for metric in metrics)

    return enough


def processes(session):
    """Returns a daemon's processes with their fields of /proc/<pid>/stat from the third on. Each daemon has a session
    of its own, so no process escapes.
    """
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            # A process of another program has ended meanwhile; a daemon's does not.
            continue
        if int(words[3]) == session:
            found[entry] = words
    return found


def proportional_mib(daemon):
    """Returns the proportional set size of a daemon: pages that its processes share count once."""
    kib = 0
    for entry in processes(daemon.pid):
        lines = (entry / "smaps_rollup").read_text().splitlines()
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def cpu_s(daemons):
    """Returns the processor time in user space and in the kernel, ended children included."""
    ticks = 0
    for daemon in daemons:
        for words in processes(daemon.pid).values():
            ticks += sum(int(word) for word in words[11:15])
    return ticks / TICKS_PER_S
