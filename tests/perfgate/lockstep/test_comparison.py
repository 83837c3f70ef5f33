"""The controller of an A/B comparison, with workers that only pretend and a clock that only they move."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from perfgate.compare.intervals import LOOKS
from perfgate.compare.metric_verdict import LATENCY
from perfgate.lockstep import report
from perfgate.lockstep.pair import BLOCK_S, MOST_TURNS, Taken
from perfgate.lockstep.scheduling import HOPELESS_AFTER
from perfgate.lockstep.worker_client import WorkerError
from perfgate.measure.clocks import FakeClock
from perfgate.records.record import Metric, Record

from tests.support.pretenders import LOAD_S, START_S, Comparison, Pretender, give, statuses


def test_cases_of_all_cores_have_processes_of_their_own() -> None:
    """After those of one core, in every pair."""
    comparison = Comparison(
        {"sum/a": 1.0, "sum/b": 1.5, "sum/c": 1.0}, spread=0.002, all_cores=frozenset({"sum/a", "sum/c"})
    )
    start, started = comparison._start, []

    def watched(name: str, all_cores: bool) -> Any:
        started.append((name, all_cores))
        worker = start(name)
        ask = worker.ask
        worker.ask = lambda what, **fields: (  # type: ignore[method-assign]
            started.append(fields["case"]) if what == "load" else None,
            ask(what, **fields),
        )
        return worker

    comparison._start = watched  # type: ignore[method-assign]
    comparison.run()
    assert statuses(comparison) == {"sum/a": "SAME", "sum/b": "REGRESSED", "sum/c": "SAME"}
    assert started[:10] == [
        *[("A", False), ("B", False), "sum/b", "sum/b"],
        *[("A", True), ("B", True), "sum/a", "sum/a", "sum/c", "sum/c"],
    ]
    assert comparison.cases["sum/a"].group == "sum on all cores", "its spread is its own"
    assert comparison.cases["sum/b"].group == "sum"


def test_it_ends_when_all_is_decided() -> None:
    comparison = Comparison({"sum/a": 1.0, "sum/b": 1.5, "sum/c": 0.5}, spread=0.002)
    comparison.run()
    assert statuses(comparison) == {"sum/a": "SAME", "sum/b": "REGRESSED", "sum/c": "IMPROVED"}
    assert comparison.pairs < 10
    assert comparison.needed_s is None
    assert comparison.display.shown[-1].startswith(f"pair {comparison.pairs}: 3 of 3 cases decided, ")


def test_who_goes_first_alternates() -> None:
    comparison = Comparison({"sum/a": 1.0}, spread=0.02)
    comparison.run()
    assert "".join(comparison.started).startswith("ABBAABBA")


def test_what_the_budget_leaves_undecided_says_how_long_it_would_take() -> None:
    comparison = Comparison({"sum/a": 1.0, "sum/b": 1.0}, spread=0.02, budget_s=25.0)
    comparison.run()
    assert statuses(comparison) == {"sum/a": "INCONCLUSIVE", "sum/b": "INCONCLUSIVE"}
    assert comparison.clock.time_s < 30
    needed = [pairs for case in comparison.cases.values() if (pairs := case.needed[LATENCY])]
    assert len(needed) == 2
    assert max(needed) <= LOOKS[-1]
    pair_s = LOAD_S + 2 * 0.01 + 2 * MOST_TURNS * BLOCK_S  # a call of each side, and then the turns
    assert comparison.needed_s == pytest.approx(max(needed) * START_S + sum(needed) * pair_s, rel=0.1)


def test_no_budget_is_told_for_what_more_pairs_than_the_plan_has_would_decide() -> None:
    comparison = Comparison({"sum/a": 1.0}, spread=0.1, budget_s=20.0)
    comparison.run()
    needed = comparison.cases["sum/a"].needed[LATENCY]
    assert needed is None or needed > LOOKS[-1]
    assert comparison.needed_s is None


def test_the_first_pair_is_whole_unless_the_exact_metrics_are_known() -> None:
    slower = {f"sum/{number}": 1.0 for number in range(9)}
    whole, cut = Comparison(slower, 0.01, budget_s=5.0), Comparison(slower, 0.01, budget_s=5.0, exact=False)
    for comparison in (whole, cut):
        comparison.run()
    assert all(case.log_ratios for case in whole.cases.values())
    assert 0 < sum(bool(case.log_ratios) for case in cut.cases.values()) < 9


def test_a_budget_too_small_for_all_decides_the_first_ones() -> None:
    slower = {f"sum/{number}": 1.0 for number in range(80)}
    comparison = Comparison(slower, 0.005, budget_s=150.0, exact=False)
    comparison.run()
    decided = [key for key, status in statuses(comparison).items() if status == "SAME"]
    assert decided == list(slower)[: len(decided)]
    assert 15 <= len(decided) < 80
    assert comparison.clock.time_s < 160


def test_neighbours_follow_each_other_and_the_most_important_benchmark_comes_first() -> None:
    """What was collected side by side shares a loaded model; the keys are in the order of suspicion."""
    collected = {"a/1": 1.0, "b/1": 1.0, "b/2": 1.0, "b/3": 1.0}
    comparison = Comparison({key: collected[key] for key in ("b/3", "a/1", "b/1", "b/2")}, spread=0.002, exact=False)
    call_s = dict.fromkeys(collected, 0.01)
    give(comparison, "call_s", a=call_s, b=call_s)
    comparison.run()
    shown = [text.split(": ")[1].split(";")[0] for text in comparison.display.shown]
    assert shown[:4] == ["b/1", "a/1", "b/2", "b/3"], "the first pair finds out what a case of each benchmark takes"
    assert shown[5:9] == ["b/1", "b/2", "b/3", "a/1"]


def test_a_short_budget_goes_to_the_urgent_case_and_then_to_the_cheapest() -> None:
    ratios = {"slow/a": 1.0, "slow/b": 1.0, "quick/a": 1.0, "quick/b": 1.0}
    comparison = Comparison(ratios, spread=0.01, exact=False, budget_s=55.0, urgent=frozenset({"slow/b"}))
    call_s = {key: 1.0 if key.startswith("slow") else 0.01 for key in ratios}
    give(comparison, "call_s", a=call_s, b=call_s)
    comparison.run()
    decided = {key for key, status in statuses(comparison).items() if status == "SAME"}
    assert decided == {"slow/b", "quick/a", "quick/b"}


def test_what_a_pair_takes_is_guessed_by_the_last_one() -> None:
    """The first one also imports."""
    comparison = Comparison({"sum/a": 1.0}, spread=0.002)
    case = comparison.cases["sum/a"]
    assert case.open_case.pair_s is None
    for took_s in (20.0, 2.0):
        case.take(Taken(), took_s)
    assert case.open_case.pair_s == 2.0


def test_a_case_that_stays_undecided_gets_no_more_pairs_than_the_plan_has_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perfgate.lockstep.comparison.HOPELESS_PAIRS", math.inf)
    comparison = Comparison({"sum/a": 1.05, "sum/b": 1.5}, 0.02)
    comparison.run()
    assert statuses(comparison) == {"sum/a": "INCONCLUSIVE", "sum/b": "REGRESSED"}
    assert comparison.pairs == len(comparison.cases["sum/a"].log_ratios) == LOOKS[-1]


def test_a_renamed_case_is_met_under_its_old_name_on_side_a() -> None:
    comparison = Comparison({"sum/new": 1.5}, 0.002, old_keys={"sum/new": "sum/old"})
    comparison.run()
    assert statuses(comparison) == {"sum/new": "REGRESSED"}


def test_a_side_that_does_not_start_is_an_error() -> None:
    comparison = Comparison({"sum/a": 1.0}, 0.01)

    class Dead(Pretender):
        def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
            raise self.error("the worker ended with 1")

    comparison._start = lambda name, all_cores=False: Dead(name, comparison.clock, {}, 0.0, [])  # type: ignore[method-assign,assignment]  # no process
    with pytest.raises(WorkerError, match="the worker ended with 1"):
        comparison.run()


class Breaking(Pretender):
    """Breaks in the middle of its case, as often as ``left`` says."""

    def __init__(self, clock: FakeClock, left: list[int]) -> None:
        super().__init__("B", clock, {"sum/a": 0.01}, 0.0, [])
        self.left = left

    def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
        name, fields = super().answer(timeout_s)
        if name == "times" and self.left[0] > 0:
            self.left[0] -= 1
            raise self.error("the worker was killed by signal 11")
        return name, fields


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("times", "status"), [(1, "SAME"), (2, "REGRESSED")])
def test_one_crash_decides_nothing_and_a_second_does(apart: bool, times: int, status: str) -> None:
    comparison = Comparison({"sum/a": 1.0}, 0.002, apart=apart)
    healthy, left = comparison._start, [times]
    comparison._start = lambda name, all_cores=False: (  # type: ignore[method-assign,assignment]  # no process
        healthy(name) if name == "A" else Breaking(comparison.clock, left)
    )
    comparison.run()
    case = comparison.cases["sum/a"]
    assert statuses(comparison) == {"sum/a": status}
    assert case.failures["B"].reason == "B: the worker was killed by signal 11"
    assert (case.records["B"].status == "failed") == (times == 2)


def test_a_crash_that_no_time_is_left_to_try_again_is_told_and_decides_nothing() -> None:
    comparison = Comparison({"sum/a": 1.0}, 0.002, budget_s=START_S)
    healthy = comparison._start
    comparison._start = lambda name, all_cores=False: (  # type: ignore[method-assign,assignment]  # no process
        healthy(name) if name == "A" else Breaking(comparison.clock, [9])
    )
    comparison.run()
    verdict = comparison.cases["sum/a"].verdict
    assert verdict is not None
    assert verdict.status == "INCONCLUSIVE"
    assert "killed by signal 11" in verdict.reason


@pytest.mark.parametrize(("fails", "ended"), [(1, False), (2, True)])
def test_what_is_decided_survives_a_side_that_does_not_start_later(
    fails: int, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is started again; then the comparison ends with what it has."""
    monkeypatch.setattr("perfgate.lockstep.comparison.HOPELESS_PAIRS", math.inf)
    comparison = Comparison({"sum/slow": 2.0, "sum/noisy": 1.05}, 0.02)
    healthy, starts = comparison._start, itertools.count(1)

    class Dead(Pretender):
        def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
            raise self.error("the worker ended with 1")

    def start(name: str, all_cores: bool = False) -> Any:
        late = name == "B" and 8 < next(starts) <= 8 + fails
        return Dead(name, comparison.clock, {}, 0.0, []) if late else healthy(name)

    comparison._start = start  # type: ignore[method-assign]  # no process
    comparison.run()
    assert statuses(comparison) == {"sum/slow": "REGRESSED", "sum/noisy": "INCONCLUSIVE"}
    assert (comparison.ended is not None) == ended
    assert (comparison.pairs == LOOKS[-1]) == (not ended)
    assert [text for text in comparison.display.said if text.endswith("trying once more")]


