"""Has Debian's Prometheus scrape two hosts, with native histograms: counts are those of the samples that the cli backend
printed, and `histogram_quantile` over both hosts is within 2 % of the samples' own quantiles. promtool reads the text.
A host with a thousand targets is scraped in each format. Scrapers that say nothing, never read or speak another
protocol cost no probe and little memory.
"""

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from lab import GIVE_UP_S, collect, expect, pause, points, values, wait_until

PORT = 17900
PROMETHEUS = "127.0.0.1:9090"
SAMPLES = 3_000
QUANTILES = [0.5, 0.9, 0.99, 0.999]
# A bucket of schema 6 is 1.1 % wide, so nothing within it is further off.
SCHEMA, ERROR_MAX = 6, 0.02
DELAYS = ["udp.wan.rtt", "tcp.wan.rtt", "tcp.wan.latency"]
FORMATS = {
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "openmetrics": "application/openmetrics-text;version=1.0.0",
    "text": "text/plain",
}
TARGETS = 1_000
# A stop of the host that is shorter is no loss.
TIMEOUT_S = 5
SILENT, DEAF = 200, 20
# Four answers are held for those who do not read; a fifth may be in the making, and text grows by doubling.
ANSWERS_HELD_MAX = 7


def run(lab):
    hosts = {name: host(lab, name, PORT + 10 * place) for place, name in enumerate(("near", "far"))}
    start_prometheus(lab, [f"127.0.0.1:{port + 2}" for _, port in hosts.values()])
    printed = {}
    for name, (daemon, _) in hosts.items():
        printed[name] = collect(daemon, lambda records: len(values(records, "tcp.wan.rtt")) >= SAMPLES, "samples")
    for name, (daemon, port) in hosts.items():
        stop_probing(lab, daemon, name, port)
        check_metrics(lab, name, fetch(port + 2, "/metrics", FORMATS["text"]).decode())
    for name, (daemon, _) in hosts.items():
        wait_for_counts(lab, daemon, name, printed[name])
    lab.note(compare(printed))
    for daemon, _ in hosts.values():
        code, _ = daemon.end()
        expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
        warnings = [line for line in daemon.log().splitlines() if " WARN " in line or " ERROR " in line]
        expect(not warnings, f"it warns: {warnings[:3]}")
    check_many(lab)


def settings(name, port, targets, **more):
    return {
        "name": name,
        "address": "127.0.0.1",
        "tcp_port": port,
        "udp_port": port + 1,
        "http": {"listen": f"127.0.0.1:{port + 2}", "interval": 1, "schema": SCHEMA},
        "metrics": {"backend": "cli", "mode": "samples", "send_interval": 1},
        "targets": targets,
        **more,
    }


def host(lab, name, port):
    """Starts a daemon that probes itself."""
    target = {"host": "127.0.0.1", "label": f"{name}'s \"self\"", "interval": 5, "tags": ["isp:x"]}
    return lab.ours(name, settings(name, port, [{**target, "tcp_port": port, "udp_port": port + 1}])), port


def start_prometheus(lab, hosts, every="1s"):
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [{"job_name": "latency-monitor", "static_configs": [{"targets": hosts}]}],
    }
    # YAML takes JSON.
    path = lab.folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    command = [
        "prometheus",
        f"--config.file={path}",
        f"--web.listen-address={PROMETHEUS}",
        f"--storage.tsdb.path={lab.folder / 'prometheus'}",
        "--enable-feature=native-histograms",
    ]
    lab.start("prometheus", command)
    wait_until(lambda: len(query("up == 1") or []) == len(hosts), "Prometheus to have scraped")


def query(expression):
    """Returns the samples that an expression has now, or None while nobody answers."""
    body = urllib.parse.urlencode({"query": expression}).encode()
    try:
        with urllib.request.urlopen(f"http://{PROMETHEUS}/api/v1/query", body, timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return None


def value_of(expression):
    found = query(expression) or []
    expect(len(found) <= 1, f"{expression} has {len(found)} series")
    return float(found[0]["value"][1]) if found else None


def fetch(port, path, accept="*/*", method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept}, method=method)
    with urllib.request.urlopen(request, timeout=GIVE_UP_S) as answer:
        return answer.read()


def stop_probing(lab, daemon, name, port):
    """Takes the targets out of the file, and asks for a reload."""
    lab.write(daemon.label, settings(name, port, []))
    said = fetch(port + 2, "/-/reload", method="POST").decode()
    expect(said.startswith("targets: 0 kept, 0 relabelled, 0 rekeyed, 0 added, 1 removed"), said)


def check_metrics(lab, name, text):
    (lab.folder / f"{name}.txt").write_text(text)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    expect(done.returncode == 0 and not said, f"promtool: {said[:500]}")


