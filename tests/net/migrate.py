"""Files of the Python program, read by both programs: what that one takes, ours takes.

The files are those of tests/migrating, and files of one line each: every key that it reads, with values of its type that
mean something, or nothing, to it. Where it takes what we do not, that is a rule of docs/migrating.md, and is here by name.
"""

import json
import os
import re
import subprocess

from lab import ROOT, VENV, expect

FILES = ROOT / "tests" / "migrating"
WHOLE = (0, 1, 65535, 65536, 10000000, -1)
NUMBERS = (0, 0.5, 60, 61, 1e9, -1)
SWITCHES = (True, False)
PORTS = (0, 1, 65535, 65536, -1)
LEVELS = ("DEBUG", "info", "Warning", "critical", "WARN", "FATAL", "NOTSET", "LOUD")
TARGET = '[[targets]]\nhost = "127.0.0.1"\n'
# Keys of the top level and of a target.
SHARED = {
    "tcp_port": PORTS,
    "udp_port": PORTS,
    "max_lost": WHOLE,
    "rtt": SWITCHES,
    "tcp_latency": SWITCHES,
    "interval": NUMBERS,
    "timeout": NUMBERS,
}
TOP = {
    **SHARED,
    "name": ("here", "a-b.c", "h\u00f6st"),
    "address": ("127.0.0.1", "0.0.0.0", "::1", "localhost"),
    "tcp": SWITCHES,
    "udp": SWITCHES,
    "max_size": WHOLE,
    "max_seq": (0, 100),
    "max_conn": (0, 40),
    "log_level": LEVELS,
    "log_file": ("", "latency.log", "below/latency.log"),
}
# Keys of the top level that say something of targets.
SEEN_WITH_A_TARGET = ("tcp", "udp", "max_size")
OF_TARGET = {
    **SHARED,
    "label": ("fra", "a b", ""),
    "type": ("tcp", "udp", "TCP", "UDP", ""),
    "size": WHOLE,
    "tags": ([], ["isp:example"], ["a:b", "c:d"]),
}
BACKENDS = {
    "cli": {"format": ("json",)},
    "log": {"format": ("json",), "level": ("debug", "info", "warning", "error", "critical", "INFO")},
    "zeromq": {"address": ("127.0.0.1", "0.0.0.0", "::1"), "port": (18960, 65535)},
    "datadog": {"site": ("datadoghq.com", "us5.datadoghq.com"), "api_key": ("a" * 32,), "send_interval": NUMBERS},
    "pushgateway": {"gateway": ("localhost:9091", "http://push:9091"), "job": ("a", "b c"), "send_interval": NUMBERS},
    "clickhouse": {
        "host": ("click.example.com", "192.0.2.1"),
        "port": (8123, 8443),
        "username": ("default", "a@b"),
        "password": ("", "p"),
        "table": ("metrics", "a.b"),
        "columns": (["a", "b", "c", "d", "e"],),
        "send_interval": NUMBERS,
    },
}
# What a backend must have there, whichever of its keys a file is about.
NEEDED = {
    "datadog": {"site": "datadoghq.com", "api_key": "a" * 32},
    "pushgateway": {"gateway": "localhost:9091"},
    "clickhouse": {"host": "click.example.com", "password": "p"},
}
# What it takes and we do not: docs/migrating.md, "What is a mistake here".
REFUSED = re.compile(
    # Nobody can be asked on port 0, which a target inherits, too.
    r"(target: (tcp|udp)_port = 0|top: (tcp|udp)_port = 0 and a target)$"
    # It reads no word, and probes with both.
    r"|target: type = \"\"$"
    # Where it only compares a number, a negative one is small.
    r"|.* = -1( and a target)?$"
)


def run(lab):
    folder = lab.folder / "files"
    folder.mkdir()
    for path in FILES.glob("*.toml"):
        (folder / path.name).write_text(path.read_text())
    names = {path.name: path.name for path in FILES.glob("*.toml")}
    for number, (name, text) in enumerate(one_line_each()):
        path = folder / f"{number:03}.toml"
        path.write_text(text)
        names[path.name] = name
    taken, refused = {}, {}
    for file, why in judged(lab, folder):
        (taken if why is None else refused)[file] = why
    expect(len(taken) + len(refused) == len(names), f"{len(taken)} and {len(refused)} of {len(names)} files")
    # It is no yes to everything.
    for part in ("port = -1", "timeout = -1", "log_level = \"LOUD\""):
        expect(any(part in names[file] for file in refused), f"{part} is taken: {sorted(refused)}")
    wrong = [f"{names[path.name]}: {refused[path.name]}" for path in FILES.glob("*.toml") if path.name in refused]
    expect(not wrong, f"the Python program does not take {wrong}")
    for file in sorted(taken):
        name = names[file]
        # A folder for each: the log file that one names is looked for below it.
        done = subprocess.run([lab.binary, "check", "-c", folder / file], capture_output=True, text=True, cwd=lab.folder)
        is_known = bool(REFUSED.match(name))
        expect(done.returncode in (0, 2), f"{name}: {done.returncode}: {done.stderr}")
        if (done.returncode == 0) == is_known:
            wrong.append(f"{name}: {done.stderr.strip().splitlines()[:1]}")
        elif is_known:
            expect(re.search(r"line \d+: `", done.stderr), f"{name} is refused without a line: {done.stderr}")
    expect(not wrong, "; ".join(wrong))
    known = [names[file] for file in taken if REFUSED.match(names[file])]
    lab.note(f"{len(taken)} files taken by both, but for {len(known)} that are named; {len(refused)} not by it")


def judged(lab, folder):
    """Asks the Python program; returns the name of each file, and why it is not taken."""
    words = [VENV / "bin" / "python", ROOT / "tests" / "net" / "predecessor.py", folder]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(lab.folder), "PYTHONDONTWRITEBYTECODE": "1"}
    )
    expect(done.returncode == 0, done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line_each():
    """Returns files that are about one key each, and what they are called."""
    for key, values in TOP.items():
        for value in values:
            line = f"{key} = {toml(value)}"
            if key in SHARED or key in SEEN_WITH_A_TARGET:
                yield f"top: {line} and a target", f"{line}\n{TARGET}"
            else:
                yield f"top: {line}", f"{line}\n"
    for key, values in OF_TARGET.items():
        for value in values:
            line = f"{key} = {toml(value)}"
            yield f"target: {line}", f"{TARGET}{line}\n"
    for backend, keys in BACKENDS.items():
        for key, values in keys.items():
            for value in values:
                table = {"backend": backend, **NEEDED.get(backend, {}), key: value}
                lines = [f"{name} = {toml(value)}\n" for name, value in table.items()]
                yield f"{backend}: {key} = {toml(value)}", "[metrics]\n" + "".join(lines)


def toml(value):
    return json.dumps(value, ensure_ascii=False)
