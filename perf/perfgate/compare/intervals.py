"""Pure statistics over samples. scipy is imported when a function that needs it is called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median


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


LOOKS = (3, 4, 5, 6, 8, 10, 13, 17, 22, 30)
"""After how many pairs the cases of a comparison are looked at. Two pairs decide nothing at a suite's error rate (one
degree of freedom); from there each step is about a quarter more; 30 tell 2% for the noisiest case measured here."""
PRIOR_DF = 2.0
"""How many degrees of freedom the other cases' spread is worth in a guess of a case's own. With infinitely many (plain
pooling) one case three times noisier than the five beside it makes 19% of suites miss at a promised 1%; with 2 it is
0.5%, and with a case ten times noisier 1.1%, half of them decided falsely. Similar cases still need 10-20% fewer pairs
than each by itself. A group cannot tell this number: after three pairs its moment estimate is infinite in a third of
such groups."""
MOST_PAIRS = 1000
"""Nobody makes more pairs than this: :func:`pairs_needed` then answers None."""
_LARGEST_LOG = 700.0
"""exp() of more is beyond a float."""


@dataclass(frozen=True)
class _Spread:
    """A case at its latest look: mean and variance of its ``pairs`` log-ratios, and what its group says of its variance
    (``prior_variance``, worth ``prior_df`` degrees of freedom)."""

    pairs: int
    mean: float
    variance: float
    prior_variance: float
    prior_df: float


def paired_intervals(
    log_ratios: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    alpha: float,
    looks: Sequence[int] = LOOKS,
) -> dict[str, Estimate | None]:
    """Each case's ratio time_B / time_A with its interval, simultaneous over all cases and all looks of the plan.

    The chance that any interval of any case, at any look, misses its truth on either side is at most ``alpha``. So one
    may look again and again, stop for a case when it is decided, and go on with the others: hand in all cases every
    time, the decided ones with the pairs that they have, those without pairs with none.

    Args:
        log_ratios: log(time_B / time_A) by case, one number for each fresh pair of processes, in the order made.
        groups: the group of each case; spreads are similar within one (all cases of one benchmark).
        looks: after how many pairs one looks. A case between two looks is judged as of the earlier one, by its first
            pairs, so that looking after every pair costs nothing.

    Returns:
        The estimate by case: exp of the mean log-ratio. None before the first look, for a single pair without a group,
        and for an interval that no float can hold.

    Three established parts:
        * The error rate is divided evenly among cases (Bonferroni) and over the looks by a spending function, with a
          union bound over looks, so that it holds for t statistics and for dependent cases. The union leaves a tenth to
          a quarter of the error rate unused, which is at most 3% of width.
          Source: K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70
          (1983): the spending function alpha * ln(1 + (e - 1) t) like Pocock's. The one like O'Brien and Fleming's
          spends too little early: with t statistics it takes half as many pairs again.
        * A case's variance is moderated by its group's: (d0 * s0^2 + d * s^2) / (d0 + d), and t has d0 + d degrees
          of freedom. Source: G. K. Smyth, Linear models and empirical Bayes methods for assessing differential
          expression in microarray experiments, Stat. Appl. Genet. Mol. Biol. 3 (2004), section 3. Here d0 is
          ``PRIOR_DF``, and less where the group has few pairs.
        * s0^2 is the median over the *other* cases, so that neither one noisy case nor an outlying pair widens
          everybody's interval. Source for robust priors: B. Phipson et al., Robust hyperparameter estimation protects
          against hypervariable genes, Ann. Appl. Stat. 10 (2016).

    The promise is for normally distributed pairs and cases at most about six times noisier than their group; heavier
    tails miss less often. An outlying pair widens its own case's interval as it moves the mean: it costs pairs and does
    not accuse.

    Raises:
        ValueError: ``alpha`` or ``looks`` make no sense, a log-ratio is not finite, or a case has no group.
    """
    from scipy.stats import t

    spent = _spending(alpha, looks, len(log_ratios))
    found: dict[str, Estimate | None] = dict.fromkeys(log_ratios)
    spreads = [(key, spread) for key, spread in _spreads(log_ratios, groups, looks).items() if spread is not None]
    if not spreads:
        return found
    one_sided = [spent[spread.pairs] / 2 for _, spread in spreads]
    df = [spread.prior_df + spread.pairs - 1 for _, spread in spreads]
    for (key, spread), quantile in zip(spreads, t.isf(one_sided, df), strict=True):
        half = _half_width(spread, spread.pairs, float(quantile))
        if abs(spread.mean) + half < _LARGEST_LOG:
            found[key] = Estimate(math.exp(spread.mean), math.exp(spread.mean - half), math.exp(spread.mean + half))
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

    Decided means: all of its interval lies within the tolerance, or all of it beyond. The arguments are those of
    :func:`paired_intervals`; beyond the plan's last look, a longer plan is assumed that spends at each look what this
    one does at its last. None before there is an interval, and where more than ``MOST_PAIRS`` would be needed: then the
    ratio is too close to the tolerance, or the case too noisy.

    Raises:
        ValueError: as for :func:`paired_intervals`, or a tolerance is not above 0.
    """
    from scipy.stats import t

    for key, tolerance in tolerances.items():
        if not tolerance > 0:
            raise ValueError(f"tolerance of {key}: got {tolerance!r}, expected a fraction above 0")
    spent = _spending(alpha, looks, len(log_ratios))
    needed: dict[str, int | None] = dict.fromkeys(log_ratios)
    for key, spread in _spreads(log_ratios, groups, looks).items():
        if spread is None:
            continue
        bound = math.log1p(tolerances[key])
        plan = [look for look in looks if look >= spread.pairs] + list(range(looks[-1] + 1, MOST_PAIRS + 1))
        one_sided = [spent.get(pairs, spent[looks[-1]]) / 2 for pairs in plan]
        quantiles = t.isf(one_sided, [spread.prior_df + pairs - 1 for pairs in plan])
        for pairs, quantile in zip(plan, quantiles, strict=True):
            half = _half_width(spread, pairs, float(quantile))
            if abs(spread.mean) + half <= bound or abs(spread.mean) - half > bound:
                needed[key] = pairs
                break
    return needed


