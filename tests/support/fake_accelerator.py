"""A stand-in for an accelerator with real asynchrony: a thread runs what was queued, in order, some time later.

Time is simulated, so that tests are exact on any machine: the host's time passes when a test says so or when it waits
for the device; the device's time passes with what it runs, and never before that was queued. Work is a
:class:`Kernel`: it takes longer when the cache holds something else, and its effect is seen only once it has run.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perfgate.machine.accelerator import Memory

MIB = 2**20


class LostContextError(RuntimeError):
    """As torch raises it: late, where the host next meets the device, and from then on always."""


class FakeEvent:
    """A mark on the queue."""

    def __init__(self, device: FakeAccelerator) -> None:
        self._device = device
        self._reached: threading.Event | None = None
        self.device_s = 0.0

    def record(self) -> None:
        reached = self._reached = threading.Event()

        def mark() -> None:
            self.device_s = self._device.device_s
            reached.set()

        self._device.queue(mark)

    def query(self) -> bool:
        """Whether the device's time has come to the mark by the host's time."""
        assert self._reached is not None, "never recorded"
        self._reached.wait()  # the thread must have run it for its time to be known; the host's time stands still
        return self.device_s <= self._device.host_s

    def elapsed_time(self, end: FakeEvent) -> float:
        if not (self.query() and end.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return 1e3 * (end.device_s - self.device_s)


@dataclass
class Kernel:
    """Work of ``seconds``, ``cold_seconds`` more where the cache holds something else, that takes the host
    ``launch_s`` to queue; ``done`` counts how often it has run."""

    device: FakeAccelerator
    seconds: float
    cold_seconds: float = 0.0
    launch_s: float = 0.0
    done: int = 0

    def __call__(self) -> str:
        self.device.host_s += self.launch_s
        self.device.queue(self._run)
        return "result"

    def _run(self) -> None:
        cold = self.device.cached is not self
        self.device.device_s += self.seconds + (self.cold_seconds if cold else 0.0)
        self.device.cached = self
        self.done += 1


class FakeAccelerator:
    """Satisfies :class:`perfgate.machine.accelerator.Accelerator`; also a clock's ``now`` and ``sleep``, in simulated
    seconds.

    ``flush_s`` is what overwriting the cache takes the device, ``others_bytes`` what other processes hold on it.
    """

    def __init__(self, *names: str, flush_s: float = 1e-5) -> None:
        self.device = names[0] if names else "fake:0"
        self.devices: tuple[str, ...] = (self.device,)
        self._names = names or (self.device,)
        self.flush_s = flush_s
        self.host_s = 0.0
        self.device_s = 0.0
        self.cached: object = None
        self.flushes = 0
        self.slept: list[float] = []
        self.broken: str | None = None
        self.allocated = dict.fromkeys(self._names, 0)
        self.peak = dict.fromkeys(self._names, 0)
        self.kept: list[Any] = []
        self.others_bytes = 0
        self._work: queue.SimpleQueue[tuple[float, Callable[[], None]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            queued_s, run = self._work.get()
            self.device_s = max(self.device_s, queued_s)
            run()

    def queue(self, run: Callable[[], None]) -> None:
        """What ``run`` does happens when the device comes to it."""
        if self.broken is not None:
            raise LostContextError(self.broken)
        self._work.put((self.host_s, run))

    def synchronize(self) -> None:
        done = threading.Event()
        self._work.put((self.host_s, done.set))
        done.wait()
        if self.broken is not None:
            raise LostContextError(self.broken)
        self.host_s = max(self.host_s, self.device_s)

    def find_devices(self) -> None:
        self.devices = tuple(name for name in self._names if name == self.device or self.allocated[name])

    def event(self) -> FakeEvent:
        return FakeEvent(self)

    def flush(self) -> None:
        self.flushes += 1

        def run() -> None:
            self.device_s += self.flush_s
            self.cached = None

        self.queue(run)

    def clear(self) -> None:
        self.peak = dict(self.allocated)

    def memory(self, device: str) -> Memory:
        used, peak = self.allocated[device], self.peak[device]
        return Memory(used, peak, reserved(peak), reserved(used) + self.others_bytes)

    def allocate(self, size: int, device: str | None = None) -> Allocation:
        return Allocation(self, device or self.device, size)

    def now(self) -> float:
        return self.host_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.host_s += seconds


def reserved(size: int) -> int:
    """As an allocator reserves: whole segments of 2 MiB."""
    return -(-size // (2 * MIB)) * 2 * MIB


class Allocation:
    """Bytes on the device for as long as the object lives."""

    def __init__(self, device: FakeAccelerator, name: str, size: int) -> None:
        self._device, self._name, self._size = device, name, size
        device.allocated[name] += size
        device.peak[name] = max(device.peak[name], device.allocated[name])

    def __del__(self) -> None:
        self._device.allocated[self._name] -= self._size


@dataclass(frozen=True)
class FakeWallClock:
    """The wall clock of the simulated host; it waits for the device first unless a test forgets that."""

    device: FakeAccelerator
    waits: bool = True
    name: str = "fake wall"

    def now(self) -> float:
        if self.waits:
            self.device.synchronize()
        return self.device.host_s
