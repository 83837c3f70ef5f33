"""``pytest --perfgate-refresh-baseline``: a new baseline from fresh processes, beside the earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from pytest_benchmark.stats import Stats

from perfgate.baselines import report as report
from perfgate.baselines import store as baseline
from perfgate.baselines.store import Baseline, BaselineError, BaselineStore, Entry
from perfgate.compare.case_verdict import Estimated, Verdict, judge
from perfgate.compare.intervals import stored_intervals
from perfgate.compare.metric_verdict import FAILING, LATENCY, judge_exact
from perfgate.lockstep import fresh_process
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.machine import environment, health
from perfgate.measure.clocks import today
from perfgate.plugin import child_args, terminal_lines
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.command_line import RUNS, destination
from perfgate.plugin.compare_mode import gone
from perfgate.plugin.session import RUN, Run
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.fingerprint import changed_versions
from perfgate.records.record import Metric, Record
from perfgate.report import duration

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


def plugin(config: pytest.Config) -> Refresher | None:
    """The plugin for this run, or None where ``--perfgate-refresh-baseline`` was not given.

    Raises:
        pytest.UsageError: a value that makes no sense.
    """
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
    return Refresher(config, reason.strip(), runs)


class Refresher:
    """The pytest plugin: it replaces the run loop."""

    def __init__(self, config: pytest.Config, reason: str, runs: int) -> None:
        self._config = config
        self._reason = reason
        self._runs = runs
        self._lines = Lines(config, "refresh")
        self._interrupted = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self._config.getoption("collectonly") or self._config.getoption(destination("doctor")) or not session.items:
            return None
        run = self._config.stash[RUN]
        items = {run.record_of(item).key: item for item in session.items if is_benchmark(item)}
        store = BaselineStore(run.settings.baselines, environment.machine_key(environment.machine(run.device)))
        try:
            before = store.chosen(None).renamed(run.settings.aliases) if store.files() else None
        except BaselineError as wrong:
            pytest.exit(str(wrong), returncode=pytest.ExitCode.USAGE_ERROR)
        self._require_idle(run)
        found = {"before": health.read(run.device).to_json()}
        refresh = baseline.Refresh(today(), self._reason, run.fingerprint(), self._runs, found)
        if refresh.fingerprint.dirty:
            self._lines.say(UNCOMMITTED)
        results = self._measure(run, items)
        after = {**refresh.health, "after": health.read(run.device).to_json()}
        refresh = replace(refresh, runs=len(results), health=after)
        problems = _problems(results, run)
        entries = _entries(results, items, refresh)
        verdicts = _verdicts(before, entries, run)
        run.records = {key: entry.record for key, entry in entries.items()}
        worse = [] if self._config.getoption(destination("accept-regressions")) else _worse(verdicts)
        if not entries:
            problems.append("nothing was measured")
        kept = self._kept(run, before, entries)
        if problems or worse:
            said = [*problems, *worse]
            if worse:
                said.append("to store what is worse all the same, add --perfgate-accept-regressions")
            stored = None
        else:
            data = baseline.to_json(results[0].head, store.machine_key, kept | entries)
            stored, said = store.save(data, refresh), []
        outcome = report.Refreshed(stored, before, entries, verdicts, refresh, said)
        run.own_sections = report.refreshed(outcome, run.settings.tolerances_of)
        for key, item in items.items():
            about = [text for text in said if text.startswith(f"{key}: ")]
            terminal_lines.report(self._config, item.nodeid, "; ".join(about) or None)
        if problems and not session.testsfailed:
            session.testsfailed = 1
        if self._interrupted:
            raise KeyboardInterrupt
        return True

    def _require_idle(self, run: Run) -> None:
        """Wait until nothing else uses the machine.

        Raises:
            pytest.exit.Exception: it stays busy.
        """
        if self._config.getoption(destination("accept-busy")):
            return
        start = run.controller_clock.now()
        while reasons := "; ".join(health.not_idle(health.read(run.device))):
            waited = run.controller_clock.now() - start
            if waited > IDLE_WAIT_S:
                pytest.exit(
                    f"--perfgate-refresh-baseline: this machine is busy after waiting {waited:.0f} s: {reasons}; stop "
                    "what else runs, or add --perfgate-accept-busy",
                    returncode=pytest.ExitCode.USAGE_ERROR,
                )
            self._lines.show(f"waiting for an idle machine: {reasons}")
            run.controller_clock.sleep(LOOK_EVERY_S)

    def _measure(self, run: Run, items: Mapping[str, pytest.Item]) -> list[Result]:
        """One plain run after another, each in a fresh process; none more after one that forbids storing anything, or
        after Ctrl-C where there are enough.

        Raises:
            pytest.exit.Exception: a process left no results.
            KeyboardInterrupt: Ctrl-C while there are too few processes for a baseline.
        """
        start = run.controller_clock.now()
        self._fresh(run, [key for key in items if _tier(items[key]) == "quick"] or list(items), NOT_KEPT)
        self._lines.say(f"{NOT_KEPT} (warm-up process): {duration(run.controller_clock.now() - start)}")
        found: list[Result] = []
        try:
            for number in range(1, self._runs + 1):
                name = f"process {number} of {self._runs}"
                start = run.controller_clock.now()
                found.append(self._fresh(run, list(items), name))
                took = run.controller_clock.now() - start
                said = f"{name}: {len(found[-1].benchmarks)} cases measured in {duration(took)}"
                if _problems(found, run):
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

    def _fresh(self, run: Run, keys: Sequence[str], name: str) -> Result:
        """A plain run of these cases in a fresh process."""
        self._lines.show(f"{name}: {len(keys)} cases")
        faults = [fault.text for fault in run.settings.faults]
        try:
            return fresh_process.fresh(
                child_args.arguments(self._config, self._lines.say), self._config.invocation_params.dir, keys, faults
            )
        except ProcessError as wrong:
            pytest.exit(f"--perfgate-refresh-baseline: {wrong}; nothing was stored", returncode=1)

    def _kept(self, run: Run, before: Baseline | None, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """What stays of the baseline before: what was not selected this time, with its own provenance."""
        if before is None:
            return {}
        lost = {entry.record.key for entry in gone(self._config, run, before)}
        for key in lost:
            self._lines.say(f"{key} is gone and leaves the baseline")
        return {key: entry for key, entry in before.entries.items() if key not in entries and key not in lost}


def _problems(results: Sequence[Result], run: Run) -> list[str]:
    """Why nothing may be stored: cases that failed, or whose exact metrics differ between processes."""
    found: dict[str, str] = {}
    first = results[0].records
    accept_busy = run.config.getoption(destination("accept-busy"))
    for number, result in enumerate(results):
        for key, record in result.records.items():
            if record.status in ("failed", "fell_back"):
                found.setdefault(key, f"{key}: {record.status}: {record.reason}")
            elif record.doubts and not accept_busy:
                found.setdefault(key, f"{key}: {'; '.join(record.doubts)}; run it again, or add --perfgate-accept-busy")
            elif record.status == "measured" and number and key in first:
                for name in _unsteady(first[key], record, run):
                    found.setdefault(
                        key, f"{key}: {name} differs between fresh processes: it cannot be judged as an exact metric"
                    )
    return list(found.values())


def _unsteady(one: Record, other: Record, run: Run) -> list[str]:
    exact = [name for name, metric in one.metrics.items() if metric.kind == "exact" and name in other.metrics]
    tolerances = run.settings.tolerances_of(one.key)
    return [
        name for name in exact if judge_exact(name, one.metrics[name], other.metrics[name], tolerances).status != "SAME"
    ]


def _entries(
    results: Sequence[Result], items: Mapping[str, pytest.Item], refresh: baseline.Refresh
) -> dict[str, Entry]:
    """One entry for each case that every process measured: the samples of all of them, and each one's latency."""
    found = {}
    for key, benchmark in results[0].benchmarks.items():
        records = [result.records.get(key) for result in results]
        measured = [record for record in records if record is not None and record.status == "measured"]
        if len(measured) < len(results):
            continue
        by_process = tuple(record.metrics[LATENCY].value for record in measured)
        record = replace(measured[0], metrics={name: _pooled(name, measured) for name in measured[0].metrics})
        entry = {**benchmark, "stats": _stats(record.metrics[LATENCY].samples)}
        found[key] = Entry(record, items[key].nodeid, by_process, refresh, _tier(items[key]), key, entry)
    return found


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


