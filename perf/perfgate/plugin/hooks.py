"""The pytest hooks of a session that measures; registered by :mod:`perfgate.plugin.activation`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from perfgate.lockstep import fresh_process
from perfgate.lockstep.channel import Channel
from perfgate.machine import device_errors
from perfgate.measure.clocks import WallClock
from perfgate.measure.measurement import FellBackError, Measure
from perfgate.measure.replay import BenchmarkReplay, ReplayTimer
from perfgate.plugin import (
    compare_mode,
    doctor,
    former_names,
    progress,
    refresh_mode,
    session,
    terminal_summary,
    versus_mode,
    worker_mode,
)
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.command_line import destination
from perfgate.plugin.device_recovery import TAKEN
from perfgate.plugin.session import RUN, Run, relative
from perfgate.plugin.terminal_lines import LINE

REASON_LIMIT = 500
"""Characters of a failure's message that a record keeps."""
TIMER: pytest.StashKey[ReplayTimer] = pytest.StashKey()
STARTED: pytest.StashKey[float] = pytest.StashKey()
CHANNEL: pytest.StashKey[Channel | None] = pytest.StashKey()
CLOCK = WallClock()
"""For how long a case took in all; what is inside a case is timed by the run's instruments."""


def start(config: pytest.Config) -> None:
    """Start the run, and register the mode that the command line asks for. A process that perfgate started measures,
    whatever mode its configuration files ask for.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or two modes were asked for.
    """
    run = session.of(config)
    channel = config.stash[CHANNEL] = Channel.from_environment()
    if channel is None and fresh_process.only() is None:
        _register_mode(config, run)
        return
    fresh_process.die_with_parent()
    compare_mode.wanted(config)  # and forgotten
    if channel is not None:
        former_names.set_options(config)
        config.pluginmanager.register(worker_mode.WorkerLoop(channel, run.record_of), worker_mode.NAME)


def _register_mode(config: pytest.Config, run: Run) -> None:
    chosen: dict[str, object] = {
        "--perfgate-versus": versus_mode.plugin(config),
        "--perfgate-refresh-baseline": refresh_mode.plugin(config),
        "--benchmark-compare": compare_mode.plugin(config, run),
    }
    named = [name for name, plugin in chosen.items() if plugin is not None]
    if len(named) > 1:
        raise pytest.UsageError(f"{' and '.join(named)} exclude each other: pass one of them")
    for name in named:
        config.pluginmanager.register(chosen[name], f"perfgate{name}")


def prepare(item: pytest.Item) -> None:
    """Let pytest-benchmark time a collected benchmark by its replayed samples."""
    timer = item.stash[TIMER] = ReplayTimer()
    if not hasattr(item.config, "_benchmarksession"):
        return  # without pytest-benchmark there is no such marker, and the test fails because its fixture is missing
    marker = item.get_closest_marker("benchmark")
    given = dict(marker.kwargs) if marker else {}
    item.add_marker(pytest.mark.benchmark(**given | {"timer": timer}), append=False)


def measure_for(item: pytest.Item, benchmark: Any) -> Measure:
    """What the fixture ``measure`` is for a benchmark; ``benchmark`` is pytest-benchmark's fixture."""
    run, channel = item.config.stash[RUN], item.config.stash[CHANNEL]
    record = run.record_of(item)
    benchmark.group = benchmark.group or record.name
    replay = BenchmarkReplay(benchmark, item.stash[TIMER])
    if channel is not None:
        return worker_mode.WorkerMeasure(run.settings.measure_policy, run.instruments, replay, record, channel)
    return Measure(run.settings.measure_policy, run.instruments, replay, record)


def _begin(config: pytest.Config, run: Run) -> None:
    """What a run needs of a session that has started: pytest's cache and pytest-benchmark."""
    run.recall_durations()
    benchmarks = getattr(config, "_benchmarksession", None)  # set by pytest-benchmark, where that takes part
    run.disabled = benchmarks is not None and benchmarks.disabled


