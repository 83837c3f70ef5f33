"""The pytest hooks of a session that measures; registered by :mod:`perfgate.plugin.activation`. Each one calls one
function, which decides."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from perfgate.lockstep import fresh_process
from perfgate.lockstep.channel import Channel
from perfgate.measure.clocks import StoppableClock
from perfgate.measure.measurement import Measure
from perfgate.measure.replay import BenchmarkReplay, ReplayTimer
from perfgate.plugin import (
    case_end,
    compare_mode,
    doctor,
    former_names,
    modes,
    progress,
    selection,
    terminal_summary,
    worker_mode,
)
from perfgate.plugin import session as session_module
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.session import CONTEXT
from perfgate.plugin.session_report import SessionReport

TIMER: pytest.StashKey[ReplayTimer] = pytest.StashKey()
CHANNEL: pytest.StashKey[Channel | None] = pytest.StashKey()
REPORT: pytest.StashKey[SessionReport] = pytest.StashKey()


def start(config: pytest.Config) -> None:
    """Start the session, and register the mode that the command line asks for. A process that perfgate started
    measures, whatever mode its configuration files ask for.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or two modes were asked for.
    """
    context = session_module.of(config)
    channel = config.stash[CHANNEL] = Channel.from_environment()
    if channel is None and fresh_process.only() is None:
        modes.register(context)
        return
    fresh_process.die_with_parent()
    compare_mode.wanted(config)  # and forgotten
    if channel is not None:
        former_names.set_options(config)
        instruments = context.instruments
        instruments.clock = StoppableClock(instruments.clock)  # a call that pauses does not time its waiting
        config.pluginmanager.register(
            worker_mode.WorkerLoop(channel, context.log.record_of, instruments.clock), worker_mode.NAME
        )


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
    context, channel = item.config.stash[CONTEXT], item.config.stash[CHANNEL]
    record = context.log.record_of(item)
    benchmark.group = benchmark.group or record.name
    replay = BenchmarkReplay(benchmark, item.stash[TIMER])
    policy = context.settings.measure_policy
    if channel is not None:
        return worker_mode.WorkerMeasure(policy, context.instruments, replay, record, channel)
    return Measure(policy, context.instruments, replay, record)


@pytest.hookimpl(tryfirst=True)  # before -k and the like take items away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.deselect(config.stash[CONTEXT], items)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    return progress.begin(config.stash[CONTEXT], items)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    return doctor.print_findings(session) if doctor.asked(session.config) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if is_benchmark(item):
        case_end.begin(item.config.stash[CONTEXT], item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_benchmark(item) and (report.when == "call" or not report.passed):
        case_end.finish(item.config.stash[CONTEXT], item, call, report)
    return report


@pytest.hookimpl(optionalhook=True)  # without pytest-benchmark the tests that need it fail, and no others
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["perfgate"] = config.stash[REPORT].head
    output_json["benchmarks"].extend(config.stash[CONTEXT].recovery.benchmarks.values())


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-benchmark's own wrapper writes its JSON
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    if not doctor.asked(session.config):
        _report(session, exitstatus)
    return (yield)


def _report(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    report = SessionReport(config.stash[CONTEXT], config.stash.get(modes.MODE, None), interrupted=interrupted)
    config.stash[REPORT] = report
    report.write()
    terminal_summary.hide_benchmark_table(config)
    session.exitstatus = report.exit_status(exitstatus, session.testscollected)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if REPORT in config.stash:
        config.stash[REPORT].show(terminalreporter)