def _pooled(name: str, records: Sequence[Record]) -> Metric:
    """A metric over all processes: sampled ones are averaged and keep all samples; of others the first tells."""
    metrics = [record.metrics[name] for record in records if name in record.metrics]
    if metrics[0].kind != "sampled":
        return metrics[0]
    samples = tuple(sample for metric in metrics for sample in metric.samples)
    return replace(metrics[0], value=fmean(metric.value for metric in metrics), samples=samples, interval=None)


def _verdicts(before: Baseline | None, entries: Mapping[str, Entry], run: Run) -> dict[str, Verdict]:
    """Old against new, over all metrics; times by the processes of both."""
    old = {} if before is None else before.entries
    both = [key for key in entries if key in old]
    estimates = stored_intervals(
        {key: old[key].by_process_s for key in both},
        {key: entries[key].by_process_s for key in both},
        {key: entries[key].record.name for key in both},
        alpha=run.settings.tolerances.alpha,
    )
    found = {}
    for key, entry in entries.items():
        stored = old.get(key)
        found[key] = judge(
            None if stored is None else stored.record,
            entry.record,
            Estimated(
                estimates.get(key),
                times_s=None if stored is None else (fmean(stored.by_process_s), fmean(entry.by_process_s)),
            ),
            run.settings.tolerances_of(key),
            same_versions=stored is not None
            and not changed_versions(stored.refresh.fingerprint, entry.refresh.fingerprint),
        )
    return found


def _worse(verdicts: Mapping[str, Verdict]) -> list[str]:
    return [f"{key}: {one.status}: {one.reason}" for key, one in verdicts.items() if one.status in FAILING]
