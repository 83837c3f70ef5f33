"""Cached overlay environments: the current one with a few packages in other versions.

An overlay is a virtual environment without pip whose site-packages name the current ones in a ``.pth`` file: pip, run
from there, sees what is installed here, installs only what differs, and leaves this environment untouched. What
differs are pins, which come from the package index, and the project's own packages at another commit, which pip builds
from a worktree.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from perfgate.lockstep.fresh_process import die_with_parent
from perfgate.lockstep.installed_projects import can_be_built, canonical, path_lines
from perfgate.records.atomic_write import write_atomic

Say = Callable[[str], None]

CACHE = "PERFGATE_CACHE"
"""Environment variable that names another cache folder."""
HOW = 2
"""Counts the ways in which overlays were made: one that was made in an earlier way is not used any more."""
MARKER = "complete.json"
"""Written last: an overlay without it was never finished."""
INSTALL_TIMEOUT_S = 1800.0
UNUSED_DAYS = 30
BUILD_LINES = 12
"""Last lines of a build that failed that are quoted: pip tells the cause above its own error."""
TORCH_INDEX = "torch's CPU builds: https://download.pytorch.org/whl/cpu"
YANKED = re.compile(r"yanked version: '([^']+)' candidate \(version (\S+) at .*\)\s+Reason for being yanked: (.*)")
"""pip's warning of a version that its maintainers have withdrawn, which an exact pin still gets.

Source: pip 23.2, pip/_internal/resolution/resolvelib/resolver.py."""
LARGE = frozenset({"torch"})
"""Pins that may download gigabytes, because they bring a CUDA build."""


class SideError(Exception):
    """A side that cannot be had; the message says what was given, what is allowed and what to do next."""


@dataclass(frozen=True)
class Revision:
    """The project's packages at a commit: ``folders`` are where pip builds them, by package. One whose folder cannot be
    built did not exist then: the overlay has none."""

    commit: str
    folders: Mapping[str, Path]


def cache_dir() -> Path:
    """Where overlays are kept."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "perfgate"