@pytest.hookimpl(tryfirst=True)  # before -k and the like take items away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[RUN]
    _begin(config, run)
    settings, only = run.settings, fresh_process.only()
    items[:] = [item for item in items if not is_benchmark(item) or not run.vanished(item)]
    run.collected = {run.record_of(item).key: item.nodeid for item in items if is_benchmark(item)}
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        row = row_of(item)
        chosen = row is None or row.chosen(quick=settings.quick, all_cases=settings.all_cases)
        if only is not None and is_benchmark(item):
            chosen = run.record_of(item).key in only
        (kept if chosen else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    run.require_own_keys(items)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    run = config.stash[RUN]
    run.waiting = [item for item in items if is_benchmark(item)]
    terminal_summary.start_progress(config, only_benchmarks=bool(items) and len(run.waiting) == len(items))
    return run.plan()


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    if not config.getoption(destination("doctor")):
        return None
    findings = doctor.text(config.stash[RUN], session.items, config.get_terminal_writer().fullwidth)
    config.get_terminal_writer().write(findings)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if is_benchmark(item):
        run = item.config.stash[RUN]
        if run.takeover is None:
            run.pin()
        else:
            run.take_over(item)
        item.stash[STARTED] = CLOCK.now()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_benchmark(item) and (report.when == "call" or not report.passed):
        _finish_record(item, call, report)
    return report


def _finish_record(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Complete the case's record with the outcome of its test, and hand it to the session and to pytest-benchmark."""
    run = item.config.stash[RUN]
    record = run.record_of(item)
    funcargs = getattr(item, "funcargs", {})
    if item.stash.get(TAKEN, False):
        pass  # the record is the other process's, and so is its status
    elif report.passed and not funcargs["measure"].used:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} takes the fixture 'measure' and never calls it: nothing was measured"
        record.status, record.reason = "failed", report.longrepr
    elif report.skipped:
        record.status, record.reason = "skipped", _message(call, report)
    elif report.failed:
        record.status = "fell_back" if call.excinfo and call.excinfo.errisinstance(FellBackError) else "failed"
        record.reason = _message(call, report)
        _blame_device(item, call, report)
    if run.disabled:
        return
    took = CLOCK.now() - item.stash[STARTED]
    run.add(record, took)
    if "benchmark" in funcargs:
        funcargs["benchmark"].extra_info["perfgate"] = record.to_json()
    position, total = len(run.records), len(run.waiting) + len(run.records)
    done = progress.line(record, position, total, took, run.expected_left())
    setattr(report, LINE, f"{record.key}: {record.status}: {record.reason}" if report.failed else done)


def _blame_device(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Where the device is what failed: say what helps, and see to it that the cases after this one have a chance."""
    if call.excinfo is None:
        return
    run = item.config.stash[RUN]
    failure = device_errors.of(call.excinfo.value, run.device)
    if failure is None:
        return
    record = run.record_of(item)
    record.reason = failure.text
    report.sections.append(("perfgate", f"{record.key}: {failure.text}"))
    if failure.out_of_memory and not item.config.getoption("usepdb"):
        device_errors.free_memory(run.accelerator, call.excinfo.tb)
    if failure.context_gone:
        record.provenance["context_gone"] = True
        if not run.disabled:
            run.lose_device(item, failure.text)


def _message(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    if call.excinfo is None:  # a strict xfail that passed
        return str(report.longrepr)[:REASON_LIMIT]
    value = call.excinfo.value
    text = getattr(value, "msg", None) or str(value)
    name = "" if isinstance(value, pytest.skip.Exception) else f"{call.excinfo.typename}: "
    return (name + text.strip().split("\nassert ")[0])[:REASON_LIMIT]


@pytest.hookimpl(optionalhook=True)  # without pytest-benchmark the tests that need it fail, and no others
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    run = config.stash[RUN]
    output_json["perfgate"] = run.session()
    if run.takeover is not None:
        output_json["benchmarks"].extend(run.takeover.benchmarks.values())


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-benchmark's own wrapper writes its JSON
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    if not session.config.getoption(destination("doctor")):
        _finish_session(session, exitstatus)
    return (yield)


def _finish_session(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash[RUN]
    run.interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    run.finish()
    benchmarks = getattr(session.config, "_benchmarksession", None)  # set by pytest-benchmark, where that takes part
    if benchmarks is not None:
        terminal_summary.hide_benchmark_table(session.config, benchmarks)
    only_skips = run.records and all(record.status == "skipped" for record in run.records.values())
    if exitstatus == pytest.ExitCode.OK and only_skips and len(run.records) == session.testscollected:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
    elif exitstatus == pytest.ExitCode.OK and run.write_error is not None:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash[RUN]
    if run.disabled and run.waiting:
        terminalreporter.write_line("perfgate: the benchmarks ran once as plain tests; nothing was measured")
    if not run.sections:
        return
    terminalreporter.ensure_newline()
    terminalreporter.write(terminal_summary.rendered(config, run.sections))
    if run.write_error is not None:
        terminalreporter.write_line(f"perfgate: {run.write_error}", red=True)
    else:
        folder = relative(run.settings.report_dir, config.invocation_params.dir)
        terminalreporter.write_line(f"perfgate: wrote {', '.join(run.written)} into {folder}")
