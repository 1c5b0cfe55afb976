"""Loads what `packaging` has for Prometheus and Grafana, and asks each of its queries of stores that two daemons fill.

The daemons probe each other at 1 ms over a narrow link with bursts, where every 50th probe to far is lost. One more target
never answers, and one never resolves. Two servers of Prometheus scrape both daemons, one with native histograms and one
with classic ones, and evaluate the rules. ClickHouse's own engine has the rows of one daemon. Variables are substituted as
Grafana does. No query is empty with them, and each is empty for a source that nobody is.
"""

import itertools
import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import burst
import clickhouse
from burst import FAR, NEAR
from lab import ROOT, Failed, expect, run as command, wait_until

PACKAGING = ROOT / "packaging"
RULES = PACKAGING / "prometheus/rules.yml"
SCRAPED = 18690
SERVERS = {"native": ("127.0.0.1:9090", ["--enable-feature=native-histograms"]), "classic": ("127.0.0.1:9092", [])}
SILENT = "198.51.100.3"
# What Grafana would put there for a panel of the last minutes.
RANGE_S, STEP_S = 60, 5
PROMETHEUS = {"__rate_interval": "15s", "__range": f"{RANGE_S}s", "__interval": f"{STEP_S}s"}
NOBODY = "nobody"


def run(lab):
    check_files(lab)
    far = network(lab)
    front = clickhouse.Front(lab)
    clickhouse.make_tables(lab, front, "fleet")
    daemons = start_daemons(lab, far)
    servers = [Prometheus(lab, label, *words) for label, words in SERVERS.items()]
    store = ClickHouse(front)
    blast = Blast(lab)
    wait_until(lambda: blast.is_met(servers, daemons), "bursts of UDP and TCP at each server")
    # Nothing is planted any more, and the store's queries look at the last minute.
    asked = {one.key: ask_all(one) for one in (store, *servers)}
    for server in servers:
        check_kind(server)
        check_records(server)
        check_alerts(server)
    check_losses(servers, store)
    for daemon in daemons:
        clickhouse.end(daemon)
    lab.note(", ".join(f"{count} queries of {key}" for key, count in asked.items()) + ": none is empty, each is for its source")


