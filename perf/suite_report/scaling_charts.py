"""Charts of a cost against a size, one line for each way to do it, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perfgate.records.record import Record
from perfgate.report import Axis, Chart, Series

TOKENS = Axis("tokens", log=True)


@dataclass(frozen=True)
class Cost:
    """A metric, with the word for it in a title and its axis."""

    metric: str
    title: str
    axis: Axis


@dataclass(frozen=True)
class Scaling:
    """A line for each value of the field ``line`` over the field ``size``, which counts tokens. ``guides`` are names
    of guide lines with the power of the size that each grows with."""

    size: str
    line: str
    guides: Mapping[str, int] = field(default_factory=dict)


def chart(name: str, title: str, rows: Sequence[Record], scaling: Scaling, cost: Cost) -> list[Chart]:
    """One chart of ``cost`` over the size; none where no line has two sizes. The guides start at the smallest cost of
    the smallest size."""
    points: dict[str, dict[float, float]] = {}
    for row in rows:
        value = row.value(cost.metric)
        if value is not None and value > 0:
            points.setdefault(str(row.fields[scaling.line]), {})[float(str(row.fields[scaling.size]))] = value
    lines = {which: sorted(own.items()) for which, own in points.items()}
    if not any(len(own) > 1 for own in lines.values()):
        return []
    sizes = sorted({at for own in points.values() for at in own})
    least = min(value for own in points.values() for at, value in own.items() if at == sizes[0])
    series = [Series(which, "line", [at for at, _ in own], [value for _, value in own]) for which, own in lines.items()]
    for which, power in scaling.guides.items():
        series.append(Series(which, "guide", sizes, [least * (at / sizes[0]) ** power for at in sizes]))
    last = {which: own[-1][1] for which, own in lines.items() if own[-1][0] == sizes[-1]}
    best, worst = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    render = cost.axis.render
    alt = (
        f"{cost.axis.title} over {TOKENS.title} from {sizes[0]:g} to {sizes[-1]:g}, for {', '.join(lines)}. "
        f"At {sizes[-1]:g}: least {best} ({render(last[best])}), most {worst} ({render(last[worst])})."
    )
    return [Chart(name, title, alt, TOKENS, cost.axis, series)]
