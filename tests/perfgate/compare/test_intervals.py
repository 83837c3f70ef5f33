"""The median's interval, against the binomial distribution worked out by hand. The module's other two intervals are in
``test_intervals_paired.py`` and ``test_intervals_stored.py``: together they are too long for one file."""

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfgate.compare.intervals import Estimate, median_interval

TIMES = st.floats(min_value=1e-6, max_value=1e3)


def coverage(size: int, rank: int) -> float:
    """Chance that the median lies between the ``rank``-th smallest and the ``rank``-th largest of ``size`` samples."""
    return 1 - 2 * sum(comb(size, below) for below in range(rank)) / 2**size


@pytest.mark.parametrize("size", range(6))
def test_five_samples_cannot_give_95_percent(size: int) -> None:
    assert median_interval([float(n) for n in range(size)]) is None


def test_six_samples_give_their_range() -> None:
    assert median_interval([5.0, 1.0, 3.0, 2.0, 6.0, 4.0]) == Estimate(3.5, 1.0, 6.0)


@pytest.mark.parametrize("size", [6, 7, 10, 15, 25, 50])
def test_the_interval_is_the_narrowest_pair_of_ranks_that_covers_95_percent(size: int) -> None:
    estimate = median_interval([float(rank) for rank in range(1, size + 1)])
    assert estimate is not None
    assert estimate.low == size + 1 - estimate.high  # the same rank from both ends
    assert coverage(size, int(estimate.low)) >= 0.95
    assert coverage(size, int(estimate.low) + 1) < 0.95


def test_more_confidence_makes_it_wider() -> None:
    samples = [float(n) for n in range(30)]
    usual, sure = median_interval(samples), median_interval(samples, confidence=0.999)
    assert usual is not None
    assert sure is not None
    assert sure.low < usual.low < usual.value < usual.high < sure.high


@settings(max_examples=30)
@given(st.lists(TIMES, min_size=6, max_size=30), st.randoms(use_true_random=False))
def test_it_holds_the_median_has_samples_for_bounds_and_ignores_their_order(samples: list[float], random) -> None:
    estimate = median_interval(samples)
    assert estimate is not None
    assert estimate.low <= estimate.value <= estimate.high
    assert {estimate.low, estimate.high} <= set(samples)
    random.shuffle(samples)
    assert median_interval(samples) == estimate


def test_equal_samples_have_an_interval_of_no_width() -> None:
    estimate = median_interval([2.0] * 10)
    assert estimate == Estimate(2.0, 2.0, 2.0)
    assert estimate.relative_half_width == 0.0


def test_relative_half_width() -> None:
    assert Estimate(10.0, 9.0, 12.0).relative_half_width == 0.15
    assert Estimate(0.0, 0.0, 1.0).relative_half_width == float("inf")
