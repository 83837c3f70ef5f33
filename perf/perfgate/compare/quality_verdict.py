"""Quality against the other side's: errors, divergences, agreements, each the mean over the same inputs on both sides.

The benchmark itself holds them to absolute bounds, which are wide: what a scheme may ever be. Between two runs far less
may change. With equal versions and nothing changed that the case runs they repeat; otherwise other kernels round
otherwise, and what is judged is the difference: beyond the tolerance, and, where the values of the single inputs are
known, too much for chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.compare.metric_verdict import Finding, Status, amount, percent, unlike
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Metric

CHANCE = 0.001
"""How likely chance alone may make a difference as large, where it is called one: a suite has some fifty of these
metrics, and a comparison in which all libraries changed should not fail for one of them in more than a few percent."""


def judge_bounded(
    name: str, before: Metric, after: Metric, tolerances: Tolerances, *, must_repeat: bool = False
) -> Finding:
    """Judge a bounded metric. ``must_repeat``: nothing that it depends on has changed.

    The tolerance is ``quality`` times what is wrong (of an agreement that is what does not agree), and at least
    ``quality_absolute``.
    """
    if (other := unlike(name, before, after)) is not None:
        return other
    told = f"{amount(before.value, before.unit)} became {amount(after.value, after.unit)}"
    if before.better == "none":
        return _finding(name, "SAME", f"{told}, held to absolute bounds", before, after)
    sign = 1 if before.better == "lower" else -1
    worse = sign * (after.value - before.value)
    if worse == 0:
        return _finding(name, "SAME", f"{amount(after.value, after.unit)} on both sides", before, after)
    status: Status = "REGRESSED" if worse > 0 else "IMPROVED"
    if must_repeat and abs(worse) > tolerances.quality_absolute:
        reason = f"{told}, although nothing that it depends on has changed: it must repeat"
        return _finding(name, status, reason, before, after)
    allowed = max(tolerances.quality * _wrong(before), tolerances.quality_absolute)
    if abs(worse) <= allowed:
        reason = f"{told}, within the tolerance of {amount(allowed, before.unit)}"
        return _finding(name, "SAME", reason, before, after, allowed)
    both = zip(before.samples, after.samples, strict=True) if len(before.samples) == len(after.samples) else ()
    chance = _chance([sign * (b - a) for a, b in both], worse)
    if chance is None:
        reason = f"{told}, beyond the tolerance of {amount(allowed, before.unit)}"
    elif chance > CHANCE:
        reason = (
            f"{told}: over {len(after.samples)} inputs chance makes as much of a difference (p = {percent(chance)})"
        )
        status = "SAME"
    else:
        reason = (
            f"{told}, beyond the tolerance of {amount(allowed, before.unit)} and over {len(after.samples)} inputs more "
            f"than chance (p = {percent(chance)})"
        )
    return _finding(name, status, reason, before, after, allowed)


def _wrong(metric: Metric) -> float:
    """How much is wrong: an error itself, and of an agreement, a share, what is missing from all."""
    return 1 - metric.value if metric.unit == "fraction" and metric.better == "higher" else abs(metric.value)


def _chance(worse: Sequence[float], mean: float) -> float | None:
    """How likely differences as large, in this direction, come of chance: Wilcoxon's signed-rank test over the inputs,
    which no single input decides. None without inputs.

    Source: Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1 (1945), as in scipy.stats.
    """
    if not worse:
        return None
    moved = [one for one in worse if one != 0]
    if not moved:
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(moved, alternative="greater" if mean > 0 else "less").pvalue)


def _finding(
    name: str, status: Status, reason: str, before: Metric, after: Metric, tolerance: float | None = None
) -> Finding:
    return Finding(name, status, reason, before.value, after.value, tolerance=tolerance, unit=before.unit)
