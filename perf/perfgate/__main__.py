"""``python -m perfgate doctor | report | selftest``: what this machine offers to the benchmarks here; the report of a
run again; a test of the gate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from perfgate.plugin.report_command import OPTION

DEFAULT_RESULTS = "perf-report/results.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m perfgate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor",
        usage="%(prog)s [what pytest would be given: paths, options, -k ...]",
        help="tell the devices, meters, clocks and pins of this machine, which cases will run, and why others will not",
    )
    report = commands.add_parser(
        "report",
        usage="%(prog)s [--from results.json] [--report-dir DIR] [what pytest would be given: options]",
        help="write a run's report again from its results.json, with the options given now; nothing is measured",
    )
    report.add_argument("--from", dest="results", default=DEFAULT_RESULTS, metavar="FILE", help="default: %(default)s")
    report.add_argument("--report-dir", metavar="DIR", help="default: perf-report, or as [tool.perfgate] says")
    selftest = commands.add_parser(
        "selftest",
        usage="%(prog)s [--hours H] [--kinds PATTERN ...] [--results FILE] [what pytest would be given]",
        help="test the gate as a gate: compare with this machine's baseline again and again, without and with injected "
        "faults, and tell how often it fails what is unchanged and how often it finds each fault",
    )
    selftest.add_argument("--hours", type=float, default=1.0, help="for how long (default 1); sittings add up")
    selftest.add_argument("--kinds", nargs="+", default=["*"], metavar="PATTERN", help="only these kinds of tries")
    selftest.add_argument("--results", type=Path, default=Path("perf-report/selftest.jsonl"), metavar="FILE")
    parsed, extra = parser.parse_known_args(arguments)  # argparse.REMAINDER refuses an option in the first place
    if parsed.command == "report":
        paths = _benchmark_paths()  # their conftest.py has the suite's part of the report
        folder = [] if parsed.report_dir is None else [f"--perfgate-report-dir={parsed.report_dir}"]
        return int(pytest.main(["-p", "perfgate.plugin", f"{OPTION}={parsed.results}", *folder, *extra, *paths]))
    names_paths = any(Path(argument.split("::")[0]).exists() for argument in extra)
    if not names_paths:
        extra = [*extra, *_benchmark_paths()]
    if parsed.command == "selftest":
        return _selftest(parsed, extra)
    return int(pytest.main(["-p", "perfgate.plugin", "--perfgate-doctor", "-q", "--no-header", *extra]))


def _selftest(parsed: argparse.Namespace, extra: list[str]) -> int:
    import shutil

    from perfgate.baselines import selftest
    from perfgate.report import terminal

    try:
        outcomes = selftest.run(extra, parsed.results, parsed.hours * 3600, parsed.kinds)
    except (ValueError, RuntimeError) as wrong:
        print(f"selftest: {wrong}", file=sys.stderr)
        return int(pytest.ExitCode.USAGE_ERROR)
    print(terminal.render([selftest.summary(outcomes)], shutil.get_terminal_size().columns))
    print(f"selftest: every verdict is in {parsed.results}")
    return 0


def _benchmark_paths() -> list[str]:
    """The project's benchmark folder as ``[tool.perfgate] benchmarks`` names it; pytest's own choice without one."""
    from perfgate.plugin.options import pyproject_table

    benchmarks = pyproject_table(Path("pyproject.toml")).get("benchmarks")
    return [benchmarks] if benchmarks else []


if __name__ == "__main__":
    sys.exit(main())
