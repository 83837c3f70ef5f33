"""The latency: seconds a call, which the comparison in lockstep is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfgate.compare.intervals import median_interval
from perfgate.compare.known_time import Estimated, NotJudged, Undecided
from perfgate.compare.metric_verdict import LATENCY, Finding, judge_ratio
from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import Basis, Quantity, Seen, Told, middle
from perfgate.records.record import Metric


def times(values: Sequence[float], *, by_input: bool) -> Metric:
    """The middle of the rounds, and where they have one input the median's interval."""
    estimate = None if by_input else median_interval(values)
    return Metric(
        kind="sampled",
        unit="s",
        better="lower",
        value=middle(values, by_input=by_input),
        samples=tuple(values),
        interval=None if estimate is None else (estimate.low, estimate.high),
    )


@register
class Latency(Quantity):
    """The timed rounds, and with them the times that results tell of themselves."""

    name, unit, kind = LATENCY, "s", "sampled"
    how = "in lockstep, by the ratio of both sides' times: tolerance time"
    place = 0

    def recorded(self, seen: Seen) -> dict[str, Metric]:
        told = {self.name: seen.times_s} | dict(seen.extra_s)
        return {name: times(values, by_input=seen.by_input) for name, values in told.items()}

    def judge(self, name: str, basis: Basis) -> Finding | None:
        """None where a side has no latency and nothing was estimated."""
        time, tolerance = basis.time, basis.tolerances.time
        estimate = time.estimate if isinstance(time, Estimated) else None
        if estimate is None and (doubted := _doubted(basis)):
            finding = Finding(name, "INCONCLUSIVE", doubted, tolerance=tolerance)
        elif isinstance(time, NotJudged):
            return Finding(name, "SAME", f"time not judged: {time.reason}")
        elif isinstance(time, Undecided):
            finding = Finding(name, "INCONCLUSIVE", time.reason, tolerance=tolerance)
        elif estimate is not None or None not in basis.both(name):
            finding = judge_ratio(estimate, tolerance, pairs_needed=time.pairs_needed)
        else:
            return None
        if not isinstance(time, NotJudged) and time.times_s is not None:
            finding = replace(finding, before=time.times_s[0], after=time.times_s[1], unit=self.unit)
        return finding


def _doubted(basis: Basis) -> str:
    """Why the times of one of the sides cannot be trusted; empty where both can."""
    told = (("before", basis.before), ("now", basis.after))
    return "; ".join(f"{when}: {doubt}" for when, record in told for doubt in record.doubts)


@register
class WallLatency(Told):
    """What a caller waits for one call, beside what the device does in it: the difference is launch overhead."""

    name, unit, better = "wall_latency_s", "s", "lower"
    why_not = "six calls that wait for the device; the latency is judged, by the device's own clock"
    place = 5

    def recorded(self, seen: Seen) -> dict[str, Metric]:
        return {self.name: times(seen.waited_s, by_input=False)} if seen.waited_s else {}
