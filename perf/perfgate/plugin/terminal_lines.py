"""Where verdicts meet pytest: outcomes of tests, and lines of progress."""

from __future__ import annotations

import contextlib
from typing import Literal

import pytest


def report(config: pytest.Config, node: str, failure: str | None) -> None:
    """Report a test that no item stands for, or one that ran elsewhere, without a traceback."""
    location = (node.partition("::")[0], None, node.rpartition("::")[2])
    config.hook.pytest_runtest_logstart(nodeid=node, location=location)
    phases: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
    for when in phases:
        wrong = failure is not None and when == "call"
        config.hook.pytest_runtest_logreport(
            report=pytest.TestReport(
                nodeid=node,
                location=location,
                keywords={},
                outcome="failed" if wrong else "passed",
                longrepr=failure if wrong else None,
                when=when,
            )
        )
    config.hook.pytest_runtest_logfinish(nodeid=node, location=location)


class Lines:
    """How far a comparison is: lines that stay, and on a terminal one that changes."""

    def __init__(self, config: pytest.Config, prefix: str) -> None:
        self._config = config
        self._prefix = prefix
        self._shown = False

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
        if self._shown:
            reporter.rewrite("", erase=True)
            reporter.rewrite("")
            self._shown = False
        reporter.ensure_newline()
        reporter.write_line(f"{self._prefix}: {text}")

    def show(self, text: str) -> None:
        """A line that the next one replaces; dropped where lines cannot be replaced."""
        reporter = self._reporter
        if reporter is not None and reporter.isatty:
            self._shown = True
            width = self._config.get_terminal_writer().fullwidth
            with contextlib.suppress(OSError):
                reporter.rewrite(f"{self._prefix}: {text}"[: width - 1], erase=True)
