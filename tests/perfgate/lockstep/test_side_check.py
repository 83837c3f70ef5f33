"""A side that does not use what was asked for is an error with both paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from perfgate.lockstep.overlay import SideError
from perfgate.lockstep.protocol import MessageError
from perfgate.lockstep.side_check import Asked


def used(packages: dict[str, tuple[str | None, str]] | None = None, **modules: str) -> dict[str, Any]:
    found = {name: {"version": one[0], "files": [one[1]] if one[1] else []} for name, one in (packages or {}).items()}
    return {"python": "python", "packages": found, "modules": modules}


REVISION = Asked(checkout=Path("/wt"), other=Path("/here"))
PINNED = Asked(overlay=Path("/cache/site-packages"), pinned={"six": "1.16.0"})
PROJECT = Asked(checkout=Path("/wt"), overlay=Path("/cache/site-packages"), projects=("toy",))
OLD = Asked(has={"six": "1.16.0"}, own=(Path("/here/old"),), borrowed=(Path("/here"), Path("/new")))


@pytest.mark.parametrize(
    ("asked", "report"),
    [
        (REVISION, used(toy="/wt/src/toy.py")),
        (Asked(checkout=Path("/here/tmp/wt"), other=Path("/here")), used(toy="/here/tmp/wt/toy.py")),
        (Asked(checkout=Path("/here")), used(toy="/here/toy.py")),
        (PINNED, used({"six": ("1.16.0", "/cache/site-packages/six.py")})),
        (PINNED, used({"six": ("1.16", "/cache/site-packages/six.py")})),
        (PINNED, used({"six": ("1.16.0+cpu", "/cache/site-packages/six.py")})),
        (PINNED, used({"six": ("1.17.0", "")})),
        (PROJECT, used({"toy": ("1.0", "/cache/site-packages/toy.py")})),
        (PROJECT, used({"toy": ("1.0", "/wt/toy.py")})),
        (OLD, used({"six": ("1.16.0", "/here/old/six.py")})),
        (OLD, used({"six": ("1.16.0", "/elsewhere/six.py")})),
    ],
)
def test_what_was_asked_for(asked: Asked, report: dict[str, Any]) -> None:
    asked.require("it", report)


@pytest.mark.parametrize(
    ("asked", "report", "both"),
    [
        (REVISION, used(fine="/wt/fine.py", toy="/here/src/toy.py"), ("module toy is /here/src/toy.py", "below /wt;")),
        (
            Asked(checkout=Path("/here"), other=Path("/wt")),
            used(toy="/wt/toy.py"),
            ("module toy is /wt/toy.py", "below /here;"),
        ),
        (
            PINNED,
            used({"six": ("1.17.0", "/site-packages/six.py")}),
            ("six is 1.17.0 in /site-packages/six.py", "expected 1.16.0 in /cache/site-packages"),
        ),
        (
            PINNED,
            used({"six": ("1.16.0", "/here/six.py")}),
            ("its six is /here/six.py", "expected one below /cache/site-packages"),
        ),
        (PINNED, used({"six": (None, "/here/six.py")}), ("six is of no version in /here/six.py", "expected 1.16.0")),
        (
            PROJECT,
            used({"toy": ("1.0", "/here/toy.py")}),
            ("its toy is /here/toy.py", "below /cache/site-packages or /wt"),
        ),
        (OLD, used({"six": ("1.17.0", "/new/six.py")}), ("its six is /new/six.py", "expected its own in /here/old")),
    ],
)
def test_anything_else_is_an_error_with_both_paths(asked: Asked, report: dict[str, Any], both: tuple[str, str]) -> None:
    with pytest.raises(SideError, match="the side 'it' is not what was asked for, and nothing was compared") as caught:
        asked.require("it", report)
    assert all(one in str(caught.value) for one in both)


def test_what_is_asked_of_a_worker() -> None:
    asked = Asked(("torch",), Path("/wt"), Path("/here"), Path("/o"), {"six": "1"}, ("toy",))
    assert asked.question() == {"packages": ["torch", "six", "toy"], "checkouts": ["/wt", "/here"]}


@pytest.mark.parametrize("report", [{}, {"packages": [], "modules": {}}, {"packages": {"a": 1}, "modules": {}}])
def test_what_is_no_report_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="no report of what was used"):
        Asked().require("it", report)
