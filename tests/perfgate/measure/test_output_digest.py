"""Digests of outputs: equal for equal content, different for everything else."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from perfgate.measure.output_digest import digest


@dataclass
class Generation:
    tokens: list[int]
    finished_s: float = field(default=0.0, compare=False)


EQUAL: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "number": lambda: 0.1 + 0.2,
    "nan": lambda: math.nan,
    "text": lambda: "日本",
    "bytes": lambda: b"\0x",
    "list": lambda: [1, "a", [None]],
    "set": lambda: {"b", "a"},
    "dataclass": lambda: Generation([1, 2]),
    "array": lambda: np.arange(6).reshape(2, 3),
    "array scalar": lambda: np.float32(0.5),
    "tensor": lambda: torch.arange(6.0).reshape(2, 3),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "scalar tensor": lambda: torch.tensor(2.5),
    "empty tensor": lambda: torch.empty(0, 3),
    "gradient": lambda: torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("make", EQUAL.values(), ids=EQUAL.keys())
def test_made_twice_digested_alike(make: Callable[[], Any]) -> None:
    assert digest(make()) == digest(make())


def test_all_of_these_differ_from_each_other() -> None:
    assert len({digest(make()) for make in EQUAL.values()}) == len(EQUAL)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (0.3, 0.1 + 0.2),
        ("1", 1),
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        ([[1], 2], [[1, 2]]),
        ([[], 1], [[1]]),
        ([{1: 2}, 3, 4], [{1: 2, 3: 4}]),
        (["a", "b"], ["ab"]),
        ([b"x", None], [b"xNoneType\0None\0"]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        (Generation([1]), Generation([2])),
        (np.zeros(6), np.zeros((2, 3))),
        (np.zeros(2, np.float32), np.zeros(1, np.float64)),
        (torch.zeros(6), torch.zeros(2, 3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
    ],
)
def test_different_content(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_one_bit_of_a_tensor_is_enough() -> None:
    tensor = torch.ones(1000)
    before = digest(tensor)
    tensor[999] = torch.nextafter(tensor[999], torch.tensor(2.0))
    assert digest(tensor) != before


def test_a_tensor_counts_by_its_content_not_by_how_it_lies_in_memory() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert digest(tensor) == digest(tensor.t().contiguous().t())


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_fields_that_are_not_compared_are_left_out() -> None:
    assert digest(Generation([1], finished_s=1.0)) == digest(Generation([1], finished_s=2.0))


@pytest.mark.parametrize(
    "output",
    [object(), lambda: None, Generation, iter([1]), [1, object()], np.array([object()])],
    ids=["object", "function", "class", "iterator", "inside a list", "array of objects"],
)
def test_what_has_no_content_to_compare_is_refused_with_what_to_return_instead(output: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be compared before and after timing; return numbers, text, arrays"):
        digest(output)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2) | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.integers(0, 2), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_equal_digests_mean_equal_values(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (repr(one) == repr(other) or same_but_for_order(one, other))


def same_but_for_order(one: Any, other: Any) -> bool:
    """Equal values of equal types, where only the order of mappings differs."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_but_for_order(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_but_for_order, one, other))
    return bool(one == other)
