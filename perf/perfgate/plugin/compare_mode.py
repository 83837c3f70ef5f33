"""``pytest --benchmark-compare``: every case gets one verdict against this machine's baseline, as its test's outcome.

Exact and bounded metrics are judged as soon as a case is measured. Where a time must be judged, the case's report is
withheld; all of them are judged together after the last case, and reported then.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import pytest
from _pytest.runner import runtestprotocol

from perfgate.baselines import code_suspects, report, timing_judge
from perfgate.baselines.code_suspects import Concern
from perfgate.baselines.store import Baseline, BaselineError, Entry
from perfgate.baselines.timing_judge import Suspect
from perfgate.compare.case_verdict import Undecided, Verdict
from perfgate.compare.metric_verdict import fails
from perfgate.plugin import selection, terminal_lines
from perfgate.plugin.activation import COMPARE, is_benchmark
from perfgate.plugin.command_line import destination
from perfgate.plugin.judging import judge_of
from perfgate.plugin.options import Settings
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import LINE, Lines
from perfgate.records.fingerprint import Fingerprint, differences
from perfgate.records.record import Record
from perfgate.report import Section


def wanted(config: pytest.Config) -> bool | str | None:
    """What ``--benchmark-compare`` named; from now on pytest-benchmark does not look for it in its own storage."""
    now = getattr(config.option, "benchmark_compare", None)
    config.option.benchmark_compare = []
    return config.stash.get(COMPARE, None) or now or None


def plugin(context: SessionContext) -> Gate | None:
    """The plugin for this run, or None where ``--benchmark-compare`` was not given."""
    name = wanted(context.config)
    return None if name is None else Gate(context, None if name is True else str(name))


@dataclass
class Withheld:
    """A test whose outcome waits for its verdict."""

    item: pytest.Item
    reports: list[pytest.TestReport]
    suspect: Suspect


@dataclass
class Gate:
    """The pytest plugin of a comparison; registered only for one. ``wanted`` is what ``--benchmark-compare`` named."""

    context: SessionContext
    wanted: str | None
    replaces_suite: ClassVar[bool] = False
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    withheld: list[Withheld] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    _baseline: Baseline | None = None
    _now: Fingerprint | None = None
    _selected: list[str] = field(default_factory=list)
    _waiting: Lines = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = Lines(self.config, "timing comparison pending")

    @property
    def config(self) -> pytest.Config:
        return self.context.config

    @property
    def settings(self) -> Settings:
        return self.context.settings

    @property
    def baseline(self) -> Baseline:
        assert self._baseline is not None, "set when the cases are collected"
        return self._baseline

    @property
    def now(self) -> Fingerprint:
        if self._now is None:
            self._now = self.context.fingerprint()
        return self._now

    @cached_property
    def concern(self) -> Concern:
        """Whom what has changed in the code concerns."""
        entries = {key: self.baseline.entries[key] for key in self._selected if key in self.baseline.entries}
        anyway = self.settings.judged_anyway
        return code_suspects.of(entries, self.now, self.context.project, anyway, self._waiting.show)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._load()
        self._selected = [self.context.log.record_of(item).key for item in session.items if is_benchmark(item)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        return self._run_case(item, nextitem) if self._compares(item) else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Judge what was withheld after the last case; with ``-x``, after the first failure."""
        try:
            result = yield
        except KeyboardInterrupt:
            self._finish({}, "interrupted before it was judged")
            raise
        except session.Failed:
            self._judge()
            raise
        self._conclude()
        return result

    def _load(self) -> None:
        """Load the baseline, once it is known that there is something to compare.

        Raises:
            pytest.UsageError: there is none, or it cannot be used.
        """
        benchmarks = self.config._benchmarksession  # type: ignore[attr-defined]  # set by pytest-benchmark
        try:
            store = self.context.baselines(self.config.getoption(destination("baseline-machine")))
            self._baseline = store.chosen(self.wanted).renamed(self.settings.aliases)
        except BaselineError as wrong:
            raise pytest.UsageError(str(wrong)) from None
        here = self.config.invocation_params.dir
        benchmarks.compare = os.path.relpath(
            self.baseline.path, here
        )  # its own table shows the baseline beside this run
        benchmarks.handle_loading()
        self.missing = selection.gone(self.context, self.baseline)

    def _compares(self, item: pytest.Item) -> bool:
        return is_benchmark(item) and self._baseline is not None and not self.context.disabled

    def _run_case(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a benchmark, and withhold its report where its time must be judged."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        record = self.context.log.record_of(item)
        verdict = self.at_once(record)
        if verdict is None:
            self.withheld.append(Withheld(item, reports, Suspect(self.baseline.entries[record.key], record)))
            self._show_progress(reports)
        else:
            self._tell(item, reports, verdict)
        return True

    def _show_progress(self, reports: list[pytest.TestReport]) -> None:
        """The line of a case whose report has to wait."""
        for one in reports:
            line = getattr(one, LINE, None)
            if line is not None:
                self._waiting.show(line)
                setattr(one, LINE, "")

    def at_once(self, record: Record) -> Verdict | None:
        """The verdict of a case whose time need not be judged; None where it must."""
        entry, tolerances = self.baseline.entries.get(record.key), self.settings.tolerances_of(record.key)
        forced = self.config.getoption(destination("judge"))
        return timing_judge.at_once(
            entry,
            record,
            self.now,
            tolerances,
            forced=forced,
            unconcerned=None if forced else self.concern.unconcerned.get(record.key),
        )

    def _tell(self, item: pytest.Item, reports: list[pytest.TestReport], verdict: Verdict) -> None:
        """Give the test its verdict as its outcome, and report it."""
        key = self.context.log.record_of(item).key
        self.verdicts[key] = verdict
        failed = fails(verdict.status, undecided_fails=self.settings.undecided_fails)
        for one in reports:
            if one.when == "call" and one.passed and failed:
                one.outcome = "failed"
                one.longrepr = self._paragraph(item.nodeid, key, verdict)
            item.ihook.pytest_runtest_logreport(report=one)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _paragraph(self, node: str, key: str, verdict: Verdict) -> str:
        shown = terminal_lines.relative(self.baseline.path, self.config.rootpath)
        entry = self.baseline.entries.get(key)
        changed = [] if entry is None else differences(entry.refresh.fingerprint, self.now)
        return (
            f"{key}: {verdict.status}: {verdict.reason}. Against {shown}; changed since: "
            f"{', '.join(changed) or 'nothing'}. To run this case again: pytest '{node}' --benchmark-compare"
        )

    def _conclude(self) -> None:
        """After the last case: judge what was withheld, and report what is gone."""
        if self._baseline is not None and not self.config.getoption("collectonly"):
            self._judge()
            self._report_missing()

    def _judge(self) -> None:
        if not self.withheld:
            return
        self._waiting.clear()
        judge_all = judge_of(self.context, self.now)
        try:
            found: Mapping[str, Verdict] = judge_all.verdicts([one.suspect for one in self.withheld])
        except KeyboardInterrupt:
            self._finish(judge_all.found, "interrupted before it was judged")
            raise
        self._finish(found, "not judged")

    def _finish(self, found: Mapping[str, Verdict], otherwise: str) -> None:
        """Report what was withheld, with its verdict or the reason why there is none."""
        for one in self.withheld:
            verdict = found.get(one.suspect.key)
            if verdict is None:
                tolerances = self.settings.tolerances_of(one.suspect.key)
                verdict = one.suspect.verdict(tolerances, self.now, Undecided(otherwise))
            self._tell(one.item, one.reports, verdict)
        self.withheld.clear()

    def _report_missing(self) -> None:
        """A stored case that is gone has no test of its own any more: its failure is reported under the old name."""
        for entry in self.missing:
            key = entry.record.key
            verdict = self.verdicts[key] = Verdict(
                "MISSING",
                f"stored on {entry.refresh.date}, and selected, but no test has it any more; if it was renamed, add "
                f'"{key}" = "NEW KEY" to [tool.perfgate.aliases]; if it is gone for good, refresh the baseline',
            )
            terminal_lines.report(self.config, entry.node, self._paragraph(entry.node, key, verdict))

    def sections(self) -> list[Section]:
        """The comparison's part of the report."""
        if not self.verdicts:
            return []
        forced = self.config.getoption(destination("judge"))
        comparison = report.Comparison(
            self.baseline,
            self.verdicts,
            self.context.records,
            self.now,
            forced=forced,
            concern=Concern() if forced else self.concern,
        )
        return report.sections(comparison, self.settings.tolerances_of)
