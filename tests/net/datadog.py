"""Publishes to an intake that checks payloads against the models of Datadog's own client.

It gets the figures of the windows that the cli backend printed, each once, also those that met a 503 or a 429 first
or were in the spool when the daemon was killed. A series that is refused is one error, and is dropped alone. A wrong
key is one error and drops nothing.
"""

import collections
import pathlib
import re
import socket
import time

from lab import VENV, collect, expect, wait_until

INTAKE = pathlib.Path(__file__).with_name("intake.py")
PORT = 17900
KEY = "0123456789abcdef0123456789abcdef"
BUSY = ["503", "503", "429/2", "503"]
# The statistics beside the median, and the window's key of each.
FIGURES = {"": "p50", ".avg": "mean", ".min": "min", ".max": "max", ".99percentile": "p99", ".999percentile": "p99.9"}
DELAYS = ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency"]
COUNTS = ["udp.wan.sent", "udp.wan.received", "udp.wan.lost", "tcp.wan.sent"]
GAUGE, COUNT = 3, 1
BAD = "udp.wan.reordered"
WINDOWS = 6
# A kill may lose records that are younger than this: a batch is closed each second.
YOUNG_NS = 2 * 10**9


def run(lab):
    check_delivery(lab)
    check_refused(lab)
    check_bad_key(lab)
    check_spool(lab)


def intake(lab, label, port, answers=()):
    server = lab.start(label, [VENV / "bin" / "python", "-B", INTAKE, port, KEY, *answers])
    wait_until(lambda: listens(port, server), f"{label} to listen")
    return server


def listens(port, server):
    server.expect_alive()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publisher(lab, label, port, api_key, *environment, **extra):
    """Starts a daemon that probes itself, and publishes windows on stdout and to the intake. The key is in the
    environment.
    """
    daemon = start(lab, label, port, api_key, *environment, **extra)
    daemon.wait_for_log("answering probes")
    return daemon


def start(lab, label, port, api_key, *environment, **extra):
    metrics = {"send_interval": 1, "mode": "windows"}
    keys = {"api_key": api_key} if api_key else {}
    path = lab.write(
        label,
        {
            "name": "near",
            # All that waits is taken, however slow the intake is. A key that it refuses is refused for ever.
            "shutdown_timeout": 60 if api_key in (KEY, None) else 5,
            "tcp_port": port + 1,
            "udp_port": port + 2,
            "metrics": [
                {**metrics, "backend": "cli"},
                {
                    **metrics,
                    "backend": "datadog",
                    "site": "datadoghq.eu",
                    "url": f"http://127.0.0.1:{port}",
                    **keys,
                    **extra,
                },
            ],
            "targets": [
                {
                    "host": "127.0.0.1",
                    "label": "it's \"1\"",
                    "tags": ["isp:local", "plain"],
                    "interval": 10,
                    "tcp_port": port + 1,
                    "udp_port": port + 2,
                }
            ],
        },
    )
    return lab.start(label, ["env", *environment, lab.binary, "-c", path])


def check_delivery(lab):
    server = intake(lab, "intake", PORT, BUSY)
    daemon = publisher(lab, "daemon", PORT, None, f"DD_API_KEY={KEY}")
    requests = []

    def taken():
        server.expect_alive()
        requests.extend(record for record in server.records() if "status" in record)
        return sum(request["status"] == 202 for request in requests)

    def has_enough():
        daemon.expect_alive()
        return taken() >= 6

    wait_until(has_enough, "payloads to be taken")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    taken()
    statuses = [request["status"] for request in requests]
    wanted = [int(answer.partition("/")[0]) for answer in BUSY]
    expect(statuses[: len(BUSY)] == wanted, f"the intake answered {statuses[:10]}")
    wrong = [request["wrong"] for request in requests if request["wrong"]]
    expect(not wrong, f"{len(wrong)} payloads are wrong: {wrong[:1]}")
    printed = daemon.records()
    received = series_of(requests)
    delays, counts = check_windows(printed, received), check_counts(printed, received)
    lab.note(f"{statuses.count(202)} payloads after {BUSY}: {delays} windows and {counts} counts, each once")


