"""Runs the daemon as in a container: it sees no CA certificates, and its secrets stand in a file that is rotated.

1. Without certificates plain HTTP works, and so does HTTPS to a server whose own certificate is named, made as the
   guide of ClickHouse makes it. HTTPS to another waits, with one error, until certificates are installed.
2. Datadog's key and ClickHouse's password change, before or after the file does. The daemon goes on by itself.

At the end each store has what was printed, each figure once.
"""

import collections
import os
import subprocess

import clickhouse
import datadog
import pushgateway
from lab import VENV, collect, expect, run as command, values, wait_until

PORT = 18400
INTAKE, OF_ITSELF, ISSUED = PORT + 10, PORT + 11, PORT + 12
MISSING = "there are no CA certificates, which HTTPS needs"
# Runs a program that sees nothing of what HTTPS trusts on Debian.
BARE = ["env", "-u", "SSL_CERT_FILE", "-u", "SSL_CERT_DIR", "unshare", "--mount"]
BARE += ["sh", "-c", 'mount -t tmpfs lm-lab /etc/ssl && mkdir /etc/ssl/certs && exec "$@"', "sh"]


def run(lab):
    stores = Stores(lab)
    stores.take("hush-1")
    stores.secret.write_text("hush-1\n")
    path = lab.write("daemon", settings(lab, stores))
    check = subprocess.run([*map(str, [*BARE, lab.binary, "check", "-c", path])], capture_output=True, text=True)
    expect(check.returncode == 0 and check.stderr.count(MISSING) == 1, f"`check` says {check.stderr}")
    daemon = lab.start("daemon", [*BARE, lab.binary, "-c", path])
    daemon.wait_for_log("answering probes")
    printed = without_certificates(daemon, stores)
    expect(not stores.taken()[0], "something was sent to whom nobody vouches for")
    command("nsenter", "-t", str(daemon.pid), "-m", "cp", str(lab.folder / "issuer.pem"), "/etc/ssl/certs/ca-certificates.crt")
    stores.wait_until_taken(daemon)
    lab.note(f"certificates came when {len(datadog.windows_of(printed, 'udp.wan.rtt'))} windows waited")

    for word in ("hush-2", "hush-3"):
        stores.take(word)
        stores.wait_until_refused(daemon)
        # As a volume of Kubernetes changes.
        (lab.folder / "new").write_text(f"{word}\n")
        os.replace(lab.folder / "new", stores.secret)
        stores.wait_until_taken(daemon)
    stores.secret.write_text("hush-4\n")
    stores.wait_until_refused(daemon)
    stores.take("hush-4")
    stores.wait_until_taken(daemon)

    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    log = daemon.log()
    expect(log.count(MISSING) == 1, f"{log.count(MISSING)} lines say what is missing")
    expect("hush" not in log, "a secret is in the log")
    lab.note(stores.hold_against(printed + daemon.records()))


def settings(lab, stores):
    shared = {"send_interval": 1, "mode": "windows"}
    server = {"host": "localhost", "port": OF_ITSELF, "secure": True, "database": "fleet", "username": clickhouse.USER}
    backends = [
        {"backend": "cli"},
        {"backend": "pushgateway", "gateway": pushgateway.GATEWAY},
        {"backend": "clickhouse", **server, "password_file": str(stores.secret), "ca_file": str(lab.folder / "of-itself.pem")},
        {"backend": "datadog", "api_key_file": str(stores.secret), "url": f"https://localhost:{ISSUED}"},
    ]
    ports = {"tcp_port": PORT, "udp_port": PORT + 1}
    target = {"host": "127.0.0.1", "interval": 20, **ports}
    return {"name": "near", **ports, "metrics": [{**shared, **backend} for backend in backends], "targets": [target]}


def without_certificates(daemon, stores):
    """Waits until all that needs no certificates works, and HTTPS says what is missing; returns what was printed."""
    printed = collect(daemon, lambda records: len(datadog.windows_of(records, "udp.wan.rtt")) >= 3, "windows")
    daemon.wait_for_log(MISSING)
    wait_until(lambda: pushed("udp_wan_sent_total") > 0, "counts at the gateway")
    wait_until(lambda: stores.front.number("SELECT count() FROM fleet.metrics_windows"), "windows in ClickHouse")
    daemon.expect_alive()
    return printed


