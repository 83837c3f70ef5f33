"""Pure statistics over samples. scipy is imported when a function that needs it is called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from perfgate.compare.spread import moderated, priors, spreads
from perfgate.compare.tolerances import SAME_RISK


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its confidence interval, in the unit of the samples."""

    value: float
    low: float
    high: float

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over the value; infinite where the value is 0."""
        return (self.high - self.low) / 2 / self.value if self.value else float("inf")


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """The median with its distribution-free confidence interval, or None where there are too few samples for one.

    The interval's bounds are order statistics whose ranks come from the binomial distribution, so nothing is
    assumed about the shape of timings. Six samples are the fewest that can give 95%.

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2 (confidence interval for a
    quantile), as implemented by scipy.stats.quantile_test. Recommended for timings by T. Hoefler and R. Belli,
    "Scientific Benchmarking of Parallel Computing Systems", SC15, rule 5.
    """
    if len(samples) < 2:
        return None
    from scipy.stats import quantile_test

    middle = median(samples)
    interval = quantile_test(list(samples), q=middle, p=0.5).confidence_interval(confidence)
    low, high = float(interval.low), float(interval.high)
    if not (low <= middle <= high):  # scipy answers NaN for a bound that too few samples cannot give
        return None
    return Estimate(middle, low, high)


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of times, after / before, with an interval for each of two errors.

    ``low`` to ``high`` holds for all cases and looks together: what it excludes may be called changed. ``at_least`` and
    ``at_most`` are this case's own, over its looks: each is wrong with a chance of ``SAME_RISK`` at most; what they
    include may be called the same.
    """

    value: float
    low: float
    high: float
    at_least: float
    at_most: float


LOOKS = (3, 4, 5, 6, 8, 10, 13, 17, 22, 30)
"""After how many pairs the cases of a comparison are looked at. Two pairs decide nothing at a suite's error rate (one
degree of freedom); from there each step is about a quarter more; 30 tell 2% for the noisiest case measured here."""
MOST_PAIRS = 1000
"""Nobody makes more pairs than this: :func:`pairs_needed` then answers None."""
_LARGEST_LOG = 700.0
"""exp() of more is beyond a float."""


def paired_intervals(
    log_ratios: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    alpha: float,
    looks: Sequence[int] = LOOKS,
) -> dict[str, RatioEstimate | None]:
    """Each case's ratio time_B / time_A with its intervals, over all looks of the plan.

    The chance that ``low`` to ``high`` of any case, at any look, misses its truth on either side is at most ``alpha``;
    the chance that ``at_most`` of one case is below its truth at any look is at most ``SAME_RISK``, and so for
    ``at_least``. So one may look again and again, stop for a case when it is decided, and go on with the others: hand
    in all cases every time, the decided ones with the pairs that they have, those without pairs with none.

    Two error rates, because the two errors differ: of the false alarms of a whole suite one stops the work, and a suite
    of a hundred cases has a hundred chances for one; a missed slowdown is one case's, whatever the number of others.

    Args:
        log_ratios: log(time_B / time_A) by case, one number for each fresh pair of processes, in the order made.
        groups: the group of each case; spreads are similar within one (all cases of one benchmark).
        looks: after how many pairs one looks. A case between two looks is judged as of the earlier one, by its first
            pairs, so that looking after every pair costs nothing.

    Returns:
        The estimate by case: exp of the trimmed mean log-ratio. None before the first look, for a single pair without a
        group, and for an interval that no float can hold.

    Three established parts:
        * An error rate is divided over the looks by a spending function, with a union bound over looks, so that it
          holds for t statistics and for dependent cases; ``alpha`` is first divided evenly among cases (Bonferroni).
          The union leaves a tenth to a quarter of the error rate unused, which is at most 3% of width.
          Source: K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70
          (1983): the spending function alpha * ln(1 + (e - 1) t) like Pocock's. The one like O'Brien and Fleming's
          spends too little early: with t statistics it takes half as many pairs again.
        * Trimmed means and winsorised variances: :func:`perfgate.compare.spread.trimmed`. An outlying pair among the
          first 7, of which none is trimmed, widens its own case's interval as it moves the mean.
        * A case's variance is moderated by its group's: :func:`perfgate.compare.spread.moderated` and
          :func:`~perfgate.compare.spread.priors`.

    The promise is for independent pairs, and for cases at most about ten times noisier than their group.
    ``tests/perfgate/compare/test_error_rates.py`` simulates it in normal, heavy-tailed, outlying and drifting noise.

    Raises:
        ValueError: ``alpha`` or ``looks`` make no sense, a log-ratio is not finite, or a case has no group.
    """
    from scipy.stats import t

    spent = _spending(looks)
    each = _each(alpha, len(log_ratios))
    found: dict[str, RatioEstimate | None] = dict.fromkeys(log_ratios)
    known = [(key, one) for key, one in spreads(log_ratios, groups, looks).items() if one is not None]
    if not known:
        return found
    shares = [spent[one.pairs] for _, one in known]
    df = [one.df(one.pairs) for _, one in known]
    quantiles = (t.isf([one_sided * share for share in shares], df).tolist() for one_sided in (each, SAME_RISK))
    for (key, one), of_suite, of_case in zip(known, *quantiles, strict=True):
        error = one.error(one.pairs)
        found[key] = _estimate(one.mean, of_suite * error, of_case * error)
    return found


