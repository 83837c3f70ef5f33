"""The chart of verdicts: each case's ratio of times with its interval, in its verdict's colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfgate.compare.metric_verdict import WORST_FIRST
from perfgate.report.charts import Axis, Chart, Series
from perfgate.report.formats import counted, decimals
from perfgate.report.section import Value

MOST = 60
"""Cases in one chart, the worst first; the table has them all."""


def chart(title: str, axis: str, rows: Sequence[Mapping[str, Value]], tolerances: Sequence[float]) -> list[Chart]:
    """One chart of the rows that have a ratio and its interval, or none where no row has.

    A row has ``case``, ``verdict``, ``ratio``, ``low`` and ``high``; ``tolerances`` are fractions.
    """
    judged = [(row, number) for row in rows if (number := _numbers(row)) is not None]
    if not judged:
        return []
    judged.sort(key=lambda one: (WORST_FIRST.index(one[0]["verdict"]), -one[1][0]))
    shown = judged[:MOST]
    series = []
    for status in WORST_FIRST:
        own = [(place, *numbers) for place, (row, numbers) in enumerate(shown) if row["verdict"] == status]
        if own:
            places, ratios, lows, highs = zip(*own, strict=True)
            series.append(Series(status, "intervals", ratios, places, low=lows, high=highs, status=status))
    marks = {"unchanged": 1.0} | {f"{one:.1%} slower": 1 + one for one in sorted(set(tolerances))}
    worst, (ratio, low, high) = shown[0]
    alt = (
        f"{counted(len(judged))} with the ratio of their times and its interval, the worst first: {worst['case']} "
        f"({worst['verdict']}) {ratio:.3f}, from {low:.3f} to {high:.3f}."
    )
    if len(judged) > len(shown):
        alt += f" The chart shows {len(shown)} of them; the table has all."
    names = [str(row["case"]) for row, _ in shown]
    return [Chart("verdicts", title, alt, Axis(axis, decimals(2)), Axis("case"), series, names, marks=marks)]


def _numbers(row: Mapping[str, Value]) -> tuple[float, float, float] | None:
    ratio, low, high = (row.get(name) for name in ("ratio", "low", "high"))
    if not all(isinstance(one, (int, float)) for one in (ratio, low, high)):
        return None
    return float(ratio), float(low), float(high)  # type: ignore[arg-type]  # just checked