class Bare(Pretender):
    """Without the exact pass a case leaves no latency, but perhaps what its test computed itself."""

    def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
        name, fields = super().answer(timeout_s)
        if name == "done":
            error = Metric("bounded", "1", "lower", 0.001)
            record = Record(self.case.partition("/")[0], 1, {}, self.case, metrics={"relative_error": error})
            fields = {"record": record.to_json()}
        return name, fields


def test_another_metric_decides_no_time() -> None:
    comparison = Comparison({"sum/a": 1.5}, 0.002, exact=False)
    comparison._start = lambda name, all_cores=False: Bare(  # type: ignore[method-assign,assignment]  # no process
        name, comparison.clock, {"sum/a": 0.01 if name == "A" else 0.015}, 0.0, []
    )
    comparison.run()
    assert statuses(comparison) == {"sum/a": "REGRESSED"}
    assert comparison.pairs == LOOKS[0]


def test_without_the_exact_pass_nothing_is_weighed_or_checked() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    comparison = Comparison({"sum/a": 1.0}, 0.002, exact=False)
    healthy = comparison._start

    def start(name: str, all_cores: bool = False) -> Any:
        worker = healthy(name)
        ask = worker.ask

        def noted(what: str, **fields: Any) -> None:
            asked.append((what, fields))
            ask(what, **fields)

        worker.ask = noted  # type: ignore[method-assign]
        return worker

    comparison._start = start  # type: ignore[method-assign]  # no process
    comparison.run()
    assert statuses(comparison) == {"sum/a": "SAME"}
    assert "exact" not in [what for what, _ in asked]
    loads = [fields for what, fields in asked if what == "load"]
    assert {fields["checked"] for fields in loads} == {False}
    assert [fields["turn"] for fields in loads] == [pair for pair in range(comparison.pairs) for _ in "AB"]


