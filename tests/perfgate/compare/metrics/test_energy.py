"""The energy of timed calls, with a counter and a clock that show what they are told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from perfgate.compare import metrics
from perfgate.compare.metrics.energy import EnergyPerCall
from perfgate.measure.clocks import FakeClock

from tests.support.measured_case import Bench


class FakeCounter:
    name = "fake counter"

    def __init__(self) -> None:
        self.shown = 100

    def read(self) -> list[int]:
        return [self.shown]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        return float(after[0] - before[0])


@pytest.mark.parametrize(("calls", "seconds", "expected"), [(4, 2.0, 5.0), (4, 0.5, None), (0, 2.0, None)])
def test_joules_a_call(calls: int, seconds: float, expected: float | None) -> None:
    counter, clock = FakeCounter(), FakeClock(itertools.repeat(0.0))
    meter = EnergyPerCall()
    with metrics.measured([meter], metrics.Surroundings(clock, counter)):
        counter.shown += 20
        clock.advance(seconds)
    assert meter.value(metrics.Seen([], calls)) == expected


def test_without_a_counter_nothing_is_told() -> None:
    clock = FakeClock()
    meter = EnergyPerCall()
    with metrics.measured([meter], metrics.Surroundings(clock)):
        pass
    assert meter.value(metrics.Seen([], 3)) is None
    assert clock.time_s == 0.0, "the clock was not even asked"


@pytest.mark.parametrize("inputs", [None, [1, 2, 3]])
def test_a_case_has_it_for_a_call_and_a_token(inputs: list[int] | None) -> None:
    """Each call takes 3 joules; calls outside of the timed rounds are not counted."""
    from perfgate import Work

    bench = Bench()
    counter = bench.measure.instruments.energy = FakeCounter()

    def call(value: int = 42) -> int:
        counter.shown += 3
        return bench.fn(value)

    bench.measure(call, inputs=inputs, work=Work(tokens=6))
    assert bench.metric("energy_per_call_j").value == pytest.approx(3.0)
    assert bench.metric("energy_per_token_j").value == pytest.approx(0.5)
    assert bench.record.provenance["energy_counter"] == "fake counter"


def test_a_case_without_a_counter_has_none() -> None:
    bench = Bench()
    bench.measure(bench.fn)
    assert not [name for name in bench.record.metrics if "energy" in name]
