"""What has run where: which kind of test proved each GPU path, in README.md and at the end of ``pytest tests``.

Tests name the paths they prove in a mark: ``gpu``, ``compiled``, ``interpreted`` or ``contract`` (pyproject.toml says
what each means). A ``gpu`` mark alone is a test that waits for an accelerator; the runs that really happened are listed
in gpu_runs.json, each ``{"path", "gpu", "date": "YYYY-MM-DD", "commit", "command"}``. After a change of marks,
backends, schemes or runs::

    python -m tests.evidence
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"
GPU_RUNS = TESTS / "gpu_runs.json"
WRITE = "python -m tests.evidence"
BEGIN, END = f"<!-- made by `{WRITE}` -->\n\n", "\n<!-- end -->"

KINDS = {
    "gpu": "on a GPU",
    "compiled": "compiled for sm_80, sm_90",
    "interpreted": "interpreted on a CPU",
    "contract": "contract-checked",
}
"""The marks, the strongest evidence first, in words."""

ON_CPU, NOTHING = "only its CPU side has run", "nothing yet"

NO_ACCELERATOR = "needs an accelerator: torch finds none here"

Marks = Mapping[str, set[str]]
"""Paths by the kind of mark that names them."""


@dataclass(frozen=True)
class Collected:
    """What the collected tests name, deselected ones too, and the modules they come from."""

    marks: Marks
    modules: set[str]
    kinds: dict[str, str]
    """By test, the kind that its marks say."""


COLLECTED: pytest.StashKey[Collected] = pytest.StashKey()


class EvidenceError(ValueError):
    """A mark or a listed run that names no path, or a list of runs that breaks its schema."""


@dataclass(frozen=True)
class GpuPath:
    """Something that is meant to run on a GPU. ``on_cpu``: its own code also runs, and is tested, on a CPU."""

    name: str
    on_cpu: bool = True


def gpu_paths() -> list[GpuPath]:
    """Every path: the attention backends, the quantization schemes, and what has no registry."""
    from fixtures import attention, quantization

    def runs_on_cpu(one: quantization.Scheme | attention.Backend) -> bool:
        reason = one.unavailable("cpu")  # what this machine lacks (a package, a compiler) changes nothing about it
        return reason is None or "not installed" in reason

    return [
        *(GpuPath(one.name, runs_on_cpu(one)) for one in attention.backends().values()),
        *(GpuPath(one.name, runs_on_cpu(one)) for one in quantization.schemes().values()),
        GpuPath("encoder-fast"),
        GpuPath("device-allocator"),
        GpuPath("device-clock"),
        GpuPath("device-health", on_cpu=False),
    ]


def marks_of(items: Iterable[pytest.Item]) -> dict[str, set[str]]:
    """The paths that tests name, by kind of mark."""
    marks: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for item in items:
        for kind in KINDS:
            for marker in item.iter_markers(kind):
                marks[kind].update(marker.args)
    return marks


def gpu_runs(text: str) -> dict[str, list[str]]:
    """GPUs by the path that ran there, from the text of gpu_runs.json.

    Raises:
        EvidenceError: it is not a list of objects with exactly the fields that the module's docstring names.
    """
    try:
        listed = json.loads(text)
        gpus: dict[str, list[str]] = {}
        for run in listed:
            fields = {"path", "gpu", "date", "commit", "command"}
            if set(run) != fields or not all(isinstance(value, str) and value for value in run.values()):
                raise ValueError(f"{run} must have the fields {', '.join(sorted(fields))}, each some text")
            date.fromisoformat(run["date"])
            if run["gpu"] not in gpus.setdefault(run["path"], []):
                gpus[run["path"]].append(run["gpu"])
    except (TypeError, ValueError) as wrong:
        raise EvidenceError(f"{GPU_RUNS.name}: {wrong}") from None
    return gpus


def table(paths: Sequence[GpuPath], marks: Marks, gpus: Mapping[str, Sequence[str]]) -> str:
    """The Markdown table: every path at the highest evidence it has, the strongest first.

    Raises:
        EvidenceError: a mark or a run names a path that does not exist.
    """
    named = {*gpus, *(path for kind in KINDS for path in marks[kind])}
    unknown = sorted(named - {path.name for path in paths})
    if unknown:
        known = ", ".join(path.name for path in paths)
        raise EvidenceError(f"no such path: {', '.join(unknown)}; a mark or {GPU_RUNS.name} may name {known}")
    by_evidence: dict[str, list[str]] = {f"ran on {', '.join(gpus[name])}": [] for name in gpus}
    by_evidence |= {words: [] for kind, words in KINDS.items() if kind != "gpu"} | {ON_CPU: [], NOTHING: []}
    for path in paths:
        proved = [words for kind, words in KINDS.items() if kind != "gpu" and path.name in marks[kind]]
        if path.name in gpus:
            evidence = f"ran on {', '.join(gpus[path.name])}"
        else:
            evidence = (proved or [ON_CPU if path.on_cpu else NOTHING])[0]
        by_evidence[evidence].append(f"`{path.name}`")
    rows = [f"| {evidence} | {', '.join(names)} |" for evidence, names in by_evidence.items() if names]
    return "\n".join(["| highest evidence | paths |", "|---|---|", *rows]) + "\n"


def current_table(marks: Marks) -> str:
    """The table as the registries, the marks and gpu_runs.json make it now."""
    return table(gpu_paths(), marks, gpu_runs(GPU_RUNS.read_text(encoding="utf-8")))


def split(readme: str) -> tuple[str, str, str]:
    """README.md's text before the table, the table, and the text after it."""
    before, begin, rest = readme.partition(BEGIN)
    written, end, after = rest.partition(END)
    if not begin or not end:
        raise EvidenceError(
            f"README.md has no place for the table: {BEGIN.strip()} and {END.strip()} in paragraphs of their own"
        )
    return before + begin, written, end + after


