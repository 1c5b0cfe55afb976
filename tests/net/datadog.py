"""An intake that holds payloads to the models of Datadog's own client: the figures of the windows that the cli backend
printed, each once, also what met a 503 and a 429 first; and a bad key is one error."""

import collections
import pathlib
import socket

from lab import VENV, expect, wait_until

INTAKE = pathlib.Path(__file__).with_name("intake.py")
PORT = 17900
KEY = "0123456789abcdef0123456789abcdef"
BUSY = ["503", "503", "429/2", "503"]
# What stands beside the median, and the window's key of it.
FIGURES = {"": "p50", ".avg": "mean", ".min": "min", ".max": "max", ".99percentile": "p99", ".999percentile": "p99.9"}
DELAYS = ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency"]
COUNTS = ["udp.wan.sent", "udp.wan.received", "udp.wan.lost", "tcp.wan.sent"]
GAUGE, COUNT = 3, 1


def run(lab):
    check_delivery(lab)
    check_bad_key(lab)


def intake(lab, label, port, answers=()):
    server = lab.start(label, [VENV / "bin" / "python", "-B", INTAKE, port, KEY, *answers])
    wait_until(lambda: listens(port, server), f"{label} to listen")
    return server


def listens(port, server):
    server.expect_alive()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publisher(lab, label, port, api_key, *environment):
    """A daemon that probes itself, and publishes windows on stdout and to the intake; a key comes from the environment."""
    metrics = {"send_interval": 1, "mode": "windows"}
    keys = {"api_key": api_key} if api_key else {}
    path = lab.write(
        label,
        {
            "name": "near",
            "tcp_port": port + 1,
            "udp_port": port + 2,
            "metrics": [
                {**metrics, "backend": "cli"},
                {**metrics, "backend": "datadog", "site": "datadoghq.eu", "url": f"http://127.0.0.1:{port}", **keys},
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
    daemon = lab.start(label, ["env", *environment, lab.binary, "-c", path])
    daemon.wait_for_log("answering probes")
    return daemon


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
    """The points of each metric of every payload taken."""
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
        windows = [record for record in printed if record["metric"] == metric]
        expect(len(windows) >= 5, f"{len(windows)} windows of {metric}")
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
        records = [record for record in printed if record["metric"] == metric]
        number += len(records)
        points = [(record["points"][0], tuple(record["tags"])) for record in records]
        compare(metric, [(COUNT, None, at // 10**9, value, tags) for (at, value), tags in points], received)
    return number


def compare(metric, ours, received):
    lost = collections.Counter(ours) - collections.Counter(received[metric])
    more = collections.Counter(received[metric]) - collections.Counter(ours)
    expect(not lost and not more, f"{metric}: lost {list(lost)[:2]}, too many {list(more)[:2]}")


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
    told = [line for line in daemon.log().splitlines() if "403" in line]
    expect(len(told) == 1, f"a bad key is told {len(told)} times: {told[:3]}")
    for word in ("api_key", "DD_API_KEY", "datadoghq.eu"):
        expect(word in told[0], f"{word} is not in {told[0]!r}")
    expect("not-the-key" not in daemon.log(), "the key is in the log")
    lab.note(f"a bad key: {len(refused)} payloads refused, told once")
