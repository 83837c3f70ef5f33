"""The environment of a process that a test starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300.0
"""A test's process that takes longer hangs."""


def finding(*folders: Path | str, **more: str) -> dict[str, str]:
    """This process's environment and ``more``, where Python finds what is in ``folders`` first.

    ``PYTHONPATH`` is extended and never replaced: packages may have been installed with ``pip install --target``, and a
    process that does not have their folder finds none of them.
    """
    given = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, folders), *([given] if given else [])])} | more


def ran(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A process that has run to its end in ``folder``, however it ended, with what it printed."""
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
