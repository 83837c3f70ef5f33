"""The experiment's charts: what speed costs in memory, and how the inputs' times spread."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from perfgate.records.record import Record
from perfgate.report import Axis, Chart, Series, decimals, mebibytes, percent, seconds

from suite_report.recommendation import QUALITY_NAMES, Recommendation, label

FAR = 1.5
"""A limit beyond so many times the largest peak is not drawn: the rows would be pressed into a corner."""


def trade(found: Recommendation) -> Chart:
    """Throughput against peak memory, quality as colour, with the Pareto front and the limits."""
    rows = found.rows
    points = Series(
        "rows",
        "points",
        [one.memory for one in rows],
        [one.throughput for one in rows],
        labels=[one.label for one in rows],
        shades=[one.quality for one in rows],
    )
    front = Series(
        "Pareto front", "front", [one.memory for one in found.front], [one.throughput for one in found.front]
    )
    limits = found.limits
    alt = (
        f"{len(rows)} rows; on the Pareto front, from the smallest to the fastest: "
        f"{', '.join(one.label for one in found.front) or 'none'}."
    )
    series = [points, front]
    least = limits.throughput_tokens_per_s
    if least is not None:
        reach = sorted(one.memory for one in rows)
        series.append(Series(f"{least:,.1f} tokens/s asked for", "guide", [reach[0], reach[-1]], [least, least]))
    most = limits.memory_bytes
    near = most is not None and most < FAR * max(one.memory for one in rows)
    marks = {f"{mebibytes(most)} MiB allowed": float(most)} if most is not None and near else {}
    return Chart(
        "trade",
        "Throughput against peak memory",
        alt,
        Axis("peak memory in MiB", mebibytes),
        Axis("tokens/s", decimals(1)),
        series,
        shade=Axis(QUALITY_NAMES[found.quality_metric], percent),
        marks=marks,
    )


def latencies(rows: Sequence[Record]) -> Chart:
    """Every input's latency, row by row, with the median."""
    times = [row.metrics["latency_s"].samples or (row.metrics["latency_s"].value,) for row in rows]
    places = [float(place) for place, samples in enumerate(times) for _ in samples]
    middles = [median(samples) for samples in times]
    fastest = min(range(len(rows)), key=middles.__getitem__)
    widest = max(range(len(rows)), key=lambda place: max(times[place]) / min(times[place]))
    alt = (
        f"The latency of every input in {len(rows)} rows. {label(rows[fastest])} has the shortest median, "
        f"{seconds(middles[fastest])} s; {label(rows[widest])} spreads most, from {seconds(min(times[widest]))} to "
        f"{seconds(max(times[widest]))} s."
    )
    series = [
        Series("one input", "spread", [time for samples in times for time in samples], places),
        Series("median", "points", middles, [float(place) for place in range(len(rows))]),
    ]
    names = [label(row) for row in rows]
    return Chart("latencies", "Latency of each input", alt, Axis("seconds", seconds), Axis("row"), series, names)
