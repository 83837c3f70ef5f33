"""The stages' runner: limits, partial results, interrupts; what the steps are; and a rehearsal of all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import gpu_evidence
from tests.gpu import EvidenceError, facts, figures, outcomes, runner, stages
from tests.gpu.runner import Ran, Stage, Step, pack, run_bounded

ROOT = Path(__file__).parents[2]
SLEEPS = "import time; print('asleep', flush=True); time.sleep(60)"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    folder = tmp_path / "stage1"
    folder.mkdir()
    return Stage(1, 30.0, folder, tmp_path / "out", {"rehearsal": True})


def state(tmp_path: Path, number: int = 1) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / f"stage{number}.json").read_text())


def packed(tmp_path: Path) -> dict[str, str]:
    with tarfile.open(tmp_path / "out" / "stage1.tgz") as archive:
        return {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]


def test_a_step_killed_at_its_limit_is_recorded_and_the_next_goes_on(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    code = stage.run([Step("sleeps", python(SLEEPS), 1.0), Step("prints", python("print(42)"), 20.0)], os.environ)
    assert code == 1
    assert time.monotonic() - began < 10
    assert [(one["name"], one["outcome"]) for one in state(tmp_path)["steps"]] == [
        ("sleeps", "killed at its limit"),
        ("prints", "passed"),
    ]
    assert packed(tmp_path)["logs/sleeps.txt"].startswith("asleep")  # what it had said is not lost
    assert packed(tmp_path)["logs/prints.txt"] == "42\n"
    said = capsys.readouterr().out
    assert "killed at its limit" in said
    assert "passed" in said


def test_results_are_there_before_the_next_step_begins(stage: Stage, tmp_path: Path) -> None:
    path = str(tmp_path / "out" / "stage1.json")
    look = f"import json; print([one['name'] for one in json.load(open({path!r}))['steps']])"
    stage.run([Step("first", python("print(1)"), 20.0), Step("second", python(look), 20.0)], os.environ)
    assert packed(tmp_path)["logs/second.txt"] == "['first']\n"


def test_a_step_may_save_what_it_has_before_it_is_killed(stage: Stage, tmp_path: Path) -> None:
    code = (
        "import time\ntry:\n print('asleep', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n print('saved', flush=True); time.sleep(60)"
    )
    stage.run([Step("saves", python(code), 4.0)], os.environ)
    assert packed(tmp_path)["logs/saves.txt"].splitlines()[:2] == ["asleep", "saved"]
    assert state(tmp_path)["steps"][0]["outcome"] == "killed at its limit"


def test_what_a_step_started_dies_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    deaf = "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    inner = f"{deaf}; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {inner!r}]); time.sleep(60)"
    assert run_bounded(python(outer), tmp_path / "log", 3.0, os.environ) is None
    child = int(pid.read_text())
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"process {child} lives on")


def test_the_stages_own_limit_ends_steps_and_stops_the_rest(tmp_path: Path) -> None:
    (tmp_path / "stage1").mkdir()
    short = Stage(1, runner.RESERVE_S + 1.5, tmp_path / "stage1", tmp_path / "out", {})
    steps = [Step("long", python(SLEEPS), 60.0), Step("never", python("print(1)"), 5.0), Step("nor", python(""), 5.0)]
    assert short.run(steps, os.environ) == 1
    found = state(tmp_path)["steps"]
    assert [one["outcome"] for one in found] == [
        "killed at its limit",
        "not started: the stage's 4.5 s were used up",
        "not started: the stage's 4.5 s were used up",
    ]
    assert found[0]["limit_s"] <= 1.5


def test_after_a_required_step_that_failed_nothing_is_started(stage: Stage, tmp_path: Path) -> None:
    missing = Step("install", python("raise SystemExit('no pip')"), 20.0, required=True)
    assert stage.run([missing, Step("next", python("print(1)"), 20.0)], os.environ) == 1
    found = [one["outcome"] for one in state(tmp_path)["steps"]]
    assert found == ["failed: exit code 1, no pip", "not started: install failed: exit code 1, no pip"]


def test_an_expected_exit_code_passes_unless_what_it_left_is_wrong(stage: Stage) -> None:
    exits = python("raise SystemExit(1)")
    stage.run(
        [
            Step("expected", exits, 20.0, expects=(1,)),
            Step("wrong", exits, 20.0, expects=(1,), verify=lambda folder: "linear/nf4 was slowed and is SAME"),
            Step("zero", python(""), 20.0, expects=(1,)),
        ],
        os.environ,
    )
    assert [one.outcome for one in stage.ran] == [
        "passed",
        "failed: linear/nf4 was slowed and is SAME",
        "failed: exit code 0, it said nothing",
    ]


def test_figures_that_cannot_be_read_do_not_end_the_stage(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    def unreadable(folder: Path) -> dict[str, str]:
        raise ValueError("half a line")

    assert stage.run([Step("one", python(""), 20.0, unreadable)], os.environ) == 0
    assert "figures: unreadable: ValueError: half a line" in capsys.readouterr().out


def test_a_command_that_cannot_be_started_is_a_failure(stage: Stage) -> None:
    assert stage.run([Step("nothing", ("/no/such/program",), 5.0)], os.environ) == 1
    assert "No such file" in stage.ran[0].outcome


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_keeps_what_there_is(tmp_path: Path, number: signal.Signals) -> None:
    code = f"""
