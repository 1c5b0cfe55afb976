"""Compares ours with other programs that measure round trips, at a probe a millisecond, on one link.

The comparison has two parts; LM_PARTS names those to run, both by default:

- `udp`: a UDP probe a millisecond by each program of `programs`, one after another and in several rounds, with captures at
  both ends of the link. Writes the tables in README.md and docs/peers.md, and docs/peers.svg.
- `kinds`: every kind of probe, by ours and the Python program. Writes its table in docs/peers.md.

LM_SECONDS is how long each program is measured in each round (10), LM_ROUNDS how many rounds there are (3), LM_SPIN_US how
long ours spins where it does. The lab runs only when it is named; `peers_smoke` is a short turn of it. A program that is
missing or fails has a row that gives the reason.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import textwrap
import time
from typing import NamedTuple

import lead
import peers_kinds
import programs
import truth
from capture import Capture, end_captures
from lab import FAR, NEAR, ROOT, VENV, Failed, cpu_s, expect, pause, processes, proportional_mib, wait_until
from lab import run as command
from truth import microseconds, percentile, row

SECONDS = float(os.environ.get("LM_SECONDS", "10"))
ROUNDS = int(os.environ.get("LM_ROUNDS", "3"))
# A program probes for so long before the measured time, and after it.
WARM_UP_S, MARGIN_S = 1, 2
# A client that has sent so many packets has sent more than a greeting.
UNDER_WAY = 100
PERCENTS = (50, 99, 99.9)
DOC, PLOT, README = ROOT / "docs" / "peers.md", ROOT / "docs" / "peers.svg", ROOT / "README.md"
# The lines of a part stand between two such marks.
MARK = "<!-- bench-peers {}: {} -->"
LINE_MAX = 118

TRIPS = {"rtt": "network", "whole": "network and reflector"}
TRIP, OFF_NETWORK = "round trip of", "off the network p50"


class Measured(NamedTuple):
    """One program in one round. Times in ns, memory in MiB, by percentile or by end."""

    asked: int
    completed: int
    link: list
    reported: list
    error: list  # Of each probe, absolute.
    beyond: list  # The distance of each report from the network's round trip, absolute.
    cpu_us: list  # The client's and the server's, for each completed probe.
    memory: list
    shared: bool  # Whether an end is several processes.


def leads(lab, near, far):
    """Measures how far the captures run ahead of the driver; returns the medians in ns."""
    captures = [Capture(lab, f"ahead-{end}", space) for end, space in (("near", near), ("far", far))]
    # About as often as probes: a processor that has slept longer is slower.
    stamps = truth.lead_stamps(lab, "ahead", {"near": near, "far": far}, seconds=3, period_ms=2)
    end_captures(captures, near, FAR)
    sources = zip(captures, (NEAR, FAR), stamps.values())
    return [percentile(lead.leads(capture.path, source, found), 50) for capture, source, found in sources]


def resident_mib(daemon):
    """Returns the most that an end has had resident so far, and whether it is several processes. Those share pages, so
    their proportional set size of this moment stands in its place."""
    if len(processes(daemon.pid)) == 1:
        return daemon.status("VmHWM") / 1024, False
    return proportional_mib(daemon), True


def packets_sent(namespace):
    """Counts the packets that a namespace's end of the link has sent."""
    (device,) = json.loads(command("ip", "-n", namespace, "-j", "-s", "link", "show", "lm0"))
    return device["stats64"]["tx"]["packets"]


def wait_for_probes(client, namespace, idle):
    """Waits for a client to probe, on a link that had sent `idle` packets before."""

    def probes():
        client.expect_alive()
        return packets_sent(namespace) >= idle + UNDER_WAY

    wait_until(probes, f"{client.label} to probe")


