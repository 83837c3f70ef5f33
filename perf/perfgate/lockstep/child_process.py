"""How every pytest that measures for this one is started: with which arguments and in which environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from perfgate.machine.process_tree import for_children
from perfgate.measure.fault_injection import ENVIRONMENT as FAULTS

ADDOPTS = "PYTEST_ADDOPTS"
"""pytest's own environment variable with more arguments."""
OWN = ("-o", "addopts=", "-q", "-p", "no:cacheprovider")
"""Every child's arguments. It ignores its configuration file's ``addopts``, which may ask for what spoils times
(``--cov``): the controller has passed on what counts of them."""
TRACING = ("COV_CORE_", "COVERAGE_PROCESS_")
"""Environment variables (their beginnings) by which pytest-cov and coverage trace every Python process started."""


def command(start: Sequence[str], arguments: Sequence[str], *more: str) -> list[str]:
    """``start`` is what starts pytest, ``arguments`` are the controller's, ``more`` is what this kind of child gets."""
    return [*start, *arguments, *more, *OWN]


def environment(faults: Sequence[str], more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with ``more``, with these faults to inject, and without what spoils times."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TRACING)}
    return {**kept, **for_children(), FAULTS: " ".join(faults), ADDOPTS: "", **more}