import os, sys
from pathlib import Path
from tests.gpu.runner import Stage, Step
folder = Path({str(tmp_path)!r}, "stage1"); folder.mkdir()
steps = [Step("first", (sys.executable, "-c", "print(1)"), 20.0),
         Step("sleeps", (sys.executable, "-c", {SLEEPS!r}), 60.0), Step("never", ("true",), 5.0)]
sys.exit(Stage(1, 90.0, folder, Path({str(tmp_path)!r}, "out"), {{}}).run(steps, os.environ))
"""
    child = subprocess.Popen(python(code), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while "sleeps" not in child.stdout.readline():
        pass
    log = tmp_path / "stage1" / "logs" / "sleeps.txt"
    while not log.is_file() or "asleep" not in log.read_text():
        time.sleep(0.05)
    child.send_signal(number)
    said = child.communicate(timeout=30)[0]
    assert child.returncode == 2
    assert [one["outcome"] for one in state(tmp_path)["steps"]] == ["passed", "interrupted", "not started: interrupted"]
    assert "interrupted" in said
    assert packed(tmp_path)["logs/first.txt"] == "1\n"


def test_what_is_brought_back_stays_below_its_limit(tmp_path: Path) -> None:
    folder = tmp_path / "stage1"
    (folder / "logs").mkdir(parents=True)
    (folder / "large.json").write_bytes(os.urandom(200_000))
    (folder / "small.json").write_bytes(os.urandom(50_000))
    (folder / "logs" / "long.txt").write_text("a" * runner.LOG_BYTES + "the end")
    assert pack(folder, tmp_path / "stage1.tgz", 100_000) == ["large.json"]
    assert (tmp_path / "stage1.tgz").stat().st_size <= 100_000
    with tarfile.open(tmp_path / "stage1.tgz") as archive:
        assert sorted(archive.getnames()) == ["logs/long.txt", "small.json"]
        log = archive.extractfile("logs/long.txt")
        assert log is not None
        assert log.read().endswith(b"the end")


def plan(tmp_path: Path, **more: Any) -> stages.Plan:
    return stages.Plan(tmp_path, tmp_path / "stage", **more)


def test_from_a_bundle_stages_unpack_it_first_and_nothing_else_is_required_but_the_device(tmp_path: Path) -> None:
    for number in stages.LIMITS_S:
        steps = stages.steps(number, plan(tmp_path, bundle=tmp_path / ".gpu"))
        assert [one.name for one in steps[:2]] == ["unpack the bundle", "facts"]
        assert [one.name for one in steps if one.required] == ["unpack the bundle", "facts"]
        assert next(one.name for one in stages.steps(number, plan(tmp_path))) == "facts"


def test_the_experiment_is_measured_on_the_default_model_and_on_the_one_given(tmp_path: Path) -> None:
    steps = {one.name: one.command for one in stages.steps(2, plan(tmp_path, model="shapes:other", new_tokens=7))}
    assert steps["experiment default"][steps["experiment default"].index("--model") + 1] == "smollm2-135m"
    assert steps["experiment shapes"][steps["experiment shapes"].index("--model") + 1] == "shapes:other"
    assert all("7" in steps[name] for name in ("experiment default", "experiment shapes"))


def test_a_budget_replaces_the_steps_own(tmp_path: Path) -> None:
    for budget_s, expected in ((None, "0.2"), (0.5, "0.5")):
        (found,) = [one for one in stages.steps(1, plan(tmp_path, budget_s=budget_s)) if one.name == "attention"]
        assert found.command[found.command.index("--measure-budget") + 1] == expected


def test_files_with_gpu_tests_are_found() -> None:
    found = stages.gpu_test_files()
    assert {
        "tests/gpu/test_triton_gpu.py",
        "tests/gpu/test_library_attention_gpu.py",
        "tests/fixtures/test_encoder.py",
    } <= set(found)
    assert all((ROOT / name).is_file() for name in found)


def report(folder: Path, name: str, records: list[dict[str, Any]], sections: dict[str, Any] | None = None) -> None:
    target = folder / f"report-{name}" / "results.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({"records": records, "sections": sections or {}}))


def gate(**statuses: str) -> dict[str, Any]:
    verdicts = {key.replace("__", "/"): {"status": status} for key, status in statuses.items()}
    return {"gate": {"verdicts": verdicts}}


@pytest.mark.parametrize(
    ("statuses", "wrong"),
    [
        ({"linear__nf4-a": "REGRESSED", "linear__bf16-a": "SAME", "attention__x": "INCONCLUSIVE"}, ""),
        ({"linear__nf4-a": "INCONCLUSIVE", "linear__bf16-a": "SAME"}, "linear/nf4-a was slowed and is INCONCLUSIVE"),
        (
            {"linear__nf4-a": "REGRESSED", "linear__bf16-a": "REGRESSED"},
            "linear/bf16-a was left alone and is REGRESSED",
        ),
        ({"linear__nf4-a": "REGRESSED"}, "expected verdicts of slowed cases and of others, got linear/nf4-a"),
        ({}, "expected verdicts of slowed cases and of others, got none"),
    ],
)
def test_the_injected_slowdown_and_nothing_else_must_be_found(
    tmp_path: Path, statuses: dict[str, str], wrong: str
) -> None:
    report(tmp_path, "compare", [], gate(**statuses))
    assert figures.verdicts_wrong(tmp_path) == wrong


def test_figures_of_what_ended_early_say_so(tmp_path: Path) -> None:
    assert figures.probe(tmp_path) == {"incomplete": "ended after 0 lines"}
    assert figures.outcomes(tmp_path)["tests"] == "0 passed, 0 failed, 0 skipped"
    assert figures.report("attention")(tmp_path) == {"records": "none: it ended before its report"}
    assert figures.harness(tmp_path) == {"throughput through measure": "none"}
    (tmp_path / figures.PROBE).write_text('{"kind": "ceiling", "what": "copy", "gbs": 3000.0}\n{"kind": "att')
    assert figures.probe(tmp_path) == {"copy": "3000 GB/s", "incomplete": "ended after 1 lines"}


def test_outcomes_are_read_up_to_a_kill(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nmarkers =\n    gpu(path): x")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.gpu("flex")
        def test_good(): pass

        @pytest.mark.gpu("fa1-triton")
        def test_bad(): assert 1 == 2

        @pytest.mark.gpu("sdpa-cudnn")
        def test_none(): pytest.skip("needs a card")
        """
    )
    pytester.runpytest_subprocess("-p", "tests.gpu.outcomes", "--outcomes", "out.jsonl", timeout=60)
    lines = (pytester.path / "out.jsonl").read_text().splitlines()
    found = outcomes.read([*lines, '{"test": "cut'], "out.jsonl")
    assert found.proved() == ["flex"]
    assert found.counted() == "1 passed, 1 failed, 1 skipped"
    assert found.skipped == Counter({"Skipped: needs a card": 1})
    assert list(found.failures.values()) == ["assert 1 == 2"]
    with pytest.raises(EvidenceError, match=r"out\.jsonl, line 1: .*bring the file again"):
        outcomes.read(['{"test": "cut', *lines], "out.jsonl")


