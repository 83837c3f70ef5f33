"""``make gpu-evidence``: the command itself, where there is a GPU, where there is none, and from a bundle."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import gpu_evidence
from tests.gpu import EvidenceError, facts, runner, stages
from tests.gpu.outcomes import Outcomes

PATH = "PYTHONPATH"


def outcome(test: str, result: str, *paths: str) -> dict[str, Any]:
    return {"test": test, "outcome": result, "paths": list(paths), "why": ""}


def test_a_path_is_proved_by_a_test_that_passed_and_none_that_failed() -> None:
    found = Outcomes()
    for line in (
        outcome("t1", "passed", "fa1-triton"),
        outcome("t2", "failed", "fa1-triton", "fa2-triton"),
        outcome("t3", "passed", "flex"),
        outcome("t4", "skipped", "sdpa-cudnn"),
        outcome("t5", "passed", "eager"),
        outcome("t5", "failed", "eager"),  # its teardown
    ):
        found.add(line)
    assert found.proved() == ["flex"]
    assert found.counted() == "2 passed, 2 failed, 1 skipped"


class Ran:
    """Stands in for the runner: what each stage was asked for."""

    def __init__(self, codes: Mapping[int, int] | None = None) -> None:
        self.codes = codes or {}
        self.stages: list[tuple[int, float, Path, list[runner.Step], Mapping[str, str]]] = []

    def make(self, number: int, limit_s: float, folder: Path, out: Path, told: Any) -> SimpleNamespace:
        def run(steps: list[runner.Step], environment: Mapping[str, str]) -> int:
            self.stages.append((number, limit_s, out, steps, environment))
            return self.codes.get(number, 0)

        return SimpleNamespace(run=run)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    made = Ran()
    monkeypatch.setattr(runner, "Stage", made.make)
    monkeypatch.setattr(facts, "card_of", lambda device: "NVIDIA H200")
    monkeypatch.setattr(gpu_evidence, "_merge", lambda folder, dry: made.stages.append(("merge", folder, dry)))  # type: ignore[arg-type]
    monkeypatch.delenv(gpu_evidence.OUT, raising=False)
    return made


def test_with_a_gpu_all_stages_run_and_are_written_down(ran: Ran, tmp_path: Path) -> None:
    assert gpu_evidence.main(["--keep", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert [(one[0], one[1]) for one in ran.stages[:3]] == [(1, 270.0), (2, 270.0), (3, 180.0)]
    assert ran.stages[3] == ("merge", tmp_path / "out", False)
    prompts = (tmp_path / stages.PROMPTS).read_text().splitlines()
    assert len(prompts) == gpu_evidence.INPUTS


def test_one_stage_is_not_written_down_and_has_the_limit_that_was_given(ran: Ran, tmp_path: Path) -> None:
    assert gpu_evidence.main(["--keep", str(tmp_path), "--stage", "2", "--limit", "42"]) == 0
    ((number, limit_s, out, steps, _),) = ran.stages
    assert (number, limit_s, out) == (2, 42.0, gpu_evidence.DEFAULT_OUT)
    assert "shapes:llama-3.1-8b" in steps[-1].command


def test_the_folder_for_results_may_come_from_the_environment(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpu_evidence.OUT, str(tmp_path / "brought"))
    gpu_evidence.main(["--keep", str(tmp_path), "--stage", "3"])
    assert ran.stages[0][2] == tmp_path / "brought"


def test_after_an_interrupt_no_other_stage_begins(ran: Ran, tmp_path: Path) -> None:
    ran.codes = {2: 2}
    assert gpu_evidence.main(["--keep", str(tmp_path)]) == 2
    assert [one[0] for one in ran.stages] == [1, 2]


def test_a_stage_that_failed_is_followed_and_told(ran: Ran, tmp_path: Path) -> None:
    ran.codes = {1: 1}
    assert gpu_evidence.main(["--keep", str(tmp_path)]) == 1
    assert [one[0] for one in ran.stages] == [1, 2, 3, "merge"]


def test_from_a_bundle_its_packages_come_first_and_its_commit_is_stated(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH, "/was/there")
    monkeypatch.setattr(facts, "card_of", lambda device: pytest.fail("torch is asked in a step of its own"))
    from tests.gpu.bundle import write_parts
    from tests.gpu.wheels import Target

    large = tmp_path / "x.whl"
    large.write_bytes(b"wheel")
    write_parts([large], tmp_path / ".gpu", 1 << 20, Target(), "abc1234")
    arguments = ["--from-bundle", str(tmp_path / ".gpu"), "--keep", str(tmp_path / "keep"), "--stage", "1"]
    assert gpu_evidence.main(arguments) == 0
    environment = ran.stages[0][4]
    path = environment[PATH].split(os.pathsep)
    assert path[0] == str(tmp_path / "keep" / "site")
    assert path[-1] == "/was/there"
    assert environment[facts.COMMIT] == "abc1234"
    assert environment["LLM_PERF_CACHE"] == str(tmp_path / "keep" / "cache")


def test_prompts_may_be_given(ran: Ran, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "one"}\n\n{"text": "two"}\n')
    gpu_evidence.write_prompts(own, tmp_path / "written", 1)
    assert (tmp_path / "written").read_text() == '{"text": "one"}\n{"text": "two"}\n'
    with pytest.raises(EvidenceError, match=r"--prompts: .*No such file"):
        gpu_evidence.write_prompts(tmp_path / "none", tmp_path / "written", 1)


def option(step: runner.Step, name: str) -> str:
    """What a step's command gives to an option."""
    return step.command[step.command.index(name) + 1]


