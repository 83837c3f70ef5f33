"""Case tables under pytest: a benchmark marked with a table runs once for each of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pytest

from perfgate.lockstep import tracing
from perfgate.records.case import Row


class Table(Protocol):
    """Makes the rows of one benchmark from pytest's configuration."""

    def __call__(self, config: pytest.Config) -> Iterable[Row]: ...


def cases(table: Table) -> pytest.MarkDecorator:
    """Parametrize a benchmark over ``table``: the test takes an argument ``case`` and runs once for each row."""
    return pytest.mark.perfgate_cases.with_args(table)  # calling it with one function would decorate that function


def row_of(item: pytest.Item) -> Row | None:
    """The row an item was made from, or None for an item that is no benchmark case."""
    marker = item.get_closest_marker("perfgate_row")
    return marker.args[0] if marker else None


def node_of_test(item: pytest.Item) -> str:
    """The node id of an item's test, without the case."""
    return item.nodeid.partition("[")[0]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Fill the ``case`` argument of a benchmark marked with :func:`cases`.

    Raises:
        pytest.UsageError: two rows of one table have the same id.
    """
    marker = next(metafunc.definition.iter_markers("perfgate_cases"), None)
    if marker is None:
        return
    with tracing.part(metafunc.definition.nodeid):
        rows = list(marker.args[0](metafunc.config))
    seen: set[str] = set()
    for row in rows:
        if row.case.key in seen:
            raise pytest.UsageError(
                f"two rows of one case table share the key {row.case.key!r}; make their fields differ"
            )
        seen.add(row.case.key)
    params = []
    for row in rows:
        marks = [pytest.mark.perfgate_row(row)]
        if row.unavailable is not None:
            marks.append(pytest.mark.skip(reason=row.unavailable))
        params.append(pytest.param(row.case, id=row.case.id, marks=marks))
    metafunc.parametrize("case", params)
