#!/usr/bin/env python3
"""The engine's side of the lab `fleet_day`. Runs where chdb is installed; prints a line of JSON for each figure.

    fleet_day_engine.py TABLES_SQL FOLDER HOSTS HOURS
"""

import datetime
import json
import math
import pathlib
import sys
import time

from chdb import session

tables, folder, hosts, hours = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
engine = session.Session(folder)
# Yesterday: what is older than the tables keep is gone at once.
DAY = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
BEGIN = f"toDateTime64('{DAY} 00:00:00', 9, 'UTC')"
# The daemon's defaults: a probe a second, a window every 30 s.
PROBES, WINDOW_S = 30, 30
PER_HOUR = 3600 // WINDOW_S
SMALL_INSERTS, SMALL_ROWS = 200, 20
# Uniform noise, added up, is nearly normal; one probe in a hundred waits in a queue.
VALUE = (
    "toInt64(20000 + cityHash64(Source, Target) % 2000000 + 20000 * (rand(3 * i) + rand(3 * i + 1)) / 4294967296"
    " + if(rand(3 * i + 2) % 100 = 0, 500000 * rand(3 * i + 7) / 4294967296, 0))"
)
# The greatest value of a bucket, as the daemon writes it.
BUCKET = "bitShiftLeft(bitShiftRight(v, s) + 1, s) - 1"
SHIFT = "toUInt8(greatest(0, toInt16(floor(log2(greatest(v, 1024)))) - 10))"


def ask(query):
    return str(engine.query(query, "TSV")).strip()


def timed(query):
    began = time.monotonic()
    answer = ask(query)
    return time.monotonic() - began, answer


def say(said, is_right=True):
    print(json.dumps({"said": said, "is_right": bool(is_right)}), flush=True)


def windows(first, count, probes):
    """The rows of `count` window ends for each host, from the window `first` on."""
    rank = lambda share: math.ceil(share * probes)
    return f"""
        INSERT INTO fleet.metrics_windows
            (MetricName, StartedAt, EndedAt, Tags, Source, Target, Stamp, Samples, Min, Mean, Max, StdDev,
             P50, P90, P99, P999, P9999, Buckets)
        SELECT 'udp.wan.rtt', EndedAt - INTERVAL {WINDOW_S} SECOND, EndedAt,
            map('source', Source, 'target', Target, 'isp', 'example'), Source, Target, 'kernel', {probes},
            values[1], arrayAvg(values), values[-1], arrayAvg(arrayMap(v -> abs(v - values[1]), values)),
            values[{rank(0.5)}], values[{rank(0.9)}], values[{rank(0.99)}], values[{rank(0.999)}], values[{rank(0.9999)}],
            mapFromArrays(arrayDistinct(buckets), arrayMap(b -> toUInt64(countEqual(buckets, b)), arrayDistinct(buckets)))
        FROM (
            SELECT Source, Target, EndedAt, values,
                arrayMap((v, s) -> {BUCKET}, values, arrayMap(v -> {SHIFT}, values)) AS buckets
            FROM (
                SELECT 'host-' || toString(number % {hosts}) AS Source, 'host-' || toString((number + 1) % {hosts}) AS Target,
                    {BEGIN}
                        + toIntervalSecond(({first} + 1 + intDiv(number, {hosts})) * {WINDOW_S}) AS EndedAt,
                    arraySort(arrayMap(i -> {VALUE}, range({probes}))) AS values
                FROM numbers({hosts * count})))"""


def bytes_of(table):
    query = f"SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND database = 'fleet' AND table = '{table}'"
    return [int(word) for word in ask(query).split("\t")]


def fill():
    took = 0
    for hour in range(hours):
        took += timed(windows(hour * PER_HOUR, PER_HOUR, PROBES))[0]
    rows = int(ask("SELECT count() FROM fleet.metrics_windows"))
    expected = hosts * hours * PER_HOUR
    say(f"{rows} windows of {hosts} hosts in {hours} h, {rows / took:.0f} a second with what it takes to simulate them",
        rows == expected)
    ask("OPTIMIZE TABLE fleet.metrics_windows FINAL")
    ask("OPTIMIZE TABLE fleet.metrics_windows_hourly FINAL")
    size, rows = bytes_of("metrics_windows")
    hourly, hourly_rows = bytes_of("metrics_windows_hourly")
    say(f"{size / rows:.0f} bytes a window of {PROBES} probes, {hourly / hourly_rows:.0f} an hour of the roll-up")
    counted = int(ask("SELECT sum(Samples) FROM fleet.metrics_windows_hourly"))
    say(f"the roll-up has {counted} probes", counted == expected * PROBES)


