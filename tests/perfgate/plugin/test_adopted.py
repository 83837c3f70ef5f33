"""Tests of pytest-benchmark's and pytest-codspeed's, handed to ``measure``, on a clock that stands still."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.measure.clocks import FakeClock, StoppableClock
from perfgate.plugin import adopted
from perfgate.plugin.adopted import Adopted, CodspeedFixture

from tests.support.measured_case import Bench


class Test:
    """One adopted test; ``work`` is what it measures and takes a second."""

    __test__ = False

    def __init__(self) -> None:
        self.bench = Bench(budget_s=20.0)
        self.running = self.bench.clock
        self.clock = StoppableClock(self.running)
        self.bench.measure.instruments.clock = self.clock
        self.item: Any = SimpleNamespace(stash=pytest.Stash())
        self.item.stash[adopted.MEASURE] = self.bench.measure
        self.adopted = Adopted(self.item, self.bench.measure, self.clock)

    def work(self, value: Any = 42) -> Any:
        return self.bench.fn(value)

    @property
    def latency_s(self) -> float:
        return float(self.bench.metric("latency_s").value)


@pytest.fixture
def test() -> Test:
    return Test()


def why_skipped(call: Callable[[], Any]) -> str:
    with pytest.raises(pytest.skip.Exception) as skipped:
        call()
    assert skipped.value.msg is not None
    return skipped.value.msg


def test_a_call_is_measured_with_its_arguments(test: Test) -> None:
    assert test.adopted.call(test.work, value=7) == 7
    assert test.latency_s == 1.0
    assert adopted.not_measured(test.item) is None


def test_arguments_of_any_name_are_the_callables(test: Test) -> None:
    """``measure`` has parameters of its own."""
    found = test.adopted.call(lambda **given: (test.work(), given)[1], inputs=1, check=2, budget_s=3)
    assert found == {"inputs": 1, "check": 2, "budget_s": 3}


def test_pedantic_repeats_a_call_as_often_as_perfgate_needs(test: Test) -> None:
    assert test.adopted.pedantic(test.work, args=(7,), rounds=1, iterations=1) == 7
    assert test.bench.calls > 5


def test_setup_and_teardown_run_around_every_call_and_are_not_timed(test: Test) -> None:
    order: list[str] = []

    def setup() -> tuple[tuple[int], dict[str, int]]:
        order.append("setup")
        test.running.advance(100.0)
        return (3,), {}

    def work(value: int) -> int:
        order.append("work")
        return int(test.work(value))

    def teardown(value: int) -> None:
        order.append("teardown")
        test.running.advance(100.0)

    assert test.adopted.pedantic(work, setup=setup, teardown=teardown) == 3
    assert order == ["setup", "work", "teardown"] * (len(order) // 3)
    assert test.latency_s == pytest.approx(1.0)


def test_what_setup_takes_counts_against_the_budget(test: Test) -> None:
    """Else a short call with a long setup would be measured for hours."""
    test.adopted.pedantic(test.work, setup=lambda: test.running.advance(100.0))
    assert test.bench.record.stopped_by == "budget"
    assert test.bench.calls < 20


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"rounds": 0}, ValueError),
        ({"iterations": 0}, ValueError),
        ({"warmup_rounds": -1}, ValueError),
        ({"iterations": 2, "setup": list}, ValueError),
        ({"args": (1,), "setup": lambda: ((2,), {})}, TypeError),
    ],
)
def test_what_pytest_benchmark_refuses_is_refused(test: Test, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        test.adopted.pedantic(test.work, **wrong)


def test_what_grows_is_skipped(test: Test) -> None:
    grown: list[int] = []

    def grow() -> list[int]:
        grown.append(test.work())
        return grown

    assert "grows, or is used up" in why_skipped(lambda: test.adopted.call(grow))


def test_what_can_be_called_once_only_is_skipped(test: Test) -> None:
    left = ["a"]
    why = why_skipped(lambda: test.adopted.call(lambda: (test.work(), left.pop())))
    assert "called again, it raised IndexError: pop from empty list" in why


def test_what_is_asynchronous_is_skipped(test: Test) -> None:
    async def work() -> int:
        return 1

    assert "asynchronous" in why_skipped(lambda: test.adopted.call(work))


def test_what_the_first_call_raises_is_the_tests(test: Test) -> None:
    with pytest.raises(ZeroDivisionError):
        test.adopted.call(lambda: 1 / 0)
    assert adopted.not_measured(test.item) == "cannot be measured: its call raised ZeroDivisionError: division by zero"


def test_a_fixture_that_is_never_called_measures_nothing(test: Test) -> None:
    why = adopted.not_measured(test.item)
    assert why is not None
    assert why.startswith("never calls")


def test_random_results_are_no_change(test: Test) -> None:
    numbers = itertools.count(0.5)
    assert isinstance(test.adopted.call(lambda: (test.work(), next(numbers))[1]), float)
    assert test.latency_s == 1.0


class TestFixture:
    def test_pytest_benchmarks_keeps_what_it_is(self, test: Test) -> None:
        benchmark = SimpleNamespace(_raw=None, _raw_pedantic=None, extra_info={"mine": 1})
        taken = adopted.take_over(benchmark, test.adopted)
        assert taken is benchmark
        assert (taken._raw, taken._raw_pedantic) == (test.adopted.call, test.adopted.pedantic)

    def test_pytest_codspeeds_is_replaced_and_used_once(self, test: Test) -> None:
        taken = adopted.take_over(SimpleNamespace(), test.adopted)
        assert isinstance(taken, CodspeedFixture)
        assert taken(test.work) == 42
        with pytest.raises(RuntimeError, match="only be used once"):
            taken.pedantic(test.work)

    def test_codspeeds_pedantic(self, test: Test) -> None:
        assert CodspeedFixture(test.adopted).pedantic(test.work, (7,), rounds=3) == 7

    def test_a_whole_test_is_measured_with_its_fixtures(self, test: Test) -> None:
        item: Any = SimpleNamespace(
            obj=lambda value: test.work(value) and None,
            funcargs={"value": 7, "request": None},
            _fixtureinfo=SimpleNamespace(argnames=("value",)),
        )
        adopted.call_whole(item, test.adopted)
        assert test.latency_s == 1.0


def test_the_clock_that_is_stopped_is_the_one_that_times() -> None:
    clock = StoppableClock(FakeClock(itertools.repeat(0.0)))
    since = clock.running.now()
    clock.running.advance(5.0)  # type: ignore[attr-defined]  # a fake one
    clock.leave_out(since)
    assert clock.now() == 0.0
