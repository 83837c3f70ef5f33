"""How calls are measured where a benchmark says nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.measure.fault_injection import Fault

DEFAULT_BUDGET_S = 5.0
"""Seconds of timed rounds a case may use: a case of 100 ms gets 50 rounds, enough for a 1-2% interval on a quiet
machine, and a hundred cases stay under ten minutes."""
DEFAULT_PRECISION = 0.01
"""Relative half width of the median's 95% interval at which timing stops: a fifth of the default 5% tolerance."""


@dataclass(frozen=True)
class MeasurePolicy:
    """How calls are measured. ``budget_s`` (seconds) is None where nobody chose one: then a benchmark's own default or
    ``DEFAULT_BUDGET_S`` holds. ``precision`` is the fraction of the median at which timing stops. ``faults`` are
    injected into the cases that they name."""

    budget_s: float | None = None
    precision: float = DEFAULT_PRECISION
    faults: tuple[Fault, ...] = ()
