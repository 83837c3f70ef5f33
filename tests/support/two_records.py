"""Two records of one case that differ in what a test says, and the finding about one metric."""

from __future__ import annotations

from typing import Any

from perfgate.compare import metrics
from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.known_time import Estimated, Time
from perfgate.compare.metric_verdict import Finding
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Metric, Record


def of(found: dict[str, Metric], **more: Any) -> Record:
    return Record("sums", 1, {}, "sums/default", metrics=found, **more)


def twice_as_long(beside: str | None = None) -> Estimated:
    """All of the interval lies at twice the time: the latency's, or that of a time beside an equal latency."""
    slow = RatioEstimate(2.0, 1.9, 2.1, 1.9, 2.1)
    same = RatioEstimate(1.0, 0.99, 1.01, 0.99, 1.01)
    return Estimated(slow) if beside is None else Estimated(same, beside={beside: slow})


def judged(
    name: str, before: Record, after: Record, time: Time | None = None, *, same_versions: bool = True
) -> Finding | None:
    """The finding of the metric's own class."""
    basis = metrics.Basis(before, after, time or Estimated(None), Tolerances(), same_versions)
    return metrics.of(name, after.metrics.get(name) or before.metrics.get(name)).judge(name, basis)
