"""The history of a run's cases over the baselines of its machine, with the reason of every refresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from math import log
from pathlib import Path
from statistics import fmean

from perfgate.baselines import store
from perfgate.baselines.store import Baseline, BaselineError, Refresh
from perfgate.compare.metric_verdict import LATENCY
from perfgate.compare.tolerances import TolerancesOf
from perfgate.records.case import benchmark_of, split_key
from perfgate.records.fingerprint import differences
from perfgate.records.record import Record
from perfgate.report import Axis, Chart, Column, Section, Series, Table, Value, decimals, latency

LATEST = 20
"""Baselines that are looked at, the newest ones."""
LINES = 8
"""Cases in one chart: those that moved most; the table has all."""
NOW = "now"

Row = dict[str, Value]


def sections(
    files: Sequence[Path], records: Sequence[Record], aliases: Mapping[str, str], tolerances_of: TolerancesOf
) -> list[Section]:
    """The section of the stored times of ``records``; none where none of them was ever stored.

    ``files`` are a machine's baselines, the oldest first; one that is damaged is noted and left out. The charts show
    times as multiples of those at each case's anchor, and the tolerance around it.
    """
    stored, notes = _load(files[-LATEST:], aliases)
    now = {record.key: record.value(LATENCY) for record in records}
    stored = {number: one for number, one in stored.items() if one.entries.keys() & now.keys()}
    if not stored:
        return [Section("history", "History", notes=notes, folded=True)] if notes else []
    rows = [_row(key, stored, value) for key, value in now.items()]
    rows = [row for row in rows if any(row[number] is not None for number in stored)]
    columns = [Column("case", "case"), *(Column(number, number, latency) for number in stored)]
    table = Table([*columns, Column(NOW, "this run", latency)], rows)
    notes += [_told(number, _latest(one)) for number, one in stored.items()]
    notes += [
        f"{after}, changed since {before}: {', '.join(changed)}"
        for (before, a), (after, b) in pairwise(stored.items())
        if (changed := differences(_latest(a).fingerprint, _latest(b).fingerprint))
    ]
    about = f"The latency of each case in the latest {len(stored)} baseline(s) of this machine: its processes' mean."
    return [
        Section("history", "History", [about], table, notes, charts=_charts(rows, stored, tolerances_of), folded=True)
    ]


def _load(files: Sequence[Path], aliases: Mapping[str, str]) -> tuple[dict[str, Baseline], list[str]]:
    """Baselines by number, under today's keys, and what cannot be read."""
    found, notes = {}, []
    for path in files:
        try:
            found[path.name.partition("_")[0]] = store.load(path).renamed(aliases)
        except BaselineError as wrong:
            notes.append(str(wrong))
    return found, notes


def _latest(stored: Baseline) -> Refresh:
    """A baseline's own refresh: where a part was refreshed, the other entries keep an earlier one."""
    return max((entry.refresh for entry in stored.entries.values()), key=lambda refresh: refresh.date)


def _told(number: str, refresh: Refresh) -> str:
    return f"{number}, {refresh.date}, {refresh.runs} processes: {refresh.reason}"


def _row(key: str, stored: Mapping[str, Baseline], now: float | None) -> Row:
    row: Row = {"case": key, NOW: now}
    for number, one in stored.items():
        entry = one.entries.get(key)
        row[number] = None if entry is None else fmean(entry.by_process_s)
    return row


def _charts(rows: Sequence[Row], stored: Mapping[str, Baseline], tolerances_of: TolerancesOf) -> list[Chart]:
    """One chart for each benchmark."""
    by_benchmark = groupby(rows, key=lambda row: benchmark_of(str(row["case"])))
    found = [_chart(name, list(own), stored, tolerances_of) for name, own in by_benchmark]
    return [chart for chart in found if chart is not None]


def _anchored_at(key: str, stored: Mapping[str, Baseline]) -> str | None:
    """The baseline at which a case's changes begin to add up, if it is among these; else their first one that has the
    case."""
    has = {number: one.entries[key] for number, one in stored.items() if key in one.entries}
    anchor = list(has.values())[-1].anchor if has else None
    at = [number for number, one in has.items() if anchor is not None and one.refresh.date == anchor.date]
    return next(iter(at or has), None)


def _chart(name: str, rows: Sequence[Row], stored: Mapping[str, Baseline], tolerances_of: TolerancesOf) -> Chart | None:
    lines: list[tuple[Series, int, float]] = []
    last = int(list(stored)[-1])
    for row in rows:
        key = str(row["case"])
        times = [(int(number), float(time)) for number in stored if (time := row[number]) is not None]
        anchor = _anchored_at(key, stored)
        if (now := row[NOW]) is not None:
            times.append((last + 1, float(now)))
        if len(times) > 1 and anchor is not None:
            base = dict(times)[int(anchor)]
            line = Series(split_key(key)[1] or key, "line", [at for at, _ in times], [time / base for _, time in times])
            lines.append((line, int(anchor), tolerances_of(key).time))
    if not lines:
        return None
    lines.sort(key=lambda one: -max(abs(log(ratio)) for ratio in one[0].y))
    drawn = lines[:LINES]
    anchors = {anchor for _, anchor, _ in drawn}
    first = min(line.x[0] for line, _, _ in drawn)
    guides = [
        Series(f"{tolerance:.0%} {where} the anchor", "guide", [first, last + 1], [bound, bound])
        for tolerance in sorted({tolerance for _, _, tolerance in drawn})
        for where, bound in (("above", 1 + tolerance), ("below", 1 / (1 + tolerance)))
    ]
    most = lines[0][0]
    alt = (
        f"Times of {name} as multiples of those at the anchor; {most.name} moved most, "
        f"to {most.y[-1]:.2f} times. {len(drawn)} of {len(lines)} cases are drawn."
    )
    x = Axis("baseline's number; this run is the last")
    marks = {f"anchor {number:04}": float(number) for number in sorted(anchors)}
    series = [*(line for line, _, _ in drawn), *guides]
    y = Axis("time / at the anchor", decimals(2))
    return Chart(f"history-{name}", f"{name}: history", alt, x, y, series, marks=marks)
