"""Where verdicts meet pytest: outcomes of tests, and lines of progress."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import pytest

from perfgate.measure.clocks import Clock, WallClock

EVERY_S = 60.0
"""How often progress is printed where a line cannot be rewritten in place: a log file, CI."""

LINE = "perfgate_line"
"""Attribute of a report of which perfgate itself prints the progress, in place of pytest's letter: the text; empty
where there is nothing to say."""


def on_terminal(config: pytest.Config) -> bool:
    """Whether the session writes to a terminal, which has a width and can rewrite a line; not a file or a pipe."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter is not None and reporter.isatty


def report(config: pytest.Config, node: str, failure: str | None) -> None:
    """Report a test that no item stands for, or one that ran elsewhere, without a traceback."""
    location = (node.partition("::")[0], None, node.rpartition("::")[2])
    config.hook.pytest_runtest_logstart(nodeid=node, location=location)
    phases: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
    for when in phases:
        wrong = failure is not None and when == "call"
        made = pytest.TestReport(
            nodeid=node,
            location=location,
            keywords={},
            outcome="failed" if wrong else "passed",
            longrepr=failure if wrong else None,
            when=when,
        )
        if when == "call":
            setattr(made, LINE, "")
        config.hook.pytest_runtest_logreport(report=made)
    config.hook.pytest_runtest_logfinish(nodeid=node, location=location)


def relative(path: Path, to: Path) -> str:
    """``path`` as a person in folder ``to`` would write it."""
    return str(path.relative_to(to)) if path.is_relative_to(to) else str(path)


class Lines:
    """How far a run is: lines that stay, and one that changes. Where lines cannot be rewritten, the one that changes is
    printed once a minute."""

    def __init__(self, config: pytest.Config, prefix: str, clock: Clock | None = None) -> None:
        self._config = config
        self._prefix = prefix
        self._clock = clock if clock is not None else WallClock()
        self._shown = False
        self._last_s: float | None = None

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def say(self, text: str) -> None:
        """A line that stays."""
        reporter = self._reporter
        if reporter is None:
            print(text)
            return
        self.clear()
        reporter.ensure_newline()
        reporter.write_line(f"{self._prefix}: {text}")

    def show(self, text: str) -> None:
        """A line that the next one replaces; elsewhere than on a terminal, the first one and then one a minute stay."""
        reporter = self._reporter
        if reporter is None:
            return
        if reporter.isatty:
            self._shown = True
            width = self._config.get_terminal_writer().fullwidth
            with contextlib.suppress(OSError):
                reporter.rewrite(f"{self._prefix}: {text}"[: width - 1], erase=True)
            return
        now = self._clock.now()
        if self._last_s is None or now - self._last_s >= EVERY_S:
            self._last_s = now
            self.say(text)

    def clear(self) -> None:
        """Take the line that changes off the terminal."""
        reporter = self._reporter
        if reporter is not None and self._shown:
            reporter.rewrite("", erase=True)
            reporter.rewrite("")
            self._shown = False
