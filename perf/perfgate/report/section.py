"""What a report is made of: sections of text, tables and charts, made once from the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfgate.records.validate import RecordError, finite, free_form, items, mapping, text
from perfgate.report.charts import Chart
from perfgate.report.formats import TEXT, Format, printable

Value = str | int | float | bool | None

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A table's column: the key of its values, its title, and how a value becomes text (``words``: left-aligned)."""

    key: str
    title: str
    render: Format = TEXT
    words: bool = False

    def text(self, row: Mapping[str, Value]) -> str:
        value = row.get(self.key)
        return MISSING if value is None else printable(self.render(value))

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "title": self.title, "format": self.render.to_json(), "words": self.words}

    @classmethod
    def from_json(cls, data: Any) -> Column:
        """Read one column.

        Raises:
            RecordError, KeyError: a field is missing or wrong.
        """
        fields = mapping("column", data)
        render = Format.from_json(fields["format"])
        return cls(text("key", fields["key"]), text("title", fields["title"]), render, bool(fields["words"]))


@dataclass(frozen=True)
class Table:
    """Columns and rows; a row maps column keys to raw values (SI units, bytes). The first column names the row.

    ``least_important``: keys of the columns that a narrow terminal leaves out first, before those at the right end.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Value]]
    least_important: Sequence[str] = ()

    def is_words(self, position: int) -> bool:
        """Whether a column holds words, which begin at the left; numbers end at the right."""
        return position == 0 or self.columns[position].words

    @classmethod
    def from_json(cls, columns: Any, rows: Any, least_important: Any = ()) -> Table:
        """Read a table; a value must suit its column.

        Raises:
            RecordError, KeyError: a field is missing or wrong.
        """
        table = cls([Column.from_json(one) for one in items("columns", columns)], [])
        if not table.columns:
            raise RecordError("columns: got none")
        found = [free_form("row", row) for row in items("rows", rows)]
        for column in table.columns:
            for row in found:
                value = row.get(column.key)
                if value is not None and column.render.kind != "text":
                    finite(column.key, value)
        return cls(table.columns, found, [text("least_important", one) for one in least_important])


@dataclass(frozen=True)
class Section:
    """A titled part of the report: paragraphs, what changed, charts, an optional table, then notes.

    ``name`` is its key in results.json, where ``data`` stands beside the table's raw rows. ``lead`` is what the whole
    report begins with: a verdict, a recommendation. ``folded``: a detail, closed in Markdown and HTML until asked for.
    ``detail``: those of ``PARTS`` that the terminal shows with ``-v`` only.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    notes: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    lead: Sequence[str] = ()
    changes: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    folded: bool = False
    detail: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The section as data; with its name, :meth:`from_json` makes the same section of it."""
        out: dict[str, Any] = {name: list(getattr(self, name)) for name in _TEXTS} | {"title": self.title}
        if self.table is not None:
            out["columns"] = [column.to_json() for column in self.table.columns]
            out["rows"] = [dict(row) for row in self.table.rows]
            if self.table.least_important:
                out["least_important"] = list(self.table.least_important)
        if self.charts:
            out["charts"] = [chart.to_json() for chart in self.charts]
        if self.detail:
            out["detail"] = list(self.detail)
        return out | {"folded": self.folded} | dict(self.data)

    @classmethod
    def from_json(cls, name: str, data: Any) -> Section:
        """Read one section.

        Raises:
            RecordError: a field is missing or wrong.
        """
        fields = dict(mapping(f"section {name}", data))
        try:
            texts = {one: [text(one, line) for line in items(one, fields.pop(one))] for one in _TEXTS}
            columns, least = fields.pop("columns", None), items("least_important", fields.pop("least_important", []))
            return cls(
                name,
                text("title", fields.pop("title")),
                table=None if columns is None else Table.from_json(columns, fields.pop("rows"), least),
                charts=[Chart.from_json(one) for one in items("charts", fields.pop("charts", []))],
                folded=bool(fields.pop("folded")),
                detail=[text("detail", one) for one in items("detail", fields.pop("detail", []))],
                data=free_form("data", fields),
                **texts,
            )
        except KeyError as missing:
            raise RecordError(f"section {name}: field {missing} is missing") from None
        except RecordError as wrong:
            raise RecordError(f"section {name}: {wrong}") from None


SHORT_TABLE = 10
"""Rows of a table of verdicts that the terminal shows without being asked."""
PARTS = ("paragraphs", "table", "notes")
"""What of a section a terminal can leave out until asked for. Its lead and its changes are always shown."""


def long_table(rows: Sequence[object]) -> tuple[str, ...]:
    """A section's ``detail`` where its table of verdicts is too long to be shown unasked: what fails is told above."""
    return ("table",) if len(rows) > SHORT_TABLE else ()


_TEXTS = ("paragraphs", "notes", "lead", "changes")
