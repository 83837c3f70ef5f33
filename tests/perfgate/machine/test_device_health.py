"""One reading of an accelerator's health as words and as data."""

from __future__ import annotations

import json
import math

import pytest
from perfgate.machine.device_health import DeviceHealth, Process, plain


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (Process(7), "7 (name unknown)"),
        (Process(7, "train.py"), "7 (train.py)"),
        (Process(7, "train.py", 3 * 2**30), "7 (train.py, 3,072 MiB)"),
        (Process(7, None, 0), "7 (name unknown, 0 MiB)"),
    ],
)
def test_a_process_is_told_as_far_as_it_is_known(process: Process, words: str) -> None:
    assert str(process) == words


def test_a_reading_is_kept_as_json_has_it() -> None:
    reading = DeviceHealth(
        temperature_c=60, throttle_reasons=("heat",), throttled_s={"heat": 1.5}, strangers=(Process(7, "train.py"),)
    )
    written = reading.to_json()
    assert written == json.loads(json.dumps(written))
    assert {name: value for name, value in written.items() if value is not None} == {
        "temperature_c": 60,
        "throttle_reasons": ["heat"],
        "throttled_s": {"heat": 1.5},
        "strangers": [{"pid": 7, "name": "train.py", "used_bytes": None}],
    }


def test_a_number_that_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        plain({"power_w": math.nan})
