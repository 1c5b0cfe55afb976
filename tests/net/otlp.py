"""Publishes to a receiver that decodes payloads with OpenTelemetry's own protobufs.

It gets every window, count and event that the cli backend printed, each once, also those that met a 503, a 429 or no
answer at all first. Percentiles of its histograms are those of the samples. Totals never fall, and their starts stay. A
token that is changed on both sides needs no restart, and what a receiver rejects is counted.
"""

import bisect
import collections
import datetime
import json
import math
import pathlib
import signal
import socket

from lab import VENV, collect, expect, values, wait_until

RECEIVER = pathlib.Path(__file__).with_name("otlp_receiver.py")
PORT = 17700
DELAYS = ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency"]
COUNTS = ["udp.wan.sent", "udp.wan.received", "udp.wan.lost", "tcp.wan.sent"]
GAUGES = {"monitor.resident": ("By", 1), "monitor.clock.error": ("s", 1e9)}
BUSY = ["503", "429/2", "partial/3", "hang", "503"]
RESOURCE = {"service.name": "wan", "deployment.environment.name": "lab"}
WINDOWS = 6
# The middle of a bucket at scale 5 is off by 1.1 % at most, and a window has three digits.
ERROR_MAX = 0.02
DELTA, CUMULATIVE = "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"


def run(lab):
    check_delta(lab)
    check_cumulative(lab)
    check_token(lab)
    check_two(lab)


def receiver(lab, label, port, answers=()):
    token = lab.folder / f"{label}-token"
    token.write_text("one")
    server = lab.start(label, [VENV / "bin" / "python", "-B", RECEIVER, port, token, *answers])
    wait_until(lambda: listens(port, server), f"{label} to listen")
    return server, token


def listens(port, server):
    server.expect_alive()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publisher(lab, label, port, far=None, **extra):
    """Starts a daemon that probes itself, and another one if there is. It publishes on stdout and to the receiver."""
    headers = lab.folder / f"{label}-headers"
    headers.write_text("Authorization: Bearer one\nx-scope: lab\n")
    target = {"host": "127.0.0.1", "interval": 5}
    targets = [{**target, "label": "it's \"1\"", "tags": ["isp:local", "plain"], "tcp_port": port + 1, "udp_port": port + 2}]
    if far:
        targets.append({**target, "label": "far", "tcp_port": far, "udp_port": far + 1})
    daemon = lab.ours(
        label,
        {
            "name": "near",
            # What waits for a receiver that was away is taken, however slow this one is.
            "shutdown_timeout": 60,
            "tcp_port": port + 1,
            "udp_port": port + 2,
            "metrics": [
                {"backend": "cli", "send_interval": 1, "mode": "both"},
                {
                    "backend": "otlp",
                    "send_interval": 1,
                    "endpoint": f"127.0.0.1:{port}",
                    "headers_file": str(headers),
                    "resource": RESOURCE,
                    **extra,
                },
            ],
            "targets": targets,
        },
    )
    return daemon, headers


class Taken:
    """The requests of a receiver, and what is in those that it took."""

    def __init__(self, server):
        self.server, self.requests = server, []

    def look(self):
        self.server.expect_alive()
        self.requests += [record for record in self.server.records() if "status" in record]
        wrong = [request["wrong"] for request in self.requests if request["wrong"]]
        expect(not wrong, f"{len(wrong)} payloads are wrong: {wrong[:1]}")
        return [request["status"] for request in self.requests]

    def scopes(self, of):
        for request in self.requests:
            if request["status"] != 200 or f"resource{of}" not in request["payload"]:
                continue
            for resource in request["payload"][f"resource{of}"]:
                attributes = table(resource["resource"]["attributes"])
                wanted = {**RESOURCE, "host.name": "near", "service.instance.id": "near"}
                expect({**attributes, **wanted} == attributes, f"the resource is {attributes}")
                yield from resource[f"scope{of}"]

    def points(self, data):
        """Returns the points of every metric of a kind: attributes, start, time, and all there is."""
        found = collections.defaultdict(list)
        for scope in self.scopes("Metrics"):
            for metric in scope["metrics"]:
                for point in metric.get(data, {}).get("dataPoints", []):
                    start, time = (int(point.get(f"{key}UnixNano", 0)) for key in ("startTime", "time"))
                    key = tuple(sorted(table(point["attributes"]).items()))
                    found[metric["name"]].append((key, start, time, point, metric))
        return found

    def logs(self):
        return [log for scope in self.scopes("Logs") for log in scope["logRecords"]]


