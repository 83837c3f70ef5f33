"""What a suite may ask of the session that measures it; imported from ``perfgate`` itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from perfgate.measure import timers
from perfgate.measure.clocks import Clock
from perfgate.measure.timers import Timer
from perfgate.plugin import activation, report_command, session, worker_mode
from perfgate.records.record import Record


def device_of(config: pytest.Config) -> str:
    """Where the benchmarks run: "cpu", "cuda:0".

    Raises:
        pytest.UsageError: the device that was asked for does not exist.
    """
    return session.of(config).device


def clock_of(config: pytest.Config) -> Clock:
    """The clock of what a caller waits for, in seconds; on an accelerator it waits for the device first."""
    return session.of(config).instruments.clock


def kernel_timer_of(config: pytest.Config) -> Timer:
    """A timer like those of the cases whose device's own work is timed, for a measurement beside the cases."""
    instruments = session.of(config).instruments
    return timers.choose(instruments.accelerator, instruments.clock, "device")


def records_of(config: pytest.Config) -> Mapping[str, Record]:
    """The records of the cases that have ended so far, by key."""
    return session.of(config).records


def report_dir_of(config: pytest.Config) -> Path:
    """The folder of this run's report."""
    return session.of(config).settings.report_dir


def only_reports(config: pytest.Config) -> bool:
    """Whether this session measures nothing and writes a stored run's report again."""
    return config.getoption(report_command.OPTION) is not None


def is_child(config: pytest.Config) -> bool:
    """Whether perfgate started this process to measure for another one: what concerns the user alone is not its
    business."""
    return activation.is_child() or config.pluginmanager.has_plugin(worker_mode.NAME)
