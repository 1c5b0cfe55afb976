"""What a daemon keeps of what it has measured, held against the lines that it printed: while it writes, after kill -9,
and after its orderly end; over HTTP, in the page and in the terminal view. A full disk and a damaged file are told, and
keep nothing from being measured.

Everything is on the loopback of one namespace. The daemon probes itself, and keeps intervals of a second.
"""

import itertools
import json
import re
import subprocess
import sys

from browser import Browser
from lab import GIVE_UP_S, expect, run as call, wait_until
from top import Tmux

PORT, HTTP = 19100, 19103
INTERVALS = 3
SMALL_KIB = 256
MAGIC = b"LMH\x01"
FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())"


def settings(folder, **extra):
    target = {"host": "127.0.0.1", "label": "me <b>", "interval": 10, "type": "udp", "udp_port": PORT}
    return {
        **{"name": "here", "udp_port": PORT, "tcp_port": PORT, "metrics": {"mode": "windows", "send_interval": 1}},
        **{"http": {"listen": f"127.0.0.1:{HTTP}", "interval": 1}, "history": {"dir": str(folder), "interval": 1}},
        **{"targets": [target], **extra},
    }


def run(lab):
    space = lab.namespace("history")
    folder = lab.folder / "history"
    first = lab.ours("first", settings(folder), namespace=space)
    wait_until(lambda: len(windows(first)) > INTERVALS and kept(lab, folder) > 0, "some intervals")
    while_it_runs = kept(lab, folder)
    printed(first, while_it_runs)
    first.kill()
    after_kill = kept(lab, folder)
    expect(after_kill >= while_it_runs, f"{after_kill} are left of {while_it_runs}")
    # The file may have an interval whose line the kill has cut off.
    is_printed = after_kill in sums(first) or after_kill > sums(first)[-1]
    expect(is_printed, f"{after_kill} round trips are kept, and {sums(first)} were printed")
    lab.note(f"{while_it_runs} round trips read while it ran, {after_kill} after kill -9")

    second = lab.ours("second", settings(folder), namespace=space)
    expect("damaged" not in second.log(), f"a kill is no damage: {second.log()}")
    wait_until(lambda: len(windows(second)) > INTERVALS and kept(lab, folder) > after_kill, "more intervals")
    printed(second, kept(lab, folder) - after_kill)
    past(space, after_kill, second)
    in_page(lab, space, after_kill)
    in_terminal(lab, space)
    code, _ = second.end()
    expect(code == 0, f"it ended with {code}: {second.log()[-500:]}")
    whole = kept(lab, folder)
    expect(whole == after_kill + sums(second)[-1], f"{whole} after an orderly end: {after_kill}, {sums(second)}")
    lab.note(f"{whole} after an orderly end, as printed")
    damaged(lab, folder, space)
    full(lab, space)


def windows(daemon):
    """The windows of round trips that a daemon has printed."""
    lines = daemon.out_path.read_text().splitlines()
    whole = (json.loads(line) for line in lines if line.startswith("{") and line.endswith("}"))
    return [record for record in whole if record.get("metric") == "udp.wan.rtt"]


def sums(daemon):
    """How many round trips there were after each interval."""
    return list(itertools.accumulate((window["count"] for window in windows(daemon)), initial=0))


def printed(daemon, count):
    """Waits until so many round trips were printed up to an interval's end: lines and files have a thread each."""
    wait_until(lambda: count in sums(daemon) or sums(daemon)[-1] > count, f"{count} round trips to be printed")
    expect(count in sums(daemon), f"{count} round trips are kept, and {sums(daemon)} were printed")


def report(lab, folder, *words, last="1h"):
    words = ["report", "--last", last, "--format", "text", *words, "--history", str(folder)]
    return subprocess.run([lab.binary, *words], capture_output=True, text=True)


def kept(lab, folder):
    """Returns how many round trips to the target are kept."""
    done = report(lab, folder, "--target", "me <b>")
    if done.returncode != 0:
        expect("nothing to report" in done.stderr, done.stderr)
        return 0
    found = re.findall(r"^udp\.wan\.rtt .*?  +(\d+) ", done.stdout, re.MULTILINE)
    expect(len(found) == 1, f"not one series of round trips: {done.stdout}")
    return int(found[0])


def ask(space, query):
    url = f"http://127.0.0.1:{HTTP}/api/v1/past?{query}"
    return json.loads(call("ip", "netns", "exec", space, sys.executable, "-c", FETCH, url))


