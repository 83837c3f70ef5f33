"""Deterministic work: operator calls and floating-point operations."""

from __future__ import annotations

from dataclasses import replace

from perfgate.compare.metric_verdict import CALLS, FLOPS, Finding, changed_operators, judge_amount, unlike
from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import Basis, Exact, Seen
from perfgate.records.record import Metric


class WorkCount(Exact):
    """One more is worse, one less is better; where library versions differ, that explains it."""

    how = "at once: one more is worse, unless library versions differ"

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        finding = unlike(name, before, after) or judge_amount(name, before, after, 0)
        if finding.status in ("REGRESSED", "IMPROVED") and not basis.same_versions:
            finding = replace(finding, status="SAME", reason=f"{finding.reason}; the library versions differ")
        return finding


@register
class OperatorCalls(WorkCount):
    """Dispatched operator calls. The operators whose counts changed are named."""

    name, unit = CALLS, "calls"
    place = 20

    def value(self, seen: Seen) -> int | None:
        return seen.operator_calls

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        finding = super().of_both(name, before, after, basis)
        operators = changed_operators(basis.before.operators, basis.after.operators)
        return replace(finding, reason=f"{finding.reason}; {operators}") if operators else finding


@register
class FloatingPointOperations(WorkCount):
    name, unit = FLOPS, "flop"
    place = 21

    def value(self, seen: Seen) -> int | None:
        return seen.flops or None
