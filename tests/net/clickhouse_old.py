"""Publishes to a ClickHouse of 2018, Debian's own: it knows neither all settings of our inserts nor `Map`. One line says
without which settings inserts go on, and each sample that the cli backend printed is there once.
"""

import json
import urllib.error
import urllib.request

from lab import expect, wait_until

PORT = 18300
SAMPLES = 1000
CONFIG = """<yandex>
    <logger><level>none</level></logger>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{port}</http_port>
    <path>{folder}/data/</path>
    <tmp_path>{folder}/scratch/</tmp_path>
    <users_config>{folder}/users.xml</users_config>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <mark_cache_size>1000000</mark_cache_size>
</yandex>
"""
USERS = """<yandex>
    <profiles><default></default></profiles>
    <quotas><default></default></quotas>
    <users>
        <default>
            <password>word</password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </default>
    </users>
</yandex>
"""
TABLE = """CREATE TABLE metrics (MetricName String, Timestamp UInt64, MetricValue Int64, Seq UInt64, Tags Array(String))
    ENGINE = MergeTree ORDER BY (MetricName, Timestamp)"""


def run(lab):
    (lab.folder / "config.xml").write_text(CONFIG.format(port=PORT, folder=lab.folder))
    (lab.folder / "users.xml").write_text(USERS)
    lab.start("server", ["clickhouse-server", f"--config-file={lab.folder}/config.xml"])
    wait_until(lambda: ask("SELECT 1") == "1", "the server to listen")
    ask(TABLE)
    server = {"host": "127.0.0.1", "port": PORT, "secure": False, "password": "word"}
    daemon = lab.ours(
        "daemon",
        {
            "name": "near",
            "tcp_port": PORT + 1,
            "udp_port": PORT + 2,
            "metrics": [
                {"backend": "cli", "send_interval": 1},
                {"backend": "clickhouse", "send_interval": 1, **server},
            ],
            "targets": [{"host": "127.0.0.1", "tcp_port": PORT + 1, "udp_port": PORT + 2, "interval": 2}],
        },
    )
    printed = []

    def has_enough():
        daemon.expect_alive()
        printed.extend(daemon.records())
        return len(samples(printed)) >= SAMPLES and int(ask("SELECT count() FROM metrics") or 0) >= SAMPLES

    wait_until(has_enough, "samples in the table")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    printed.extend(daemon.records())
    wanted, sent = sorted(samples(printed)), set(samples(printed))
    stored = sorted(row for row in map(row_of, ask("SELECT * FROM metrics FORMAT JSONEachRow").splitlines()) if row in sent)
    expect(stored == wanted, f"of {len(wanted)} samples {len(stored)} are there")
    lines = [line for line in daemon.log().splitlines() if "goes on without" in line]
    settings = ("insert_deduplication_token", "async_insert", "deduplicate_blocks_in_dependent_materialized_views")
    told = [name for name in settings if any(name in line for line in lines)]
    expect(len(told) == 3 == len(lines), f"logged: {lines}")
    expect(" ERROR " not in daemon.log(), f"logged: {daemon.log()[-500:]}")
    lab.note(f"ClickHouse {ask('SELECT version()')}: {len(wanted)} samples, each once, without {', '.join(told)}")


def samples(printed):
    """Returns what a row of each sample has."""
    of = lambda record: (record["metric"], *record["points"][0], record["seq"], tuple(record["tags"]))
    return [of(record) for record in printed if "seq" in record]


def row_of(line):
    row = json.loads(line)
    numbers = (int(row[name]) for name in ("Timestamp", "MetricValue", "Seq"))
    return (row["MetricName"], *numbers, tuple(row["Tags"]))


def ask(query):
    """Asks the server; `None` if it does not listen."""
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/?user=default&password=word", query.encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        expect(False, f"{query}: {error.read().decode()[:300]}")
    except (urllib.error.URLError, ConnectionError):
        return None
