"""The gate's part of the report: each case's verdict against the baseline, and what a refresh stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from perfgate.baselines import anchor
from perfgate.baselines.code_suspects import Concern
from perfgate.baselines.store import Baseline, Entry, Refresh
from perfgate.compare.case_verdict import Verdict, undecided
from perfgate.compare.metric_verdict import FAILING, LATENCY, WORST_FIRST, Finding
from perfgate.compare.tolerances import TolerancesOf
from perfgate.records.fingerprint import Fingerprint, differences
from perfgate.records.record import Record
from perfgate.report import (
    Chart,
    Column,
    Section,
    Table,
    Value,
    counted,
    decimals,
    grouping,
    latency,
    long_table,
    mebibytes,
    percent,
    ratio_chart,
)

PEAK = "peak_memory_bytes"
CHANGED = ("REGRESSED", "FELL_BACK", "MISSING", "IMPROVED", "NEW")
"""Verdicts that say that something has changed."""

COLUMNS = (
    Column("case", "case"),
    Column("verdict", "verdict", words=True),
    Column("before_s", "baseline", latency),
    Column("after_s", "now", latency),
    Column("ratio", "ratio", decimals(3)),
    Column("low", "from", decimals(3)),
    Column("high", "to", decimals(3)),
    Column("largest_slowdown", "slower by at most", percent),
    Column("before_peak_bytes", "baseline peak MiB", mebibytes),
    Column("after_peak_bytes", "now peak MiB", mebibytes),
)
"""``before_s`` and ``after_s`` are what was compared: both sides of the lockstep, or stored and fresh processes.
``low`` and ``high`` are the interval that the verdict's reason tells; the last is missed with a chance of 5% at
most."""
SINCE = Column("since_anchor", "since the anchor", decimals(3))
"""Of a refresh: the ratio that has added up since the case's anchor."""


def _row(
    key: str, verdict: Verdict, entry: Entry | None, now_s: float | None, now_peak: float | None
) -> dict[str, Value]:
    time = next((finding for finding in verdict.findings if finding.metric == LATENCY), Finding(LATENCY, "NEW", ""))
    return {
        "case": key,
        "verdict": verdict.status,
        "before_s": (None if entry is None else fmean(entry.by_process_s)) if time.before is None else time.before,
        "after_s": now_s if time.after is None else time.after,
        "ratio": time.ratio,
        "low": time.low,
        "high": time.high,
        "largest_slowdown": verdict.largest_slowdown,
        "before_peak_bytes": None if entry is None else entry.record.value(PEAK),
        "after_peak_bytes": now_peak,
    }


def _counted(verdicts: Mapping[str, Verdict]) -> str:
    counts = Counter(verdict.status for verdict in verdicts.values())
    return ", ".join(f"{counts[status]} {status}" for status in WORST_FIRST if counts[status]) or "nothing compared"


def _worst_first(verdicts: Mapping[str, Verdict], keys: Iterable[str]) -> dict[str, Verdict]:
    """The verdicts by status, the worst first; those of one status in the order of ``keys``, others last."""
    place = {key: number for number, key in enumerate(keys)}

    def order(one: tuple[str, Verdict]) -> tuple[int, int]:
        return WORST_FIRST.index(one[1].status), place.get(one[0], len(place))

    return dict(sorted(verdicts.items(), key=order))


def _told(verdicts: Mapping[str, Verdict], *, changed: bool) -> list[str]:
    """What is not the same in words: what has changed, or what nothing can be said of. What fails has its own line."""
    told = [(key, one) for key, one in verdicts.items() if one.status != "SAME" and (one.status in CHANGED) is changed]
    said = [(key, f"{one.status}: {one.reason}") for key, one in told if one.status not in FAILING]
    return [f"{key}: {one.status}: {one.reason}" for key, one in told if one.status in FAILING] + grouping.lines(said)


def _charts(rows: Sequence[Mapping[str, Value]], tolerances_of: TolerancesOf) -> list[Chart]:
    tolerances = {tolerances_of(str(row["case"])).time for row in rows}
    return ratio_chart.chart("Now against the baseline", "time now / baseline", rows, sorted(tolerances))


@dataclass(frozen=True)
class Comparison:
    """What was compared: ``records`` by key, measured as things are ``now``; ``forced``: times were judged although
    nothing had changed; ``concern``: whom the code's changes concern."""

    baseline: Baseline
    verdicts: Mapping[str, Verdict]
    records: Mapping[str, Record]
    now: Fingerprint
    forced: bool
    concern: Concern = field(default_factory=Concern)


