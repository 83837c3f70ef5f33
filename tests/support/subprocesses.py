"""The environment of a process that a test starts."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def finding(*folders: Path | str, **more: str) -> dict[str, str]:
    """This process's environment and ``more``, where Python finds what is in ``folders`` first.

    ``PYTHONPATH`` is extended and never replaced: packages may have been installed with ``pip install --target``, and a
    process that does not have their folder finds none of them.
    """
    given = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, folders), *([given] if given else [])])} | more
