"""What was decided about one case: a status, a reason in words, and the findings about its metrics.

*Before* is the baseline, or side A of a comparison; *after* is the run, or side B.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from perfgate.compare import metrics
from perfgate.compare.known_time import Estimated, NotJudged, Time, Undecided
from perfgate.compare.metric_verdict import (
    CALLS,
    FAILING,
    FLOPS,
    LATENCY,
    WORST_FIRST,
    Finding,
    Status,
    changed_operators,
    largest_slowdown,
)
from perfgate.compare.metrics import Basis
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Record
from perfgate.records.validate import RecordError, finite, items, mapping, one_of, text

__all__ = [
    "FAILING",
    "WORST_FIRST",
    "Estimated",
    "Finding",
    "NotJudged",
    "Status",
    "Time",
    "Tolerances",
    "Undecided",
    "Verdict",
    "changed_operators",
    "judge",
    "largest_slowdown",
    "undecided",
]

KERNEL = "kernel"


@dataclass(frozen=True)
class Verdict:
    """What was decided about one case. ``largest_slowdown``: what it is at most slower, as a fraction; None where no
    time was judged."""

    status: Status
    reason: str
    findings: tuple[Finding, ...] = ()
    largest_slowdown: float | None = None

    def __post_init__(self) -> None:
        one_of("status", self.status, WORST_FIRST)
        if self.largest_slowdown is not None:
            finite("largest_slowdown", self.largest_slowdown)

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "reason": self.reason,
            "findings": [finding.to_json() for finding in self.findings],
            "largest_slowdown": self.largest_slowdown,
        }

    @classmethod
    def from_json(cls, data: Any) -> Verdict:
        """Read one verdict. An earlier one has ``smallest_slowdown``, what its interval could tell from none: then what
        it was at most slower is the upper end of the interval of its time.

        Raises:
            RecordError: a field is missing, of the wrong type, not finite or not among the allowed values.
        """
        fields = mapping("verdict", data)
        try:
            findings = tuple(map(Finding.from_json, items("findings", fields["findings"])))
            earlier = "largest_slowdown" not in fields and "smallest_slowdown" in fields
            return cls(
                status=fields["status"],
                reason=text("reason", fields["reason"]),
                findings=findings,
                largest_slowdown=_upper_end(findings) if earlier else fields["largest_slowdown"],
            )
        except KeyError as missing:
            raise RecordError(f"verdict: field {missing} is missing") from None


def _upper_end(findings: Sequence[Finding]) -> float | None:
    highs = [finding.high for finding in findings if finding.metric == LATENCY and finding.high is not None]
    return highs[0] - 1 if highs else None


def judge(
    before: Record | None, after: Record | None, time: Time, tolerances: Tolerances, *, same_versions: bool
) -> Verdict:
    """Judge one case over all its metrics.

    A record with doubts (a throttled device) decides nothing about time; an estimate that comes from other measurements
    does.

    Args:
        before: the baseline's record, or side A's; None where it has no such case.
        after: the run's record, or side B's; None where it has no such case.
        time: what is known of the ratio of their latencies.
        same_versions: whether both ran with the same versions of the libraries.

    Raises:
        ValueError: neither side has the case, or the estimate has no intervals of positive, finite numbers.
    """
    if before is None or after is None or before.status != "measured" or after.status != "measured":
        return _one_sided(before, after)
    if differences := _differences(before, after):
        return Verdict("INCOMPARABLE", "; ".join(differences))
    findings = _findings(Basis(before, after, time, tolerances, same_versions))
    if not findings:
        return Verdict("INCONCLUSIVE", "the two sides have no metric in common that is judged")
    estimate = time.estimate if isinstance(time, Estimated) else None
    at_most = None if estimate is None else largest_slowdown(estimate)
    worst = min((finding.status for finding in findings), key=WORST_FIRST.index)
    return Verdict(worst, _told(findings, worst), tuple(findings), at_most)


def _findings(basis: Basis) -> list[Finding]:
    """One for each metric that says something, the latency's first, and one about another kernel."""
    beside = basis.time.beside if isinstance(basis.time, Estimated) else {}
    both = {**basis.before.metrics, **basis.after.metrics}
    quantities = [(name, metrics.of(name, both.get(name))) for name in dict.fromkeys((LATENCY, *both, *beside))]
    quantities.sort(key=lambda one: one[1].place)
    told = [finding for name, one in quantities if (finding := one.judge(name, basis)) is not None]
    after_latency = 1 if told and told[0].metric == LATENCY else 0
    return told[:after_latency] + _kernels(basis) + told[after_latency:]


