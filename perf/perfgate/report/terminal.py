"""Sections on a terminal, through rich: in short, or with everything that the report's files have.

In short, what a section names in ``detail`` is left out, and the sections come last to first: what matters most stands
where the reader's eye is when the run ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from perfgate.report.formats import printable
from perfgate.report.section import Column, Section, Table

UNLIMITED = 10_000
"""Characters of a line where no terminal ends it: a log file, CI."""


def render(sections: Sequence[Section], width: int, *, verbose: bool = True, on_terminal: bool = True) -> str:
    """The sections as plain text, text wrapped at ``width`` characters.

    On a terminal no line of a table is longer than ``width``, where columns allow it: in short the columns that matter
    least are left out and named, with ``verbose`` the table is cut into parts that repeat the first column. Elsewhere a
    table is as wide as it needs.
    """
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False)
    wide = Console(width=UNLIMITED, color_system=None, force_terminal=False, highlight=False)
    out = []
    hidden = []
    for section in sections if verbose else reversed(sections):
        shown = _parts(section, verbose)
        if not verbose and not any(shown.values()):
            hidden.append(section.title)
            continue
        with console.capture() as captured:
            _head(section, shown, console)
        out.append(captured.get())
        if shown["table"] and section.table is not None:
            where = console if on_terminal else wide
            with where.capture() as captured:
                _table(section.table, where, whole=not verbose)
            out.append("\n".join(line.rstrip() for line in captured.get().split("\n")))
        with console.capture() as captured:
            for note in section.notes if shown["notes"] else ():
                console.print(Text(f"- {printable(note)}"))
        out.append(captured.get())
    if hidden:
        with console.capture() as captured:
            console.rule(characters="-")
            console.print(Text(printable(f"More with -v and in the report: {'; '.join(reversed(hidden))}.")))
        out.append(captured.get())
    return "".join(out)


def _parts(section: Section, verbose: bool) -> dict[str, bool]:
    """Which parts are shown. A folded section's table and notes are in the files alone."""
    left_out = () if verbose else section.detail
    return {
        "lead": bool(section.lead),
        "paragraphs": bool(section.paragraphs) and "paragraphs" not in left_out and (verbose or not section.folded),
        "changes": bool(section.changes) and not section.folded,
        "table": section.table is not None and "table" not in left_out and not section.folded,
        "notes": bool(section.notes) and "notes" not in left_out and not section.folded,
    }


def _head(section: Section, shown: dict[str, bool], console: Console) -> None:
    console.rule(Text(printable(section.title)), characters="-")
    for paragraph in (*section.lead, *(section.paragraphs if shown["paragraphs"] else ())):
        console.print(Text(printable(paragraph)))
    for change in section.changes if shown["changes"] else ():
        console.print(Text(f"- {printable(change)}"))


def _table(table: Table, console: Console, *, whole: bool) -> None:
    if not whole:
        for part in _cut(table, console):
            console.print(part)
        return
    columns, left_out = _narrowed(table, console)
    console.print(_rich(columns, table))
    if left_out:
        titles = ", ".join(printable(column.title) for column in left_out)
        console.print(Text(f"Too wide for this terminal: {titles}. They are in the report, and behind -v."))


def _narrowed(table: Table, console: Console) -> tuple[list[Column], list[Column]]:
    """The columns that fit side by side, and those left out for them, both in the table's order. The first one and one
    more always stay."""
    rank = {key: place for place, key in enumerate(table.least_important)}
    kept = list(table.columns)
    while len(kept) > 2 and _width(_rich(kept, table), console) > console.width:
        rest = kept[1:]
        last = min(rest, key=lambda column: (rank.get(column.key, len(rank)), -kept.index(column)))
        kept.remove(last)
    return kept, [column for column in table.columns if column not in kept]


def _cut(table: Table, console: Console) -> list[RichTable]:
    first, rest = table.columns[0], list(table.columns[1:])
    parts: list[RichTable] = []
    while rest:
        taken = 1
        while taken < len(rest) and _width(_rich([first, *rest[: taken + 1]], table), console) <= console.width:
            taken += 1
        parts.append(_rich([first, *rest[:taken]], table))
        rest = rest[taken:]
    return parts or [_rich([first], table)]


def _width(table: RichTable, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=UNLIMITED), table).maximum


def _rich(columns: Sequence[Column], table: Table) -> RichTable:
    out = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        left = position == 0 or column.words
        out.add_column(Text(column.title), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in table.rows:
        out.add_row(*(Text(column.text(row)) for column in columns))
    return out
