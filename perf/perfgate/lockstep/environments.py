"""The two sides of an A/B comparison: which interpreter, which checkout, which versions.

``--perfgate-versus`` names the other side in one of three ways: an interpreter, pins (an overlay, see
:mod:`perfgate.lockstep.overlay`), or a revision of this checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from perfgate.lockstep import overlay
from perfgate.lockstep.overlay import Say, SideError
from perfgate.machine import source_files
from perfgate.records.fingerprint import INTERPRETER, Fingerprint, changed_versions, code_digest

__all__ = ["Side", "SideError", "current", "open_side", "rebuilt"]

GIT = "git:"
WORKTREE = "perfgate-worktree-"
"""How a temporary worktree's folder begins; the process that made it follows."""
TIMEOUT_S = 120.0
PERFGATE = Path(__file__).parents[2]
"""Where this perfgate is imported from: workers of both sides use it."""
FORMS = (
    "an interpreter (/opt/old/bin/python), pins separated by spaces (bitsandbytes==0.48.2), or a revision of this "
    "checkout (git:v1.2)"
)

LOOK = """
import importlib.metadata as m, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps({"python": list(sys.version_info[:2]), "versions": found}))
"""
"""Asks an interpreter for the versions of some packages without importing them."""

BOOTSTRAP = f"""
import runpy, sys
first, last = sys.argv[1:3]
sys.path.insert(0, first)
sys.path.extend(path for path in last.split({os.pathsep!r}) if path and path not in sys.path)
sys.argv[:3] = ["pytest"]
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
"""Starts pytest in any interpreter: this perfgate comes first; what perfgate needs and the side lacks comes last, so
that the side's own packages win."""


@dataclass(frozen=True)
class Side:
    """One environment.

    ``checkout`` is the folder in which its pytest runs, where the benchmarks come from; ``versions`` are of the
    packages that the project names; ``borrowed`` folders are searched after the side's own packages.
    """

    name: str
    python: Path
    checkout: Path
    versions: dict[str, str]
    borrowed: tuple[Path, ...] = ()

    def bootstrap(self) -> list[str]:
        """The interpreter's arguments that start pytest with this checkout's perfgate."""
        return ["-c", BOOTSTRAP, str(PERFGATE), os.pathsep.join(map(str, self.borrowed)), "-p", "perfgate.plugin"]


