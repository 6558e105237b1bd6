"""Measurements in a budget of time: which are due, which fit, and what they leave."""

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from ..runs.provenance import hash_of_files
from ..runs.runtime import raising_interrupted
from .measurement import Measurement, MeasuringProcess
from .session import BenchSession, Row, save, saved_sessions

NEVER, OTHER_CODE, FAILED, DONE = range(4)
"""What the saved results hold of a measurement, in the order in which it is due."""


def due(table: Mapping[str, Measurement], session: BenchSession) -> dict[str, Measurement]:
    """Return what has no saved result of this device and this version of the code.

    First what was never measured here, then what was measured with other code, then what failed
    with this code; the table's order holds within each.
    """
    states: dict[str, int] = {}
    for saved in saved_sessions(session.device):
        this_code = saved["provenance"].get("package_hash") == hash_of_files()
        for row in saved["rows"]:
            name, failed = row.get("measurement", ""), "error" in row
            if this_code:
                states[name] = FAILED if failed else DONE
            elif not failed:
                states.setdefault(name, OTHER_CODE)
    names = [name for name in table if states.get(name) != DONE]
    return {name: table[name] for name in sorted(names, key=lambda x: states.get(x, NEVER))}


def print_plan(table: Mapping[str, Measurement]) -> None:
    """Print measurements and the seconds that each is expected to take."""
    for name, measurement in table.items():
        seconds = f"{measurement.seconds:,.0f} s" if measurement.seconds else "not known"
        more = " or more" if measurement.fills else ""
        print(f"{name:<64} {seconds}{more}")
    total = sum(measurement.seconds for measurement in table.values())
    print(f"{len(table)} measurements, {total / 60:.0f} minutes expected")


def measure(table: Mapping[str, Measurement], session: BenchSession) -> list[Row]:
    """Measure within ``minutes``, save after each measurement if asked to, and return all rows.

    One that is expected to outlast the time is left out, and the time of one that fills the rest is
    kept for it.
    """
    options, rows, left_out = session.options, list[Row](), list[str]()
    end = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
    kept = sum(measurement.seconds for measurement in table.values() if measurement.fills)
    kept = kept if kept < 60 * options.minutes else 0
    with raising_interrupted(), closing(MeasuringProcess(session.device)) as process:
        for name, measurement in table.items():
            kept = 0 if measurement.fills else kept
            begin = time.monotonic()
            left = end - begin - kept
            if left < max(measurement.seconds, 1):
                left_out.append(name)
                continue
            own: list[Row] = []
            limited = replace(session, deadline=begin + left)
            for row in process.rows(name, measurement, limited, measurement.limit(left)):
                print(f"{row['name']:<64} {row['shown']}", flush=True)
                own.append(row | {"measurement": name})
            print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
            if options.save:
                save(session, own)
            rows += own
    if left_out:
        print(f"Left for a later call, beyond {options.minutes:g} minutes: {'; '.join(left_out)}.")
    return rows