def table(attributes):
    pairs = [(attribute["key"], next(iter(attribute["value"].values()))) for attribute in attributes]
    names = [name for name, _ in pairs]
    expect(len(set(names)) == len(names), f"a name stands twice in {names}")
    return dict(pairs)


def attributes_of(record):
    """Returns the attributes that a printed record's tags become."""
    keys = ("source", "target", "isp", "direction", "owd", "backend")
    found = {}
    for tag in record["tags"]:
        key, _, value = tag.partition(":")
        found.update({key: value} if key in keys else {"tags": tag})
    return tuple(sorted(found.items()))


def windows_of(printed, metric):
    return [record for record in printed if record.get("metric") == metric and "end" in record]


def check_delta(lab):
    server, _ = receiver(lab, "receiver-delta", PORT, BUSY)
    reflector = lab.ours("far", {"name": "far", "tcp_port": PORT + 8, "udp_port": PORT + 9})
    daemon, _ = publisher(lab, "delta", PORT, far=PORT + 8, temporality="delta", max_buckets=1024)
    taken = Taken(server)
    printed = collect(daemon, lambda records: len(windows_of(records, "udp.wan.rtt")) >= 2 * WINDOWS, "windows")
    # Its flows are cut off: an event.
    reflector.kill()
    printed += collect(daemon, lambda records: any("event" in record for record in records), "an event")

    def has_all():
        daemon.expect_alive()
        return taken.look().count(200) >= 4

    wait_until(has_all, "payloads to be taken")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    taken.look()
    printed += daemon.records()
    statuses = taken.look()
    wanted = [{"partial": 200, "hang": None}.get(word) if not word.isdigit() else int(word) for word in
              (answer.partition("/")[0] for answer in BUSY)]
    expect(statuses[: len(BUSY)] == wanted, f"the receiver answered {statuses[:10]}")
    histograms = taken.points("exponentialHistogram")
    number = sum(check_windows(printed, histograms, metric) for metric in DELAYS)
    worst = max(check_quantiles(printed, histograms, metric) for metric in DELAYS)
    counts = check_counts(printed, taken.points("sum"))
    check_gauges(printed, taken.points("gauge"))
    events = check_events(printed, taken.logs())
    left_out = [point for record in printed if record.get("metric") == "monitor.backend.left_out"
                and "backend:otlp" in record["tags"] for _, point in record["points"]]
    expect(sum(left_out) == 3, f"{sum(left_out)} records are left out, and 3 were rejected")
    rejected = [line for line in daemon.log().splitlines() if "the lab rejects some" in line]
    expect(len(rejected) == 1, f"what was rejected is told {len(rejected)} times")
    lab.note(
        f"{statuses.count(200)} payloads after {BUSY}: {number} windows, {counts} counts and {events} events, each once; "
        f"percentiles within {100 * worst:.1f} % of the samples"
    )


def check_windows(printed, histograms, metric):
    """Each window is one point, with its exact figures."""
    ours = collections.Counter()
    for window in windows_of(printed, metric):
        figures = window["count"], round(window["min"] / 1e9, 12), round(window["max"] / 1e9, 12)
        ours[(attributes_of(window), window["start"], window["end"], *figures)] += 1
    theirs = collections.Counter()
    for key, start, end, point, metric_json in histograms[metric]:
        expect(metric_json["exponentialHistogram"]["aggregationTemporality"] == DELTA, "the temporality")
        expect(metric_json["unit"] == "s", f"the unit of {metric}")
        figures = int(point["count"]), round(point["min"], 12), round(point["max"], 12)
        theirs[(key, start, end, *figures)] += 1
        expect(sum(count for _, count in buckets(point)) == int(point["count"]), f"the buckets of {point}")
        if "sum" in point:
            mean = point["sum"] / int(point["count"])
            expect(point["min"] <= mean * (1 + 1e-9) and mean <= point["max"] * (1 + 1e-9), f"the sum of {point}")
        expect(("sum" in point) == ("negative" not in point), f"the sum of {point}")
    expect(len(ours) >= WINDOWS, f"{len(ours)} windows of {metric}")
    lost, more = ours - theirs, theirs - ours
    expect(not lost and not more, f"{metric}: lost {list(lost)[:2]}, too many {list(more)[:2]}")
    return sum(ours.values())


