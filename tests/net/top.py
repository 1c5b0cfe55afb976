"""The terminal view in tmux: two sizes, a planted burst, resizing, quitting, a daemon that dies under it and comes
back, no colours, and a terminal that is as before after a signal.

The namespaces are those of the lab `burst`: near - router - far, with a narrow link from the router to far. Its queue is
filled at once, and the probes wait in it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

from burst import BLAST, BURST_PACKETS, FAR, PACKET_BYTES, QUIET_S, path
from lab import Failed, expect, pause, run as command, wait_until

PORT, HTTP = 18900, "127.0.0.1:18903"
# A burst is planted again if it is not shown within so long.
BLAST_S, BLASTS_MAX = 3, 8


class Tmux:
    """A terminal of our own, on a server of our own."""

    def __init__(self, lab, name, size, namespace=None):
        self.lab, self.name, self.namespace = lab, name, namespace
        self.socket = lab.folder / f"{name}.tmux"
        width, height = size
        shell = "env -i PATH=/usr/bin:/bin TERM=screen-256color LANG=C.UTF-8 PS1='ready$ ' sh"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), shell)
        lab.cleanup.callback(self.tmux, "kill-server")
        self.see("ready$")

    def tmux(self, *arguments):
        prefix = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return command(*prefix, "tmux", "-u", "-S", str(self.socket), *arguments)

    def screen(self, *flags):
        return self.tmux("capture-pane", "-p", *flags)

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, line):
        self.keys("-l", line)
        self.keys("Enter")

    def see(self, text, what=None):
        """Waits until the screen has a text, or one that a pattern finds."""
        try:
            wait_until(lambda: self.has(text), f"{self.name} to show {what or text!r}")
        except Failed as failure:
            raise Failed(f"{failure}:\n{self.screen()}") from None
        return self.screen()

    def has(self, text):
        screen = self.screen()
        return re.search(text, screen) if isinstance(text, re.Pattern) else text in screen

    def pid(self, program):
        """Returns the process of the program that runs in this terminal."""
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        children = command("ps", "-o", "pid=,comm=", "--ppid", shell).split("\n")
        found = [line.split()[0] for line in children if program[:15] in line]
        expect(len(found) == 1, f"{program} in the terminal: {children}")
        return int(found[0])


def settings(lab):
    target = {"host": FAR, "label": "far <b>", "interval": 1, "tcp_latency": False, "udp_port": PORT, "tcp_port": PORT}
    http = {"listen": HTTP, "socket": str(lab.folder / "lm.sock"), "interval": 1}
    common = {"udp_port": PORT, "tcp_port": PORT, "metrics": {"mode": "windows"}}
    return {"name": "near", **common, "http": http, "targets": [target]}


def start(lab, label, near):
    return lab.ours(label, settings(lab), namespace=near)


def run(lab):
    near, _, far = path(lab)
    lab.ours("far", {"name": "far", "udp_port": PORT, "tcp_port": PORT}, namespace=far)
    daemon = start(lab, "near", near)
    program = shlex.quote(str(lab.binary))
    small = Tmux(lab, "small", (80, 24), near)
    small.type(f"{program} top unix:{lab.folder}/lm.sock")
    # The whole terminal is the program's, and the shell's line comes back with its end.
    screen = small.see(re.compile(r"far <b> +udp +0 +0 +0 +[\d.]+[µm]s"), "the target")
    expect("ready$" not in screen, f"the shell is still there:\n{screen}")
    large = Tmux(lab, "large", (250, 80), near)
    large.type(f"NO_COLOR=1 {program} top http://{HTTP}")
    screen = large.see(re.compile(r"> forward +p50 .*< reverse +p50 .*round trip +p50"), "heatmaps side by side")
    for name, terminal in (("small", small), ("large", large)):
        (lab.folder / f"{name}.txt").write_text(terminal.screen())
    check_burst(lab, near, [small, large])
    check_colours(small, large)
    check_keys(small)
    check_size(large)
    check_restart(lab, near, daemon, [small, large])
    check_end(lab, small, large)


def check_burst(lab, near, terminals):
    """Plants a burst, and looks how soon both show it."""
    # The daemon learns the base line and its noise meanwhile.
    pause(QUIET_S)
    code = BLAST.format(packets=BURST_PACKETS, size=PACKET_BYTES, far=FAR)
    shown = re.compile(r"\d burst > near → far <b>")
    # No probe meets a burst if the host has no processor just then.
    is_shown = False
    for _ in range(BLASTS_MAX):
        subprocess.run(["ip", "netns", "exec", near, sys.executable, "-c", code], input="\n", text=True, check=True)
        sent = time.monotonic()
        while time.monotonic() < sent + BLAST_S and not (is_shown := all(one.has(shown) for one in terminals)):
            pause(0.05)
        if is_shown:
            break
    for terminal in terminals:
        screen = terminal.see(shown, "a burst, forward")
        lab.note(f"{terminal.name}: burst after {time.monotonic() - sent:.2f} s")
        expect("▲" in screen or "▲" in terminal.see("▲"), f"no mark under the heatmap:\n{screen}")


def check_colours(small, large):
    # Foreground and background colours; what is bold or reversed is none.
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8])[;m]")
    expect(colour.search(small.screen("-e")), "no colours where there should be some")
    found = colour.search(large.screen("-e"))
    expect(not found, f"a colour with NO_COLOR: {found}")


def check_keys(terminal):
    terminal.keys("?")
    terminal.see("Ctrl-C     quit")
    terminal.keys("Escape")
    terminal.see("rtt99")
    terminal.keys("i")
    terminal.see("monitor.lateness")
    terminal.keys("i", "/")
    terminal.see("filter: _")
    terminal.keys("-l", "tcp")
    terminal.keys("Enter")
    terminal.see(re.compile(r"> ?far <b> +tcp"), "the TCP flow chosen")
    expect(not re.search(r"far <b> +udp +\d", terminal.screen()), "the filter leaves UDP in")
    terminal.keys("p")
    terminal.see("PAUSED")
    terminal.keys("p", "Escape")
    terminal.see(re.compile(r"far <b> +udp"), "all rows again")


def check_size(terminal):
    for width, height in ((40, 8), (120, 40), (250, 80)):
        terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
        terminal.see("too small" if width == 40 else re.compile(r"far <b> +udp"))


def check_restart(lab, near, daemon, terminals):
    daemon.kill()
    for terminal in terminals:
        terminal.see("LOST, trying again")
    # Its socket is left behind, as after every kill; it is taken over.
    start(lab, "again", near)
    for terminal in terminals:
        terminal.see(re.compile(r"\n host  late p99"), "the daemon's health again")


def check_end(lab, small, large):
    """A key ends one of them and a signal the other one; both leave the terminal as it was."""
    os.kill(large.pid(lab.binary.name), signal.SIGTERM)
    small.keys("q")
    for terminal in (small, large):
        screen = terminal.see("ready$")
        expect("rtt99" not in screen, f"the view is still there:\n{screen}")
        # A line that is typed is seen, and Ctrl-C is a signal again: the terminal is not raw.
        terminal.type("echo code $?")
        terminal.see("code 0")
        shown = terminal.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}").split()
        expect(shown == ["0", "1", "0"], f"alternate screen, cursor, mouse: {shown}")
