"""Publishes to ClickHouse's own engine behind an HTTP front that fails in every way.

At 1 ms, through an outage and a kill, the table has each sample that the cli backend printed exactly once.
Percentiles of ten hosts merge without error. Records that cannot be stored delay no others and are reported once.
"""

import json
import math
import os
import pathlib
import random
import socket
import time
import urllib.request

from lab import ROOT, VENV, expect, pause, run as command, values, wait_until

FRONT = pathlib.Path(__file__).with_name("clickhouse_front.py")
PORT = 18000
USER, PASSWORD = "monitor", "open sesame"
SECONDS = float(os.environ.get("LM_SECONDS", 60))
# How long the front answers with status 500, and then refuses connections.
OUTAGE_S = min(6, SECONDS / 6)
# A kill may lose samples that are younger than this.
YOUNGER_NS = 2 * 10**9
SPOOL_MIB = 512
HOSTS, MESSAGES = 10, 400
DIGITS = 1e-3
OLD = """CREATE TABLE {}.metrics (MetricName String, Timestamp UInt64, MetricValue UInt64, Tags Map(String, String),
    InsertedAt DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY (MetricName, Timestamp)"""
PRINTED = "metric String, points Array(Array(Int64)), tags Array(String), stamp String, seq UInt64"
# Printed and stored samples as (metric, time, value, tags, stamp, number), with the count of each.
COMPARED = """
    SELECT {} FROM (
        SELECT m, t, v, tags, s, n, sum(printed) AS printed, sum(kept) AS kept FROM (
            SELECT metric AS m, points[1][1] AS t, points[1][2] AS v, tags, stamp AS s, seq AS n, 1 AS printed, 0 AS kept
            FROM file('{}', JSONEachRow, '{}') WHERE stamp != '' AND notEmpty(points)
            UNION ALL
            SELECT MetricName, toUnixTimestamp64Nano(Timestamp), MetricValue,
                arrayMap((k, x) -> if(x = '', k, k || ':' || x), mapKeys(Tags), mapValues(Tags)), Stamp, Seq, 0, 1
            FROM fleet.metrics WHERE Stamp != '')
        GROUP BY m, t, v, tags, s, n)"""