def measure(lab, program, label, near, far, seconds):
    """Lets a program measure for so many seconds, and compares its reports with the captures."""
    program.version()
    captures = [Capture(lab, f"{label}-{end}", space) for end, space in (("near", near), ("far", far))]
    running = program(lab, label, near, far, WARM_UP_S + seconds + MARGIN_S)
    try:
        idle = packets_sent(near)
        running.start()
        # Some take seconds to begin: sockperf calibrates its clock first.
        wait_for_probes(running.client, near, idle)
        ends = (running.client, running.server)
        pause(WARM_UP_S)
        before, began = [cpu_s([end]) for end in ends], time.time_ns()
        pause(seconds)
        after, ended = [cpu_s([end]) for end in ends], time.time_ns()
        for end in ends:
            end.expect_alive()
        memory = [resident_mib(end) for end in ends]
        # Packets after the measured time show that it probed to the end of that.
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
        error=[abs(reported[number] - trips[number]) for number in done],
        beyond=[abs(reported[number] - answered[number].rtt()) for number in done],
        cpu_us=[(late - early) * 1e6 / len(done) for early, late in zip(before, after)],
        memory=[mib for mib, _ in memory],
        shared=any(several for _, several in memory),
    )


class Row(NamedTuple):
    """The figures of a program: medians of its rounds, or the reason why there are none."""

    program: type
    name: str
    completed: str = ""
    link: tuple = ()
    reported: tuple = ()
    error: tuple = ()
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
    unit = " PSS" if any(one.shared for one in rounds) else ""
    memory = tuple(f"{median(rounds, lambda one: one.memory[end]):.1f}{unit}" for end in (0, 1))
    why = f"{len(failures)} of {len(failures) + len(rounds)} rounds failed: {failures[-1]}" if failures else ""
    columns = [at(column) for column in ("link", "reported", "error", "beyond")]
    return Row(program, name, f"{share:.1%}", *columns, cpu, memory, why)


def table(head, rows, cells):
    """Makes a Markdown table. A program without figures has dashes; the notes give the reason."""
    lines = [row(*head), "| --- " * len(head) + "|"]
    return lines + [row(one.name, *(cells(one) if one.completed else ["-"] * (len(head) - 1))) for one in rows]


def three(name):
    return [f"{name} p50", "p99", "p99.9"]


def trip(one):
    return TRIPS[one.program.trip]


def delays(rows):
    head = ["program", TRIP, *three("on the link"), *three("reported")]
    return table(head, rows, lambda one: (trip(one), *one.link, *one.reported))


def errors(rows):
    head = ["program", "completed", TRIP, *three("error"), OFF_NETWORK]
    return table(head, rows, lambda one: (one.completed, trip(one), *one.error, one.beyond[0]))


def cost(rows):
    head = ["program", "CPU us a probe, client", "server", "both", "resident MiB, client", "server"]
    return table(head, rows, lambda one: (*one.cpu_us, sum(map(int, one.cpu_us)), *one.memory))


def short(rows):
    """Makes README's table: each program once, as its own documentation starts it."""
    head = ["program", "completed", "error p50", "p99", OFF_NETWORK, "CPU a probe", "memory, both ends"]
    cells = lambda one: (one.completed, *one.error[:2], one.beyond[0], sum(map(int, one.cpu_us)), " + ".join(one.memory))
    return table(head, [one for one in rows if not one.program.variant], cells)


