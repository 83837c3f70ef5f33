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
from perfgate.records.fingerprint import differences
from perfgate.records.record import Record
from perfgate.report import Axis, Chart, Column, Section, Series, Table, Value, decimals, latency

LATEST = 20
"""Baselines that are looked at, the newest ones."""
LINES = 8
"""Cases in one chart: those that moved most; the table has all."""
NOW = "now"

Row = dict[str, Value]


def sections(files: Sequence[Path], records: Sequence[Record], aliases: Mapping[str, str]) -> list[Section]:
    """The section of the stored times of ``records``; none where none of them was ever stored.

    ``files`` are a machine's baselines, the oldest first; one that is damaged is noted and left out.
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
    return [Section("history", "History", [about], table, notes, charts=_charts(rows, list(stored)), folded=True)]


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


def _charts(rows: Sequence[Row], numbers: Sequence[str]) -> list[Chart]:
    """One chart for each benchmark: the times as multiples of the first stored one."""
    by_benchmark = groupby(rows, key=lambda row: str(row["case"]).partition("/")[0])
    found = [_chart(name, list(own), numbers) for name, own in by_benchmark]
    return [chart for chart in found if chart is not None]


def _chart(name: str, rows: Sequence[Row], numbers: Sequence[str]) -> Chart | None:
    lines = []
    for row in rows:
        times = [(int(number), float(time)) for number in numbers if (time := row[number]) is not None]
        if (now := row[NOW]) is not None:
            times.append((int(numbers[-1]) + 1, float(now)))
        if len(times) > 1:
            ratios = [time / times[0][1] for _, time in times]
            lines.append(Series(str(row["case"]).partition("/")[2], "line", [at for at, _ in times], ratios))
    if not lines:
        return None
    lines.sort(key=lambda line: -max(abs(log(ratio)) for ratio in line.y))
    most = lines[0]
    alt = (
        f"Times of {name} as multiples of the first stored ones; {most.name} moved most, "
        f"to {most.y[-1]:.2f} times. {min(len(lines), LINES)} of {len(lines)} cases are drawn."
    )
    x = Axis("baseline's number; this run is the last")
    return Chart(f"history-{name}", f"{name}: history", alt, x, Axis("time / first", decimals(2)), lines[:LINES])
