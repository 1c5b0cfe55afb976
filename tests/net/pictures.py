"""Takes the pictures in the documents, of real daemons between namespaces, and of real bursts. Runs only when it is named.

The namespaces are near - router - far, and near - nyc, sgp. Cross traffic fills the router's queue toward far a few
times. The live page and the report of a burst's dump are what Chromium draws, as WebP; `top` and `ping` are what tmux has
on its screens, as SVG. They go to docs/pictures. `picture` takes the one in README.md.
"""

import base64
import json

import page
import terminal_svg
from browser import Browser
from burst import FAR, PLANTED_MS_LEAST, path
from lab import ROOT, expect, pause, run as command, wait_until
from top import Tmux

FOLDER = ROOT / "docs" / "pictures"
PORT = 8003
QUIET_INTERVALS = 40
KIB_MOST = 80
OTHERS = {"nyc": "203.0.113.2", "sgp": "203.0.114.2"}


def run(lab):
    FOLDER.mkdir(exist_ok=True)
    near, _, far = path(lab)
    metrics = {"mode": "windows", "send_interval": 1}
    lab.ours("fra", {"name": "fra", "metrics": metrics}, namespace=far)
    for number, (name, address) in enumerate(OTHERS.items()):
        other = lab.namespace(name)
        lab.link(near, other, [f"{address[:-1]}1/24"], [f"{address}/24"], device=f"lm{number + 2}")
        lab.ours(name, {"name": name, "metrics": metrics}, namespace=other)
    targets = [{"host": FAR, "label": "fra", "tags": ["site:fra1"], "interval": 2}]
    targets += [{"host": address, "label": name, "tags": [f"site:{name}1"], "interval": 5} for name, address in OTHERS.items()]
    settings = {
        "name": "ams",
        "metrics": metrics,
        "http": {"listen": f"127.0.0.1:{PORT}", "interval": 1},
        "burst": {"dump_dir": str(lab.folder / "dumps")},
        "targets": [{"tcp_latency": False, **target} for target in targets],
    }
    daemon = lab.ours("ams", settings, namespace=near)
    browser = Browser(lab, near)
    browser.theme("dark")
    browser.open(f"http://127.0.0.1:{PORT}/", 1440, 900)
    terminal = Tmux(lab, "terminal", (100, 34), near)
    terminal.type(f"{lab.binary} top http://127.0.0.1:{PORT}")
    wait_until(lambda: browser.evaluate("model.updates") >= QUIET_INTERVALS, "a past", 90)
    key = browser.evaluate("[...model.rows.values()].find((row) => row.pair.target === 'fra' && row.flow === 'udp').key")
    browser.evaluate(f"select('{key}')")
    page.blast(lab, near)
    # Dumps are written once every probe has its outcome.
    pause(3)
    event, file = longest(lab)
    take_page(lab, browser, event)
    screen = terminal.screen("-e")
    expect("burst" in screen, f"top shows no burst:\n{screen}")
    save("top.svg", terminal_svg.draw(screen, 100).encode())
    terminal.keys("q")
    terminal.see("ready$")
    terminal.tmux("resize-window", "-x", "132", "-y", "40")
    terminal.type(f"clear; PATH={lab.binary.parent}:$PATH; clear; latency-monitor ping -c 150 -i 20ms {FAR}")
    terminal.see("rtt of 150 probes")
    terminal.see("ready$")
    lines = terminal.screen("-e").rstrip().split("\n")
    first = next(number for number, line in enumerate(lines) if "PING" in line)
    save("ping.svg", terminal_svg.draw("\n".join(lines[first:-1]), 132).encode())
    code, _ = daemon.end()
    expect(code == 0, f"the daemon ended with {code}: {daemon.log()[-500:]}")
    take_report(lab, browser, file)
    sizes = {one.name: one.stat().st_size // 1024 for one in sorted(FOLDER.iterdir())}
    expect(max(sizes.values()) <= KIB_MOST, f"a picture is over {KIB_MOST} KiB: {sizes}")
    lab.note(", ".join(f"{name} {kib} KiB" for name, kib in sizes.items()))


def longest(lab):
    """Returns the event and the dump of the burst that most probes met, once one of those that were planted has a dump."""
    dumps = lambda: [
        (json.loads(file.read_text().partition("\n")[0])["event"], file)
        for file in (lab.folder / "dumps").glob("lm-burst-*-udp-forward-fra.jsonl")
    ]
    wait_until(lambda: len([0 for event, _ in dumps() if event["peak"] > PLANTED_MS_LEAST * 1e6]) >= 1, "a dump")
    return max(dumps(), key=lambda one: one[0]["probes"])


def take_page(lab, browser, event):
    at = f"model.events.findIndex(({{ event }}) => event.event === 'burst' && event.start === {event['start']} && event.direction === 'forward')"
    browser.evaluate(f"openEvent(model.events[{at}])")
    wait_until(lambda: browser.evaluate("!!document.querySelector('#dump a')"), "the link of the dump's report")
    take(lab, browser, "page")


def take_report(lab, browser, file):
    report = lab.folder / "report.html"
    command(str(lab.binary), "report", str(file), "-o", str(report))
    browser.theme("light")
    browser.open(report.as_uri(), 1100, 900)
    wait_until(lambda: browser.evaluate("document.querySelectorAll('output').length") > 0, "the report")
    take(lab, browser, "report")


def take(lab, browser, name):
    """Keeps what the browser shows: small for a document, and whole for whoever looks it over."""
    browser.picture(lab.folder / f"{name}.png")
    data = browser.ask("Page.captureScreenshot", format="webp", quality=45)["data"]
    save(f"{name}.webp", base64.b64decode(data))


def save(name, data):
    (FOLDER / name).write_bytes(data)
