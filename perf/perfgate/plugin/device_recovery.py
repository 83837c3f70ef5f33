"""When a case has broken the device's context: the cases after it run in fresh processes, and report as their own."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perfgate.lockstep import fresh_process
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.plugin import child_args
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.record import Record

TAKEN: pytest.StashKey[bool] = pytest.StashKey()
"""Set on an item whose record comes from another process."""


@dataclass
class Takeover:
    """What fresh processes measured after this one lost its device. ``folder`` is where pytest runs, ``faults`` are
    injected there too."""

    config: pytest.Config
    folder: Path
    faults: Sequence[str]
    records: dict[str, Record] = field(default_factory=dict)
    benchmarks: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def run(self, keys: Sequence[str], why: str) -> None:
        """Measure the cases called ``keys``: a process stops when it loses the device too, and another one goes on."""
        gc.collect()
        lines = Lines(self.config, "perfgate")
        arguments = child_args.arguments(self.config, lines.say)
        left = list(keys)
        while left:
            lines.say(f"{why}; {len(left)} cases go on in a fresh process")
            try:
                result = fresh_process.fresh(arguments, self.folder, left, self.faults)
            except ProcessError as wrong:
                result = Result({left[0]: _failed(left[0], str(wrong))}, {}, {})
            measured = [key for key in left if key in result.records]
            if not measured:
                result = Result({left[0]: _failed(left[0], "a fresh process did not come to this case")}, {}, {})
                measured = left[:1]
            self.records |= {key: result.records[key] for key in measured}
            self.benchmarks |= {key: one for key, one in result.benchmarks.items() if key in measured}
            left = [key for key in left if key not in self.records]
            why = "that one lost the device as well"

    def redirect(self, item: pytest.Item, record: Record) -> None:
        """Let an item's test do nothing but end as the case did in the other process."""
        item.stash[TAKEN] = True
        item.setup = lambda: None  # type: ignore[method-assign]  # its fixtures would touch the device
        item.runtest = partial(_end_as, record)  # type: ignore[method-assign]


def _end_as(record: Record) -> None:
    if record.status == "skipped":
        pytest.skip(record.reason or "skipped in another process")
    if record.status != "measured":
        pytest.fail(record.reason or record.status, pytrace=False)


def _failed(key: str, reason: str) -> Record:
    return Record(key.partition("/")[0], 1, {}, key, status="failed", reason=reason)
