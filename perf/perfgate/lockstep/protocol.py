"""What a controller and its workers say to each other: JSON objects, one a line, over two pipes.

The controller asks: ``load`` a case, ``block`` (run so many calls, and tell their times), ``go`` (on with a call that
paused), ``exact`` (profile one call), ``stop`` (leave the case), ``trace`` (which functions the cases ran), ``quit``.
The worker answers: ``collected`` (its cases, and why files of tests have none), ``ready`` (what a call takes,
``prepared_s`` where that includes what is not timed, the case's cold times, and the files and versions that it used),
``paused``, ``times`` (with what the last call tells of itself), ``exact``, ``done``, ``traced``, ``error``. Every
message carries the protocol's version.
"""

from __future__ import annotations

import json
import math
from typing import Any

VERSION = 5
LIMIT_BYTES = 16 << 20
"""A longer line is rubbish: the longest message, a case's record with its operators, has some ten thousand bytes."""

ASKED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "load": {"case": str, "checked": bool, "turn": int},
    "block": {"calls": int},
    "go": {},
    "exact": {},
    "stop": {},
    "trace": {},
    "quit": {},
}
"""What the controller may ask, and the fields that go with it."""

ANSWERED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "collected": {"cases": list, "broken": dict},
    "ready": {"call_s": (int, float), "prepared_s": (int, float), "cold_s": dict, "digest": str, "used": dict},
    "paused": {"s": (int, float)},
    "times": {"s": list, "samples": dict},
    "exact": {"record": dict},
    "done": {"record": dict},
    "traced": {"cases": dict, "shared": list},
    "error": {"type": str, "message": str, "where": str},
}
"""What a worker may answer, and the fields that go with it. Times are in seconds."""


class MessageError(ValueError):
    """A line that is no message of this protocol; the message quotes its beginning."""


def line(name: str, **fields: Any) -> bytes:
    """One message as the line to send."""
    return json.dumps({"v": VERSION, "is": name, **fields}, allow_nan=False).encode() + b"\n"


def read(received: bytes, known: dict[str, dict[str, type | tuple[type, ...]]]) -> tuple[str, dict[str, Any]]:
    """One line as the message's name and its fields.

    Raises:
        MessageError: no JSON, another version, an unknown name, or a field that is missing or of the wrong type.
    """
    quoted = repr(received[:80])
    try:
        message = json.loads(received)
    except ValueError:
        raise MessageError(f"not a message: {quoted}") from None
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise MessageError(f"not a message of version {VERSION}: {quoted}")
    name = message.pop("is", None)
    del message["v"]
    if name not in known:
        raise MessageError(f"message {name!r}, expected one of {', '.join(known)}")
    wanted = known[name]
    if set(message) != set(wanted):
        raise MessageError(f"message {name!r} with fields {sorted(message)}, expected {sorted(wanted)}")
    for field, kind in wanted.items():
        value = message[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise MessageError(f"message {name!r}: {field} is {value!r:.80}")
    beside = (*message.get("cold_s", {}).values(), *message.get("samples", {}).values())
    times = (message.get("call_s"), message.get("prepared_s"), *beside)
    for value in (*times, *([message["s"]] if name == "paused" else message.get("s", ()))):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
            raise MessageError(f"message {name!r}: {value!r} is no duration")
    return name, message
