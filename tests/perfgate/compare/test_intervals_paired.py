"""Intervals of paired ratios: their algebra, their values against Student's t, and by simulation what they promise.

A suite is simulated pair by pair as the comparison sees it: fresh pairs scatter by 0.7-1.7% among themselves, as was
measured for this project's cases.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfgate.compare.intervals import LOOKS, RatioEstimate, paired_intervals, pairs_needed
from perfgate.compare.metric_verdict import judge_ratio
from perfgate.compare.spread import PRIOR_DF, trim, trimmed
from perfgate.compare.tolerances import SAME_RISK
from scipy import stats

ALPHA = 0.01
SUITES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.sampled_from(LOOKS[:6]).flatmap(lambda n: st.lists(st.floats(-0.3, 0.3), min_size=n, max_size=n)),
    min_size=1,
    max_size=5,
)


def by_letter(suite: Mapping[str, object]) -> dict[str, str]:
    return {key: key[0] for key in suite}


def intervals(suite: Mapping[str, Sequence[float]], alpha: float = ALPHA) -> dict[str, RatioEstimate]:
    found = paired_intervals(suite, by_letter(suite), alpha=alpha)
    assert None not in found.values()
    return found  # type: ignore[return-value]  # just checked


def logs(estimate: RatioEstimate | None) -> tuple[float, float, float]:
    assert estimate is not None
    return math.log(estimate.value), math.log(estimate.low), math.log(estimate.high)


def own(estimate: RatioEstimate | None) -> tuple[float, float]:
    assert estimate is not None
    return math.log(estimate.at_least), math.log(estimate.at_most)


class TestAlgebra:
    @settings(max_examples=50, deadline=None)
    @given(SUITES, st.integers(-20, 20))
    def test_scaling_the_times_of_both_sides_changes_nothing(self, suite: dict[str, list[float]], power: int) -> None:
        times = {key: [(0.5, 0.5 * math.exp(one)) for one in values] for key, values in suite.items()}
        scale = 2.0**power  # exact in floats
        slow = {key: [math.log(scale * b / (scale * a)) for a, b in pairs] for key, pairs in times.items()}
        plain = {key: [math.log(b / a) for a, b in pairs] for key, pairs in times.items()}
        assert intervals(slow) == intervals(plain)

    @settings(max_examples=50, deadline=None)
    @given(SUITES)
    def test_swapping_the_sides_mirrors(self, suite: dict[str, list[float]]) -> None:
        swapped = intervals({key: [-one for one in values] for key, values in suite.items()})
        for key, (value, low, high) in ((key, logs(one)) for key, one in intervals(suite).items()):
            assert logs(swapped[key]) == pytest.approx((-value, -high, -low), rel=1e-9, abs=1e-12)
            at_least, at_most = own(intervals(suite)[key])
            assert own(swapped[key]) == pytest.approx((-at_most, -at_least), rel=1e-9, abs=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(SUITES, st.floats(-0.5, 0.5))
    def test_a_constant_slowdown_shifts(self, suite: dict[str, list[float]], shift: float) -> None:
        slower = intervals({key: [one + shift for one in values] for key, values in suite.items()})
        for key, plain in intervals(suite).items():
            assert logs(slower[key]) == pytest.approx([one + shift for one in logs(plain)], abs=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(SUITES, st.floats(0, 0.99))
    def test_more_agreement_narrows(self, suite: dict[str, list[float]], share: float) -> None:
        means = {key: trimmed(values)[0] for key, values in suite.items()}
        calmer = intervals({key: [means[key] + share * (one - means[key]) for one in suite[key]] for key in suite})
        for key, plain in intervals(suite).items():
            assert plain.low * (1 - 1e-9) <= calmer[key].low <= calmer[key].high <= plain.high * (1 + 1e-9)
            assert plain.at_most * (1 + 1e-9) >= calmer[key].at_most

    @settings(max_examples=50, deadline=None)
    @given(SUITES, st.randoms(use_true_random=False))
    def test_the_order_of_cases_and_of_pairs_does_not_matter(self, suite: dict[str, list[float]], random) -> None:
        keys = list(suite)
        random.shuffle(keys)
        assert intervals({key: random.sample(suite[key], len(suite[key])) for key in keys}) == intervals(suite)

    @settings(max_examples=50, deadline=None)
    @given(SUITES)
    def test_an_interval_holds_its_estimate_and_widens_with_every_case_more(
        self, suite: dict[str, list[float]]
    ) -> None:
        more = intervals(suite | {"z": [0.0, 0.1, 0.2]})
        for key, plain in intervals(suite).items():
            assert more[key].low <= plain.low <= plain.value <= plain.high <= more[key].high
            assert plain.low <= plain.at_least <= plain.value <= plain.at_most <= plain.high

    @settings(max_examples=50, deadline=None)
    @given(SUITES)
    def test_its_own_bounds_do_not_depend_on_how_many_cases_there_are(self, suite: dict[str, list[float]]) -> None:
        more = intervals(suite | {f"z{n}": [0.0, 0.1, 0.2] for n in range(9)})
        for key, plain in intervals(suite).items():
            assert own(more[key]) == own(plain)


class TestValues:
    def test_a_case_alone_has_students_interval_and_the_looks_spend_alpha(self) -> None:
        values = [0.011, -0.004, 0.006, 0.013, -0.009, 0.002, 0.004, -0.001] * 4
        spent = {ALPHA / 2: 0.0, SAME_RISK: 0.0}
        for look in LOOKS:
            seen = values[:look]
            estimate = paired_intervals({"a": seen}, {"a": "a"}, alpha=ALPHA)["a"]
            mean, low, high = logs(estimate)
            error = math.sqrt(trimmed(seen)[1] / look)
            if not trim(look):
                assert (mean, error) == pytest.approx((np.mean(seen), stats.sem(seen)))
            for risk, (below, above) in zip(spent, ((low, high), own(estimate)), strict=True):
                assert above - mean == pytest.approx(mean - below)
                spent[risk] += float(stats.t.sf((above - mean) / error, look - 2 * trim(look) - 1))
        for risk, sum_over_looks in spent.items():
            assert sum_over_looks == pytest.approx(risk)

    def test_the_spread_of_the_group_is_the_median_of_the_others_and_worth_a_few_degrees_of_freedom(self) -> None:
        spreads = {"a1": 0.01, "a2": 0.02, "a3": 0.03, "a4": 9.0, "b1": 9.0}
        suite = {key: [-spread, 0.0, spread] for key, spread in spreads.items()}  # variance: the square of the spread
        _, low, high = logs(intervals(suite)["a1"])
        prior_df = PRIOR_DF * 6 / (PRIOR_DF + 6)  # three other cases of two degrees of freedom
        prior = 0.03**2 / (stats.chi2.median(2) / 2)
        variance = (prior_df * prior + 2 * 0.01**2) / (prior_df + 2)
        assert variance > 0.01**2
        alone = intervals({"a": [-0.01, 0.0, 0.01]})["a"]
        share = 2 * stats.t.sf(logs(alone)[2] / (0.01 / math.sqrt(3)), 2) / len(suite)
        half = stats.t.isf(share / 2, prior_df + 2) * math.sqrt(variance / 3)
        assert (low, high) == pytest.approx((-half, half))

    def test_a_calmer_group_narrows_an_interval_by_its_degrees_of_freedom_alone(self) -> None:
        suite = {"a1": [-0.09, 0.0, 0.09], "a2": [-0.01, 0.0, 0.01], "a3": [-0.01, 0.0, 0.01]}
        found, prior_df = intervals(suite)["a1"], PRIOR_DF * 4 / (PRIOR_DF + 4)
        alone = intervals({"a": suite["a1"]})["a"]
        risk = float(stats.t.sf(own(alone)[1] / (0.09 / math.sqrt(3)), 2))
        assert own(found)[1] == pytest.approx(stats.t.isf(risk, prior_df + 2) * 0.09 / math.sqrt(3))

    def test_between_two_looks_the_earlier_one_holds(self) -> None:
        values = [0.01, 0.02, 0.0, 0.03, 0.01, 0.02, 0.9]
        assert LOOKS[3:5] == (6, 8)
        assert intervals({"a": values}) == intervals({"a": values[:6]})
        assert intervals({"a": [*values[:6] * 5, 0.9]}) == intervals({"a": values[:6] * 5})

    def test_pairs_that_agree_exactly_leave_no_width(self) -> None:
        found = intervals({"a": [0.25] * 3, "ab": [0.5] * 3})["a"]
        assert set(vars(found).values()) == {math.exp(0.25)}

    @pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2]])
    def test_before_the_first_look_there_is_none(self, values: list[float]) -> None:
        assert paired_intervals({"a": values, "b": [0.1] * 3}, {"a": "g", "b": "g"}, alpha=ALPHA)["a"] is None

    def test_a_single_pair_has_an_interval_only_where_its_group_gives_the_spread(self) -> None:
        suite = {"a1": [0.1], "a2": [0.0, 0.01, 0.02], "b1": [0.1]}
        found = paired_intervals(suite, by_letter(suite), alpha=ALPHA, looks=(1, 3))
        assert found["a1"] is not None
        assert found["b1"] is None

    def test_an_interval_beyond_every_float_is_none(self) -> None:
        assert paired_intervals({"a": [-300.0, 0.0, 300.0]}, {"a": "a"}, alpha=ALPHA) == {"a": None}
        assert paired_intervals({}, {}, alpha=ALPHA) == {}

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_a_log_ratio_is_finite(self, number: float) -> None:
        with pytest.raises(ValueError, match=r"log_ratios: case 'a' has .*, expected finite numbers"):
            paired_intervals({"a": [0.1, number, 0.1]}, {"a": "a"}, alpha=ALPHA)

    def test_a_case_has_a_group(self) -> None:
        with pytest.raises(ValueError, match="groups: case 'a' has none"):
            paired_intervals({"a": [0.1] * 3}, {}, alpha=ALPHA)

    @pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan])
    def test_alpha_is_a_chance(self, alpha: float) -> None:
        with pytest.raises(ValueError, match=r"alpha: got .*, expected a chance"):
            paired_intervals({"a": [0.1] * 3}, {"a": "a"}, alpha=alpha)

    @pytest.mark.parametrize("looks", [(), (0, 3), (3, 3), (5, 4)])
    def test_looks_grow(self, looks: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"looks: got .*, expected numbers of pairs"):
            paired_intervals({"a": [0.1] * 3}, {"a": "a"}, alpha=ALPHA, looks=looks)


def scattered(mean: float, spread: float, pairs: int) -> list[float]:
    """So many log-ratios with exactly this trimmed mean and the square of ``spread`` as their variance."""
    scores = stats.norm.ppf((np.arange(pairs) + 0.5) / pairs)
    return [mean + spread / math.sqrt(trimmed(scores.tolist())[1]) * one for one in scores.tolist()]


class TestPairsNeeded:
    @pytest.mark.parametrize(
        ("mean", "spread", "tolerance"), [(0.0, 0.02, 0.02), (0.01, 0.01, 0.02), (0.05, 0.02, 0.02), (-0.1, 0.05, 0.05)]
    )
    def test_so_many_pairs_decide_and_the_look_before_does_not(
        self, mean: float, spread: float, tolerance: float
    ) -> None:
        needed = pairs_needed({"a": scattered(mean, spread, 4)}, {"a": "a"}, tolerances={"a": tolerance}, alpha=ALPHA)[
            "a"
        ]
        assert needed in LOOKS[2:]
        before = LOOKS[LOOKS.index(needed) - 1]  # type: ignore[arg-type]  # it is among them
        for pairs, decided in ((needed, True), (before, False)):
            estimate = paired_intervals({"a": scattered(mean, spread, pairs)}, {"a": "a"}, alpha=ALPHA)["a"]  # type: ignore[arg-type]
            assert (judge_ratio(estimate, tolerance).status != "INCONCLUSIVE") == decided

    def test_a_decided_case_needs_what_it_has(self) -> None:
        suite = {"a": scattered(0.0, 0.001, 5)}
        assert pairs_needed(suite, {"a": "a"}, tolerances={"a": 0.05}, alpha=ALPHA) == {"a": 5}

    def test_it_tells_more_than_the_plan_has(self) -> None:
        suite = {"a": scattered(0.0, 0.15, 30)}
        needed = pairs_needed(suite, {"a": "a"}, tolerances={"a": 0.05}, alpha=ALPHA)["a"]
        assert needed is not None
        assert 30 < needed < 150

    @pytest.mark.parametrize("values", [[], [0.1, 0.2], scattered(math.log(1.02), 0.01, 5), scattered(0.0, 1.0, 5)])
    def test_none_without_an_interval_or_a_hope(self, values: list[float]) -> None:
        assert pairs_needed({"a": values}, {"a": "a"}, tolerances={"a": 0.02}, alpha=ALPHA) == {"a": None}

    def test_a_tolerance_is_above_0(self) -> None:
        with pytest.raises(ValueError, match="tolerance of a: got 0, expected a fraction above 0"):
            pairs_needed({}, {}, tolerances={"a": 0}, alpha=ALPHA)


class Suites:
    """Suites of ``cases`` cases in groups of ``group``: every case scatters by 0.7-1.7% between pairs, one of them
    ``noisy`` times as much as its typical neighbour; this share of pairs is ``outliers``, off by 10-20%."""

    def __init__(self, cases: int, group: int = 5, noisy: float = 0.0, outliers: float = 0.0, seed: int = 1) -> None:
        self.keys = [f"{chr(97 + n // group)}{n}" for n in range(cases)]
        self.noisy = noisy
        self.outliers = outliers
        self.random = np.random.default_rng(seed)

    def draw(self, truth: float = 0.0) -> dict[str, list[float]]:
        """The log-ratios of one suite, as many pairs as the plan has."""
        random, shape = self.random, (len(self.keys), LOOKS[-1])
        spreads = np.exp(random.uniform(math.log(0.007), math.log(0.017), len(self.keys)))
        if self.noisy:
            spreads[0] = self.noisy * 0.011
        values = truth + spreads[:, None] * random.standard_normal(shape)
        off = random.choice([-1, 1], shape) * random.uniform(0.1, 0.2, shape)
        values += np.where(random.random(shape) < self.outliers, off, 0)
        return dict(zip(self.keys, values.tolist(), strict=True))

    def too_low(self) -> dict[str, bool]:
        """Whether a case is slower than ``at_most`` at any look, decided or not."""
        values, missed = self.draw(), dict.fromkeys(self.keys, False)
        for look in LOOKS:
            for key, estimate in intervals({key: one[:look] for key, one in values.items()}).items():
                missed[key] |= estimate.at_most < 1
        return missed

    def any_miss(self, alpha: float) -> bool:
        """Whether any interval of a suite misses its truth at any look, decided or not."""
        values = self.draw()
        for look in LOOKS:
            found = intervals({key: one[:look] for key, one in values.items()}, alpha)
            if any(not estimate.low <= 1 <= estimate.high for estimate in found.values()):
                return True
        return False

    def decide(self, tolerance: float, truth: float = 0.0, alpha: float = ALPHA) -> dict[str, tuple[str, int]]:
        """Status and number of pairs of each case, which makes no more pairs once it is decided."""
        values = self.draw(truth)
        decided: dict[str, tuple[str, int]] = {}
        for look in LOOKS:
            seen = {key: one[: decided[key][1] if key in decided else look] for key, one in values.items()}
            for key, estimate in intervals(seen, alpha).items():
                if key not in decided and (status := judge_ratio(estimate, tolerance).status) != "INCONCLUSIVE":
                    decided[key] = status, look
        return {key: decided.get(key, ("INCONCLUSIVE", LOOKS[-1])) for key in self.keys}


def share(hits: int, tries: int) -> tuple[str, float]:
    """A share in words with its 95% interval (Clopper and Pearson), and the interval's upper end."""
    found = stats.binomtest(hits, tries).proportion_ci(0.95)
    return f"{hits}/{tries} = {hits / tries:.2%} (95%: {found.low:.2%} to {found.high:.2%})", float(found.high)


