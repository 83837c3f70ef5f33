"""``python -m perfgate doctor``: what this machine offers to the benchmarks of the project in this folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m perfgate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor",
        usage="%(prog)s [what pytest would be given: paths, --model, --device, -k ...]",
        help="tell the devices, meters, clocks and pins of this machine, which cases will run, and why others will not",
    )
    _, extra = parser.parse_known_args(arguments)  # argparse.REMAINDER refuses an option in the first place
    names_paths = any(Path(argument.split("::")[0]).exists() for argument in extra)
    if not names_paths:
        extra = [*extra, *_benchmark_paths()]
    return int(pytest.main(["-p", "perfgate.plugin", "--doctor", "-q", "--no-header", *extra]))


def _benchmark_paths() -> list[str]:
    """The project's benchmark folder as ``[tool.perfgate] benchmarks`` names it; pytest's own choice without one."""
    from perfgate.options import pyproject_table

    benchmarks = pyproject_table(Path("pyproject.toml")).get("benchmarks")
    return [benchmarks] if benchmarks else []


if __name__ == "__main__":
    sys.exit(main())