def summary(passed: Counter[str], left_out: Counter[str], no_accelerator: int, skipped: int) -> str:
    """One line on what ran where, from counts of tests by kind ("plain" for those without a mark).

    ``left_out``: slow tests that were deselected; ``no_accelerator``: gpu tests skipped for want of one; ``skipped``:
    all others.
    """
    parts = [f"{passed[kind]} {words}" for kind, words in KINDS.items()]
    if no_accelerator:
        parts[0] += f" ({no_accelerator} gpu-only checks skipped: no accelerator)"
    line = f"what ran where: {', '.join(parts)}, {passed['plain']} plain CPU"
    if skipped:
        line += f"; {skipped} others skipped"
    if left_out:
        among = ", ".join(f"{left_out[kind]} {kind}" for kind in KINDS if left_out[kind])
        among = f" ({among} among them)" if among else ""
        line += f"; {left_out.total()} slow ones left out{among}: run `make test-slow`"
    return line


def kind_of(names: Iterable[str]) -> str:
    """The kind of a test, from the names of its marks."""
    return next((kind for kind in KINDS if kind in names), "plain")


@pytest.hookimpl(tryfirst=True)  # before -m deselects any
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kinds = {item.nodeid: kind_of({marker.name for marker in item.iter_markers()}) for item in items}
    config.stash[COLLECTED] = Collected(marks_of(items), {item.path.name for item in items}, kinds)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an accelerator where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.accelerator.is_available():
            pytest.skip(NO_ACCELERATOR)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.collectonly:
        return
    stats = terminalreporter.stats
    skipped = [str(report.longrepr) for report in stats.get("skipped", ())]
    without = sum(NO_ACCELERATOR in reason for reason in skipped)
    slow = [item for item in stats.get("deselected", ()) if item.get_closest_marker("slow") is not None]
    kinds = config.stash[COLLECTED].kinds
    passed = Counter(kinds.get(report.nodeid, "plain") for report in stats.get("passed", ()))
    left_out = Counter(kinds[item.nodeid] for item in slow)
    terminalreporter.write_line(summary(passed, left_out, without, len(skipped) - without))


class Collector:
    """A pytest plugin that keeps the marks of what was collected."""

    marks: Marks | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.marks = marks_of(items)


def main() -> int:
    """Write README.md's table; returns the exit code."""
    collector = Collector()
    exit_code = pytest.main([str(TESTS), "--collect-only", "-p", "no:terminal"], plugins=[collector])
    if exit_code != pytest.ExitCode.OK or collector.marks is None:
        print("collecting the tests failed; `pytest tests --collect-only` says why", file=sys.stderr)
        return 1
    before, _, after = split(README.read_text(encoding="utf-8"))
    README.write_text(before + current_table(collector.marks) + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
