"""Validation of data that comes from outside: each function returns what it was given or says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn


class RecordError(ValueError):
    """A record that breaks the schema. The message names the field, what was found and what is allowed."""


def refuse_constant(constant: str) -> NoReturn:
    """For ``json.loads(parse_constant=...)``: NaN and Infinity are no JSON."""
    raise RecordError(f"{constant} is no number")


def one_of(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise RecordError(f"{what}: got {value!r}, allowed are {', '.join(allowed)}")
    return str(value)


def finite(what: str, value: Any) -> float | int:
    try:
        finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        finite = False
    if not finite:
        raise RecordError(f"{what}: got {value!r}, expected a finite number")
    return value  # type: ignore[no-any-return]  # just checked


def whole(what: str, value: Any) -> int:
    if not isinstance(finite(what, value), int):
        raise RecordError(f"{what}: got {value!r}, expected a whole number")
    return int(value)


def text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{what}: got {value!r}, expected text")
    return value


def items(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RecordError(f"{what}: got {value!r}, expected a list")
    return value


def mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError(f"{what}: got {type(value).__name__}, expected an object")
    return value


def free_form(what: str, value: Any) -> dict[str, Any]:
    """An object whose keys are not prescribed; every number inside must be finite all the same."""

    def look(inside: Any) -> None:
        if isinstance(inside, Mapping):
            for one in inside.values():
                look(one)
        elif isinstance(inside, list):
            for one in inside:
                look(one)
        elif inside is not None and not isinstance(inside, (str, bool)):
            finite(what, inside)

    look(mapping(what, value))
    return dict(value)