def series_of(requests):
    """Returns the points of each metric of every accepted payload."""
    points = collections.defaultdict(list)
    for request in requests:
        if request["status"] != 202 or request["path"] != "/api/v2/series":
            continue
        for series in request["payload"]["series"]:
            expect(series["resources"] == [{"name": "near", "type": "host"}], f"the host of {series}")
            expect((series["type"] == COUNT) == ("interval" in series), f"the interval of {series}")
            for point in series["points"]:
                value = point["timestamp"], round(point["value"], 9), tuple(series["tags"])
                points[series["metric"]].append((series["type"], series.get("unit"), *value))
    return points


def check_windows(printed, received):
    number = 0
    for metric in DELAYS:
        windows = windows_of(printed, metric)
        expect(len(windows) >= WINDOWS - 1, f"{len(windows)} windows of {metric}")
        number += len(windows)
        for suffix, key in FIGURES.items():
            ours = [
                (GAUGE, "millisecond", w["end"] // 10**9, round(w[key] / 1e6, 9), tuple(w["tags"])) for w in windows
            ]
            compare(metric + suffix, ours, received)
        ours = [(COUNT, None, w["end"] // 10**9, w["count"], tuple(w["tags"])) for w in windows]
        compare(f"{metric}.count", ours, received)
    return number


def check_counts(printed, received):
    number = 0
    for metric in COUNTS:
        records = [record for record in printed if record.get("metric", "") == metric]
        number += len(records)
        points = [(record["points"][0], tuple(record["tags"])) for record in records]
        compare(metric, [(COUNT, None, at // 10**9, value, tags) for (at, value), tags in points], received)
    return number


def compare(metric, ours, received):
    lost = collections.Counter(ours) - collections.Counter(received[metric])
    more = collections.Counter(received[metric]) - collections.Counter(ours)
    expect(not lost and not more, f"{metric}: lost {list(lost)[:2]}, too many {list(more)[:2]}")


def windows_of(printed, metric):
    return [record for record in printed if record.get("metric", "") == metric]


def total(printed, metric):
    """Returns the sum of a count of the backend's own."""
    counts = windows_of(printed, metric)
    return sum(count["points"][0][1] for count in counts if "backend:datadog" in count["tags"])


def check_refused(lab):
    """Refuses one series for ever, and a payload for its size: that series is dropped, counted and named in one error.
    All others arrive.
    """
    port = PORT + 30
    server = intake(lab, "intake-refuses", port, ["413", f"bad={BAD}"])
    daemon = publisher(lab, "refused", port, KEY)
    requests = []

    def has_enough():
        daemon.expect_alive()
        requests.extend(record for record in server.records() if "status" in record)
        names = [series["metric"] for request in requests if request["status"] == 202 for series in request["payload"]["series"]]
        return all(names.count(name) >= WINDOWS for name in ("udp.wan.rtt", "udp.wan.sent", "tcp.wan.latency.count"))

    wait_until(has_enough, "all other series to be taken")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    requests.extend(record for record in server.records() if "status" in record)
    expect(requests[0]["status"] == 413, f"the intake answered {requests[0]}")
    printed = daemon.records()
    received = series_of(requests)
    expect(BAD not in received, f"{BAD} was taken")
    delays, counts = check_windows(printed, received), check_counts(printed, received)
    errors = [line for line in daemon.log().splitlines() if "ERROR" in line]
    named = f"{BAD} of source:near,target:it's \"1\",isp:local,plain"
    expect(len(errors) == 1 and named in errors[0], f"one reason is reported {len(errors)} times: {errors[:4]}")
    dropped, bad = total(printed, "monitor.backend.dropped"), len(windows_of(printed, BAD))
    # Those of the last intervals are counted, and that is no longer printed; the log has all.
    told = re.search(r"(\d+) records are lost since the start", daemon.log())
    expect(told, f"what is lost is not told: {daemon.log()[-500:]}")
    shown = f"{dropped} records dropped, {told[1]} told at the end, {bad} were refused"
    expect(0 < dropped <= bad == int(told[1]), shown)
    lab.note(f"{BAD} refused: {dropped} records dropped and counted, one error; {delays} windows and {counts} counts arrived")


def check_bad_key(lab):
    port = PORT + 10
    server = intake(lab, "intake-key", port)
    daemon = publisher(lab, "bad-key", port, "not-the-key")
    refused = []

    def has_enough():
        daemon.expect_alive()
        refused.extend(record for record in server.records() if "status" in record)
        return len(refused) >= 4

    wait_until(has_enough, "payloads to be refused")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    expect({request["status"] for request in refused} == {403}, "a bad key is taken")
    lines = [line for line in daemon.log().splitlines() if " 403 " in line]
    expect(len(lines) == 1, f"a bad key is reported {len(lines)} times: {lines[:3]}")
    for word in ("api_key", "DD_API_KEY", "datadoghq.eu"):
        expect(word in lines[0], f"{word} is not in {lines[0]!r}")
    expect("not-the-key" not in daemon.log(), "the key is in the log")
    lab.note(f"a bad key: {len(refused)} payloads refused, reported once")


def check_spool(lab):
    """Kills the daemon while the intake is away, and starts it with a mistyped key, then with the right one: each
    figure is there once.
    """
    port, spool = PORT + 20, {"spool_dir": str(lab.folder / "spool")}
    killed = publisher(lab, "killed", port, KEY, **spool)
    printed = collect(killed, lambda records: len(windows_of(records, "udp.wan.rtt")) >= WINDOWS, "windows")
    kill_ns = time.time_ns()
    killed.kill()
    printed += killed.records()
    server = intake(lab, "intake-spool", port)
    mistyped = publisher(lab, "mistyped", port, "not-the-key", **spool)
    check_in_use(lab, port, spool)
    requests = []

    def requests_with(status):
        server.expect_alive()
        requests.extend(record for record in server.records() if "status" in record)
        return [request for request in requests if request["status"] == status]

    wait_until(lambda: len(requests_with(403)) >= 4, "payloads to be refused")
    code, _ = mistyped.end()
    expect(code == 0, f"the daemon ended with {code}: {mistyped.log()[-500:]}")
    expect("wait in" in mistyped.log(), "what is left in the spool is not reported")
    expect(not requests_with(202), "a bad key is taken")
    printed += mistyped.records()
    mended = publisher(lab, "mended", port, KEY, **spool)
    expect("wait from the last run" in mended.log(), f"the spool is empty: {mended.log()[-500:]}")
    waited = len(printed)
    printed += collect(mended, lambda records: len(windows_of(records, "udp.wan.rtt")) >= 2, "windows")
    code, _ = mended.end()
    expect(code == 0, f"the daemon ended with {code}: {mended.log()[-500:]}")
    printed += mended.records()
    received = series_of(requests_with(202))
    # Records younger than a second at the kill may be lost, and may have arrived.
    first, last = ((kill_ns - age) // 10**9 for age in (YOUNG_NS, 0))
    old = [record for record in printed if not first <= time_of(record) // 10**9 <= last]
    for metric, points in received.items():
        received[metric] = [point for point in points if not first <= point[2] <= last]
    delays, counts = check_windows(old, received), check_counts(old, received)
    lab.note(
        f"killed with {waited} records printed, a mistyped key ({len(requests_with(403))} refusals), the right one: "
        f"{delays} windows and {counts} counts, each once"
    )


def time_of(record):
    return record["end"] if "end" in record else record["points"][0][0]


def check_in_use(lab, port, spool):
    """A spool has one owner: a second daemon probes, keeps its batches in memory, and says why."""
    path = lab.write(
        "second",
        {
            "tcp_port": 0,
            "udp_port": 0,
            # Its log would go to stdout: there is no cli backend.
            "log_file": str(lab.folder / "second.log"),
            "metrics": {"backend": "datadog", "api_key": KEY, "url": f"http://127.0.0.1:{port}", **spool},
        },
    )
    second = lab.start("second", [lab.binary, "-c", path])
    log = lab.folder / "second.log"
    said = lambda: log.read_text() if log.exists() else ""
    wanted = "datadog.redb is in use by another process; give each daemon a spool_dir of its own"
    wait_until(lambda: wanted in said() and "answering probes" in said(), "the second daemon to probe and to say why")
    second.expect_alive()
    second.kill()
