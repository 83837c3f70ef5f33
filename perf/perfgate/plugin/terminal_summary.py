"""What a session shows on the terminal: in short, or with ``-v`` everything that the report's files have."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

from perfgate.plugin.terminal_lines import on_terminal
from perfgate.report import Section, terminal

TABLE_OPTIONS = (
    "--benchmark-columns",
    "--benchmark-cprofile",
    "--benchmark-group-by",
    "--benchmark-histogram",
    "--benchmark-name",
    "--benchmark-sort",
    "--benchmark-verbose",
)
"""Who passes one of these wants pytest-benchmark's own table."""


def rendered(config: pytest.Config, sections: Sequence[Section]) -> str:
    """The sections as text for this session's terminal."""
    width, verbose = config.get_terminal_writer().fullwidth, config.get_verbosity() > 0
    return terminal.render(sections, width, verbose=verbose, on_terminal=on_terminal(config))


def hide_benchmark_table(config: pytest.Config) -> None:
    """Leave pytest-benchmark's table out where all of it is in perfgate's report."""
    benchmarks: Any = getattr(config, "_benchmarksession", None)  # set by pytest-benchmark, where that takes part
    if benchmarks is None:
        return
    given = [*config.invocation_params.args, *config.getini("addopts")]
    given += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    wanted = any(one.partition("=")[0] in TABLE_OPTIONS for one in given)
    ours = all("perfgate" in one.extra_info for one in benchmarks.benchmarks)
    if ours and not wanted and config.get_verbosity() <= 0:
        benchmarks.quiet = True  # its table alone: files, comparisons and their failures are as they were
