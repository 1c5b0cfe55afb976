"""Eight hosts probe each other from one file. Each of the 56 pairs is seen from both sides: its sender publishes round
trips, and its receiver one-way delays; as printed, in Prometheus and in ClickHouse's engine. Then a ninth member is written into the file of all, and they read it again: its
pairs begin within seconds, and the old ones keep their ports and lose no probe.
"""

import signal
import time

import clickhouse
import prometheus
from capture import TCP, UDP, Capture, end_captures, packets
from lab import expect, pause, points, run as command, wait_until

HOSTS = 8
PAIRS = HOSTS * (HOSTS - 1)
PORTS = {UDP: 8001, TCP: 8000}
HTTP_PORT = 8003
# Where Prometheus and the store are.
STORES = "192.0.2.254"
INTERVAL_MS, TIMEOUT_S, WINDOW_S = 50, 5, 0.5
# A scrape that takes longer leaves its series out.
SCRAPE = "5s"
BEGUN_WITHIN_S = 10
SIDES = {"sender": ("udp.wan.rtt", "tcp.wan.rtt"), "receiver": ("udp.wan.owd", "tcp.wan.owd")}

name = lambda number: f"host-{number}"
address = lambda number: f"192.0.2.{number}"


def settings(hosts):
    members = [
        {"name": name(number), "address": address(number), "tags": [f"rack:{number % 2}"]}
        for number in range(1, hosts + 1)
    ]
    options = {"interval": INTERVAL_MS, "timeout": TIMEOUT_S, "tcp_latency": False, "tags": ["mesh:lab"]}
    mesh = {"name": "lab", **options, "members": members}
    store = {"host": STORES, "port": clickhouse.PORT, "secure": False, "database": "mesh"}
    user = {"username": clickhouse.USER, "password": clickhouse.PASSWORD}
    every = {"mode": "windows", "send_interval": WINDOW_S}
    return {
        "http": {"listen": f"0.0.0.0:{HTTP_PORT}", "interval": WINDOW_S},
        "metrics": [
            {"backend": "cli", **every},
            {"backend": "clickhouse", **every, "send_interval": 1, **store, **user},
        ],
        "mesh": [mesh],
    }


class Mesh:
    """The hosts on one switch, and what each of them has published."""

    def __init__(self, lab):
        self.lab, self.spaces, self.daemons, self.records = lab, {}, {}, {}
        # When the first window of what a side publishes of a pair has ended.
        self.measured = {}
        self.switch = lab.namespace("switch")
        command("ip", "-n", self.switch, "link", "add", "lm0", "type", "bridge")
        command("ip", "-n", self.switch, "link", "set", "lm0", "up")

    def reach(self):
        """Joins this namespace to the switch, for the stores."""
        pair = ["ip", "link", "add", "lm0", "type", "veth", "peer", "name", "stores", "netns", self.switch]
        command(*pair)
        command("ip", "-n", self.switch, "link", "set", "stores", "master", "lm0", "up")
        command("ip", "addr", "add", f"{STORES}/24", "dev", "lm0")
        command("ip", "link", "set", "lm0", "up")

    def start(self, number):
        """Starts a host with the file that all have."""
        space = self.spaces[number] = self.lab.namespace(name(number))
        pair = ["ip", "link", "add", "lm0", "netns", space, "type", "veth", "peer", "name", f"port{number}"]
        command(*pair, "netns", self.switch)
        command("ip", "-n", self.switch, "link", "set", f"port{number}", "master", "lm0", "up")
        command("ip", "-n", space, "addr", "add", f"{address(number)}/24", "dev", "lm0")
        command("ip", "-n", space, "link", "set", "lm0", "up")
        flags = [self.lab.binary, "-c", self.lab.folder / "mesh.toml", "--name", name(number)]
        self.daemons[number] = self.lab.start(name(number), flags, namespace=space)
        self.daemons[number].wait_for_log("answering probes")
        self.records[number] = []

    def read(self):
        for number, daemon in self.daemons.items():
            daemon.expect_alive()
            for record in daemon.records():
                self.records[number].append(record)
                self.note_measured(number, record)

    def note_measured(self, number, record):
        metric = record.get("metric")
        side = next((side for side, metrics in SIDES.items() if metric in metrics), None)
        if not side or not record.get("count"):
            return
        tags = dict(tag.split(":", 1) for tag in record["tags"])
        if tags.get("mesh") != "lab" or name(number) != tags["source" if side == "sender" else "target"]:
            return
        sender, receiver = (int(tags[end].removeprefix("host-")) for end in ("source", "target"))
        if tags.get("rack") == str(receiver % 2):
            self.measured.setdefault((sender, receiver, side, metric), record["end"])

    def wanted(self):
        """Returns the pairs, with a side and a metric each."""
        return {
            (sender, receiver, side, metric)
            for side, metrics in SIDES.items()
            for metric in metrics
            for sender in self.daemons
            for receiver in set(self.daemons) - {sender}
        }

    def unseen(self):
        """Returns those of which nothing has been measured."""
        self.read()
        return self.wanted() - set(self.measured)

    def ports(self, label):
        """Returns the ports from which each old pair probes, by protocol."""
        capture = Capture(self.lab, label, self.switch)
        flows = lambda: {(protocol, source, target) for protocol, source, _, target in self.seen(capture)}
        wait_until(lambda: len(flows()) >= len(PORTS) * PAIRS, "a packet of each flow")
        end_captures([capture], self.spaces[1], address(2))
        return self.seen(capture)

    def seen(self, capture):
        """Returns the packets of old pairs that were captured so far, as protocol, source, its port, and target."""
        found = {
            (packet.protocol, packet.source, packet.source_port, packet.target)
            for packet in packets(capture.path)
            if packet.target_port == PORTS[packet.protocol]
        }
        old = [address(number) for number in range(1, HOSTS + 1)]
        return {packet for packet in found if packet[1] in old and packet[3] in old}


