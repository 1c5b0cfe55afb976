"""Writes a day of 1,000 hosts into ClickHouse's own engine, through the tables that the daemon prints, and times the
queries of a fleet. Windows are simulated: a median for each pair of hosts, noise, a tail, and the buckets of ours.

LM_FLEET_HOURS shortens the day. The figures of docs/fleet.md are this lab's.
"""

import os
import pathlib

from lab import VENV, expect, run as command

WORKER = pathlib.Path(__file__).with_name("fleet_day_engine.py")
HOURS = int(os.environ.get("LM_FLEET_HOURS", 24))
HOSTS = 1000


def run(lab):
    tables = lab.folder / "tables.sql"
    tables.write_text(command(str(lab.binary), "schema", "clickhouse", "--database", "fleet"))
    words = [VENV / "bin" / "python", "-B", WORKER, tables, lab.folder / "data", HOSTS, HOURS]
    engine = lab.start("engine", words)
    code = engine.process.wait(1800)
    expect(code == 0, f"the engine ended with {code}: {engine.log()[-800:]}")
    for record in engine.records():
        lab.note(record["said"])
        expect(record["is_right"], record["said"])
