"""The gate's own test: what it counts, and one real sitting on a small project."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from perfgate.baselines import selftest
from perfgate.baselines.selftest import KINDS, Kind, Outcome, append, cases_to_hit, interval, read, run, summary
from perfgate.measure.clocks import FakeClock

from tests.support.spin_project import Project


def outcome(kind: str, status: str, hit: bool, sitting: str = "1") -> Outcome:
    return Outcome(kind, "a/b", hit, status, sitting)


def test_the_exact_interval() -> None:
    assert interval(0, 45)[1] == pytest.approx(0.0787, abs=1e-4)
    assert interval(45, 45)[0] == pytest.approx(1 - 0.0787, abs=1e-4)


def test_outcomes_of_several_sittings_add_up(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "selftest.jsonl"
    assert read(path) == []
    first, second = outcome("no fault", "SAME", False), outcome("no fault", "REGRESSED", False, "2")
    append(path, [first])
    append(path, [second])
    assert read(path) == [first, second]
    with path.open("a") as file:
        file.write('{"kind": "no fa')  # killed while writing
    assert read(path) == [first, second]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "selftest.jsonl"
    path.write_text("what\n{}\n")
    with pytest.raises(ValueError, match="line 1: no outcome of a selftest: what"):
        read(path)


def test_detections_and_false_failures_are_counted_apart() -> None:
    told = [
        outcome("10% slower", "REGRESSED", True),
        outcome("10% slower", "INCONCLUSIVE", True, "2"),
        outcome("10% slower", "SAME", True, "3"),
        outcome("10% slower", "SAME", False),
        outcome("10% slower", "MISSING", False, "2"),
        outcome("no fault", "SAME", False, "4"),
        outcome("no fault", "INCONCLUSIVE", False, "4"),
        outcome("no fault", "INCONCLUSIVE", False, "5"),
    ]
    section = summary(told)
    assert section.table is not None
    slower, unharmed = section.table.rows
    keys = ("cases", "failed", "same", "inconclusive", "runs", "runs_failed")
    assert [slower[key] for key in keys] == [3, 1, 1, 1, 3, 1]
    assert [unharmed[key] for key in keys] == [1, 0, 1, 2, 2, 0]
    assert "1 of 3 failed" in section.paragraphs[1]
    assert "1 of 3 accused one" in section.paragraphs[2]


def test_what_nobody_decided_is_no_row() -> None:
    section = summary([outcome("no fault", "INCONCLUSIVE", False)])
    assert section.table is not None
    assert section.table.rows == []


def test_the_time_is_a_comparisons_own() -> None:
    told = [
        Outcome("no fault", "a/b", False, "SAME", "1", 60.0),
        Outcome("no fault", "a/c", False, "SAME", "1", 60.0),
        Outcome("no fault", "a/b", False, "SAME", "2", 90.0),
        Outcome("no fault", "a/b", False, "SAME", "3", 200.0),
        Outcome("wrong output", "a/b", True, "REGRESSED", "4"),  # from before it was recorded
    ]
    section = summary(told)
    assert section.table is not None
    assert [row["took"] for row in section.table.rows] == ["1 min 30 s", None]


def test_every_case_gets_its_turn_with_the_fault() -> None:
    cases = ["b", "a", "c"]
    assert cases_to_hit(cases, 0) == ["a", "c"]
    assert cases_to_hit(cases, 1) == ["b"]


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--kinds: 20% slower matches none of: no fault; memory \+1 MiB"):
        run([], tmp_path / "x", 1.0, ["20% slower"])


def test_ctrl_c_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def attempt(kind: Kind, *_: object) -> list[Outcome]:
        nonlocal tries
        tries += 1
        if tries == 3:
            raise KeyboardInterrupt
        return [outcome(kind.name, "SAME", False)]

    monkeypatch.setattr(selftest, "attempt", attempt)
    said: list[str] = []
    found = run([], tmp_path / "x", 60.0, ["*"], said.append)
    assert [one.kind for one in found] == ["no fault"]
    assert found[0].took_s is not None
    assert said[-1].startswith("interrupted")


def test_what_was_wrong_is_told_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "a/spared": {"status": "REGRESSED", "reason": "time +7.0%"},
        "b/hit": {"status": "SAME", "reason": "time +1.0%"},
        "c/unsure": {"status": "INCONCLUSIVE", "reason": "too few pairs"},
        "d/new": {"status": "NEW", "reason": ""},
    }

    def pytest_run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        folder = next(Path(one.partition("=")[2]) for one in command if one.startswith("--perfgate-report-dir="))
        (folder / "results.json").write_text(json.dumps({"sections": {"gate": {"verdicts": told}}}))
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(selftest, "cases_to_hit", lambda cases, number: ["b/hit"])
    monkeypatch.setattr(subprocess, "run", pytest_run)
    monkeypatch.setattr(selftest, "WallClock", lambda: FakeClock(itertools.count()))  # a second each time it is asked
    said: list[str] = []
    found = run([], tmp_path / "tries.jsonl", 3.0, ["25% slower"], said.append)
    assert [(one.case, one.wrong, one.reason) for one in found] == [
        ("a/spared", True, "time +7.0%"),
        ("b/hit", True, "time +1.0%"),
        ("c/unsure", False, "too few pairs"),
    ]
    kept = tmp_path / "tries-wrong" / "0000.json"
    assert json.loads(kept.read_text())["sections"]["gate"]["verdicts"] == told
    assert f"  a/spared, without a fault, is REGRESSED: time +7.0%; its results: {kept}" in said
    assert f"  b/hit, with the fault, is SAME: time +1.0%; its results: {kept}" in said
    assert len(said) == 4
    for status in ("a/spared", "b/hit"):
        told[status]["status"] = "INCONCLUSIVE"
    run([], tmp_path / "right.jsonl", 3.0, ["25% slower"], said.append)
    assert not (tmp_path / "right-wrong").exists()


def test_without_a_baseline_it_says_what_to_do(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "perfgate", "selftest", "--hours", "0.001"],
        cwd=tmp_path,
        env=project.environment | {"PYTEST_PLUGINS": "perfgate.plugin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--perfgate-refresh-baseline" in done.stderr


@pytest.mark.slow
def test_a_sitting(tmp_path: Path) -> None:
    """Every kind that needs no time once, with real processes: each fault is found, nothing else fails."""
    project = Project(tmp_path)
    assert project.refresh().returncode == 0
    names = ["memory*", "wrong*", "vanished*", "renamed case", "renamed case with*"]
    done = subprocess.run(
        [sys.executable, "-m", "perfgate", "selftest", "--hours", "0.03", "--kinds", *names],
        cwd=tmp_path,
        env=project.environment | {"PYTEST_PLUGINS": "perfgate.plugin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(tmp_path / "perf-report/selftest.jsonl")
    assert len({one.kind for one in found}) >= 3
    for one in found:
        assert (one.status in ("REGRESSED", "MISSING")) == one.hit, one
    assert json.loads((tmp_path / "perf-report/selftest.jsonl").read_text().splitlines()[0])["kind"] == found[0].kind


def test_the_kinds_cover_what_is_promised() -> None:
    assert {kind.fault for kind in KINDS} == {
        None,
        "memory=1MiB",
        "operator=1",
        "wrong",
        "kernel",
        "vanish",
        "rename",
        "slow=5%",
        "slow=10%",
        "slow=25%",
    }
