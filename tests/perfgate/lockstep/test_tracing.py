"""How a worker is told to trace, and how it tells what it saw."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from perfgate.lockstep import tracing
from perfgate.lockstep.protocol import ANSWERED, line, read
from perfgate.measure.code_trace import Traced
from perfgate.records.validate import RecordError


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = sys.getprofile()
    monkeypatch.setattr(tracing, "_trace", None)
    yield
    threading.setprofile(None)
    sys.setprofile(before)


def test_a_worker_that_is_not_asked_does_not_trace() -> None:
    before = sys.getprofile()
    tracing.begin()
    assert tracing.current() is None
    assert sys.getprofile() is before


def test_a_worker_that_is_asked_traces_and_its_children_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in tracing.question(tmp_path, ["a.py"]).items():
        monkeypatch.setenv(name, value)
    tracing.begin()
    trace = tracing.current()
    assert trace is not None
    assert sys.getprofile() is not None
    assert tracing.ASKED not in os.environ
    trace.stop()
    assert sys.getprofile() is None


def test_what_was_seen_comes_over_the_pipe() -> None:
    seen = Traced({"x/1": frozenset({"a.py:f", "a.py:g"}), "x/2": None}, frozenset({"a.py:h"}))
    _, fields = read(line("traced", **tracing.to_json(seen)), ANSWERED)
    assert tracing.from_json(fields) == seen


@pytest.mark.parametrize(
    "fields", [{"cases": {"x": 3}, "shared": []}, {"cases": {"x": [3]}, "shared": []}, {"cases": {}, "shared": [None]}]
)
def test_what_is_no_trace_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        tracing.from_json(fields)
