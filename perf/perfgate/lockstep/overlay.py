"""Cached overlay environments: the current one with a few packages pinned to other versions.

An overlay is a virtual environment without pip whose site-packages name the current ones in a ``.pth`` file: pip, run
from there, sees what is installed here, installs only what differs, and leaves this environment untouched.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from perfgate.lockstep.fresh_process import die_with_parent
from perfgate.records.atomic_write import write_atomic

Say = Callable[[str], None]

CACHE = "PERFGATE_CACHE"
"""Environment variable that names another cache folder."""
MARKER = "complete.json"
"""Written last: an overlay without it was never finished."""
INSTALL_TIMEOUT_S = 1800.0
UNUSED_DAYS = 30
LARGE = frozenset({"torch"})
"""Pins that may download gigabytes, because they bring a CUDA build."""


class SideError(Exception):
    """A side that cannot be had; the message says what was given, what is allowed and what to do next."""


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


def ensure(text: str, say: Say) -> Path:
    """The interpreter of the overlay for these pins, made if it is not there.

    Raises:
        SideError: a pin does not exist, does not resolve or does not import; or it cannot be installed here.
    """
    pins = parse(text)
    state = json.dumps([pins, sys.version, sys.prefix, sorted(installed().items())])
    folder = cache_dir() / "overlays" / hashlib.sha256(state.encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
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
            say(f"installing {', '.join(pins)} into an overlay of this environment")
            start = time.monotonic()
            try:
                _make(folder, python, pins)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            say(f"the overlay is ready ({time.monotonic() - start:.0f} s)")
    except OSError as wrong:
        raise SideError(f"the overlay could not be made in {folder}: {wrong}; {CACHE} names another folder") from None
    return python


def _make(folder: Path, python: Path, pins: list[str]) -> None:
    """Build in place, because a virtual environment does not move; the marker, written last, is the commit point."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], "the virtual environment could not be made")
    site_packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}, scheme="venv")
    )
    ours = [path for path in sys.path if path and Path(path).is_dir() and Path(path).name in _SITE_FOLDERS]
    (site_packages / "perfgate-parent.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
    _run(command, f"{' '.join(pins)} could not be installed")
    for pin in pins:
        name = pin.partition("==")[0]
        _run([str(python), "-c", IMPORT, name], f"{pin} was installed but does not import")
    write_atomic(folder / MARKER, json.dumps({"pins": pins}) + "\n")


_SITE_FOLDERS = ("site-packages", "dist-packages")
IMPORT = """
import importlib, importlib.metadata as m, sys
files = m.distribution(sys.argv[1]).read_text("top_level.txt")
names = files.split() if files else [sys.argv[1].replace("-", "_")]
for name in names:
    if not name.startswith("_"):
        importlib.import_module(name)
"""


def _run(command: list[str], failed: str) -> None:
    """Run a step of the build; pip's or Python's last lines become the error.

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
        return
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines[-2:]
    hint = ""
    if any("No matching distribution" in line for line in errors):
        hint = "; `pip index versions NAME` lists the versions there are"
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
    import fcntl  # not on Windows, where --perfgate-versus is refused

    with path.open("a") as held:
        _lock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            _lock(held, fcntl.LOCK_UN)


def _lock(held: IO[str], how: int) -> None:
    import fcntl

    fcntl.flock(held, how)