def wrapped(text, indent=""):
    return textwrap.wrap(text, LINE_MAX, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def settings(rows):
    """Makes a list of the settings of each program, and of its limits."""
    lines = []
    for one in rows:
        limits = "" if one.program.variant else one.program.lacks
        lines += wrapped(f"- **{one.program.name}**: {one.program.settings}. {limits}", "  ")
    return lines


def circumstances(load):
    """Says when, where and how this was measured."""
    words = f"LM_SECONDS={SECONDS:g} LM_ROUNDS={ROUNDS} make bench-peers"
    when = time.strftime("%Y-%m-%d", time.gmtime())
    host = f"{len(os.sched_getaffinity(0))} processors, kernel {platform.release().split('-')[0]}"
    return f"`sudo {words}`, {when}, {host}, load average {load:.1f} before it"


def rewrite(path, part, lines):
    """Puts lines between the marks that a document has for a part."""
    text = path.read_text()
    begin, end = (MARK.format(part, word) for word in ("begin", "end"))
    expect(text.count(begin) == text.count(end) == 1, f"{path} has no place for the part {part!r}")
    before, rest = text.split(begin)
    path.write_text("\n".join([before + begin, "", *lines, "", end + rest.split(end)[1]]))


def plot(lab, results):
    """Draws the errors; returns the reason if it cannot."""
    measured = {program.name: rounds for program, rounds in results.items() if rounds}
    path = lab.folder / "errors.json"
    path.write_text(json.dumps({name: [ns for one in rounds for ns in one.error] for name, rounds in measured.items()}))
    drawer = ROOT / "tests" / "net" / "peers_plot.py"
    words = [VENV / "bin" / "python", "-B", drawer, path, PLOT]
    done = subprocess.run(words, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"not drawn: {done.stderr.strip().splitlines()[-1]}"


def take_turns(lab, wanted, near, far, rounds, seconds):
    """Measures programs in turns. Each round begins with another one. Returns results and failures by program."""
    results, failures = {one: [] for one in wanted}, {one: [] for one in wanted}
    for number in range(rounds):
        begin = number % len(wanted)
        for program in wanted[begin:] + wanted[:begin]:
            try:
                measured = measure(lab, program, f"{program.key}-{number}", near, far, seconds)
                results[program].append(measured)
                error = microseconds(percentile(measured.error, 50))
                said = f"{measured.completed} of {measured.asked}, error p50 {error} us"
            except Exception as failure:  # The others go on, whatever it does.
                why = str(failure) if isinstance(failure, Failed) else repr(failure)
                failures[program].append(re.sub(r"\s+", " ", why))
                said = f"failed: {why}"
            print(f"  round {number + 1} of {rounds}, {program.name}: {said}", flush=True)
    return results, failures


def udp(lab, load):
    """Compares all programs, a UDP probe a millisecond each."""
    near, far = lab.ends()
    ahead = " and ".join(microseconds(ns) for ns in leads(lab, near, far))
    results, failures = take_turns(lab, list(programs.PROGRAMS), near, far, ROUNDS, SECONDS)
    rows = [summed_up(one, results[one], failures[one]) for one in programs.PROGRAMS]
    not_drawn = plot(lab, results)
    notes = [
        *(f"{one.name}: {one.why}." for one in rows if one.why),
        *([f"The plot is {not_drawn}."] if not_drawn else []),
    ]
    medians = f"medians of {ROUNDS} rounds of {SECONDS:g} s: {circumstances(load)}."
    lead_note = f"A capture's transmit stamp precedes the driver's by {ahead} us at the prober and the reflector."
    conditions = wrapped(f"Times in us, memory in MiB; {medians} {lead_note} That is in every error.")
    reasons = [line for note in notes for line in wrapped(note)]
    rewrite(README, "udp", [*short(rows), "", *wrapped(f"Times in us, memory in MiB; {medians}"), *reasons])
    listed = [delays(rows), errors(rows), cost(rows), conditions + reasons]
    tables = [line for lines in listed for line in (*lines, "")]
    rewrite(DOC, "udp", [*tables, "### Settings", "", *settings(rows)])
    print("\n".join(["", *short(rows), "", *conditions, *reasons]), flush=True)
    lab.note(f"{sum(bool(one.completed) for one in rows)} of {len(rows)} programs have figures")
    expect(results[programs.Ours], f"ours: {failures[programs.Ours]}")


def kinds(lab, load):
    """Compares every kind of probe with the Python program's."""
    results = peers_kinds.take_turns(lab, ROUNDS, SECONDS)
    lines = [*peers_kinds.table(results), "", *wrapped(f"Medians of {ROUNDS} rounds of {SECONDS:g} s: {circumstances(load)}.")]
    rewrite(DOC, "kinds", lines)
    print("\n".join(["", *lines]), flush=True)
    peers_kinds.check(results)


PARTS = {"udp": udp, "kinds": kinds}


def run(lab):
    wanted = os.environ.get("LM_PARTS", " ".join(PARTS)).split()
    unknown = set(wanted) - set(PARTS)
    expect(wanted and not unknown, f"LM_PARTS={' '.join(wanted)!r}: there are {', '.join(PARTS)}")
    load = os.getloadavg()[0]
    for part in wanted:
        PARTS[part](lab, load)
