"""Validation of data from outside: what passes comes back as it is, and what does not is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from perfgate.records.validate import (
    RecordError,
    finite,
    free_form,
    items,
    mapping,
    one_of,
    refuse_constant,
    text,
    whole,
)

Check = Callable[[str, Any], Any]


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (finite, 0),
        (finite, -1.5),
        (whole, 10**30),
        (text, ""),
        (items, []),
        (mapping, {}),
        (free_form, {"a": [1, {"b": None}], "c": True, "d": "e"}),
    ],
)
def test_what_is_right_comes_back(check: Check, value: Any) -> None:
    assert check("field", value) == value


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((check, value) for check in (finite, whole) for value in (math.nan, math.inf, True, "1", None, [1])),
        (finite, 10**400),
        (whole, 1.5),
        (whole, 1.0),
        (text, 1),
        (text, None),
        (items, ()),
        (items, "ab"),
        (items, {}),
        (mapping, []),
        (mapping, None),
        (free_form, []),
        (free_form, {"a": {"b": [0, math.nan]}}),
        (free_form, {"a": [[math.inf]]}),
        (free_form, {"a": object()}),
    ],
)
def test_what_is_wrong_is_refused_with_the_fields_name(check: Check, value: Any) -> None:
    with pytest.raises(RecordError, match=r"^field: got "):
        check("field", value)


def test_one_of_a_few_words() -> None:
    assert one_of("kind", "b", ("a", "b")) == "b"
    for value in ("c", None, "", "ab"):
        with pytest.raises(RecordError, match=r"^kind: got .*, allowed are a, b$"):
            one_of("kind", value, ("a", "b"))


def test_a_free_form_object_is_a_copy() -> None:
    given = {"a": 1}
    found = free_form("field", given)
    found["b"] = 2
    assert given == {"a": 1}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_word_for_is_refused_where_it_is_read(constant: str) -> None:
    with pytest.raises(RecordError, match=f"^{constant} "):
        json.loads(f'{{"a": [{constant}]}}', parse_constant=refuse_constant)
