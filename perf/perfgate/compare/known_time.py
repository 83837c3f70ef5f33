"""What is known of a case's time when it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perfgate.compare.intervals import RatioEstimate


@dataclass(frozen=True)
class Estimated:
    """The times were compared: ``estimate`` is the ratio of latencies, after / before, with its intervals; None before
    there are pairs enough for one. ``pairs_needed``: about how many would decide it, where known. ``times_s``: both
    sides' seconds a call. ``beside`` are the ratios of its other times, by metric: they decide what they can with the
    pairs that the latency takes."""

    estimate: RatioEstimate | None
    pairs_needed: int | None = None
    times_s: tuple[float, float] | None = None
    beside: Mapping[str, RatioEstimate] = field(default_factory=dict)


@dataclass(frozen=True)
class NotJudged:
    """The times were not to be compared; ``reason`` says why a difference would be noise. It decides nothing."""

    reason: str


@dataclass(frozen=True)
class Undecided:
    """There is no estimate, and more pairs would give none: ``reason`` says why."""

    reason: str
    times_s: tuple[float, float] | None = None


Time = Estimated | NotJudged | Undecided
"""What is known of a case's time."""