class TestPromise:
    """Chances at most alpha. The quick tests take a large alpha, so that few suites would show a broken promise."""

    @pytest.mark.parametrize("noisy", [0.0, 3.0])
    def test_few_suites_ever_miss(self, noisy: float) -> None:
        suites = Suites(6, 6, noisy)
        misses = sum(suites.any_miss(0.2) for _ in range(250))
        assert stats.binomtest(misses, 250, 0.2, alternative="greater").pvalue > 0.05, share(misses, 250)[0]
        assert misses > 0  # intervals that never miss promise too much

    @pytest.mark.parametrize("noisy", [0.0, 3.0])
    def test_few_cases_are_ever_slower_than_at_most(self, noisy: float) -> None:
        suites = Suites(6, 6, noisy)
        missed = [suites.too_low() for _ in range(150)]
        for key in suites.keys[:1], suites.keys[1:]:  # the noisy one, and all others
            tries = [one[name] for one in missed for name in key]
            assert stats.binomtest(sum(tries), len(tries), SAME_RISK, alternative="greater").pvalue > 0.05
            assert any(tries)

    def test_a_5_percent_slowdown_is_found_at_a_tolerance_of_2(self) -> None:
        suites = Suites(6, 6)
        decided = [one for _ in range(15) for one in suites.decide(0.02, math.log(1.05)).values()]
        assert {status for status, _ in decided} == {"REGRESSED"}
        assert np.median([pairs for _, pairs in decided]) <= 10

    def test_an_outlying_pair_does_not_accuse(self) -> None:
        """One pair is off by 20%, whichever of the first pairs it is and however quiet the others are. Where it is
        trimmed, it leaves them as they are; before, it makes nothing the same either."""
        for calm in (1e-6, 1e-3, 1e-2):
            for look in LOOKS:
                values = [*scattered(0.0, calm, look - 1), 0.2]
                suite = {"a": values, "ab": scattered(0.0, calm, look), "ac": scattered(0.0, calm, look)}
                status = judge_ratio(intervals(suite)["a"], 0.02).status
                assert status == "INCONCLUSIVE" if not trim(look) else status in ("SAME", "INCONCLUSIVE")
                assert status == "SAME" or not trim(look) or calm > 1e-3