def scraped_pairs(metric):
    """Returns how many pairs have values of a metric in Prometheus."""
    histogram = f"{metric.replace('.', '_')}_seconds"
    return prometheus.value_of(f"count(count by (source, target) (histogram_count({histogram}) > 0))")


def stored_pairs(front, metric):
    """Returns how many pairs have windows of a metric in the store."""
    of = f"MetricName = '{metric}' AND Tags['mesh'] = 'lab' AND Samples > 0"
    return front.number(f"SELECT uniqExact(Source, Target) FROM mesh.metrics_windows WHERE {of}")


def run(lab):
    mesh = Mesh(lab)
    mesh.reach()
    front = clickhouse.Front(lab, "0.0.0.0")
    clickhouse.make_tables(lab, front, "mesh")
    lab.write("mesh", settings(HOSTS))
    for number in range(1, HOSTS + 1):
        mesh.start(number)
    wait_until(lambda: not mesh.unseen(), "all pairs to be seen from both sides")
    prometheus.start_prometheus(lab, [f"{address(number)}:{HTTP_PORT}" for number in range(1, HOSTS + 1)], SCRAPE)
    for metric in [metric for metrics in SIDES.values() for metric in metrics]:
        wait_until(lambda m=metric: scraped_pairs(m) == PAIRS, f"{PAIRS} pairs of {metric} in Prometheus")
        wait_until(lambda m=metric: stored_pairs(front, m) == PAIRS, f"{PAIRS} pairs of {metric} in ClickHouse")
    lab.note(f"{PAIRS} pairs from one file, each seen from both sides, in Prometheus and in ClickHouse, too")
    # Whatever was lost while not all had begun is known then.
    pause(TIMEOUT_S + 2 * WINDOW_S)
    whole_ns = time.time_ns()
    before = mesh.ports("before")
    expect(len(before) == len(PORTS) * PAIRS, f"{len(before)} flows of {PAIRS} pairs")

    lab.write("mesh", settings(HOSTS + 1))
    edited_ns = time.time_ns()
    mesh.start(HOSTS + 1)
    for number in range(1, HOSTS + 1):
        mesh.daemons[number].send(signal.SIGHUP)
    for number in range(1, HOSTS + 1):
        mesh.daemons[number].wait_for_log(f"kept={HOSTS - 1} relabelled=0 rekeyed=0 added=1 removed=0")
    wait_until(lambda: not mesh.unseen(), "the new pairs to be seen from both sides")
    took_s = (max(mesh.measured.values()) - edited_ns) / 1e9
    lab.note(f"{2 * HOSTS} more {took_s:.1f} s after the edit")
    expect(took_s <= BEGUN_WITHIN_S, f"the new pairs took {took_s:.1f} s")
    after = mesh.ports("after")
    expect(after == before, f"{len(before - after)} of {len(before)} flows have other ports")
    pause(TIMEOUT_S + 2 * WINDOW_S)
    check_undisturbed(mesh, whole_ns)
    for daemon in mesh.daemons.values():
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")


def check_undisturbed(mesh, since_ns):
    """The old pairs have lost no probe since an instant, and could send each."""
    mesh.read()
    sent = 0
    for sender in range(1, HOSTS + 1):
        for receiver in set(range(1, HOSTS + 1)) - {sender}:
            tags = {"source": name(sender), "target": name(receiver)}
            of = lambda metric: sum(
                value for at_ns, value in points(mesh.records[sender], metric, **tags) if at_ns > since_ns
            )
            for wire in ("udp", "tcp"):
                bad = {what: of(f"{wire}.wan.{what}") for what in ("lost", "unsent")}
                expect(not any(bad.values()), f"{wire} from {sender} to {receiver}: {bad}")
                sent += of(f"{wire}.wan.sent")
    expect(sent > 0, "nothing was sent")
    mesh.lab.note(f"{sent} probes of the others since then, none lost, from the same ports")
