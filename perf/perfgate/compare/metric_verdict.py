"""What was decided about one metric: pure functions from two values, or a ratio with its interval, to a finding.

*Before* is the baseline, or side A of a comparison; *after* is the run, or side B.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from perfgate.compare.intervals import LOOKS, RatioEstimate
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Metric
from perfgate.records.validate import RecordError, finite, mapping, one_of, text

Status = Literal[
    "REGRESSED", "FELL_BACK", "MISSING", "INCONCLUSIVE", "INCOMPARABLE", "SKIPPED", "IMPROVED", "SAME", "NEW"
]
WORST_FIRST: tuple[Status, ...] = get_args(Status)
"""A verdict has the status of its worst finding. NEW comes last: a metric that only one side has says nothing about
those that both have."""
FAILING: tuple[Status, ...] = ("REGRESSED", "FELL_BACK", "MISSING")
"""What fails a test, whatever a project wants of INCONCLUSIVE: see :func:`fails`."""

LATENCY, CALLS, FLOPS = "latency_s", "operator_calls", "flops"
NAMED_OPERATORS = 5
"""Operators whose counts changed that a reason names, the largest changes first; the rest is counted."""
FEW, HOPELESS = 1.5, 100
"""Below so many times as many pairs the advice is "a few more"; above the second, it is that pairs do not help."""


def fails(status: Status, *, undecided_fails: bool) -> bool:
    """Whether a verdict's status fails its test; what nobody decided does where the project says so."""
    return status in FAILING or (undecided_fails and status == "INCONCLUSIVE")


@dataclass(frozen=True)
class Finding:
    """What was decided about one metric.

    ``before`` and ``after`` are in ``unit``; ``ratio`` is after / before, from ``low`` to ``high`` where it has an
    interval: where a time is SAME the case's own interval, else the one of all cases together. ``tolerance`` is a
    fraction where a ratio of times was judged, and in ``unit`` where an amount was.
    """

    metric: str
    status: Status
    reason: str
    before: float | int | None = None
    after: float | int | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    tolerance: float | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        one_of("status", self.status, WORST_FIRST)
        for name in _NUMBERS:
            if getattr(self, name) is not None:
                finite(name, getattr(self, name))

    def to_json(self) -> dict[str, Any]:
        """The fields that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: Any) -> Finding:
        """Read one finding.

        Raises:
            RecordError: a field is missing, of the wrong type, not finite or not among the allowed values.
        """
        fields = mapping("finding", data)
        try:
            return cls(
                metric=text("metric", fields["metric"]),
                status=fields["status"],
                reason=text("reason", fields["reason"]),
                unit=None if fields.get("unit") is None else text("unit", fields["unit"]),
                **{name: fields.get(name) for name in _NUMBERS},
            )
        except KeyError as missing:
            raise RecordError(f"finding: field {missing} is missing") from None


_NUMBERS = ("before", "after", "ratio", "low", "high", "tolerance")


def largest_slowdown(estimate: RatioEstimate) -> float:
    """What the case is at most slower, as a fraction, but for a chance of ``SAME_RISK``; below 0 it is surely
    faster."""
    return estimate.at_most - 1


def judge_ratio(
    estimate: RatioEstimate | None, tolerance: float, *, pairs_needed: int | None = None, metric: str = LATENCY
) -> Finding:
    """Judge the ratio of a time, after / before, by its intervals; None, before there are any, is undecided.

    Slower means that all of the interval of all cases together lies above 1 + ``tolerance``, faster below
    1 / (1 + ``tolerance``); the same, that the case's own lies between the two. ``pairs_needed``, from
    :mod:`perfgate.compare.intervals`, is told where nothing is decided.

    Raises:
        ValueError: the estimate has no intervals of positive, finite numbers.
    """
    if estimate is None:
        reason = "no interval yet: too few process pairs" + _pairs_in_words(pairs_needed)
        return Finding(metric, "INCONCLUSIVE", reason, tolerance=tolerance)
    low, high = estimate.low, estimate.high
    for below, above in ((low, high), (estimate.at_least, estimate.at_most)):
        if not 0 < below <= estimate.value <= above < math.inf:
            raise ValueError(f"estimate: got {estimate}, expected 0 < low <= value <= high, all finite")
    allowed, slowest, fastest = percent(tolerance), 1 + tolerance, 1 / (1 + tolerance)
    status: Status
    if low > slowest:
        status, meaning = "REGRESSED", f"slower by more than the tolerance of {allowed}"
    elif high < fastest:
        status, meaning = "IMPROVED", f"faster by more than the tolerance of {allowed}"
    elif estimate.at_least >= fastest and estimate.at_most <= slowest:
        low, high = estimate.at_least, estimate.at_most
        status, meaning = "SAME", f"within the tolerance of {allowed}; {_at_most_in_words(estimate)}"
    else:
        needed = _pairs_in_words(pairs_needed) or _more_pairs_in_words(estimate, slowest, fastest)
        status, meaning = "INCONCLUSIVE", f"undecided at a tolerance of {allowed}{needed}"
    return Finding(
        metric,
        status,
        f"time {_change(estimate.value)} ({_change(low)} to {_change(high)}): {meaning}",
        ratio=estimate.value,
        low=low,
        high=high,
        tolerance=tolerance,
    )


def _pairs_in_words(pairs: int | None) -> str:
    if pairs is None:
        return ""
    most = f", but a comparison makes {LOOKS[-1]} at most" if pairs > LOOKS[-1] else ""
    return f"; about {pairs} pairs of processes would decide it{most}"


def _at_most_in_words(estimate: RatioEstimate) -> str:
    """The bound that a SAME has."""
    slower = largest_slowdown(estimate)
    return f"at most {percent(slower)} slower" if slower >= 0 else f"at least {percent(-slower)} faster"


def _more_pairs_in_words(estimate: RatioEstimate, slowest: float, fastest: float) -> str:
    """How many times as many pairs would decide: an interval narrows with the root of their number."""
    within = fastest <= estimate.value <= slowest  # then only the case's own interval can decide
    half = math.log(estimate.at_most / estimate.at_least if within else estimate.high / estimate.low) / 2
    room = min(abs(math.log(estimate.value / bound)) for bound in (slowest, fastest))
    if half > room * math.sqrt(HOPELESS):
        return "; too close to the tolerance to resolve"
    times = (half / room) ** 2
    return f"; {'a few more' if times < FEW else f'about {times:.1f} times as many'} pairs of processes would decide it"


def judge_exact(name: str, before: Metric, after: Metric, tolerances: Tolerances) -> Finding:
    """Judge an exact metric by its two values alone: beyond the tolerance it is worse, or better, at once.

    The tolerance is ``exact_relative`` of the smaller value, and at least ``exact_bytes`` where the unit is bytes.
    """
    if (other := unlike(name, before, after)) is not None:
        return other
    smaller = min(abs(before.value), abs(after.value))
    allowed = max(tolerances.exact_relative * smaller, tolerances.exact_bytes if before.unit == "bytes" else 0)
    return judge_amount(name, before, after, allowed)


def changed_operators(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Which operators are called more or less often, the largest changes first; empty where none is."""
    a, b = Counter(before), Counter(after)
    changed = [name for name in a.keys() | b.keys() if a[name] != b[name]]
    changed.sort(key=lambda name: (-abs(b[name] - a[name]), name))
    told = ", ".join(f"{name} {a[name]:,} -> {b[name]:,}" for name in changed[:NAMED_OPERATORS])
    rest = len(changed) - NAMED_OPERATORS
    return told + (f" and {rest} more operators" if rest > 0 else "")


