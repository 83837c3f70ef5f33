"""Judging times against a baseline: who comes first, without a process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from perfgate import judging
from perfgate.baseline import Entry, Refresh
from perfgate.clocks import FakeClock
from perfgate.fingerprint import Fingerprint
from perfgate.health import Health
from perfgate.judging import Judge, Suspect
from perfgate.options import Settings
from perfgate.processes import ProcessError
from perfgate.record import Metric, Record
from perfgate.workers import WorkerError

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

    monkeypatch.setattr(judging.sides, "rebuilt", rebuilt)
    monkeypatch.setattr(judging.sides, "current", lambda *_: None)
    monkeypatch.setattr(judging, "Lockstep", lockstep)
    monkeypatch.setattr(judging.processes, "fresh", fresh)
    monkeypatch.setattr(judging.health, "read", lambda *_: Health(0.1, 2**30, None))  # not this machine's
    judge = Judge(
        settings=Settings(),
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
