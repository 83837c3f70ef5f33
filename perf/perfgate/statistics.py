"""Pure statistics over samples. scipy is imported when a function that needs it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


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