class Front:
    """The front, its faults, and queries that pass behind them."""

    def __init__(self, lab, address="127.0.0.1"):
        words = [VENV / "bin" / "python", "-B", FRONT, PORT, lab.folder / "engine", USER, PASSWORD, address]
        self.process = lab.start("front", words)
        wait_until(lambda: any("listens" in record for record in self.process.records()), "the front to listen")

    def ask(self, query, path="/"):
        self.process.expect_alive()
        request = urllib.request.Request(f"http://127.0.0.1:{PORT + 1}{path}", query.encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            said = error.read().decode()
        expect(False, f"{query}: {said[:500]}")

    def rows(self, query):
        return [line.split("\t") for line in self.ask(query).splitlines()]

    def number(self, query):
        return int(self.ask(query))

    def fault(self, word):
        self.ask("", f"/fault?{word}")

    def seen(self):
        return {int(status): count for status, count in json.loads(self.ask("", "/seen")).items()}


def run(lab):
    front = Front(lab)
    examples = make_tables(lab, front, "fleet")
    check_cluster(lab, front)
    check_percentiles(lab, front, examples)
    check_bucket_edges(front)
    check_nothing_lost(lab, front)
    check_documented(front)
    check_old_table(lab, front)
    check_no_windows(lab, front)
    check_password(lab, front)
    check_columns(lab, front)
    check_constraint(lab, front)


def schema(lab, *flags):
    return command(str(lab.binary), "schema", "clickhouse", *flags)


def make_tables(lab, front, database):
    """Makes the printed tables; returns the example queries that are printed with them."""
    front.ask(f"CREATE DATABASE {database}")
    printed = schema(lab, "--database", database)
    *statements, comments = printed.split(";\n\n")
    for statement in statements:
        front.ask(statement)
    lines = [line.removeprefix("--   ") for line in comments.splitlines() if line.startswith("--   ")]
    examples = [query for query in "\n".join(lines).split(";") if query.strip()]
    expect(len(examples) == 3, f"{len(examples)} example queries")
    return examples


def check_cluster(lab, front):
    """Checks the tables printed for a cluster: there is none here, so the engine only parses them."""
    *statements, _ = schema(lab, "--cluster", "c-1").split(";\n\n")
    expect(len(statements) == 12, f"{len(statements)} statements for a cluster")
    for statement in statements:
        front.ask(f"EXPLAIN AST {statement}")


def publisher(lab, label, port, clickhouse, targets=(), name=None, **both):
    """Starts a daemon that also prints what it sends to the front."""
    both = {"send_interval": 1, **both}
    server = {"host": "127.0.0.1", "port": PORT, "secure": False, "username": USER, "password": PASSWORD}
    settings = {
        "name": name or "near",
        "tcp_port": port,
        "udp_port": port + 1,
        "interval": 1,
        "shutdown_timeout": 60,
        "metrics": [{**both, "backend": "cli"}, {**both, **server, "backend": "clickhouse", **clickhouse}],
        "targets": list(targets),
    }
    return lab.ours(label, settings)


def end(daemon):
    code, _ = daemon.end()
    expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def complaints(daemon, *words):
    """Returns the daemon's warnings and errors that contain these words."""
    lines = [line for line in daemon.log().splitlines() if " WARN " in line or " ERROR " in line]
    return [line for line in lines if all(word in line for word in words)]


def check_nothing_lost(lab, front):
    """Probes two targets at 1 ms through status 500, refused connections and a kill, lost answers and slow ones."""
    targets = []
    for number in range(2):
        port = PORT + 100 + 10 * number
        lab.ours(f"far{number}", {"name": f"far{number}", "tcp_port": port, "udp_port": port + 1})
        ports = {"tcp_port": port, "udp_port": port + 1}
        targets.append({"host": "127.0.0.1", "label": f"far{number}", "tags": ["isp:lo", "plain"], **ports})
    # In memory: what others write to the disk is no matter of this, and a kill takes nothing from a file system.
    spool = str(lab.in_memory("spool", SPOOL_MIB << 10))
    start = lambda label: publisher(
        lab, label, PORT + 130, {"database": "fleet", "spool_dir": spool}, targets, send_interval=30
    )
    first = start("first")
    pause(SECONDS / 3 - OUTAGE_S)
    front.fault("error")
    pause(OUTAGE_S)
    front.fault("refuse")
    pause(OUTAGE_S / 2)
    killed_ns = time.time_ns()
    first.kill()
    ended_ns = time.time_ns()
    second = start("second")
    pause(OUTAGE_S / 2)
    front.fault("drop")
    dropped = front.seen().get(0, 0)
    wait_until(lambda: front.seen().get(0, 0) >= dropped + 4, "inserts whose answers are lost")
    front.fault("slow")
    pause(SECONDS / 6)
    front.fault("none")
    pause(SECONDS / 3)
    end(second)
    check_once(lab, front, [first, second], killed_ns, ended_ns)


def check_once(lab, front, daemons, killed_ns, ended_ns):
    printed = lab.folder / "printed.jsonl"
    with open(printed, "wb") as out:
        for daemon in daemons:
            # The kill may cut the last line anywhere.
            out.writelines(line for line in open(daemon.out_path, "rb") if line.startswith(b"{") and line.endswith(b"}\n"))
    compare = lambda what: front.rows(COMPARED.format(what, printed, PRINTED))
    # Of the last instants before the kill either side may know more.
    is_old = f"(t <= {killed_ns - YOUNGER_NS} OR t > {ended_ns})"
    counts = f"sum(printed), countIf(kept > 1), countIf(printed > kept AND {is_old}), countIf(kept > printed AND {is_old})"
    young = f"countIf(printed > kept), max(if(printed > kept AND t <= {killed_ns}, {killed_ns} - t, 0))"
    ((*found, lost_young, oldest_ns),) = compare(f"{counts}, {young}")
    total, twice, lost, more = map(int, found)
    expect(total > SECONDS * 1000 * 10, f"only {total} samples were printed")
    expect(not (twice or lost or more), f"of {total} samples {twice} are there twice, {lost} not, {more} were not printed")
    kinds = {metric for (metric,) in front.rows("SELECT DISTINCT MetricName FROM fleet.metrics WHERE Stamp != ''")}
    for metric in ["udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency"]:
        expect(metric in kinds, f"no {metric} among {kinds}")
    seen = front.seen()
    expect(seen.get(500, 0) >= 2 and seen.get(0, 0) >= 4, f"requests: {seen}")
    for daemon in daemons:
        expect(not complaints(daemon, " ERROR "), f"{daemon.label} says {complaints(daemon, ' ERROR ')[:2]}")
        expect(len(complaints(daemon, "cannot send")) <= 2, f"{daemon.label} says too much: {complaints(daemon, 'cannot send')[:4]}")
    rolled = front.number("SELECT sum(Samples) FROM fleet.metrics_hourly")
    kept = front.number("SELECT count() FROM fleet.metrics WHERE Stamp != ''")
    expect(rolled == kept, f"{rolled} samples rolled up of {kept}")
    lab.note(
        f"{total} samples in {SECONDS:.0f} s, each once, through {seen.get(500)} 500s, {OUTAGE_S:.0f} s of refused connections, "
        f"{seen.get(0)} lost answers and a kill, which took {lost_young} of up to {int(oldest_ns) / 1e6:.0f} ms before it"
    )


def check_documented(front):
    """Runs the queries of the backend's page."""
    page = (ROOT / "docs/backends/clickhouse.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```sql\n")[1:]]
    queries = [query for query in ";".join(blocks).split(";") if query.strip()]
    expect(len(queries) == 5, f"{len(queries)} queries on the page")
    front.ask("USE fleet")
    for query in queries:
        front.ask(query)
    front.ask("USE default")


