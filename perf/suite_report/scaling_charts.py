"""Charts of a cost against a size, one line for each way to do it, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from perfgate.records.record import Record
from perfgate.report import Axis, Chart, Series

Guides = Mapping[str, int]
"""Names of guide lines with the power of the size that each grows with."""


def chart(
    name: str,
    title: str,
    rows: Sequence[Record],
    size: str,
    line: str,
    cost: Callable[[Record], float | None],
    x: Axis,
    y: Axis,
    guides: Guides | None = None,
) -> list[Chart]:
    """One chart of ``cost`` over the field ``size``, a line for each value of the field ``line``; none where no line
    has two sizes. The guides start at the smallest cost of the smallest size."""
    points: dict[str, dict[float, float]] = {}
    for row in rows:
        value = cost(row)
        if value is not None and value > 0:
            points.setdefault(str(row.fields[line]), {})[float(str(row.fields[size]))] = value
    lines = {which: sorted(own.items()) for which, own in points.items()}
    if not any(len(own) > 1 for own in lines.values()):
        return []
    sizes = sorted({at for own in points.values() for at in own})
    least = min(value for own in points.values() for at, value in own.items() if at == sizes[0])
    series = [Series(which, "line", [at for at, _ in own], [value for _, value in own]) for which, own in lines.items()]
    for which, power in (guides or {}).items():
        series.append(Series(which, "guide", sizes, [least * (at / sizes[0]) ** power for at in sizes]))
    last = {which: own[-1][1] for which, own in lines.items() if own[-1][0] == sizes[-1]}
    best, worst = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    alt = (
        f"{y.title} over {x.title} from {sizes[0]:g} to {sizes[-1]:g}, for {', '.join(lines)}. At {sizes[-1]:g}: least "
        f"{best} ({y.render(last[best])}), most {worst} ({y.render(last[worst])})."
    )
    return [Chart(name, title, alt, x, y, series)]
