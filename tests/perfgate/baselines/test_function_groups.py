"""The functions of cases, packed into a baseline's file and read again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.baselines import function_groups
from perfgate.records.validate import RecordError

FUNCTIONS = st.frozensets(st.builds("{}.py:{}".format, st.sampled_from("abc"), st.sampled_from("fghij")))


def test_what_the_same_cases_ran_stands_once() -> None:
    shared = frozenset({"a.py:f", "a.py:K.g", "b.py:<module>"})
    groups, numbers = function_groups.pack({"x/1": shared | {"c.py:h"}, "x/2": shared, "x/3": None})
    assert groups == [{"a.py": ["K.g", "f"], "b.py": ["<module>"]}, {"c.py": ["h"]}]
    assert numbers == {"x/1": [0, 1], "x/2": [0]}


@given(st.dictionaries(st.text(min_size=1), st.none() | FUNCTIONS))
def test_what_is_packed_comes_back(functions: dict[str, frozenset[str] | None]) -> None:
    groups, numbers = function_groups.pack(functions)
    assert {key: function_groups.unpack(groups, one) for key, one in numbers.items()} == {
        key: found for key, found in functions.items() if found is not None
    }


@pytest.mark.parametrize(
    ("groups", "numbers"),
    [([], [0]), ([{}], [-1]), ([{}], [True]), ([{}], "0"), ([{"a.py": "f"}], [0]), ([{"a.py": [1]}], [0]), ([3], [0])],
)
def test_damage_is_an_error(groups: list[Any], numbers: Any) -> None:
    with pytest.raises(RecordError):
        function_groups.unpack(groups, numbers)
