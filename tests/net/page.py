"""The live page in a browser: a planted burst and a planted loss are in the right row, cell and direction; names of
others are text; the page asks nobody but its daemon, and complains of nothing.

The namespaces are near - router - far, and near - other. Toward far the router sends 100 Mbit/s, and a blast queues
there before the probes. Later far drops requests, and then near drops replies. Nothing is planted toward other.
"""

import json
import random
import shutil
import subprocess
import sys

import report_page
from browser import Browser
from burst import BLAST, BURST_PACKETS, FAR, PACKET_BYTES, PLANTED_MS_LEAST, path
from lab import ROOT, expect, pause, run as command, wait_until
from loss import UDP_PORT, Dropper

OTHER = "203.0.113.2"
PORT = 8003
TOKEN = "a page has to ask"
# Markup, marks that turn a line around, and letters up to the greatest length of a name. Control characters are no part
# of a name by the configuration.
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><b>&amp;\u202eright\u2069"
HOSTILE += "é" * ((255 - len(HOSTILE.encode())) // 2)
# The daemon learns the base line and its noise, and the page what is usual.
QUIET_INTERVALS = 11
# Bursts that are planted, and those of them that probes must have met: a browser that draws has the processor, too.
PLANTED, BLASTS = 8, 3


# Hands the page an interval of a thousand targets more, with flows of two kinds; returns how long that took.
THOUSAND = """(() => {
  const source = model.source;
  const one = (at) => ({ pair: 1e6 + at, source, target: `edge${at}`, tags: [] });
  const fresh = [...Array(1000).keys()].map(one);
  const interval = (fresh, end_ns) => {
    const rows = { pair: [], flow: [] };
    const add = (name, value) => (rows[name] = rows[name] || []).push(value);
    for (let at = 0; at < 2000; at += 1) {
      add('pair', 1e6 + (at >> 1));
      add('flow', at % 2 ? 'tcp' : 'udp');
      add('sent', 100);
      add('lost', at % 97 ? 0 : 7);
      for (const way of ['forward', 'reverse']) add(`lost_${way}`, at % 97 || way === 'forward' ? 0 : 7);
      for (const what of ['rtt', 'forward', 'reverse']) {
        for (const figure of ['p50', 'p99', 'max']) add(`${what}_${figure}_ns`, 1e5 + at);
        add(`${what}_heat`, [12, 90, 13, 10]);
      }
    }
    return { end_ns, new: fresh, gone: [], rows, clocks: { pair: [] }, host: model.host };
  };
  take('update', interval(fresh, model.endNs + 1));
  const began = performance.now();
  takeUpdate(interval([], model.endNs + 1));
  view.isDirty = true;
  draw();
  return performance.now() - began;
})()"""


def run(lab):
    check_scripts()
    near, router, far = path(lab)
    other = lab.namespace("other")
    lab.link(near, other, ["203.0.113.1/24"], [f"{OTHER}/24"], device="lm2")
    metrics = {"mode": "windows", "send_interval": 10}
    lab.ours("far", {"name": "far", "metrics": metrics}, namespace=far)
    lab.ours("other", {"name": "other", "metrics": metrics}, namespace=other)
    token = lab.folder / "token"
    token.write_text(TOKEN)
    # A stop of the host that is shorter is no loss.
    common = {"interval": 2, "type": "udp", "timeout": 5}
    targets = [
        {"host": FAR, "label": "far", "tags": ["site:fra1", "isp:x"], **common},
        {"host": OTHER, "label": "other", **common},
        {"host": OTHER, "label": HOSTILE, "tags": ["<script>document.title='broken'</script>"], **common},
    ]
    http = {"listen": f"127.0.0.1:{PORT}", "interval": 1, "token_file": str(token)}
    dumps = lab.folder / "dumps"
    settings = {"name": "near", "metrics": metrics, "http": http, "burst": {"dump_dir": str(dumps)}, "targets": targets}
    daemon = lab.ours("near", settings, namespace=near)
    browser = Browser(lab, near)
    browser.theme("dark")
    browser.open(f"http://127.0.0.1:{PORT}/")
    give_token(browser)
    wait_until(lambda: browser.evaluate("model.updates") >= QUIET_INTERVALS, "the page to know what is usual")
    check_text(browser)
    key = browser.evaluate("[...model.rows.values()].find((row) => row.pair.target === 'far').key")
    browser.evaluate(f"select('{key}')")
    wait_until(lambda: browser.evaluate("!!view.past"), "the past of far")
    check_one_way(browser, key)
    quiet = browser.evaluate("document.querySelectorAll('#events [data-event=burst][data-direction=reverse]').length")
    blast(lab, near)
    check_burst(lab, browser, daemon, key)
    check_loss(lab, browser, key, near, far)
    look(lab, browser)
    check_quiet(lab, browser, quiet)
    check_thousand(lab, browser)
    check_manners(browser)
    code, _ = daemon.end()
    expect(code == 0, f"it ended with {code}: {daemon.log()[-500:]}")
    wait_until(lambda: browser.evaluate("byId('status').dataset.state") == "lost", "the page to say so")
    check_report(lab, browser, daemon)


def check_report(lab, browser, daemon):
    """The dump of the highest burst that was planted, and all that the daemon printed."""
    event, file = highest_of(lab, daemon)
    page = lab.folder / "report.html"
    command(str(lab.binary), "report", str(file), str(daemon.out_path), "-o", str(page))
    report_page.check(lab, browser, page, event["peak"] / 1e6)


def check_scripts():
    """Each part of the script is right by itself, as far as a parser knows."""
    if not shutil.which("node"):
        return
    for script in sorted((ROOT / "src" / "serve" / "page").glob("*.js")):
        command("node", "--check", str(script))


def give_token(browser):
    """Gives a wrong token first: the page asks again."""
    for token in ("wrong", TOKEN):
        asks = "!!document.querySelector('#token-dialog[open]')"
        wait_until(lambda: browser.evaluate(asks), "the page to ask for the token")
        browser.evaluate(f"byId('token').value = '{token}'; byId('token-form').querySelector('button').click()")
    wait_until(lambda: browser.evaluate("model.rows.size > 0"), "the targets")


def check_one_way(browser, key):
    """Both directions have a delay of their own, with the bound on the clocks. Both namespaces have one clock."""
    ways = browser.evaluate(f"['forward', 'reverse'].map((what) => oneWay(model.rows.get('{key}'), what))")
    now = browser.evaluate(f"model.rows.get('{key}').now")
    for what, (p50, note) in zip(("forward", "reverse"), ways):
        expect(note.startswith("± ") and p50 != "–", f"{what}: {p50} {note}")
        # The same clock at both ends: what they have is the truth, and never below zero.
        expect(0 <= now[f"{what}_least_ns"] < now["rtt_max_ns"], f"{what}: {now}")
    shown = browser.evaluate("[...document.querySelectorAll('#figures dt')].map((one) => one.textContent)")
    expect({"Forward → one way, p50", "Reverse ← one way, p50"} <= set(shown), f"the figures are {shown}")


def check_text(browser):
    """A stranger's name is text: nothing of it is an element, and what nobody would see is written out."""
    expect(browser.evaluate("document.title") == "latency-monitor", "a name has run a script")
    expect(browser.evaluate("document.images.length") == 0, "a name has made an element")
    names = browser.evaluate("[...document.querySelectorAll('#list .name')].map((one) => one.textContent)")
    (name,) = (one for one in names if one.startswith("<img"))
    for seen in ("onerror=", "<b>&amp;", "\\u{202e}right\\u{2069}", "é"):
        expect(seen in name, f"{seen!r} is not in {name!r}")
    controls = browser.evaluate("shown('a\\u0007\\u001b[2J\\u0085b')")
    expect(controls == "a\\u{7}\\u{1b}[2J\\u{85}b", f"control characters are shown as {controls!r}")
    whole = browser.evaluate("[...model.pairs.values()].map((pair) => pair.target)")
    expect(HOSTILE in whole, f"the name is not whole: {whole}")
    tags = browser.evaluate("[...document.querySelectorAll('#list .tags')].map((one) => one.textContent)")
    expect("<script>document.title='broken'</script>" in tags, f"no such tag: {tags}")


def blast(lab, near):
    """Fills the router's queue toward far a few times."""
    code = BLAST.format(packets=BURST_PACKETS, size=PACKET_BYTES, far=FAR)
    out = lab.folder / "blast.out"
    with open(out, "wb") as file:
        words = ["ip", "netns", "exec", near, sys.executable, "-c", code]
        sender = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, text=True)
    lab.cleanup.callback(sender.kill)
    times = random.Random("page")
    for number in range(PLANTED):
        sender.stdin.write("\n")
        sender.stdin.flush()
        wait_until(lambda n=number: out.read_text().count("sent") > n, "a burst to be sent")
        pause(times.uniform(0.4, 0.8))
    sender.stdin.close()


