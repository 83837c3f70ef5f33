"""Case tables: one benchmark, a case for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin import case_tables

from tests.conftest import Project
from tests.support.benchmark_items import Item, row

BUILTIN = "sums/builtin-n10"


class TestRows:
    def test_two_rows_with_one_key_are_a_usage_error(self, project: Project) -> None:
        source = (project.path / "test_sums.py").read_text()
        project.benchmark(source.replace('how="loop", count=10', 'how="builtin", count=10'))
        result = project.run()
        assert result.ret != pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [f"*two rows of one case table share the key '{BUILTIN}'; make their fields differ*"]
        )


class Collected:
    """A function that pytest collects, with these marks; what it is parametrized by."""

    def __init__(self, *marks: pytest.MarkDecorator) -> None:
        self.config = object()
        self.definition = self
        self.marks = marks
        self.params: list[Any] | None = None

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        return (one.mark for one in self.marks if one.name == name)

    def parametrize(self, argument: str, params: list[Any]) -> None:
        assert argument == "case"
        self.params = params


def test_a_row_becomes_a_case_with_its_id_and_is_skipped_where_it_cannot_run() -> None:
    rows = [row("loop"), row("builtin", unavailable="no numbers here")]
    function: Any = Collected(case_tables.cases(lambda config: rows if config is function.config else []))
    case_tables.parametrize(function)
    assert [(one.id, one.values) for one in function.params] == [(of.case.id, (of.case,)) for of in rows]
    marks = [{mark.name: mark for mark in one.marks} for one in function.params]
    assert [one["perfgate_row"].args for one in marks] == [(of,) for of in rows]
    assert "skip" not in marks[0]
    assert marks[1]["skip"].kwargs == {"reason": "no numbers here"}


def test_a_function_without_a_table_is_left_alone() -> None:
    function: Any = Collected(pytest.mark.slow)
    case_tables.parametrize(function)
    assert function.params is None


def test_the_row_of_an_item() -> None:
    of = row("loop")
    known, unknown = [case_tables.row_of(cast(Any, item)) for item in (Item(of), Item())]
    assert known is of
    assert unknown is None
