"""How a case ended: its test's outcome completes its record."""

from __future__ import annotations

import pytest

from perfgate.machine import device_errors, pinning
from perfgate.measure.clocks import WallClock
from perfgate.measure.measurement import FellBackError
from perfgate.plugin import adopted, progress
from perfgate.plugin.activation import is_adopted
from perfgate.plugin.adopted import BENCHMARK
from perfgate.plugin.device_recovery import TAKEN
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import LINE
from perfgate.records.record import Record

REASON_LIMIT = 500
"""Characters of a failure's message that a record keeps."""
STARTED: pytest.StashKey[float] = pytest.StashKey()
CLOCK = WallClock()
"""For how long a case took in all; what is inside a case is timed by the run's instruments."""


def begin(context: SessionContext, item: pytest.Item) -> None:
    """Make ready for a case: pin the process, or, once the device is lost, have the case measured elsewhere."""
    if context.recovery.began:
        context.recovery.take_over(item, context.log)
    else:
        context.workbench.prepare()
    item.stash[STARTED] = CLOCK.now()


def finish(context: SessionContext, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Complete the case's record with the outcome of its test, and hand it to the session and to pytest-benchmark."""
    record = context.log.record_of(item)
    funcargs = getattr(item, "funcargs", {})
    if not item.stash.get(TAKEN, False):  # else the record is another process's, and so is its status
        _judge_outcome(context, item, call, report)
    if context.disabled:
        return
    took_s = CLOCK.now() - item.stash[STARTED]
    record.pins = record.pins or pinning.current(context.workbench.allocator)  # another process's has its own
    context.log.add(record, took_s)
    benchmark = item.stash.get(BENCHMARK, None) or funcargs.get("benchmark")
    if benchmark is not None:
        benchmark.extra_info["perfgate"] = record.to_json()
    setattr(report, LINE, _line(context, record, report, took_s))


def _judge_outcome(
    context: SessionContext, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Give the record the status that its test's outcome means; a test that measured nothing fails, and one that was
    not written for perfgate counts as skipped."""
    record = context.log.record_of(item)
    if report.passed and is_adopted(item):
        if (why := adopted.not_measured(item)) is not None:
            record.status, record.reason = "skipped", why
    elif report.passed and not item.stash[adopted.MEASURE].used:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} takes the fixture 'measure' and never calls it: nothing was measured"
        record.status, record.reason = "failed", report.longrepr
    elif report.skipped:
        record.status, record.reason = "skipped", _message(call, report)
    elif report.failed:
        record.status = "fell_back" if call.excinfo and call.excinfo.errisinstance(FellBackError) else "failed"
        record.reason = _message(call, report)
        _blame_device(context, item, call, report)


def _line(context: SessionContext, record: Record, report: pytest.TestReport, took_s: float) -> str:
    """The case's line of progress."""
    if report.failed:
        return f"{record.key}: {record.status}: {record.reason}"
    position = len(context.records)
    return progress.line(record, position, len(context.log.waiting) + position, took_s, context.log.expected_left())


def _blame_device(
    context: SessionContext, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Where the device is what failed: say what helps, and see to it that the cases after this one have a chance."""
    if call.excinfo is None:
        return
    failure = device_errors.of(call.excinfo.value, context.device)
    if failure is None:
        return
    record = context.log.record_of(item)
    record.reason = failure.text
    report.sections.append(("perfgate", f"{record.key}: {failure.text}"))
    if failure.out_of_memory and not item.config.getoption("usepdb"):
        device_errors.free_memory(context.workbench.accelerator, call.excinfo.tb)
    if failure.context_gone:
        record.provenance["context_gone"] = True
        if not context.disabled:
            context.recovery.begin(item, failure.text)


def _message(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    if call.excinfo is None:  # a strict xfail that passed
        return str(report.longrepr)[:REASON_LIMIT]
    value = call.excinfo.value
    text = getattr(value, "msg", None) or str(value)
    name = "" if isinstance(value, pytest.skip.Exception) else f"{call.excinfo.typename}: "
    return (name + text.strip().split("\nassert ")[0])[:REASON_LIMIT]
