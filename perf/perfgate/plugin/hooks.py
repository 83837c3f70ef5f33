"""The pytest hooks of a session that measures; registered by :mod:`perfgate.plugin.activation`. Each one calls one
function, which decides."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from perfgate.lockstep import fresh_process
from perfgate.lockstep.channel import Channel
from perfgate.measure.clocks import StoppableClock
from perfgate.measure.measurement import Measure
from perfgate.measure.replay import BenchmarkReplay, ReplayTimer
from perfgate.plugin import (
    adopted,
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
from perfgate.plugin.activation import ADOPTED_FIXTURES, WHOLE, is_benchmark, measured_by
from perfgate.plugin.adopted import BENCHMARK, MEASURE, Adopted
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
    benchmark.group = benchmark.group or item.config.stash[CONTEXT].log.record_of(item).name
    item.stash[MEASURE] = measure = _measure(item, benchmark, benchmark.pedantic)
    return measure


def _measure(item: pytest.Item, benchmark: Any, pedantic: Callable[..., Any]) -> Measure:
    """``pedantic`` runs rounds of pytest-benchmark's fixture."""
    context, channel = item.config.stash[CONTEXT], item.config.stash[CHANNEL]
    record = context.log.record_of(item)
    replay = BenchmarkReplay(pedantic, item.stash[TIMER], disabled=benchmark.disabled)
    policy = context.settings.measure_policy
    if channel is not None:
        return worker_mode.WorkerMeasure(policy, context.instruments, replay, record, channel)
    return Measure(policy, context.instruments, replay, record)


def _adopted(item: pytest.Item, benchmark: Any) -> Adopted:
    """What measures a test that was not written for perfgate, by pytest-benchmark's fixture."""
    instruments = item.config.stash[CONTEXT].instruments
    if not isinstance(instruments.clock, StoppableClock):
        instruments.clock = StoppableClock(instruments.clock)
    item.stash[BENCHMARK] = benchmark
    item.stash[MEASURE] = measure = _measure(item, benchmark, benchmark._raw_pedantic)
    return Adopted(item, measure, instruments.clock)


def _runs_plainly(item: pytest.Item, benchmark: Any) -> bool:
    """Whether benchmarks run once, as plain tests; a side of a comparison says so to pytest-benchmark, and measures."""
    return bool(benchmark.disabled) and item.config.stash[CHANNEL] is None


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    made = yield
    item, name = request.node, fixturedef.argname
    if name not in ADOPTED_FIXTURES or not isinstance(item, pytest.Item) or measured_by(item) != name:
        return made
    benchmark: Any = made if name == "benchmark" else request.getfixturevalue("benchmark")
    if _runs_plainly(item, benchmark):
        return made
    taken = adopted.take_over(made, _adopted(item, benchmark))
    fixturedef.cached_result = (taken, fixturedef.cache_key(request), None)  # type: ignore[arg-type]  # as pytest sets it
    return taken


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if measured_by(pyfuncitem) != WHOLE:
        return None
    benchmark = pyfuncitem._request.getfixturevalue("benchmark")
    if _runs_plainly(pyfuncitem, benchmark):
        return None
    adopted.call_whole(pyfuncitem, _adopted(pyfuncitem, benchmark))
    return True


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
