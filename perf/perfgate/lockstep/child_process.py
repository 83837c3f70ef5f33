"""How every pytest that measures for this one is started: with which arguments and in which environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from perfgate.lockstep.channel import CORE
from perfgate.machine.pinning import usable_cores
from perfgate.machine.process_tree import for_children
from perfgate.measure.fault_injection import ENVIRONMENT as FAULTS

ADDOPTS = "PYTEST_ADDOPTS"
"""pytest's own environment variable with more arguments."""
OWN = ("-o", "addopts=", "-q", "-p", "no:cacheprovider")
"""Every child's arguments. It ignores its configuration file's ``addopts``, which may ask for what spoils times
(``--cov``): the controller has passed on what counts of them."""
TRACING = ("COV_CORE_", "COVERAGE_PROCESS_")
"""Environment variables (their beginnings) by which pytest-cov and coverage trace every Python process started."""


PINS: dict[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
}
"""What both sides' processes are pinned to, beside one core. docs/pins.md has what each buys, and why address layout
and hash seed are left to chance."""


def pins(core: int | None, *, all_cores: bool) -> dict[str, str]:
    """The environment that pins a worker: to ``core``, where there is one, or to all cores. There OpenMP's threads must
    not spin while they wait, because the other side takes its turns meanwhile; the numbers of threads are the
    libraries' first choice, which a library may change: that is what such cases are about."""
    if all_cores:
        return {**PINS, "OMP_NUM_THREADS": str(usable_cores()), "OMP_WAIT_POLICY": "PASSIVE"}
    return PINS if core is None else {**PINS, CORE: str(core)}


def flags() -> list[str]:
    """The interpreter's flags of a child: it finds what lies in the current folder if this process does. ``python -m
    pytest`` does, the command ``pytest`` does not: a project's own source would hide the package that is installed."""
    finds_it = Path(sys.argv[0]).name == "__main__.py" and not sys.flags.safe_path
    return [] if finds_it else ["-P"]


def command(start: Sequence[str], arguments: Sequence[str], *more: str) -> list[str]:
    """``start`` is what starts pytest, ``arguments`` are the controller's, ``more`` is what this kind of child gets."""
    return [*start, *arguments, *more, *OWN]


def environment(faults: Sequence[str], more: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with ``more`` (without what is None there), with these faults to inject, and without
    what spoils times."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TRACING)}
    wanted = {**kept, **for_children(), FAULTS: " ".join(faults), ADDOPTS: "", **more}
    return {name: value for name, value in wanted.items() if value is not None}
