"""Where verdicts meet pytest: outcomes of tests, what a controller's processes are asked to run, lines of progress."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

OWN_OPTIONS = (
    "--versus",
    "--versus-budget",
    "--judge-budget",
    "--baseline-machine",
    "--reason",
    "--runs",
    "--tolerance",
    "--memory-tolerance",
    "--inject",
    "--alias",
    "--report-dir",
    "--junitxml",
    "--junit-xml",
    "--maxfail",
    "--lfnf",
    "--last-failed-no-failures",
)
"""Options with a value that concern the controller alone."""
OWN_FLAGS = (
    "--versus-apart",
    "--judge",
    "--refresh-baseline",
    "--accept-regressions",
    "--accept-busy",
    "--strict",
    "--no-html",
    "-x",
    "--exitfirst",
    "-v",
    "-vv",
    "--verbose",
    "-s",
    "-q",
    "--pdb",
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
    "--sw-skip",
    "--stepwise-skip",
    "--cache-clear",
)
BENCHMARK = "--benchmark"
BENCHMARK_FLAGS = tuple(
    f"{BENCHMARK}-{name}"
    for name in ("disable-gc", "skip", "disable", "enable", "only", "autosave", "save-data", "verbose", "quiet")
)
"""pytest-benchmark's options that take no value; its others take one."""
BENCHMARK_MANY = f"{BENCHMARK}-compare-fail"
"""The one that takes all values that follow it."""


def arguments(config: pytest.Config) -> list[str]:
    """The command line of this run for another process: the same selection, none of the controller's own options."""
    suites = [name for names in config.hook.pytest_perfgate_own_options() for name in names]
    return process_arguments(config.invocation_params.args, suites)


def process_arguments(given: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """``given`` without the controller's own options, to which ``more`` belong as well."""
    own = (*OWN_OPTIONS, *more)
    kept: list[str] = []
    values = 0.0  # of the option before, still to come
    for argument in given:
        name, equals, _ = argument.partition("=")
        if values and not argument.startswith("-"):
            values -= 1
        elif name in own or name.startswith(BENCHMARK):
            values = 0 if equals or name in BENCHMARK_FLAGS else math.inf if name == BENCHMARK_MANY else 1
        else:
            values = 0
            if argument not in OWN_FLAGS:
                kept.append(argument)
    return kept


def worker_arguments(given: Sequence[str]) -> list[str]:
    """The same for a worker of an A/B comparison."""
    return [*process_arguments(given), "--benchmark-disable", "-q", "-p", "no:cacheprovider"]


def strict(config: pytest.Config) -> bool:
    """Whether INCONCLUSIVE fails: ``--strict`` was typed. pytest's own setting of that name is about other things."""
    return "--strict" in config.invocation_params.args


def asked_for(config: pytest.Config) -> list[str]:
    """What pytest was asked to collect, relative to its root."""
    here, root = config.invocation_params.dir, config.rootpath.resolve()
    found = []
    for argument in config.args:
        path, colons, names = argument.partition("::")
        absolute = (here / path).resolve()
        if absolute.is_relative_to(root):
            found.append(f"{absolute.relative_to(root).as_posix()}{colons}{names}")
    return found


def keyword_filter(config: pytest.Config) -> Callable[[str], bool]:
    """Whether ``-k`` selects a test of a name."""
    text = config.getoption("keyword")
    if not text:
        return lambda name: True
    from _pytest.mark.expression import Expression

    expression = Expression.compile(text)

    def matches(name: str) -> bool:
        lowered = "/".join((name.lower(), Path(name.partition("::")[0]).name.lower()))
        return bool(expression.evaluate(lambda word, /, **_: word.lower() in lowered))

    return matches


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
