"""A worker that is asked which functions of the project its cases run; it times nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from perfgate.measure.code_trace import CodeTrace, Traced
from perfgate.records.validate import items, mapping, text

ASKED = "PERFGATE_WORKER_TRACE"
"""Environment variable that makes a worker trace: the project's folder and its files, as JSON."""

_trace: CodeTrace | None = None


def question(root: Path, files: list[str]) -> dict[str, str]:
    """The environment variable of a worker that is to trace these files, relative to ``root``."""
    return {ASKED: json.dumps({"root": str(root), "files": files})}


def begin() -> None:
    """Trace from now on, if this worker is to; before the project's modules are imported."""
    global _trace
    asked = os.environ.pop(ASKED, None)  # popped: a process that the worker starts does not trace
    if asked is not None:
        given = json.loads(asked)
        _trace = CodeTrace(Path(given["root"]), given["files"])
        _trace.start()


def current() -> CodeTrace | None:
    """The trace of this process, if there is one."""
    return _trace


def part(name: str) -> AbstractContextManager[None]:
    """What runs inside belongs to this case or table, where this process traces."""
    return nullcontext() if _trace is None else _trace.part(name)


def to_json(traced: Traced) -> dict[str, Any]:
    return {
        "cases": {key: None if found is None else sorted(found) for key, found in traced.cases.items()},
        "shared": sorted(traced.shared),
    }


def from_json(fields: Mapping[str, Any]) -> Traced:
    """What a worker answered.

    Raises:
        RecordError: a value is of the wrong type.
    """

    def functions(value: Any) -> frozenset[str]:
        return frozenset(text("function", one) for one in items("functions", value))

    cases = mapping("cases", fields["cases"])
    return Traced(
        {key: None if found is None else functions(found) for key, found in cases.items()}, functions(fields["shared"])
    )
