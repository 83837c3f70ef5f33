"""Hooks that a suite implements to add its own parts to perfgate's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perfgate.records.record import Record
    from perfgate.report import Section


@pytest.hookspec
def pytest_perfgate_sections(config: pytest.Config, records: list[Record]) -> list[Section]:  # type: ignore[empty-body]  # a specification
    """Sections for the terminal, summary.md and results.json, made from the records of the run."""


@pytest.hookspec
def pytest_perfgate_doctor(config: pytest.Config) -> list[Section]:  # type: ignore[empty-body]  # a specification
    """Sections for ``python -m perfgate doctor``: what the suite finds on this machine."""


@pytest.hookspec
def pytest_perfgate_own_options() -> list[str]:  # type: ignore[empty-body]  # a specification
    """The suite's options that change no measurement (a limit, a file to write): processes that a comparison starts,
    perhaps in an older checkout, are not given them. They are given all other options of the project's own files."""


@pytest.hookspec
def pytest_perfgate_measuring_options() -> list[str]:  # type: ignore[empty-body]  # a specification
    """Options of other plugins that change what is measured (``--browser``): processes that a comparison starts are
    given them too."""


@pytest.hookspec
def pytest_perfgate_in_scope(config: pytest.Config, name: str, fields: dict[str, object]) -> bool:  # type: ignore[empty-body]  # a specification
    """Whether the suite's own options (a model, a choice of rows) select the stored case of benchmark ``name`` with
    these fields; a case that nobody selected is not missing."""
