"""A project's source files, as its patterns name them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

TIMEOUT_S = 30.0
IN_ENVIRONMENTS = "pyvenv.cfg"
"""The file at the root of every virtual environment. Source: PEP 405."""
SITE_FOLDERS = ("site-packages", "dist-packages")
"""Where Python and Debian's Python have what is installed."""


def is_installed(path: str | Path, checkout: str | Path) -> bool:
    """Whether a file inside a checkout belongs to an environment that lies there, not to the project."""
    return any(part in SITE_FOLDERS for part in Path(os.path.relpath(path, checkout)).parts)


def find(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The files under ``root`` that match the glob patterns, sorted. Left out: virtual environments, and what git
    ignores. Neither is in a checkout of the same commit, and so in no baseline's environment that is built again."""
    matched = {path for pattern in patterns for path in root.glob(pattern)}

    @cache
    def in_environment(folder: Path) -> bool:
        return folder != root and ((folder / IN_ENVIRONMENTS).is_file() or in_environment(folder.parent))

    files = sorted(path for path in matched if not in_environment(path.parent) and path.is_file())
    ignored = _ignored(root, files)
    return [path for path in files if path not in ignored]


def contents(root: Path, files: Sequence[Path]) -> dict[str, bytes]:
    """What the files hold, by their names relative to ``root``, with ``/``."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _ignored(root: Path, files: Collection[Path]) -> set[Path]:
    """Those of ``files`` that git ignores; none outside a git checkout."""
    if not files:
        return set()
    names = b"".join(os.fsencode(path.relative_to(root)) + b"\0" for path in files)
    command = ["git", "check-ignore", "-z", "--stdin"]
    try:
        done = subprocess.run(command, cwd=root, input=names, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {root / os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
