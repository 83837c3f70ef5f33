"""Quality against the other side's: what repeats, what rounding changes, and what is worse."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest
from perfgate.compare.quality_verdict import judge_bounded
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Metric

KL = [0.31 * factor for factor in (0.4, 0.7, 0.9, 1.0, 1.1, 1.2, 1.3, 0.8, 1.4, 0.6) * 2]


def metric(values: Sequence[float] | float, better: Any = "lower", unit: str = "nats/token") -> Metric:
    if isinstance(values, float):
        return Metric("bounded", unit, better, values)
    return Metric("bounded", unit, better, fmean(values), tuple(values))


def status(before: Metric, after: Metric, *, must_repeat: bool = False, **tolerances: float) -> str:
    return judge_bounded("it", before, after, Tolerances(**tolerances), must_repeat=must_repeat).status  # type: ignore[arg-type]


def test_the_same_is_the_same() -> None:
    found = judge_bounded("it", metric(KL), metric(KL), Tolerances(), must_repeat=True)
    assert (found.status, found.reason) == ("SAME", "0.2914 nats/token on both sides")


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.005, "SAME"), (1.05, "REGRESSED"), (0.95, "IMPROVED"), (0.995, "SAME")]
)
def test_a_shift_of_every_input_is_judged_by_the_tolerance(factor: float, expected: str) -> None:
    assert status(metric(KL), metric([factor * one for one in KL])) == expected


def test_what_other_rounding_changes_up_and_down_is_chance() -> None:
    """Each input moves by some percent: the mean moves by more than the tolerance, and no test would call it worse."""
    draw = random.Random(1)
    beyond = 0
    for _ in range(300):
        moved = [one * (1 + draw.gauss(0, 0.1)) for one in KL]
        beyond += abs(fmean(moved) - fmean(KL)) > 0.01 * fmean(KL)
        assert status(metric(KL), metric(moved)) == "SAME"
    assert beyond > 100, "or the tolerance alone would have decided"


def test_one_input_decides_nothing_and_its_reason_says_so() -> None:
    moved = [*KL[:-1], 4 * KL[-1]]
    found = judge_bounded("it", metric(KL), metric(moved), Tolerances())
    assert found.status == "SAME"
    assert "over 20 inputs chance makes as much of a difference (p = 50%)" in found.reason


def test_a_share_that_agrees_is_held_to_what_does_not() -> None:
    """Of 97.5% one percent is nothing; of the 2.5% that do not agree it is little."""
    agree = metric([1.0] * 12 + [0.875] * 8, "higher", "fraction")
    fewer = metric([0.875] * 12 + [0.75] * 8, "higher", "fraction")
    assert status(agree, fewer) == "REGRESSED"
    assert status(fewer, agree) == "IMPROVED"
    one_token = metric([0.875] + [1.0] * 11 + [0.875] * 8, "higher", "fraction")
    assert status(agree, one_token) == "SAME"
    assert status(metric(0.5, "higher", "fraction"), metric(0.4951, "higher", "fraction")) == "SAME"
    assert status(metric(0.5, "higher", "fraction"), metric(0.494, "higher", "fraction")) == "REGRESSED"


@pytest.mark.parametrize(("after", "expected"), [(0.0915, "SAME"), (0.0925, "REGRESSED"), (0.0885, "IMPROVED")])
def test_without_single_inputs_the_tolerance_decides(after: float, expected: str) -> None:
    """The relative error of a layer has fixed inputs: no chance is in it. Scales 2% off make 9.25% of 9.07%."""
    assert status(metric(0.0907, unit="1"), metric(after, unit="1")) == expected


def test_rounding_is_no_change() -> None:
    assert status(metric(1e-7, unit="1"), metric(9e-5, unit="1")) == "SAME"
    assert status(metric(1e-7, unit="1"), metric(3e-4, unit="1")) == "REGRESSED", "another precision"


def test_what_must_repeat_may_not_drift_within_the_tolerance() -> None:
    slightly = metric([1.005 * one for one in KL])
    assert status(metric(KL), slightly) == "SAME"
    found = judge_bounded("it", metric(KL), slightly, Tolerances(), must_repeat=True)
    assert found.status == "REGRESSED"
    assert "it must repeat" in found.reason
    assert status(slightly, metric(KL), must_repeat=True) == "IMPROVED"
    assert status(metric(0.31), metric(0.31 + 1e-6), must_repeat=True) == "SAME"


def test_other_inputs_are_not_paired() -> None:
    """A prompt set that grew: only the means can be compared."""
    assert status(metric(KL), metric([1.05 * one for one in KL[:10]])) == "REGRESSED"


def test_tolerances_of_its_own() -> None:
    worse = metric([1.05 * one for one in KL])
    assert status(metric(KL), worse, quality=0.1) == "SAME"
    assert status(metric(KL), worse, quality_absolute=0.1) == "SAME"


def test_what_has_no_better_direction_is_told() -> None:
    found = judge_bounded("it", metric(1e-7, "none", "1"), metric(0.5, "none", "1"), Tolerances())
    assert (found.status, found.reason) == ("SAME", "1e-07 became 0.5, held to absolute bounds")


def test_another_unit_is_incomparable() -> None:
    assert status(metric(0.3), metric(0.3, unit="bits/token")) == "INCOMPARABLE"