def check_burst(lab, browser, daemon, key):
    """The burst is a mark on the forward heatmap, its cell is out of the ordinary, and its event says what it is."""
    marked = "document.getElementById('plot-{}').dataset"
    bursts = marked.format("forward") + ".bursts"
    wait_until(lambda: int(browser.evaluate(bursts) or 0) > 0, "a burst on the forward heatmap")
    level = f"levelOf(model.rows.get('{key}'), 'delay-forward')"
    expect(browser.evaluate(level) >= 2, "the forward delay is as usual")
    # The interval of the burst may not be over yet.
    peak = lambda what: float(browser.evaluate(marked.format(what) + ".peak") or 0) / 1e6
    wait_until(lambda: peak("forward") >= PLANTED_MS_LEAST, "the burst's peak")
    cell = f"document.querySelector('#list [data-key=\"{key}\"] [data-what=delay-forward]').dataset.level"
    wait_until(lambda: browser.evaluate(cell) in ("2", "3"), "the cell to have its colour")
    heat = f"view.past.forward_heat.filter(Boolean).map((heat) => model.edges[heat[heat.length - 2]] / 1e6)"
    bins = browser.evaluate(heat)
    expect(max(bins) * 1.5 >= PLANTED_MS_LEAST, f"no bin so high: {bins}")
    first = "document.querySelector('#events [data-event=burst][data-direction=forward]')"
    browser.evaluate(f"{first}.click()")
    said = browser.evaluate("byId('event').textContent")
    for word in ("burst", "suspect", "evidence", "kept waiting", "forward"):
        expect(word in said, f"{word!r} is not in what the page says of the burst: {said}")
    check_dump(lab, browser, highest_of(lab, daemon))
    browser.picture(lab.folder / "burst-dark.png")
    browser.press("Escape")
    expect(browser.evaluate("byId('event').hidden"), "Escape does not close what is said of an event")
    lab.note(f"burst: forward {peak('forward'):.1f} ms, reverse {peak('reverse'):.1f} ms")


