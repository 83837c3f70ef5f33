"""A process that a test can send Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def started(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """``command`` running in ``folder``, its output and its errors in one pipe, or in file descriptor ``output``."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a job in the background ignores it
    )