def past(space, before, daemon):
    """What is kept is there over HTTP: of the target, and of all."""
    one = ask(space, "pair=0&flow=udp&last=3600&columns=2000")
    count = sum(number or 0 for number in one["rtt_count"])
    printed(daemon, count - before)
    expect(one["end_ns"] == sorted(one["end_ns"]) and len(one["rtt_heat"]) == len(one["end_ns"]), f"columns: {one}")
    heat = sum(sum(column[1::2]) for column in one["rtt_heat"] if column)
    expect(heat == count, f"the heatmap has {heat} of {count}")
    few = ask(space, "pair=0&flow=udp&last=3600&columns=1")
    expect(len(few["end_ns"]) <= 2 and sum(few["rtt_count"]) >= count, f"one column: {few}")
    # What this host answers itself has rows of its own.
    (row,) = (row for row in ask(space, "last=3600")["series"] if (row["pair"], row["flow"]) == (0, "udp"))
    expect(sum(number or 0 for number in row["sent"]) >= count, f"all: {row}")


def in_page(lab, space, before):
    browser = Browser(lab, space)
    browser.open(f"http://127.0.0.1:{HTTP}/")
    there = "typeof model !== 'undefined' && model.rows.size > 0"
    wait_until(lambda: browser.evaluate(there), "the page to have a row")
    browser.evaluate("select([...model.rows.keys()][0])")
    expect(browser.evaluate("byId('span-label').hidden") is False, "the page offers no past")
    browser.evaluate("nextSpan()")
    counted = "((view.past || {}).rtt_count || []).reduce((sum, one) => sum + (one || 0), 0)"
    is_shown = f"view.span === 3600 && {counted} > {before}"
    wait_until(lambda: browser.evaluate(is_shown), "the page to show what was before the kill")
    expect(browser.complaints == [], f"the browser complains: {browser.complaints}")


def in_terminal(lab, space):
    terminal = Tmux(lab, "view", (120, 36), space)
    terminal.type(f"{lab.binary} top 127.0.0.1:{HTTP}")
    terminal.see("me <b>")
    terminal.keys("t")
    terminal.see("last hour")
    # More than a column, which a look at what comes has not had yet.
    terminal.see(re.compile("[░▒▓█]"), "a heatmap of what is kept")
    terminal.keys("t", "t", "t")
    terminal.keys("q")
    terminal.see("ready$")


def damaged(lab, folder, space):
    """A damaged file is told and passed over, by the report and by the next run."""
    (*_, file) = sorted(folder.glob("fine-*"))
    data = bytearray(file.read_bytes())
    # The head of a frame. A run that begins reads every head, but of what is behind it only what it makes minutes of:
    # damage there is told if the minute was not over before, so by the clock.
    head = data.rindex(MAGIC)
    data[head : head + 200] = b"\xff" * len(data[head : head + 200])
    file.write_bytes(data)
    # Of an hour minutes are read where they are made, and nobody looks at this file then.
    done = report(lab, folder, last="30min")
    expect("damaged" in done.stdout and "left out" in done.stdout, f"nothing is told of it: {done.stdout[-500:]}")
    third = lab.ours("third", settings(folder), namespace=space)
    wait_until(lambda: windows(third), "it to measure")
    third.wait_for_log("passed over")
    busy = lab.ours("busy", settings(folder), namespace=space, wait=False)
    busy.process.wait(GIVE_UP_S)
    expect("in use by another process" in busy.log(), f"two write to one folder: {busy.log()}")
    third.kill()


def full(lab, space):
    """A full disk is told once, and nothing else stops. When there is room again, it goes on."""
    small = lab.in_memory("small", SMALL_KIB)
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * (SMALL_KIB - 16) * 1024)
    # An event is shorter than an interval, and may have room where that has none.
    config = settings(small / "history", path={"interval": 0, "on": []})
    daemon = lab.ours("full", config, namespace=space)
    daemon.wait_for_log("cannot write to")
    before = len(windows(daemon))
    wait_until(lambda: len(windows(daemon)) > before + 1, "it to measure on")
    expect(daemon.log().count("cannot write to") == 1, f"it is told once: {daemon.log()}")
    expect("No space left on device" in daemon.log(), daemon.log())
    ballast.unlink()
    daemon.wait_for_log("is written to again")
    code, _ = daemon.end()
    expect(code == 0, f"it ended with {code}: {daemon.log()[-500:]}")
    expect(0 < kept(lab, small / "history") < sums(daemon)[-1], "what found no room is missing, and no more")
