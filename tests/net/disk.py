"""Fills the disk under everything that the daemon writes: lines on stdout, its log, its spool. Lines are whole or absent,
what is lost is told, and nothing keeps the daemon from probing. Kills it while it makes its spool.
"""

import json
import os
import resource
import signal

from lab import collect, expect, values, wait_until

PORT = 17600
SMALL_KIB = 64
FILE_BYTES_MAX = 40_000
KILLS = 40


def run(lab):
    small = lab.in_memory("small", SMALL_KIB)
    full_stdout(lab, small)
    full_log(lab, small)
    limited_file(lab)
    hung_reader(lab)
    full_spool(lab, small)
    damaged_spool(lab)
    killed_spool(lab)


def settings(**extra):
    target = {"host": "127.0.0.1", "label": "me", "tcp_port": PORT, "udp_port": PORT + 1}
    return {"name": "here", "tcp_port": PORT, "udp_port": PORT + 1, "interval": 30, "targets": [target], **extra}


def whole(path):
    """The records in a file, each of which is a whole line."""
    text = whole_text(path)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            expect(False, f"{path.name}, line {number}: {line!r}")
    return found


def fill(folder):
    """Takes what is free but for a part of a page, so that the next write fits in part."""
    with open(folder / "ballast", "wb") as ballast:
        try:
            while True:
                ballast.write(b"x" * 512)
                ballast.flush()
        except OSError:
            pass
        try:
            ballast.close()
        except OSError:
            pass


def whole_text(path):
    """Returns what is in a file, once that ends with a line: a write that finds no room leaves a part of one there for a
    moment.
    """
    text = b""

    def is_whole():
        nonlocal text
        text = path.read_bytes()
        return text.endswith(b"\n")

    wait_until(is_whole, f"what has no room to be cut off {path.name}")
    return text


def full_stdout(lab, small):
    for mode in ("ab", "wb"):
        with open(small / "out", mode) as out:
            daemon = lab.ours(f"stdout-{mode}", settings(metrics={"send_interval": 1}), stdout=out)
        daemon.wait_for_log("records are lost: No space left on device")
        expect("cli" in daemon.log(), daemon.log())
        lines = len(whole(small / "out"))
        if mode == "ab":
            # There is room again: lines go on where they begin.
            (small / "out").write_bytes(b"")
            wait_until(lambda: drops(small), "the count of what was lost")
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
        whole(small / "out")
        lab.note(f"{lines} lines")
        (small / "out").unlink()


def drops(small):
    text = (small / "out").read_bytes().splitlines()[:-1]
    return any(b"monitor.samples_dropped" in line and json.loads(line)["points"][0][1] > 0 for line in text)


def full_log(lab, small):
    path = small / "log"
    backends = {"backend": "log", "level": "INFO", "send_interval": 1}
    daemon = lab.ours("log", settings(log_file=str(path), metrics=backends), wait=False)
    daemon.wait_for_log(f"the log file {path} cannot be written: No space left on device")
    text = whole_text(path)
    expect(text.endswith(b"}\n"), f"the log ends with {text[-80:]!r}")
    expect(daemon.log().count("cannot be written") == 1, "it is told once")
    path.write_bytes(b"")
    again = lambda: b"is written again" in path.read_bytes()
    wait_until(again, "the log to say what is lost")
    told = next(line for line in path.read_text().splitlines() if "is written again" in line)
    lab.note(told.split("; ")[-1])
    for line in whole_text(path).decode().splitlines():
        expect(" INFO " in line or " WARN " in line, f"a line of the log is {line!r}")
    daemon.kill()
    path.unlink()


