"""When perfgate does anything in a session."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.plugin import activation

from tests.conftest import Project

PLAIN = "def test_plain(): pass"


def is_active(project: Project, *arguments: str) -> bool:
    recorder = project.pytester.inline_run("--perfgate-no-pins", *arguments)
    return activation.is_active(recorder.getcalls("pytest_sessionfinish")[0].session.config)


@pytest.fixture
def plain(project: Project) -> Project:
    project.pytester.makeconftest("")
    project.benchmark(PLAIN)
    return project


def test_a_session_without_benchmarks_stays_inactive(plain: Project) -> None:
    assert not is_active(plain)


@pytest.mark.parametrize("option", ["--perfgate-doctor", "--perfgate-versus=x"])
def test_an_option_of_perfgates_activates(plain: Project, option: str) -> None:
    assert is_active(plain, option)


@pytest.mark.parametrize("option", ["--perfgate-versus=x", "--perfgate-compare", "--perfgate-refresh"])
def test_what_compares_is_refused_on_windows(
    plain: Project, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(activation, "WINDOWS", True)
    assert plain.pytester.inline_run("--perfgate-no-pins", option).ret == pytest.ExitCode.USAGE_ERROR
    name = "refresh-baseline" if "refresh" in option else option.removeprefix("--perfgate-").partition("=")[0]
    assert f"--perfgate-{name} compares processes" in capsys.readouterr().err


def test_a_benchmark_activates(project: Project) -> None:
    assert is_active(project, "--collect-only")


@pytest.mark.parametrize("text", ["[tool.perfgate]\n", "[tool.perfgate.tolerances]\ntime = 0.1\n", "tool = 1\n", "{"])
def test_a_project_is_set_up_by_its_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    config: Any = SimpleNamespace(rootpath=tmp_path)
    assert activation.is_set_up(config) is text.startswith("[tool.perfgate")


@pytest.mark.parametrize(("name", "worker", "child"), [("WORKER_PIPES", True, True), ("ONLY", False, True)])
def test_a_child_is_known_by_its_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, worker: bool, child: bool
) -> None:
    monkeypatch.setenv("PERFGATE_CACHE", "x")  # the user's own
    assert (activation.is_worker(), activation.is_child()) == (False, False)
    monkeypatch.setenv(f"PERFGATE_{name}", "[]")
    assert (activation.is_worker(), activation.is_child()) == (worker, child)