def pushed(name):
    lines = (pushgateway.fetch() or "").splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


class Stores:
    """ClickHouse's engine and Datadog's intake, both behind TLS and with one secret; and a gateway without either."""

    def __init__(self, lab):
        self.secret, self.wanted = lab.folder / "secret", lab.folder / "wanted"
        self.front = clickhouse.Front(lab)
        clickhouse.make_tables(lab, self.front, "fleet")
        pushgateway.start_gateway(lab, "gateway")
        self.wanted.write_text("")
        words = [VENV / "bin" / "python", "-B", datadog.INTAKE, INTAKE, f"@{self.wanted}"]
        self.intake, self.requests = lab.start("intake", words), []
        wait_until(lambda: datadog.listens(INTAKE, self.intake), "the intake to listen")
        make_certificates(lab.folder)
        for port, name, behind in ((OF_ITSELF, "of-itself", clickhouse.PORT), (ISSUED, "issued", INTAKE)):
            pem = f"cert={lab.folder / name}.pem,key={lab.folder / name}.key,verify=0"
            lab.start(name, ["socat", f"OPENSSL-LISTEN:{port},fork,reuseaddr,{pem}", f"TCP:127.0.0.1:{behind}"])
            wait_until(lambda: command("ss", "-Hltn", f"sport = :{port}"), f"{name} to listen")

    def take(self, secret):
        """Makes both take this secret and no other."""
        self.wanted.write_text(secret)
        self.front.ask("", f"/password?{secret}")

    def counts(self, status):
        """Returns how many requests each has answered so: Datadog, then ClickHouse."""
        self.requests.extend(record for record in self.intake.records() if "status" in record)
        return sum(request["status"] == status for request in self.requests), self.front.seen().get(status, 0)

    def wait_for_more(self, daemon, what, count):
        before = count()

        def has_more():
            daemon.expect_alive()
            return all(now > then for now, then in zip(count(), before))

        wait_until(has_more, f"both to have {what} more")

    def taken(self):
        return self.counts(202)[0], self.counts(200)[1]

    def wait_until_taken(self, daemon):
        self.wait_for_more(daemon, "taken", self.taken)

    def wait_until_refused(self, daemon):
        self.wait_for_more(daemon, "refused", lambda: self.counts(403))

    def hold_against(self, printed):
        """Compares all stores with what was printed; returns what was found."""
        self.counts(202)
        received = datadog.series_of(self.requests)
        delays, counts = datadog.check_windows(printed, received), datadog.check_counts(printed, received)
        kept = collections.Counter()
        for table, at, value in (("metrics", "Timestamp", "MetricValue"), ("metrics_windows", "EndedAt", "Samples")):
            query = f"SELECT MetricName, toUnixTimestamp64Nano({at}), {value} FROM fleet.{table} WHERE MetricName LIKE '%.wan.%'"
            kept.update((name, int(at_ns), int(number)) for name, at_ns, number in self.front.rows(query))
        ours = collections.Counter()
        for record in printed:
            if ".wan." in record.get("metric", ""):
                at_ns, number = (record["end"], record["count"]) if "end" in record else record["points"][0]
                ours[record["metric"], at_ns, number] += 1
        expect(kept == ours, f"ClickHouse lacks {list((ours - kept))[:3]} and has {list((kept - ours))[:3]} too many")
        sent = sum(values(printed, "udp.wan.sent"))
        expect(pushed("udp_wan_sent_total") == sent, f"the gateway has {pushed('udp_wan_sent_total')} probes of {sent}")
        return f"{delays} windows and {counts} counts at Datadog, {kept.total()} rows at ClickHouse, each once, over 3 rotations"


def make_certificates(folder):
    """Makes one for localhost as ClickHouse's guide does, an issuer, and one for localhost that it has issued."""
    openssl = lambda *words: command("openssl", *map(str, words))
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout"]
    pair = lambda name: [folder / f"{name}.key", "-out", folder / f"{name}.pem"]
    openssl("req", "-x509", "-subj", "/CN=localhost", *made, *pair("of-itself"))
    openssl("req", "-x509", "-subj", "/CN=issuer of the lab", *made, *pair("issuer"))
    by = ["-CA", folder / "issuer.pem", "-CAkey", folder / "issuer.key"]
    extra = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    openssl("req", "-x509", "-subj", "/CN=localhost", *extra, *by, *made, *pair("issued"))
