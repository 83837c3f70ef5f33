"""Faults for tests of the gate itself: what a bad release does, injected into chosen cases.

A fault is written ``KIND[=AMOUNT][@PATTERN]``; the pattern matches case keys. Injected faults enter the fingerprint, so
the gate takes them for a change of code.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfgate.measure.measurement import Instruments

ENVIRONMENT = "PERFGATE_FAULTS"
"""Environment variable through which a controller injects faults into one side's workers, separated by spaces."""
KINDS = {
    "slow": "every call takes AMOUNT longer (slow=5%)",
    "memory": "every call holds AMOUNT more memory (memory=1MiB)",
    "operator": "every call makes AMOUNT more operator calls for each token (operator=1)",
    "wrong": "the result is wrong",
    "kernel": "the case's kernel does not run; the result is right",
    "vanish": "the case is not there",
    "rename": "the case has another name",
}
UNITS = {"%": 0.01, "KiB": 2**10, "MiB": 2**20, "": 1}
RENAMED = "-renamed"

_FAULT = re.compile(r"(?P<kind>[a-z]+)(?:=(?P<amount>[0-9.]+)(?P<unit>%|KiB|MiB|))?(?:@(?P<pattern>\S+))?")


@dataclass(frozen=True)
class Fault:
    """One fault; ``amount`` is a fraction, bytes or a count."""

    kind: str
    amount: float
    pattern: str
    text: str

    def hits(self, key: str) -> bool:
        return fnmatchcase(key, self.pattern)


def parse(text: str) -> Fault:
    """Read one fault.

    Raises:
        ValueError: unknown or malformed; the message says what is allowed.
    """
    found = _FAULT.fullmatch(text)
    allowed = "KIND[=AMOUNT][@PATTERN] with one of " + "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    if found is None or found["kind"] not in KINDS:
        raise ValueError(f"fault {text!r}; allowed: {allowed}")
    if ("AMOUNT" in KINDS[found["kind"]]) != (found["amount"] is not None):
        raise ValueError(f"fault {text!r}: {KINDS[found['kind']]}")
    amount = float(found["amount"] or 0) * UNITS[found["unit"] or ""]
    return Fault(found["kind"], amount, found["pattern"] or "*", text)


def injected(given: Iterable[str]) -> tuple[Fault, ...]:
    """The faults of this process: those given, and those that a controller injects.

    Raises:
        ValueError: one is unknown or malformed.
    """
    return tuple(map(parse, (*given, *os.environ.get(ENVIRONMENT, "").split())))


def slower(faults: Iterable[Fault]) -> float:
    """By which fraction the faults slow a call down."""
    return sum(fault.amount for fault in faults if fault.kind == "slow")


def spoil(
    fn: Callable[..., Any], faults: Iterable[Fault], tokens: float, instruments: Instruments
) -> Callable[..., Any]:
    """``fn`` with the faults in it, all but ``slow``, which belongs to whoever reads the clock."""
    for fault in faults:
        if fault.kind in _SPOILERS:
            fn = _SPOILERS[fault.kind](fn, fault.amount, tokens, instruments)
    return fn


def _hungrier(fn: Callable[..., Any], amount: float, tokens: float, instruments: Instruments) -> Callable[..., Any]:
    def spoiled(*args: Any, **kwargs: Any) -> Any:
        held = None if instruments.meter is None else instruments.meter.allocate(int(amount))
        result = fn(*args, **kwargs)
        del held
        return result

    return spoiled


def _busier(fn: Callable[..., Any], amount: float, tokens: float, instruments: Instruments) -> Callable[..., Any]:
    import torch

    number = torch.zeros(1)

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        for _ in range(int(amount * max(1.0, tokens))):
            torch.neg(number)
        return fn(*args, **kwargs)

    return spoiled


def _wrong(fn: Callable[..., Any], amount: float, tokens: float, instruments: Instruments) -> Callable[..., Any]:
    return lambda *args, **kwargs: perturbed(fn(*args, **kwargs))


def _idle(fn: Callable[..., Any], amount: float, tokens: float, instruments: Instruments) -> Callable[..., Any]:
    kept: list[Any] = []

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(fn(*args, **kwargs))
        return kept[0]

    return spoiled


_SPOILERS = {"memory": _hungrier, "operator": _busier, "wrong": _wrong, "kernel": _idle}


def perturbed(value: Any) -> Any:
    """``value`` with every number in it one larger: numbers, arrays, tensors, containers and dataclasses of them."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(perturbed, value))
    if isinstance(value, dict):
        return {key: perturbed(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: perturbed(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    if value is None or isinstance(value, (bool, str)):
        return value
    return value + 1
