"""The API of the Python program `latency-monitor`, over the Rust engine.

A program of its users works with another import:

    from latency_monitor_rs.api import LatencyMonitor
"""

import json
import logging
import multiprocessing
import queue
import threading
from collections.abc import Mapping
from typing import Any

from latency_monitor_rs import _native

__all__ = ["LatencyMonitor"]

log = logging.getLogger("latency_monitor_rs")

# Records that wait in `metrics_q` at most. Nobody reads a queue that is full: then the monitor drops records, and
# counts them in `monitor.samples_dropped`.
QUEUED_MAX = 65_536
# Seconds between two looks at signals and at the log.
TURN_S = 0.2
# Records taken at once.
TAKEN_MAX = 4_096


class LatencyMonitor:
    """Probes targets, answers the probes of others, and puts what it measures into a queue.

    Keyword arguments are `config_file`, a path, and the settings of the command line by the names of their keys:
    `name`, `tcp_port`, `interval`, `log_level` and so on (docs/configuration.md). They go over the file's. Without
    `config_file` no file is read. `mode` is `samples` unless it is given: a record for each probe.

    `metrics_q` has dictionaries as docs/records.md describes them. A sample is what the Python program makes of it,
    `{"metric": "udp.wan.rtt", "points": [(nanoseconds since 1970, nanoseconds)], "tags": ["source:a", "target:b"]}`.

    `ValueError` says which argument is wrong, and why.
    """

    def __init__(self, **args: Any) -> None:
        self.args = args
        self.opts: dict[str, Any] = {"targets": []}
        self.metrics_q: "multiprocessing.Queue[dict[str, Any]]" = multiprocessing.Queue(QUEUED_MAX)
        self._forget()
        self._native_monitor()

    def _forget(self) -> None:
        self._native: _native.Monitor | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def __getstate__(self) -> dict[str, Any]:
        """Make `Process(target=monitor.start)` possible where processes are spawned: only what was asked for goes."""
        return {name: getattr(self, name) for name in ("args", "opts", "metrics_q")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def add_target(self, addr: str, **target_cfg: Any) -> int:
        """Add a target with any keys of a `[[targets]]` table, and return a number for `remove_target`.

        `port` is the port of both TCP and UDP. A monitor that runs in this process probes the target at once.
        """
        target = dict(target_cfg, host=addr)
        port = target.pop("port", None)
        if port is not None:
            for name in ("tcp_port", "udp_port"):
                target.setdefault(name, port)
        text = _toml(target)
        _native.check_target(text)
        with self._lock:
            targets = self.opts["targets"]
            targets.append(target)
            if self._native is not None:
                return self._native.add_target(text)
            return len(targets) - 1

    def add_tcp_target(self, addr: str, **target_cfg: Any) -> int:
        """Add a target with a TCP flow, and connects."""
        return self.add_target(addr, **dict(target_cfg, type="tcp"))

    def add_udp_target(self, addr: str, **target_cfg: Any) -> int:
        """Add a target with a UDP flow."""
        return self.add_target(addr, **dict(target_cfg, type="udp"))

    def remove_target(self, handle: int) -> bool:
        """Stop probing a target of a monitor that runs in this process. False if there is no such target."""
        with self._lock:
            return self._native is not None and self._native.remove_target(handle)

    @property
    def listening(self) -> dict[str, list[str]]:
        """The addresses that it listens on, by `tcp` and `udp`; empty until it runs in this process."""
        with self._lock:
            tcp, udp = self._native.listening() if self._native is not None else ([], [])
        return {"tcp": tcp, "udp": udp}

    def start(self) -> None:
        """Measure until `stop` is called or an interrupt comes. Call it on a thread or in a process of its own.

        `OSError` says why it cannot, for instance that a port is taken.
        """
        native = self._native_monitor()
        with self._lock:
            if self._native is not None:
                raise RuntimeError("this monitor is running already")
            for target in self.opts["targets"]:
                native.add_target(_toml(target))
            native.start()
            self._native = native
            self._stopping.clear()
        try:
            while not self._stopping.is_set():
                records = native.take(TAKEN_MAX, TURN_S)
                _tell_log()
                if records is None:
                    break
                self._put(records)
        finally:
            self._stopping.set()
            with self._lock:
                self._native = None
            self._end(native)

    def stop(self) -> None:
        """End `start` soon, from another thread. Targets stay for another start."""
        self._stopping.set()

    def _end(self, native: _native.Monitor) -> None:
        try:
            native.stop()
            while (records := native.take(TAKEN_MAX, 0.0)) is not None:
                self._put(records)
        finally:
            _tell_log()

    def _put(self, records: list[str]) -> None:
        """Wait for room in the queue, but not once `stop` was called."""
        for record in map(_record, records):
            while True:
                is_last_try = self._stopping.is_set()
                try:
                    self.metrics_q.put(record, block=not is_last_try, timeout=TURN_S)
                    break
                except queue.Full:
                    if is_last_try:
                        return

    def _native_monitor(self) -> _native.Monitor:
        args = dict(self.args)
        config_file = args.pop("config_file", None)
        level = str(args.get("log_level", "INFO")).upper()
        # The log goes to Python's `logging`, whose handlers say where.
        log_file = args.pop("log_file", None)
        args.setdefault("mode", "samples")
        # Records go to the program: what a file has for other backends is for the daemon.
        args["backend"] = "cli"
        settings = [(name, _argument(value)) for name, value in args.items() if value is not None]
        monitor = _native.Monitor(None if config_file is None else str(config_file), settings)
        _native.watch_log(level)
        if log_file is not None:
            _log_to(str(log_file), level)
        return monitor


def _record(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    points = record.get("points")
    if points is not None:
        record["points"] = [tuple(point) for point in points]
    return record


def _argument(value: Any) -> str:
    """A value as it stands on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _toml(table: Mapping[str, Any]) -> str:
    return "".join(f"{_string(key)} = {_value(key, value)}\n" for key, value in table.items() if value is not None)


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(key, item) for item in value) + "]"
    if isinstance(value, str):
        return _string(value)
    raise ValueError(f"`{key}` must be text, a number, a truth value or a list, not {type(value).__name__}")


def _string(text: str) -> str:
    # TOML's basic strings are JSON's, but for the one control character that JSON lets be.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _log_to(path: str, level: str) -> None:
    if any(getattr(handler, "baseFilename", None) == path for handler in log.handlers):
        return
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)s] %(message)s"))
    log.addHandler(handler)
    log.setLevel(level)


def _tell_log() -> None:
    for level, text in _native.take_log():
        log.log(logging.getLevelNamesMapping().get(level, logging.INFO), "%s", text)