def check_files(lab):
    """Checks the rules with promtool, and that the dashboards are what their generator writes."""
    for words in (["check", "rules", RULES], ["test", "rules", RULES.with_name("rules_test.yml")]):
        command("promtool", *map(str, words))
    tests = RULES.with_name("rules_test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        ends = set(re.findall(rf"alertname: {alert}\n.*\n +exp_alerts:(.*)", tests))
        expect(ends == {"", " []"}, f"{alert} has no case where it fires, or none where it does not: {ends}")
    made = lab.folder / "dashboards"
    made.mkdir()
    command(sys.executable, "-B", str(PACKAGING / "grafana/generate.py"), str(made))
    written, kept = (
        {path.name: path.read_text() for path in folder.glob("*.json")} for folder in (made, PACKAGING / "grafana")
    )
    expect(written == kept and len(kept) == 6, "packaging/grafana/*.json are not what generate.py writes")
    for name, text in kept.items():
        for panel in json.loads(text)["panels"]:
            place = panel["gridPos"]
            told = panel["description"] and panel["fieldConfig"]["defaults"]["unit"] and panel["targets"]
            expect(told and place["x"] + place["w"] <= 24, f"{name}: the panel {panel['title']}")


def network(lab):
    """Makes a path from this namespace over a router with a narrow link to another one; returns the other one's name."""
    router, far = lab.namespace("router"), lab.namespace("far")
    command("ip", "link", "add", "lm0", "type", "veth", "peer", "name", "lm0", "netns", router)
    lab.cleanup.callback(command, "ip", "link", "del", "lm0")
    command("ip", "addr", "add", f"{NEAR}/24", "dev", "lm0")
    command("ip", "link", "set", "lm0", "up")
    command("ip", "-n", router, "addr", "add", "192.0.2.254/24", "dev", "lm0")
    command("ip", "-n", router, "link", "set", "lm0", "up")
    lab.link(router, far, ["198.51.100.254/24"], [f"{FAR}/24", f"{SILENT}/24"], device="lm1")
    command("ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    command("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.254")
    command("ip", "-n", far, "route", "add", "default", "via", "198.51.100.254")
    # A queue on this host would be before the kernel's stamps.
    shape = f"rate {burst.RATE_MBIT}mbit burst 3000 limit 1000000".split()
    command("tc", "-n", router, "qdisc", "add", "dev", "lm1", "root", "tbf", *shape)
    for rule in (
        "add table ip lmtest",
        "add chain ip lmtest in { type filter hook input priority 0; }",
        f"add rule ip lmtest in ip daddr {SILENT} drop",
        "add rule ip lmtest in udp dport 8001 numgen inc mod 50 == 0 drop",
    ):
        command("ip", "netns", "exec", far, "nft", rule)
    return far


def start_daemons(lab, far):
    common = {"interval": 1, "timeout": 0.2}
    http = lambda address: {"http": {"listen": f"{address}:{SCRAPED}", "interval": 1}}
    server = {"host": "127.0.0.1", "port": clickhouse.PORT, "secure": False, "database": "fleet"}
    user = {"username": clickhouse.USER, "password": clickhouse.PASSWORD}
    shared = {"mode": "windows", "send_interval": 1}
    # A daemon that prints its records has its log on stderr, where labs look for it.
    printed, rows = {"backend": "cli", **shared}, {"backend": "clickhouse", **shared, **server, **user}
    back = {"host": NEAR, "label": "near"}
    targets = [
        {"host": FAR, "label": "far"},
        {"host": SILENT, "label": "silent", "interval": 50},
        {"host": "nowhere.invalid", "label": "nowhere", "interval": 50},
    ]
    one = lab.ours("far", {"name": "far", **common, **http(FAR), "metrics": printed, "targets": [back]}, namespace=far)
    two = lab.ours("near", {"name": "near", **common, **http(NEAR), "metrics": [printed, rows], "targets": targets})
    return one, two


class Prometheus:
    """A server that scrapes both daemons and evaluates the rules."""

    def __init__(self, lab, label, address, flags):
        self.key, self.address, self.label = f"{label} Prometheus", address, label
        folder = lab.folder / label
        folder.mkdir()
        # The same rules, evaluated at once: groups with an interval of minutes would come too late for a lab.
        (folder / "rules.yml").write_text(re.sub(r"^    interval: .*\n", "", RULES.read_text(), flags=re.MULTILINE))
        job = {"job_name": "latency-monitor", "static_configs": [{"targets": [f"{at}:{SCRAPED}" for at in (NEAR, FAR)]}]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [job],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        words += [f"--web.listen-address={address}", *flags]
        lab.start(f"prometheus-{label}", ["prometheus", *words]).wait_for_log("ready to receive web requests")

    def get(self, path, **words):
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(words)}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            said = error.read().decode()
        raise Failed(f"{self.key}: {words}: {said[:500]}")

    def vector(self, query):
        """Returns the present values of a query, by labels: those that are numbers, and histograms that count something."""
        found = {}
        for series in self.get("query", query=query)["result"]:
            value = float(series["value"][1]) if "value" in series else float(series["histogram"][1]["count"]) or math.nan
            if not math.isnan(value):
                found[frozenset(series["metric"].items())] = value
        return found

    def dashboards(self):
        return PACKAGING.glob("grafana/prometheus-*.json")

    def has_data(self, target, variables):
        query = substitute(target["expr"], {**PROMETHEUS, **variables})
        if target["instant"]:
            return bool(self.vector(query))
        now = time.time()
        data = self.get("query_range", query=query, start=now - RANGE_S, end=now, step=STEP_S)["result"]
        values = [float(value) for series in data for _, value in series.get("values", [])]
        counts = [float(one["count"]) for series in data for _, one in series.get("histograms", [])]
        return any(not math.isnan(value) for value in values) or any(counts)

    def has_choices(self, query, variables):
        match, label = re.fullmatch(r"label_values\((.*), (\w+)\)", substitute(query, variables)).groups()
        return bool(self.get(f"label/{label}/values", **{"match[]": match}))

    def text(self, value):
        return value

    def everyone(self):
        return ".*"


class ClickHouse:
    """The engine with one daemon's rows."""

    key = "ClickHouse"

    def __init__(self, front):
        self.front = front

    def dashboards(self):
        return PACKAGING.glob("grafana/clickhouse-*.json")

    def has_data(self, target, variables):
        query = self.expand(substitute(target["rawSql"], variables))
        rows = self.rows(query)
        if "GROUP BY" in query or "ORDER BY" in query:
            return any(not all(value == "nan" for value in row[1:]) for row in rows)
        # One row comes always, also of no data.
        return rows[0][0] not in ("nan", "0")

    def has_choices(self, query, variables):
        return bool(self.rows(self.expand(substitute(query, variables))))

    def rows(self, query):
        self.front.ask("USE fleet")
        return self.front.rows(query)

    def expand(self, query):
        """Replaces the macros of Grafana's plugin for ClickHouse by what its documentation says."""
        now = int(time.time())
        query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({now - RANGE_S}) AND \1 <= toDateTime({now + 1})", query)
        query = re.sub(r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {STEP_S} second)", query)
        query = query.replace("$__interval_s", str(STEP_S))
        expect("$" not in query, f"a macro is left in {query}")
        return query

    def text(self, value):
        return f"'{value}'"

    def everyone(self):
        return "'near'"


def substitute(text, variables):
    """Puts variables in place as Grafana does: `$name`, `${name}` and `${name:format}`."""
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda found: variables.get(found[1] or found[2], found[0]), text)


def settings(store, board):
    """Yields the values of a dashboard's variables: each flow, and who is chosen or all."""
    variables = {one["name"]: one for one in board["templating"]["list"]}
    source, target = (variables.get(name, {}) for name in ("source", "target"))
    pick = lambda variable, value: store.everyone() if variable.get("multi") and variable is source else store.text(value)
    fixed = {"table": "metrics", "source": pick(source, "near"), "target": store.text("far")}
    if target.get("multi"):
        fixed["target"] = ".*" if isinstance(store, Prometheus) else "'far', 'silent', 'nowhere'"
    for flow in variables.get("flow", {}).get("query", "udp").split(","):
        yield {**fixed, "flow": flow}


def ask_all(store):
    """Asks each query of a store's dashboards until it has data; returns how many there are."""
    count = 0
    for path in sorted(store.dashboards()):
        board = json.loads(path.read_text())
        for variables in settings(store, board):
            for variable in (one for one in board["templating"]["list"] if one["type"] == "query"):
                expect(
                    store.has_choices(variable["query"], variables),
                    f"{store.key}: {path.name}: no choice for {variable['name']}",
                )
            targets = [(panel["title"], target) for panel in board["panels"] for target in panel["targets"]]
            count += len(targets)
            for title, target in targets:
                what = f"{store.key}: {path.name}: {title}: {target.get('legendFormat', '')} with {variables}"
                wait_until(lambda: store.has_data(target, variables), f"data for {what}", give_up_s=30)
                nobody = {**variables, "source": store.text(NOBODY)}
                expect(not store.has_data(target, nobody), f"{what}: it has data of others")
    return count


class Blast:
    """Fills the link's queue again and again."""

    def __init__(self, lab):
        code = burst.BLAST.format(packets=burst.BURST_PACKETS, size=burst.PACKET_BYTES, far=FAR)
        self.program = subprocess.Popen(
            [sys.executable, "-B", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        lab.cleanup.callback(self.program.wait)
        lab.cleanup.callback(self.program.kill)
        self.next = time.monotonic() + burst.QUIET_S

    def is_met(self, servers, daemons):
        """Sends a burst if it is time for one; returns whether every server knows of one in each flow."""
        for daemon in daemons:
            daemon.expect_alive()
        if time.monotonic() < self.next:
            return False
        self.program.stdin.write("go\n")
        expect(self.program.stdout.readline(), "the sender of bursts has ended")
        self.next = time.monotonic() + 1
        metrics = [f'{flow}_wan_burst_total{{source="near",target="far"}}' for flow in ("udp", "tcp")]
        return all(server.vector(metric) for server, metric in itertools.product(servers, metrics))


def check_kind(server):
    """Each server has one kind of histograms only, so every quantile with `or` has been asked of both."""
    native, classic = (bool(server.vector(f"udp_wan_rtt_seconds{end}")) for end in ("", "_bucket"))
    expect((native, classic) == (server.label == "native", server.label == "classic"), f"{server.key}: {native}, {classic}")


def check_records(server):
    """Each recording rule has values, of every flow and direction that it is for, and no rule fails."""
    groups = server.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    expect(len(rules) > 40, f"{len(rules)} rules")
    for rule in rules:
        wait_until(lambda: not failing(server, rule["name"]), f"{server.key} to evaluate {rule['name']}", give_up_s=10)
        if rule["type"] == "recording":
            labels = ",".join(f'{key}="{value}"' for key, value in rule.get("labels", {}).items())
            found = lambda: server.vector(f"{rule['name']}{{{labels}}}")
            wait_until(found, f"{server.key}: values of {rule['name']} {labels}", give_up_s=30)


def failing(server, name):
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"] if rule["name"] == name]
    return [rule.get("lastError") for rule in rules if rule["health"] != "ok"]


def check_alerts(server):
    """The alerts tell what is wrong here, and with what. A busy host may lose in the other direction, too."""
    wanted = {
        "LatencyTargetDown": {("near", "silent"), ("near", "nowhere")},
        "LatencyTargetNeverAnswered": {("near", "silent")},
        "LatencyTargetNeverResolved": {("near", "nowhere")},
        "LatencyLossOneDirection": {("near", "far")},
        "LatencyDaemonDown": set(),
        "LatencyReloadFailed": set(),
    }

    def active():
        found = {name: set() for name in wanted}
        for alert in server.get("alerts")["alerts"]:
            labels = alert["labels"]
            found.setdefault(labels["alertname"], set()).add((labels.get("source"), labels.get("target")))
        found["LatencyLossOneDirection"] &= wanted["LatencyLossOneDirection"]
        return {name: found[name] for name in wanted}

    try:
        wait_until(lambda: active() == wanted, "alerts", give_up_s=30)
    except Failed as failure:
        raise Failed(f"{server.key}: {active()} in place of {wanted}") from failure


def check_losses(servers, store):
    """The loss is a number where a target never answered, or never resolved: in each store, and the same."""
    board = json.loads((PACKAGING / "grafana/prometheus-fleet.json").read_text())
    (panel,) = (one for one in board["panels"] if one["title"] == "Loss")
    for server in servers:
        for variables in settings(server, board):
            found = server.vector(substitute(panel["targets"][0]["expr"], {**PROMETHEUS, **variables}))
            check_shares(server.key, variables["flow"], {dict(key)["target"]: value for key, value in found.items()})
    board = json.loads((PACKAGING / "grafana/clickhouse-fleet.json").read_text())
    (panel,) = (one for one in board["panels"] if one["title"] == "Loss" and one["type"] == "table")
    for variables in settings(store, board):
        rows = store.rows(store.expand(substitute(panel["targets"][0]["rawSql"], variables)))
        check_shares(store.key, variables["flow"], {target: float(value) for _, target, value in rows})


def check_shares(key, flow, shares):
    for target in ("silent", "nowhere"):
        # What is in flight when the range ends is not lost yet.
        expect(shares.get(target, 0) > 0.95, f"{key}: {flow}: the loss of {target} among {shares}")
    # A busy host loses more than the filter takes.
    least = 0.01 if flow == "udp" else 0
    expect(least <= shares["far"] < 0.5, f"{key}: {flow}: the loss of far among {shares}")
