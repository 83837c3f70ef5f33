"""The controller's end of a worker: a fresh pinned process, asked and answered over pipes, never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfgate.lockstep import channel, child_process, protocol
from perfgate.lockstep.child_process import PINS
from perfgate.lockstep.environments import Side

START_TIMEOUT_S = 180.0
"""Until a worker has collected: importing the benchmarks' libraries takes seconds, from a cold disk a minute."""
LAST_LINES = 3
"""Lines of a dead worker's output that are quoted."""


class WorkerError(Exception):
    """A worker that died, timed out, sent an invalid message or could not run a case; ``side`` is "A" or "B"."""

    def __init__(self, message: str, *, side: str, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.side = side
        self.out_of_memory = out_of_memory
        """Whether the system ended it, which it does when memory runs out."""


class Worker:
    """One process of one side. Use as a context manager: leaving it kills the process and all it started."""

    def __init__(
        self,
        letter: str,
        side: Side,
        arguments: Sequence[str],
        log: Path,
        *,
        pins: Mapping[str, str] = PINS,
        faults: Sequence[str] = (),
    ) -> None:
        self.side = side
        self._letter = letter
        self._log = log
        self._buffer = b""
        to_worker, self._requests = os.pipe()
        self._answers, from_worker = os.pipe()
        pipes = {channel.PIPES: f"{to_worker},{from_worker}"}
        question = {channel.QUESTION: json.dumps(side.asked.question())}
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    child_process.command([str(side.python), *side.bootstrap()], arguments, "--benchmark-disable"),
                    cwd=side.checkout,
                    env=child_process.environment(faults, {**side.variables, **pins, **pipes, **question}),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(to_worker, from_worker),
                    start_new_session=True,  # Ctrl-C reaches the controller alone, which ends its workers
                )
        finally:
            os.close(to_worker)
            os.close(from_worker)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def error(self, message: str, *, out_of_memory: bool = False) -> WorkerError:
        """What went wrong on this side, for raising."""
        return WorkerError(f"{self.side.name}: {message}", side=self._letter, out_of_memory=out_of_memory)

    def kill(self) -> None:
        """End the process and whatever it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(pipe)

    def ask(self, name: str, **fields: Any) -> None:
        """Send one request.

        Raises:
            WorkerError: the worker is gone.
        """
        try:
            os.write(self._requests, protocol.line(name, **fields))
        except BrokenPipeError:
            raise self._died() from None

    def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
        """The next answer, within ``timeout_s`` seconds.

        Raises:
            WorkerError: none came in time, the worker died, or it said what no worker says.
            SideError: the worker does not use what its side was asked for.
        """
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise self.error(f"timed out: no answer for {timeout_s:.0f} s{self._quoted()}")
                read = os.read(self._answers, 1 << 16)
                if not read:
                    raise self._died()
                self._buffer += read
                if len(self._buffer) > protocol.LIMIT_BYTES:
                    raise self.error("message too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            name, fields = protocol.read(line, protocol.ANSWERED)
            if name == "ready":
                self.side.require(fields["used"])
        except protocol.MessageError as wrong:
            raise self.error(str(wrong)) from None
        if name == "error":
            raise self.error(f"{fields['type']}: {fields['message']} ({fields['where']})")
        return name, fields

    def _died(self) -> WorkerError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with {code}"
        killed = code == -signal.SIGKILL
        if killed:
            how += " (out of memory, if nobody else did it)"
        return self.error(f"the worker {how}{self._quoted()}", out_of_memory=killed)

    def _quoted(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return "; its last output: " + " / ".join(lines[-LAST_LINES:]) if lines else ""
