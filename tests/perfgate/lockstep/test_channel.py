"""A worker's end of the two pipes."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from perfgate.lockstep import channel, protocol
from perfgate.lockstep.channel import PIPES, QUESTION, Channel
from perfgate.lockstep.protocol import MessageError
from perfgate.lockstep.used import Used

NOTHING = Used((), ())
"""A worker that is asked for nothing it uses."""


class LeftError(Exception):
    """In a test nobody leaves the process."""


@pytest.fixture(autouse=True)
def stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave() -> None:
        raise LeftError

    monkeypatch.setattr(channel, "leave", leave)


def asked(*lines: bytes) -> Channel:
    return Channel(io.BytesIO(b"".join(lines)), io.BytesIO(), NOTHING)


def test_requests_come_in_their_order() -> None:
    worker = asked(protocol.line("load", case="a/b", checked=False, turn=0), protocol.line("quit"))
    assert worker.request("load", "quit") == ("load", {"case": "a/b", "checked": False, "turn": 0})
    assert worker.request("load", "quit") == ("quit", {})


@pytest.mark.parametrize(
    "line", [protocol.line("stop"), protocol.line("ready", call_s=1.0, digest="", used={}), b"hello\n"]
)
def test_what_was_not_expected_is_refused(line: bytes) -> None:
    with pytest.raises(MessageError):
        asked(line).request("block", "exact")


def test_a_worker_leaves_when_its_controller_is_gone() -> None:
    with pytest.raises(LeftError):
        asked().request("load")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as answers, pytest.raises(LeftError):
        Channel(io.BytesIO(), answers, NOTHING).answer("paused", s=1.0)


def test_an_answer_arrives_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller waits for it, and the worker then waits for the controller."""
    (to_worker, asking), (answering, from_worker) = os.pipe(), os.pipe()
    monkeypatch.setenv(PIPES, f"{to_worker},{from_worker}")
    monkeypatch.setenv(QUESTION, '{"packages": ["pytest"], "checkouts": []}')
    worker = Channel.from_environment()
    assert worker is not None
    assert worker.used.report()["packages"]["pytest"]["version"] == pytest.__version__
    os.set_blocking(answering, False)
    worker.answer("times", s=[0.5], samples={})
    assert protocol.read(os.read(answering, 1000), protocol.ANSWERED) == ("times", {"s": [0.5], "samples": {}})
    os.write(asking, protocol.line("go"))
    assert worker.request("go") == ("go", {})
    for pipe in (worker._requests, worker._answers):
        pipe.close()
    for number in (asking, answering):
        os.close(number)


def test_a_process_is_a_worker_once_and_those_that_it_starts_are_none(monkeypatch: Any) -> None:
    monkeypatch.delenv(PIPES, raising=False)
    assert Channel.from_environment() is None
    reading, writing = os.pipe()
    monkeypatch.setenv(PIPES, f"{reading},{writing}")
    monkeypatch.setenv(QUESTION, '{"packages": ["pytest"], "checkouts": []}')
    worker = Channel.from_environment()
    assert worker is not None
    assert worker.used.report()["packages"]["pytest"]["version"] == pytest.__version__
    assert PIPES not in os.environ
    for pipe in (worker._requests, worker._answers):
        pipe.close()
