"""What integration tests of stored baselines share: a project with a baseline, which real processes recorded once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.spin_project import Project


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A baseline of the project, recorded once, with its path below the project's folder."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    done = project.refresh()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "a process that is not kept (warm-up process): " in done.stdout
    return str(project.folder)


@pytest.fixture
def recorded(tmp_path: Path, stored: str) -> Project:
    """The project with its baseline."""
    shutil.copytree(Path(stored) / "baselines", tmp_path / "baselines")
    return Project(tmp_path)
