"""A comparison in lockstep with workers that only pretend and a clock that only they move."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

from perfgate.compare.case_verdict import Tolerances
from perfgate.lockstep.comparison import Lockstep, Plan
from perfgate.lockstep.environments import Side
from perfgate.lockstep.worker_client import WorkerError
from perfgate.measure.clocks import FakeClock
from perfgate.records.record import Metric, Record

START_S = 2.0
LOAD_S = 0.5


class Quiet:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, text: str) -> None:
        self.shown.append(text)


class Pretender:
    """A worker whose calls take as long as ``call_s`` says for each case, with this process's own luck."""

    def __init__(self, name: str, clock: FakeClock, call_s: dict[str, float], noise: float, log: list[str]) -> None:
        self.name, self.clock, self.call_s, self.log = name, clock, call_s, log
        self.luck = 1 + noise
        self.load_s, self.load_noise, self.first_s = 0.1, 0.02, 0.0
        self.answers: list[tuple[str, dict[str, Any]]] = []
        self.case = ""
        self.broken: dict[str, str] = {}

    def __enter__(self) -> Pretender:
        self.log.append(self.name)
        self.clock.advance(START_S / 2)
        self.answers.append(("collected", {"cases": list(self.call_s), "broken": self.broken}))
        return self

    def __exit__(self, *_: object) -> None: ...

    def error(self, message: str) -> WorkerError:
        return WorkerError(f"{self.name}: {message}", side=self.name)

    def ask(self, name: str, **fields: Any) -> None:
        if name == "load":
            self.case = fields["case"]
            self.clock.advance(LOAD_S / 2)
            cold_s = {"load_s": self.load_s * (1 + random.Random(len(self.log)).gauss(0, self.load_noise))}
            told = {"call_s": self.call_s[self.case], "prepared_s": 0.0, "cold_s": cold_s, "digest": ""}
            self.answers.append(("ready", told))
        elif name == "block":
            seconds = fields["calls"] * self.call_s[self.case] * self.luck
            self.clock.advance(seconds)
            samples = {"first_s": self.first_s * self.luck} if self.first_s else {}
            self.answers.append(("times", {"s": [seconds], "samples": samples}))
        else:
            latency = Metric("sampled", "s", "lower", self.call_s[self.case])
            record = Record(self.case.partition("/")[0], 1, {}, self.case, metrics={"latency_s": latency})
            self.answers.append(("exact" if name == "exact" else "done", {"record": record.to_json()}))

    def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
        return self.answers.pop(0)


class Comparison(Lockstep):
    """A comparison of pretenders: B takes ``slower`` times as long as A in every case."""

    def __init__(self, slower: dict[str, float], spread: float, budget_s: float = 1e4, **plan: Any) -> None:
        self.clock = FakeClock(itertools.repeat(0.0))
        self.started: list[str] = []
        self.display = Quiet()
        draw = random.Random(3)
        side = Side("it", Path("python"), Path(), {})
        tolerances = Tolerances()
        super().__init__(
            side,
            side,
            list(slower),
            Plan((), budget_s, lambda key: tolerances, tolerances.alpha, Path(), **plan),
            self.clock,
            self.display,
        )
        calls = {
            "A": {self.plan.old_keys.get(key, key): 0.01 for key in slower},
            "B": {key: 0.01 * factor for key, factor in slower.items()},
        }
        self._start = lambda name, all_cores=False: Pretender(  # type: ignore[method-assign,assignment]  # no process
            name, self.clock, calls[name], draw.gauss(0, spread), self.started
        )


def give(comparison: Comparison, attribute: str, *, a: Any, b: Any) -> None:
    """Let the workers of each side have this value."""
    start = comparison._start

    def started(name: str, all_cores: bool = False) -> Any:
        worker = start(name)
        setattr(worker, attribute, {"A": a, "B": b}[name])
        return worker

    comparison._start = started  # type: ignore[method-assign]


def statuses(comparison: Comparison) -> dict[str, str]:
    return {key: case.verdict.status if case.verdict else "none" for key, case in comparison.cases.items()}