def series(metric, name):
    return f'{metric.replace(".", "_")}_seconds{{source="{name}"}}'


def wait_for_counts(lab, daemon, name, printed):
    """Reads what is printed until Prometheus has as many of each."""

    def is_equal():
        printed.extend(daemon.records())
        return all(
            value_of(f"histogram_count({series(metric, name)})") == len(values(printed, metric)) for metric in DELAYS
        )

    wait_until(is_equal, f"the counts of {name} at Prometheus")
    for counter in ("udp.wan.sent", "tcp.wan.sent", "udp.wan.lost"):
        # An interval's counts come behind its windows: a scrape may be between them.
        wait_until(lambda c=counter: counted(daemon, name, printed, c), f"{counter} of {name} to be as printed")


def counted(daemon, name, printed, counter):
    printed.extend(daemon.records())
    told = sum(value for _, value in points(printed, counter))
    return value_of(f'{counter.replace(".", "_")}_total{{source="{name}"}}') == told


def compare(printed):
    """Holds Prometheus' quantiles against those of the samples, for each host and for both."""
    worst = 0
    for metric in DELAYS:
        both = sorted(value for records in printed.values() for value in values(records, metric))
        by_host = {name: sorted(values(records, metric)) for name, records in printed.items()}
        for of, samples in [("near|far", both), *by_host.items()]:
            matched = f'sum({metric.replace(".", "_")}_seconds{{source=~"{of}"}})'
            for share in QUANTILES:
                found = value_of(f"histogram_quantile({share}, {matched})")
                exact = samples[math.ceil(share * len(samples)) - 1] / 1e9
                error = abs(found - exact) / exact
                worst = max(worst, error)
                expect(error <= ERROR_MAX, f"{metric} of {of}: {share} is {found}, of {len(samples)} samples {exact}")
    trips = sum(len(values(records, DELAYS[0])) for records in printed.values())
    return f"{trips} round trips of two hosts: quantiles off by {worst:.2%} at most"


def check_many(lab):
    """Scrapes a host with many targets, while others that ask do so badly."""
    port = PORT + 30
    target = {"host": "127.0.0.1", "tcp_port": port, "udp_port": port + 1, "interval": 1_000, "timeout": TIMEOUT_S}
    targets = [{**target, "label": f"t{number}"} for number in range(TARGETS)]
    metrics = {"backend": "cli", "mode": "windows", "send_interval": 1, "metrics": ["*.lost", "monitor.slots_missed"]}
    daemon = lab.ours("many", settings("many", port, targets, metrics=metrics))
    lines = lambda: fetch(port + 2, "/metrics", FORMATS["text"]).decode().splitlines()
    # Of two directions, once each flow had two packets.
    complete = lambda: sum(line.startswith("tcp_wan_ipdv_seconds_count{") for line in lines()) == 2 * TARGETS
    wait_until(complete, f"{TARGETS} targets in the metrics")
    flows = json.loads(fetch(port + 2, "/api/v1/targets"))["flows"]
    expect(len(flows) == 3 * TARGETS, f"{len(flows)} flows")
    mib = {}
    for name, accept in FORMATS.items():
        took = []
        for _ in range(5):
            before = time.monotonic()
            size = len(fetch(port + 2, "/metrics", accept))
            took.append(time.monotonic() - before)
        mib[name] = size / 2**20
        lab.note(f"{TARGETS} targets as {name}: {mib[name]:.1f} MiB in {1e3 * sorted(took)[2]:.0f} ms")
    before = daemon.resident_kib()
    bad = [connect(port + 2) for _ in range(SILENT)]
    for _ in range(DEAF):
        bad.append(connect(port + 2))
        bad[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    bad.append(connect(port + 2))
    bad[-1].sendall(b"\x16\x03\x01" + bytes(2_000))
    # Those who come in time wait until the silent ones are sent away.
    wait_until(lambda: fetch(port + 2, "/healthz") == b"ok\n", "an answer beside those who do not read")
    grown = (daemon.resident_kib() - before) / 1024
    expect(grown < ANSWERS_HELD_MAX * mib["text"], f"{grown:.0f} MiB more for those who do not read")
    for one in bad:
        one.close()
    # Whatever was lost is known then.
    pause(TIMEOUT_S + 1)
    code, _ = daemon.end()
    records = daemon.records()
    lost = sum(value for _, value in points(records, "udp.wan.lost") + points(records, "tcp.wan.lost"))
    missed = sum(value for _, value in points(records, "monitor.slots_missed"))
    expect(code == 0 and not lost, f"ended with {code}, {lost} probes lost: {daemon.log()[-500:]}")
    lab.note(f"{SILENT + DEAF} bad scrapers: {grown:.0f} MiB more, no probe lost, {missed} slots missed")


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)