def unlike(name: str, before: Metric, after: Metric) -> Finding | None:
    """INCOMPARABLE where a metric's unit or kind changed."""
    a, b = ((metric.kind, metric.unit, metric.better) for metric in (before, after))
    return None if a == b else Finding(name, "INCOMPARABLE", f"was {', '.join(a)}; is {', '.join(b)}")


def judge_amount(name: str, before: Metric, after: Metric, allowed: float) -> Finding:
    """Worse or better by more than ``allowed``, in the metric's unit."""
    grown = after.value - before.value
    worse = {"lower": grown, "higher": -grown, "none": 0}[before.better]
    status: Status = "REGRESSED" if worse > allowed else "IMPROVED" if -worse > allowed else "SAME"
    if grown == 0:
        reason = f"{amount(after.value, after.unit)} on both sides"
    else:
        reason = f"{amount(before.value, before.unit)} became {amount(after.value, after.unit)} "
        reason += f"({'+' if grown > 0 else '-'}{amount(abs(grown), after.unit)})"
        if allowed:
            reason += f", {'within' if status == 'SAME' else 'beyond'} the tolerance of {amount(allowed, after.unit)}"
    ratio = after.value / before.value if before.value else math.inf
    finite = ratio if math.isfinite(ratio) else None
    return Finding(name, status, reason, before.value, after.value, finite, tolerance=allowed, unit=after.unit)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def _change(ratio: float) -> str:
    """A ratio as the change it is: +6.3%, or x2.31 where percents are hard to picture."""
    if not 0.5 < ratio < 2:
        return f"x{ratio:.3g}"
    return f"{round(100 * (ratio - 1), 1) + 0.0:+.1f}%"  # adding 0.0 turns -0.0 into 0.0


def amount(value: float | int, unit: str) -> str:
    """An amount for people: bytes in KiB or MiB, whole numbers in groups of three digits."""
    if unit == "bytes" and abs(value) >= 1024:
        return f"{value / 2**20:,.1f} MiB" if abs(value) >= 2**20 else f"{value / 2**10:,.1f} KiB"
    number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return number if unit == "1" else f"{number} {unit}"
