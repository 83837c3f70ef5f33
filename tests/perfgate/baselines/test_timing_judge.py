"""Judging times against a baseline: who comes first, without a process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.baselines import timing_judge
from perfgate.baselines.store import Entry, Refresh
from perfgate.baselines.timing_judge import Judge, JudgePolicy, Suspect
from perfgate.compare.intervals import Estimate
from perfgate.compare.tolerances import Tolerances
from perfgate.lockstep.comparison import Comparison
from perfgate.lockstep.environments import SideError
from perfgate.lockstep.fresh_process import ProcessError
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


def judge(monkeypatch: pytest.MonkeyPatch, display: Quiet | None = None) -> Judge:
    """On a machine that was busy: stored numbers decide nothing."""
    monkeypatch.setattr(timing_judge.health, "read", lambda *_: Health(0.1, 2**30, None))  # not this machine's
    return Judge(
        policy=JudgePolicy(lambda key: Tolerances(), 0.01, ("**/*.py",), ()),
        now=NOW,
        arguments=(),
        folder=Path(),
        root=Path(),
        device="cpu",
        health_before=Health(9.0, 2**30, None),
        budget_s=60.0,
        clock=FakeClock(itertools.repeat(0.0)),
        display=display or Quiet(),
    )


@pytest.mark.parametrize(
    "wrong",
    [WorkerError("no process in this test", side="A"), SideError("its toy is /here/toy.py, expected one below /wt")],
)
def test_the_slowest_against_its_stored_time_is_judged_first(monkeypatch: pytest.MonkeyPatch, wrong: Exception) -> None:
    seen: list[str] = []

    @contextmanager
    def rebuilt(*_: object) -> Iterator[None]:
        yield None

    def lockstep(base: object, head: object, keys: Sequence[str], *_: object) -> Any:
        seen.extend(keys)
        raise wrong

    def fresh(*_: object) -> Any:
        raise ProcessError("no process in this test")

    monkeypatch.setattr(timing_judge.environments, "rebuilt", rebuilt)
    monkeypatch.setattr(timing_judge.environments, "current", lambda *_: None)
    monkeypatch.setattr(timing_judge, "Lockstep", lockstep)
    monkeypatch.setattr(timing_judge.fresh_process, "fresh", fresh)
    suspects = [suspect("spin/same", 1, 1), suspect("spin/faster", 2, 1), suspect("spin/slower", 1, 2)]
    verdicts = judge(monkeypatch).verdicts(suspects)
    assert seen == ["spin/slower", "spin/same", "spin/faster"]
    assert {key: one.status for key, one in verdicts.items()} == dict.fromkeys(seen, "INCONCLUSIVE")
    assert "no fresh process measured it within the budget" in verdicts["spin/slower"].reason
    assert f"the baseline's environment cannot be rebuilt ({wrong})" in verdicts["spin/slower"].reason


@pytest.mark.parametrize(("side_a_s", "said"), [(0.5, False), (1.0, False), (2.0, False), (2.1, True), (0.4, True)])
def test_a_side_a_that_does_not_take_the_stored_time_is_said(side_a_s: float, said: bool) -> None:
    text = timing_judge.unlike_stored(side_a_s, 1.0)
    assert bool(text) == said
    if said:
        assert f"took {1e3 * side_a_s:.3g} ms a call in lockstep, and 1e+03 ms when the baseline was stored" in text


@pytest.mark.parametrize(("side_a_s", "said"), [(1.2, False), (3.0, True)])
def test_it_is_said_in_the_display_and_in_the_verdict(
    monkeypatch: pytest.MonkeyPatch, side_a_s: float, said: bool
) -> None:
    display = Quiet()
    times = {"A": [side_a_s], "B": [side_a_s]}
    case = Comparison("spin/it", "spin", log_ratios=[0.0], times_s=times, estimate=Estimate(1.0, 0.99, 1.01))
    found = judge(monkeypatch, display)._told(
        SimpleNamespace(cases={"spin/it": case}), [suspect("spin/it", 1, 3)], "not measured"
    )
    assert ("took 3e+03 ms a call in lockstep" in found["spin/it"].reason) == said
    assert [line.partition(":")[0] for line in display.said] == ["spin/it"] * said
