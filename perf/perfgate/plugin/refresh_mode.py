"""``pytest --perfgate-refresh-baseline``: a new baseline from fresh processes, beside the earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import pytest
from pytest_benchmark.stats import Stats

from perfgate.baselines import anchor, new_baseline, report
from perfgate.baselines import store as baseline
from perfgate.baselines.new_baseline import Test
from perfgate.baselines.store import Baseline, BaselineError, BaselineStore, Entry
from perfgate.lockstep import code_recording, fresh_process
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.lockstep.worker_client import WorkerError
from perfgate.machine import health
from perfgate.measure.clocks import today
from perfgate.measure.code_trace import Traced
from perfgate.plugin import child_args, terminal_lines
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.command_line import RUNS, destination
from perfgate.plugin.judging import judge_of
from perfgate.plugin.selection import gone, runs_cases
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import Lines
from perfgate.report import Section, counted, duration

NOT_KEPT = "a process that is not kept"
"""The first process after a rest ran 4-29% slower than the best of the four after it, in 12 of 12 cases on a virtual
machine: one of the quick cases goes before those that are stored, so that all of these find the machine awake."""
UNCOMMITTED = (
    "there are uncommitted changes: if one of them is to the benchmarks' code, later comparisons cannot rebuild it; "
    "better commit first"
)
IDLE_WAIT_S = 120.0
"""How long to wait for an idle machine; the one-minute load needs that long to forget what ran before."""
LOOK_EVERY_S = 5.0


def plugin(context: SessionContext) -> Refresher | None:
    """The plugin for this run, or None where ``--perfgate-refresh-baseline`` was not given.

    Raises:
        pytest.UsageError: a value that makes no sense.
    """
    config = context.config
    if not config.getoption(destination("refresh-baseline")):
        return None
    reason, runs = config.getoption(destination("reason")), config.getoption(destination("runs"))
    if not (reason or "").strip():
        raise pytest.UsageError(
            "--perfgate-refresh-baseline needs --perfgate-reason TEXT: why the numbers may change; it is stored"
        )
    if runs < RUNS:
        raise pytest.UsageError(
            f"--perfgate-runs: got {runs}, expected {RUNS} or more: fewer tell too little of the spread"
        )
    return Refresher(context, reason.strip(), runs)


class Refresher:
    """The pytest plugin: it replaces the run loop."""

    replaces_suite: ClassVar[bool] = True

    def __init__(self, context: SessionContext, reason: str, runs: int) -> None:
        self._context = context
        self._config = context.config
        self._reason = reason
        self._runs = runs
        self._accept_busy: bool = context.config.getoption(destination("accept-busy"))
        self._lines = Lines(context.config, "refresh")
        self._interrupted = False
        self._outcome: report.Refreshed | None = None

    def sections(self) -> list[Section]:
        """What was stored, or why nothing was."""
        if self._outcome is None:
            return []
        return report.refreshed(self._outcome, self._context.settings.tolerances_of)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        return self._refresh(session) if runs_cases(session) else None

    def _refresh(self, session: pytest.Session) -> bool:
        """Measure the benchmarks among the session's tests in fresh processes, and store what they found.

        Raises:
            pytest.exit.Exception: the machine stays busy, a process left no results, or the baseline before cannot be
                read.
            KeyboardInterrupt: Ctrl-C; what suffices for a baseline is stored first.
        """
        context = self._context
        items = {context.log.record_of(item).key: item for item in session.items if is_benchmark(item)}
        store = context.baselines()
        before = self._before(store)
        self._require_idle()
        healthy = {"before": health.read(context.device).to_json()}
        refresh = baseline.Refresh(today(), self._reason, context.fingerprint(), self._runs, healthy)
        if refresh.fingerprint.dirty:
            self._lines.say(UNCOMMITTED)
        results = self._measure(items)
        after = {**refresh.health, "after": health.read(context.device).to_json()}
        refresh = replace(refresh, runs=len(results), health=after)
        self._outcome = self._store(store, before, results, refresh, items)
        for key, item in items.items():
            about = [text for text in self._outcome.problems if text.startswith(f"{key}: ")]
            terminal_lines.report(self._config, item.nodeid, "; ".join(about) or None)
        if self._outcome.problems and not session.testsfailed:
            session.testsfailed = 1
        if self._interrupted:
            raise KeyboardInterrupt
        return True

    def _before(self, store: BaselineStore) -> Baseline | None:
        """The baseline that the new one follows.

        Raises:
            pytest.exit.Exception: it cannot be read.
        """
        try:
            return store.chosen(None).renamed(self._context.settings.aliases) if store.files() else None
        except BaselineError as wrong:
            pytest.exit(str(wrong), returncode=pytest.ExitCode.USAGE_ERROR)

    def _store(
        self,
        store: BaselineStore,
        before: Baseline | None,
        results: Sequence[Result],
        refresh: baseline.Refresh,
        items: Mapping[str, pytest.Item],
    ) -> report.Refreshed:
        """Store what the processes found, unless something forbids it; returns what became of it."""
        settings = self._context.settings
        tests = {key: Test(item.nodeid, _tier(item)) for key, item in items.items()}
        problems = self._problems(results)
        traced = Traced() if problems or self._interrupted else self._traced(list(items))
        entries = new_baseline.entries(results, tests, refresh, _stats, traced)
        for entry in entries.values():
            self._context.log.add(entry.record)
        judge = judge_of(self._context, refresh.fingerprint)
        verdicts, interrupted = new_baseline.verdicts(before, entries, judge, forbidden=bool(problems))
        self._interrupted |= interrupted
        old = {} if before is None else before.entries
        entries = anchor.carried(old, entries, verdicts, self._anchors_anew)
        problems += anchor.beyond(entries, settings.tolerances_of)
        if not entries:
            problems.append("nothing was measured")
        if not self._config.getoption(destination("accept-regressions")):
            worse = new_baseline.worse(verdicts, undecided_fails=settings.undecided_fails)
            if worse:
                worse.append("to store what is worse all the same, add --perfgate-accept-regressions")
            problems += worse
        kept = self._kept(before, entries)
        stored = None
        if not problems:
            stored = store.save(baseline.to_json(results[0].head, store.machine_key, kept | entries), refresh)
        return report.Refreshed(stored, before, entries, verdicts, refresh, problems)

    def _anchors_anew(self, key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in self._config.getoption(destination("anchor")))

    def _problems(self, results: Sequence[Result]) -> list[str]:
        return new_baseline.problems(results, self._context.settings.tolerances_of, accept_busy=self._accept_busy)

    def _require_idle(self) -> None:
        """Wait until nothing else uses the machine.

        Raises:
            pytest.exit.Exception: it stays busy.
        """
        if self._accept_busy:
            return
        clock = self._context.controller_clock
        start = clock.now()
        while reasons := "; ".join(health.not_idle(health.read(self._context.device))):
            waited = clock.now() - start
            if waited > IDLE_WAIT_S:
                pytest.exit(
                    f"--perfgate-refresh-baseline: this machine is busy after waiting {waited:.0f} s: {reasons}; stop "
                    "what else runs, or add --perfgate-accept-busy",
                    returncode=pytest.ExitCode.USAGE_ERROR,
                )
            self._lines.show(f"waiting for an idle machine: {reasons}")
            clock.sleep(LOOK_EVERY_S)

    def _measure(self, items: Mapping[str, pytest.Item]) -> list[Result]:
        """One plain run after another, each in a fresh process; none more after one that forbids storing anything, or
        after Ctrl-C where there are enough.

        Raises:
            pytest.exit.Exception: a process left no results.
            KeyboardInterrupt: Ctrl-C while there are too few processes for a baseline.
        """
        clock = self._context.controller_clock
        start = clock.now()
        self._fresh([key for key in items if _tier(items[key]) == "quick"] or list(items), NOT_KEPT)
        self._lines.say(f"{NOT_KEPT} (warm-up process): {duration(clock.now() - start)}")
        found: list[Result] = []
        try:
            for number in range(1, self._runs + 1):
                name = f"process {number} of {self._runs}"
                start = clock.now()
                found.append(self._fresh(list(items), name))
                took = clock.now() - start
                said = f"{name}: {counted(len(found[-1].benchmarks))} measured in {duration(took)}"
                if self._problems(found):
                    self._lines.say(f"{said}; aborting: the baseline would be invalid")
                    break
                left = took * (self._runs - number)
                self._lines.say(said + (f"; about {duration(left)} left" if left else ""))
        except KeyboardInterrupt:
            done = f"interrupted after {len(found)} of {self._runs} processes"
            if len(found) < RUNS:
                self._lines.say(f"{done}: a baseline needs {RUNS}, so nothing was stored")
                raise
            self._lines.say(f"{done}, which suffice")
            self._interrupted = True
        return found

    def _fresh(self, keys: Sequence[str], name: str) -> Result:
        """A plain run of these cases in a fresh process."""
        self._lines.show(f"{name}: {counted(len(keys))}")
        faults = [fault.text for fault in self._context.settings.faults]
        try:
            return fresh_process.fresh(
                child_args.arguments(self._config, self._lines.say), self._config.invocation_params.dir, keys, faults
            )
        except ProcessError as wrong:
            pytest.exit(f"--perfgate-refresh-baseline: {wrong}; nothing was stored", returncode=1)

    def _traced(self, keys: Sequence[str]) -> Traced:
        """Which functions the cases run, so that later comparisons know whom a change concerns. Ctrl-C, or a process
        that dies, leaves that unknown: then every change concerns them."""
        clock = self._context.controller_clock
        start = clock.now()
        arguments = child_args.arguments(self._config, self._lines.say)
        try:
            found = code_recording.record(self._context.project, arguments, keys, self._lines.show)
        except WorkerError as wrong:
            self._lines.say(f"which functions the cases run is not known: {wrong}")
            return Traced()
        except KeyboardInterrupt:
            self._interrupted = True
            return Traced()
        known = sum(one is not None for one in found.cases.values())
        self._lines.say(
            f"which functions they run is known of {known} of {len(keys)} cases ({duration(clock.now() - start)})"
        )
        return found

    def _kept(self, before: Baseline | None, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """What stays of the baseline before: what was not selected this time, with its own provenance."""
        if before is None:
            return {}
        lost = {entry.record.key for entry in gone(self._context, before)}
        for key in lost:
            self._lines.say(f"{key} is gone and leaves the baseline")
        return {key: entry for key, entry in before.entries.items() if key not in entries and key not in lost}


def _tier(item: pytest.Item) -> str:
    """One of :data:`perfgate.baselines.store.TIERS`."""
    row = row_of(item)
    return "default" if row is None else "quick" if row.quick else "extra" if row.extra else "default"


def _stats(samples: Sequence[float]) -> dict[str, Any]:
    """pytest-benchmark's statistics of these samples, as its files have them. Like its own, without the samples: the
    record has those."""
    stats: Any = Stats()  # type: ignore[no-untyped-call]  # pytest-benchmark has no types
    for sample in samples:
        stats.update(sample)
    return {**stats.as_dict(), "iterations": 1}
