"""Judging times against a baseline: who comes first, without a process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.baselines import timing_judge
from perfgate.baselines.store import Entry, Refresh
from perfgate.baselines.timing_judge import TOGETHER, Judge, JudgePolicy, Suspect, _suspicious, at_once
from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.tolerances import Tolerances
from perfgate.lockstep.comparison import Comparison, Plan
from perfgate.lockstep.environments import Project, SideError
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.lockstep.worker_client import WorkerError
from perfgate.machine.health import Health
from perfgate.measure.clocks import FakeClock
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Metric, Record

THEN, NOW = Fingerprint("then", {}), Fingerprint("now", {})


class Quiet:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, text: str) -> None: ...


def suspect(key: str, stored_s: float, now_s: float) -> Suspect:
    def record(seconds: float) -> Record:
        return Record("spin", 1, {}, key, metrics={"latency_s": Metric("sampled", "s", "lower", seconds)})

    return Suspect(Entry(record(stored_s), key, (stored_s,) * 5, Refresh("today", "", THEN, 5)), record(now_s))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Judge]:
    """Make a judge on an idle machine where no environment can be rebuilt; ``fresh`` stands for its processes."""

    @contextmanager
    def rebuilt(*_: object) -> Iterator[None]:
        raise SideError("the driver was 1 and is 2")
        yield

    monkeypatch.setattr(timing_judge.environments, "rebuilt", rebuilt)
    monkeypatch.setattr(timing_judge.health, "read", lambda *_: Health(0.1, 2**30, None))  # not this machine's

    def make(fresh: Callable[..., Result], budget_s: float = 60.0, display: Quiet | None = None) -> Judge:
        monkeypatch.setattr(timing_judge.fresh_process, "fresh", fresh)
        return Judge(
            policy=JudgePolicy(lambda key: Tolerances(), 0.01),
            now=NOW,
            arguments=(),
            project=Project(Path(), Path()),
            device="cpu",
            health_before=Health(9.0, 2**30, None),  # busy: stored numbers decide nothing
            budget_s=budget_s,
            clock=FakeClock(itertools.repeat(0.0)),
            display=display or Quiet(),
        )

    return make


def result(keys: Sequence[str], seconds: float) -> Result:
    return Result({key: suspect(key, 1, seconds).record for key in keys}, {}, {})


@pytest.mark.parametrize(
    "wrong",
    [WorkerError("no process in this test", side="A"), SideError("its toy is /here/toy.py, expected one below /wt")],
)
def test_the_slowest_against_its_stored_time_is_judged_first(
    monkeypatch: pytest.MonkeyPatch, made: Callable[..., Judge], wrong: Exception
) -> None:
    seen: list[str] = []

    @contextmanager
    def rebuilt(*_: object) -> Iterator[None]:
        yield None

    def lockstep(base: object, head: object, keys: Sequence[str], plan: Plan, *_: object) -> Any:
        seen.extend(keys)
        assert plan.urgent == {"spin/slower"}
        raise wrong

    def fresh(*_: object) -> Any:
        raise ProcessError("no process in this test")

    monkeypatch.setattr(timing_judge.environments, "rebuilt", rebuilt)
    monkeypatch.setattr(timing_judge.environments, "current", lambda *_: None)
    monkeypatch.setattr(timing_judge, "Lockstep", lockstep)
    suspects = [suspect("spin/same", 1, 1), suspect("spin/faster", 2, 1), suspect("spin/slower", 1, 2)]
    verdicts = made(fresh).verdicts(suspects)
    assert seen == ["spin/slower", "spin/same", "spin/faster"]
    assert {key: one.status for key, one in verdicts.items()} == dict.fromkeys(seen, "INCONCLUSIVE")
    assert "no fresh process measured it within the budget" in verdicts["spin/slower"].reason
    assert f"the baseline's environment cannot be rebuilt ({wrong})" in verdicts["spin/slower"].reason


def test_what_slowed_down_as_all_did_is_not_suspicious() -> None:
    """The machine may have become slower since the baseline."""
    now = {"spin/a": 1.3, "spin/b": 1.29, "spin/c": 1.3, "spin/d": 1.37, "spin/e": 1.36}
    suspects = [suspect(key, 1, seconds) for key, seconds in now.items()]
    allowed = {"spin/e": Tolerances(time=0.04)}
    assert set(_suspicious(suspects, lambda key: allowed.get(key, Tolerances()))) == {"spin/d", "spin/e"}


class TestFreshProcesses:
    """Where the baseline's environment cannot be rebuilt."""

    @pytest.mark.parametrize(
        ("slower", "status"), [(1.0, "INCONCLUSIVE"), (1.19, "INCONCLUSIVE"), (1.5, "REGRESSED"), (0.5, "IMPROVED")]
    )
    def test_only_what_no_drift_explains_is_decided(
        self, made: Callable[..., Judge], slower: float, status: str
    ) -> None:
        noise = itertools.cycle([0.99, 1.0, 1.01])
        judge = made(lambda arguments, folder, keys, *_: result(keys, slower * next(noise)))
        (verdict,) = judge.verdicts([suspect("spin/a", 1, slower)]).values()
        assert verdict.status == status
        assert "the driver was 1 and is 2" in verdict.reason

    def test_the_most_suspicious_come_first_and_a_short_budget_is_enough_for_some(
        self, made: Callable[..., Judge]
    ) -> None:
        asked: list[list[str]] = []
        judge: Judge

        def fresh(arguments: object, folder: object, keys: Sequence[str], *_: object) -> Result:
            asked.append(list(keys))
            judge.clock.advance(10.0)  # type: ignore[attr-defined]  # it is a fake
            return result(keys, 2.0)

        judge = made(fresh, budget_s=55.0)
        verdicts = judge.verdicts([suspect(f"spin/{number}", 1, 1 + number) for number in range(20)])
        assert asked[0] == [f"spin/{number}" for number in range(19, 19 - TOGETHER, -1)]
        assert len(asked) == 6
        statuses = [verdicts[f"spin/{number}"].status for number in range(20)]
        assert statuses[-TOGETHER:] == ["REGRESSED"] * TOGETHER
        assert "within the budget" not in verdicts["spin/19"].reason

    def test_ctrl_c_leaves_what_is_known_by_then(self, made: Callable[..., Judge]) -> None:
        runs = itertools.count()

        def fresh(arguments: object, folder: object, keys: Sequence[str], *_: object) -> Result:
            if next(runs) == 3:
                raise KeyboardInterrupt
            return result(keys, 2.0)

        judge = made(fresh)
        with pytest.raises(KeyboardInterrupt):
            judge.verdicts([suspect("spin/a", 1, 2)])
        assert judge.found["spin/a"].status == "REGRESSED"
        assert "judged by 3 fresh processes" in judge.found["spin/a"].reason

    def test_what_a_failed_rebuild_took_is_not_the_judges_time(
        self, monkeypatch: pytest.MonkeyPatch, made: Callable[..., Judge]
    ) -> None:
        given: list[float] = []
        judge: Judge

        @contextmanager
        def rebuilt(*_: object) -> Iterator[None]:
            judge.clock.advance(1000.0)  # type: ignore[attr-defined]  # it is a fake
            raise SideError("no such version")
            yield

        def fresh(arguments: object, folder: object, keys: Sequence[str], faults: object, left_s: float) -> Result:
            given.append(left_s)
            return result(keys, 2.0)

        monkeypatch.setattr(timing_judge.environments, "rebuilt", rebuilt)
        judge = made(fresh, budget_s=60.0)
        judge.verdicts([suspect("spin/a", 1, 2)])
        assert given == [60.0] * 5