def strangers(port, hosts, delays_ns):
    """Sends probes as text, each with a departure so long ago. A negative delay comes from the future."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for number, delay_ns in enumerate(delays_ns):
            message = f"{number % 101}|{hosts}|{time.time_ns() - delay_ns}||".encode()
            udp.sendto(message, ("127.0.0.1", port + 1))
            # The next probe goes when the answer has arrived.
            udp.settimeout(10)
            udp.recv(2048)


def check_percentiles(lab, front, examples):
    """Runs ten hosts with delays of their own. One of them has a clock that is ahead."""
    port, dice = PORT + 200, random.Random(1)
    daemon = publisher(lab, "fleet", port, {"database": "fleet"}, name="judge", mode="both")
    for host in range(HOSTS):
        delays = [int(dice.lognormvariate(11 + host / 2, 1)) for _ in range(MESSAGES)]
        strangers(port, f"host{host}", [-delay for delay in delays] if host == 3 else delays)
    end(daemon)
    is_ours = "MetricName = 'udp.wan.owd' AND Source LIKE 'host%'"
    found = front.rows(f"SELECT MetricValue FROM fleet.metrics WHERE {is_ours} ORDER BY MetricValue")
    found = [int(value) for (value,) in found]
    hosts = front.number(f"SELECT uniqExact(Source) FROM fleet.metrics WHERE {is_ours}")
    expect(hosts == HOSTS and len(found) >= HOSTS * (MESSAGES - 2), f"{len(found)} samples of {hosts} hosts")
    expect(found[0] < 0, "no delay is negative")
    # The same rows again an hour later, and both again two hours later, so there are hours to merge.
    for table, time_of_it in (("metrics", "Timestamp"), ("metrics_windows", "EndedAt")):
        for hours in (1, 2):
            later = f"{time_of_it} + INTERVAL {hours} HOUR AS {time_of_it}"
            front.ask(f"INSERT INTO fleet.{table} SELECT * REPLACE ({later}) FROM fleet.{table} WHERE {is_ours}")
    hours = "SELECT uniqExact(Hour), sum(Samples) FROM fleet.metrics{} WHERE {}"
    worst = 0
    for query, what in zip(examples, ("_windows", "_windows_hourly", "_hourly")):
        if what != "_windows":
            ((number, samples),) = front.rows(hours.format(what, is_ours))
            expect(int(number) >= 4 and int(samples) == 4 * len(found), f"{samples} samples in {number} hours of {what}")
        # The documented query, over everything that it would separate.
        query = query.replace("SELECT MetricName,", "SELECT")
        query = "\n".join(drop_time(line) for line in query.splitlines())
        query = query.replace("GROUP BY ALL ORDER BY ALL", f"WHERE {is_ours}")
        ((quantiles,),) = front.rows(query)
        worst = max(worst, check_quantiles(found, json.loads(quantiles), what))
    for query in examples:
        expect(front.ask(query), f"nothing is shown by {query}")
    check_window_columns(front, is_ours)
    lab.note(f"percentiles of {HOSTS} hosts from windows and both roll-ups: off by {worst:.2e} at most, of {len(found)} samples")


def check_bucket_edges(front):
    """Compares the buckets of the samples' roll-up with those of the histograms, at their bounds, too."""
    sizes = sorted({max(2**power + more, 0) for power in range(36) for more in (-1, 0, 1)})
    edges = [sign * size for size in sizes for sign in (1, -1)]
    rows = ", ".join(f"('edge', now64(9), {value}, 'user')" for value in edges)
    front.ask(f"INSERT INTO fleet.metrics (MetricName, Timestamp, MetricValue, Stamp) VALUES {rows}")
    wanted = {}
    for value in edges:
        shift = max(abs(value).bit_length() - 11, 0)
        bucket = (((abs(value) >> shift) + 1) << shift) - 1
        bucket = bucket if value >= 0 else -bucket
        wanted[bucket] = wanted.get(bucket, 0) + 1
    query = "SELECT Value, sum(Number) FROM fleet.metrics_hourly ARRAY JOIN mapKeys(Buckets) AS Value, mapValues(Buckets) AS Number"
    found = {int(value): int(number) for value, number in front.rows(f"{query} WHERE MetricName = 'edge' GROUP BY Value")}
    expect(found == wanted, f"buckets {set(found.items()) ^ set(wanted.items())}")
    front.ask("TRUNCATE TABLE fleet.metrics")
    front.ask("TRUNCATE TABLE fleet.metrics_hourly")


