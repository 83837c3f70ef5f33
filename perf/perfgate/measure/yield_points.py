"""Places inside a long call where an A/B comparison may let the other side take its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_taking_turns: ContextVar[Callable[[], None] | None] = ContextVar("perfgate_taking_turns", default=None)


def may_pause() -> None:
    """Say that the call may pause here: after each token of a generation, for example. The places must be the same in
    every call. Costs a context-variable read when nobody takes turns."""
    pause = _taking_turns.get()
    if pause is not None:
        pause()


@contextmanager
def pausing(pause: Callable[[], None]) -> Iterator[None]:
    """Call ``pause`` at every such place while in this context."""
    token = _taking_turns.set(pause)
    try:
        yield
    finally:
        _taking_turns.reset(token)