def limited_file(lab):
    """A limit on the size of files is a full disk, and no signal that ends the daemon."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    restore = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    daemon = lab.ours("limited", settings(metrics={"send_interval": 1}), preexec_fn=lambda: (limit(), restore()))
    daemon.wait_for_log("records are lost: File too large")
    expect(len(whole(daemon.out_path)) > 50, "there are lines up to the limit")
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    whole(daemon.out_path)


def hung_reader(lab):
    """Nobody reads stdout: told once, counted in the other backend, and with a number at the end."""
    reads, writes = os.pipe()
    path = lab.folder / "hung.log"
    backends = [{"backend": "cli"}, {"backend": "log", "level": "INFO", "mode": "windows"}]
    metrics = [{**backend, "send_interval": 1} for backend in backends]
    config = {**settings(metrics=metrics), "interval": 0.2, "log_file": str(path), "shutdown_timeout": 1}
    daemon = lab.ours("hung", config, stdout=writes)
    os.close(writes)
    daemon.wait_for_log("takes records too slowly or not at all")
    counted = lambda: [line for line in daemon.log().splitlines() if "monitor.backend.samples_dropped" in line]
    wait_until(lambda: any("backend:cli" in line and ", 0]]" not in line for line in counted()), "the count")
    expect(daemon.log().count("takes records too slowly") == 1, "it is told once")
    expect("backend=" in daemon.log() and "cli" in daemon.log(), daemon.log()[-500:])
    daemon.end()
    last = [line.split("WARN ")[-1] for line in daemon.log().splitlines() if "WARN" in line][-2:]
    expect("it has not taken the last" in last[0] and "records are lost since the start" in last[1], last)
    lab.note(last[1])
    os.close(reads)


def spooling(folder):
    click = {"backend": "clickhouse", "host": "127.0.0.1", "port": 1, "secure": False, "spool_dir": str(folder)}
    return settings(metrics=[{"backend": "cli", "send_interval": 1}, {**click, "send_interval": 1}])


def full_spool(lab, small):
    fill(small)
    daemon = lab.ours("spool-full", spooling(small))
    daemon.wait_for_log("the spool fails, batches wait in memory")
    collect(daemon, lambda found: sum(values(found, "monitor.backend.spool_failed", backend="clickhouse")) > 0, "a count")
    expect(not (small / "clickhouse.redb").exists(), "there is no half of a spool")
    daemon.kill()
    (small / "ballast").unlink()
    (small / "clickhouse.redb.new").unlink(missing_ok=True)


def damaged_spool(lab):
    folder = lab.folder / "spool"
    folder.mkdir()
    for number, content in enumerate((b"", b"no spool", b"\0" * 70_000)):
        (folder / "clickhouse.redb").write_bytes(content)
        daemon = lab.ours(f"damaged-{number}", spooling(folder))
        daemon.wait_for_log("clickhouse.redb.damaged, and a new one begins")
        expect((folder / "clickhouse.redb.damaged").read_bytes() == content, "what is set aside is what was there")
        collect(daemon, lambda found: len(values(found, "udp.wan.rtt")) > 10, "samples")
        daemon.kill()


def has_bytes(path):
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def killed_spool(lab):
    folder = lab.folder / "killed"
    found = {"nothing": 0, "a draft": 0, "a spool": 0}
    for number in range(KILLS):
        for left in folder.glob("*"):
            left.unlink()
        draft, spool = folder / "clickhouse.redb.new", folder / "clickhouse.redb"
        daemon = lab.ours(f"killed-{number}", spooling(folder), wait=False)
        # Each turn waits for another moment of the making.
        moments = [draft.exists, lambda: has_bytes(draft), spool.exists]
        moment = moments[number % len(moments)]
        while not (moment() or spool.exists()):
            daemon.expect_alive()
        daemon.kill()
        found["a spool" if spool.exists() else "a draft" if draft.exists() else "nothing"] += 1
        daemon = lab.ours(f"after-{number}", spooling(folder))
        expect("damaged" not in daemon.log() and "fails" not in daemon.log(), daemon.log())
        daemon.kill()
    lab.note(f"killed with {found}")
    expect(found["a draft"] + found["nothing"] > 0, "no kill came before the spool was whole")
