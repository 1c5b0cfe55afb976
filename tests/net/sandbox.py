"""Runs the daemon as it locks itself in, with everything that a configuration can name, on both engines.

The kernel says of each of its threads that it is locked in. Inside, all goes on: names are resolved, dumps and spools
are written, the log is rotated, lists and keys are replaced, a reload brings targets and a backend that listens. What
was not named at the start is refused, and the daemon says what a restart would change. Where a container refuses the
calls that all this needs, the daemon runs without, and says so.
"""

import errno
import http.client
import json
import os
import pathlib
import platform
import signal
import socket
import tempfile

from lab import collect, expect, values, wait_until
from uring_refused import refuse

PORT = 18700
ENGINES = ("mio", "io_uring")
# The two calls that begin it. The first has one number on all architectures.
LANDLOCK_CREATE_RULESET = 444
SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]
CAP_NET_ADMIN = 1 << 12


def run(lab):
    for place, engine in enumerate(ENGINES):
        Host(lab, engine, PORT + 10 * place).check()
    check_listeners_of_a_reload(lab)
    check_refused(lab)
    check_off(lab)


def settings(label, port, **more):
    target = {"host": "127.0.0.1", "label": "own", "interval": 10, "tcp_port": port, "udp_port": port + 1}
    return {"name": label, "tcp_port": port, "udp_port": port + 1, "targets": [target], **more}


