"""Git repositories that tests make."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
"""Of who commits: a machine that runs tests may have none of its own, or one that signs."""


def git(folder: Path, *arguments: str) -> str:
    """What git prints in ``folder``.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> None:
    """Commit everything in ``folder``."""
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a commit")