def buckets(point):
    """Returns the middles of a point's buckets in seconds, and how many values are in each, ascending."""
    base = 2 ** (2.0 ** -point.get("scale", 0))
    found = []
    for side, sign in (("negative", -1), ("positive", 1)):
        offset = point.get(side, {}).get("offset", 0)
        for place, count in enumerate(point.get(side, {}).get("bucketCounts", [])):
            found.append((sign * base ** (offset + place + 0.5), int(count)))
    found.append((0.0, int(point.get("zeroCount", 0))))
    return sorted(bucket for bucket in found if bucket[1])


def check_quantiles(printed, histograms, metric):
    """Holds quantiles of all points together against those of all samples; returns the worst relative error."""
    # The target that is there all the time, and delays as they are measured.
    is_of = lambda key: ("isp", "local") in key and "owd" not in dict(key)
    merged = collections.Counter()
    for key, _, _, point, _ in histograms[metric]:
        for middle, count in buckets(point) if is_of(key) else []:
            merged[middle] += count
    samples = sorted(value / 1e9 for record in printed if record.get("metric") == metric and "points" in record
                     and is_of(attributes_of(record))
                     for _, value in record["points"])
    expect(sum(merged.values()) == len(samples) > 100, f"{metric}: {sum(merged.values())} of {len(samples)} samples")
    middles = sorted(merged)
    sums = []
    for middle in middles:
        sums.append(merged[middle] + (sums[-1] if sums else 0))
    worst = 0
    for quantile in (0.5, 0.9, 0.99, 0.999):
        rank = max(1, math.ceil(quantile * len(samples)))
        exact, found = samples[rank - 1], middles[bisect.bisect_left(sums, rank)]
        if exact != 0:
            worst = max(worst, abs(found / exact - 1))
    expect(worst < ERROR_MAX, f"{metric}: a percentile is off by {100 * worst:.1f} %")
    return worst


def check_counts(printed, sums):
    number = 0
    for metric in COUNTS:
        ours = collections.Counter((attributes_of(record), *record["points"][0]) for record in printed
                                   if record.get("metric") == metric)
        theirs = collections.Counter()
        for key, start, time, point, found in sums[metric]:
            expect(found["sum"]["isMonotonic"] and found["sum"]["aggregationTemporality"] == DELTA, f"{metric} is {found}")
            expect(0 < time - start < 5 * 10**9, f"an interval of {time - start} ns")
            theirs[(key, time, int(point["asInt"]))] += 1
        lost, more = ours - theirs, theirs - ours
        expect(not lost and not more, f"{metric}: lost {list(lost)[:2]}, too many {list(more)[:2]}")
        number += sum(ours.values())
    return number


def check_gauges(printed, gauges):
    for metric, (unit, divisor) in GAUGES.items():
        for _, _, _, point, found in gauges[metric]:
            expect(found["unit"] == unit and "startTimeUnixNano" not in point, f"{metric} is {found}")
        theirs = [float(point.get("asDouble", point.get("asInt"))) for _, _, _, point, _ in gauges[metric]]
        # Read when an interval of its own backend ends: the values are others, and alike.
        ours = [value / divisor for value in values(printed, metric)]
        expect(ours and theirs and 0.2 < max(theirs) / max(ours) < 5, f"{metric}: {theirs[:3]}, {ours[:3]}")


