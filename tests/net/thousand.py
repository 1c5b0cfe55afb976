"""What it costs to watch 1,000 targets, each probed over UDP and TCP and by connects every second: the page in Chromium,
and `top` in a terminal of 250 x 80.

The page's stream is read beside it, byte by byte. What an update holds the browser up is measured in the page itself;
Chromium draws with the processor here, so pixels are no part of it.
"""

import pathlib
import socket
import threading
import time

from browser import Browser
from lab import TICKS_PER_S, expect, pause, wait_until
from top import Tmux

PORT, HTTP = 18920, 18923
TARGETS = 1_000
MEASURED_S = 10
STREAM_BYTES_PER_S_MAX = 1_000_000
TOP_SHARE_MAX = 0.05

# Keeps how long each update takes, with the drawing that follows it.
WATCH = """(() => {
  window.took = [];
  const update = takeUpdate;
  takeUpdate = (found) => {
    const began = performance.now();
    const known = update(found);
    view.isDirty = true;
    draw();
    window.took.push(performance.now() - began);
    return known;
  };
  return true;
})()"""


def run(lab):
    target = {"host": "127.0.0.1", "udp_port": PORT, "tcp_port": PORT, "interval": 1_000}
    settings = {
        "name": "near",
        "udp_port": PORT,
        "tcp_port": PORT,
        "metrics": {"mode": "windows"},
        "http": {"listen": f"127.0.0.1:{HTTP}", "interval": 1},
        "targets": [{**target, "label": f"edge{number:04}"} for number in range(TARGETS)],
    }
    daemon = lab.ours("near", settings)
    browser = Browser(lab)
    browser.theme("dark")
    browser.open(f"http://127.0.0.1:{HTTP}/", width=2560, height=1440)
    full = f"typeof model === 'object' && [...model.rows.values()].filter((row) => row.now && row.now.rtt_p50_ns).length >= {2 * TARGETS}"
    wait_until(lambda: browser.evaluate(full), "the figures of every flow")
    with_page = share(daemon.pid)
    stream = Stream()
    browser.evaluate(WATCH)
    began = time.monotonic()
    pause(MEASURED_S)
    rate = stream.end() / (time.monotonic() - began)
    took = sorted(browser.evaluate("window.took"))
    browser.picture(lab.folder / "page.png")
    lab.note(f"page: {rate / 1e3:.0f} kB/s; an update with its drawing: median {took[len(took) // 2]:.0f} ms, at most {took[-1]:.0f}")
    expect(len(took) >= MEASURED_S // 2, f"{len(took)} updates in {MEASURED_S} s")
    expect(rate < STREAM_BYTES_PER_S_MAX, f"the page gets {rate:.0f} bytes a second")
    browser.end()
    alone = share(daemon.pid)
    top, with_top = top_share(lab, daemon)
    lab.note(f"the daemon: {alone:.1%} of a processor, {with_page:.1%} with the page, {with_top:.1%} with top; top: {top:.2%}")
    expect(0 < top < TOP_SHARE_MAX, f"top takes {top:.1%} of a processor")


class Stream:
    """Reads `/api/v1/live` in a thread of its own, and counts what comes after the first whole state."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", HTTP))
        self.socket.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: near\r\n\r\n")
        self.count, self.began = 0, threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        expect(self.began.wait(30), "the stream does not begin")
        # The state before the first update is sent at once; an update each second follows.
        pause(0.5)
        self.before = self.count

    def read(self):
        while data := self.socket.recv(1 << 20):
            self.count += len(data)
            self.began.set()

    def end(self):
        read = self.count - self.before
        self.socket.shutdown(socket.SHUT_RDWR)
        return read


def share(pid):
    """Returns the share of a processor that a process takes."""
    began, before = time.monotonic(), process_cpu_s(pid)
    pause(MEASURED_S)
    return (process_cpu_s(pid) - before) / (time.monotonic() - began)


def process_cpu_s(pid):
    """Returns the processor time of a process, whatever session it is in."""
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(word) for word in words[11:13]) / TICKS_PER_S


def top_share(lab, daemon):
    terminal = Tmux(lab, "terminal", (250, 80))
    terminal.type(f"{lab.binary} top http://127.0.0.1:{HTTP}")
    terminal.see("edge0")
    before = process_cpu_s(daemon.pid)
    own = share(terminal.pid(lab.binary.name))
    with_top = (process_cpu_s(daemon.pid) - before) / MEASURED_S
    (lab.folder / "top.txt").write_text(terminal.screen())
    terminal.keys("q")
    terminal.see("ready$")
    return own, with_top
