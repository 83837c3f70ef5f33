"""The command line and ``[tool.perfgate]`` in pyproject.toml, turned into one frozen :class:`Settings`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DEFAULT_BUDGET_S = 5.0
"""Seconds of timed rounds a case may use: a case of 100 ms gets 50 rounds, enough for a 1-2% interval on a quiet
machine, and a hundred cases stay under ten minutes."""
DEFAULT_PRECISION = 0.01
"""Relative half width of the median's 95% interval at which timing stops: a fifth of the default 5% tolerance."""


@dataclass(frozen=True)
class Settings:
    """Everything perfgate lets a user choose; times in seconds, precision as a fraction. ``budget_s`` is None where
    nobody chose one: then a benchmark's own default or ``DEFAULT_BUDGET_S`` holds."""

    device: str = "auto"
    quick: bool = False
    all_cases: bool = False
    budget_s: float | None = None
    precision: float = DEFAULT_PRECISION
    report_dir: Path = Path("perf-report")
    pin: bool = True
    benchmarks: str = "."
    packages: tuple[str, ...] = ()


_FROM_PYPROJECT: dict[str, type | tuple[type, ...]] = {
    "measure_budget_s": (int, float),
    "measure_precision": (int, float),
    "report_dir": str,
    "benchmarks": str,
    "packages": list,
}


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("perfgate", "perfgate: measure, weigh and count benchmarks")
    group.addoption(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="where the benchmarks run: auto (an accelerator if torch finds one, else cpu), cpu, cuda, cuda:1. "
        "Default: auto",
    )
    group.addoption(
        "--quick",
        action="store_true",
        help="only the quick subset of the default cases: the same cases with the same meaning, just fewer",
    )
    group.addoption(
        "--all-cases",
        action="store_true",
        help="every case of every table, not only the chosen default set: longer, and for machines with the memory",
    )
    group.addoption(
        "--measure-budget",
        type=float,
        metavar="SECONDS",
        help=f"at most this many seconds of timed rounds per case (default {DEFAULT_BUDGET_S:g}, or less where a "
        "benchmark says so; two rounds always run; cases whose rounds are their inputs run every input once, whatever "
        "the budget)",
    )
    group.addoption(
        "--measure-precision",
        type=float,
        metavar="PERCENT",
        help="stop timing a case when the 95%% interval of its median is within this many percent "
        f"(default {DEFAULT_PRECISION:.0%})".replace("%)", "%%)"),
    )
    group.addoption(
        "--report-dir",
        metavar="DIR",
        help="folder for the report of this run: results.json and summary.md (default perf-report)",
    )
    group.addoption(
        "--no-pins",
        action="store_true",
        help="leave the C allocator's thresholds as they are; the records say so and compare only with their like",
    )
    group.addoption(
        "--doctor",
        action="store_true",
        help="tell what this machine offers (devices, meters, clocks, pins, which cases will run) and exit",
    )


def from_config(config: pytest.Config) -> Settings:
    """Read the settings of a session.

    Raises:
        pytest.UsageError: an unknown key or a wrong type in ``[tool.perfgate]``, or a value that makes no sense.
    """
    table = pyproject_table(config.rootpath / "pyproject.toml")
    option = config.getoption
    budget = option("measure_budget")
    percent = option("measure_precision")
    settings = Settings(
        device=option("device"),
        quick=option("quick"),
        all_cases=option("all_cases"),
        budget_s=table.get("measure_budget_s") if budget is None else budget,
        precision=float(table.get("measure_precision", DEFAULT_PRECISION)) if percent is None else percent / 100,
        report_dir=config.invocation_params.dir / (option("report_dir") or table.get("report_dir", "perf-report")),
        pin=not option("no_pins"),
        benchmarks=table.get("benchmarks", "."),
        packages=tuple(table.get("packages", ())),
    )
    if settings.quick and settings.all_cases:
        raise pytest.UsageError("--quick and --all-cases exclude each other: pass one of them")
    if settings.budget_s is not None and not settings.budget_s > 0:
        raise pytest.UsageError(f"--measure-budget: got {settings.budget_s:g}, expected seconds above 0")
    if not 0 < settings.precision < 1:
        raise pytest.UsageError(
            f"--measure-precision: got {settings.precision:%}, expected a percentage between 0 and 100"
        )
    if settings.report_dir.exists() and not settings.report_dir.is_dir():
        raise pytest.UsageError(f"--report-dir: {settings.report_dir} is a file, expected a folder (made if missing)")
    return settings


def pyproject_table(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except tomllib.TOMLDecodeError as broken:
        raise pytest.UsageError(f"{path}: not valid TOML: {broken}") from None
    table = tools.get("perfgate", {}) if isinstance(tools, dict) else None
    if not isinstance(table, dict):
        raise pytest.UsageError(f"{path}: [tool.perfgate] is not a table")
    for key, value in table.items():
        if key not in _FROM_PYPROJECT:
            raise pytest.UsageError(
                f"{path}: [tool.perfgate] has no setting {key!r}; known: {', '.join(_FROM_PYPROJECT)}"
            )
        of_texts = not isinstance(value, list) or all(isinstance(one, str) for one in value)
        if not isinstance(value, _FROM_PYPROJECT[key]) or isinstance(value, bool) or not of_texts:
            raise pytest.UsageError(f"{path}: [tool.perfgate] {key} = {value!r} has the wrong type")
    return table
