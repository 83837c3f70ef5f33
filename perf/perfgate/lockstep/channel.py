"""A worker's end of the two pipes to its controller."""

from __future__ import annotations

import json
import os
from typing import IO, Any, NoReturn

from perfgate.lockstep import protocol, used
from perfgate.lockstep.used import Used
from perfgate.machine.pinning import GarbageSearch, SharedCore

PIPES = "PERFGATE_WORKER_PIPES"
"""Environment variable that makes a pytest run a worker: the pipes' numbers, to read from and to write to."""
CORE = "PERFGATE_WORKER_CORE"
"""Environment variable: the core on which calls are timed."""
QUESTION = "PERFGATE_WORKER_QUESTION"
"""Environment variable: of which packages and checkouts a worker reports the files it uses, as JSON."""


class Channel:
    """The worker's end of the two pipes."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], used: Used, core: int | None = None) -> None:
        self._requests = requests
        self._answers = answers
        self.used = used
        self.core = SharedCore(core)
        self.garbage = GarbageSearch()
        self.checked = True
        """Whether the loaded case's results are asserted; once for a side is enough."""
        self.loading_since = 0.0
        """When the controller asked for the loaded case, by the run's clock."""
        self.turn = 0
        """Which of the loaded case's inputs is timed, counted round and round."""

    @classmethod
    def from_environment(cls) -> Channel | None:
        """The channel of a worker process, or None where this process is none."""
        pipes = os.environ.pop(PIPES, None)  # popped: a process that the worker starts is no worker
        if pipes is None:
            return None
        reading, writing = map(int, pipes.split(","))
        question = json.loads(os.environ.pop(QUESTION))
        core = os.environ.get(CORE)
        return cls(
            os.fdopen(reading, "rb"),
            os.fdopen(writing, "wb"),
            used.from_question(question),
            None if core is None else int(core),
        )

    def answer(self, name: str, **fields: Any) -> None:
        try:
            self._answers.write(protocol.line(name, **fields))
            self._answers.flush()
        except BrokenPipeError:
            leave()

    def request(self, *expected: str) -> tuple[str, dict[str, Any]]:
        """Wait for the controller; leaves the process when there is none any more."""
        line = self._requests.readline(protocol.LIMIT_BYTES)
        if not line:
            leave()
        name, fields = protocol.read(line, protocol.ASKED)
        if name not in expected:
            raise protocol.MessageError(f"asked to {name!r}, expected one of {', '.join(expected)}")
        return name, fields


def leave() -> NoReturn:
    """End at once, without fixtures' teardown: the controller is gone."""
    os._exit(1)
