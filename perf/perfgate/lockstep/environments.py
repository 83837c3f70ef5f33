"""The two sides of an A/B comparison: which interpreter, which checkout, which versions.

``--perfgate-versus`` names the other side in one of three ways: an interpreter, pins (an overlay, see
:mod:`perfgate.lockstep.overlay`), or a revision of this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perfgate.lockstep import checkout, child_process, installed_projects, overlay
from perfgate.lockstep.checkout import FORMS, GIT, TIMEOUT_S, Worktree
from perfgate.lockstep.child_process import PINS
from perfgate.lockstep.installed_projects import canonical
from perfgate.lockstep.overlay import Revision, Say, SideError
from perfgate.lockstep.side_check import Asked
from perfgate.lockstep.used import innermost
from perfgate.machine import source_files
from perfgate.machine.source_files import SITE_FOLDERS, is_installed
from perfgate.records.fingerprint import INTERPRETER, Fingerprint, changed_variables, changed_versions, code_digest

__all__ = ["Project", "Side", "SideError", "as_recorded", "current", "open_side", "rebuilt"]

PERFGATE = Path(__file__).parents[2]
"""Where this perfgate is imported from: workers of both sides use it."""

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

BOOTSTRAP = """
import json, os, runpy, sys
from importlib.machinery import PathFinder
given = json.loads(sys.argv[1])

class Perfgate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [given["perfgate"]]) if name == "perfgate" else None

sys.meta_path.insert(0, Perfgate)
import perfgate
perfgate.__doc__ = f"{perfgate.__doc__} PYTEST_DONT_REWRITE"  # imported before pytest, which would warn of that
for number, path in enumerate(sys.path):
    sys.path[number] = given["moved"].get(path, path)
own = given["first"]
current = [path for path in sys.path[:1] if path == ""]
sys.path[:] = current + own + [path for path in sys.path[len(current):] if path not in own]
sys.path.extend(path for path in given["last"] if path not in sys.path)
sys.argv[:2] = ["pytest"]
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
"""Starts pytest in any interpreter with this perfgate, but not with what lies beside it: that would hide the side's own
packages. An overlay's packages come before PYTHONPATH's; folders of the other side's checkout become the side's own;
what perfgate needs and the side lacks comes last."""


@dataclass(frozen=True)
class Project:
    """What a baseline's environment is rebuilt for: ``root`` is the project's folder and ``folder`` the one in it in
    which pytest runs; ``sources`` are the patterns of the files that measure, and ``packages`` those that matter."""

    root: Path
    folder: Path
    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """One environment.

    ``checkout`` is the folder in which its pytest runs, where the benchmarks come from; ``versions`` are of the
    packages that the project names; ``borrowed`` folders are searched after the side's own packages; ``asked`` is what
    its workers must use. A ``worktree`` is the checkout of another revision. ``variables`` are environment variables
    that differ from this process's, None where one is unset. ``used`` are the version and the files of each package
    that its workers imported.
    """

    name: str
    python: Path
    checkout: Path
    versions: dict[str, str]
    borrowed: tuple[Path, ...] = ()
    asked: Asked = field(default_factory=Asked)
    worktree: Worktree | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict, compare=False)

    def bootstrap(self) -> list[str]:
        """The interpreter's arguments that start pytest with this perfgate."""
        given = {
            "perfgate": str(PERFGATE),
            "first": [] if self.asked.overlay is None else [str(self.asked.overlay)],
            "moved": _moved(self.worktree),
            "last": [str(path) for path in self.borrowed],
        }
        return [*child_process.flags(), "-c", BOOTSTRAP, json.dumps(given), "-p", "perfgate.plugin"]

    def require(self, used: Mapping[str, Any]) -> None:
        """Check what one of its workers reported, and keep it.

        Raises:
            SideError: it is not what was asked for.
            MessageError: it is no report.
        """
        self.asked.require(self.name, used)
        self.used.update({name: one for name, one in used["packages"].items() if one["files"]})


