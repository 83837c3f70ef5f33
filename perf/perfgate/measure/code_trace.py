"""Which functions of the project each case runs, seen by the interpreter's profiling hook.

A function is named by its file, relative to the project's folder, and its qualified name: ``fixtures/linear.py:make``.
What is nested in it (closures, lambdas, comprehensions) counts as the function itself; what no function holds (a lambda
at the top of a module or class) counts as ``fixtures/linear.py:<module>``.

What one case keeps for a later one would hide what made it: the later case finds it made. So each place of a function
that calls another one is known over all cases. Where a case's run of the function passes a place by, or finds it
answered without a call (``functools.cache``), the case is taken to depend on all that any case called from there, and
on what that called in turn.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

MODULE = "<module>"
"""Stands for the code of a file that no function holds."""
COMPILED = (os.path.join("torch", "_dynamo", "eval_frame.py"), "_TorchDynamoContext.__call__.<locals>.")
"""The end of the file, and the beginning of the qualified name, of what runs a compiled function: the frames of that
and of what it calls are not to be seen.

Source: torch 2.11 and 2.13, torch/_dynamo/eval_frame.py."""


@dataclass
class _Run:
    """One run of a function, on the stack. ``called``: the places that called another one; ``importing``: a module's
    own code is on the stack."""

    frame: FrameType
    code: CodeType
    importing: bool
    called: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Traced:
    """The functions of each case by its key, None for a case of which not all are to be seen; and those that every
    case depends on, because they ran while modules were imported, tests were collected or fixtures were made."""

    cases: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    def of(self, key: str) -> frozenset[str] | None:
        """All that a case depends on; None where that is not known."""
        own = self.cases.get(key)
        return None if own is None else own | self.shared


class CodeTrace:
    """Sees the functions of these files. ``files`` are relative to ``root``, with ``/``."""

    def __init__(self, root: Path, files: Collection[str]) -> None:
        real = os.path.realpath(root)
        self._files = {os.path.join(real, *file.split("/")): file for file in files}
        self._code: dict[int, CodeType] = {}
        """Every code object that ran, by its id: alive, it keeps that."""
        self._functions: dict[int, str] = {}
        """Those of the project, with the function's name; modules' own code among them."""
        self._compiled: set[int] = set()
        self._stacks: dict[int, list[_Run]] = defaultdict(list)
        self._calls: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        """By function and place: what was called from there, in any case."""
        self._seen: dict[str | None, dict[int, set[int]]] = {None: {}}
        """By part (None: shared by all) and function: the places that called another one in every run of the function
        there."""
        self._hidden: set[str | None] = set()
        self._part: str | None = None
        self._began_late = False

    def imported(self) -> list[str]:
        """The project's files that are imported by now."""
        loaded = [getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values())]
        real = {os.path.realpath(one) for one in loaded if isinstance(one, str)}
        return sorted(self._files[path] for path in real & self._files.keys())

    def start(self) -> None:
        """Begin, for this thread and those that begin later. What was imported before ran unseen: then no case's
        functions are known."""
        self._began_late = bool(self.imported())
        threading.setprofile(self._event)
        sys.setprofile(self._event)

    def stop(self) -> None:
        threading.setprofile(None)
        sys.setprofile(None)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs inside belongs to a case, or to a table that makes cases."""
        self._part = name
        self._seen.setdefault(name, {})
        try:
            yield
        finally:
            self._part = None

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if id(code) not in self._code:
                self._know(code)
            if id(code) in self._functions:
                self._enter(frame, code)
            elif self._part is not None and id(code) in self._compiled:
                self._hidden.add(self._part)
        elif event == "return" and id(frame.f_code) in self._functions:
            self._leave(frame)

    def _know(self, code: CodeType) -> None:
        self._code[id(code)] = code
        file = self._files.get(os.path.realpath(code.co_filename))
        if file is not None:
            self._functions[id(code)] = f"{file}:{_outermost(code.co_qualname)}"
        elif code.co_filename.endswith(COMPILED[0]) and code.co_qualname.startswith(COMPILED[1]):
            self._compiled.add(id(code))

    def _enter(self, frame: FrameType, code: CodeType) -> None:
        stack = self._stacks[threading.get_ident()]
        importing = code.co_name == MODULE
        if stack:
            above = stack[-1]
            importing = importing or above.importing
            place = above.frame.f_lasti
            above.called.add(place)
            self._calls[id(above.code)][place].add(id(code))
        stack.append(_Run(frame, code, importing))

    def _leave(self, frame: FrameType) -> None:
        stack = self._stacks[threading.get_ident()]
        if not any(run.frame is frame for run in stack):
            return  # it began before the trace
        while True:
            run = stack.pop()
            self._note(run)
            if run.frame is frame:
                return

    def _note(self, run: _Run) -> None:
        if run.code.co_flags & inspect.CO_OPTIMIZED:  # else it is the body of a module or class, and no function
            seen = self._seen[None if run.importing else self._part]
            seen[id(run.code)] = seen.get(id(run.code), run.called) & run.called

    def traced(self, tables: Mapping[str, str]) -> Traced:
        """What was seen so far. ``tables`` names by case the part that made it, if that is one: the case depends on it
        too."""
        shared = self._depends_on(None)
        parts = self._seen.keys() - {None, *tables.values()}
        return Traced({key: self._of_case(key, tables.get(key), shared) for key in sorted(filter(None, parts))}, shared)

    def _of_case(self, key: str, table: str | None, shared: frozenset[str]) -> frozenset[str] | None:
        if self._began_late or not self._hidden.isdisjoint((key, table)):
            return None
        made_by = self._depends_on(table) if table in self._seen else frozenset()
        return (self._depends_on(key) | made_by) - shared

    def _depends_on(self, part: str | None) -> frozenset[str]:
        seen = self._seen[part]
        passed_by = [
            callee
            for code, places in seen.items()
            for place, callees in self._calls.get(code, {}).items()
            if place not in places
            for callee in callees
        ]
        codes = {*seen, *self._with_callees(passed_by)}
        return frozenset(self._functions[code] for code in codes if self._code[code].co_flags & inspect.CO_OPTIMIZED)

    def _with_callees(self, codes: Collection[int]) -> set[int]:
        """These, and all that they were ever seen to call."""
        found: set[int] = set()
        waiting = list(codes)
        while waiting:
            code = waiting.pop()
            if code not in found:
                found.add(code)
                waiting += [callee for callees in self._calls.get(code, {}).values() for callee in callees]
        return found


def _outermost(qualname: str) -> str:
    """The function that holds a code object: a method with its class, without what is nested in it."""
    outer = qualname.partition(".<locals>")[0]
    return MODULE if outer.endswith(">") else outer
