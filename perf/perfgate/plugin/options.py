"""The command line and ``[tool.perfgate]`` in pyproject.toml, turned into one frozen :class:`Settings`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from perfgate.compare.metric_verdict import Tolerances
from perfgate.measure import fault_injection as faults
from perfgate.measure.fault_injection import Fault
from perfgate.measure.measurement import DEFAULT_BUDGET_S, DEFAULT_PRECISION, MeasurePolicy


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
    html: bool = True
    pin: bool = True
    benchmarks: str = "."
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ("**/*.py",)
    baselines: Path = Path("baselines")
    tolerances: Tolerances = field(default_factory=Tolerances)
    overrides: tuple[tuple[str, Mapping[str, float]], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @property
    def tiers(self) -> tuple[str, ...]:
        """Which cases a run runs: see :data:`perfgate.baselines.store.TIERS`."""
        if self.quick:
            return ("quick",)
        return ("quick", "default", "extra") if self.all_cases else ("quick", "default")

    @property
    def measure_policy(self) -> MeasurePolicy:
        """How calls are measured."""
        return MeasurePolicy(self.budget_s, self.precision, self.faults)

    def tolerances_of(self, key: str) -> Tolerances:
        """What may differ in the case called ``key``: the last override whose pattern matches wins, field by field."""
        found = self.tolerances
        for pattern, changed in self.overrides:
            if fnmatchcase(key, pattern):
                found = replace(found, **changed)  # type: ignore[arg-type]  # checked when read
        return found


_FROM_PYPROJECT: dict[str, type | tuple[type, ...]] = {
    "measure_budget_s": (int, float),
    "measure_precision": (int, float),
    "report_dir": str,
    "benchmarks": str,
    "packages": list,
    "sources": list,
    "baselines": str,
    "tolerances": dict,
    "overrides": list,
    "aliases": dict,
}
_TOLERANCES = tuple(one.name for one in fields(Tolerances))


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
        help="folder for the report of this run: index.html, summary.md and results.json (default perf-report)",
    )
    group.addoption(
        "--no-html",
        action="store_true",
        help="leave index.html out of the report; `python -m perfgate report` makes it from results.json later",
    )
    group.addoption(
        "--no-pins",
        action="store_true",
        help="leave the C allocator's thresholds as they are; the records say so and compare only with their like",
    )
    group.addoption(
        "--tolerance",
        type=float,
        metavar="PERCENT",
        help="a case is REGRESSED when it is surely slower than its baseline, or than the other side of --versus, by "
        f"more than this (default {100 * Tolerances().time:g}, or as [tool.perfgate] says)",
    )
    group.addoption(
        "--memory-tolerance",
        type=float,
        metavar="PERCENT",
        help="exact amounts, such as peak memory, may grow by this much "
        f"(default {100 * Tolerances().exact_relative:g}; bytes by at least {Tolerances().exact_bytes // 1024} KiB)",
    )
    group.addoption(
        "--alias",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="a case or a benchmark that was renamed since the baseline, as in [tool.perfgate.aliases]",
    )
    group.addoption(
        "--baselines",
        metavar="DIR",
        help="where stored baselines are, and where --refresh-baseline puts a new one (default: baselines)",
    )
    group.addoption(
        "--inject",
        action="append",
        default=[],
        metavar="FAULT",
        help="for tests of the gate: a fault, KIND[=AMOUNT][@PATTERN]; "
        + "; ".join(f"{kind}: {what}" for kind, what in faults.KINDS.items()).replace("%", "%%"),
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
        html=not option("no_html"),
        pin=not option("no_pins"),
        benchmarks=table.get("benchmarks", "."),
        packages=tuple(table.get("packages", ())),
        sources=tuple(table.get("sources", ("**/*.py",))),
        baselines=config.rootpath / (option("baselines") or table.get("baselines", "baselines")),
        tolerances=_tolerances(config, table),
        overrides=_overrides(table),
        aliases=table.get("aliases", {}) | _aliases(option("alias")),
        faults=_faults(option("inject")),
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


def _tolerances(config: pytest.Config, table: Mapping[str, Any]) -> Tolerances:
    """The tolerances of every case: the defaults, then the project's, then the command line's."""
    chosen = dict(table.get("tolerances", {}))
    for option, name in (("tolerance", "time"), ("memory_tolerance", "exact_relative")):
        if (percent := config.getoption(option)) is not None:
            if not 0 <= percent < 100:
                raise pytest.UsageError(
                    f"--{option.replace('_', '-')}: got {percent:g}, expected a percentage between 0 and 100"
                )
            chosen[name] = percent / 100
    return _checked("[tool.perfgate.tolerances]", chosen, _TOLERANCES)


def _overrides(table: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, float]], ...]:
    found = []
    for number, override in enumerate(table.get("overrides", ())):
        where = f"[[tool.perfgate.overrides]] number {number + 1}"
        if not isinstance(override, dict) or not isinstance(override.get("cases"), str) or len(override) < 2:
            raise pytest.UsageError(f'{where}: got {override!r}, expected cases = "PATTERN" and a tolerance')
        changed = {name: value for name, value in override.items() if name != "cases"}
        _checked(where, changed, tuple(name for name in _TOLERANCES if name != "alpha"))
        found.append((override["cases"], changed))
    return tuple(found)


def _checked(where: str, values: Mapping[str, Any], known: tuple[str, ...]) -> Tolerances:
    for name, value in values.items():
        if name not in known:
            raise pytest.UsageError(f"{where} has no {name!r}; known: {', '.join(known)}")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise pytest.UsageError(f"{where} {name} = {value!r} is no number")
    try:
        return Tolerances(**values)
    except ValueError as wrong:
        raise pytest.UsageError(f"{where}: {wrong}") from None


def _aliases(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for old, equals, new in pairs:
        if not (old and equals and new):
            raise pytest.UsageError(f"--alias: got {old + equals + new!r}, expected OLD=NEW")
    return {old: new for old, _, new in pairs}


def _faults(given: list[str]) -> tuple[Fault, ...]:
    try:
        return faults.injected(given)
    except ValueError as wrong:
        raise pytest.UsageError(f"--inject: {wrong}") from None


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
        inside = value.values() if key == "aliases" and isinstance(value, dict) else value
        of_texts = key in ("overrides", "tolerances") or not isinstance(inside, Iterable)
        of_texts = of_texts or all(isinstance(one, str) for one in inside)
        if not isinstance(value, _FROM_PYPROJECT[key]) or isinstance(value, bool) or not of_texts:
            raise pytest.UsageError(f"{path}: [tool.perfgate] {key} = {value!r} has the wrong type")
    return table
