"""Case tables: one benchmark, a case for each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate import Case, Row, cases, part
from perfgate.plugin import case_tables
from perfgate.plugin.case_tables import parametrize

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
        self.nodeid = "test_x.py::test_x"
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


@dataclass(frozen=True, kw_only=True)
class Pair(Case):
    benchmark: ClassVar[str] = "pair"
    left: str = part()
    right: str = part()


def parametrized(*rows: Row) -> list[object]:
    """The parameters that a table of ``rows`` becomes."""
    made: list[object] = []

    @cases(lambda config: rows)
    def test_something(case: Case) -> None: ...

    metafunc = SimpleNamespace(
        definition=SimpleNamespace(
            nodeid="x", iter_markers=lambda name: (m for m in test_something.pytestmark if m.name == name)
        ),
        config=None,
        parametrize=lambda argument, params: made.extend(params),
    )
    parametrize(metafunc)  # type: ignore[arg-type]
    return made


class TestTable:
    def test_ids_in_the_order_of_the_rows(self) -> None:
        made = parametrized(Row(Pair(left="b", right="x")), Row(Pair(left="a", right="x")))
        assert [param.id for param in made] == ["b-x", "a-x"]

    def test_an_unavailable_row_is_skipped_with_its_reason_and_others_are_not(self) -> None:
        made = parametrized(
            Row(Pair(left="a", right="x")), Row(Pair(left="b", right="x"), unavailable="needs an abacus")
        )
        skips = [[mark.kwargs["reason"] for mark in param.marks if mark.name == "skip"] for param in made]
        assert skips == [[], ["needs an abacus"]]

    def test_two_rows_with_one_key_are_refused(self) -> None:
        with pytest.raises(pytest.UsageError, match=r"two rows .* share the key 'pair/a-x'; make their fields differ"):
            parametrized(Row(Pair(left="a", right="x")), Row(Pair(left="a", right="x"), quick=True))

    def test_different_fields_that_make_one_key_are_refused_too(self) -> None:
        with pytest.raises(pytest.UsageError, match="pair/a-b-c"):
            parametrized(Row(Pair(left="a-b", right="c")), Row(Pair(left="a", right="b-c")))

    def test_a_test_without_a_table_is_left_alone(self) -> None:
        metafunc = SimpleNamespace(definition=SimpleNamespace(iter_markers=lambda name: iter(())))
        assert parametrize(metafunc) is None  # type: ignore[arg-type,func-returns-value]
