"""Trimmed means and winsorised variances: against scipy's, and what trimming ignores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.compare.intervals import LOOKS
from perfgate.compare.spread import TRIMMED_FROM, moderated, own_df, priors, trim, trimmed
from scipy import stats

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=30)


def test_how_many_are_trimmed_at_the_looks_of_a_comparison() -> None:
    assert {look: trim(look) for look in LOOKS} == {3: 0, 4: 0, 5: 0, 6: 0, 8: 1, 10: 1, 13: 2, 17: 2, 22: 3, 30: 5}
    assert all(own_df(look) >= 2 for look in LOOKS)
    assert TRIMMED_FROM in LOOKS


@given(VALUES)
def test_it_is_scipys_trimmed_mean_with_yuens_error(values: list[float]) -> None:
    pairs, ends = len(values), trim(len(values))
    mean, variance = trimmed(values)
    left = pairs - 2 * ends
    squares = (pairs - 1) * np.var(stats.mstats.winsorize(np.array(values), (ends / pairs,) * 2), ddof=1)
    assert mean == pytest.approx(stats.trim_mean(values, ends / pairs), abs=1e-12)
    assert variance / pairs == pytest.approx(squares / (left * (left - 1)), abs=1e-12)


def test_yuens_two_sample_test_agrees() -> None:
    """Of two samples: with a second one like the first the square error is twice as large."""
    values = [0.3, -0.1, 0.05, 0.11, 0.02, -0.07, 0.09, 0.01, 0.4, -0.3, 0.06, 0.03]
    mean, variance = trimmed(values)
    shifted = [one - mean for one in values]
    test = stats.ttest_ind(values, shifted, equal_var=False, trim=trim(len(values)) / len(values))
    assert test.statistic == pytest.approx(mean / math.sqrt(2 * variance / len(values)))
    assert test.df == pytest.approx(2 * own_df(len(values)))


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=29), st.floats(1, 1e6))
def test_how_far_off_an_outlier_is_does_not_matter(values: list[float], off: float) -> None:
    assert trimmed([*values, 1.0]) == pytest.approx(trimmed([*values, off]))


@given(VALUES, st.floats(-1, 1), st.floats(0.1, 10))
def test_it_shifts_and_scales_with_the_values(values: list[float], shift: float, scale: float) -> None:
    mean, variance = trimmed(values)
    changed = trimmed([shift + scale * one for one in values])
    assert changed == pytest.approx((shift + scale * mean, scale**2 * variance), abs=1e-9)


@pytest.mark.parametrize("pairs", LOOKS)
def test_of_normal_values_the_variance_is_their_own_and_the_mean_scatters_so(pairs: int) -> None:
    random = np.random.default_rng(1)
    means, variances = np.transpose([trimmed(one) for one in random.standard_normal((4000, pairs)).tolist()])
    assert 0.95 < np.mean(variances) < 1.16
    assert np.mean(variances) == pytest.approx(pairs * np.var(means), rel=0.08)


def test_one_case_by_itself_has_no_prior() -> None:
    assert priors({"a": (5, 0.1), "b": (5, 0.2)}, {"a": "x", "b": "y"}) == {"a": (0.0, 0.0), "b": (0.0, 0.0)}


def test_moderation_never_takes_less_than_a_cases_own_variance() -> None:
    assert moderated((2, 0.04), (2, 0.08)) == pytest.approx(0.06)
    assert moderated((2, 0.04), (2, 0.01)) == 0.04
    assert moderated((2, 0.04), (0.0, 0.0)) == 0.04
