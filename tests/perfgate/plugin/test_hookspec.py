"""The hooks that a suite implements."""

from __future__ import annotations

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin import hookspec

from tests.conftest import Project

HOOKS = {
    "pytest_perfgate_sections": "config, records",
    "pytest_perfgate_doctor": "config",
    "pytest_perfgate_own_options": "",
    "pytest_perfgate_measuring_options": "",
    "pytest_perfgate_in_scope": "config, name, fields",
}


def implement(project: Project, name: str, arguments: str) -> pytest.RunResult:
    """A session of a project that implements one hook with these arguments."""
    with (project.path / "conftest.py").open("a") as file:
        file.write(f"\n@pytest.hookimpl(trylast=True)\ndef {name}({arguments}): return []\n")
    return project.run("--collect-only")


def test_they_are_these() -> None:
    assert {name for name in vars(hookspec) if name.startswith("pytest_")} == set(HOOKS)


@pytest.mark.parametrize(("name", "arguments"), HOOKS.items())
def test_a_suite_implements_each_with_what_it_promises(project: Project, name: str, arguments: str) -> None:
    assert implement(project, name, arguments).ret == pytest.ExitCode.OK


@pytest.mark.parametrize(("name", "arguments"), [("pytest_perfgate_section", ""), ("pytest_perfgate_doctor", "other")])
def test_one_that_nobody_calls_is_refused(project: Project, name: str, arguments: str) -> None:
    assert implement(project, name, arguments).ret == pytest.ExitCode.INTERNAL_ERROR
