"""Tries each setting of `[engine]`: a daemon probes a host every millisecond with each of them in turn, and the lab
prints the lateness and the processor time of its probes. The kernel confirms each setting. Without rights the daemon
reports what it cannot have, and goes on.

LM_TUNING_SECONDS is how long each setting is measured (3).
"""

import os
import pathlib
import resource

from lab import collect, expect

PORT = 18500
SECONDS = int(os.environ.get("LM_TUNING_SECONDS", "3"))
SPIN_US = 200
PRIORITY = 50
# The numbers of Linux's <sched.h>.
SCHED_FIFO = 1
TICKS = os.sysconf("SC_CLK_TCK")


def run(lab):
    cpu = max(os.sched_getaffinity(0))
    lab.ours("far", {"name": "far", "tcp_port": PORT, "udp_port": PORT, "metrics": {"mode": "windows"}})
    settings = {
        "none": {},
        "cpu": {"cpu": cpu},
        "realtime": {"cpu": cpu, "realtime": PRIORITY, "lock_memory": True},
        "busy_poll_us": {"busy_poll_us": 50},
        "spin_us": {"spin_us": SPIN_US},
        "all of them": {"spin_us": SPIN_US, "cpu": cpu, "realtime": PRIORITY, "lock_memory": True, "busy_poll_us": 50},
    }
    p50 = {}
    for name, engine in settings.items():
        daemon = lab.ours(name.replace(" ", "_"), config(engine))
        windows = collect(daemon, enough, f"{SECONDS} s of windows")
        check_kernel(daemon, engine)
        p50[name], p99 = lateness(windows)
        completed = sum(record["points"][0][1] for record in windows if record.get("metric", "") == "udp.wan.received")
        lab.note(f"{name}: lateness p50 {p50[name] / 1e3:.1f} us, p99 {p99 / 1e3:.1f} us, {cpu_s(daemon) / completed * 1e6:.0f} us a probe")
        expect("going on without" not in daemon.log(), f"{name} is not had by root: {daemon.log()[-500:]}")
        code, _ = daemon.end()
        expect(code == 0, f"{name} ended with {code}")
    expect(p50["spin_us"] < p50["none"], f"who spins is as late as who sleeps: {p50}")
    check_without_rights(lab, cpu)


def config(engine):
    return {
        "name": "near",
        "tcp_port": PORT + 1,
        "udp_port": PORT + 1,
        "engine": engine,
        "metrics": [{"backend": "cli", "mode": "windows", "send_interval": 1}],
        "targets": [{"host": "127.0.0.1", "label": "far", "interval": 1, "tcp_port": PORT, "udp_port": PORT}],
    }


def enough(records):
    return sum(record.get("metric", "") == "monitor.lateness" for record in records) >= SECONDS


def lateness(records):
    """Returns the medians of the windows' p50 and p99. A single window without a processor says nothing about the
    setting.
    """
    windows = [record for record in records if record.get("metric", "") == "monitor.lateness"]
    return [sorted(record[key] for record in windows)[len(windows) // 2] for key in ("p50", "p99")]


def poll_thread(daemon):
    for task in pathlib.Path(f"/proc/{daemon.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "lm-poll":
            return int(task.name)
    expect(False, "there is no poll thread")


def cpu_s(daemon):
    fields = pathlib.Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def check_kernel(daemon, engine):
    thread = poll_thread(daemon)
    if "cpu" in engine:
        allowed = os.sched_getaffinity(thread)
        expect(allowed == {engine["cpu"]}, f"the poll thread may run on {allowed}")
        others = os.sched_getaffinity(daemon.pid)
        expect(len(others) == len(os.sched_getaffinity(0)), f"the other threads may run on {others} only")
    policy, priority = os.sched_getscheduler(thread) & 0xFF, os.sched_getparam(thread).sched_priority
    wanted = (SCHED_FIFO, engine["realtime"]) if "realtime" in engine else (0, 0)
    expect((policy, priority) == wanted, f"the poll thread has policy {policy}, priority {priority}")
    locked = daemon.status("VmLck")
    expect((locked > 0) == engine.get("lock_memory", False), f"{locked} KiB are locked")


def lower_limits():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    # RLIMIT_RTPRIO, which Python does not name.
    resource.setrlimit(14, (0, 0))


def check_without_rights(lab, cpu):
    engine = {
        "cpu": cpu,
        "realtime": PRIORITY,
        "lock_memory": True,
        "receive_buffer_kib": 1 << 20,
    }
    # Root without any capability, and with the limits that users have.
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", lab.binary, "-c", lab.write("bare", config(engine))]
    daemon = lab.start("bare", command, preexec_fn=lower_limits)
    daemon.wait_for_log("answering probes")
    said = ("`realtime = 50`", "CAP_SYS_NICE", "`lock_memory`", "CAP_IPC_LOCK", "`receive_buffer_kib`", "net.core.rmem_max")
    for word in said:
        expect(word in daemon.log(), f"{word} is not in {daemon.log()!r}")
    code, _ = daemon.end()
    expect(code == 0, f"without rights it ended with {code}")
    lab.note("without rights: each is reported, and the daemon goes on without it")
