"""Another revision of a checkout, in a worktree that does not outlive its use."""

from __future__ import annotations

from pathlib import Path

import pytest
from perfgate.lockstep import checkout
from perfgate.lockstep.overlay import SideError

from tests.support.repository import commit, git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; pytest runs in its folder ``perf``."""
    top = tmp_path / "project"
    (top / "perf").mkdir(parents=True)
    git(top, "init", "-q")
    for text in ("first", "second"):
        (top / "perf/a.py").write_text(text)
        commit(top)
    return top


def test_the_folder_in_which_pytest_runs_is_there_as_it_was(repository: Path) -> None:
    said: list[str] = []
    with checkout.worktree("HEAD~1", repository / "perf", said.append) as made:
        assert (made.folder / "a.py").read_text() == "first"
        assert made.folder == made.top / "perf"
        assert made.commit == git(repository, "rev-parse", "HEAD~1")
        assert made.moved(repository / "perf/b.py") == made.top / "perf/b.py"
        assert len(said) == 1
    assert not made.top.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_an_error_inside_leaves_no_worktree(repository: Path) -> None:
    with pytest.raises(ZeroDivisionError), checkout.worktree("HEAD", repository, lambda line: None) as made:
        raise ZeroDivisionError
    assert not made.top.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("revision", ["", "v9", "HEAD~7"])
def test_a_revision_that_there_is_not(repository: Path, revision: str) -> None:
    with (
        pytest.raises(SideError, match=r"no such revision; `git log --oneline` lists them"),
        checkout.worktree(revision, repository, lambda line: None),
    ):
        pass


def test_one_that_a_shallow_clone_left_out_says_how_to_fetch_it(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), "shallow")
    with (
        pytest.raises(SideError, match=r"this clone is shallow: `git fetch --unshallow`"),
        checkout.worktree("HEAD~1", tmp_path / "shallow", lambda line: None),
    ):
        pass


def test_outside_a_checkout(tmp_path: Path) -> None:
    assert checkout.top_of(tmp_path) == tmp_path
    with pytest.raises(SideError, match="is no git checkout"), checkout.worktree("HEAD", tmp_path, lambda line: None):
        pass
