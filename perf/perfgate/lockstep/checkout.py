"""Git checkouts: where one begins, and another revision of it in a temporary worktree."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from perfgate.lockstep.overlay import Say, SideError

GIT = "git:"
WORKTREE = "perfgate-worktree-"
"""How a temporary worktree's folder begins; the process that made it follows."""
TIMEOUT_S = 120.0
FORMS = (
    "an interpreter (/opt/old/bin/python), pins separated by spaces (bitsandbytes==0.48.2), or a revision of this "
    "checkout (git:v1.2)"
)

Git = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Worktree:
    """A revision of a checkout in a temporary folder. ``top`` is its top, ``origin`` the top of the checkout it is of;
    ``folder`` is the folder in it in which pytest runs, ``commit`` the commit's full name."""

    top: Path
    origin: Path
    folder: Path
    commit: str

    def moved(self, path: Path) -> Path:
        """Where a path of the checkout lies in the worktree."""
        return self.top / path.resolve().relative_to(self.origin.resolve())


def _git(folder: Path) -> Git:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(folder), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except FileNotFoundError:
            return subprocess.CompletedProcess(command, 127, "", "git is not installed")

    return git


def top_of(folder: Path) -> Path:
    """The top of the checkout that a folder lies in; the folder itself outside any."""
    top = _git(folder)("rev-parse", "--show-toplevel")
    return Path(top.stdout.strip()) if top.returncode == 0 else folder


@contextmanager
def worktree(revision: str, folder: Path, say: Say) -> Iterator[Worktree]:
    """The repository of ``folder`` at ``revision``, as long as the context lasts.

    Raises:
        SideError: there is no such revision, or git cannot check it out.
    """
    git = _git(folder)
    top = git("rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise SideError(f"{GIT}{revision}: {folder} is no git checkout; allowed instead: {FORMS}")
    commit = git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not revision or commit.returncode != 0:
        shallow = git("rev-parse", "--is-shallow-repository").stdout.strip() == "true"
        remedy = "this clone is shallow: `git fetch --unshallow`" if shallow else "`git log --oneline` lists them"
        raise SideError(f"{GIT}{revision}: this repository has no such revision; {remedy}")
    _remove_left_over(git)
    with tempfile.TemporaryDirectory(prefix=f"{WORKTREE}{os.getpid()}-") as temporary:
        checkout = Path(temporary) / "checkout"
        made = git("worktree", "add", "--detach", str(checkout), revision)
        if made.returncode != 0:
            raise SideError(f"{GIT}{revision}: {made.stderr.strip()}")
        say(f"checked out {revision} into {checkout}")
        origin = Path(top.stdout.strip())
        try:
            inside = folder.resolve().relative_to(origin.resolve())
            yield Worktree(checkout, origin, checkout / inside, commit.stdout.strip())
        finally:
            git("worktree", "remove", "--force", str(checkout))


def _remove_left_over(git: Git) -> None:
    """Remove the worktrees of runs that were killed."""
    for line in git("worktree", "list", "--porcelain").stdout.splitlines():
        path = Path(line.removeprefix("worktree "))
        owner = path.parent.name.removeprefix(WORKTREE).partition("-")[0]
        if path.parent.name.startswith(WORKTREE) and not psutil.pid_exists(int(owner)):
            git("worktree", "remove", "--force", str(path))
            shutil.rmtree(path.parent, ignore_errors=True)
    git("worktree", "prune")
