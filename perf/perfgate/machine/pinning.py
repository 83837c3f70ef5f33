"""What a process pins about itself before measuring, without re-executing: allocator thresholds and thread counts.

Which pins are on goes into every record, because records pinned differently cannot be compared. The workers of an A/B
comparison are pinned in :mod:`perfgate.lockstep.worker_client`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MALLOPT: dict[str, tuple[int, int]] = {
    "M_MMAP_THRESHOLD": (-3, 1 << 30),
    "M_TRIM_THRESHOLD": (-1, (1 << 31) - 1),
    "M_TOP_PAD": (-2, 256 << 20),
}
"""glibc's parameter numbers and the values set, in bytes: large blocks come from the heap, and the heap is kept, so
that a round pays no page faults for memory that the round before had already touched.

Source: malloc.h of glibc 2.36 (numbers); mallopt(3) (meaning); the values were chosen by measuring.
"""


def pin_allocator() -> str:
    """Raise malloc's mmap, trim and padding thresholds in this process; returns what was done or why it was not."""
    if sys.platform != "linux":
        return f"off: mallopt is glibc's, this is {sys.platform}"
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
        return "off: this C library has no mallopt"
    refused = [name for name, (number, value) in MALLOPT.items() if libc.mallopt(number, value) != 1]
    return f"off: mallopt refused {', '.join(refused)}" if refused else "mallopt"


def usable_cores() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_core() -> int | None:
    """The last usable core, as interrupts tend to go to the first; None where there is no affinity (macOS, Windows)."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


YOUNG = 1
"""The generation of the garbage collector up to which objects lie that no whole search has seen.

Source: the documentation of Python's module gc.
"""


class SharedCore:
    """The core on which both sides of a comparison time their calls. Loading and warming up take both of them less time
    where each has a core: between two cases a side has all that it was started with."""

    def __init__(self, core: int | None) -> None:
        self._core = core if hasattr(os, "sched_getaffinity") else None
        self._cores = set() if self._core is None else os.sched_getaffinity(0)

    @property
    def given(self) -> bool:
        """Whether there is one, to which calls are pinned while they are timed."""
        return self._core is not None

    def stay(self) -> None:
        """Keep this thread on the core, where there is one."""
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})

    def leave(self) -> None:
        """Give this thread its cores back."""
        if self._core is not None:
            os.sched_setaffinity(0, self._cores)


class GarbageSearch:
    """Python's search for garbage in cycles. While imports and loading make a million objects it goes through them
    again and again; paused, it does so once. docs/pins.md has what it buys."""

    def __init__(self) -> None:
        self._wanted = gc.isenabled()

    def pause(self) -> None:
        """Search no more, unless it is asked for."""
        gc.disable()

    def resume(self) -> None:
        """Search again if this process did, first of all what was made in the pause."""
        if self._wanted and not gc.isenabled():
            gc.collect(YOUNG)
            gc.enable()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch, where it is loaded, at one thread; its number of threads is put back afterwards."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread on one core and torch at one thread; both are put back afterwards.

    It is :func:`last_core`; where there is none only the threads are pinned, and the record's pins then tell more than
    one core.
    """
    if not hasattr(os, "sched_getaffinity"):
        with one_thread():
            yield
        return
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(cores)})  # torch, where it is loaded only now, starts with one thread then
        with one_thread():
            yield
    finally:
        os.sched_setaffinity(0, cores)


def current(allocator: str) -> dict[str, Any]:
    """The pins as a record keeps them: the allocator's state, the cores, torch's threads once torch is loaded, and how
    OpenMP threads wait for each other (None: they spin, which one foreign process on the machine makes ten times
    slower)."""
    torch = sys.modules.get("torch")
    return {
        "allocator": allocator,
        "cores": usable_cores(),
        "threads": torch.get_num_threads() if torch is not None else None,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }
