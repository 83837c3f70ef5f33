"""A new baseline from what fresh processes measured: what forbids it, what it keeps, and how it differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.baselines import new_baseline
from perfgate.baselines.store import Baseline, Entry
from perfgate.baselines.timing_judge import Suspect
from perfgate.compare.case_verdict import Verdict
from perfgate.compare.tolerances import EXACT_BYTES, Tolerances
from perfgate.lockstep.environments import Project
from perfgate.lockstep.fresh_process import Result
from perfgate.measure.code_trace import Traced
from perfgate.records.record import Metric, Record

from tests.support.baseline_entries import FINGERPRINT, REFRESH, entry

KEY = "sum/a"
TRACED = Traced({KEY: frozenset({"a.py:f"}), "sum/b": None}, frozenset({"a.py:g"}))
TIMES_S = (0.51, 0.49, 0.50, 0.505, 0.495)


def measured(key: str = KEY, seconds: float = 0.5, peak: int = 1024, **changes: Any) -> Record:
    """The record of a case in one process."""
    record = entry(key, seconds).record
    metrics = record.metrics | {"peak_memory_bytes": Metric("exact", "bytes", "lower", peak)}
    return replace(record, metrics=metrics, **changes)


def process(*records: Record) -> Result:
    """What one process left; pytest-benchmark knows the measured ones."""
    known = {one.key: {"name": f"test of {one.key}", "stats": {}} for one in records if one.status == "measured"}
    return Result({one.key: one for one in records}, known, {})


def tolerances_of(key: str) -> Tolerances:
    return Tolerances(exact_bytes=10 * EXACT_BYTES if key == "sum/loose" else EXACT_BYTES)


class TestProblems:
    def keys(self, *results: Result, accept_busy: bool = False) -> list[str]:
        """The cases that forbid a baseline."""
        found = new_baseline.problems(results, tolerances_of, accept_busy=accept_busy)
        return [one.partition(":")[0] for one in found]

    def test_none(self) -> None:
        assert self.keys(process(measured(seconds=0.5)), process(measured(seconds=5.0))) == []

    @pytest.mark.parametrize(
        ("status", "forbids"), [("failed", True), ("fell_back", True), ("skipped", False), ("measured", False)]
    )
    def test_a_case_that_fails_in_any_process_is_told_once(self, status: str, forbids: bool) -> None:
        bad = process(measured(status=status, reason="because"))
        assert self.keys(process(measured()), bad, bad) == ([KEY] if forbids else [])

    def test_a_doubtful_case_may_be_accepted(self) -> None:
        doubted = process(measured(doubts=["the device was throttled (heat)"]))
        assert self.keys(doubted) == [KEY]
        assert self.keys(doubted, accept_busy=True) == []

    @pytest.mark.parametrize(
        ("key", "growth", "forbids"),
        [(KEY, EXACT_BYTES, False), (KEY, EXACT_BYTES + 1, True), ("sum/loose", EXACT_BYTES + 1, False)],
    )
    def test_an_exact_metric_that_differs_by_more_than_the_cases_tolerance(
        self, key: str, growth: int, forbids: bool
    ) -> None:
        results = [process(measured(key)), process(measured(key, peak=1024 + growth))]
        assert self.keys(*results) == ([key] if forbids else [])
        assert self.keys(*reversed(results)) == ([key] if forbids else [])

    def test_a_doubt_accepted_does_not_hide_an_unsteady_metric(self) -> None:
        unsteady = process(measured(peak=2**30, doubts=["the device was throttled (heat)"]))
        assert self.keys(process(measured()), unsteady, accept_busy=True) == [KEY]


def statistics(samples: Sequence[float]) -> dict[str, Any]:
    """Stands for pytest-benchmark's."""
    return {"of": list(samples)}


class TestEntries:
    def made(self, *results: Result) -> dict[str, Entry]:
        tests = {key: new_baseline.Test(f"perf/test_a.py::test_a[{key}]", "extra") for key in (KEY, "sum/b")}
        return new_baseline.entries(results, tests, REFRESH, statistics, TRACED)

    def test_samples_of_all_processes_and_the_latency_of_each(self) -> None:
        processes = [
            process(measured(seconds=seconds, peak=1024 + int(seconds), notes=[f"{seconds}"]))
            for seconds in (1.0, 2.0, 6.0)
        ]
        found = self.made(*processes)[KEY]
        latency = found.record.metrics["latency_s"]
        assert found.by_process_s == (1.0, 2.0, 6.0)
        assert latency.value == 3.0
        assert latency.samples == pytest.approx((1.0, 1.1, 2.0, 2.2, 6.0, 6.6))
        assert (found.record.value("peak_memory_bytes"), found.record.notes) == (1025, ["1.0"]), (
            "the rest is the first's"
        )
        assert found.benchmark == {"name": f"test of {KEY}", "stats": {"of": list(latency.samples)}}

    def test_an_interval_of_one_process_is_none_of_all(self) -> None:
        latency = Metric("sampled", "s", "lower", 0.5, samples=(0.5,), interval=(0.4, 0.6))
        record = measured()
        record.metrics["latency_s"] = latency
        assert self.made(process(record), process(measured()))[KEY].record.metrics["latency_s"].interval is None

    def test_where_each_came_from(self) -> None:
        found = self.made(process(measured(), measured("sum/b")))
        assert list(found) == [KEY, "sum/b"]
        for key, one in found.items():
            assert (one.node, one.tier) == (f"perf/test_a.py::test_a[{key}]", "extra")
            assert (one.refresh, one.stored_key) == (REFRESH, key)

    @pytest.mark.parametrize(
        "second", [process(), process(measured(status="failed", reason="because")), process(measured(status="skipped"))]
    )
    def test_a_case_that_not_every_process_measured_is_left_out(self, second: Result) -> None:
        whole = process(measured(), measured("sum/b"))
        second = Result(second.records | {"sum/b": measured("sum/b")}, second.benchmarks, {})
        assert list(self.made(whole, second)) == ["sum/b"]
        assert list(self.made(second, whole)) == []


