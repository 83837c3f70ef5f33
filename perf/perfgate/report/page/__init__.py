"""Sections as one self-contained HTML page: it opens from the disk, loads nothing, and its tables need no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.records.case import slug
from perfgate.report import plots
from perfgate.report.formats import printable
from perfgate.report.section import Section, Table, Value

if TYPE_CHECKING:
    from markupsafe import Markup

HERE = Path(__file__).parent
VERDICT = re.compile(rf"\b({'|'.join(plots.STATUSES)})\b")
"""A verdict's word in a text; it is shown in its colour."""


def render(title: str, sections: Sequence[Section]) -> str:
    """One document: what the sections begin with, links to them, then each with its charts and its table."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=_finalized
    )
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        title=title,
        style=Markup(_file("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        lead=[line for section in sections for line in section.lead],
        sections=[_section(section) for section in sections],
        verdicts=_with_verdicts,
        breakable=_breakable,
    )


@cache
def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _finalized(value: Any) -> Any:
    """What a template prints: text that nobody marked as HTML is made printable, and escaped by jinja2."""
    return printable(value) if type(value) is str else value


def _with_verdicts(text: str) -> Markup:
    """``text`` escaped, each verdict's word in its colour."""
    from markupsafe import Markup, escape

    html = str(escape(printable(text)))
    return Markup(
        VERDICT.sub(lambda found: f'<span class="verdict {plots.STATUSES[found[1]]}">{found[1]}</span>', html)
    )


def _breakable(text: str) -> Markup:
    """``text`` escaped; a line may end after a slash, as between a benchmark's name and its case's."""
    from markupsafe import Markup, escape

    return Markup(str(escape(printable(text))).replace("/", "/<wbr>"))


def _section(section: Section) -> Mapping[str, Any]:
    from markupsafe import Markup

    return {
        "id": f"s-{slug(section.name)}",
        "title": section.title,
        "folded": section.folded,
        "paragraphs": section.paragraphs,
        "changes": section.changes,
        "notes": section.notes,
        "table": None if section.table is None else _table(section.table),
        "charts": [
            {"title": chart.title, "alt": chart.alt, "svg": Markup(plots.svg(chart))} for chart in section.charts
        ],
    }


def _table(table: Table) -> Mapping[str, Any]:
    words = [table.is_words(position) for position in range(len(table.columns))]
    columns = [{"title": column.title, "words": one} for column, one in zip(table.columns, words, strict=True)]
    rows = [
        [
            {"text": column.text(row), "words": one, "value": _number(row.get(column.key))}
            for column, one in zip(table.columns, words, strict=True)
        ]
        for row in table.rows
    ]
    return {"columns": columns, "rows": rows}


def _number(value: Value) -> str | None:
    """What a column is sorted by where it holds numbers."""
    return None if value is None or isinstance(value, (str, bool)) else repr(value)
