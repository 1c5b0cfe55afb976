"""Asks real stores for the loss with the documents' own queries: 1 where nothing gets through, 0 where all does.

Prometheus scrapes a Pushgateway, ClickHouse's engine has the rows, Datadog's formula is computed from what its intake
was sent, and the expression of docs/records.md from what was printed. Nothing listens at one target's port, another's
packets are dropped, a third's name does not resolve, a fourth answers until it is cut off, a fifth always answers.
"""

import collections
import json
import math
import re
import time
import urllib.parse
import urllib.request

import clickhouse
import datadog
import pushgateway
from lab import ROOT, Failed, run as command, wait_until

PORT = 18300
PROMETHEUS = "127.0.0.1:9090"
HOSTS = {
    "well": "127.0.0.1",
    "closed": "127.0.0.2",
    "cut": "127.0.0.3",
    "dropped": "127.0.0.4",
    "nowhere": "nowhere.invalid",
}
# In place of the documents' five minutes: some windows of a second.
RANGE = "[6s]"
# A probe that is lost in one window was sent in the one before.
SLACK = 0.05
# How the documents call the figures of UDP's flows, and what those of the other flows are called.
KINDS = {
    "udp": {},
    "tcp": {"udp.wan": "tcp.wan", "udp_wan": "tcp_wan"},
    "connect": {"udp.wan.lost": "tcp.wan.latency.failed", "udp.wan": "tcp.wan.latency"},
}


def run(lab):
    stores = Stores(lab)
    nft("add table ip lmtest")
    lab.cleanup.callback(nft, "delete table ip lmtest")
    nft("add chain ip lmtest in { type filter hook input priority 0; }")
    nft(f"add rule ip lmtest in ip daddr {HOSTS['dropped']} drop")
    listens = [HOSTS[label] for label in ("well", "cut", "dropped")]
    far = lab.ours("far", {"name": "far", "address": listens, "tcp_port": PORT, "udp_port": PORT + 1})
    near = publisher(lab)
    losses = {"well": 0, "cut": 0, "closed": 1, "dropped": 1, "nowhere": 1}
    stores.wait_for(near, losses)
    nft(f"add rule ip lmtest in ip daddr {HOSTS['cut']} drop")
    stores.wait_for(near, {**losses, "cut": 1})
    lab.note(f"{len(stores.all)} stores and {len(KINDS)} kinds of flow: 1 for what never answered, never resolved or was cut")
    for daemon in (near, far):
        clickhouse.end(daemon)


def nft(words):
    command("nft", words)


def publisher(lab):
    shared = {"send_interval": 1, "mode": "windows"}
    user = {"username": clickhouse.USER, "password": clickhouse.PASSWORD}
    backends = [
        {"backend": "cli"},
        {"backend": "pushgateway", "gateway": pushgateway.GATEWAY},
        {"backend": "clickhouse", "host": "127.0.0.1", "port": clickhouse.PORT, "secure": False, "database": "fleet", **user},
        {"backend": "datadog", "api_key": datadog.KEY, "url": f"http://127.0.0.1:{PORT + 10}"},
    ]
    target = {"interval": 50, "timeout": 0.2, "tcp_port": PORT, "udp_port": PORT + 1}
    settings = {
        "name": "near",
        "tcp_port": 0,
        "udp_port": 0,
        "metrics": [{**shared, **backend} for backend in backends],
        "targets": [{**target, "host": host, "label": label} for label, host in HOSTS.items()],
    }
    return lab.ours("near", settings)