def check_events(printed, logs):
    """Each event is a log record: its JSON is the body, and its fields are attributes."""
    ours = collections.Counter(str(sorted((k, str(v)) for k, v in record.items())) for record in printed if "event" in record)
    theirs = collections.Counter()
    for log in logs:
        event = json.loads(log["body"]["stringValue"])
        theirs[str(sorted((k, str(v)) for k, v in event.items()))] += 1
        attributes = table(log["attributes"])
        expect(attributes["event"] == event["event"] == log["eventName"], f"the log record {log}")
        expect(attributes["source"] == "near" and int(log["timeUnixNano"]) > 0, f"the log record {log}")
    expect(ours and ours == theirs, f"events: {list(ours - theirs)[:2]} lost, {list(theirs - ours)[:2]} too many")
    return sum(ours.values())


def check_cumulative(lab):
    """Without a setting: what is sent is the total, which never falls and keeps its start."""
    port = PORT + 20
    server, _ = receiver(lab, "receiver-cumulative", port)
    daemon, _ = publisher(lab, "cumulative", port)
    taken = Taken(server)
    printed = collect(daemon, lambda records: len(windows_of(records, "udp.wan.rtt")) >= WINDOWS, "windows")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    printed += daemon.records()
    taken.look()
    checked = 0
    for data, metrics in (("exponentialHistogram", DELAYS), ("sum", COUNTS)):
        points = taken.points(data)
        for metric in metrics:
            series = collections.defaultdict(list)
            for key, start, time, point, found in points[metric]:
                expect(found[data]["aggregationTemporality"] == CUMULATIVE, f"{metric} is {found}")
                series[key].append((time, start, int(point.get("count", point.get("asInt", 0)))))
            for key, totals in series.items():
                totals.sort()
                expect(len({start for _, start, _ in totals}) == 1, f"{metric} of {key} has several starts")
                numbers = [number for _, _, number in totals]
                expect(numbers == sorted(numbers), f"{metric} of {key} falls: {numbers}")
                records = [record for record in printed if record.get("metric") == metric and attributes_of(record) == key]
                if data == "sum":
                    total = sum(record["points"][0][1] for record in records)
                else:
                    total = sum(record["count"] for record in records if "end" in record)
                expect(numbers[-1] == total, f"{metric} of {key}: {numbers[-1]} of {total}")
                checked += 1
    lab.note(f"cumulative: {checked} series never fell, and end at the totals")


def check_token(lab):
    """Changes the token: the receiver refuses, batches wait, and the file's new token is taken without a restart."""
    port = PORT + 40
    server, token = receiver(lab, "receiver-token", port)
    daemon, headers = publisher(lab, "token", port)
    taken = Taken(server)

    def until(condition, what):
        def look():
            daemon.expect_alive()
            return condition(taken.look())

        wait_until(look, what)

    until(lambda statuses: statuses.count(200) >= 2, "payloads to be taken")
    token.write_text("two")
    until(lambda statuses: 401 in statuses, "a payload to be refused")
    taken_before = taken.look().count(200)
    headers.write_text("Authorization: Bearer two\n")
    until(lambda statuses: statuses.count(200) >= taken_before + 2, "payloads to be taken with the new token")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    errors = [line for line in daemon.log().splitlines() if "ERROR" in line]
    expect(len(errors) == 1 and "headers_file" in errors[0], f"told {len(errors)} times: {errors[:3]}")
    expect("Bearer" not in daemon.log(), "the token is in the log")
    lab.note("a changed token: told once, taken from its file without a restart")