class Host:
    """A daemon that uses everything, and its folder."""

    def __init__(self, lab, engine, port):
        self.lab, self.port, self.label = lab, port, f"full-{engine}"
        self.folder = lab.folder / self.label
        for name in ("keys", "lists", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.key(self.folder / "keys" / "own", b"a")
        self.list("listed")
        own = settings(self.label, port)["targets"][0]
        self.settings = settings(
            self.label,
            port,
            log_file=self.at("log/lm.log"),
            auth={"key_dir": self.at("keys")},
            engine={"kind": engine},
            burst={"dump_dir": self.at("dumps")},
            http={"listen": f"127.0.0.1:{port + 2}", "socket": self.at("http"), "interval": 0.5},
            metrics=[
                {"backend": "cli"},
                {"backend": "zeromq", "address": "127.0.0.1", "port": port + 3},
                # Nobody answers there, so that batches wait on the disk.
                {"backend": "datadog", "api_key": "0" * 32, "url": f"http://127.0.0.1:{port + 4}", "send_interval": 0.5,
                 "spool_dir": self.at("spool")},
            ],
            discovery=[{"files": [self.at("lists/*.json")], "refresh": 1, "type": "udp", "interval": 10}],
            targets=[own, {**own, "host": "localhost", "label": "named", "key_file": self.at("keys/own")}],
        )
        self.daemon = lab.ours(self.label, self.settings)

    def at(self, name):
        return str(self.folder / name)

    def key(self, path, byte):
        """Puts a key where another one is, as whoever rotates them."""
        new = self.folder / "new"
        new.write_bytes(byte * 64)
        new.chmod(0o600)
        new.replace(path)

    def list(self, label):
        """Puts a list where another one is."""
        groups = [{"targets": [f"127.0.0.1:{self.port + 1}"], "labels": {"label": label}}]
        new = self.folder / "new"
        new.write_text(json.dumps(groups))
        new.replace(self.folder / "lists" / "one.json")

    def check(self):
        daemon = self.daemon
        self.wait_for("own", "named", "127.0.0.1")
        check_threads(daemon)
        self.ask()
        daemon.send(signal.SIGUSR1)
        wait_until(lambda: list(self.folder.glob("dumps/lm-snapshot-*")), "a dump")
        wait_until(lambda: list(self.folder.glob("spool/*")), "a spool")
        self.check_reload()
        self.check_beyond()
        code, _ = daemon.end()
        expect(code == 0, f"it ended with {code}: {daemon.log()[-500:]}")
        expect("refused the system call" not in daemon.log(), daemon.log())
        expect(not os.path.exists(self.at("http")), "its socket is still there")

    def wait_for(self, *labels):
        def all_measured(records):
            return all(values(records, "udp.wan.rtt", target=label) for label in labels)

        collect(self.daemon, all_measured, f"round trips of {labels}")

    def ask(self):
        """Asks over both of its HTTP sockets."""
        over_tcp = http.client.HTTPConnection("127.0.0.1", self.port + 2)
        over_unix = http.client.HTTPConnection("here")
        over_unix.sock = socket.socket(socket.AF_UNIX)
        over_unix.sock.connect(self.at("http"))
        for connection in (over_tcp, over_unix):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            expect(answer.status == 200, f"it answers {answer.status}")
            connection.close()

    def reload(self, settings, words):
        """Gives it another file; returns what it says until these words come."""
        before = len(self.daemon.log())
        self.lab.write(self.label, settings)
        self.daemon.send(signal.SIGHUP)
        wait_until(lambda: words in self.daemon.log()[before:], f"{words!r} in {self.daemon.log()[before:]!r}")
        return self.daemon.log()[before:]

    def check_reload(self):
        """Its files are other ones, and there are more targets, and a backend more that listens."""
        self.list("other")
        self.key(self.folder / "keys" / "own", b"b")
        os.rename(self.at("log/lm.log"), self.at("log/lm.log.1"))
        more = {**self.settings["targets"][0], "host": "localhost", "label": "more"}
        listener = {"backend": "zeromq", "name": "second", "address": "127.0.0.1", "port": self.port + 5}
        self.settings["targets"].append(more)
        self.settings["metrics"].append(listener)
        told = self.reload(self.settings, "read again")
        expect("the sandbox" not in told and "ERROR" not in told, told)
        self.wait_for("more", "named")
        wait_until(lambda: os.path.exists(self.at("log/lm.log")), "another log file")
        with socket.create_connection(("127.0.0.1", self.port + 5)) as peer:
            expect(peer.recv(1) == b"\xff", "no greeting of ZeroMQ")
        check_threads(self.daemon)

    def check_beyond(self):
        """What was not named at the start is refused, and nothing has changed."""
        # Not below the folder of the configuration, which is open as a whole.
        elsewhere = pathlib.Path(self.lab.cleanup.enter_context(tempfile.TemporaryDirectory()))
        (elsewhere / "key").write_bytes(b"c" * 64)
        targets = [{**self.settings["targets"][0], "key_file": str(elsewhere / "key")}]
        told = self.reload({**self.settings, "targets": targets}, "nothing has changed")
        expect("`key_file`" in told and "; the sandbox allows only what was named at the start" in told, told)
        metrics = [*self.settings["metrics"][:2], {**self.settings["metrics"][2], "ca_file": str(elsewhere / "ca.pem")}]
        told = self.reload({**self.settings, "metrics": metrics}, "read again")
        expect(f"the sandbox does not allow `ca_file` {elsewhere}/ca.pem: a restart does" in told, told)


def check_threads(daemon):
    """Each thread is locked in, and has no capability but what its log says."""
    log = daemon.log()
    line = next(line for line in log.splitlines() if "the sandbox restricts" in line)
    expect("restricts files (Landlock " in line and " and system calls (seccomp)" in line, line)
    # Where the kernel's own limit of buffers is lower than what the daemon wants, it needs the privilege for more.
    kept = {"capabilities: none": 0, "capabilities: CAP_NET_ADMIN": CAP_NET_ADMIN}[line.partition("; ")[2]]
    threads = 0
    for thread in pathlib.Path(f"/proc/{daemon.pid}/task").iterdir():
        try:
            text = (thread / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            # A backend's client whose try has failed ends with its thread.
            continue
        threads += 1
        status = dict(line.split(":\t", 1) for line in text.splitlines())
        name = status["Name"].strip()
        expect(status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2", f"{name}: {status}")
        for capabilities in ("CapPrm", "CapEff", "CapBnd"):
            expect(int(status[capabilities], 16) == kept, f"{name}: {capabilities} {status[capabilities]}")
        for capabilities in ("CapInh", "CapAmb"):
            expect(int(status[capabilities], 16) == 0, f"{name}: {capabilities} {status[capabilities]}")
    expect(threads > 3, f"{threads} threads")


def check_listeners_of_a_reload(lab):
    """Who did not listen for a backend at the start cannot begin to, and says what would help."""
    port = PORT + 30
    before = settings("quiet", port)
    daemon = lab.ours("quiet", before)
    listener = {"backend": "zeromq", "address": "127.0.0.1", "port": port + 3}
    lab.write("quiet", {**before, "metrics": [{"backend": "cli"}, listener]})
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("nothing has changed: cannot start the backend zeromq")
    expect("Permission denied; the sandbox allows only" in daemon.log(), daemon.log())
    collect(daemon, lambda records: values(records, "udp.wan.rtt"), "round trips")
    daemon.end()


def check_refused(lab):
    """A container may refuse what the sandbox needs: the daemon runs, and says so in one line for each."""
    for place, code in enumerate((errno.EPERM, errno.ENOSYS)):
        port = PORT + 40 + 10 * place
        label = f"refused-{errno.errorcode[code]}"
        options = {"preexec_fn": lambda: refuse(code, LANDLOCK_CREATE_RULESET, SECCOMP)}
        daemon = lab.ours(label, settings(label, port), **options)
        collect(daemon, lambda records: values(records, "udp.wan.rtt"), "round trips")
        log = daemon.log()
        for lacking in ("files (Landlock)", "system calls (seccomp)"):
            expect(log.count(f"the sandbox does not restrict {lacking}: this system does not have that") == 1, log)
        expect("the sandbox restricts nothing; capabilities: " in log, log)
        expect(" WARN " not in log and " ERROR " not in log, log)
        daemon.end()


def check_off(lab):
    daemon = lab.ours("off", settings("off", PORT + 60, sandbox={"kind": "off"}))
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    expect("NoNewPrivs:\t0" in status and "Seccomp:\t0" in status, status)
    daemon.wait_for_log("the sandbox is off, as configured")
    daemon.end()