def highest_of(lab, daemon):
    """Returns the dump of the highest burst toward far, once each that was told of has one."""

    def dumps():
        files = (lab.folder / "dumps").glob("lm-burst-*-forward-far.jsonl")
        found = [(json.loads(file.read_text().partition("\n")[0])["event"], file) for file in files]
        # Three losses in a row are an outage, which has a dump as well.
        return [(event, file) for event, file in found if event["event"] == "burst"]

    told = lambda: [
        line for line in daemon.out_path.read_text().splitlines()
        if line.startswith('{"event": "burst"') and '"direction": "forward"' in line and '"target:far"' in line
    ]
    high = lambda: [event for event, _ in dumps() if event["peak"] >= PLANTED_MS_LEAST * 1e6]
    wait_until(lambda: len(dumps()) == len(told()) and len(high()) >= BLASTS, "the dumps of the bursts")
    return max(dumps(), key=lambda one: one[0]["peak"])


def check_dump(lab, browser, highest):
    """An event leads to the report of its dump. The page has a token, which no link carries, so it saves the report."""
    event, file = highest
    browser.save_to(lab.folder)
    at = f"model.events.findIndex(({{ event }}) => event.event === 'burst' && event.start === {event['start']} && event.direction === 'forward')"
    # Whole numbers of a script are exact up to 2^53, and nanoseconds since 1970 are more.
    browser.evaluate(f"openEvent(model.events[{at}])")
    link = "document.querySelector('#dump a')"
    wait_until(lambda: browser.evaluate(f"!!{link}"), "the link of the dump's report")
    expect(browser.evaluate(f"{link}.getAttribute('href')").endswith(f"?dump={file.name}"), "the link is of another dump")
    browser.evaluate(f"{link}.click()")
    saved = lab.folder / f"{file.name}.html"
    wait_until(lambda: saved.exists() and saved.read_text().endswith("</html>\n"), "the report to be saved")
    page = saved.read_text()
    for words in ("<h2>Burst on UDP</h2>", "source:near target:far site:fra1 isp:x", "Delay of each probe"):
        expect(words in page, f"{words!r} is not in the report that the page saved")
    wanted = "'/api/v1/report?dump=..%2Fnear.toml'"
    expect(browser.evaluate(f"ask({wanted}).then((answer) => answer.status)") == 404, "a file that is no dump is answered")


