"""Ours beside others that measure round trips: a UDP probe a millisecond, on one link between two namespaces, one
program after another and in several rounds, captures at both ends of the link. Runs only when it is
named; `peers_smoke` is a short turn of it.

Writes docs/peers.md, docs/peers.svg and the table in README.md. LM_SECONDS is how long each program is measured
in each round (10), LM_ROUNDS how many rounds there are (3), LM_SPIN_US how long ours spins where it does. A program
that is not there or fails has a row that says so.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import lead
import programs
import truth
from capture import Capture, end_captures
from lab import ROOT, VENV, Failed, cpu_s, expect, pause, processes, wait_until
from lab import run as command
from truth import FAR, NEAR, microseconds, percentile, row

SECONDS = float(os.environ.get("LM_SECONDS", "10"))
ROUNDS = int(os.environ.get("LM_ROUNDS", "3"))
# A program's start is not measured, and it goes on for a while behind what is.
WARM_UP_S, MARGIN_S = 1, 2
# So many packets, and not just a greeting, say that it has begun.
UNDER_WAY = 100
PERCENTS = (50, 99, 99.9)
DOC, PLOT, README = ROOT / "docs" / "peers.md", ROOT / "docs" / "peers.svg", ROOT / "README.md"
BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"

TRIPS = {"rtt": "network", "whole": "network and reflector"}
ITS_TRIP, BEYOND = "its round trip is", "from the network's p50"


class Measured(NamedTuple):
    """One program in one round. Times in ns, memory in MiB, by percentile or by end."""

    asked: int
    completed: int
    link: list
    reported: list
    off: list  # Each probe's error, absolute.
    beyond: list  # How far each report is from the network's round trip, absolute.
    cpu_us: list  # The client's and the server's, for each completed probe.
    memory: list
    shared: bool  # Whether an end is several processes.


def link(lab):
    near, far = lab.namespace("near"), lab.namespace("far")
    lab.link(near, far, [f"{NEAR}/24"], [f"{FAR}/24"])
    return near, far


def leads(lab, near, far):
    """The medians of what the captures run ahead of the driver, in ns."""
    captures = [Capture(lab, f"ahead-{end}", space) for end, space in (("near", near), ("far", far))]
    # As often as probes, about: a processor that has slept longer is slower.
    stamps = truth.lead_stamps(lab, "ahead", {"near": near, "far": far}, seconds=3, period_ms=2)
    end_captures(captures, near, FAR)
    sources = zip(captures, (NEAR, FAR), stamps.values())
    return [percentile(lead.leads(capture.path, source, found), 50) for capture, source, found in sources]


def resident_mib(daemon):
    """The most that an end has had resident so far, and whether it is several processes: these share pages,
    so their proportional sizes now are added up instead."""
    found = list(processes(daemon.pid))
    if len(found) == 1:
        return daemon.status("VmHWM") / 1024, False
    kib = 0
    for entry in found:
        lines = (entry / "smaps_rollup").read_text().splitlines()
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024, True


def packets_sent(namespace):
    """How many packets a namespace's end of the link has sent so far."""
    (device,) = json.loads(command("ip", "-n", namespace, "-j", "-s", "link", "show", "lm0"))
    return device["stats64"]["tx"]["packets"]


def wait_for_probes(client, namespace, idle):
    """Waits for a client to probe, on a link that had sent `idle` packets before."""

    def probes():
        client.expect_alive()
        return packets_sent(namespace) >= idle + UNDER_WAY

    wait_until(probes, f"{client.label} to probe")