def look():
    last = f"EndedAt > {BEGIN} + INTERVAL {(hours - 1) * 3600} SECOND"
    merged = "quantilesExactWeighted(0.5, 0.99, 0.999)(Value, Number)"
    joined = "ARRAY JOIN mapKeys(Buckets) AS Value, mapValues(Buckets) AS Number"
    for what, query, lines in (
        ("percentiles of all hosts by hour, roll-up",
         f"SELECT Hour, {merged} FROM fleet.metrics_windows_hourly {joined} GROUP BY Hour ORDER BY Hour",
         # The last window ends with the day: in the next hour.
         hours + 1),
        ("percentiles of all hosts in the last hour, windows",
         f"SELECT {merged} FROM fleet.metrics_windows {joined} WHERE {last}", 1),
        ("ten worst pairs of the last hour",
         f"SELECT Source, Target, max(P99) AS p FROM fleet.metrics_windows WHERE {last} GROUP BY ALL ORDER BY p DESC LIMIT 10",
         10),
        ("one pair, the whole time",
         "SELECT EndedAt, P50, P99 FROM fleet.metrics_windows WHERE MetricName = 'udp.wan.rtt' AND Source = 'host-7'"
         " ORDER BY EndedAt", hours * PER_HOUR),
    ):
        took, answer = timed(query)
        say(f"{what}: {1000 * took:.0f} ms", len(answer.splitlines()) == lines)


def insert_small():
    """What a server takes of single daemons: each inserts a few rows."""
    ask("CREATE TABLE fleet.small AS fleet.metrics_windows")
    query = f"INSERT INTO fleet.small SELECT * FROM fleet.metrics_windows LIMIT {SMALL_ROWS}"
    began = time.monotonic()
    for _ in range(SMALL_INSERTS):
        ask(query)
    per_second = SMALL_INSERTS / (time.monotonic() - began)
    say(f"{per_second:.0f} inserts a second of {SMALL_ROWS} rows, one after the other")


def migrate():
    """The steps of docs/fleet.md from tables of one server to new ones, which the same statements stand in for here."""
    for name in ("metrics_hourly_mv", "metrics_windows_hourly_mv"):
        ask(f"DROP VIEW fleet.{name}")
    for name in ("metrics", "metrics_windows", "metrics_events", "metrics_hourly", "metrics_windows_hourly"):
        ask(f"RENAME TABLE fleet.{name} TO fleet.{name}_old")
    for statement in statements:
        ask(statement)
    first = f"toDateTime(toDate({BEGIN} + INTERVAL {hours // 2} HOUR), 'UTC') + INTERVAL {hours // 2} HOUR"
    # Of what is older than the windows that are kept only the hours are left.
    ask(f"ALTER TABLE fleet.metrics_windows_old DELETE WHERE EndedAt < {first} SETTINGS mutations_sync = 1")
    ask("INSERT INTO fleet.metrics_windows SELECT * FROM fleet.metrics_windows_old")
    ask("INSERT INTO fleet.metrics_windows_hourly SELECT * FROM fleet.metrics_windows_hourly_old"
        " WHERE Hour < (SELECT toStartOfHour(toDateTime(min(EndedAt), 'UTC')) FROM fleet.metrics_windows_old)")
    columns = "sum(Samples), min(Least), max(Greatest), sum(arraySum(mapValues(Buckets)))"
    old, new = (ask(f"SELECT {columns} FROM fleet.metrics_windows_hourly{end}") for end in ("_old", ""))
    say(f"moved to new tables, the hours are as before: {new.split()[0]} probes", old == new)


def weigh():
    """Windows of more probes, and samples."""
    for probes in (300, 3000):
        ask("TRUNCATE TABLE fleet.metrics_windows")
        ask(windows(0, max(1, 6000 // probes), probes).replace(f"numbers({hosts * max(1, 6000 // probes)})", "numbers(2000)"))
        ask("OPTIMIZE TABLE fleet.metrics_windows FINAL")
        size, rows = bytes_of("metrics_windows")
        say(f"{size / rows:.0f} bytes a window of {probes} probes", rows == 2000)
    took, _ = timed(f"""
        INSERT INTO fleet.metrics (MetricName, Timestamp, MetricValue, Tags, Source, Target, Stamp, Seq)
        SELECT 'udp.wan.rtt', {BEGIN} + toIntervalNanosecond(i * 1000000000 + rand(i) % 1000000),
            {VALUE}, map('source', Source, 'target', Target, 'isp', 'example'), Source, Target, 'kernel', i
        FROM (SELECT 'host-' || toString(number % {hosts}) AS Source, 'host-' || toString((number + 1) % {hosts}) AS Target,
            intDiv(number, {hosts}) AS i FROM numbers({hosts * 600}))""")
    ask("OPTIMIZE TABLE fleet.metrics FINAL")
    size, rows = bytes_of("metrics")
    say(f"{size / rows:.1f} bytes a sample, {rows / took:.0f} a second", rows == hosts * 600)


ask("CREATE DATABASE fleet")
*statements, _ = tables.read_text().split(";\n\n")
for statement in statements:
    ask(statement)
fill()
look()
insert_small()
migrate()
weigh()
