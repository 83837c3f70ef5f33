"""Judging times against a baseline: who comes first, without a process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from perfgate.baselines import timing_judge
from perfgate.baselines.store import Entry, Refresh
from perfgate.baselines.timing_judge import Judge, JudgePolicy, Suspect
from perfgate.compare.tolerances import Tolerances
from perfgate.lockstep.fresh_process import ProcessError
from perfgate.lockstep.worker_client import WorkerError
from perfgate.machine.health import Health
from perfgate.measure.clocks import FakeClock
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Metric, Record

THEN, NOW = Fingerprint("then", {}), Fingerprint("now", {})


class Quiet:
    def say(self, text: str) -> None: ...

    def show(self, text: str) -> None: ...


def suspect(key: str, stored_s: float, now_s: float) -> Suspect:
    def record(seconds: float) -> Record:
        return Record("spin", 1, {}, key, metrics={"latency_s": Metric("sampled", "s", "lower", seconds)})

    return Suspect(Entry(record(stored_s), key, (stored_s,) * 5, Refresh("today", "", THEN, 5)), record(now_s))


def test_the_slowest_against_its_stored_time_is_judged_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def rebuilt(*_: object) -> Iterator[None]:
        yield None

    def lockstep(base: object, head: object, keys: Sequence[str], *_: object) -> Any:
        seen.extend(keys)
        raise WorkerError("no process in this test", side="A")

    def fresh(*_: object) -> Any:
        raise ProcessError("no process in this test")

    monkeypatch.setattr(timing_judge.environments, "rebuilt", rebuilt)
    monkeypatch.setattr(timing_judge.environments, "current", lambda *_: None)
    monkeypatch.setattr(timing_judge, "Lockstep", lockstep)
    monkeypatch.setattr(timing_judge.fresh_process, "fresh", fresh)
    monkeypatch.setattr(timing_judge.health, "read", lambda *_: Health(0.1, 2**30, None))  # not this machine's
    judge = Judge(
        policy=JudgePolicy(lambda key: Tolerances(), 0.01, ("**/*.py",), ()),
        now=NOW,
        arguments=(),
        folder=Path(),
        root=Path(),
        device="cpu",
        health_before=Health(9.0, 2**30, None),  # busy: stored numbers decide nothing
        budget_s=60.0,
        clock=FakeClock(itertools.repeat(0.0)),
        display=Quiet(),
    )
    suspects = [suspect("spin/same", 1, 1), suspect("spin/faster", 2, 1), suspect("spin/slower", 1, 2)]
    verdicts = judge.verdicts(suspects)
    assert seen == ["spin/slower", "spin/same", "spin/faster"]
    assert {key: one.status for key, one in verdicts.items()} == dict.fromkeys(seen, "INCONCLUSIVE")
    assert "no fresh process measured it within the budget" in verdicts["spin/slower"].reason
