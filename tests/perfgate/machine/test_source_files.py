"""Which files are a project's sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from perfgate.machine import source_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("a.py", "src/b.py", "src/text.md", "env/lib/six.py", "build/made.py", "deep/venv/lib/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "env/pyvenv.cfg").touch()
    (tmp_path / "deep/venv/pyvenv.cfg").touch()
    return tmp_path


def names(root: Path, *patterns: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in source_files.find(root, patterns)]


def test_virtual_environments_are_left_out_wherever_they_are(project: Path) -> None:
    assert names(project, "**/*.py") == ["a.py", "build/made.py", "src/b.py"]


def test_what_git_ignores_is_left_out(project: Path) -> None:
    (project / ".gitignore").write_text("build/\n")
    assert "build/made.py" in names(project, "**/*.py")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert names(project, "**/*.py") == ["a.py", "src/b.py"]


def test_an_ignored_file_that_is_committed_counts(project: Path) -> None:
    (project / ".gitignore").write_text("build/\n")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    subprocess.run(["git", "add", "--force", "build/made.py"], cwd=project, check=True)
    assert names(project, "build/*.py") == ["build/made.py"]


def test_a_file_that_two_patterns_match_is_there_once(project: Path) -> None:
    assert names(project, "src/*", "**/b.py") == ["src/b.py", "src/text.md"]


def test_a_project_in_a_virtual_environment_has_its_files(project: Path) -> None:
    """Somebody measures what lies in one; only environments below the project are left out."""
    (project / "pyvenv.cfg").touch()
    assert names(project, "a.py") == ["a.py"]


@pytest.mark.parametrize(
    ("path", "installed"),
    [("venv/lib/site-packages/six.py", True), ("usr/dist-packages/six.py", True), ("src/site_packages.py", False)],
)
def test_what_is_installed_below_a_checkout_is_not_the_projects(tmp_path: Path, path: str, installed: bool) -> None:
    assert source_files.is_installed(tmp_path / path, tmp_path) is installed
    inside = tmp_path / "site-packages"  # a checkout that lies in an environment is a project all the same
    assert source_files.is_installed(str(inside / path), str(inside)) is installed
