"""An A/B comparison's part of the report: both sides, each case with its ratio and verdict, and what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perfgate.compare.case_verdict import Verdict, undecided
from perfgate.compare.intervals import LOOKS
from perfgate.compare.metric_verdict import LATENCY, WORST_FIRST, Status, changed_operators
from perfgate.compare.tolerances import SAME_RISK
from perfgate.lockstep.comparison import Comparison, Lockstep
from perfgate.report import (
    Column,
    Section,
    Table,
    Value,
    decimals,
    duration,
    latency,
    long_table,
    mebibytes,
    ratio_chart,
)

COLUMNS = (
    Column("case", "case"),
    Column("a_s", "A", latency),
    Column("b_s", "B", latency),
    Column("ratio", "B/A", decimals(3)),
    Column("low", "from", decimals(3)),
    Column("high", "to", decimals(3)),
    Column("verdict", "verdict", words=True),
    Column("largest_slowdown", "slower by at most %", decimals(1, 100)),
    Column("a_peak_bytes", "A peak MiB", mebibytes),
    Column("b_peak_bytes", "B peak MiB", mebibytes),
    Column("pairs", "pairs"),
)


def verdict(case: Comparison) -> Verdict:
    """What was decided, if only that nothing was."""
    return case.verdict or Verdict("INCONCLUSIVE", "the comparison ended before its first pair did")


def status(case: Comparison) -> Status:
    """The verdict's word."""
    return verdict(case).status


def why(case: Comparison) -> str:
    """The verdict in words."""
    return verdict(case).reason


def _recovered(case: Comparison) -> list[str]:
    """The sides that failed once and then did not."""
    return [
        f"{name} failed once, and not when it was tried again: {failed.reason}"
        for name, failed in case.failures.items()
        if name in case.records and case.records[name].status == "measured"
    ]


def _row(case: Comparison) -> dict[str, Value]:
    estimate = case.estimate
    low, high = _interval(case)
    return {
        "case": case.key,
        "a_s": _mean(case.times_s["A"]),
        "b_s": _mean(case.times_s["B"]),
        "ratio": None if estimate is None else estimate.value,
        "low": low,
        "high": high,
        "verdict": status(case),
        "largest_slowdown": None if case.verdict is None else case.verdict.largest_slowdown,
        "a_peak_bytes": _value(case, "A", "peak_memory_bytes"),
        "b_peak_bytes": _value(case, "B", "peak_memory_bytes"),
        "pairs": len(case.log_ratios),
    }


def _interval(case: Comparison) -> tuple[float | None, float | None]:
    """The interval that the verdict's reason tells; that of all cases together where no time was judged."""
    for finding in () if case.verdict is None else case.verdict.findings:
        if finding.metric == LATENCY:
            return finding.low, finding.high
    return (None, None) if case.estimate is None else (case.estimate.low, case.estimate.high)


def _mean(times_s: Sequence[float]) -> float | None:
    return sum(times_s) / len(times_s) if times_s else None


def _value(case: Comparison, side: str, metric: str) -> float | None:
    record = case.records.get(side)
    return None if record is None else record.value(metric)


def changed_work(case: Comparison) -> str | None:
    """Which operators B calls more or less often than A, the largest changes first."""
    if len(case.records) < 2:
        return None
    a, b = (case.records[side].operators for side in "AB")
    if a == b:
        return None
    return f"operator calls {sum(a.values()):,} -> {sum(b.values()):,}: {changed_operators(a, b)}"


def _quality(case: Comparison) -> str | None:
    """The bounded metrics of both sides, where the case has them."""
    if len(case.records) < 2:
        return None
    a, b = (case.records[side].metrics for side in "AB")
    both = [name for name, metric in a.items() if metric.kind == "bounded" and name in b]
    return ", ".join(f"{name} {a[name].value:.3g} -> {b[name].value:.3g}" for name in both) or None


def _tolerances(run: Lockstep) -> str:
    return " or ".join(f"{time:.1%}" for time in sorted({run.plan.tolerances_of(key).time for key in run.cases}))


def sections(run: Lockstep, elapsed_s: float) -> list[Section]:
    """The comparison's section."""
    a, b = run.sides["A"], run.sides["B"]
    names = sorted(a.versions.keys() | b.versions.keys())
    differ = [
        f"{name} {a.versions.get(name, 'absent')} -> {b.versions.get(name, 'absent')}"
        for name in names
        if a.versions.get(name) != b.versions.get(name)
    ]
    cases = sorted(run.cases.values(), key=lambda case: WORST_FIRST.index(status(case)))
    counts = Counter(map(status, cases))
    paragraphs = [
        f"A is {a.name}, B is {b.name}. Versions that differ: {', '.join(differ) or 'none of those listed'}.",
        f"{run.pairs} pairs of fresh processes in {elapsed_s:.0f} s; tolerance {_tolerances(run)}, chance "
        f"that anything unchanged is called changed at most {run.plan.alpha:.1%} for all cases together. "
        "B/A above 1 is slower. A case that is SAME is slower by more than the last bound told with a chance of "
        f"{SAME_RISK:.0%} at most, and its interval is its own; the others' are simultaneous over all cases and looks.",
    ]
    if run.needed_s is not None:
        paragraphs.append(
            f"About {duration(run.needed_s)} of budget for the {len(run.undecided)} undecided cases alone would decide "
            f"those that {LOOKS[-1]} pairs of processes can."
        )
    told = [(status(case), f"{case.key}: {status(case)}: {why(case)}") for case in cases]
    notes = [text for word, text in told if word == "INCONCLUSIVE"]
    notes += [f"{case.key}: measured apart: the device holds one side at a time" for case in cases if case.apart]
    notes += [f"{case.key}: {text}" for case in cases for text in _recovered(case)]
    notes += [f"{case.key}: {text}" for case in cases if (text := changed_work(case))]
    notes += [f"{case.key}: {text}" for case in cases if (text := _quality(case))]
    data = {
        "sides": {
            name: {"name": side.name, "versions": side.versions, "used": side.used} for name, side in run.sides.items()
        },
        "pairs": run.pairs,
        "cases": {
            case.key: {
                "log_ratios": case.log_ratios,
                "times_s": case.times_s,
                "apart": case.apart,
                "verdict": None if case.verdict is None else case.verdict.to_json(),
            }
            for case in cases
        },
    }
    rows = [_row(case) for case in cases]
    tolerances = [run.plan.tolerances_of(key).time for key in run.cases]
    return [
        Section(
            "versus",
            "B against A",
            paragraphs,
            Table(COLUMNS, rows),
            notes,
            data,
            lead=[
                *undecided([verdict(case) for case in cases]),
                f"{b.name} against {a.name}: {', '.join(f'{n} {word}' for word, n in counts.items())}.",
            ],
            changes=[text for word, text in told if word not in ("SAME", "INCONCLUSIVE")],
            charts=ratio_chart.chart("B against A", "time of B / time of A", rows, tolerances),
            detail=long_table(rows),
        )
    ]
