"""The processes that belong to one run: the first that perfgate started, and all its descendants."""

from __future__ import annotations

import os

import psutil

FAMILY = "PERFGATE_FAMILY"
"""Environment variable: the process whose descendants are expected on the device (see :func:`for_children`)."""


def family() -> frozenset[int]:
    """This process, or the controller that started it, with all descendants."""
    try:
        eldest = psutil.Process(int(os.environ.get(FAMILY, os.getpid())))
        return frozenset({os.getpid(), eldest.pid, *(child.pid for child in eldest.children(recursive=True))})
    except psutil.NoSuchProcess:
        return frozenset({os.getpid()})


def for_children() -> dict[str, str]:
    """The environment that makes a process that this one starts part of its family."""
    return {FAMILY: os.environ.get(FAMILY, str(os.getpid()))}
