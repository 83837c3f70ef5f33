"""Collected benchmarks without a session: what perfgate asks an item for, and nothing of pytest's own."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from perfgate import Case, Row, part
from perfgate.plugin.activation import OWN_FIXTURE


@dataclass(frozen=True, kw_only=True)
class SumCase(Case):
    """A case of the tests' project."""

    benchmark: ClassVar[str] = "sums"
    how: str = part()


def row(how: str, **about: Any) -> Row:
    """A row with the key ``sums/how``."""
    return Row(SumCase(how=how), **about)


class Item:
    """A test that asks for perfgate's ``measure``, made from a row or from none; ``measures=False``: any other test."""

    def __init__(self, of: Row | None = None, name: str = "test_sums", *, measures: bool = True) -> None:
        self.name = self.originalname = name
        self.nodeid = f"test_sums.py::{name}" + (f"[{of.case.id}]" if of else "")
        self.stash = pytest.Stash()
        self.config: Any = SimpleNamespace(stash=pytest.Stash())
        self.fixturenames = ("measure",) if measures else ()
        own = SimpleNamespace(func=SimpleNamespace(__module__=OWN_FIXTURE), argnames=())
        self._fixtureinfo = SimpleNamespace(name2fixturedefs={"measure": [own]})
        self._row = of

    def get_closest_marker(self, name: str) -> Any:
        return SimpleNamespace(args=(self._row,)) if name == "perfgate_row" and self._row is not None else None


def items(*hows: str) -> list[Any]:
    """A benchmark item for each of these rows."""
    return [Item(row(how)) for how in hows]