class Stores:
    """The stores, and what each says of the loss: by kind of flow and target, of what was measured since a time."""

    def __init__(self, lab):
        self.front = clickhouse.Front(lab)
        clickhouse.make_tables(lab, self.front, "fleet")
        pushgateway.start_gateway(lab, "gateway")
        start_prometheus(lab)
        self.intake = datadog.intake(lab, "intake", PORT + 10)
        self.printed, self.sent = [], []
        self.all = [self.prometheus, self.clickhouse, self.datadog, self.cli]

    def wait_for(self, near, losses):
        """Waits until every store has these losses for all kinds of flow."""
        wanted = {(kind, label): share for kind in KINDS for label, share in losses.items()}
        # What is in flight now is over by then.
        since_s = math.ceil(time.time()) + 1
        found = {}

        def has_them():
            near.expect_alive()
            self.printed.extend(near.records())
            self.sent.extend(self.intake.records())
            found.update({store.__name__: store(since_s) for store in self.all})
            return all(abs(said.get(key, math.nan) - share) <= SLACK for said in found.values() for key, share in wanted.items())

        try:
            wait_until(has_them, "the stores")
        except Failed as failure:
            wrong = {name: {key: said.get(key) for key in wanted if said.get(key) != wanted[key]} for name, said in found.items()}
            raise Failed(f"{wrong} in place of {losses}") from failure

    def prometheus(self, _):
        # What was measured before is soon out of the range.
        udp, connect = (query for query in queries("pushgateway.md", "promql", "\n\n") if "unsent" in query)
        found = {}
        for kind, query in {"udp": udp, "tcp": of_kind("tcp", udp), "connect": connect}.items():
            words = urllib.parse.urlencode({"query": query.replace("[5m]", RANGE)})
            with urllib.request.urlopen(f"http://{PROMETHEUS}/api/v1/query?{words}") as answer:
                for series in json.load(answer)["data"]["result"]:
                    found[kind, series["metric"]["target"]] = float(series["value"][1])
        return found

    def clickhouse(self, since_s):
        # The documented queries ask `metrics`, which is here what came since.
        (query,) = (query for query in queries("clickhouse.md", "sql", ";") if "unsent" in query)
        self.front.ask("CREATE DATABASE IF NOT EXISTS since")
        self.front.ask(f"CREATE OR REPLACE VIEW since.metrics AS SELECT * FROM fleet.metrics WHERE Timestamp > {since_s}")
        found = {}
        self.front.ask("USE since")
        for kind in KINDS:
            for _, label, share in self.front.rows(of_kind(kind, query)):
                # Rows are in the order of minutes.
                found[kind, label] = float(share)
        self.front.ask("USE default")
        return found

    def datadog(self, since_s):
        totals = collections.Counter()
        for request in self.sent:
            for series in (request.get("payload") or {}).get("series", []):
                for point in series["points"]:
                    if point["timestamp"] > since_s:
                        totals[series["metric"], target_of(series["tags"])] += point["value"]
        page = (ROOT / "docs/backends/datadog.md").read_text()
        formula = re.search(r"^loss: +(.*), with$", page, re.MULTILINE)[1]
        metrics = dict(re.findall(r"^ +(\w+) += sum:([\w.]+)\{\*\} by \{target\}\.as_count\(\)$", page, re.MULTILINE))
        # It is in per cent there.
        return {key: share / 100 for key, share in computed(formula, metrics, totals).items()}

    def cli(self, since_s):
        totals = collections.Counter()
        for record in self.printed:
            for at_ns, value in record.get("points", []):
                if at_ns > since_s * 1e9:
                    totals[record["metric"], target_of(record["tags"])] += value
        page = (ROOT / "docs/records.md").read_text()
        formula = re.search(r"loss that alerts use is `(.*?)`", page)[1]
        return computed(formula, {name: f"udp.wan.{name}" for name in ("lost", "unsent", "sent")}, totals)


def start_prometheus(lab):
    jobs = [{"job_name": "gateway", "honor_labels": True, "static_configs": [{"targets": [pushgateway.GATEWAY]}]}]
    path = lab.folder / "prometheus.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    data = lab.folder / "prometheus"
    words = [f"--config.file={path}", f"--storage.tsdb.path={data}", f"--web.listen-address={PROMETHEUS}"]
    lab.start("prometheus", ["prometheus", *words]).wait_for_log("ready to receive web requests")


def queries(page, language, end):
    """Returns the queries of a backend's page, which end with this."""
    blocks = (ROOT / "docs/backends" / page).read_text().split(f"```{language}\n")[1:]
    return [query for block in blocks for query in block.partition("```")[0].split(end)]


def of_kind(kind, query):
    """Returns a query about UDP's flows as one about others, as the page says."""
    for theirs, other in KINDS[kind].items():
        query = query.replace(theirs, other)
    return query


def target_of(tags):
    return next((tag.removeprefix("target:") for tag in tags if tag.startswith("target:")), None)


def computed(formula, metrics, totals):
    """Computes a formula for each target that has all its figures; a division by zero has no value."""
    found = {}
    for kind in KINDS:
        names = {name: of_kind(kind, metric) for name, metric in metrics.items()}
        for label in HOSTS:
            if all((metric, label) in totals for metric in names.values()):
                values = {name: totals[metric, label] for name, metric in names.items()}
                try:
                    found[kind, label] = eval(formula, {"__builtins__": {}}, values)
                except ZeroDivisionError:
                    found[kind, label] = math.nan
    return found
