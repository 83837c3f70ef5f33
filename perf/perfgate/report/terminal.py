"""Sections on a terminal, through rich. A table too wide for the terminal is cut into tables of fewer columns, each
repeating the first."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from perfgate.report.formats import printable
from perfgate.report.section import Column, Section, Table


def render(sections: Sequence[Section], width: int) -> str:
    """The sections as plain text, no line of a table longer than ``width`` characters where columns allow it."""
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False)
    with console.capture() as captured:
        for section in sections:
            console.rule(Text(printable(section.title)), characters="-")
            for paragraph in (*section.lead, *section.paragraphs):
                console.print(Text(printable(paragraph)))
            if section.folded:  # the details are in the files
                continue
            for change in section.changes:
                console.print(Text(f"- {printable(change)}"))
            if section.table is not None:
                for part in _fitting(section.table, console, width):
                    console.print(part)
            for note in section.notes:
                console.print(Text(f"- {printable(note)}"))
    return captured.get()


def _fitting(table: Table, console: Console, width: int) -> list[RichTable]:
    first, rest = table.columns[0], list(table.columns[1:])
    parts: list[RichTable] = []
    while rest:
        taken = 1
        while taken < len(rest) and _width(_rich([first, *rest[: taken + 1]], table), console) <= width:
            taken += 1
        parts.append(_rich([first, *rest[:taken]], table))
        rest = rest[taken:]
    return parts or [_rich([first], table)]


def _width(table: RichTable, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _rich(columns: Sequence[Column], table: Table) -> RichTable:
    out = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        left = position == 0 or column.words
        out.add_column(Text(column.title), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in table.rows:
        out.add_row(*(Text(column.text(row)) for column in columns))
    return out