def test_apart_one_side_is_gone_before_the_other_comes() -> None:
    comparison = Comparison({"sum/a": 1.5}, 0.002, apart=True)
    comparison.run()
    assert statuses(comparison) == {"sum/a": "REGRESSED"}
    assert comparison.cases["sum/a"].group == "sum apart"


def test_the_report_has_the_interval_and_the_bound_that_the_verdict_tells() -> None:
    comparison = Comparison({"sum/a": 1.0, "sum/b": 1.5}, spread=0.02)
    comparison.run()
    (section,) = report.sections(comparison, 1.0)
    rows = {row["case"]: row for row in section.table.rows}  # type: ignore[union-attr]  # it has one
    same, slower = (comparison.cases[key].estimate for key in ("sum/a", "sum/b"))
    assert same is not None
    assert slower is not None
    assert statuses(comparison) == {"sum/a": "SAME", "sum/b": "REGRESSED"}
    assert (rows["sum/a"]["low"], rows["sum/a"]["high"]) == (same.at_least, same.at_most)
    assert (rows["sum/b"]["low"], rows["sum/b"]["high"]) == (slower.low, slower.high)
    assert rows["sum/a"]["largest_slowdown"] == same.at_most - 1
    assert section.data["cases"]["sum/a"]["verdict"]["largest_slowdown"] == same.at_most - 1
    assert any("with a chance of 5% at most" in paragraph for paragraph in section.paragraphs)