def _spending(alpha: float, looks: Sequence[int], cases: int) -> dict[int, float]:
    """The error rate of one case at each look, both sides together; their sum over cases and looks is ``alpha``."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha!r}, expected a chance between 0 and 1")
    if not looks or looks[0] < 1 or any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError(f"looks: got {list(looks)}, expected numbers of pairs, each larger than the one before")
    spent = [math.log1p((math.e - 1) * look / looks[-1]) for look in looks]
    each = alpha / max(1, cases)
    return {look: each * (now - before) for look, before, now in zip(looks, [0.0, *spent], spent, strict=False)}


def _spreads(
    log_ratios: Mapping[str, Sequence[float]], groups: Mapping[str, str], looks: Sequence[int]
) -> dict[str, _Spread | None]:
    """Each case at its latest look; None where it had none yet, or where nothing tells its spread."""
    known: dict[str, tuple[int, float, float]] = {}
    for key, values in log_ratios.items():
        if key not in groups:
            raise ValueError(f"groups: case {key!r} has none")
        if not all(map(math.isfinite, values)):
            raise ValueError(f"log_ratios: case {key!r} has {list(values)}, expected finite numbers")
        pairs = max((look for look in looks if look <= len(values)), default=0)
        if pairs:
            mean = fmean(values[:pairs])
            squares = math.fsum((value - mean) ** 2 for value in values[:pairs])
            known[key] = pairs, mean, squares / max(1, pairs - 1)
    priors = _priors({key: (pairs - 1, variance) for key, (pairs, _, variance) in known.items()}, groups)
    found: dict[str, _Spread | None] = dict.fromkeys(log_ratios)
    for key, (pairs, mean, variance) in known.items():
        prior_variance, prior_df = priors[key]
        if pairs > 1 or prior_df:
            found[key] = _Spread(pairs, mean, variance, prior_variance, prior_df)
    return found


def _priors(variances: Mapping[str, tuple[int, float]], groups: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """What each case's group says of its variance, and how many degrees of freedom that is worth; from each case's own
    degrees of freedom and variance. Source: see :func:`paired_intervals`."""
    from scipy.stats import chi2

    sizes = sorted({df for df, _ in variances.values()} - {0})
    too_low = dict(zip(sizes, chi2.median(sizes) / sizes, strict=True)) if sizes else {}  # a variance's own median
    members: dict[str, list[str]] = {}
    for key, (df, _) in variances.items():
        if df:
            members.setdefault(groups[key], []).append(key)
    found = {}
    for key in variances:
        others = [variances[other] for other in members.get(groups[key], ()) if other != key]
        df = sum(own for own, _ in others)
        typical = median(other / float(too_low[own]) for own, other in others) if others else 0.0
        found[key] = typical, PRIOR_DF * df / (PRIOR_DF + df)
    return found


def _half_width(spread: _Spread, pairs: int, quantile: float) -> float:
    """Half the interval's width, in log-ratio, after ``pairs`` pairs that vary like those seen."""
    df = pairs - 1
    moderated = (spread.prior_df * spread.prior_variance + df * spread.variance) / (spread.prior_df + df)
    return quantile * math.sqrt(moderated / pairs)


def stored_intervals(
    stored: Mapping[str, Sequence[float]],
    fresh: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    alpha: float,
) -> dict[str, Estimate | None]:
    """Each case's ratio fresh / stored with its interval, simultaneous over all cases; each number is one process's.

    A two-sample t interval on logarithms with equal variances (the same machine made both), the variance moderated by
    the group's as in :func:`paired_intervals`, the error rate divided evenly among the cases. What the machine drifted
    between the two sessions is in the ratio: no statistic over processes of one session can remove it.

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
    priors = _priors(variances, groups)
    found: dict[str, Estimate | None] = dict.fromkeys(fresh)
    for key, (before, after) in logs.items():
        (df, variance), (prior_variance, prior_df) = variances[key], priors[key]
        if not df + prior_df:
            continue
        moderated = (prior_df * prior_variance + df * variance) / (prior_df + df)
        quantile = float(t.isf(alpha / (2 * len(fresh)), prior_df + df))
        half = quantile * math.sqrt(moderated * (1 / len(before) + 1 / len(after)))
        difference = fmean(after) - fmean(before)
        if abs(difference) + half <= _LARGEST_LOG:
            found[key] = Estimate(math.exp(difference), math.exp(difference - half), math.exp(difference + half))
    return found
