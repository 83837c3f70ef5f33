"""The timed rounds: what makes a case warm, how many calls a round holds, when there are rounds enough; and what is
forgotten of those that do not count. Rounds that a throttled device spoils are in ``test_throttle_guard.py``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch  # noqa: F401  # loaded so that work is counted, whichever tests ran before these
from perfgate import Metric
from perfgate.measure import rounds, timers
from perfgate.measure.clocks import FakeClock
from perfgate.measure.rounds import LOOK_EVERY, MIN_ROUNDS, Rounds, Timed
from perfgate.measure.throttle_guard import Watch
from perfgate.measure.timers import WallTimer

from tests.support.measured_case import Bench

pytestmark = pytest.mark.usefixtures("no_collections")


class TestWarmUp:
    def test_goes_on_until_two_rounds_agree(self) -> None:
        first = [0.0]  # the correctness call
        bench = Bench(durations=itertools.chain(first, [9.0, 5.0, 2.0, 1.9], itertools.repeat(1.0)), budget_s=100.0)
        bench.measure(bench.fn)
        assert set(bench.metric("latency_s").samples) == {1.0}

    def test_is_bounded_by_rounds(self) -> None:
        bench = Bench(durations=itertools.cycle([1.0, 3.0]), budget_s=99.0)
        bench.measure(bench.fn, inputs=[42])
        assert bench.calls == 1 + rounds.WARM_ROUNDS + 1 + 2  # correct, warm, the one input, profile

    def test_is_bounded_by_half_the_budget(self) -> None:
        bench = Bench(durations=itertools.chain([0.0, 6.0], itertools.repeat(1.0)), budget_s=10.0)
        bench.measure(bench.fn)
        assert bench.calls == 1 + 1 + 6 + 2  # correct, warm, rounds, profile


class TestStoppingRule:
    def test_by_precision(self) -> None:
        bench = Bench(durations=itertools.cycle([1.0, 1.05]), budget_s=100.0, precision=0.03)
        bench.measure(bench.fn)
        assert bench.record.stopped_by == "precision"
        assert len(bench.metric("latency_s").samples) == 6  # the fewest that can give 95%

    def test_by_precision_once_there_are_samples_enough(self) -> None:
        rounds = itertools.chain([1.0] * 4, [3.0, 0.5], itertools.repeat(1.0))
        bench = Bench(durations=rounds, budget_s=100.0)
        bench.measure(bench.fn)
        assert bench.record.stopped_by == "precision"
        assert 6 < len(bench.metric("latency_s").samples) < 20

    def test_by_budget(self) -> None:
        bench = Bench(durations=itertools.cycle([1.0, 3.0]), budget_s=20.0, precision=0.01)
        bench.measure(bench.fn)
        latency = bench.metric("latency_s")
        assert bench.record.stopped_by == "budget"
        assert sum(latency.samples) >= 20.0
        assert sum(latency.samples[:-1]) < 20.0

    def test_a_call_longer_than_the_budget_still_gets_two_rounds_and_no_interval(self) -> None:
        bench = Bench(durations=itertools.repeat(100.0), budget_s=1.0)
        bench.measure(bench.fn)
        assert bench.metric("latency_s") == Metric("sampled", "s", "lower", 100.0, samples=(100.0, 100.0))

    def test_the_value_is_the_median_with_its_interval(self) -> None:
        bench = Bench(durations=itertools.cycle([1.0, 1.0, 3.0]), budget_s=20.0)
        bench.measure(bench.fn)
        latency = bench.metric("latency_s")
        assert latency.value == 1.0
        assert latency.interval == (1.0, 3.0)


class TestShortCalls:
    def test_are_repeated_inside_a_round_and_divided_again(self) -> None:
        bench = Bench(durations=itertools.repeat(3e-5))
        bench.measure(bench.fn)
        samples = bench.metric("latency_s").samples
        assert samples == pytest.approx([3e-5] * len(samples))
        per_round = 40  # 10, 20, 40: the first to fill a millisecond
        assert bench.calls == 1 + 1 + (10 + 20 + 40) + per_round * len(samples) + 2

    def test_a_call_that_fills_a_round_is_not_repeated(self) -> None:
        bench = Bench(durations=itertools.repeat(timers.WALL_FLOOR_S * 1.001))
        bench.measure(bench.fn)
        assert bench.calls == 1 + 1 + 6 + 2  # correct, warm, rounds, profile


class Rhythm:
    """Rounds of calls that last as long as ``durations`` say, on a clock that otherwise stands still."""

    def __init__(self, durations: Iterator[float], budget_s: float = 1e9, precision: float = 0.01) -> None:
        self._durations = durations
        self.clock = FakeClock(itertools.repeat(0.0))
        self.rounds = Rounds(WallTimer(self.clock), Watch(clock=self.clock), budget_s, precision)

    def call(self, one_input: int = 0) -> int:
        self.clock.advance(next(self._durations))
        return 10 * one_input


class TestRounds:
    def test_looks_become_rarer_as_the_samples_grow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked: list[int] = []
        monkeypatch.setattr(rounds, "median_interval", lambda times: looked.append(len(times)))
        rhythm = Rhythm(itertools.repeat(1.0), budget_s=100.0)
        assert rhythm.rounds.until_precise(rhythm.call, 1, None).stopped_by == "budget"
        assert looked[0] == MIN_ROUNDS
        assert all(after == int(before * LOOK_EVERY) + 1 for before, after in itertools.pairwise(looked))
        assert len(looked) < 20

    def test_samples_are_those_of_the_rounds_results(self) -> None:
        rhythm = Rhythm(itertools.count(1.0))
        found = rhythm.rounds.by_input(rhythm.call, [1, 2, 3], lambda result: {"tokens": result + 0.5})
        assert (found.times, found.results, found.extra) == (
            [1.0, 2.0, 3.0],
            [10, 20, 30],
            {"tokens": [10.5, 20.5, 30.5]},
        )
        assert found.stopped_by == "inputs"


class TestTimed:
    def test_what_is_dropped_are_the_last_rounds_with_all_their_samples(self) -> None:
        timed = Timed()
        for number in range(5):
            timed.take(number, float(number), lambda result: {"a": result + 0.1, "b": -result})
        timed.drop(2)
        assert (timed.times, timed.extra) == ([0.0, 1.0, 2.0], {"a": [0.1, 1.1, 2.1], "b": [0, -1, -2]})
        timed.drop(0)
        assert len(timed.times) == 3


def test_a_result_may_tell_times_of_itself() -> None:
    class Told:
        def perfgate_samples(self) -> dict[str, float]:
            return {"first_s": 0.25}

    timed = Timed()
    timed.take(Told(), 1.0, None)
    timed.take(object(), 1.0, None)
    timed.take(Told(), 1.0, lambda result: {"other_s": 0.5})
    assert timed.extra == {"first_s": [0.25], "other_s": [0.5]}