@pytest.mark.parametrize(
    ("changed", "forced", "judged"), [(True, False, True), (False, False, False), (False, True, True)]
)
def test_a_time_is_judged_where_something_changed_or_on_request(changed: bool, forced: bool, judged: bool) -> None:
    one = suspect("spin/a", 1, 2)
    now = NOW if changed else THEN
    verdict = at_once(one.entry, one.record, now, Tolerances(), forced=forced)
    assert (verdict is None) == judged
    if verdict is not None:
        assert verdict.status == "SAME"


def test_what_is_new_or_failed_needs_no_judging() -> None:
    one = suspect("spin/a", 1, 2)
    new = at_once(None, one.record, NOW, Tolerances(), forced=True)
    failed = at_once(one.entry, replace(one.record, status="failed", reason="x"), NOW, Tolerances(), forced=True)
    assert [verdict and verdict.status for verdict in (new, failed)] == ["NEW", "REGRESSED"]


@pytest.mark.parametrize(("side_a_s", "said"), [(0.5, False), (1.0, False), (2.0, False), (2.1, True), (0.4, True)])
def test_a_side_a_that_does_not_take_the_stored_time_is_said(side_a_s: float, said: bool) -> None:
    text = timing_judge.unlike_stored(side_a_s, 1.0)
    assert bool(text) == said
    if said:
        assert f"took {1e3 * side_a_s:.3g} ms a call in lockstep, and 1e+03 ms when the baseline was stored" in text


@pytest.mark.parametrize(("side_a_s", "said"), [(1.2, False), (3.0, True)])
def test_it_is_said_in_the_display_and_in_the_verdict(made: Callable[..., Judge], side_a_s: float, said: bool) -> None:
    display = Quiet()
    times = {"A": [side_a_s], "B": [side_a_s]}
    case = Comparison(
        "spin/it", "spin", log_ratios=[0.0], times_s=times, estimate=RatioEstimate(1.0, 0.99, 1.01, 0.99, 1.01)
    )
    found = made(lambda *_: None, display=display)._told(
        SimpleNamespace(cases={"spin/it": case}), [suspect("spin/it", 1, 3)], "not measured"
    )
    assert ("took 3e+03 ms a call in lockstep" in found["spin/it"].reason) == said
    assert [line.partition(":")[0] for line in display.said] == ["spin/it"] * said