@pytest.mark.parametrize("apart", [False, True])
def test_what_the_other_side_cannot_collect_is_new_and_the_rest_is_compared(apart: bool) -> None:
    """The tests of a new release import what an old one does not have."""
    key, other = "new.py::test_it", "old.py::test_it"
    comparison = Comparison({key: 1.0, other: 1.0}, spread=0.002, apart=apart)
    give(comparison, "call_s", a={other: 0.01}, b={key: 0.01, other: 0.01})
    give(comparison, "broken", a={"new.py": "ImportError: no name", "third.py": "NameError"}, b={})
    comparison.run()
    assert statuses(comparison) == {key: "NEW", other: "SAME"}
    verdict = comparison.cases[key].verdict
    assert verdict is not None
    assert verdict.reason == "it was not there before: it could not be collected: new.py: ImportError: no name"


def test_what_lies_at_its_tolerance_gets_no_more_pairs_than_tell_so() -> None:
    comparison = Comparison({"sum/at": 1.05, "sum/beside": 1.03, "sum/slow": 1.08}, spread=0.015)
    comparison.run()
    assert statuses(comparison) == {"sum/at": "INCONCLUSIVE", "sum/beside": "SAME", "sum/slow": "REGRESSED"}
    assert HOPELESS_AFTER <= len(comparison.cases["sum/at"].log_ratios) < LOOKS[-1] - 5
