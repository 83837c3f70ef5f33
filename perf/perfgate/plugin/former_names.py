"""Names under which older revisions of a suite import perfgate.

A comparison with an older revision runs that revision's benchmarks with this perfgate (see
:mod:`perfgate.lockstep.environments`), and what they import stood elsewhere before. Only workers know the old names.
"""

from __future__ import annotations

import importlib
import sys

import pytest

from perfgate.plugin import command_line, terminal_lines

MODULES = {
    "clocks": "measure.clocks",
    "counters": "measure.op_counts",
    "environment": "machine.environment",
    "files": "records.atomic_write",
    "pauses": "measure.yield_points",
    "pins": "machine.pinning",
    "processes": "lockstep.fresh_process",
    "rebuild": "plugin.report_command",
    "record": "records.record",
    "run": "plugin.session",
    "valid": "records.validate",
}
"""Modules that suites imported, and where each is now, until 2026-11; both inside ``perfgate``."""
# ``session.RUN`` was the key of what is now the context.
NAMES = {"FellBackError": "measure.measurement", "Kernel": "measure.measurement", "Measure": "measure.measurement"}
"""What was imported from ``perfgate.measure`` while that was a module."""

OPTIONS = (
    "device",
    "quick",
    "all-cases",
    "measure-budget",
    "measure-precision",
    "report-dir",
    "no-html",
    "no-pins",
    "tolerance",
    "memory-tolerance",
    "alias",
    "inject",
    "doctor",
    "report-from",
    "versus",
    "versus-budget",
    "versus-apart",
    "judge-budget",
    "judge",
    "baseline-machine",
    "refresh-baseline",
    "reason",
    "runs",
    "accept-regressions",
    "accept-busy",
)
"""perfgate's options that had no prefix until 2026-11: a controller passes them on, and suites ask for their values."""


def add_options(parser: pytest.Parser) -> None:
    """Let a worker's command line have the former names."""
    command_line.add_short_names(parser, OPTIONS)


def set_options(config: pytest.Config) -> None:
    """Let ``config.getoption`` know the former names' values."""
    for name in OPTIONS:
        value = config.getoption(command_line.destination(name))
        setattr(config.option, name.replace("-", "_"), value)


def install() -> None:
    """Let old names stand for what they meant, in this process."""
    import perfgate
    from perfgate import measure

    for old, new in MODULES.items():
        module = sys.modules[f"perfgate.{old}"] = importlib.import_module(f"perfgate.{new}")
        setattr(perfgate, old, module)
    session = sys.modules["perfgate.plugin.session"]
    session.__dict__.update(RUN=session.CONTEXT, relative=terminal_lines.relative)
    for name, where in NAMES.items():
        setattr(measure, name, getattr(importlib.import_module(f"perfgate.{where}"), name))
