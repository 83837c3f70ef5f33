"""results.json: written, read, damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.report import results
from perfgate.report.results import Results, ResultsError

from tests.support import report_sections
from tests.support.report_sections import record

SESSION = {"machine_key": "cpu-2c", "settings": {"pins": [0, 1], "quick": None}, "ledger": {"measured": ["sums/loop"]}}


def made_up() -> Results:
    return Results(SESSION, [record(latency_s=0.5)], report_sections.everything())


class TestFile:
    @pytest.mark.parametrize("name", ["everything", "hostile"])
    def test_what_is_written_is_read_back(self, tmp_path: Path, name: str) -> None:
        given = Results(SESSION, [record(latency_s=0.5)], getattr(report_sections, name)())
        path = tmp_path / results.NAME
        path.write_text(given.text(), encoding="utf-8")
        assert results.load(path).text() == given.text()

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda text: text[: len(text) // 2], "line"),
            (lambda text: "", "Expecting value"),
            (lambda text: "[]", "results: got list, expected an object"),
            (lambda text: text.replace("1000.0", "NaN"), "NaN is no number"),
            (lambda text: text.replace("1000.0", "-Infinity"), "-Infinity is no number"),
            (lambda text: text.replace("1000.0", "1e999"), "expected a finite number"),
            (lambda text: text.replace("1000.0", '"many"'), "got 'many', expected a finite number"),
            (lambda text: text.replace('"sections"', '"parts"'), "field 'sections' is missing"),
            (lambda text: text.replace('"session": {', '"session": [], "x": {'), "session: got list"),
            (lambda text: text.replace('"folded"', '"closed"'), "section gate: field 'folded' is missing"),
            (lambda text: text.replace('"intervals"', '"pie"'), "style: got 'pie'"),
            (lambda text: "[" * 100_000, "RecursionError|recursion"),
            (lambda text: "\x00", "Expecting value"),
        ],
    )
    def test_a_damaged_one_is_named_with_what_is_wrong(self, tmp_path: Path, damage: Any, said: str) -> None:
        path = tmp_path / results.NAME
        path.write_text(damage(made_up().text()), encoding="utf-8")
        with pytest.raises(ResultsError, match=said) as raised:
            results.load(path)
        assert str(raised.value).startswith(f"{path} holds no results that this perfgate can read: ")
        assert "`pytest` with this project's benchmarks writes results.json" in str(raised.value)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / results.NAME
        path.write_bytes(b"\xff\xfe{")
        with pytest.raises(ResultsError, match=re.escape(str(path))):
            results.load(path)
