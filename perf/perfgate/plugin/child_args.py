"""What a controller's processes are asked to run: this run's own selection, none of the controller's options."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence

import pytest

from perfgate.lockstep.channel import ADDOPTS
from perfgate.plugin.command_line import PREFIX

OWN_OPTIONS = (
    "--versus",
    "--versus-budget",
    "--judge-budget",
    "--baseline-machine",
    "--baselines",
    "--reason",
    "--runs",
    "--tolerance",
    "--memory-tolerance",
    "--inject",
    "--alias",
    "--report-dir",
    "--junitxml",
    "--junit-xml",
    "--maxfail",
    "--lfnf",
    "--last-failed-no-failures",
)
"""Options with a value, here without perfgate's prefix, that concern the controller alone."""
OWN_FLAGS = (
    "--versus-apart",
    "--judge",
    "--refresh-baseline",
    "--accept-regressions",
    "--accept-busy",
    "--perfgate-strict",
    "--no-html",
    "-x",
    "--exitfirst",
    "-v",
    "-vv",
    "--verbose",
    "-s",
    "-q",
    "--pdb",
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
    "--sw-skip",
    "--stepwise-skip",
    "--cache-clear",
)
BENCHMARK = "--benchmark"
BENCHMARK_FLAGS = tuple(
    f"{BENCHMARK}-{name}"
    for name in ("disable-gc", "skip", "disable", "enable", "only", "autosave", "save-data", "verbose", "quiet")
)
"""pytest-benchmark's options that take no value; its others take one."""
BENCHMARK_MANY = f"{BENCHMARK}-compare-fail"
"""The one that takes all values that follow it."""


def arguments(config: pytest.Config) -> list[str]:
    """The command line of this run for another process: the same selection, none of the controller's own options."""
    suites = [name for names in config.hook.pytest_perfgate_own_options() for name in names]
    return process_arguments([*shlex.split(os.environ.get(ADDOPTS, "")), *config.invocation_params.args], suites)


def _short(name: str) -> str:
    """An option's name as the lists above have it; a suite may know it without perfgate's prefix."""
    return f"--{name.removeprefix(PREFIX)}" if name.startswith(PREFIX) else name


def process_arguments(given: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """``given`` without the controller's own options, to which ``more`` belong as well."""
    own = (*OWN_OPTIONS, *more)
    kept: list[str] = []
    values = 0.0  # of the option before, still to come
    for argument in given:
        name, equals, _ = argument.partition("=")
        if values and not argument.startswith("-"):
            values -= 1
        elif name in own or _short(name) in own or name.startswith(BENCHMARK):
            values = 0 if equals or name in BENCHMARK_FLAGS else math.inf if name == BENCHMARK_MANY else 1
        else:
            values = 0
            if argument not in OWN_FLAGS and _short(argument) not in OWN_FLAGS:
                kept.append(argument)
    return kept


def worker_arguments(given: Sequence[str]) -> list[str]:
    """The same for a worker of an A/B comparison."""
    return [*process_arguments(given), "--benchmark-disable", "-q", "-p", "no:cacheprovider"]
