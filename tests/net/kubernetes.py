"""The manifests of packaging/kubernetes: valid, of one mind, and a mesh.

1. Each is valid by the API's schemas, an old and a new one, and names nothing that is not there: ports, volumes, keys.
2. Three nodes with the daemon's command line and configuration as the manifests have them, and a service name that
   leads to all three: each probes all addresses, is healthy, and tells Prometheus so, but only with the token.
"""

import json
import pathlib
import sys

from addresses import write_hosts
from dns import own_etc
from lab import ROOT, VENV, expect, run as command, wait_until

FOLDER = ROOT / "packaging" / "kubernetes"
HELPER = pathlib.Path(__file__).with_name("manifests.py")
# Asks as Prometheus does, from within a node; prints the status, then the answer.
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:8003/metrics")
if len(sys.argv) > 1:
    request.add_header("Authorization", f"Bearer {sys.argv[1]}")
try:
    answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""
VERSIONS = ["1.29", "1.37"]
NODES = [f"192.0.2.{last}" for last in (11, 12, 13)]
SERVICE = "nodes.latency-monitor.svc.cluster.local"
TOKEN = "of-the-lab"


def run(lab):
    found = manifests()
    agree(found)
    mesh(lab, found)


def manifests():
    """Returns the manifests by kind."""
    files = sorted(FOLDER.glob("*.yaml"))
    for version in VERSIONS:
        lines = command(str(VENV / "bin" / "python"), "-B", str(HELPER), version, *map(str, files)).splitlines()
    documents = {document["kind"]: document for document in map(json.loads, lines)}
    listed = documents["Kustomization"]["resources"]
    expect(sorted([*listed, "kustomization.yaml"]) == [file.name for file in files], f"it lists {listed}")
    return documents


def agree(found):
    kustomization, service, monitor = found["Kustomization"], found["Service"], found["PodMonitor"]
    pod = found["DaemonSet"]["spec"]["template"]
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    [container] = spec["containers"]
    selectors = {
        "DaemonSet": found["DaemonSet"]["spec"]["selector"]["matchLabels"],
        "Service": service["spec"]["selector"],
        "PodMonitor": monitor["spec"]["selector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        expect(selector.items() <= labels.items(), f"{kind} selects {selector}, and pods have {labels}")
    ports = {port["name"]: (port["containerPort"], port["protocol"]) for port in container["ports"]}
    for port in service["spec"]["ports"]:
        same = ports.get(port["targetPort"]) == (port["port"], port["protocol"])
        expect(same, f"the service's port {port} is none of {ports}")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    expect(endpoint["port"] in ports, f"PodMonitor asks {endpoint['port']} of {ports}")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    expect(mounts.keys() == volumes.keys(), f"{mounts} of {list(volumes)}")
    [generated] = kustomization["configMapGenerator"]
    expect(volumes["configuration"]["configMap"]["name"] == generated["name"], "another ConfigMap is mounted")
    # One Secret for both ends of a scrape, and the file that the configuration reads.
    secret = endpoint["authorization"]["credentials"]
    expect(volumes["secret"]["secret"]["secretName"] == secret["name"], f"another Secret than {secret} is mounted")
    text = (FOLDER / "latency.toml").read_text()
    wanted = [f'"{mounts["secret"]}/{secret["key"]}"', f'"{mounts["run"]}/http"', f'"[::]:{ports[endpoint["port"]][0]}"']
    wanted.append(f'"{service["metadata"]["name"]}.{kustomization["namespace"]}.svc.cluster.local"')
    for value in wanted:
        expect(value in text, f"latency.toml has no {value}")
    expect(kustomization["namespace"] == found["Namespace"]["metadata"]["name"], "another namespace is made")
    expect([image["name"] for image in kustomization["images"]] == [container["image"]], "another image is replaced")


def mesh(lab, found):
    [container] = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    switch = lab.namespace("switch")
    command("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
    command("ip", "-n", switch, "link", "set", "br0", "up")
    daemons = {}
    for number, address in enumerate(NODES):
        node, port = lab.namespace(f"node{number}"), f"port{number}"
        lab.link(node, switch, [f"{address}/24"], [], port)
        command("ip", "-n", switch, "link", "set", port, "master", "br0")
        write_hosts(own_etc(lab, node), {SERVICE: NODES})
        # What the volumes are in a pod.
        at = {name: lab.folder / f"node{number}" / name for name in paths}
        for folder in at.values():
            folder.mkdir(parents=True)
        (at["secret"] / "token").write_text(TOKEN + "\n")
        text = (FOLDER / "latency.toml").read_text()
        for name, path in paths.items():
            text = text.replace(path, str(at[name]))
        (at["configuration"] / "latency.toml").write_text(text.replace("interval = 15", "interval = 1"))
        here = lambda words: [
            word.replace("$(NODE_NAME)", f"node{number}").replace(paths["configuration"], str(at["configuration"]))
            for word in words
        ]
        daemon = lab.start(f"node{number}", [lab.binary, *here(container["args"])], namespace=node, logs_to_stdout=True)
        health = [str(lab.binary), *here(container["livenessProbe"]["exec"]["command"])[1:]]
        daemons[node] = (daemon, health)
    for node, (daemon, health) in daemons.items():
        daemon.wait_for_log("answering HTTP")
        wait_until(lambda: probed(node) == set(NODES), f"{node} to probe {NODES}")
        command("ip", "netns", "exec", node, *health)
        status, _ = asked(node)
        expect(status == "401", f"{node} answers {status} without the token")
    for daemon, _ in daemons.values():
        code, _ = daemon.end()
        expect(code == 0, f"{daemon.label} ended with {code}: {daemon.log()[-500:]}")
    lab.note(f"valid for Kubernetes {' and '.join(VERSIONS)}; {len(NODES)} nodes measure each other")


def probed(node):
    """Returns the addresses that a node has had replies from over all three kinds of flows, as Prometheus reads it."""
    _, text = asked(node, TOKEN)
    counts = ["udp_wan_received_total", "tcp_wan_received_total", "tcp_wan_latency_seconds_count"]
    found = {name: set() for name in counts}
    for line in text.splitlines():
        name, _, rest = line.partition("{")
        if name in found and float(rest.rpartition(" ")[2]) > 0:
            found[name] |= {address for address in NODES if f'address="{address}"' in rest}
    return set.intersection(*found.values())


def asked(node, *token):
    """Returns the status and the text of a scrape."""
    status, _, text = command("ip", "netns", "exec", node, sys.executable, "-c", ASK, *token).partition("\n")
    return status, text
