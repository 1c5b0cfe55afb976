"""Publishes to a real Pushgateway, which promtool reads. Histograms and counters equal what the cli backend printed,
also after the gateway was restarted and emptied. The group is deleted with its daemon if `delete_on_stop` is set. Each
of 500 targets has all its series there, or those of the chosen metrics.
"""

import collections
import json
import re
import subprocess
import urllib.request

from lab import GIVE_UP_S, collect, expect, values, wait_until

GATEWAY = "127.0.0.1:9091"
PORT = 17800
SAMPLES = 300
DELAYS = {
    f"{name.replace('.', '_')}_seconds": name
    for name in ("udp.wan.rtt", "udp.wan.owd", "tcp.wan.rtt", "tcp.wan.owd", "tcp.wan.latency")
}
COUNTS = {f"{name.replace('.', '_')}_total": name for name in ("udp.wan.sent", "udp.wan.lost", "tcp.wan.sent")}
SERIES = re.compile(r'([a-z_]+)(?:\{((?:[a-zA-Z0-9_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"')
JOB, NAME = "lab/1", "near 1"
TAGS = ["isp:o\"n\\eil", "dc-1:x", "job:mine", "plain"]
TARGETS = 500
CHOSEN = ["*.rtt", "*.wan.lost", "!tcp.wan.rtt"]


def run(lab):
    gateway = start_gateway(lab, "gateway")
    daemon = publisher(lab, "daemon")
    printed = collect(daemon, has_enough, "samples")
    wait_until(lambda: count_of("udp_wan_rtt_seconds_count") >= SAMPLES, "histograms at the gateway")
    check_metrics(lab)
    restart(lab, gateway, daemon)
    printed += daemon.records()
    before = len(values(printed, "udp.wan.rtt"))
    wait_until(lambda: count_of("udp_wan_rtt_seconds_count") >= before, "the full counts at the emptied gateway")
    check_metrics(lab)
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    printed += daemon.records()
    lab.note(compare(printed))
    check_metrics(lab)
    warnings = [line for line in daemon.log().splitlines() if "WARN" in line]
    expect(len(warnings) == 1, f"one outage is reported {len(warnings)} times: {warnings[:3]}")
    check_deleted(lab)
    check_many(lab)


def start_gateway(lab, label):
    gateway = lab.start(label, ["prometheus-pushgateway", f"--web.listen-address={GATEWAY}"])
    wait_until(lambda: fetch() is not None, "the gateway to listen")
    return gateway


def publisher(lab, label, **extra):
    """Starts a daemon that probes itself, and publishes on stdout and to the gateway."""
    target = {"tcp_port": PORT, "udp_port": PORT + 1, "interval": 10}
    return lab.ours(
        label,
        {
            "name": NAME,
            "address": ["127.0.0.1", "::1"],
            "tcp_port": PORT,
            "udp_port": PORT + 1,
            "metrics": [
                {"backend": "cli", "send_interval": 1},
                {"backend": "pushgateway", "gateway": GATEWAY, "job": JOB, "send_interval": 1, **extra},
            ],
            "targets": [
                {**target, "host": "127.0.0.1", "label": "it's \"1\"", "tags": TAGS},
                # Without a label its host is the label's value, colons and all.
                {**target, "host": "::1"},
            ],
        },
    )


def has_enough(records):
    return len(values(records, "udp.wan.rtt")) >= 2 * SAMPLES and len(values(records, "tcp.wan.latency")) >= SAMPLES


def fetch():
    try:
        with urllib.request.urlopen(f"http://{GATEWAY}/metrics", timeout=GIVE_UP_S) as answer:
            return answer.read().decode()
    except OSError:
        return None


def served(without="#"):
    """Returns the value of each name and labels at the gateway, without the group's labels, and without the lines that
    contain this.
    """
    found = {}
    for line in (fetch() or "").splitlines():
        series = None if line.startswith("#") or without in line else SERIES.fullmatch(line)
        if not series:
            continue
        # The escapes of the format are among those of JSON.
        labels = {key: json.loads(f'"{value}"') for key, value in LABEL.findall(series[2] or "")}
        if labels.pop("job", None) == JOB and labels.pop("instance", None) == NAME:
            found[series[1], frozenset(labels.items())] = float(series[3])
    return found


def count_of(name):
    return sum(value for (key, _), value in served().items() if key == name)


def check_metrics(lab):
    text = fetch()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    expect(done.returncode == 0 and not said, f"promtool: {said[:500]}")
    (lab.folder / "metrics.txt").write_text(text)


def restart(lab, gateway, daemon):
    """Ends the gateway, which keeps nothing, and restarts it once the daemon has failed to reach it."""
    gateway.kill()
    daemon.wait_for_log("nothing is lost")
    start_gateway(lab, "gateway-emptied")
    daemon.wait_for_log("pushed again")


def labels_of(record):
    """Returns the labels that a record's tags become."""
    labels = {}
    for tag in record["tags"]:
        key, colon, value = tag.partition(":")
        key = re.sub("[^a-zA-Z0-9_]", "_", key) if colon else "tags"
        labels["tag_job" if key == "job" else key] = value if colon else tag
    return frozenset(labels.items())


def nearest_to_zero(value):
    """Returns the value of least magnitude that a histogram of three digits cannot tell from this one."""
    magnitude = abs(value)
    shift = max(0, magnitude.bit_length() - 11)
    magnitude = magnitude >> shift << shift
    return magnitude if value >= 0 else -magnitude


