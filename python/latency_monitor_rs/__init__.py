"""Measures one-way delay, round-trip time, loss and TCP connects; `api.LatencyMonitor` is where to begin."""

from latency_monitor_rs.api import LatencyMonitor

__all__ = ["LatencyMonitor"]