def measure(lab, program, label, near, far, seconds):
    """Lets a program measure for so many seconds, and compares."""
    program.version()
    captures = [Capture(lab, f"{label}-{end}", space) for end, space in (("near", near), ("far", far))]
    running = program(lab, label, near, far, WARM_UP_S + seconds + MARGIN_S)
    try:
        idle = packets_sent(near)
        running.start()
        # Some take seconds to begin: sockperf finds out first how fast its clock is.
        wait_for_probes(running.client, near, idle)
        ends = (running.client, running.server)
        pause(WARM_UP_S)
        before, began = [cpu_s([end]) for end in ends], time.time_ns()
        pause(seconds)
        after, ended = [cpu_s([end]) for end in ends], time.time_ns()
        for end in ends:
            end.expect_alive()
        memory = [resident_mib(end) for end in ends]
        # What is behind the time measured shows that it probed to the end of it.
        wait_for_probes(running.client, near, packets_sent(near))
        running.finish()
    finally:
        for end in (running.client, running.server):
            if end:
                end.kill()
        end_captures(captures, near, FAR)
    found = running.exchanges([capture.path for capture in captures])
    reported = running.reported(found)
    outs = [one.request_out for one in found.values() if one.request_out is not None]
    expect(outs and min(outs) < began and ended < max(outs), "it did not probe for all of the time")
    strangers = set(reported) - set(found)
    expect(not strangers, f"not on the link: probes {sorted(strangers)[:5]}")
    answered = {
        number: one
        for number, one in found.items()
        if one.complete() and not one.again and began <= one.request_out < ended
    }
    done = sorted(answered.keys() & reported.keys())
    expect(done, f"{len(answered)} round trips on the link, {len(reported)} reported, none of them the same")
    trips = {number: getattr(answered[number], program.trip)() for number in done}
    return Measured(
        asked=round((ended - began) / 1e6 / programs.INTERVAL_MS),
        completed=len(done),
        link=list(trips.values()),
        reported=[reported[number] for number in done],
        off=[abs(reported[number] - trips[number]) for number in done],
        beyond=[abs(reported[number] - answered[number].rtt()) for number in done],
        cpu_us=[(late - early) * 1e6 / len(done) for early, late in zip(before, after)],
        memory=[mib for mib, _ in memory],
        shared=any(several for _, several in memory),
    )


class Row(NamedTuple):
    """A program's figures, the medians of its rounds; or why there are none."""

    program: type
    name: str
    completed: str = ""
    link: tuple = ()
    reported: tuple = ()
    off: tuple = ()
    beyond: tuple = ()
    cpu_us: tuple = ()
    memory: tuple = ()
    why: str = ""


def median(rounds, figure):
    return statistics.median(figure(one) for one in rounds)


def summed_up(program, rounds, failures):
    try:
        name = f"{program.name}, {program.version()}"
    except Failed:
        name = program.name
    if not rounds:
        return Row(program, name, why=failures[-1])
    at = lambda column: tuple(
        microseconds(median(rounds, lambda one: percentile(getattr(one, column), percent))) for percent in PERCENTS
    )
    share = median(rounds, lambda one: one.completed / one.asked)
    cpu = tuple(f"{median(rounds, lambda one: one.cpu_us[end]):.0f}" for end in (0, 1))
    memory = tuple(f"{median(rounds, lambda one: one.memory[end]):.1f}" for end in (0, 1))
    several = " (several processes)" if any(one.shared for one in rounds) else ""
    why = f"{len(failures)} of {len(failures) + len(rounds)} rounds failed: {failures[-1]}" if failures else ""
    columns = [at(column) for column in ("link", "reported", "off", "beyond")]
    return Row(program, name + several, f"{share:.1%}", *columns, cpu, memory, why)


def table(head, rows, cells):
    """A Markdown table; a program without figures has a row that says why."""
    lines = [row(*head), "| --- " * len(head) + "|"]
    for one in rows:
        if one.completed:
            lines.append(row(one.name, *cells(one)))
        else:
            lines.append(row(one.name, f"no figures: {one.why}".replace("|", "/"), *[""] * (len(head) - 2)))
    return lines


def three(name):
    return [f"{name} p50", "p99", "p99.9"]


def begin(one):
    return one.completed, TRIPS[one.program.trip]


def accuracy(rows):
    head = ["program", "completed", ITS_TRIP, *three("on the link"), *three("reported"), *three("error"), BEYOND]
    cells = lambda one: (*begin(one), *one.link, *one.reported, *one.off, one.beyond[0])
    return table(head, rows, cells)


def cost(rows):
    head = ["program", "CPU a probe, client", "server", "both", "resident, client", "server"]
    return table(head, rows, lambda one: (*one.cpu_us, sum(map(int, one.cpu_us)), *one.memory))


