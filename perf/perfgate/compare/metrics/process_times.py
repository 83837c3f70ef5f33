"""Times that are taken once in a process, and the slowest of many."""

from __future__ import annotations

from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import TimeBeside
from perfgate.compare.tolerances import Tolerances

LOAD, FIRST_CALL = "load_s", "first_call_s"


class Cold(TimeBeside):
    """One sample in each process that lockstep starts: it is in no record."""

    how = "in lockstep, one sample a process: tolerance cold; below half a second it is not told"
    shortest_s = 0.5
    place = 61

    def tolerance(self, tolerances: Tolerances) -> float:
        return tolerances.cold


@register
class Load(Cold):
    """Until a case is ready: imports, loading, quantizing."""

    name = LOAD


@register
class FirstCall(Cold):
    """Its first call: compiling, warming up."""

    name = FIRST_CALL


@register
class Tail(TimeBeside):
    """The slowest of many times, the 95th percentile: what results tell under names that end so."""

    name = "*_p95_s"
    how = "in lockstep, with the latency's pairs and within one error rate: tolerance tail"
    place = 62

    @classmethod
    def covers(cls, name: str) -> bool:
        return name.endswith("_p95_s")

    def tolerance(self, tolerances: Tolerances) -> float:
        return tolerances.tail