def drop_time(line):
    """Returns a row of a query without its day or hour."""
    head, _, tail = line.partition("SELECT")
    return head + "SELECT" if tail and "(" in tail and " AS " in tail else line


def check_quantiles(found, quantiles, what):
    """Holds each value against the samples: it has its rank, give or take one, to three digits. Returns the worst
    error.
    """
    worst = 0
    for level, quantile in zip((0.5, 0.9, 0.99, 0.999, 0.9999), quantiles):
        rank = level * len(found)
        near = found[max(math.floor(rank) - 1, 0) : math.ceil(rank) + 1]
        error = min(abs(quantile - value) / max(abs(value), 1) for value in near)
        expect(error <= DIGITS, f"{what}: {quantile} at {level}, the samples have {near}")
        worst = max(worst, error)
    return worst


def check_window_columns(front, is_ours):
    """Holds the columns of one window against its own buckets."""
    query = (
        "SELECT P50, P99, P9999, Min, Max, Samples, quantilesExactWeighted(0.5, 0.99, 0.9999)(Value, Number) FROM "
        "fleet.metrics_windows ARRAY JOIN mapKeys(Buckets) AS Value, mapValues(Buckets) AS Number "
        f"WHERE {is_ours} AND Samples >= 100 GROUP BY P50, P99, P9999, Min, Max, Samples, Source, EndedAt"
    )
    windows = front.rows(query)
    expect(windows, "no window has a hundred samples")
    for *columns, quantiles in windows:
        *ours, least, greatest, _ = map(int, columns)
        expect(least <= ours[0] <= ours[1] <= ours[2] <= greatest, f"a window of {columns}")
        merged = min(abs(a - b) / max(abs(b), 1) for a, b in zip(ours, json.loads(quantiles)))
        expect(merged <= 2 * DIGITS, f"{ours} beside {quantiles}")


