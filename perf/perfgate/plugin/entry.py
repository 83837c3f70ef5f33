"""What perfgate adds to every pytest session: options, markers, hooks for suites, and two fixtures.

Everything else begins with the first benchmark, or where an option asks for it (:mod:`perfgate.plugin.activation`):
a session that measures nothing is as it is without perfgate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.plugin import activation, command_line, hookspec

if TYPE_CHECKING:
    from perfgate.measure.measurement import Measure

if activation.is_worker():  # before a conftest imports the project's modules
    from perfgate.lockstep import tracing
    from perfgate.plugin.former_names import install

    install()  # an older revision imports what stood elsewhere then
    tracing.begin()


def pytest_addoption(parser: pytest.Parser) -> None:
    command_line.add_options(parser)
    if activation.is_worker():
        from perfgate.plugin import former_names

        former_names.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspec)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if config.getoption(command_line.destination("report-from")) is None:
        return None
    from perfgate.plugin import report_command

    return report_command.main(config)


@pytest.hookimpl(tryfirst=True)  # a suite's own pytest_configure may ask for the run
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "perfgate_cases(table): run the benchmark once for each row of a case table")
    config.addinivalue_line("markers", "perfgate_row(row): set by perfgate on every case")
    activation.configure(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("perfgate_cases") is not None:
        from perfgate.plugin import case_tables

        case_tables.parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    activation.collected(item)


def pytest_collection_finish(session: pytest.Session) -> None:
    activation.give_compare_back(session.config)


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: Any) -> Measure:
    """Measure one callable in five passes: correct, warm, time, profile, re-check (see perfgate.measure)."""
    from perfgate.plugin import hooks

    return hooks.measure_for(request.node, benchmark)


@pytest.fixture
def one_core(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the benchmark on one core with one torch thread, for kernels: their times then agree far better. On an
    accelerator nothing is changed, nor for a case whose field ``threads`` is "all". A side of a comparison is on the
    shared core only while its calls are timed, and has one of its own before. The record's pins say it."""
    from perfgate.machine import pinning
    from perfgate.plugin import case_tables, hooks, session
    from perfgate.records.case import on_all_cores

    row = case_tables.row_of(request.node)
    all_cores = row is not None and on_all_cores(row.case.fields)
    if session.of(request.config).device != "cpu" or all_cores:
        yield
        return
    channel = request.config.stash.get(hooks.CHANNEL, None)
    shared = channel is not None and channel.core.given
    with pinning.one_thread() if shared else pinning.one_core():
        yield
