"""What a result looks like, where its content need not repeat: tests that were not written for perfgate may return
whatever they like, random numbers and objects of any class among it."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DEEPEST = 20
"""A container inside so many others is told by its class alone."""


def shape(output: Any) -> str:
    """SHA-256 of what must repeat from call to call if a call can be repeated at all: classes, lengths, whole numbers,
    the shapes of arrays and tensors; not the content of text, nor fractions. A list that grows, an iterator that is
    used up and a counter differ; random text of one length and times do not.
    """
    hasher = hashlib.sha256()
    for part in _parts(output, 0):
        hasher.update(part.encode() + b"\0")
    return hasher.hexdigest()


def why_not_measured(output: Any) -> str | None:
    """Why a call with this result is not measured by calling it; None where it is."""
    if inspect.iscoroutine(output) or inspect.isasyncgen(output):
        if inspect.iscoroutine(output):
            output.close()
        return "it is asynchronous: a call makes a coroutine that nobody awaits, and the work would not be timed"
    return None


def _parts(value: Any, depth: int) -> Iterator[str]:
    yield type(value).__qualname__
    if depth == DEEPEST:
        return
    if value is None or isinstance(value, int):
        yield repr(value)
    elif isinstance(value, (str, bytes, bytearray, memoryview)):
        yield str(len(value))
    elif isinstance(value, Mapping):
        yield str(len(value))
        yield from _sorted_parts((item for pair in value.items() for item in pair), depth)
    elif isinstance(value, (set, frozenset)):
        yield str(len(value))
        yield from _sorted_parts(value, depth)
    elif isinstance(value, (list, tuple)):
        yield str(len(value))
        for one in value:
            yield from _parts(one, depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from _parts(getattr(value, one.name, None), depth + 1)
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        yield f"{value.dtype} {tuple(value.shape)}"
    elif hasattr(type(value), "__len__"):
        yield str(_length(value))


def _sorted_parts(values: Iterable[Any], depth: int) -> Iterator[str]:
    """The parts of what has no order."""
    yield from sorted("\0".join(_parts(one, depth + 1)) for one in values)


def _length(value: Any) -> int | None:
    """A length, as far as the object's own method tells one."""
    try:
        return len(value)
    except Exception:  # anybody's code
        return None
