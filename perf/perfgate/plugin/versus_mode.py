"""``pytest --perfgate-versus ENV``: the selected cases in lockstep with another environment, not a plain run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import pytest

from perfgate.compare.metric_verdict import fails
from perfgate.lockstep import environments, report
from perfgate.lockstep.comparison import Comparison, Lockstep, Plan
from perfgate.lockstep.worker_client import WorkerError
from perfgate.machine.pinning import last_core
from perfgate.plugin import child_args, terminal_lines
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.command_line import destination
from perfgate.plugin.selection import runs_cases
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.case import on_all_cores
from perfgate.report import Section


def plugin(context: SessionContext) -> Versus | None:
    """The plugin for this run, or None where ``--perfgate-versus`` was not given.

    Raises:
        pytest.UsageError: a value that makes no sense.
    """
    config = context.config
    text = config.getoption(destination("versus"))
    if text is None:
        return None
    budget = config.getoption(destination("versus-budget"))
    if not budget > 0:
        raise pytest.UsageError(f"--perfgate-versus-budget: got {budget:g}, expected seconds above 0")
    return Versus(context, text, budget)


class Versus:
    """The pytest plugin: it replaces the run loop, and each case's test gets its verdict as its outcome."""

    replaces_suite: ClassVar[bool] = True

    def __init__(self, context: SessionContext, text: str, budget_s: float) -> None:
        self._context = context
        self._config = context.config
        self._text = text
        self._budget_s = budget_s
        self._display = Lines(context.config, "versus")
        self._sections: list[Section] = []

    def sections(self) -> list[Section]:
        """B against A."""
        return self._sections

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        return self._run(session.items) if runs_cases(session) else None

    def _run(self, tests: list[pytest.Item]) -> bool:
        """Compare the benchmarks among ``tests``.

        Raises:
            pytest.exit.Exception: there is no such environment, or one of the two does not even start.
        """
        record_of, packages = self._context.log.record_of, self._context.settings.packages
        items = {
            record_of(item).key: item
            for item in tests
            if is_benchmark(item) and item.get_closest_marker("skip") is None
        }
        here = self._config.invocation_params.dir
        try:
            with (
                environments.open_side(self._text, here, packages, self._display.say) as base,
                tempfile.TemporaryDirectory(prefix="perfgate-versus-") as logs,
            ):
                head = environments.current(here, packages, base)
                self._compare(base, head, items, Path(logs))
        except environments.SideError as wrong:
            self._sections = []  # nothing was compared
            pytest.exit(f"--perfgate-versus: {wrong}", returncode=pytest.ExitCode.USAGE_ERROR)
        return True

    def _compare(
        self, base: environments.Side, head: environments.Side, items: dict[str, pytest.Item], logs: Path
    ) -> None:
        context = self._context
        clock, settings = context.controller_clock, context.settings
        plan = Plan(
            arguments=child_args.arguments(self._config, self._display.say),
            budget_s=self._budget_s,
            tolerances_of=settings.tolerances_of,
            alpha=settings.tolerances.alpha,
            log_dir=logs,
            core=last_core() if context.device == "cpu" else None,
            apart=self._config.getoption(destination("versus-apart")),
            faults=tuple(fault.text for fault in settings.faults),
            all_cores=frozenset(key for key, item in items.items() if on_all_cores(context.log.record_of(item).fields)),
        )
        start = clock.now()
        lockstep = Lockstep(base, head, list(items), plan, clock, self._display)
        try:
            lockstep.run()
        except WorkerError as wrong:
            raise environments.SideError(str(wrong)) from None
        finally:  # on Ctrl-C too: what was decided is reported
            for case in lockstep.cases.values():
                if "B" in case.records:
                    context.log.add(case.records["B"])
            self._sections = report.sections(lockstep, clock.now() - start)
        for key, item in items.items():
            self._report(item, lockstep.cases[key])

    def _report(self, item: pytest.Item, case: Comparison) -> None:
        """The case's verdict as its test's outcome."""
        status = report.status(case)
        failed = fails(status, undecided_fails=self._context.settings.undecided_fails)
        terminal_lines.report(
            self._config, item.nodeid, f"{case.key}: {status}: {report.why(case)}" if failed else None
        )