def _look(python: Path, packages: Sequence[str]) -> tuple[tuple[int, int], dict[str, str]]:
    """The Python version and the packages' versions of an interpreter.

    Raises:
        SideError: it cannot be run, or is no Python.
    """
    command = [str(python), "-c", LOOK, json.dumps(list(packages))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        answer = json.loads(done.stdout)
        return (answer["python"][0], answer["python"][1]), answer["versions"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as wrong:
        raise SideError(
            f"{python} does not answer like a Python interpreter ({type(wrong).__name__}: {wrong})"
        ) from None


def current(folder: Path, packages: Sequence[str]) -> Side:
    """This environment, as side B."""
    python = Path(sys.executable)
    return Side("this environment", python, folder, _look(python, packages)[1])


@contextmanager
def open_side(text: str, folder: Path, packages: Sequence[str], say: Say) -> Iterator[Side]:
    """The side that ``--perfgate-versus`` names; a revision's worktree is removed at the end.

    Raises:
        SideError: it is none of the three forms, or cannot be had.
    """
    text = text.strip()
    if text.startswith(GIT):
        with _worktree(text.removeprefix(GIT), folder, say) as checkout:
            python = Path(sys.executable)
            yield Side(text, python, checkout, _look(python, packages)[1])
    elif "==" in text:
        python = overlay.ensure(text, say)
        yield Side(text, python, folder, _look(python, packages)[1])
    elif os.sep in text or Path(text).exists():
        yield _interpreter(Path(text).expanduser(), folder, packages)
    else:
        raise SideError(f"invalid value for --perfgate-versus: {text!r}; allowed: {FORMS}")


@contextmanager
def rebuilt(
    then: Fingerprint,
    now: Fingerprint,
    root: Path,
    folder: Path,
    sources: Sequence[str],
    packages: Sequence[str],
    say: Say,
) -> Iterator[Side]:
    """The environment that a baseline was recorded in: its versions in an overlay, its commit in a worktree, as far as
    they differ from now. ``root`` is the project's folder, ``folder`` the one in it in which pytest runs.

    Raises:
        SideError: it cannot be had.
    """
    if then.driver != now.driver:
        raise SideError(f"the driver was {then.driver or 'none'} and is {now.driver or 'none'}")
    if then.faults:
        raise SideError(f"it was recorded with injected faults: {', '.join(then.faults)}")
    changed = changed_versions(then, now)
    if INTERPRETER in changed:
        raise SideError("Python was {} and is {}".format(*changed[INTERPRETER]))
    pins = [f"{name}=={version}" for name, (version, _) in changed.items() if version is not None]
    python = overlay.ensure(" ".join(pins), say) if pins else Path(sys.executable)
    name, versions = "the baseline's environment", _look(python, packages)[1]
    if then.code == now.code:
        yield Side(name, python, folder, versions)
        return
    if then.commit is None:
        raise SideError("its code has changed, and the baseline knows no commit")
    with _worktree(then.commit, folder, say) as checkout:
        project = checkout / os.path.relpath(root, folder)
        if code_digest(project, source_files.find(project, sources)) != then.code:
            raise SideError(
                f"it was recorded with changes that commit {then.commit[:12]} does not have, or while [tool.perfgate] "
                "named other sources"
            )
        yield Side(name, python, checkout, versions)


def _interpreter(python: Path, folder: Path, packages: Sequence[str]) -> Side:
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise SideError(f"{python} is no file that can be run; allowed: {FORMS}")
    version, versions = _look(python, packages)
    here = sys.version_info[:2]
    if version != here:
        raise SideError(
            f"{python} is Python {version[0]}.{version[1]}, this is {here[0]}.{here[1]}: perfgate's own packages would "
            f"not fit; make an environment with Python {here[0]}.{here[1]}, or install perfgate there and run its own"
        )
    own = set(_search_path(python))
    borrowed = tuple(path for path in map(Path, sys.path) if path.is_dir() and path not in own)
    return Side(str(python), python.absolute(), folder, versions, borrowed)


def _search_path(python: Path) -> list[Path]:
    done = subprocess.run(
        [str(python), "-c", "import json, sys; print(json.dumps(sys.path))"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return [Path(entry) for entry in json.loads(done.stdout) if entry]


def _remove_left_over(git: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Remove the worktrees of runs that were killed."""
    for line in git("worktree", "list", "--porcelain").stdout.splitlines():
        path = Path(line.removeprefix("worktree "))
        owner = path.parent.name.removeprefix(WORKTREE).partition("-")[0]
        if path.parent.name.startswith(WORKTREE) and not psutil.pid_exists(int(owner)):
            git("worktree", "remove", "--force", str(path))
            shutil.rmtree(path.parent, ignore_errors=True)
    git("worktree", "prune")


@contextmanager
def _worktree(revision: str, folder: Path, say: Say) -> Iterator[Path]:
    """``folder`` in a temporary worktree of its repository at ``revision``."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    top = git("rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise SideError(f"{GIT}{revision}: {folder} is no git checkout; allowed instead: {FORMS}")
    if not revision or git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode != 0:
        raise SideError(f"{GIT}{revision}: this repository has no such revision; `git log --oneline` lists them")
    _remove_left_over(git)
    with tempfile.TemporaryDirectory(prefix=f"{WORKTREE}{os.getpid()}-") as temporary:
        checkout = Path(temporary) / "checkout"
        made = git("worktree", "add", "--detach", str(checkout), revision)
        if made.returncode != 0:
            raise SideError(f"{GIT}{revision}: {made.stderr.strip()}")
        say(f"checked out {revision} into {checkout}")
        try:
            yield checkout / folder.resolve().relative_to(Path(top.stdout.strip()).resolve())
        finally:
            git("worktree", "remove", "--force", str(checkout))
