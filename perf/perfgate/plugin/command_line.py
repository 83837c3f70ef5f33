"""perfgate's command line: every option is ``--perfgate-NAME``, so that no other plugin's option is in its way.

A suite whose commands shall be shorter registers short names for some of them (:func:`add_short_names`). Read in every
session, so nothing here imports what is slow.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from perfgate.compare.tolerances import EXACT_BYTES, EXACT_RELATIVE, TIME
from perfgate.measure.policy import DEFAULT_BUDGET_S, DEFAULT_PRECISION

PREFIX = "--perfgate-"
STRICT = "perfgate_strict"
"""The option and the ini setting that let INCONCLUSIVE fail."""

JUDGE_BUDGET_S = 600.0
VERSUS_BUDGET_S = 600.0
RUNS = 5
"""The fewest fresh processes of a baseline: each more narrows what is known of the spread between them."""

_SWITCH: Mapping[str, Any] = {"action": "store_true"}
_MANY: Mapping[str, Any] = {"action": "append", "default": []}

MEASURING: Mapping[str, Mapping[str, Any]] = {
    "device": {
        "default": "auto",
        "metavar": "DEVICE",
        "help": "where the benchmarks run: auto (an accelerator if torch finds one, else cpu), cpu, cuda, cuda:1. "
        "Default: auto",
    },
    "quick": {
        **_SWITCH,
        "help": "only the quick subset of the default cases: the same cases with the same meaning, just fewer",
    },
    "all-cases": {
        **_SWITCH,
        "help": "every case of every table, not only the chosen default set: longer, and for machines with the memory",
    },
    "measure-budget": {
        "type": float,
        "metavar": "SECONDS",
        "help": f"at most this many seconds of timed rounds per case (default {DEFAULT_BUDGET_S:g}, or less where a "
        "benchmark says so; two rounds always run; cases whose rounds are their inputs run every input once, whatever "
        "the budget)",
    },
    "measure-precision": {
        "type": float,
        "metavar": "PERCENT",
        "help": "stop timing a case when the 95%% interval of its median is within this many percent "
        f"(default {100 * DEFAULT_PRECISION:g}%%)",
    },
    "report-dir": {
        "metavar": "DIR",
        "help": "folder for the report of this run: index.html, summary.md and results.json (default perf-report)",
    },
    "no-html": {
        **_SWITCH,
        "help": "leave index.html out of the report; `python -m perfgate report` makes it from results.json later",
    },
    "no-pins": {
        **_SWITCH,
        "help": "leave the C allocator's thresholds as they are; the records say so and compare only with their like",
    },
    "tolerance": {
        "type": float,
        "metavar": "PERCENT",
        "help": "a case is REGRESSED when it is surely slower than its baseline, or than the other side of "
        f"{PREFIX}versus, by more than this (default {100 * TIME:g}, or as [tool.perfgate] says)",
    },
    "memory-tolerance": {
        "type": float,
        "metavar": "PERCENT",
        "help": "exact amounts, such as peak memory, may grow by this much "
        f"(default {100 * EXACT_RELATIVE:g}; bytes by at least {EXACT_BYTES // 1024} KiB)",
    },
    "alias": {
        **_MANY,
        "metavar": "OLD=NEW",
        "help": "a case or a benchmark that was renamed since the baseline, as in [tool.perfgate.aliases]",
    },
    "inject": {
        **_MANY,
        "metavar": "FAULT",
        "help": "for tests of the gate: a fault, KIND[=AMOUNT][@PATTERN], such as slow=10%%@linear/*; an unknown kind "
        "lists those there are",
    },
    "doctor": {
        **_SWITCH,
        "help": "tell what this machine offers (devices, meters, clocks, pins, which cases will run) and exit",
    },
    "report-from": {
        "type": Path,
        "metavar": "FILE",
        "help": "run nothing: write the report again from a run's results.json; the suite's own parts are made anew, "
        "with the options given now. `python -m perfgate report` is the short way",
    },
}
VERSUS: Mapping[str, Mapping[str, Any]] = {
    "versus": {
        "metavar": "ENV",
        "help": "compare this environment (B) with another (A) in lockstep: a Python interpreter, pins such as "
        '"bitsandbytes==0.48.2" (installed into a cached overlay), or git:REVISION of this checkout',
    },
    "versus-budget": {
        "type": float,
        "default": VERSUS_BUDGET_S,
        "metavar": "SECONDS",
        "help": "go on adding pairs of processes until every case is decided, or this long "
        f"(default {VERSUS_BUDGET_S:g})",
    },
    "versus-apart": {
        **_SWITCH,
        "help": "hold every case on one side at a time, for models of which the device holds one only (what runs out "
        "of memory otherwise is held so by itself): far coarser, because nothing cancels the machine's drift",
    },
}
BASELINES: Mapping[str, Mapping[str, Any]] = {
    "compare": {
        "nargs": "?",
        "const": True,
        "metavar": "BASELINE",
        "help": "compare every benchmark with this machine's stored baseline (default: the latest one), tests written "
        "for pytest-benchmark or pytest-codspeed among them; a suite that is set up for perfgate says "
        "--benchmark-compare for short",
    },
    "judge-budget": {
        "type": float,
        "default": JUDGE_BUDGET_S,
        "metavar": "SECONDS",
        "help": "with --benchmark-compare: judge times in lockstep against the baseline's own environment for this "
        f"long at most (default {JUDGE_BUDGET_S:g}); what stays undecided is INCONCLUSIVE",
    },
    "judge": {
        **_SWITCH,
        "help": "with --benchmark-compare: judge every time, even where nothing has changed since the baseline",
    },
    "strict": {
        **_SWITCH,
        "help": f'INCONCLUSIVE fails its test; as an ini setting: {STRICT} = true, or undecided = "fail" in '
        "[tool.perfgate]",
    },
    "baselines": {
        "metavar": "DIR",
        "help": f"where stored baselines are, and where {PREFIX}refresh-baseline puts a new one (default: baselines)",
    },
    "baseline-machine": {
        "metavar": "KEY",
        "help": "with --benchmark-compare: compare with the baseline of another machine, on purpose",
    },
    "refresh-baseline": {
        **_SWITCH,
        "help": "measure the selected cases in fresh processes and store them as this machine's new baseline",
    },
    "reason": {
        "metavar": "TEXT",
        "help": f"with {PREFIX}refresh-baseline: why; it is stored with the baseline",
    },
    "runs": {
        "type": int,
        "default": RUNS,
        "metavar": "N",
        "help": f"with {PREFIX}refresh-baseline: fresh processes to measure in (default and at least {RUNS})",
    },
    "accept-regressions": {
        **_SWITCH,
        "help": f"with {PREFIX}refresh-baseline: store even what is worse than the baseline before",
    },
    "anchor": {
        "action": "append",
        "default": [],
        "metavar": "PATTERN",
        "help": f"with {PREFIX}refresh-baseline: accept what the cases whose keys match have become since their "
        "anchor, a bit at each refresh; changes add up from this refresh on",
    },
    "accept-busy": {
        **_SWITCH,
        "help": f"with {PREFIX}refresh-baseline: do not insist on an idle machine; the baseline keeps how busy it was",
    },
}
GROUPS = (
    ("perfgate", "perfgate: measure and profile benchmarks", MEASURING),
    ("perfgate-versus", "perfgate: A/B against another environment", VERSUS),
    ("perfgate-gate", "perfgate: compare with stored baselines", BASELINES),
)
_ALL = {**MEASURING, **VERSUS, **BASELINES}
SHORTER: Mapping[str, tuple[str, ...]] = {"refresh-baseline": (PREFIX + "refresh",)}
"""Other names that perfgate's options have in every project."""
SHORT = "perfgate-short"
"""The group of options that a suite's short names are in."""


