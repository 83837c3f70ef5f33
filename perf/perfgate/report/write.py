"""The report's files: results.json with every number, summary.md for a pull request, index.html to look at."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from perfgate.records.atomic_write import write_atomic
from perfgate.report import markdown, results
from perfgate.report.results import Results
from perfgate.report.section import Section

TITLE = "Performance report"
SUMMARY, PAGE = "summary.md", "index.html"
PAGE_NEEDS = ("jinja2", "matplotlib")
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Environment variable: the file whose content GitHub shows on the page of a workflow's run."""


class OutputError(Exception):
    """A report that could not be written; the message says why and what helps."""


def write(folder: Path, found: Results, *, html: bool, shared: bool) -> tuple[str, ...]:
    """Write the report's files, the numbers first; returns their names. ``html``: the page too, where it can be made;
    ``shared``: GitHub's step summary too.

    Raises:
        OutputError: one of them cannot be made or written; those before it are there.
    """
    made: list[str] = []
    files: list[tuple[str, Callable[[], str]]] = [
        (results.NAME, found.text),
        (SUMMARY, lambda: markdown.render(TITLE, found.sections)),
    ]
    if html and why_no_page() is None:
        files.append((PAGE, lambda: _page(found.sections)))
    for name, content in files:
        try:
            write_atomic(folder / name, content())
        except (OSError, TypeError, ValueError, ImportError) as wrong:
            raise OutputError(
                f"the report could not be written to {folder / name}: {wrong}; pass --perfgate-report-dir DIR to put "
                "it elsewhere, --perfgate-no-html to leave index.html out"
            ) from None
        made.append(name)
    if shared and STEP_SUMMARY in os.environ:
        _append(Path(os.environ[STEP_SUMMARY]), found.sections)
    return tuple(made)


def why_no_page() -> str | None:
    """Why index.html cannot be made here; None where it can."""
    missing = [name for name in PAGE_NEEDS if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"{PAGE} is left out: it needs {' and '.join(missing)}: pip install 'perfgate[report]'"


def _page(sections: Sequence[Section]) -> str:
    from perfgate.report import page  # matplotlib and jinja2 are for who wants the page

    return page.render(TITLE, sections)


def _append(path: Path, sections: Sequence[Section]) -> None:
    """Add the summary to what the step has written, as far as GitHub takes it."""
    try:
        taken = path.stat().st_size if path.is_file() else 0
        text = markdown.render(TITLE, sections, max(0, markdown.LIMIT_BYTES - taken))
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as wrong:
        raise OutputError(f"{STEP_SUMMARY}: {path} could not be written: {wrong}") from None
