"""When a case has broken the device's context: the cases after it run in fresh processes, and report as their own."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from perfgate.lockstep import fresh_process
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.measure.fault_injection import Fault
from perfgate.plugin import child_args
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.record_log import RECORD, RecordLog
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.case import benchmark_of
from perfgate.records.record import Record
from perfgate.report import counted

TAKEN: pytest.StashKey[bool] = pytest.StashKey()
"""Set on an item whose record comes from another process."""


class DeviceRecovery:
    """Nothing, until a case has broken the device's context; from then on fresh processes measure what is left. The
    session's ``faults`` are injected there too. ``benchmarks`` are pytest-benchmark's entries that they made."""

    def __init__(self, config: pytest.Config, faults: Sequence[Fault]) -> None:
        self._config = config
        self._faults = [fault.text for fault in faults]
        self._records: dict[str, Record] = {}
        self.began = False
        self.benchmarks: dict[str, Mapping[str, Any]] = {}

    def begin(self, item: pytest.Item, why: str) -> None:
        """From now on nothing runs on the device in this process. One that another process started ends here, and its
        starter goes on with the cases left."""
        if fresh_process.only() is not None:
            item.session.shouldstop = why
        else:
            self.began = True

    def take_over(self, item: pytest.Item, log: RecordLog) -> None:
        """Give an item the record that a fresh process made of its case, and let its test end as the case did there;
        the first one starts the process for all."""
        key = log.record_of(item).key
        if key not in self._records:
            items = item.session.items
            left = [log.record_of(one).key for one in items[items.index(item) :] if is_benchmark(one)]
            self._measure(left)
        record = item.stash[RECORD] = self._records[key]
        item.stash[TAKEN] = True
        item.setup = lambda: None  # type: ignore[method-assign]  # its fixtures would touch the device
        item.runtest = partial(_end_as, record)  # type: ignore[method-assign]

    def _measure(self, keys: Sequence[str]) -> None:
        """Measure the cases called ``keys``: a process stops when it loses the device too, and another one goes on."""
        gc.collect()
        lines = Lines(self._config, "perfgate")
        arguments, folder = child_args.arguments(self._config, lines.say), self._config.invocation_params.dir
        left, why = list(keys), "a case broke the device's context"
        while left:
            lines.say(f"{why}; a fresh process goes on with {counted(len(left))}")
            try:
                result = fresh_process.fresh(arguments, folder, left, self._faults)
            except ProcessError as wrong:
                result = Result({left[0]: _failed(left[0], str(wrong))}, {}, {})
            measured = [key for key in left if key in result.records]
            if not measured:
                result = Result({left[0]: _failed(left[0], "a fresh process did not come to this case")}, {}, {})
                measured = left[:1]
            self._records |= {key: result.records[key] for key in measured}
            self.benchmarks |= {key: one for key, one in result.benchmarks.items() if key in measured}
            left = [key for key in left if key not in self._records]
            why = "that one lost the device as well"


def _end_as(record: Record) -> None:
    if record.status == "skipped":
        pytest.skip(record.reason or "skipped in another process")
    if record.status != "measured":
        pytest.fail(record.reason or record.status, pytrace=False)


def _failed(key: str, reason: str) -> Record:
    return Record(benchmark_of(key), 1, {}, key, status="failed", reason=reason)