def undecided(verdicts: Collection[Verdict]) -> list[str]:
    """How many cases nobody decided and why, as one line; none where all are decided."""
    left = [verdict for verdict in verdicts if verdict.status == "INCONCLUSIVE"]
    if not left:
        return []
    compared = sum(verdict.largest_slowdown is not None for verdict in left)
    parts = [
        f"{len(left) - compared} not compared (budget, environment or doubts: each line says which)",
        f"{compared} compared too few times to tell",
    ]
    told = "; ".join(part for part in parts if not part.startswith("0 "))
    return [f"{len(left)} of {len(verdicts)} cases are NOT JUDGED: {told}"]


def _one_sided(before: Record | None, after: Record | None) -> Verdict:
    """The verdict where not both sides measured."""
    if before is None and after is None:
        raise ValueError("neither side has the case: there is nothing to judge")
    then, now = ("" if record is None or record.reason is None else f": {record.reason}" for record in (before, after))
    was = None if before is None else before.status
    if after is None:
        return Verdict("MISSING", "it was there before and is not there now")
    if after.status == "fell_back":
        return Verdict("FELL_BACK", f"another kernel ran than the one it names{now}")
    if after.status == "skipped":
        return Verdict("SKIPPED", f"skipped now{now}" + ("; it was measured before" if was == "measured" else ""))
    works = after.status == "measured"
    if was is None:
        return Verdict("NEW", "it was not there before" + ("" if works else f", and it fails{now}"))
    if was == "measured":
        return Verdict("REGRESSED", f"passed before, fails now{now}")
    if not works:
        return Verdict("INCONCLUSIVE", f"measured on neither side: it {_PAST[was]} before{then}; it fails now{now}")
    if was == "failed":
        return Verdict("IMPROVED", f"failed before{then}; passes now")
    if was == "skipped":
        return Verdict("NEW", f"measured now; it was skipped before{then}")
    return Verdict("INCOMPARABLE", f"before, another kernel ran than the one it names{then}")


_PAST = {"failed": "failed", "skipped": "was skipped", "fell_back": "ran another kernel"}


def _differences(before: Record, after: Record) -> list[str]:
    """Why the two cannot be compared: another case, meaning, pins, device or clock."""
    found = []
    if before.name != after.name:
        found.append(f"another benchmark: {before.name}, then {after.name}")
    if before.version != after.version:
        found.append(f"the benchmark's meaning changed from version {before.version} to {after.version}")
    both = before.fields.keys() & after.fields.keys()  # a new field with a default leaves old records as they are
    for what, a, b in (
        ("field", {name: before.fields[name] for name in both}, {name: after.fields[name] for name in both}),
        ("pin", before.pins, after.pins),
        ("the", {"clock": before.clock}, {"clock": after.clock}),
        ("the", {"device": before.provenance.get("executed_on")}, {"device": after.provenance.get("executed_on")}),
    ):
        found += [
            f"{what} {name} was {a.get(name)!r} and is {b.get(name)!r}"
            for name in sorted(a.keys() | b.keys())
            if a.get(name) != b.get(name)
        ]
    return found


def _kernels(basis: Basis) -> list[Finding]:
    """Another kernel than before: explained where the library versions differ, fallen back where they are the same."""
    a, b = (record.provenance.get(KERNEL) for record in (basis.before, basis.after))
    if a is None or b is None or a == b:
        return []
    changed = f"{a} ran before, {b} runs now"
    if basis.same_versions:
        return [Finding(KERNEL, "FELL_BACK", f"{changed}, with the same library versions")]
    return [Finding(KERNEL, "SAME", f"{changed}; the library versions differ")]


def _told(findings: Sequence[Finding], worst: Status) -> str:
    """The findings that a verdict's reason tells: the worst; of those that are the same, time and changed work."""
    told = [finding for finding in findings if finding.status == worst]
    if worst == "SAME":
        changed = [f for f in told if f.metric in (LATENCY, KERNEL) or (f.metric in (CALLS, FLOPS) and f.ratio != 1)]
        told = changed or told
    return "; ".join(f"{finding.metric}: {finding.reason}" for finding in told)