def test_a_generations_size_and_a_cases_budget_reach_every_step_that_generates(ran: Ran, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "one"}\n')
    size = ["--prompts", str(own), "--new-tokens", "5", "--measure-budget", "0.7"]
    gpu_evidence.main(["--keep", str(tmp_path / "keep"), *size])
    written = tmp_path / "keep" / stages.PROMPTS
    assert written.read_text() == own.read_text()
    steps = [step for one in ran.stages[:3] for step in one[3]]
    generating = [step for step in steps if step.name.startswith(("experiment", "harness"))]
    assert [step.name for step in generating] == ["experiment default", "experiment shapes", "harness"]
    for step in generating:
        assert (option(step, "--prompts"), option(step, "--new-tokens")) == (str(written), "5")
    measuring = [step for step in steps if "--report-dir" in step.command]
    assert len(measuring) == 7
    assert {option(step, "--measure-budget") for step in measuring} == {"0.7"}


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_tests_only_fails_where_nothing_ran(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, passed: bool, code: int
) -> None:
    def run(command: list[str], **_: Any) -> SimpleNamespace:
        target = Path(command[command.index("--outcomes") + 1])
        target.parent.mkdir(parents=True)
        line = '{"test": "t", "outcome": "passed", "paths": [], "why": ""}\n'
        target.write_text(line if passed else "")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(facts, "card_of", lambda device: "NVIDIA H200")
    monkeypatch.setattr(gpu_evidence, "_cache", lambda: tmp_path)
    monkeypatch.setattr(gpu_evidence.subprocess, "run", run)
    assert gpu_evidence.main(["--tests-only"]) == code


def test_without_a_gpu_it_says_what_it_would_have_run_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(facts, "card_of", lambda device: None)
    assert gpu_evidence.main(["--device", "cuda:1"]) == 1
    said = capsys.readouterr().out
    assert "no GPU: torch finds no accelerator for cuda:1" in said
    assert "tests marked gpu, at most 90 s: python -m pytest tests/" in said
    assert "--refresh-baseline" in said
    assert "--device cuda:1" in said
    assert "--rehearse" in said


def test_every_option_has_its_help() -> None:
    actions = gpu_evidence.parser()._actions
    assert all(action.help for action in actions if not isinstance(action, argparse._HelpAction))
