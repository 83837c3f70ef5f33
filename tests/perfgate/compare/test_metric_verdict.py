"""Findings: what each status takes for one metric; none depends on the units or on which side is the baseline."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.metric_verdict import WORST_FIRST, fails, judge_exact, judge_ratio, largest_slowdown
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Metric

KIB, MIB = 2**10, 2**20
MIRROR = {"REGRESSED": "IMPROVED", "IMPROVED": "REGRESSED"}
WIDTHS = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5))
ESTIMATES = st.tuples(st.floats(-1, 1), WIDTHS, WIDTHS).map(
    lambda one: RatioEstimate(math.exp(one[0]), *(math.exp(one[0] + w) for a, b in one[1:] for w in (-a, b)))
)
TOLERANCES = st.floats(0.001, 0.5)
AMOUNTS = st.integers(0, 2**40)


def ratio(value: float, low: float, high: float, at_least: float | None = None, at_most: float | None = None):
    """An estimate, whose own interval is that of all cases where it is not told."""
    return RatioEstimate(value, low, high, at_least or low, at_most or high)


def mirrored(status: str) -> str:
    return MIRROR.get(status, status)


def amount(value: float, unit: str = "bytes", better: str = "lower", **more: Any) -> Metric:
    return Metric("exact", unit, better, value, **more)  # type: ignore[arg-type]


class TestRatio:
    @pytest.mark.parametrize(
        ("low", "high", "status", "words"),
        [
            (1.06, 1.10, "REGRESSED", "time +8.0% (+6.0% to +10.0%): slower by more than the tolerance of 5%"),
            (2.0, 2.6, "REGRESSED", "time x2.28 (x2 to x2.6): slower by more than the tolerance of 5%"),
            (0.90, 0.95, "IMPROVED", "time -7.5% (-10.0% to -5.0%): faster by more than the tolerance of 5%"),
            (
                0.99,
                1.01,
                "SAME",
                "time +0.0% (-1.0% to +1.0%): within the tolerance of 5%; at most 1% slower",
            ),
            (0.98, 0.995, "SAME", "time -1.3% (-2.0% to -0.5%): within the tolerance of 5%; at least 0.5% faster"),
            (1.00, 1.06, "INCONCLUSIVE", "undecided at a tolerance of 5%; about 2.2 times as many pairs of processes"),
            (
                0.955,
                1.055,
                "INCONCLUSIVE",
                "undecided at a tolerance of 5%; a few more pairs of processes would decide",
            ),
            (1.04, 1.0601, "INCONCLUSIVE", "too close to the tolerance to resolve"),
        ],
    )
    def test_words(self, low: float, high: float, status: str, words: str) -> None:
        finding = judge_ratio(ratio(math.sqrt(low * high), low, high), 0.05)
        assert finding.status == status
        assert words in finding.reason
        assert (finding.low, finding.high, finding.tolerance) == (low, high, 0.05)

    def test_the_same_takes_the_interval_of_the_case_and_slower_that_of_all_cases(self) -> None:
        same = judge_ratio(ratio(1.003, 0.94, 1.07, 0.976, 1.031), 0.05)
        assert same.status == "SAME"
        assert same.reason == "time +0.3% (-2.4% to +3.1%): within the tolerance of 5%; at most 3.1% slower"
        assert (same.low, same.high) == (0.976, 1.031)
        slower = ratio(1.09, 1.04, 1.14, 1.06, 1.12)  # its own interval alone would accuse
        assert judge_ratio(slower, 0.05).status == "INCONCLUSIVE"
        assert "(+4.0% to +14.0%): undecided at a tolerance of 5%; about 1.5 times" in judge_ratio(slower, 0.05).reason
        wide = ratio(1.0, 0.99, 1.01, 0.99, 1.06)  # that of all cases alone does not make it the same
        assert judge_ratio(wide, 0.05).status == "INCONCLUSIVE"

    def test_no_interval_is_undecided(self) -> None:
        finding = judge_ratio(None, 0.05, pairs_needed=13)
        assert (finding.status, finding.ratio) == ("INCONCLUSIVE", None)
        assert "about 13 pairs" in finding.reason

    def test_more_pairs_than_a_comparison_makes_are_told_with_its_limit(self) -> None:
        finding = judge_ratio(ratio(1.037, 1.013, 1.061), 0.05, pairs_needed=52)
        assert finding.status == "INCONCLUSIVE"
        assert "about 52 pairs of processes would decide it, but a comparison makes 30 at most" in finding.reason

    @pytest.mark.parametrize(
        "numbers",
        [
            (math.nan, 0.9, 1.1),
            (1.0, math.nan, 1.1),
            (1.0, 0.9, math.nan),
            (1.0, 0.0, 1.1),
            (1.0, 0.9, math.inf),
            (-1.0, -1.1, -0.9),
            (1.2, 0.9, 1.1),
        ],
    )
    def test_what_is_no_interval_of_ratios_is_refused(self, numbers: tuple[float, float, float]) -> None:
        with pytest.raises(ValueError, match="expected 0 < low <= value <= high"):
            judge_ratio(ratio(*numbers), 0.05)
        value, low, high = numbers
        with pytest.raises(ValueError, match="expected 0 < low <= value <= high"):
            judge_ratio(RatioEstimate(value, 1e-9, 1e9, low, high), 0.05)

    @given(ESTIMATES, TOLERANCES)
    def test_the_same_is_slower_by_at_most_the_tolerance(self, estimate: RatioEstimate, tolerance: float) -> None:
        if judge_ratio(estimate, tolerance).status == "SAME":
            assert largest_slowdown(estimate) <= tolerance * (1 + 1e-9)

    @given(ESTIMATES, TOLERANCES)
    def test_swapping_the_sides_mirrors_it(self, estimate: RatioEstimate, tolerance: float) -> None:
        edges = (1 + tolerance, 1 / (1 + tolerance))
        value, low, high, at_least, at_most = vars(estimate).values()
        bounds = (low, high, at_least, at_most)
        assume(not any(math.isclose(bound, edge, rel_tol=1e-12) for bound in bounds for edge in edges))
        swapped = RatioEstimate(1 / value, 1 / high, 1 / low, 1 / at_most, 1 / at_least)
        assert judge_ratio(swapped, tolerance).status == mirrored(judge_ratio(estimate, tolerance).status)

    @given(ESTIMATES, TOLERANCES, st.floats(1, 3))
    def test_slower_is_never_judged_better(self, estimate: RatioEstimate, tolerance: float, slower: float) -> None:
        """Slower by a factor: REGRESSED stays so, and what was not SAME for being slow does not become it."""
        worse = RatioEstimate(*(slower * one for one in vars(estimate).values()))
        before, after = (judge_ratio(one, tolerance).status for one in (estimate, worse))
        if before == "REGRESSED":
            assert after == "REGRESSED"
        if before == "SAME":
            assert after in ("SAME", "INCONCLUSIVE", "REGRESSED")
        if before == "INCONCLUSIVE" and estimate.at_most > 1 + tolerance:
            assert after in ("INCONCLUSIVE", "REGRESSED")


class TestExact:
    @pytest.mark.parametrize(
        ("before", "after", "status"),
        [
            (100 * MIB, 100 * MIB, "SAME"),
            (100 * MIB, 100 * MIB + 512 * KIB, "SAME"),  # half a percent is 512 KiB
            (100 * MIB, 100 * MIB + 513 * KIB, "REGRESSED"),
            (100 * MIB + 513 * KIB, 100 * MIB, "IMPROVED"),
            (1 * MIB, 1 * MIB + 128 * KIB, "SAME"),
            (1 * MIB, 1 * MIB + 129 * KIB, "REGRESSED"),
            (0, 129 * KIB, "REGRESSED"),
            (129 * KIB, 0, "IMPROVED"),
        ],
    )
    def test_growth_beyond_the_tolerance(self, before: int, after: int, status: str) -> None:
        assert judge_exact("peak_memory_bytes", amount(before), amount(after), Tolerances()).status == status

    def test_words(self) -> None:
        finding = judge_exact("peak_memory_bytes", amount(100 * MIB), amount(101 * MIB), Tolerances())
        assert finding.reason == "100.0 MiB became 101.0 MiB (+1.0 MiB), beyond the tolerance of 512.0 KiB"
        assert (finding.before, finding.after, finding.unit) == (100 * MIB, 101 * MIB, "bytes")
        assert (finding.ratio, finding.tolerance) == (1.01, 512 * KIB)

    def test_other_units_have_no_bytes_to_spare_and_higher_may_be_better(self) -> None:
        assert judge_exact("hits", amount(100, "hits"), amount(101, "hits"), Tolerances()).status == "REGRESSED"
        fewer = judge_exact("hits", amount(101, "hits", "higher"), amount(100, "hits", "higher"), Tolerances())
        assert fewer.status == "REGRESSED"
        neither = judge_exact("hits", amount(101, "hits", "none"), amount(7, "hits", "none"), Tolerances())
        assert neither.status == "SAME"

    def test_another_unit_is_not_compared(self) -> None:
        finding = judge_exact("size", amount(1), amount(1, "MiB"), Tolerances())
        assert finding.status == "INCOMPARABLE"
        assert all(unit in finding.reason for unit in ("bytes", "MiB"))

    @given(AMOUNTS, AMOUNTS)
    def test_swapping_the_sides_mirrors_it(self, before: int, after: int) -> None:
        there, back = (
            judge_exact("peak", amount(a), amount(b), Tolerances()) for a, b in ((before, after), (after, before))
        )
        assert back.status == mirrored(there.status)

    @given(AMOUNTS, AMOUNTS, AMOUNTS)
    def test_more_is_never_better(self, before: int, after: int, more: int) -> None:
        order = ["IMPROVED", "SAME", "REGRESSED"]
        a, b = (judge_exact("p", amount(before), amount(one), Tolerances()).status for one in (after, after + more))
        assert order.index(a) <= order.index(b)

    @given(AMOUNTS, AMOUNTS, st.lists(st.floats(0, 1e9), min_size=2))
    def test_the_spread_is_not_consulted(self, before: int, after: int, samples: list[float]) -> None:
        wide = {"samples": tuple(samples), "interval": (min(samples), max(samples))}
        plain = judge_exact("peak", amount(before), amount(after), Tolerances())
        assert judge_exact("peak", amount(before, **wide), amount(after, **wide), Tolerances()) == plain


class TestTolerances:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"time": 0.0},
            {"time": math.nan},
            {"time": math.inf},
            {"exact_relative": -0.1},
            {"exact_bytes": -1},
            {"alpha": 0.0},
            {"alpha": 1.0},
            {"alpha": math.nan},
        ],
    )
    def test_a_number_that_makes_no_sense(self, wrong: dict[str, float]) -> None:
        (name,) = wrong
        with pytest.raises(ValueError, match=f"tolerance {name}: got .*, expected"):
            Tolerances(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("undecided_fails", [False, True])
def test_what_fails_and_what_does_where_a_project_wants_it(undecided_fails: bool) -> None:
    failing = {status for status in WORST_FIRST if fails(status, undecided_fails=undecided_fails)}
    assert failing == {"REGRESSED", "FELL_BACK", "MISSING"} | ({"INCONCLUSIVE"} if undecided_fails else set())
