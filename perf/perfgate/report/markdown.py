"""Sections as GitHub-flavoured Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence

from perfgate.report import Section, Table


def render(title: str, sections: Sequence[Section]) -> str:
    """One document: a first-level title, each section below a second-level one."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {_text(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [_text(paragraph), ""]
        if section.table is not None:
            lines += [*_table(section.table), ""]
        if section.notes:
            lines += [*(f"- {_text(note)}" for note in section.notes), ""]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    header = "| " + " | ".join(_text(column.title) for column in table.columns) + " |"
    left = [position == 0 or column.words for position, column in enumerate(table.columns)]
    ruler = "|" + "|".join("---" if words else "---:" for words in left) + "|"
    rows = ["| " + " | ".join(_text(column.text(row)) for column in table.columns) + " |" for row in table.rows]
    return [header, ruler, *rows]


def _text(text: str) -> str:
    """``text`` on one line, with what Markdown or HTML would take as mark-up escaped."""
    flat = html.escape(" ".join(text.split()), quote=False)
    for character in "\\`*_[]|":
        flat = flat.replace(character, f"\\{character}")
    return flat
