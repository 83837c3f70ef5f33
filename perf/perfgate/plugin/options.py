"""perfgate's options and ``[tool.perfgate]`` in pyproject.toml, turned into one frozen :class:`Settings`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from perfgate.compare.tolerances import Tolerances
from perfgate.measure import fault_injection as faults
from perfgate.measure.fault_injection import Fault
from perfgate.measure.policy import DEFAULT_PRECISION, MeasurePolicy
from perfgate.plugin.command_line import PREFIX, destination, strict

JUDGED_ANYWAY = 2
"""Of the cases that run no changed function, how many are judged all the same, in case something was overlooked."""


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
    undecided_fails: bool = False
    judged_anyway: int = JUDGED_ANYWAY
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
    "undecided": str,
    "judged_anyway": int,
    "benchmarks": str,
    "packages": list,
    "sources": list,
    "baselines": str,
    "tolerances": dict,
    "overrides": list,
    "aliases": dict,
}
_TOLERANCES = tuple(one.name for one in fields(Tolerances))


def from_config(config: pytest.Config) -> Settings:
    """Read the settings of a session.

    Raises:
        pytest.UsageError: an unknown key or a wrong type in ``[tool.perfgate]``, or a value that makes no sense.
    """
    table = pyproject_table(config.rootpath / "pyproject.toml")

    def option(name: str) -> Any:
        return config.getoption(destination(name))

    budget = option("measure-budget")
    percent = option("measure-precision")
    settings = Settings(
        device=option("device"),
        quick=option("quick"),
        all_cases=option("all-cases"),
        budget_s=table.get("measure_budget_s") if budget is None else budget,
        precision=float(table.get("measure_precision", DEFAULT_PRECISION)) if percent is None else percent / 100,
        report_dir=config.invocation_params.dir / (option("report-dir") or table.get("report_dir", "perf-report")),
        html=not option("no-html"),
        pin=not option("no-pins"),
        undecided_fails=_undecided_fails(config, table),
        judged_anyway=table.get("judged_anyway", JUDGED_ANYWAY),
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
        raise pytest.UsageError("--perfgate-quick and --perfgate-all-cases exclude each other: pass one of them")
    if settings.judged_anyway < 0:
        raise pytest.UsageError(
            f"[tool.perfgate] judged_anyway = {settings.judged_anyway}; expected a number of cases, 0 or more"
        )
    if settings.budget_s is not None and not settings.budget_s > 0:
        raise pytest.UsageError(f"--perfgate-measure-budget: got {settings.budget_s:g}, expected seconds above 0")
    if not 0 < settings.precision < 1:
        raise pytest.UsageError(
            f"--perfgate-measure-precision: got {settings.precision:%}, expected a percentage between 0 and 100"
        )
    if settings.report_dir.exists() and not settings.report_dir.is_dir():
        raise pytest.UsageError(
            f"--perfgate-report-dir: {settings.report_dir} is a file, expected a folder (made if missing)"
        )
    return settings


def _undecided_fails(config: pytest.Config, table: Mapping[str, Any]) -> bool:
    """Whether a case without a decision fails its test."""
    chosen = table.get("undecided", "pass")
    if chosen not in ("fail", "pass"):
        raise pytest.UsageError(f'[tool.perfgate] undecided = {chosen!r}; allowed: "fail", "pass"')
    return chosen == "fail" or strict(config)


def _tolerances(config: pytest.Config, table: Mapping[str, Any]) -> Tolerances:
    """The tolerances of every case: the defaults, then the project's, then the command line's."""
    chosen = dict(table.get("tolerances", {}))
    for option, name in (("tolerance", "time"), ("memory-tolerance", "exact_relative")):
        if (percent := config.getoption(destination(option))) is not None:
            if not 0 <= percent < 100:
                raise pytest.UsageError(f"{PREFIX}{option}: got {percent:g}, expected a percentage between 0 and 100")
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
            raise pytest.UsageError(f"--perfgate-alias: got {old + equals + new!r}, expected OLD=NEW")
    return {old: new for old, _, new in pairs}


def _faults(given: list[str]) -> tuple[Fault, ...]:
    try:
        return faults.injected(given)
    except ValueError as wrong:
        raise pytest.UsageError(f"--perfgate-inject: {wrong}") from None


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
