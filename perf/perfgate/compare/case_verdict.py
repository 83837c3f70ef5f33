"""What was decided about one case: a status, a reason in words, and the findings about its metrics.

*Before* is the baseline, or side A of a comparison; *after* is the run, or side B.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.metric_verdict import (
    CALLS,
    FAILING,
    FLOPS,
    LATENCY,
    WORST_FIRST,
    Finding,
    Status,
    changed_operators,
    judge_exact,
    judge_ratio,
    judge_work,
    largest_slowdown,
)
from perfgate.compare.quality_verdict import judge_bounded
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
    "judge_bounded",
    "judge_exact",
    "judge_ratio",
    "judge_work",
    "largest_slowdown",
    "undecided",
]

KERNEL = "kernel"
WEIGHED = ("peak_memory_bytes", "activation_peak_bytes")
"""Metrics that depend on the memory meter."""


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
    findings = _time(before, after, time, tolerances.time)
    findings += _kernels(before, after, same_versions)
    findings += judge_work(before, after, same_versions)
    must_repeat = same_versions and isinstance(time, NotJudged)
    findings += _amounts(before, after, tolerances, must_repeat=must_repeat)
    if not findings:
        return Verdict("INCONCLUSIVE", "the two sides have no metric in common that is judged")
    estimate = time.estimate if isinstance(time, Estimated) else None
    at_most = None if estimate is None else largest_slowdown(estimate)
    findings += [finding for finding in _beside(time, tolerances) if finding.status != "INCONCLUSIVE"]
    worst = min((finding.status for finding in findings), key=WORST_FIRST.index)
    return Verdict(worst, _told(findings, worst), tuple(findings), at_most)


def _beside(time: Time, tolerances: Tolerances) -> list[Finding]:
    """The findings about the times beside the latency."""
    found = time.beside if isinstance(time, Estimated) else {}
    return [judge_ratio(one, tolerances.of_time(metric), metric=metric) for metric, one in found.items()]


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


def _time(before: Record, after: Record, time: Time, tolerance: float) -> list[Finding]:
    """The finding about the latency; none where a side has none and nothing was estimated."""
    estimate = time.estimate if isinstance(time, Estimated) else None
    if estimate is None and (doubted := _doubted(before, after)):
        finding = Finding(LATENCY, "INCONCLUSIVE", doubted, tolerance=tolerance)
    elif isinstance(time, NotJudged):
        return [Finding(LATENCY, "SAME", f"time not judged: {time.reason}")]
    elif isinstance(time, Undecided):
        finding = Finding(LATENCY, "INCONCLUSIVE", time.reason, tolerance=tolerance)
    elif estimate is not None or (LATENCY in before.metrics and LATENCY in after.metrics):
        finding = judge_ratio(estimate, tolerance, pairs_needed=time.pairs_needed)
    else:
        return []
    if not isinstance(time, NotJudged) and time.times_s is not None:
        finding = replace(finding, before=time.times_s[0], after=time.times_s[1], unit="s")
    return [finding]


def _doubted(before: Record, after: Record) -> str:
    """Why the times of one of them cannot be trusted; empty where both can."""
    told = (("before", before), ("now", after))
    return "; ".join(f"{when}: {doubt}" for when, record in told for doubt in record.doubts)


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


def _kernels(before: Record, after: Record, same_versions: bool) -> list[Finding]:
    """Another kernel than before: explained where the library versions differ, fallen back where they are the same."""
    a, b = before.provenance.get(KERNEL), after.provenance.get(KERNEL)
    if a is None or b is None or a == b:
        return []
    changed = f"{a} ran before, {b} runs now"
    if same_versions:
        return [Finding(KERNEL, "FELL_BACK", f"{changed}, with the same library versions")]
    return [Finding(KERNEL, "SAME", f"{changed}; the library versions differ")]


def _amounts(before: Record, after: Record, tolerances: Tolerances, *, must_repeat: bool) -> list[Finding]:
    """The exact and bounded metrics apart from work: one finding for each that either side has."""
    findings = []
    meters = [record.provenance.get("memory_meter") for record in (before, after)]
    for name in dict.fromkeys((*before.metrics, *after.metrics)):
        a, b = before.metrics.get(name), after.metrics.get(name)
        if "sampled" in (a and a.kind, b and b.kind):
            continue
        if a is None or b is None:
            gone = b is None
            reason = "measured before, but not now" if gone else "not measured before"
            findings.append(Finding(name, "MISSING" if gone else "NEW", reason))
        elif name in (CALLS, FLOPS):
            continue
        elif a.kind == b.kind == "bounded":
            findings.append(judge_bounded(name, a, b, tolerances, must_repeat=must_repeat))
        elif name in WEIGHED and meters[0] != meters[1]:
            findings.append(Finding(name, "INCOMPARABLE", f"weighed by {meters[0]} before, by {meters[1]} now"))
        else:
            findings.append(judge_exact(name, a, b, tolerances))
    return findings


def _told(findings: Sequence[Finding], worst: Status) -> str:
    """The findings that a verdict's reason tells: the worst; of those that are the same, time and changed work."""
    told = [finding for finding in findings if finding.status == worst]
    if worst == "SAME":
        changed = [f for f in told if f.metric in (LATENCY, KERNEL) or (f.metric in (CALLS, FLOPS) and f.ratio != 1)]
        told = changed or told
    return "; ".join(f"{finding.metric}: {finding.reason}" for finding in told)