def check_old_table(lab, front):
    """Uses the table of the Python program, which has no place for a negative delay."""
    front.ask("CREATE DATABASE old")
    front.ask(OLD.format("old"))
    port = PORT + 210
    columns = ["MetricName", "Timestamp", "MetricValue", "Tags", "InsertedAt"]
    daemon = publisher(lab, "old", port, {"database": "old", "columns": columns})
    printed = []
    strangers(port, "ahead", [-10**9] * 51)
    strangers(port, "behind", [10**9] * 51)
    negative = lambda: sum("points" in record and record["points"][0][1] < 0 for record in printed)
    # PDV is a window in every mode.
    windows = lambda: sum("hdr" in record for record in printed)
    left_out = lambda: sum(values(printed, "monitor.backend.left_out", backend="clickhouse"))

    def is_counted():
        daemon.expect_alive()
        printed.extend(daemon.records())
        return negative() >= 50 and left_out() == negative() + windows()

    wait_until(is_counted, "negative delays to be counted as left out")
    end(daemon)
    printed.extend(daemon.records())
    kept = front.number("SELECT count() FROM old.metrics")
    fit = sum("points" in record and record["points"][0][1] >= 0 for record in printed)
    # Records from the end are in both, except the last counts of what was left out.
    expect(kept == fit, f"{kept} rows of {fit} that fit")
    largest = front.number("SELECT max(MetricValue) FROM old.metrics WHERE MetricName = 'udp.wan.owd'")
    expect(10**9 <= largest < 2**62, f"a delay of {largest}")
    expect(len(complaints(daemon, "negative")) == 1, f"logged: {complaints(daemon)}")
    expect(len(complaints(daemon)) == 2, f"logged, of negative values and of windows: {complaints(daemon)}")
    lab.note(f"the old table: {kept} rows, {negative()} negative values left out, counted and reported once")


def check_no_windows(lab, front):
    """Leaves out the table of windows: samples are stored meanwhile, and windows once there is a table."""
    port = PORT + 220
    daemon = publisher(lab, "no-windows", port, {"database": "old"}, mode="both", name="lone")
    strangers(port, "early", [10**6] * 101)
    early = "SELECT count() FROM old.metrics WHERE Tags['source'] = 'early' AND MetricName = 'udp.wan.owd'"
    wait_until(lambda: front.number(early) >= 100, "samples beside windows that have no table")
    printed = []

    def is_counted():
        daemon.expect_alive()
        printed.extend(daemon.records())
        return sum(values(printed, "monitor.backend.left_out", backend="clickhouse")) >= 1

    wait_until(is_counted, "windows to be counted as left out")
    for statement in schema(lab, "--database", "old").split(";\n\n"):
        if "metrics_windows`\n(" in statement:
            front.ask(statement)
    strangers(port, "late", [10**6] * 101)
    late = "SELECT sum(Samples) FROM old.metrics_windows WHERE Source = 'late' AND MetricName = 'udp.wan.owd'"
    wait_until(lambda: front.number(late) >= 100, "windows in a table that came later")
    end(daemon)
    lines = complaints(daemon, "windows", "left out")
    expect(len(lines) == 1 and "schema clickhouse" in lines[0], f"logged: {complaints(daemon)}")
    lab.note("windows without a table: reported once, counted, and stored once there was one")