AT_NIGHT = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "thorough",
    reason="minutes of simulation: HYPOTHESIS_PROFILE=thorough runs them",
)


@pytest.mark.slow
class TestPromiseAtLength:
    @pytest.mark.parametrize(
        ("cases", "group", "noisy", "outliers", "tries"),
        [
            (6, 6, 0.0, 0.0, 2_500),
            pytest.param(6, 6, 0.0, 0.0, 10_000, marks=AT_NIGHT),
            pytest.param(6, 6, 3.0, 0.0, 10_000, marks=AT_NIGHT),
            pytest.param(6, 3, 3.0, 0.0, 10_000, marks=AT_NIGHT),
            pytest.param(6, 6, 0.0, 0.05, 5_000, marks=AT_NIGHT),
            pytest.param(20, 5, 0.0, 0.0, 5_000, marks=AT_NIGHT),
            pytest.param(20, 5, 3.0, 0.0, 5_000, marks=AT_NIGHT),
            pytest.param(60, 6, 0.0, 0.0, 2_000, marks=AT_NIGHT),
            pytest.param(60, 6, 3.0, 0.0, 2_000, marks=AT_NIGHT),
        ],
    )
    def test_at_most_1_percent_of_unchanged_suites_ever_miss(
        self, cases: int, group: int, noisy: float, outliers: float, tries: int
    ) -> None:
        suites = Suites(cases, group, noisy, outliers)
        words, upper = share(sum(suites.any_miss(ALPHA) for _ in range(tries)), tries)
        print(
            f"\n{cases} cases in groups of {group}, one {noisy}x noisier, {outliers:.0%} outlying pairs: missed {words}"
        )
        assert upper <= ALPHA

    @pytest.mark.parametrize(
        ("noisy", "outliers"),
        [
            (0.0, 0.0),
            *(pytest.param(*one, marks=AT_NIGHT) for one in ((3.0, 0.0), (10.0, 0.0), (0.0, 0.02), (0.0, 0.1))),
        ],
    )
    def test_at_most_1_percent_of_unchanged_suites_have_a_false_decision(self, noisy: float, outliers: float) -> None:
        suites = Suites(6, 6, noisy, outliers)
        tries = 4_000
        statuses = [{status for status, _ in suites.decide(0.02).values()} for _ in range(tries)]
        words, upper = share(sum(bool(one & {"REGRESSED", "IMPROVED"}) for one in statuses), tries)
        print(f"\none {noisy}x noisier, {outliers:.0%} outlying pairs, tolerance 2%: falsely decided {words}")
        assert upper <= ALPHA