def check_two(lab):
    """Two of one kind, told apart by name, with one spool_dir: while one receiver is away the other gets all. After a
    reload and a kill the other gets what waited for it, from a spool of its own.
    """
    port, spool = PORT + 60, lab.folder / "spool"
    server, token = receiver(lab, "receiver-two", port)

    def settings(label, shutdown_s=5):
        headers = lab.folder / f"{label}-headers"
        headers.write_text("Authorization: Bearer one\n")
        backend = {
            "backend": "otlp",
            "send_interval": 1,
            "temporality": "delta",
            "headers_file": str(headers),
            "resource": RESOURCE,
            "spool_dir": str(spool),
        }
        return {
            "name": "near",
            "shutdown_timeout": shutdown_s,
            "tcp_port": port + 2,
            "udp_port": port + 3,
            "metrics": [
                {"backend": "cli", "send_interval": 1, "mode": "windows"},
                {**backend, "endpoint": f"127.0.0.1:{port}"},
                {**backend, "name": "second", "endpoint": f"127.0.0.1:{port + 1}", "metrics": ["udp.wan.rtt", "outage"]},
            ],
            "targets": [
                {"host": "127.0.0.1", "tags": ["isp:local"], "interval": 5, "tcp_port": port + 2, "udp_port": port + 3}
            ],
        }

    daemon = lab.ours("two", settings("two"))
    printed = collect(daemon, lambda records: len(windows_of(records, "udp.wan.rtt")) >= WINDOWS, "windows")
    taken = Taken(server)
    wait_until(lambda: taken.look().count(200) >= WINDOWS, "payloads at the receiver that is there")
    warned = [line for line in daemon.log().splitlines() if "cannot send" in line]
    expect(len(warned) == 1 and 'backend="second"' in warned[0], f"told {len(warned)} times: {warned[:2]}")
    files = sorted(path.name for path in spool.iterdir())
    expect(files == ["otlp-second.redb", "otlp.redb"], f"the spools are {files}")
    threads = thread_names(daemon)
    expect({"pub-otlp", "send-otlp", "pub-second", "send-second"} <= threads, f"the threads are {sorted(threads)}")
    # Another takes the place of the second, and what waits for it.
    changed = settings("two")
    changed["metrics"][2]["buffer_mib"] = 32
    lab.write("two", changed)
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("added=0 replaced=1 removed=0")
    daemon.wait_for_log('has ended backend="second"')
    printed += collect(daemon, lambda records: len(windows_of(records, "udp.wan.rtt")) >= WINDOWS, "windows")
    daemon.kill()
    printed += daemon.records()
    second, _ = receiver(lab, "receiver-second", port + 1)
    mended = lab.ours("two-again", settings("two-again", shutdown_s=60))
    printed += collect(mended, lambda records: len(windows_of(records, "udp.wan.rtt")) >= 2, "windows")
    code, _ = mended.end()
    expect(code == 0, f"the daemon ended with {code}: {mended.log()[-500:]}")
    printed += mended.records()
    # Windows that were younger than a second at the kill may be lost in a spool, and may have been sent.
    last = max(window["end"] for window in windows_of(printed, "udp.wan.rtt") if window["end"] < started_ns(mended))
    is_sure = lambda end: not last - 2 * 10**9 <= end <= last + 2 * 10**9
    # The reload has cut a window of the second in two, so values are compared.
    sure = [window for window in windows_of(printed, "udp.wan.rtt") if is_sure(window["end"])]
    ours = sum(window["count"] for window in sure)
    for server, others in ((server, True), (second, False)):
        taken = Taken(server)
        server.read_to, server.partial = 0, b""
        taken.look()
        points = taken.points("exponentialHistogram")
        sure_points = [(start, end, int(point["count"])) for _, start, end, point, _ in points["udp.wan.rtt"] if is_sure(end)]
        expect(len(set(sure_points)) == len(sure_points), "a window came twice")
        theirs = sum(count for _, _, count in sure_points)
        expect(theirs == ours, f"{theirs} of {ours} round trips are there")
        expect(bool(taken.points("sum")) == others, "the second gets what it did not choose, or the first gets no counts")
    sent = {tag for record in printed if record.get("metric") == "monitor.backend.sent" for tag in record["tags"]}
    expect({"backend:otlp", "backend:second"} <= sent, f"the figures are of {sent}")
    lab.note(f"two of one kind: {ours} round trips in both, each once, over an outage, a reload and a kill")


def started_ns(daemon):
    """Returns when a daemon logged its first line, as Unix nanoseconds."""
    word = daemon.log().split()[0].rstrip("Z")
    return int(datetime.datetime.fromisoformat(word[:26] + "+00:00").timestamp() * 1e9)


def thread_names(daemon):
    return {path.read_text().strip() for path in pathlib.Path(f"/proc/{daemon.pid}/task").glob("*/comm")}