def entry_of(key: str = KEY, *, slower: float = 1.0, **changes: Any) -> Entry:
    """A case that five processes measured, so many times slower."""
    times = tuple(slower * one for one in TIMES_S)
    return replace(entry(key), record=measured(key, fmean(times), **changes), by_process_s=times)


class FakeJudge:
    """Stands for the judge of times: it says ``status`` of each case, or is interrupted after the first."""

    def __init__(self, code: str, status: Any = "SAME", *, interrupted: bool = False) -> None:
        self.now = replace(FINGERPRINT, code=code)
        self.policy = SimpleNamespace(tolerances_of=tolerances_of, judged_anyway=0)
        self.project = Project(Path(), Path())
        self.display = SimpleNamespace(say=lambda text: None)
        self.status, self.interrupted = status, interrupted
        self.asked: list[str] = []
        self.found: dict[str, Verdict] = {}

    def verdicts(self, suspects: Sequence[Suspect]) -> None:
        for suspect in suspects:
            self.asked.append(suspect.key)
            self.found[suspect.key] = Verdict(self.status, "by the judge")
            if self.interrupted:
                raise KeyboardInterrupt


class TestVerdicts:
    def found(
        self,
        judge: Any,
        old: Sequence[Entry] | None,
        *new: Entry,
        interrupted: bool = False,
        forbidden: bool = False,
    ) -> dict[str, Verdict]:
        before = None if old is None else Baseline("cpu-2c", {one.record.key: one for one in old}, Path("0001_x.json"))
        entries = {one.record.key: one for one in new}
        found, ended = new_baseline.verdicts(before, entries, judge, forbidden=forbidden)
        assert ended == interrupted
        return found

    @pytest.mark.parametrize("old", [None, [], [entry_of("sum/b")]])
    def test_what_no_baseline_has_is_new_and_what_only_it_has_is_not_told(self, old: list[Entry] | None) -> None:
        judge = FakeJudge("changed")
        assert {key: one.status for key, one in self.found(judge, old, entry_of()).items()} == {KEY: "NEW"}
        assert judge.asked == []

    @pytest.mark.parametrize(
        ("code", "slower", "status"), [("code", 1.5, "SAME"), ("changed", 1.0, "REGRESSED"), ("changed", 1.5, "SAME")]
    )
    def test_what_depends_on_a_change_is_judged_as_a_comparison_would(
        self, code: str, slower: float, status: Any
    ) -> None:
        """Stored times of another session decide nothing."""
        judge = FakeJudge(code, status)
        assert self.found(judge, [entry_of()], entry_of(slower=slower))[KEY].status == status
        assert judge.asked == ([KEY] if code == "changed" else [])

    @pytest.mark.parametrize(("peak", "status"), [(1024, "SAME"), (2**30, "REGRESSED")])
    def test_without_a_change_memory_is_judged_all_the_same(self, peak: int, status: str) -> None:
        assert self.found(FakeJudge("code"), [entry_of()], entry_of(peak=peak))[KEY].status == status

    @pytest.mark.parametrize(("peak", "status"), [(1024, "INCONCLUSIVE"), (2**30, "REGRESSED")])
    def test_no_time_is_judged_for_a_baseline_that_is_forbidden(self, peak: int, status: str) -> None:
        """That takes minutes; all other metrics are there."""
        judge = FakeJudge("changed")
        assert self.found(judge, [entry_of()], entry_of(peak=peak), forbidden=True)[KEY].status == status
        assert judge.asked == []

    def test_ctrl_c_leaves_what_was_decided_and_the_rest_undecided(self) -> None:
        keys = (KEY, "sum/b", "sum/c")
        judge = FakeJudge("changed", "REGRESSED", interrupted=True)
        found = self.found(judge, [entry_of(key) for key in keys], *map(entry_of, keys), interrupted=True)
        assert [found[key].status for key in keys] == ["REGRESSED", "INCONCLUSIVE", "INCONCLUSIVE"]
        assert "interrupted" in found["sum/c"].reason


@pytest.mark.parametrize("undecided_fails", [False, True])
def test_only_what_fails_needs_to_be_accepted(undecided_fails: bool) -> None:
    statuses = ("REGRESSED", "FELL_BACK", "INCONCLUSIVE", "IMPROVED", "SAME", "NEW")
    verdicts = {f"sum/{status}": Verdict(status, "because") for status in statuses}
    found = new_baseline.worse(verdicts, undecided_fails=undecided_fails)
    failing = ["sum/REGRESSED", "sum/FELL_BACK"] + (["sum/INCONCLUSIVE"] if undecided_fails else [])
    assert [one.partition(":")[0] for one in found] == failing
