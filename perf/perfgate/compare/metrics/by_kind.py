"""Metrics that a benchmark adds under names of its own: they go by their kind."""

from __future__ import annotations

from perfgate.compare.metric_verdict import Finding
from perfgate.compare.metrics.quantity import Basis, Exact, Quantity, TimeBeside, Told
from perfgate.compare.quality_verdict import judge_bounded
from perfgate.records.record import Metric


class Bounded(Exact):
    """A quality or an error, which its benchmark holds to absolute bounds."""

    kind = "bounded"
    how = "by its two values: within the tolerances quality and quality_absolute, or by chance over the inputs"

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        return judge_bounded(name, before, after, basis.tolerances, must_repeat=basis.must_repeat)


class OwnTime(TimeBeside):
    """A time that a result tells of itself (``perfgate_samples``)."""

    how = f"{TimeBeside.how}; where no result tells it in lockstep, it is told only"


class OwnSample(Told):
    """A number that a benchmark derived."""

    why_not = "its benchmark derived it from times that are judged"


def of(name: str, metric: Metric | None) -> Quantity:
    """The object for a metric that no class covers; without a metric it is a time of lockstep's workers."""
    kind, unit = (metric.kind, metric.unit) if metric is not None else ("sampled", "s")
    chosen: type[Quantity] = {"exact": Exact, "bounded": Bounded}.get(kind) or (OwnTime if unit == "s" else OwnSample)
    one = chosen()
    one.name, one.unit = name, unit  # type: ignore[misc]  # this object's own
    return one
