"""``make gpu-evidence``: what it writes down of a run on a GPU, and what it says where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import gpu_evidence
from tests.gpu_evidence import Outcomes


def outcomes() -> Outcomes:
    paths = {"t1": {"fa1-triton"}, "t2": {"fa1-triton", "fa2-triton"}, "t3": {"flex"}, "t4": {"sdpa-cudnn"}}
    return Outcomes(paths=paths)


def test_a_path_is_proved_by_a_test_that_passed_and_none_that_failed() -> None:
    found = outcomes()
    for nodeid, when, outcome in (
        ("t1", "call", "passed"),
        ("t2", "setup", "passed"),
        ("t2", "call", "failed"),
        ("t3", "call", "passed"),
        ("t3", "teardown", "passed"),
        ("t4", "setup", "skipped"),
    ):
        report = SimpleNamespace(nodeid=nodeid, when=when, failed=outcome == "failed", passed=outcome == "passed")
        found.pytest_runtest_logreport(report)  # type: ignore[arg-type]
    assert found.proved() == ["flex"]


def record(name: str, status: str, on: str = "cuda", **fields: str) -> dict[str, Any]:
    return {"case": {"name": name, "fields": fields}, "status": status, "provenance": {"executed_on": on}}


def test_a_row_of_the_quick_run_proves_its_scheme_and_its_attention() -> None:
    records = [
        record("generation", "measured", scheme="bf16", attention="fa2-triton"),
        record("generation", "measured", scheme="nf4", attention="eager"),
        record("generation", "fell_back", scheme="nf4", attention="fa2-triton"),
        record("encoder", "measured", path="fast"),
        record("linear", "measured", on="cpu", scheme="int8"),
    ]
    assert gpu_evidence.measured({"records": records}) == ["bf16", "eager", "encoder-fast"]


def test_a_later_run_replaces_the_same_one_before() -> None:
    run = {"path": "flex", "gpu": "H200", "date": "2026-01-01", "commit": "a", "command": "x"}
    later = run | {"date": "2026-02-02"}
    assert gpu_evidence.listed([run, run | {"gpu": "A100"}], [later]) == [run | {"gpu": "A100"}, later]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gpu_evidence, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_evidence, "GPU_RUNS", tmp_path / "gpu_runs.json")
    monkeypatch.setattr(gpu_evidence, "_commit", lambda: "abc")
    (tmp_path / "gpu_runs.json").write_text("[]")
    return tmp_path


def test_on_a_gpu_everything_runs_and_is_written_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands themselves are stand-ins: no GPU is at hand."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        ran.append(command[2:])
        if "--report-dir" in command:
            (folder / gpu_evidence.REPORT).mkdir(parents=True, exist_ok=True)
            records = [record("generation", "measured", scheme="bf16", attention="eager")]
            (folder / gpu_evidence.REPORT / "results.json").write_text(json.dumps({"records": records}))
        return SimpleNamespace(returncode=0)

    def tests(arguments: list[str], plugins: list[Outcomes]) -> int:
        plugins[0].paths, plugins[0].passed = {"t1": {"fa1-triton"}}, {"t1"}
        return 0

    monkeypatch.setattr(gpu_evidence, "_device", lambda: ("cuda:0", "NVIDIA H200"))
    monkeypatch.setattr(gpu_evidence.pytest, "main", tests)
    monkeypatch.setattr(gpu_evidence.subprocess, "run", run)
    assert gpu_evidence.main([]) == 0
    assert [command[0:3] for command in ran] == [
        ["pytest", "perf", "--quick"],
        ["pytest", "perf", "--quick"],
        ["tests.evidence"],
    ]
    assert "first evidence on NVIDIA H200" in ran[1]
    written = json.loads((folder / "gpu_runs.json").read_text())
    assert {(run["path"], run["gpu"]) for run in written} == {
        (name, "NVIDIA H200") for name in ("fa1-triton", "bf16", "eager")
    }


@pytest.mark.parametrize(("passed", "code"), [({"t1"}, 0), (set(), 1)])
def test_tests_only_fails_where_nothing_ran(
    folder: Path, monkeypatch: pytest.MonkeyPatch, passed: set[str], code: int
) -> None:
    def tests(arguments: list[str], plugins: list[Outcomes]) -> int:
        plugins[0].passed = passed
        return 0

    monkeypatch.setattr(gpu_evidence, "_device", lambda: ("cuda:0", "NVIDIA H200"))
    monkeypatch.setattr(gpu_evidence.pytest, "main", tests)
    assert gpu_evidence.main(["--tests-only"]) == code
    assert (folder / "gpu_runs.json").read_text() == "[]"


def test_without_a_gpu_it_says_what_it_would_have_run_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def collect(arguments: list[str], plugins: list[Outcomes]) -> int:
        assert "--collect-only" in arguments
        plugins[0].paths = {"t1": {"fa1-triton"}, "t2": {"flex"}}
        return 0

    monkeypatch.setattr(gpu_evidence, "_device", lambda: None)
    monkeypatch.setattr(gpu_evidence.pytest, "main", collect)
    assert gpu_evidence.main([]) == 1
    said = capsys.readouterr().out
    assert "pytest tests -m gpu: 2 tests, of fa1-triton, flex" in said
    assert "pytest perf --quick --device cuda:0" in said
    assert "--refresh-baseline" in said