def _look(python: Path, packages: Sequence[str], *flags: str) -> tuple[tuple[int, int], dict[str, str]]:
    """The Python version and the packages' versions of an interpreter that is run with ``flags``.

    Raises:
        SideError: it cannot be run, or is no Python.
    """
    command = [str(python), *flags, "-c", LOOK, json.dumps(list(packages))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        answer = json.loads(done.stdout)
        return (answer["python"][0], answer["python"][1]), answer["versions"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as wrong:
        raise SideError(
            f"{python} does not answer like a Python interpreter ({type(wrong).__name__}: {wrong})"
        ) from None


def _moved(worktree: Worktree | None) -> dict[str, str]:
    """Where the worktree has the folders of the checkout that this environment's path names, by how it names them."""
    if worktree is None:
        return {}
    origin = os.path.realpath(worktree.origin)
    named = [*sys.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    inside = {path: os.path.realpath(path) for path in named if os.path.isabs(path)}
    environments = [os.path.realpath(one) for one in (sys.prefix, sys.base_prefix)]
    return {
        path: str(worktree.moved(Path(real)))
        for path, real in inside.items()
        if innermost(real, (origin, *environments)) == origin and not is_installed(real, origin)
    }


def current(folder: Path, packages: Sequence[str], base: Side | None = None) -> Side:
    """This environment, as side B; ``base`` is side A."""
    python = Path(sys.executable)
    if base is not None:
        packages = list(dict.fromkeys((*packages, *base.asked.pinned)))
    other = None if base is None or base.worktree is None else base.worktree.top
    asked = Asked(tuple(packages), checkout.top_of(folder), other)
    return Side("this environment", python, folder, _look(python, packages)[1], (PERFGATE,), asked)


@contextmanager
def open_side(text: str, folder: Path, packages: Sequence[str], say: Say) -> Iterator[Side]:
    """The side that ``--perfgate-versus`` names; a revision's worktree is removed at the end.

    Raises:
        SideError: it is none of the three forms, or cannot be had.
    """
    text = text.strip()
    if text.startswith(GIT):
        with checkout.worktree(text.removeprefix(GIT), folder, say) as worktree:
            yield _built(text, "", worktree, packages, say)
    elif "==" in text:
        yield _pinned(text, text, folder, packages, say)
    elif os.sep in text or Path(text).exists():
        yield _interpreter(Path(text).expanduser(), folder, packages)
    else:
        raise SideError(f"invalid value for --perfgate-versus: {text!r}; allowed: {FORMS}")


@contextmanager
def rebuilt(then: Fingerprint, now: Fingerprint, project: Project, say: Say) -> Iterator[Side]:
    """The environment that a baseline was recorded in: its versions in an overlay, its commit in a worktree, as far as
    they differ from now.

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
    variables = {name: before for name, (before, _) in changed_variables(then, now).items()}
    if fixed := sorted(variables.keys() & PINS.keys()):
        raise SideError(
            f"{', '.join(fixed)} differ, and a comparison gives both sides one value: set them as they were"
        )
    projects = installed_projects.installed_from(checkout.top_of(project.folder))
    pins = " ".join(
        f"{name}=={version}"
        for name, (version, _) in changed.items()
        if version is not None and canonical(name) not in projects
    )
    name = "the baseline's environment"
    if then.code == now.code and not any(canonical(package) in projects for package in changed):
        yield replace(_pinned(name, pins, project.folder, project.packages, say), variables=variables)
        return
    with as_recorded(then, project, say) as (worktree, _):
        yield replace(_built(name, pins, worktree, project.packages, say), variables=variables)


@contextmanager
def as_recorded(then: Fingerprint, project: Project, say: Say) -> Iterator[tuple[Worktree, dict[str, bytes]]]:
    """The checkout that a baseline was recorded in, and the contents of its files that measure, by their names in the
    project's folder.

    Raises:
        SideError: it cannot be had.
    """
    if then.commit is None:
        raise SideError("its code has changed, and the baseline knows no commit")
    with checkout.worktree(then.commit, project.folder, say) as worktree:
        root = worktree.folder / os.path.relpath(project.root, project.folder)
        found = source_files.find(root, project.sources)
        if code_digest(root, found) != then.code:
            raise SideError(
                f"it was recorded with changes that commit {then.commit[:12]} does not have, or while [tool.perfgate] "
                "named other sources"
            )
        yield worktree, source_files.contents(root, found)


def _pinned(name: str, pins: str, folder: Path, packages: Sequence[str], say: Say) -> Side:
    """This checkout with pins, or as it is where there are none."""
    python = overlay.ensure(pins, say) if pins else Path(sys.executable)
    packages = list(dict.fromkeys((*packages, *overlay.pinned(pins))))
    asked = Asked(
        tuple(packages),
        checkout.top_of(folder),
        overlay=overlay.packages_folder(python) if pins else None,
        pinned=overlay.pinned(pins),
    )
    return Side(name, python, folder, _look(python, packages)[1], (PERFGATE,), asked)


def _built(name: str, pins: str, worktree: Worktree, packages: Sequence[str], say: Say) -> Side:
    """A revision, with pins perhaps. The packages of its checkout that are installed here would be found in this
    checkout, so that revision of them is installed for it."""
    here = installed_projects.installed_from(worktree.origin)
    revision = Revision(worktree.commit, {package: worktree.moved(path) for package, path in here.items()})
    for package, path in revision.folders.items():
        if not installed_projects.can_be_built(path):
            say(f"{package} is no package at {worktree.commit[:12]}: that side has what its checkout has")
    wanted = bool(pins or here)
    python = overlay.ensure(pins, say, revision if here else None) if wanted else Path(sys.executable)
    asked = Asked(
        tuple(packages),
        worktree.top,
        worktree.origin,
        overlay=overlay.packages_folder(python) if wanted else None,
        pinned=overlay.pinned(pins),
        projects=tuple(here),
    )
    is_ours = PERFGATE.name not in SITE_FOLDERS and PERFGATE.resolve().is_relative_to(worktree.origin.resolve())
    borrowed = () if is_ours else (PERFGATE,)
    return Side(name, python, worktree.folder, _look(python, packages)[1], borrowed, asked, worktree)


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
    own = _search_path(python)
    borrowed = tuple(path for path in map(Path, sys.path) if path.is_dir() and path not in own)
    has = _look(python, packages, "-E")[1]
    asked = Asked(tuple(packages), checkout.top_of(folder), has=has, own=own, borrowed=borrowed)
    return Side(str(python), python.absolute(), folder, versions, borrowed, asked)


def _search_path(python: Path) -> tuple[Path, ...]:
    """The folders that an interpreter searches by itself, without PYTHONPATH."""
    done = subprocess.run(
        [str(python), "-E", "-c", "import json, sys; print(json.dumps(sys.path))"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return tuple(Path(entry) for entry in json.loads(done.stdout) if entry)
