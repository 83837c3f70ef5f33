"""A report: sections of text and tables, made once from the records and rendered by terminal, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = str | int | float | bool | None

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A table's column: the key of its values, its title, and how a value becomes text (``words``: left-aligned)."""

    key: str
    title: str
    render: Callable[[Any], str] = str
    words: bool = False

    def text(self, row: Mapping[str, Value]) -> str:
        value = row.get(self.key)
        return MISSING if value is None else self.render(value)


@dataclass(frozen=True)
class Table:
    """Columns and rows; a row maps column keys to raw values (SI units, bytes). The first column names the row."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Value]]


@dataclass(frozen=True)
class Section:
    """A titled part of the report: paragraphs, then an optional table, then notes.

    ``name`` is its key in results.json, where ``data`` stands beside the table's raw rows.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    notes: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"title": self.title, "paragraphs": list(self.paragraphs), "notes": list(self.notes)}
        if self.table is not None:
            out["rows"] = [dict(row) for row in self.table.rows]
        return out | dict(self.data)


def mebibytes(value: float) -> str:
    return f"{value / 2**20:,.1f}"


def milliseconds(value: float) -> str:
    return f"{value * 1e3:,.1f}"


def seconds(value: float) -> str:
    return f"{value:,.2f}"


def latency(value: float) -> str:
    """Seconds in the unit that suits them: ``1.25 s``, ``3.42 ms``, ``870 ns``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def decimals(digits: int) -> Callable[[float], str]:
    """Render with a fixed number of decimals."""
    return lambda value: f"{value:,.{digits}f}"


def percent(value: float) -> str:
    return f"{value:.1%}"


def duration(value: float) -> str:
    """A duration for people: ``8 s``, ``3 min 20 s``."""
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
