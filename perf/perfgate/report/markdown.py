"""Sections as GitHub-flavoured Markdown: the verdict first, then what changed, then the tables, details folded."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from perfgate.report.formats import printable
from perfgate.report.section import Section, Table

LIMIT_BYTES = 900 * 1024
"""What a summary may have. Source: GitHub Docs, "Workflow commands": a step's summary is restricted to 1 MiB; the rest
is left for what else a step writes."""
LONGEST = 2_000
"""Characters of one text; more is no text for a summary."""
OPEN_ROWS = 20
"""A table of more rows is folded: a summary is read from top to bottom."""
SHOWN_CHANGES = 30
"""Changes that are listed openly; the others are folded."""
_BLOCK = re.compile(r"^(\d*)([#+=.)-])")
ELSEWHERE = "results.json and index.html have them"


def render(title: str, sections: Sequence[Section], limit_bytes: int = LIMIT_BYTES) -> str:
    """One document of at most ``limit_bytes`` in UTF-8: what does not fit is counted and left out, the longest first.

    A first-level title, the sections' leads and changes, then each section below a second-level title.
    """
    top = [f"# {_text(title)}", ""]
    for section in sections:
        for line in section.lead:
            top += [f"**{_text(line)}**", ""]
    top += _changes([line for section in sections for line in section.changes])
    blocks = [top, *(_section(section) for section in sections)]
    while sum(map(_size, blocks)) > limit_bytes:
        if not any(map(_shorten, sorted(filter(None, blocks), key=_size, reverse=True))):
            break  # nothing but titles left
    return "\n".join(line for block in blocks for line in block)


def _size(block: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in block)


def _shorten(block: list[str]) -> bool:
    """Cut the longest run of table rows or list items to its first half, and say so; whether that made it shorter."""
    runs: list[tuple[int, int]] = []
    start = 0
    for position, line in enumerate([*block, ""]):
        if not line or line[0] not in "|-":
            runs.append((start, position))
            start = position + 1
    start, stop = max(runs, key=lambda run: _size(block[run[0] : run[1]]))
    keep = start + max(2, (stop - start) // 2)
    if stop - start <= 3:
        closing = ["</details>", ""] if block[0].startswith("<details>") else []
        shorter = [*block[:2], "(left out: it is too long for a summary)", "", *closing]
    else:
        said = f"({stop - keep} more lines do not fit here; {ELSEWHERE})"
        shorter = [*block[:keep], "", said, "", *block[stop:]]
    if _size(shorter) >= _size(block):
        return False
    block[:] = shorter
    return True


def _changes(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    shown, rest = lines[:SHOWN_CHANGES], lines[SHOWN_CHANGES:]
    out = ["## What changed", "", *(f"- {_block(line)}" for line in shown), ""]
    return out + _fold(f"{len(rest)} more", [*(f"- {_block(line)}" for line in rest), ""]) if rest else out


def _fold(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "</details>", ""]


def _section(section: Section) -> list[str]:
    lines = [line for paragraph in section.paragraphs for line in (_block(paragraph), "")]
    if section.table is not None:
        rows = [*_table(section.table), ""]
        long = len(section.table.rows) > OPEN_ROWS and not section.folded
        lines += _fold(f"{len(section.table.rows)} rows", rows) if long else rows
    if section.notes:
        lines += [*(f"- {_block(note)}" for note in section.notes), ""]
    if not lines:
        return []
    return _fold(_text(section.title), lines) if section.folded else [f"## {_text(section.title)}", "", *lines]


def _table(table: Table) -> list[str]:
    header = "| " + " | ".join(_text(column.title) for column in table.columns) + " |"
    ruler = "|" + "|".join("---" if table.is_words(n) else "---:" for n in range(len(table.columns))) + "|"
    rows = ["| " + " | ".join(_text(column.text(row)) for column in table.columns) + " |" for row in table.rows]
    return [header, ruler, *rows]


def _block(text: str) -> str:
    """``text`` as :func:`_text` makes it, where a line begins: no title, list or ruler comes of it."""
    return _BLOCK.sub(r"\1\\\2", _text(text), count=1)


def _text(text: str) -> str:
    """``text`` on one line, with what Markdown or HTML would take as mark-up escaped."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text):,} characters)"
    flat = html.escape(printable(text), quote=False)
    for character in "\\`*_[]|~":
        flat = flat.replace(character, f"\\{character}")
    return flat
