"""``pytest --versus ENV``: the selected cases in lockstep against another environment, instead of a plain run."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from perfgate import sides
from perfgate.lockstep import Comparison, Lockstep, Plan
from perfgate.report import versus as report
from perfgate.run import RUN, Run, is_benchmark
from perfgate.verdict import FAILING, Tolerances
from perfgate.workers import WorkerError

DEFAULT_BUDGET_S = 600.0
OWN_OPTIONS = ("--versus", "--versus-budget", "--versus-tolerance", "--versus-inject", "--report-dir", "--junitxml")
"""Options with a value that concern the controller alone."""
OWN_FLAGS = ("--versus-apart", "-x", "--exitfirst", "-v", "-vv", "--verbose", "-s")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("versus", "perfgate: A/B against another environment")
    group.addoption(
        "--versus",
        metavar="ENV",
        help="compare this environment (B) with another (A) in lockstep: a Python interpreter, pins such as "
        '"bitsandbytes==0.48.2" (installed into a cached overlay), or git:REVISION of this checkout',
    )
    group.addoption(
        "--versus-budget",
        type=float,
        default=DEFAULT_BUDGET_S,
        metavar="SECONDS",
        help="go on adding pairs of processes until every case is decided, or this long "
        f"(default {DEFAULT_BUDGET_S:g})",
    )
    group.addoption(
        "--versus-tolerance",
        type=float,
        metavar="PERCENT",
        help=f"a case is REGRESSED when it is surely slower by more than this (default {100 * Tolerances().time:g})",
    )
    group.addoption(
        "--versus-apart",
        action="store_true",
        help="hold every case on one side at a time, for models of which the device holds one only (what runs out of "
        "memory otherwise is held so by itself): far coarser, because nothing cancels the machine's drift",
    )
    group.addoption(
        "--versus-inject",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="for tests of the comparison itself: make every call of B take this much longer",
    )


def plugin(config: pytest.Config) -> Versus | None:
    """The plugin for this run, or None where ``--versus`` was not given.

    Raises:
        pytest.UsageError: a value that makes no sense.
    """
    text = config.getoption("versus")
    if text is None:
        return None
    budget, tolerance = config.getoption("versus_budget"), config.getoption("versus_tolerance")
    if not budget > 0:
        raise pytest.UsageError(f"--versus-budget: got {budget:g}, expected seconds above 0")
    if tolerance is not None and not 0 < tolerance < 100:
        raise pytest.UsageError(f"--versus-tolerance: got {tolerance:g}, expected a percentage between 0 and 100")
    if sys.platform == "win32":
        raise pytest.UsageError("--versus needs pipes that a process can inherit by number: not on Windows")
    tolerances = Tolerances() if tolerance is None else Tolerances(time=tolerance / 100)
    return Versus(config, text, budget, tolerances)


def worker_arguments(given: list[str]) -> list[str]:
    """The command line of this run as the workers get it: the same selection, none of the controller's own options."""
    kept: list[str] = []
    skip = False
    for argument in given:
        name, equals, _ = argument.partition("=")
        if skip:
            skip = False
        elif name in OWN_OPTIONS or name.startswith("--benchmark"):
            skip = not equals and name in OWN_OPTIONS
        elif argument not in OWN_FLAGS:
            kept.append(argument)
    return [*kept, "--benchmark-disable", "-q", "-p", "no:cacheprovider"]


class Versus:
    """The pytest plugin: it replaces the run loop, and each case's test gets its verdict as its outcome."""

    def __init__(self, config: pytest.Config, text: str, budget_s: float, tolerances: Tolerances) -> None:
        self._config = config
        self._text = text
        self._budget_s = budget_s
        self._tolerances = tolerances
        self._display = Lines(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self._config.getoption("collectonly") or self._config.getoption("doctor") or not session.items:
            return None
        run = self._config.stash[RUN]
        items = {
            run.record_of(item).key: item
            for item in session.items
            if is_benchmark(item) and item.get_closest_marker("skip") is None
        }
        here = self._config.invocation_params.dir
        try:
            with (
                sides.open_side(self._text, here, run.settings.packages, self._display.say) as base,
                tempfile.TemporaryDirectory(prefix="perfgate-versus-") as logs,
            ):
                head = sides.current(here, run.settings.packages)
                self._compare(run, base, head, items, Path(logs))
        except sides.SideError as wrong:
            pytest.exit(f"--versus: {wrong}", returncode=pytest.ExitCode.USAGE_ERROR)
        return True

    def _compare(self, run: Run, base: sides.Side, head: sides.Side, items: dict[str, pytest.Item], logs: Path) -> None:
        clock = run.controller_clock
        plan = Plan(
            arguments=tuple(worker_arguments(list(self._config.invocation_params.args))),
            budget_s=self._budget_s,
            tolerances=self._tolerances,
            log_dir=logs,
            core=max(os.sched_getaffinity(0)) if run.device == "cpu" and hasattr(os, "sched_getaffinity") else None,
            apart=self._config.getoption("versus_apart"),
            slower=self._config.getoption("versus_inject") / 100,
        )
        start = clock.now()
        lockstep = Lockstep(base, head, list(items), plan, clock, self._display)
        try:
            lockstep.run()
        except WorkerError as wrong:
            if not any(case.records for case in lockstep.cases.values()):
                raise sides.SideError(str(wrong)) from None
            self._display.say(f"the comparison ends here: {wrong}")
        finally:  # on Ctrl-C too: what was decided is reported
            for key, case in lockstep.cases.items():
                if "B" in case.records:
                    run.records[key] = case.records["B"]
            run.own_sections = report.sections(lockstep, clock.now() - start)
        for key, item in items.items():
            self._report(item, lockstep.cases[key])

    def _report(self, item: pytest.Item, case: Comparison) -> None:
        """The case's verdict as its test's outcome, without a traceback."""
        status = report.status(case)
        failed = status in FAILING or (status == "INCONCLUSIVE" and self._config.getoption("strict", False))
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for when in ("setup", "call", "teardown"):
            wrong = failed and when == "call"
            item.ihook.pytest_runtest_logreport(
                report=pytest.TestReport(
                    nodeid=item.nodeid,
                    location=item.location,
                    keywords={},
                    outcome="failed" if wrong else "passed",
                    longrepr=f"{case.key}: {status}: {report.why(case)}" if wrong else None,
                    when=when,
                )
            )
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


class Lines:
    """How far a comparison is: lines that stay, and on a terminal one that changes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._shown = False

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def say(self, text: str) -> None:
        reporter = self._reporter
        if reporter is None:
            print(text)
            return
        if self._shown:
            reporter.rewrite("", erase=True)
            reporter.rewrite("")
            self._shown = False
        reporter.write_line(f"versus: {text}")

    def show(self, text: str) -> None:
        reporter = self._reporter
        if reporter is not None and reporter.isatty:
            self._shown = True
            width = self._config.get_terminal_writer().fullwidth
            reporter.rewrite(f"versus: {text}"[: width - 1], erase=True)
