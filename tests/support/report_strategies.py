"""What hypothesis makes for the tests of the report: numbers and formats of every kind."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from perfgate.report import Format

numbers = st.floats(allow_nan=False, allow_infinity=False)
formats = st.builds(
    Format,
    kind=st.sampled_from(["text", "fixed", "significant", "latency"]),
    scale=numbers,
    digits=st.integers(0, 15),
    suffix=st.text(max_size=3),
)


def through_json(data: Any) -> Any:
    """As a file gives it back."""
    return json.loads(json.dumps(data, allow_nan=False))
