"""Intervals from stored and fresh processes: what they promise, by simulation and by their symmetries."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.compare.intervals import stored_intervals
from scipy.stats import binomtest, ttest_ind

ALPHA = 0.01
TIMES = st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=8)


def one(stored: list[float], fresh: list[float], alpha: float = ALPHA):
    return stored_intervals({"a": stored}, {"a": fresh}, {"a": "g"}, alpha=alpha)["a"]


def test_a_single_case_has_students_interval() -> None:
    stored, fresh = [1.0, 1.1, 0.9, 1.05, 1.0], [1.2, 1.25, 1.15]
    found = one(stored, fresh)
    logs = ttest_ind([math.log(x) for x in fresh], [math.log(x) for x in stored]).confidence_interval(1 - ALPHA)
    assert found is not None
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((logs.low, logs.high))


def test_one_fresh_process_is_enough_and_one_of_each_is_not() -> None:
    found = one([1.0, 1.1, 0.9], [2.0])
    assert found is not None
    assert found.low < 2.0 / 1.0 < found.high
    assert one([1.0], [2.0]) is None


@given(TIMES, TIMES, st.floats(1e-3, 1e3))
def test_scaling_all_times_changes_nothing(stored: list[float], fresh: list[float], scale: float) -> None:
    found, scaled = one(stored, fresh), one([scale * x for x in stored], [scale * x for x in fresh])
    assert (found is None) == (scaled is None)
    if found is not None and scaled is not None:
        assert math.log(scaled.value) == pytest.approx(math.log(found.value), abs=1e-6)
        assert math.log(scaled.low) == pytest.approx(math.log(found.low), rel=1e-6, abs=1e-6)


@given(TIMES, TIMES)
def test_swapping_stored_and_fresh_mirrors_it(stored: list[float], fresh: list[float]) -> None:
    found, swapped = one(stored, fresh), one(fresh, stored)
    assert (found is None) == (swapped is None)
    if found is not None and swapped is not None:
        assert math.log(found.low) == pytest.approx(-math.log(swapped.high), rel=1e-6, abs=1e-6)
        assert math.log(found.value) == pytest.approx(-math.log(swapped.value), abs=1e-6)


@given(TIMES, TIMES, st.floats(1.0, 10.0))
def test_slower_moves_all_of_it_up(stored: list[float], fresh: list[float], slower: float) -> None:
    found, later = one(stored, fresh), one(stored, [slower * x for x in fresh])
    if found is not None and later is not None:
        assert later.low >= found.low * (1 - 1e-9)
        assert later.high >= found.high * (1 - 1e-9)


def test_the_promise_holds_for_a_whole_suite() -> None:
    """Twenty cases with spreads of their own: at most ALPHA of the suites may have an interval that misses."""
    draw = random.Random(1)
    suites, missed = 1500, 0
    for _ in range(suites):
        spreads = [draw.choice((0.02, 0.03, 0.04)) for _ in range(20)]

        def processes(n: int, spreads: list[float] = spreads) -> dict[str, list[float]]:
            return {str(i): [math.exp(draw.gauss(0, spread)) for _ in range(n)] for i, spread in enumerate(spreads)}

        stored, fresh = processes(5), processes(3)
        found = stored_intervals(stored, fresh, dict.fromkeys(stored, "g"), alpha=0.05)
        missed += any(estimate is None or not estimate.low <= 1 <= estimate.high for estimate in found.values())
    assert binomtest(missed, suites, 0.05, alternative="greater").pvalue > 1e-4, missed
    assert missed > 0  # it promises no more than it must
