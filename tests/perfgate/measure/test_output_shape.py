"""The shape of results: the same where a call can be repeated, another where it cannot."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.measure.output_shape import shape, why_not_measured


@dataclass
class Answer:
    text: str
    took_s: float


class Sized:
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class Broken:
    def __len__(self) -> int:
        raise RuntimeError("closed")


def array(*sizes: int, dtype: str = "float32") -> Any:
    """What numpy's, torch's and other arrays have in common."""
    return SimpleNamespace(shape=sizes, dtype=dtype)


ALIKE: dict[str, tuple[Any, Any]] = {
    "nothing": (None, None),
    "random numbers": (random.random(), random.random()),
    "random text": (str(uuid.uuid4()), str(uuid.uuid4())),
    "objects of a class": (uuid.uuid4(), uuid.uuid4()),
    "a dataclass's text and times": (Answer("abc", 1.0), Answer("xyz", 2.0)),
    "order of a set": ({"a", "bc"}, {"de", "f"}),
    "order of a mapping": ({"a": 1.0, "bc": 2}, {"de": 2, "f": 0.5}),
    "arrays": (array(2, 3), array(2, 3)),
    "objects without a length": (Broken(), Broken()),
    "what contains itself": ((loop := [0], loop.append(loop)), (again := [0], again.append(again))),
}
UNLIKE: dict[str, tuple[Any, Any]] = {
    "a counter": (1, 2),
    "a list that grows": ([1], [1, 1]),
    "an iterator that was used up": ([1, 2], []),
    "inside": ([[1]], [[1, 2]]),
    "text that grows": ("a", "aa"),
    "bytes": (b"a", b"aa"),
    "another class": (1, 1.0),
    "a mapping that grows": ({}, {"a": 1}),
    "a set that grows": ({1}, {1, 2}),
    "an object that grows": (Sized(1), Sized(2)),
    "another shape": (array(2, 3), array(3, 2)),
    "another type of numbers": (array(2), array(2, dtype="float64")),
    "a field": (Answer("a", 1.0), Answer("ab", 1.0)),
}


@pytest.mark.parametrize("what", ALIKE)
def test_what_a_repeated_call_may_return(what: str) -> None:
    one, other = ALIKE[what]
    assert shape(one) == shape(other)


@pytest.mark.parametrize("what", UNLIKE)
def test_what_shows_that_a_call_was_not_repeated(what: str) -> None:
    one, other = UNLIKE[what]
    assert shape(one) != shape(other)


@pytest.mark.filterwarnings("error")
def test_a_coroutine_is_not_measured_and_not_left_open() -> None:
    async def work() -> int:
        return 1

    why = why_not_measured(work())
    assert why is not None
    assert "nobody awaits" in why
    assert why_not_measured(3) is None