def add_options(parser: pytest.Parser) -> None:
    """Register all options under their own names. The destination is pytest's default: given, it costs no search."""
    for name, description, options in GROUPS:
        group = parser.getgroup(name, description)
        for option, settings in options.items():
            group.addoption(f"{PREFIX}{option}", *SHORTER.get(option, ()), dest=destination(option), **settings)
    parser.addini(STRICT, "INCONCLUSIVE fails its test", type="bool", default=False)


def destination(name: str) -> str:
    """Under which name ``config.getoption`` knows ``--perfgate-NAME``."""
    return f"perfgate_{name.replace('-', '_')}"


def add_short_names(parser: pytest.Parser, names: Iterable[str]) -> None:
    """Let ``--NAME`` mean ``--perfgate-NAME``; called by a suite's ``pytest_addoption``. What already has its short
    name keeps it.

    Raises:
        pytest.UsageError: perfgate has no such option, or another plugin has taken the short name.
    """
    group = parser.getgroup(SHORT, "short names of perfgate's options")
    taken = {name for option in group.options for name in option.names()}
    for name in names:
        if name not in _ALL:
            raise pytest.UsageError(f"perfgate has no option {PREFIX}{name}; it has: {', '.join(_ALL)}")
        if f"--{name}" in taken:
            continue
        settings = {**_ALL[name], "dest": destination(name), "help": f"the same as {PREFIX}{name}"}
        try:
            group.addoption(f"--{name}", **settings)
        except argparse.ArgumentError:
            raise pytest.UsageError(
                f"--{name}: this suite's short name of {PREFIX}{name} is an option of another pytest plugin here; "
                "leave that plugin out (pytest -p no:NAME), or uninstall it"
            ) from None


def strict(config: pytest.Config) -> bool:
    """Whether INCONCLUSIVE fails. pytest's own ``--strict`` is about other things."""
    return bool(config.getoption(STRICT) or config.getini(STRICT))
