"""The protocol between a controller and its workers: what is a message, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.lockstep import protocol
from perfgate.lockstep.protocol import ANSWERED, ASKED, MessageError, line, read

EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("collected", {"cases": ["a/b"], "broken": {}}),
    (
        "ready",
        {
            "call_s": 0.5,
            "prepared_s": 0.0,
            "cold_s": {"load_s": 2.5},
            "digest": "ab",
            "used": {"packages": {}, "modules": {}},
        },
    ),
    ("paused", {"s": 0.25}),
    ("times", {"s": [0.25, 1], "samples": {"ttft_s": 0.1}}),
    ("exact", {"record": {}}),
    ("done", {"record": {"status": "measured"}}),
    ("traced", {"cases": {"a/b": ["x.py:f"], "a/c": None}, "shared": []}),
    ("error", {"type": "OSError", "message": "no", "where": "x.py:1"}),
]


@pytest.mark.parametrize(("name", "fields"), EXAMPLES)
def test_what_is_written_is_read(name: str, fields: dict[str, Any]) -> None:
    assert read(line(name, **fields), ANSWERED) == (name, fields)


def test_requests_too() -> None:
    assert read(line("load", case="a/b", checked=True, turn=3), ASKED) == (
        "load",
        {"case": "a/b", "checked": True, "turn": 3},
    )
    assert {name for name, _ in EXAMPLES} == set(ANSWERED)


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (b"hello\n", "not a message: b'hello"),
        (b"", "not a message: b''"),
        (b"[1]\n", "not a message of version 5"),
        (b'{"v": 1, "is": "ready"}', "not a message of version 5"),
        (b'{"v": 5, "is": "sing"}', "message 'sing', expected one of collected, ready"),
        (b'{"v": 5}', "message None, expected one of"),
        (b'{"v": 5, "is": "paused"}', r"message 'paused' with fields \[\], expected \['s'\]"),
        (b'{"v": 5, "is": "paused", "s": 1, "t": 2}', "with fields"),
        (b'{"v": 5, "is": "paused", "s": "1"}', "message 'paused': s is '1'"),
        (b'{"v": 5, "is": "paused", "s": true}', "message 'paused': s is True"),
        (b'{"v": 5, "is": "paused", "s": -1}', "-1 is no duration"),
        (b'{"v": 5, "is": "paused", "s": NaN}', "nan is no duration"),
        (b'{"v": 5, "is": "times", "s": [1, "x"], "samples": {}}', "'x' is no duration"),
        (
            b'{"v": 5, "is": "ready", "call_s": Infinity, "prepared_s": 0, "cold_s": {}, "digest": "", "used": {}}',
            "inf is no duration",
        ),
        (
            b'{"v": 5, "is": "ready", "call_s": 1, "prepared_s": 0, "cold_s": {"load_s": "x"}, '
            b'"digest": "", "used": {}}',
            "'x' is no duration",
        ),
    ],
)
def test_what_is_no_message_is_refused(received: bytes, message: str) -> None:
    with pytest.raises(MessageError, match=message):
        read(received, ANSWERED)


def test_nan_is_never_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        line("paused", s=float("nan"))


@given(st.binary(max_size=200))
def test_rubbish_is_an_error_and_never_a_crash(received: bytes) -> None:
    with pytest.raises(MessageError):
        read(received, ANSWERED)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_any_json_is_read_or_refused(value: Any) -> None:
    for name in ANSWERED:
        try:
            read(json.dumps({"v": protocol.VERSION, "is": name, "s": value}).encode(), ANSWERED)
        except MessageError:
            continue
        assert name in ("paused", "times")