@dataclass(frozen=True)
class Refreshed:
    """How a refresh ended: ``stored`` is the new file, None where ``problems`` (or what is worse) forbade one."""

    stored: Path | None
    before: Baseline | None
    entries: Mapping[str, Entry]
    verdicts: Mapping[str, Verdict]
    refresh: Refresh
    problems: Sequence[str]


def sections(comparison: Comparison, tolerances_of: TolerancesOf) -> list[Section]:
    """The comparison's section: every case that the run or its selection of the baseline has."""
    baseline, records = comparison.baseline, comparison.records
    refreshes = {entry.refresh.date: entry.refresh for entry in baseline.entries.values()}
    latest = refreshes[max(refreshes)]
    changed = differences(latest.fingerprint, comparison.now)
    unchanged = (
        "nothing; times are judged all the same"
        if comparison.forced
        else "nothing: times are history and are not judged"
    )
    name = baseline.path.name
    paragraphs = [
        f"Baseline {name}, recorded {latest.date} on {baseline.machine_key} by {latest.runs} processes: "
        f"{latest.reason}",
        f"Changed since: {', '.join(changed) or unchanged}.",
        *(f"{text[0].upper()}{text[1:]}." for text in comparison.concern.told),
    ]
    if anyway := comparison.concern.judged_anyway:
        paragraphs.append(f"Judged all the same, in case something was overlooked: {', '.join(anyway)}.")
    if any(verdict.status in ("NEW", "IMPROVED") for verdict in comparison.verdicts.values()):
        paragraphs.append(
            "NEW and IMPROVED are recorded by: pytest perf --perfgate-refresh-baseline --perfgate-reason TEXT"
        )
    verdicts = _worst_first(comparison.verdicts, records)
    rows = []
    for key, verdict in verdicts.items():
        record = records.get(key)
        now_s = None if record is None else record.value(LATENCY)
        peak = None if record is None else record.value(PEAK)
        rows.append(_row(key, verdict, baseline.entries.get(key), now_s, peak))
    data = {
        "baseline": {"file": name, "machine_key": baseline.machine_key, "reason": latest.reason, "date": latest.date},
        "verdicts": {key: verdict.to_json() for key, verdict in verdicts.items()},
    }
    return [
        Section(
            "gate",
            "Against the baseline",
            paragraphs,
            Table(COLUMNS, rows),
            _told(verdicts, changed=False),
            data,
            lead=[*undecided(verdicts.values()), f"Against the baseline: {_counted(verdicts)}."],
            changes=_told(verdicts, changed=True),
            charts=_charts(rows, tolerances_of),
            detail=long_table(rows),
        )
    ]


def refreshed(outcome: Refreshed, tolerances_of: TolerancesOf) -> list[Section]:
    """The refresh's section: old against new, and where the new is or why it is nowhere."""
    before, entries, refresh, problems = outcome.before, outcome.entries, outcome.refresh, outcome.problems
    paragraphs = [
        f"{counted(len(entries))}, {refresh.runs} fresh processes each. Reason: {refresh.reason}",
        f"Against the baseline before: {_counted(outcome.verdicts) if before is not None else 'there was none'}.",
    ]
    if (farthest := anchor.farthest(entries)) is not None:
        paragraphs.append(f"{farthest}.")
    verdicts = _worst_first(outcome.verdicts, entries)
    rows = []
    old = {} if before is None else before.entries
    for key, verdict in verdicts.items():
        entry = entries[key]
        row = _row(key, verdict, old.get(key), fmean(entry.by_process_s), entry.record.value(PEAK))
        rows.append(row | {"since_anchor": None if entry.anchor is None else entry.anchor.ratio})
    told = {} if before is None else verdicts
    data = {"verdicts": {key: verdict.to_json() for key, verdict in verdicts.items()}}
    lead = (
        f"Stored as {outcome.stored}: commit it."
        if outcome.stored is not None
        else "Nothing was stored; the baseline is as it was."
    )
    return [
        Section(
            "refresh",
            "New baseline",
            paragraphs,
            Table((*COLUMNS, SINCE), rows),
            list(problems) or _told(told, changed=False),
            data,
            lead=[lead] if before is None else [*undecided(outcome.verdicts.values()), lead],
            changes=[] if problems else _told(told, changed=True),
            charts=_charts(rows, tolerances_of),
            detail=long_table(rows),
        )
    ]
