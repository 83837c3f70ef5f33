"""Tests that were written for pytest-benchmark or pytest-codspeed, measured by perfgate.

Their fixture keeps what it is and can; what it would have called, timed and counted by itself is handed to a
:class:`~perfgate.measure.measurement.Measure`, which calls it as often as it needs. What cannot be called again and
again is skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from perfgate.machine.device_health import DeviceLostError
from perfgate.measure.clocks import StoppableClock
from perfgate.measure.measurement import Calling, Measure, OutputChangedError
from perfgate.measure.memory import MeterError
from perfgate.measure.output_shape import shape, why_not_measured
from perfgate.measure.timers import ClockError

MEASURE: pytest.StashKey[Measure] = pytest.StashKey()
"""With what a test was, or is to be, measured."""
BENCHMARK: pytest.StashKey[Any] = pytest.StashKey()
"""pytest-benchmark's fixture, which keeps what was measured."""
RAISED: pytest.StashKey[str] = pytest.StashKey()
"""What a test's first call raised, where it did."""


class Adopted:
    """What a benchmark fixture does with a callable, by ``measure``. ``clock`` is the one that times it."""

    def __init__(self, item: pytest.Item, measure: Measure, clock: StoppableClock) -> None:
        self._item = item
        self._measure = measure
        self._clock = clock

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As ``benchmark(target, *args, **kwargs)``: measure it and return its result.

        Raises:
            pytest.skip.Exception: it cannot be called again and again.
        """
        return self._measured(partial(target, *args, **kwargs))

    def pedantic(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        """As ``benchmark.pedantic(...)``. ``setup`` and ``teardown`` run around every call, and are not timed; how many
        rounds and iterations there are, perfgate decides.

        Raises:
            pytest.skip.Exception: it cannot be called again and again.
            TypeError, ValueError: arguments that pytest-benchmark refuses.
        """
        for name, value, fewest in (
            ("rounds", rounds, 1),
            ("iterations", iterations, 1),
            ("warmup_rounds", warmup_rounds, 0),
        ):
            if not isinstance(value, int) or value < fewest:
                raise ValueError(f"Must have positive int for `{name}`.")
        if iterations > 1 and setup is not None:
            raise ValueError("Can't use more than 1 `iterations` with a `setup` function.")
        given = (tuple(args), dict(kwargs or {}))
        if setup is None and teardown is None:
            return self._measured(partial(target, *given[0], **given[1]))

        def call() -> Any:
            since = self._clock.running.now()
            positional, named = given
            made = None if setup is None else setup()
            if made:
                if positional or named:
                    raise TypeError("Can't use `args` or `kwargs` if `setup` returns the arguments.")
                positional, named = made
            self._clock.leave_out(since)
            result = target(*positional, **named)
            since = self._clock.running.now()
            if teardown is not None:
                teardown(*positional, **named)
            self._clock.leave_out(since)
            return result

        return self._measured(call, prepared=True)

    def _measured(self, call: Callable[[], Any], *, prepared: bool = False) -> Any:
        """Measure the call as it was given: a wrapper would be part of its time."""
        self._measure.calling = Calling(_shape, prepared)
        try:
            return self._measure(call, timing="wall")
        except (MeterError, ClockError, DeviceLostError):
            raise
        except OutputChangedError:
            pytest.skip("cannot be measured: what it returns grows, or is used up: no two calls do the same")
        except _NotMeasuredError as why:
            pytest.skip(f"cannot be measured: {why}")
        except Exception as wrong:
            if self._measure.repeats:
                pytest.skip(f"cannot be measured: called again, it raised {_told(wrong)}")
            self._item.stash[RAISED] = _told(wrong)
            raise


class _NotMeasuredError(Exception):
    """A result that shows that calling again and again does not measure the work."""


def _shape(output: Any) -> str:
    """What must repeat of a result.

    Raises:
        _NotMeasuredError: it shows that the work is not done by the call.
    """
    if (why := why_not_measured(output)) is not None:
        raise _NotMeasuredError(why)
    return shape(output)


class CodspeedFixture:
    """In place of pytest-codspeed's fixture, which times by itself."""

    def __init__(self, adopted: Adopted) -> None:
        self._adopted = adopted
        self._called = False
        self.extra_info: dict[str, Any] = {}

    def __call__(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._once()
        return self._adopted.call(target, *args, **kwargs)

    def pedantic(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._once()
        return self._adopted.pedantic(target, *args, **kwargs)

    def _once(self) -> None:
        if self._called:
            raise RuntimeError("The benchmark fixture can only be used once per test")
        self._called = True


def take_over(benchmark: Any, adopted: Adopted) -> Any:
    """A test's fixture, which measures by perfgate from now on."""
    if not hasattr(benchmark, "_raw_pedantic"):
        return CodspeedFixture(adopted)
    benchmark._raw = adopted.call
    benchmark._raw_pedantic = adopted.pedantic
    return benchmark


def call_whole(item: pytest.Function, adopted: Adopted) -> None:
    """Measure a test that is marked to be measured as a whole. Its fixtures are made once.

    Raises:
        pytest.skip.Exception: it cannot be called again and again.
    """
    adopted.call(item.obj, **{name: item.funcargs[name] for name in item._fixtureinfo.argnames})


def not_measured(item: pytest.Item) -> str | None:
    """Why a test that passed measured nothing; None where it did."""
    if RAISED in item.stash:
        return f"cannot be measured: its call raised {item.stash[RAISED]}"
    if MEASURE not in item.stash or not item.stash[MEASURE].used:
        return "never calls its benchmark fixture: nothing was measured"
    return None


def _told(wrong: BaseException) -> str:
    return f"{type(wrong).__name__}: {wrong}"[:200]
