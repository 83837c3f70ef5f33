"""A case measured by ``measure`` itself, on a clock and a meter that show what they are told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from perfgate import Measure, Metric, Record
from perfgate.measure.clocks import FakeClock
from perfgate.measure.measurement import Instruments, MeasurePolicy
from perfgate.measure.memory import BALLAST_BYTES, FakeMeter

from tests.support.fake_replay import FakeReplay

PEAK = BALLAST_BYTES + 1


class Bench:
    """One case: its clock stands still unless ``fn`` lets time pass."""

    def __init__(
        self, *, durations: Iterator[float] | None = None, meter: Any = None, disabled: bool = False, **settings: Any
    ) -> None:
        self.clock = FakeClock(itertools.repeat(0.0))
        self.durations = durations or itertools.repeat(1.0)
        self.meter = FakeMeter(PEAK) if meter is None else meter
        self.replay = FakeReplay(disabled)
        self.record = Record("sums", 1, {}, "sums/loop")
        self.calls = 0
        self.measure = Measure(MeasurePolicy(**settings), Instruments(self.clock, self.meter), self.replay, self.record)

    def fn(self, value: Any = 42) -> Any:
        self.calls += 1
        self.clock.advance(next(self.durations))
        return value

    def metric(self, name: str) -> Metric:
        return self.record.metrics[name]
