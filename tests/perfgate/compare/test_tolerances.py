"""What may differ: which numbers make sense. How they are used is in the tests of the verdicts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from perfgate.compare.tolerances import Tolerances


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"time": 1e-9},
        {"time": 3.0},
        {"exact_relative": 0.0, "exact_bytes": 0},
        {"alpha": 1e-9},
        {"alpha": 0.999},
    ],
)
def test_these_make_sense(given: dict[str, Any]) -> None:
    made = Tolerances(**given)
    assert {name: getattr(made, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("time", 0.0),
        ("time", -0.05),
        ("time", math.inf),
        ("time", math.nan),
        ("exact_relative", -0.001),
        ("exact_relative", math.inf),
        ("exact_relative", math.nan),
        ("exact_bytes", -1),
        ("exact_bytes", math.inf),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("alpha", math.nan),
    ],
)
def test_these_do_not_and_the_field_is_named(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=f"tolerance {name}: got {number!r}"):
        Tolerances(**{name: number})  # type: ignore[arg-type]  # one of them takes whole numbers
