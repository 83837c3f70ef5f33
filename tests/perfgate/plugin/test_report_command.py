"""A stored run's report again: which of its sections the suite makes anew, and the command itself."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin.report_command import renewed
from perfgate.report import Section, write

from tests.conftest import Project


def sections(*names: str, title: str = "stored") -> list[Section]:
    return [Section(name, title) for name in names]


@pytest.mark.parametrize(
    ("stored", "own", "found"),
    [
        ("outcome about", "", "outcome about"),
        ("outcome sums about", "sums", "outcome SUMS about"),
        (
            "outcome sums wins about",
            "wins sums",
            "outcome WINS SUMS about",
        ),  # in its order
        ("outcome sums history wins about", "sums wins", "outcome SUMS WINS history about"),
        ("outcome about", "sums", "outcome SUMS about"),  # a new one stands before what the report ends with
        ("", "sums", "SUMS"),
    ],
)
def test_the_suites_sections_take_the_place_of_the_stored_ones(stored: str, own: str, found: str) -> None:
    made = renewed(sections(*stored.split()), sections(*own.split(), title="anew"))
    assert [one.name.upper() if one.title == "anew" else one.name for one in made] == found.split()


def files(project: Project, folder: str = "perf-report") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project.path / folder).iterdir()}


def again(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m perfgate report`` in the project's folder."""
    command = [sys.executable, "-m", "perfgate", "report", *arguments]
    return subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=60, check=False)


class TestAgain:
    def test_page_and_summary_are_the_same_to_the_byte(self, project: Project) -> None:
        project.run().assert_outcomes(passed=2, skipped=1, deselected=1)
        first = files(project)
        assert set(first) == {"results.json", "summary.md", "index.html"}
        for name in ("summary.md", "index.html"):
            (project.path / "perf-report" / name).unlink()
        done = again(project)
        assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
        assert "perfgate: wrote results.json, summary.md, index.html into perf-report" in done.stdout
        assert "All the sums" in done.stdout
        assert files(project) == first

    def test_from_elsewhere_into_elsewhere(self, project: Project) -> None:
        project.run()
        first = files(project)
        shutil.move(project.path / "perf-report", project.path / "kept")
        done = again(project, "--from", "kept/results.json", "--report-dir", "new", "--perfgate-no-html")
        assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
        assert files(project, "new") == {name: first[name] for name in ("results.json", "summary.md")}
        assert files(project, "kept") == first

    @pytest.mark.parametrize("content", [None, "{"])
    def test_no_results_are_a_usage_error(self, project: Project, content: str | None) -> None:
        if content is not None:
            (project.path / "perf-report").mkdir()
            (project.path / "perf-report" / "results.json").write_text(content)
        done = again(project)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        said = done.stdout + done.stderr
        assert "perf-report/results.json holds no results that this perfgate can read" in said
        assert "Traceback" not in said

    def test_it_is_no_run_of_a_workflow(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        project.run()
        shared = project.path / "step.md"
        monkeypatch.setenv(write.STEP_SUMMARY, str(shared))
        assert again(project).returncode == pytest.ExitCode.OK
        assert not shared.exists()