def compare(printed):
    """Holds the gateway against what was printed; returns the number of values."""
    samples, counts = collections.defaultdict(list), collections.Counter()
    for record in printed:
        key = record.get("metric", ""), labels_of(record) if "tags" in record else None
        if "seq" in record:
            samples[key].append(record["points"][0][1])
        elif "points" in record:
            counts[key] += record["points"][0][1]
    found = served()
    total = 0
    for name, metric in DELAYS.items():
        series = [key for key in samples if key[0] == metric]
        expect(len(series) == 2, f"{metric} has the tags {series}")
        for key in series:
            ours, labels = samples[key], key[1]
            total += len(ours)
            count = found.get((f"{name}_count", labels))
            expect(count == len(ours), f"{name} {sorted(labels)}: {count} of {len(ours)} are in the histogram")
            sum_s = found[f"{name}_sum", labels]
            expect(abs(sum_s - sum(ours) / 1e9) < 1e-9, f"{name}: the sum is {sum_s}, not {sum(ours) / 1e9}")
            check_buckets(name, labels, ours, found)
    for name, metric in COUNTS.items():
        for key, count in counts.items():
            if key[0] == metric:
                have = found.get((name, key[1]))
                expect(have == count, f"{name} {sorted(key[1])} is {have}, not {count}")
    return f"{total} delays and their counts are in the gateway's histograms as printed"


def check_buckets(name, labels, ours, found):
    buckets = {}
    for (key, own), value in found.items():
        bound = dict(own).get("le")
        if key == f"{name}_bucket" and own - {("le", bound)} == labels:
            buckets[float(bound)] = value
    expect(len(buckets) >= 44, f"{name} has {len(buckets)} buckets")
    for bound, value in buckets.items():
        below = sum(nearest_to_zero(one) <= bound * 1e9 + 1e-3 for one in ours)
        expect(value == below, f"{name}: {value} values are at most {bound}, not {below}")


def check_deleted(lab):
    """The group stays when a daemon ends in order, and goes if that is configured."""
    expect(served(), "the group went with its daemon")
    was = count_of("udp_wan_rtt_seconds_count")
    daemon = publisher(lab, "deletes", delete_on_stop=True)
    before = len(served())
    wait_until(lambda: 0 < count_of("udp_wan_rtt_seconds_count") < was, "the new daemon's counts in the group's place")
    expect(before, "the group was away before the new daemon's first push")
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    expect(not served(), "the group is still there")


def many(lab, label, **extra):
    """Starts a daemon that probes itself as so many targets; returns it, and the series that `check` tells."""
    target = {"host": "127.0.0.1", "tcp_port": PORT + 10, "udp_port": PORT + 11, "interval": 500}
    settings = {
        "name": NAME,
        "address": "127.0.0.1",
        "tcp_port": PORT + 10,
        "udp_port": PORT + 11,
        "log_file": str(lab.folder / f"{label}.log"),
        "shutdown_timeout": 60,
        "metrics": {"backend": "pushgateway", "gateway": GATEWAY, "job": JOB, "send_interval": 5, **extra},
        "targets": [{**target, "label": f"t{number}"} for number in range(TARGETS)],
    }
    path = lab.write(label, settings)
    said = subprocess.run([lab.binary, "check", "-c", path], capture_output=True, text=True).stderr
    told = re.search(rf"{TARGETS} targets: up to (\d+) series in pushgateway", said)
    expect(told, f"check says {said}")
    return lab.start(label, [lab.binary, "-c", path]), int(told[1])


def by_target():
    """Returns the names of each target's series at the gateway, a histogram as one, and the number of all series."""
    found, total = collections.defaultdict(collections.Counter), 0
    for name, labels in served(without="_bucket{"):
        # The gateway's own are `push_time_seconds` and its like.
        if not name.endswith("_sum") and not name.startswith("push_"):
            found[dict(labels).get("target")][name.removesuffix("_count")] += 1
            total += 1
    return found, total


def check_many(lab):
    """Every target has the same series, and no more in all than `check` has told."""
    # Bursts and other events come when they come.
    is_steady = lambda item: "_burst" not in item[0] and item[0] != "monitor_events_total"
    for label, least, extra in (("many", 40, {}), ("chosen", 3, {"metrics": CHOSEN})):
        daemon, told = many(lab, label, **extra)

        def is_complete():
            found, _ = by_target()
            names = {tuple(sorted(filter(is_steady, found[f"t{number}"].items()))) for number in range(TARGETS)}
            return len(names) == 1 and len(names.pop()) == least

        wait_until(is_complete, f"all series of {TARGETS} targets at the gateway")
        check_metrics(lab)
        found, total = by_target()
        refused = count_of("monitor_pushgateway_refused_total")
        expect(total <= told and not refused, f"{total} series of {told}, {refused} records refused")
        if extra:
            kinds = set().union(*found.values())
            wanted = {"udp_wan_rtt_seconds", "udp_wan_lost_total", "tcp_wan_lost_total"}
            expect(kinds == wanted, f"{CHOSEN} is {kinds}")
        mib = len(fetch().replace(f'instance="{NAME}",job="{JOB}",', "")) / 2**20
        code, _ = daemon.end()
        log = (lab.folder / f"{label}.log").read_text()
        # A gateway without a processor takes longer than a push may: the next one has it all.
        warned = [line for line in log.splitlines() if " WARN " in line or " ERROR " in line]
        is_late = lambda line: "timed out" in line and "a later push has it all" in line
        warned = [line for line in warned if not is_late(line)]
        expect(code == 0 and not warned, f"{code}: {warned[:3]}")
        lab.note(f"{TARGETS} targets, {extra or 'all metrics'}: {total} series of {told} told, {mib:.1f} MiB a push")
