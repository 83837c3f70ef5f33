"""``results.json``: everything that one run measured and reported, from which every face of its report can be made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfgate.records.record import Record
from perfgate.records.validate import RecordError, free_form, items, mapping, refuse_constant
from perfgate.report.section import Section

NAME = "results.json"


class ResultsError(ValueError):
    """No results, or such as cannot be read; the message says why and names the next command."""


@dataclass(frozen=True)
class Results:
    """A run: its session (versions, machine, health, settings, ledger), its records and its report's sections."""

    session: Mapping[str, Any]
    records: Sequence[Record]
    sections: list[Section]

    def to_json(self) -> dict[str, Any]:
        return {
            "session": dict(self.session),
            "records": [record.to_json() for record in self.records],
            "sections": {section.name: section.to_json() for section in self.sections},
        }

    def text(self) -> str:
        """The file's content.

        Raises:
            TypeError, ValueError: a suite's section holds what JSON has no word for.
        """
        return json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"


def load(path: Path) -> Results:
    """Read and validate one file.

    Raises:
        ResultsError: it cannot be read, or anything in it is missing or wrong.
    """
    try:
        data = mapping("results", json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant))
        sections = mapping("sections", data["sections"])
        return Results(
            free_form("session", data["session"]),
            [Record.from_json(one) for one in items("records", data["records"])],
            [Section.from_json(name, one) for name, one in sections.items()],
        )
    except (OSError, ValueError, KeyError, RecordError, RecursionError) as wrong:
        said = f"field {wrong} is missing" if isinstance(wrong, KeyError) else str(wrong) or type(wrong).__name__
        raise ResultsError(
            f"{path} holds no results that this perfgate can read: {said}; `pytest` with this project's benchmarks "
            f"writes {NAME} into its --perfgate-report-dir"
        ) from None