def test_a_commit_may_be_stated_or_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(facts.COMMIT, "abc1234")
    assert facts.commit() == "abc1234"
    monkeypatch.delenv(facts.COMMIT)
    monkeypatch.setattr(facts, "ROOT", tmp_path)  # no .git here, as on a machine that a checkout was carried to
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert facts.commit() == "unknown"


def test_without_a_device_the_facts_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(facts, "card_of", lambda device: None)
    monkeypatch.setattr(facts, "environment", lambda commands: "told")
    assert facts.main([str(tmp_path)]) == facts.NO_DEVICE
    assert "torch finds no accelerator for cuda:0 here" in capsys.readouterr().out
    assert (tmp_path / facts.ENVIRONMENT).read_text() == "told"  # it may tell why


def test_a_table_has_every_step_with_its_figures() -> None:
    text = runner.table(
        [Ran("probe", (), "passed", 12.0, 100.0, {"matmul": "700 TFLOP/s"}), Ran("x", (), "failed: y", 1, 2)]
    )
    lines = text.splitlines()
    assert lines[1].split() == ["probe", "12.0", "100", "passed"]
    assert lines[2].strip() == "matmul: 700 TFLOP/s"


def test_quick_rehearsal_of_a_stage_ends_with_a_table_when_a_step_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command as it is, with a step that never ends in place of those that measure."""
    real = stages.steps

    def cut(number: int, made: stages.Plan) -> list[Step]:
        first = [one for one in real(number, made) if one.name in ("facts", "tiny model")][:1]
        return [*first, Step("hangs", python(SLEEPS), 1.0), Step("after", python("print(1)"), 30.0)]

    monkeypatch.setattr(stages, "steps", cut)
    arguments = ["--rehearse", "--stage", "1", "--out", str(tmp_path / "out"), "--keep", str(tmp_path / "keep")]
    assert gpu_evidence.main(arguments) == 1
    told = [(one["name"], one["outcome"]) for one in state(tmp_path)["steps"]]
    assert told == [("facts", "passed"), ("hangs", "killed at its limit"), ("after", "passed")]
    assert "hangs" in capsys.readouterr().out.partition("outcome")[2]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stage1.json", "stage1.tgz"]


@pytest.mark.slow
def test_full_rehearsal_runs_every_step_and_is_merged_dry(tmp_path: Path) -> None:
    """Minutes: all stages on the CPU, as ``make gpu-evidence ARGS=--rehearse``, then what would be written down."""
    command = [sys.executable, "-m", "tests.gpu_evidence", "--rehearse", "--keep", str(tmp_path / "keep")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, gpu_evidence.OUT: str(tmp_path / "out")}, capture_output=True, text=True
    )
    out = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert out == [f"stage{number}.{kind}" for number in (1, 2, 3) for kind in ("json", "tgz")], done.stderr
    for number in (1, 2, 3):
        for step in state(tmp_path, number)["steps"]:
            if step["name"] != "comparison":  # on busy cores it may stay undecided
                assert step["outcome"] == "passed", (step, done.stdout)
    assert "would write docs/gpu-results.md" in done.stdout
    assert "A rehearsal on a CPU" in done.stdout