def check_loss(lab, browser, key, near, far):
    """What is dropped in a direction is what the page counts in that direction."""
    for direction, namespace, packets in (("forward", far, "udp dport"), ("reverse", near, "udp sport")):
        counted = "['forward', 'reverse'].map((what) => Number(byId(`plot-${what}`).dataset.lost))"
        before = browser.evaluate(counted)
        dropper = Dropper(namespace)
        address = "daddr" if direction == "forward" else "saddr"
        dropper.begin(f"ip {address} {FAR} {packets} {UDP_PORT}")
        pause(0.3)
        dropped = dropper.end()
        expect(dropped > 0, f"{direction}: nothing was dropped")
        wanted = [before[0] + dropped, before[1]] if direction == "forward" else [before[0], before[1] + dropped]
        wait_until(lambda w=wanted: browser.evaluate(counted) == w, f"{direction}: {wanted} lost")
        level = f"document.querySelector('#list [data-key=\"{key}\"] [data-what=loss-{direction}]').dataset.level"
        wait_until(lambda e=level: browser.evaluate(e) in ("2", "3"), f"the cell of {direction} to have its colour")
        lab.note(f"loss {direction}: {dropped}")


def look(lab, browser):
    """Takes pictures of both themes, of a small and a large screen."""
    browser.picture(lab.folder / "dark.png")
    browser.theme("light")
    wait_until(lambda: browser.evaluate("document.documentElement.dataset.theme") == "light", "the light theme")
    browser.evaluate("byId('view-fromto').click()")
    pause(0.3)
    browser.picture(lab.folder / "light.png")
    browser.look(1000, 1400)
    pause(0.3)
    browser.picture(lab.folder / "small.png")
    browser.press("ArrowDown")
    selected = "document.querySelector('#list [aria-selected=true]').dataset.key"
    wait_until(lambda: browser.evaluate(f"!!{selected}"), "another target")


def check_quiet(lab, browser, quiet):
    """Nothing is lost where nothing was dropped."""
    sums = "[row.pair.target, row.past.lost.reduce((a, b) => a + (b || 0), 0)]"
    lost = f"[...model.rows.values()].filter((row) => row.pair.isOwn).map((row) => {sums})"
    for target, sum_lost in browser.evaluate(lost):
        expect((sum_lost > 0) == (target == "far"), f"{target!r} has lost {sum_lost}")
    lab.note(f"{quiet} bursts in reverse before")


def check_thousand(lab, browser):
    """A thousand targets more: each has a tile, and only the lines that are to be seen are elements."""
    took = browser.evaluate(THOUSAND)
    rows, lines, elements = browser.evaluate(
        "[model.rows.size, view.rows.length, document.querySelectorAll('#list .row').length]"
    )
    expect(rows > 2_000 and lines >= 2_000, f"{rows} rows, of which {lines} are listed")
    expect(elements < 100, f"{elements} lines are elements")
    browser.look(2560, 1440)
    browser.theme("dark")
    pause(0.3)
    browser.picture(lab.folder / "wall.png")
    lab.note(f"{lines} rows: {took:.0f} ms for an update with its drawing")


def check_manners(browser):
    """It asks its daemon alone, and complains only of what was meant: tokens that are refused, and no dump."""
    own = f"http://127.0.0.1:{PORT}/"
    others = [url for url in browser.requests if not url.startswith((own, f"blob:{own}", "data:", "about:"))]
    expect(not others, f"it asks others: {others}")
    said = lambda number: [one for one in browser.complaints if isinstance(one, dict) if number in str(one.get("text", ""))]
    refused, missed = said("401"), said("404")
    rest = [one for one in browser.complaints if one not in refused + missed]
    expect(len(refused) == 2, f"not the two tries without the right token: {refused}")
    expect(len(missed) == 1, f"not the one try to get what is no dump: {missed}")
    expect(not rest, f"it complains: {rest}")