def pairs_needed(
    log_ratios: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    tolerances: Mapping[str, float],
    alpha: float,
    looks: Sequence[int] = LOOKS,
) -> dict[str, int | None]:
    """About how many pairs would decide each case at its tolerance (a fraction), if its mean and spread stay the same.

    Decided means: ``at_least`` to ``at_most`` lies within the tolerance, or all of ``low`` to ``high`` beyond. The
    arguments are those of :func:`paired_intervals`; beyond the plan's last look, a longer plan is assumed that spends
    at each look what this one does at its last. None before there is an interval, and where more than ``MOST_PAIRS``
    would be needed: then the ratio is too close to the tolerance, or the case too noisy.

    Raises:
        ValueError: as for :func:`paired_intervals`, or a tolerance is not above 0.
    """
    from scipy.stats import t

    for key, tolerance in tolerances.items():
        if not tolerance > 0:
            raise ValueError(f"tolerance of {key}: got {tolerance!r}, expected a fraction above 0")
    spent = _spending(looks)
    each = _each(alpha, len(log_ratios))
    needed: dict[str, int | None] = dict.fromkeys(log_ratios)
    for key, one in spreads(log_ratios, groups, looks).items():
        if one is None:
            continue
        bound, centre = math.log1p(tolerances[key]), abs(one.mean)
        within = centre <= bound  # then only the case's own interval can decide, else only the suite's
        plan = [look for look in looks if look >= one.pairs] + list(range(looks[-1] + 1, MOST_PAIRS + 1))
        one_sided = [(SAME_RISK if within else each) * spent.get(pairs, spent[looks[-1]]) for pairs in plan]
        quantiles = t.isf(one_sided, [one.df(pairs) for pairs in plan]).tolist()
        for pairs, quantile in zip(plan, quantiles, strict=True):
            half = quantile * one.error(pairs)
            if centre + half <= bound if within else centre - half > bound:
                needed[key] = pairs
                break
    return needed


def _spending(looks: Sequence[int]) -> dict[int, float]:
    """The share of an error rate that is spent at each look; their sum is 1."""
    if not looks or looks[0] < 1 or any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError(f"looks: got {list(looks)}, expected numbers of pairs, each larger than the one before")
    spent = [math.log1p((math.e - 1) * look / looks[-1]) for look in looks]
    return {look: now - before for look, before, now in zip(looks, [0.0, *spent], spent, strict=False)}


def _each(alpha: float, cases: int) -> float:
    """The error rate of one case on one side, of a suite's on both."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha!r}, expected a chance between 0 and 1")
    return alpha / max(1, cases) / 2


def _estimate(mean: float, of_suite: float, of_case: float) -> RatioEstimate | None:
    """The ratio of a mean log-ratio and half the widths of its intervals; None where no float can hold it."""
    if abs(mean) + max(of_suite, of_case) > _LARGEST_LOG:
        return None
    low, high, at_least, at_most = (math.exp(mean + half) for half in (-of_suite, of_suite, -of_case, of_case))
    return RatioEstimate(math.exp(mean), low, high, at_least, at_most)


def stored_intervals(
    stored: Mapping[str, Sequence[float]],
    fresh: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    alpha: float,
) -> dict[str, RatioEstimate | None]:
    """Each case's ratio fresh / stored with its interval, simultaneous over all cases; each number is one process's.

    A two-sample t interval on logarithms with equal variances (the same machine made both), the variance moderated by
    the group's as in :func:`paired_intervals`, the error rate divided evenly among the cases. What the machine drifted
    between the two sessions is in the ratio: no statistic over processes of one session can remove it. So a case's own
    interval is no narrower than the suite's: a risk of 5% would be one of the spread alone.

    Args:
        stored: seconds by case, one number for each process of the baseline.
        fresh: the same of this run; a single process will do.

    Returns:
        The estimate by case of ``fresh``; None where nothing tells the spread.

    Source: B. L. Welch, The generalization of "Student's" problem, Biometrika 34 (1947), for the equal-variance form.
    """
    from scipy.stats import t

    logs = {key: ([math.log(one) for one in stored[key]], [math.log(one) for one in fresh[key]]) for key in fresh}
    variances = {}
    for key, sides in logs.items():
        df = sum(len(side) - 1 for side in sides)
        squares = math.fsum((one - fmean(side)) ** 2 for side in sides for one in side)
        variances[key] = df, squares / max(1, df)
    found_priors = priors(variances, groups)
    found: dict[str, RatioEstimate | None] = dict.fromkeys(fresh)
    for key, (before, after) in logs.items():
        own, prior = variances[key], found_priors[key]
        total_df = own[0] + prior[0]
        if not total_df:
            continue
        error = math.sqrt(moderated(own, prior) * (1 / len(before) + 1 / len(after)))
        half = float(t.isf(_each(alpha, len(fresh)), total_df)) * error
        found[key] = _estimate(fmean(after) - fmean(before), half, half)
    return found
