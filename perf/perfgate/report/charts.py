"""A chart as data: what :mod:`perfgate.report.plots` draws, and results.json keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from perfgate.records.validate import RecordError, finite, items, mapping, one_of, text
from perfgate.report.formats import TEXT, Format

Style = Literal["points", "line", "guide", "front", "spread", "intervals"]


@dataclass(frozen=True)
class Axis:
    """An axis: its title with the unit, how its numbers become text, and whether it is logarithmic."""

    title: str
    render: Format = TEXT
    log: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "format": self.render.to_json(), "log": self.log}

    @classmethod
    def from_json(cls, data: Any) -> Axis:
        fields = mapping("axis", data)
        return cls(text("title", fields["title"]), Format.from_json(fields["format"]), bool(fields["log"]))


@dataclass(frozen=True)
class Series:
    """Points that belong together, all sequences of one length.

    ``points`` are single marks, each with its ``labels`` if there are any; ``line`` joins them; ``guide`` is a thin
    line to compare with, ``front`` one without marks; ``spread`` are many small marks; ``intervals`` reach from
    ``low`` to ``high`` on the x axis.
    ``shades`` colour points by a value (see :attr:`Chart.shade`); ``status`` gives the series a verdict's colour.
    """

    name: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    shades: Sequence[float | None] = ()
    status: str = ""

    def __post_init__(self) -> None:
        one_of("style", self.style, get_args(Style))
        for name in ("y", "labels", "low", "high", "shades"):
            given = getattr(self, name)
            if len(given) != len(self.x) and (given or name == "y"):
                raise RecordError(f"series {self.name}: {name}: got {len(given)} values for {len(self.x)} of x")

    def to_json(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in (*_NUMBERS, "labels", "shades")}
        return {"name": self.name, "style": self.style, "status": self.status} | lists

    @classmethod
    def from_json(cls, data: Any) -> Series:
        fields = mapping("series", data)
        numbers = {name: [finite(name, one) for one in items(name, fields[name])] for name in _NUMBERS}
        return cls(
            text("name", fields["name"]),
            one_of("style", fields["style"], get_args(Style)),  # type: ignore[arg-type]  # just checked
            labels=[text("labels", one) for one in items("labels", fields["labels"])],
            shades=[one if one is None else finite("shades", one) for one in items("shades", fields["shades"])],
            status=text("status", fields["status"]),
            **numbers,
        )


@dataclass(frozen=True)
class Chart:
    """One chart. ``alt`` says in words what it shows, for those who do not see it.

    With ``categories`` y is a category's position, the first one on top. ``shade`` names the value that colours points;
    ``marks`` are values of x to compare with, by name.
    """

    name: str
    title: str
    alt: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    categories: Sequence[str] = ()
    shade: Axis | None = None
    marks: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "alt": self.alt,
            "x": self.x.to_json(),
            "y": self.y.to_json(),
            "series": [one.to_json() for one in self.series],
            "categories": list(self.categories),
            "shade": None if self.shade is None else self.shade.to_json(),
            "marks": dict(self.marks),
        }

    @classmethod
    def from_json(cls, data: Any) -> Chart:
        """Read one chart.

        Raises:
            RecordError, KeyError: a field is missing or wrong.
        """
        fields = mapping("chart", data)
        chart = cls(
            name=text("name", fields["name"]),
            title=text("title", fields["title"]),
            alt=text("alt", fields["alt"]),
            x=Axis.from_json(fields["x"]),
            y=Axis.from_json(fields["y"]),
            series=[Series.from_json(one) for one in items("series", fields["series"])],
            categories=[text("categories", one) for one in items("categories", fields["categories"])],
            shade=None if fields["shade"] is None else Axis.from_json(fields["shade"]),
            marks={text("marks", name): finite(name, x) for name, x in mapping("marks", fields["marks"]).items()},
        )
        for axis, name in ((chart.x, "x"), (chart.y, "y")):
            given = [value for one in chart.series for value in getattr(one, name)]
            if axis.log and any(value <= 0 for value in given):
                raise RecordError(f"chart {chart.name}: {name}: a logarithmic axis has values above 0 only")
        return chart


_NUMBERS = ("x", "y", "low", "high")
