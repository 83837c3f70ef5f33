"""What a suite may ask of the session that measures it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perfgate
import pytest
from perfgate.lockstep import channel, fresh_process
from perfgate.measure.clocks import WallClock
from perfgate.plugin import session, worker_mode
from perfgate.records.record import Record


@pytest.fixture
def parse(pytester: pytest.Pytester) -> Any:
    return lambda *arguments: pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-device=cpu", *arguments)


def test_device_clock_and_report_are_the_sessions(parse: Any, pytester: pytest.Pytester) -> None:
    config = parse("--perfgate-report-dir=deep/er")
    assert perfgate.device_of(config) == "cpu"
    assert perfgate.clock_of(config) is session.of(config).instruments.clock
    assert perfgate.report_dir_of(config) == pytester.path / "deep/er"


def test_records_are_those_that_ended_so_far(parse: Any) -> None:
    config = parse()
    assert dict(perfgate.records_of(config)) == {}
    record = Record("a", 1, {}, "a/b")
    session.of(config).log.add(record)
    assert dict(perfgate.records_of(config)) == {"a/b": record}


def test_the_kernel_timer_times_a_call(parse: Any) -> None:
    config, calls = parse(), []
    timed = perfgate.kernel_timer_of(config).time(lambda: calls.append(1), 3)
    assert len(calls) == 3
    assert timed.seconds > 0
    assert isinstance(perfgate.clock_of(config), WallClock)


def test_a_stored_runs_report_measures_nothing(parse: Any) -> None:
    assert perfgate.only_reports(parse("--perfgate-report-from", str(Path("results.json"))))
    assert not perfgate.only_reports(parse())


@pytest.mark.parametrize(
    ("variable", "plugin", "child"),
    [
        (None, None, False),
        (fresh_process.ONLY, None, True),
        (channel.PIPES, None, True),
        (None, worker_mode.NAME, True),
    ],
)
def test_a_process_that_another_one_started_is_known(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, plugin: str | None, child: bool
) -> None:
    """A worker takes its variable away when it starts; its plugin stays."""
    for name in [one for one in os.environ if one.startswith("PERFGATE_")]:
        monkeypatch.delenv(name)
    if variable is not None:
        monkeypatch.setenv(variable, "[]")
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(has_plugin=lambda name: name == plugin))
    assert perfgate.is_child(config) is child
