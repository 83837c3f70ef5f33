"""README.md's table of what has run where is current, and so is the line at the end of a run."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests import evidence
from tests.evidence import COLLECTED, README, TESTS, WRITE, EvidenceError, GpuPath

PATHS = [GpuPath("one"), GpuPath("two", on_cpu=False)]
RUN = {"path": "two", "gpu": "H200", "date": "2026-01-31", "commit": "abc", "command": "pytest tests -m gpu"}


def marks(**named: str) -> dict[str, set[str]]:
    return {kind: {named[kind]} if kind in named else set() for kind in evidence.KINDS}


def test_the_readme_is_current(pytestconfig: pytest.Config) -> None:
    """Modules that are not part of this run (``pytest`` with this file alone) may hold marks that it must know."""
    collected = pytestconfig.stash[COLLECTED]
    marked = re.compile(rf"mark\.({'|'.join(evidence.KINDS)})\(")
    absent = {path for path in TESTS.rglob("test_*.py") if path.name not in collected.modules}
    needed = sorted(path.name for path in absent if marked.search(path.read_text(encoding="utf-8")))
    if needed:
        pytest.skip(f"needs every module with marks collected, but {', '.join(needed)} was not: run `pytest tests`")
    written = evidence.split(README.read_text(encoding="utf-8"))[1]
    made = evidence.current_table(collected.marks)
    assert written == made, f"README.md's table is stale: run `{WRITE}`"


@pytest.mark.parametrize(
    ("named", "one", "two"),
    [
        ({}, "only its CPU side has run", "nothing yet"),
        ({"contract": "two"}, "only its CPU side has run", "contract-checked"),
        ({"contract": "two", "interpreted": "two"}, "only its CPU side has run", "interpreted on a CPU"),
        ({"interpreted": "two", "compiled": "two"}, "only its CPU side has run", "compiled for sm_80, sm_90"),
        ({"interpreted": "one", "gpu": "two"}, "interpreted on a CPU", "nothing yet"),  # a gpu test only waits for one
    ],
)
def test_the_highest_evidence_is_named(named: dict[str, str], one: str, two: str) -> None:
    made = evidence.table(PATHS, marks(**named), {})
    assert f"| {one} | `one` |\n" in made
    assert f"| {two} | `two` |\n" in made
    strength = [*evidence.KINDS.values(), evidence.ON_CPU, evidence.NOTHING]
    rows = [row.split(" | ")[0][2:] for row in made.splitlines()[2:]]
    assert rows == sorted(rows, key=strength.index)


def test_a_listed_run_is_above_all() -> None:
    runs = [RUN, RUN, RUN | {"gpu": "A100"}]
    made = evidence.table(PATHS, marks(compiled="two"), evidence.gpu_runs(json.dumps(runs)))
    assert made.splitlines()[2] == "| ran on H200, A100 | `two` |"


@pytest.mark.parametrize("unknown", [{"gpu": "three"}, {"contract": "three"}])
def test_a_mark_that_names_no_path_is_an_error(unknown: dict[str, str]) -> None:
    with pytest.raises(EvidenceError, match=r"no such path: three; a mark or gpu_runs.json may name one, two$"):
        evidence.table(PATHS, marks(**unknown), {})


def test_a_run_that_names_no_path_is_an_error() -> None:
    with pytest.raises(EvidenceError, match="no such path: three"):
        evidence.table(PATHS, marks(), evidence.gpu_runs(json.dumps([RUN | {"path": "three"}])))


@pytest.mark.parametrize(
    "broken",
    [
        "not JSON",
        "1",
        "[1]",
        json.dumps([{"path": "two"}]),
        json.dumps([RUN | {"more": "x"}]),
        json.dumps([RUN | {"commit": ""}]),
        json.dumps([RUN | {"date": "yesterday"}]),
    ],
)
def test_a_broken_list_of_runs_is_an_error(broken: str) -> None:
    with pytest.raises(EvidenceError, match=r"^gpu_runs\.json: "):
        evidence.gpu_runs(broken)


def test_a_readme_without_a_place_for_the_table_is_an_error() -> None:
    with pytest.raises(EvidenceError, match="no place for the table"):
        evidence.split("# Title\n")


def test_the_line_tells_what_was_left_out() -> None:
    passed = Counter(interpreted=412, compiled=24, contract=9, plain=700)
    assert evidence.summary(passed, Counter(interpreted=3, plain=2), no_accelerator=31, skipped=4) == (
        "what ran where: 0 on a GPU (31 gpu-only checks skipped: no accelerator), 24 compiled for sm_80, sm_90, "
        "412 interpreted on a CPU, 9 contract-checked, 700 plain CPU; 4 others skipped; "
        "5 slow ones left out (3 interpreted among them): run `make test-slow`"
    )
    assert evidence.summary(Counter(gpu=1), Counter(), 0, 0).endswith("contract-checked, 0 plain CPU")


@pytest.mark.parametrize("accelerator", [False, True])
def test_gpu_tests_are_skipped_where_there_is_none(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, accelerator: bool
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    pytester.makeconftest(
        "from tests.evidence import pytest_collection_modifyitems, pytest_runtest_setup, pytest_terminal_summary"
    )
    pytester.makeini("[pytest]\nmarkers =\n slow\n gpu(path)\n compiled(path)\n interpreted(path)\n contract(path)\n")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.gpu("one")
        def test_on_a_gpu(): pass

        @pytest.mark.interpreted("one", "two")
        @pytest.mark.parametrize("number", [1, 2])
        def test_interpreted(number): pass

        @pytest.mark.slow
        @pytest.mark.compiled("one")
        def test_compiles(): raise AssertionError

        def test_plain(): pass

        def test_skipped(): pytest.skip("not today")

        def test_marks_of_deselected_tests_are_known(pytestconfig):
            from tests.evidence import COLLECTED
            collected = pytestconfig.stash[COLLECTED]
            assert collected.marks["compiled"] == {"one"}
            assert collected.marks["interpreted"] == {"one", "two"}
    """)
    done = pytester.runpytest_inprocess("-m", "not slow", "-rs")
    on_gpu = "1 on a GPU" if accelerator else "0 on a GPU (1 gpu-only checks skipped: no accelerator)"
    done.stdout.fnmatch_lines(
        f"what ran where: {on_gpu}, 0 compiled for sm_80, sm_90, 2 interpreted on a CPU, 0 contract-checked, "
        "2 plain CPU; 1 others skipped; 1 slow ones left out (1 compiled among them): run `make test-slow`"
    )
    assert ("needs an accelerator: torch finds none here" in done.stdout.str()) is not accelerator
