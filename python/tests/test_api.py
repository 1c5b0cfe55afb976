"""Drives the package as scripts of the Python program drive that: over loopback, on free ports."""

import logging
import multiprocessing
import pathlib
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any

from latency_monitor_rs.api import LatencyMonitor

WAIT_S = 30


class Running:
    """A monitor that measures on a thread."""

    def __init__(self, monitor: LatencyMonitor) -> None:
        self.monitor = monitor
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.monitor.start()
        except BaseException as error:
            self.failed = error

    def __enter__(self) -> "Running":
        self.thread.start()
        deadline = time.monotonic() + WAIT_S
        while not any(self.monitor.listening.values()):
            if self.failed is not None or time.monotonic() > deadline:
                raise AssertionError("it does not listen") from self.failed
            self.thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.stop()
        self.thread.join(WAIT_S)
        if self.thread.is_alive() or self.failed is not None:
            raise AssertionError("it did not end in order") from self.failed

    def port(self, kind: str) -> int:
        return int(self.monitor.listening[kind][0].rpartition(":")[2])


def of_free_ports(**args: Any) -> LatencyMonitor:
    return LatencyMonitor(tcp_port=0, udp_port=0, **args)


def find(monitor: LatencyMonitor, metric: str, *tags: str) -> dict[str, Any]:
    """The next record of a metric with these tags; `queue.Empty` if there is none."""
    deadline = time.monotonic() + WAIT_S
    while True:
        record = monitor.metrics_q.get(timeout=deadline - time.monotonic())
        if record.get("metric") == metric and set(tags) <= set(record["tags"]):
            return record


class Api(unittest.TestCase):
    def test_a_script_of_the_python_program_measures(self) -> None:
        near, far = of_free_ports(name="near"), of_free_ports(name="far")
        with Running(far) as reflector:
            near.add_tcp_target("127.0.0.1", port=reflector.port("tcp"), label="foo", interval=5, tags=["isp:a"])
            near.add_udp_target("127.0.0.1", port=reflector.port("udp"), label="bar", interval=5)
            with Running(near):
                for metric, target in [("tcp.wan.rtt", "foo"), ("tcp.wan.latency", "foo"), ("udp.wan.rtt", "bar")]:
                    record = find(near, metric, "source:near", f"target:{target}")
                    ((at, value),) = record["points"]
                    self.assertLess(abs(time.time_ns() - at), WAIT_S * 1_000_000_000)
                    self.assertGreater(value, 0)
                self.assertIn("isp:a", find(near, "tcp.wan.rtt")["tags"])
                find(far, "udp.wan.owd", "source:near", "target:far")

    def test_targets_come_and_go_while_it_runs(self) -> None:
        monitor = of_free_ports()
        with Running(monitor) as running:
            handle = monitor.add_udp_target("127.0.0.1", port=running.port("udp"), label="me", interval=5)
            find(monitor, "udp.wan.rtt", "target:me")
            self.assertTrue(monitor.remove_target(handle))
            self.assertFalse(monitor.remove_target(handle))
            self.assertFalse(monitor.remove_target(7))

    def test_it_can_be_started_again_and_not_twice(self) -> None:
        monitor = of_free_ports()
        for _ in range(2):
            with Running(monitor):
                with self.assertRaisesRegex(RuntimeError, "running already"):
                    monitor.start()

    def test_it_runs_in_a_process_of_its_own(self) -> None:
        far = of_free_ports(name="far")
        with Running(far) as reflector:
            near = of_free_ports(name="near")
            near.add_udp_target("127.0.0.1", port=reflector.port("udp"), label="far", interval=5)
            process = multiprocessing.Process(target=near.start)
            process.start()
            try:
                find(near, "udp.wan.rtt", "source:near", "target:far")
            finally:
                process.terminate()
                process.join(WAIT_S)

    def test_a_file_is_read_and_its_backend_left_to_the_daemon(self) -> None:
        far = of_free_ports(name="far")
        with tempfile.TemporaryDirectory() as folder, Running(far) as reflector:
            path = pathlib.Path(folder, "latency.toml")
            path.write_text(
                "name = 'of-file'\ninterval = 5\n"
                "[[targets]]\nhost = '127.0.0.1'\nlabel = 'far'\ntype = 'udp'\n"
                f"udp_port = {reflector.port('udp')}\n"
                "[metrics]\nbackend = 'clickhouse'\nhost = 'click.example.com'\nusername = 'a'\npassword = 'b'\n"
            )
            monitor = of_free_ports(config_file=str(path), name="of-argument")
            with Running(monitor):
                find(monitor, "udp.wan.rtt", "source:of-argument", "target:far")

    def test_mistakes_say_what_is_wrong(self) -> None:
        mistakes: list[tuple[Callable[[], object], str]] = [
            (lambda: LatencyMonitor(tcp_prot=7), "`tcp_prot`"),
            (lambda: LatencyMonitor(tcp_port=70_000), "tcp.port.*65535"),
            (lambda: LatencyMonitor(config_file="/nowhere/latency.toml"), "/nowhere/latency.toml"),
            (lambda: LatencyMonitor(log_level="LOUD"), "LOUD"),
            (lambda: of_free_ports().add_udp_target("a b"), "`host`"),
            (lambda: of_free_ports().add_udp_target("127.0.0.1", sise=7), "`sise`"),
            (lambda: of_free_ports().add_udp_target("127.0.0.1", tags=object()), "`tags`"),
            (lambda: of_free_ports().add_udp_target("127.0.0.1", label='a"\n\x7f'), "`label`"),
        ]
        for mistake, text in mistakes:
            with self.subTest(text), self.assertRaisesRegex(ValueError, text):
                mistake()

    def test_a_port_that_is_taken_is_an_error_of_the_system(self) -> None:
        with Running(of_free_ports(tcp=False)) as first:
            second = LatencyMonitor(tcp=False, udp_port=first.port("udp"))
            with self.assertRaisesRegex(OSError, str(first.port("udp"))):
                second.start()

    def test_what_it_logs_goes_to_logging(self) -> None:
        monitor = of_free_ports(name="near")
        with self.assertLogs("latency_monitor_rs", logging.INFO), Running(monitor) as running:
            monitor.add_udp_target("127.0.0.1", port=running.port("udp"), label="me", interval=5)
            find(monitor, "udp.wan.rtt", "target:me")

    def test_a_reader_that_lags_bounds_the_queue(self) -> None:
        monitor = of_free_ports()
        monitor.metrics_q = multiprocessing.Queue(10)
        with Running(monitor) as running:
            monitor.add_udp_target("127.0.0.1", port=running.port("udp"), interval=1)
            while not monitor.metrics_q.full():
                running.thread.join(0.01)


if __name__ == "__main__":
    unittest.main()