def short(rows):
    head = ["program", "completed", ITS_TRIP, *three("error"), BEYOND, "CPU a probe, both ends", "resident, both ends"]
    cells = lambda one: (*begin(one), *one.off, one.beyond[0], sum(map(int, one.cpu_us)), " + ".join(one.memory))
    return table(head, rows, cells)


def settings(rows):
    head = ["program", "settings at 1 ms", "what it does not measure, and what limits it"]
    lines = [row(*head), "| --- " * len(head) + "|"]
    return lines + [row(one.program.name, one.program.settings, one.program.lacks) for one in rows]


def circumstances(load):
    """When, where and how this was measured."""
    command = f"LM_SECONDS={SECONDS:g} LM_ROUNDS={ROUNDS} make bench-peers"
    when = time.strftime("%Y-%m-%d", time.gmtime())
    host = f"{len(os.sched_getaffinity(0))} processors, kernel {platform.release().split('-')[0]}"
    return f"`sudo {command}`, {when}, {host}, load average {load:.1f} before it"


def rewrite(path, lines):
    """Puts lines between the marks of a document."""
    text = path.read_text()
    expect(text.count(BEGIN) == text.count(END) == 1, f"{path} has no place for the table")
    before, rest = text.split(BEGIN)
    path.write_text("\n".join([before + BEGIN, *lines, END + rest.split(END)[1]]))


def plot(lab, results):
    """Draws the errors; gives why not, if it cannot."""
    measured = {program.name: rounds for program, rounds in results.items() if rounds}
    errors = {name: [off for one in rounds for off in one.off] for name, rounds in measured.items()}
    path = lab.folder / "errors.json"
    path.write_text(json.dumps(errors))
    drawer = ROOT / "tests" / "net" / "peers_plot.py"
    words = [VENV / "bin" / "python", "-B", drawer, path, PLOT]
    done = subprocess.run(words, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"not drawn: {done.stderr.strip().splitlines()[-1]}"


def take_turns(lab, wanted, near, far, rounds, seconds):
    """Measures programs in turns, each round beginning with another; gives results and failures by program."""
    results, failures = {one: [] for one in wanted}, {one: [] for one in wanted}
    for number in range(rounds):
        begin = number % len(wanted)
        for program in wanted[begin:] + wanted[:begin]:
            try:
                measured = measure(lab, program, f"{program.key}-{number}", near, far, seconds)
                results[program].append(measured)
                error = microseconds(percentile(measured.off, 50))
                said = f"{measured.completed} of {measured.asked}, error p50 {error} us"
            except Exception as failure:  # Whatever it does: it has a row, and the others have theirs.
                why = str(failure) if isinstance(failure, Failed) else repr(failure)
                failures[program].append(re.sub(r"\s+", " ", why))
                said = f"failed: {why}"
            print(f"  round {number + 1} of {rounds}, {program.name}: {said}", flush=True)
    return results, failures


def run(lab):
    load = os.getloadavg()[0]
    near, far = link(lab)
    ahead = leads(lab, near, far)
    results, failures = take_turns(lab, list(programs.PROGRAMS), near, far, ROUNDS, SECONDS)
    rows = [summed_up(one, results[one], failures[one]) for one in programs.PROGRAMS]
    not_drawn = plot(lab, results)
    how = circumstances(load)
    lead_us = " and ".join(microseconds(ns) for ns in ahead)
    notes = [
        f"Times in us, memory in MiB; medians of {ROUNDS} round{'s' * (ROUNDS > 1)} of {SECONDS:g} s: {how}. "
        f"The captures run {lead_us} us ahead of the driver at the prober and the reflector: that is in every error.",
        *(f"{one.name}: {one.why}." for one in rows if one.why and one.completed),
        *([f"The plot is {not_drawn}."] if not_drawn else []),
    ]
    rewrite(README, ["", *short(rows), "", *notes, ""])
    tables = ["", *accuracy(rows), "", *cost(rows), "", *notes, "", "## Settings", "", *settings(rows), ""]
    rewrite(DOC, tables)
    print("\n".join(["", *short(rows), "", *notes]), flush=True)
    lab.note(f"{sum(bool(one.completed) for one in rows)} of {len(rows)} programs have figures")
    expect(results[programs.Ours], f"ours: {failures[programs.Ours]}")