def check_password(lab, front):
    before = front.seen().get(403, 0)
    daemon = publisher(lab, "password", PORT + 230, {"database": "fleet", "password": "wrong-word"})
    wait_until(lambda: front.seen().get(403, 0) >= before + 4, "a wrong password to be refused")
    daemon.expect_alive()
    lines = complaints(daemon)
    expect(len(lines) == 1, f"a wrong password is reported {len(lines)} times: {lines[:3]}")
    for word in ("403", "Authentication failed", "`password`", f"127.0.0.1:{PORT}"):
        expect(word in lines[0], f"{word} is not in {lines[0]!r}")
    expect("wrong-word" not in daemon.log(), "the password is in the log")
    daemon.kill()
    lab.note("a wrong password: reported once")


def check_columns(lab, front):
    """Leaves out a column that rows need: the daemon reports it once, and batches wait for it."""
    front.ask("CREATE DATABASE bare")
    front.ask("CREATE TABLE bare.metrics (MetricName String, Timestamp UInt64) ENGINE = MergeTree ORDER BY Timestamp")
    before = front.seen().get(200, 0)
    daemon = publisher(lab, "columns", PORT + 240, {"database": "bare"})
    # The daemon asks for the columns of its table again and again.
    wait_until(lambda: front.seen().get(200, 0) >= before + 3, "the columns to be asked for")
    lines = complaints(daemon)
    expect(len(lines) == 1 and "has no column MetricValue" in lines[0], f"logged: {lines[:3]}")
    front.ask("ALTER TABLE bare.metrics ADD COLUMN MetricValue Int64")
    wait_until(lambda: front.number("SELECT count() FROM bare.metrics") > 0, "rows once the column is there")
    end(daemon)
    expect(len(complaints(daemon)) == 1, f"logged: {complaints(daemon)}")
    lab.note("a missing column: reported once, and what waited arrived")


def check_constraint(lab, front):
    """Lets the table refuse one series: its rows are dropped, counted and named once, and all others are stored."""
    front.ask("CREATE DATABASE strict")
    front.ask(
        "CREATE TABLE strict.metrics (MetricName String, Timestamp DateTime64(9), MetricValue Int64, Seq UInt64, "
        "Tags Map(String, String), CONSTRAINT small CHECK MetricName != 'udp.wan.ipdv') ENGINE = MergeTree ORDER BY Timestamp"
    )
    port = PORT + 250
    target = {"host": "127.0.0.1", "label": "me", "tcp_port": port, "udp_port": port + 1, "interval": 500}
    daemon = publisher(lab, "constraint", port, {"database": "strict"}, [target])
    printed = []

    def is_enough():
        daemon.expect_alive()
        printed.extend(daemon.records())
        return dropped() > 0

    dropped = lambda: sum(values(printed, "monitor.backend.dropped", backend="clickhouse"))
    wait_until(is_enough, "refused rows to be counted")
    end(daemon)
    printed.extend(daemon.records())
    rows = [record for record in printed if "points" in record and not record["metric"].startswith("monitor.")]
    wanted = sum(record["metric"] != "udp.wan.ipdv" for record in rows)
    kept = front.number("SELECT count() FROM strict.metrics WHERE MetricName NOT LIKE 'monitor.%'")
    expect(kept == wanted, f"{kept} rows are stored of {wanted} that may be")
    lines = complaints(daemon, " ERROR ")
    expect(len(lines) == 1 and "udp.wan.ipdv of source:near" in lines[0] and "small" in lines[0], f"logged: {lines[:3]}")
    expect(0 < dropped() <= len(rows) - wanted, f"{dropped()} records dropped of {len(rows) - wanted}")
    lab.note(f"a constraint: {len(rows) - wanted} rows of one series refused, {kept} others stored, reported once")