def parse(text: str) -> list[str]:
    """Pins in one spelling and order.

    Raises:
        SideError: something that is no ``name==version``.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    pins = []
    for word in text.split():
        try:
            requirement = Requirement(word)
        except InvalidRequirement:
            raise SideError(f"{word!r} is no pin; allowed: name==version, several separated by spaces") from None
        versions = [one for one in requirement.specifier if one.operator == "==" and "*" not in one.version]
        if len(versions) != 1 or len(list(requirement.specifier)) != 1 or requirement.url or requirement.marker:
            raise SideError(f"{word!r} is no exact pin; allowed: name==version, several separated by spaces")
        pins.append(f"{canonicalize_name(requirement.name)}=={versions[0].version}")
    return sorted(pins)


def installed() -> dict[str, str]:
    """The versions of everything installed here."""
    return {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}


def pinned(text: str) -> dict[str, str]:
    """The versions of some pins, by package.

    Raises:
        SideError: something that is no ``name==version``.
    """
    return {name: version for name, _, version in (pin.partition("==") for pin in parse(text))}


def packages_folder(python: Path) -> Path:
    """Where the overlay that this interpreter belongs to has its own packages."""
    base = str(python.parents[1])
    return Path(sysconfig.get_path("purelib", vars={"base": base, "platbase": base}, scheme="venv"))


def ensure(text: str, say: Say, revision: Revision | None = None) -> Path:
    """The interpreter of the overlay for these pins and this revision of the project, made if it is not there.

    Raises:
        SideError: a pin does not exist, does not resolve or does not import; the revision cannot be built; or it cannot
            be installed here.
    """
    pins = parse(text)
    projects = {} if revision is None else revision.folders
    lines = path_lines({*(pin.partition("==")[0] for pin in pins), *projects})
    state: list[object] = [HOW, pins, sys.version, sys.prefix, sorted(installed().items()), lines]
    if revision is not None:
        state += [revision.commit, sorted(projects)]
    folder = cache_dir() / "overlays" / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
    what = [*pins, *(f"{name} of commit {revision.commit[:12]}" for name in projects if revision is not None)]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if (folder / MARKER).is_file():
                os.utime(folder / MARKER)
                return python
            _remove_unused(folder.parent)
            shutil.rmtree(folder, ignore_errors=True)  # half-made by a run that was killed
            if any(pin.partition("==")[0] in LARGE for pin in pins):
                say("pinning torch may download gigabytes: the index's build for this system, CUDA included")
            say(f"installing {', '.join(what)} into an overlay of this environment")
            start = time.monotonic()
            try:
                _make_empty(folder, python, lines)
                if pins:
                    _install_pins(python, pins, say)
                if revision is not None:
                    _install_projects(python, revision)
                write_atomic(folder / MARKER, json.dumps({"installed": what}) + "\n")
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            say(f"the overlay is ready ({time.monotonic() - start:.0f} s)")
    except OSError as wrong:
        raise SideError(f"the overlay could not be made in {folder}: {wrong}; {CACHE} names another folder") from None
    return python


def _make_empty(folder: Path, python: Path, lines: list[str]) -> None:
    """Build in place, because a virtual environment does not move; the marker, written last, is the commit point. It
    finds this environment's pip; where there is none (uv makes such), it gets the one that Python brings along."""
    pip = ["--without-pip"] if importlib.util.find_spec("pip") else []
    _run([sys.executable, "-m", "venv", *pip, str(folder)], "the virtual environment could not be made")
    (packages_folder(python) / "perfgate-parent.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _distributions(folder: Path) -> Iterable[importlib.metadata.Distribution]:
    return importlib.metadata.distributions(path=[str(folder)])


def _install_pins(python: Path, pins: list[str], say: Say) -> None:
    output = _run([*_pip_install(python), *pins], f"{' '.join(pins)} could not be installed")
    for yanked in YANKED.finditer(output):
        say("{}=={} was withdrawn from the index (yanked) and is used all the same: {}".format(*yanked.groups()))
    own = {canonical(one.metadata["Name"]) for one in _distributions(packages_folder(python))}
    if as_here := [pin for pin in pins if pin.partition("==")[0] not in own]:
        command = [*_pip_install(python), "--no-deps", "--ignore-installed", *as_here]
        _run(command, f"{' '.join(as_here)}, installed here too, could not be installed anew")
    for pin in pins:
        name = pin.partition("==")[0]
        _run([str(python), "-c", IMPORT, name], f"{pin} was installed but does not import")


def _install_projects(python: Path, revision: Revision) -> None:
    commit = revision.commit[:12]
    own = (
        "; or install that revision into an environment of its own and compare with its interpreter: "
        f"git worktree add ../old {commit}, python -m venv ../old-env, "
        "../old-env/bin/python -m pip install ../old, --perfgate-versus ../old-env/bin/python"
    )
    for name, folder in revision.folders.items():
        if folder.is_dir() and not any(folder.iterdir()):
            raise SideError(f"{name} of commit {commit} is not in its worktree: is its folder a git submodule?{own}")
        if can_be_built(folder):
            command = [*_pip_install(python), "--no-deps", "--force-reinstall", str(folder)]
            _run(command, f"{name} of commit {commit} could not be built", hint=own, quoted=BUILD_LINES)


def _pip_install(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


IMPORT = """
import importlib, importlib.metadata as m, sys
files = m.distribution(sys.argv[1]).read_text("top_level.txt")
names = files.split() if files else [sys.argv[1].replace("-", "_")]
for name in names:
    if not name.startswith("_"):
        importlib.import_module(name)
"""


def _run(command: list[str], failed: str, *, hint: str = "", quoted: int = 0) -> str:
    """Run a step of the build; returns what it said. pip's or Python's last lines become the error: its errors, or as
    many as ``quoted``.

    Raises:
        SideError: it failed or took too long.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent
    )
    try:
        output, _ = process.communicate(timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SideError(f"{failed}: no end after {INSTALL_TIMEOUT_S:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return output
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines[-2:]
    if quoted:
        errors = [" / ".join(lines[-quoted:])]
    elif any("No matching distribution" in line for line in errors):
        hint = "; `pip index versions NAME` lists the versions there are"
        if any("+" in word.partition("==")[2] for word in command):
            hint += f"; one with a + comes from an index of its own, which PIP_EXTRA_INDEX_URL names ({TORCH_INDEX})"
    raise SideError(f"{failed}: {' '.join(errors)}{hint}")


def _remove_unused(parent: Path) -> None:
    """Remove overlays that no comparison has used for a month."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for marker in parent.glob(f"*/{MARKER}"):
        if marker.stat().st_mtime < oldest:
            shutil.rmtree(marker.parent, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock, which ends with the process that holds it."""
    import fcntl  # not on Windows, where comparisons are refused

    with path.open("a") as held:
        _lock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            _lock(held, fcntl.LOCK_UN)


def _lock(held: IO[str], how: int) -> None:
    import fcntl

    fcntl.flock(held, how)
