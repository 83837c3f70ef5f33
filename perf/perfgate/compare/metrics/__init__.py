"""The metrics, an object each: how a metric is measured, recorded, judged and told stands in its class, and nowhere
else. A module of this folder registers its classes by being there.

``of`` gives the object for a name. Names that no class has are a benchmark's own (:mod:`.by_kind`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from perfgate.compare.metrics.quantity import Basis, Exact, Quantity, Seen, Surroundings, TimeBeside, Told
from perfgate.records.record import Metric

__all__ = [
    "Basis",
    "Exact",
    "Quantity",
    "Seen",
    "Surroundings",
    "TimeBeside",
    "Told",
    "every",
    "measured",
    "new",
    "of",
    "register",
    "time_beside",
]

_CLASSES: list[type[Quantity]] = []


def register(quantity: type[Quantity]) -> type[Quantity]:
    """Add a metric's class: a decorator.

    Raises:
        ValueError: another class has the name.
    """
    if quantity.name in {other.name for other in _CLASSES}:
        raise ValueError(f"metric {quantity.name!r}: there is a class of this name")
    _CLASSES.append(quantity)
    return quantity


@cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def every() -> list[type[Quantity]]:
    """The registered classes, in the order in which a verdict tells them."""
    _import_all()
    return sorted(_CLASSES, key=lambda one: one.place)


def new() -> list[Quantity]:
    """One object of each, for one case."""
    return [quantity() for quantity in every()]


@contextmanager
def measured(quantities: Sequence[Quantity], around: Surroundings) -> Iterator[None]:
    """Let the metrics count while the block runs: the first to begin is the last to end."""
    for quantity in quantities:
        quantity.begin(around)
    yield
    for quantity in reversed(quantities):
        quantity.end()


def of(name: str, metric: Metric | None = None) -> Quantity:
    """The object that judges and tells the metric ``name``; one that no class covers goes by its ``metric``'s kind."""
    from perfgate.compare.metrics import by_kind

    return next((quantity() for quantity in every() if quantity.covers(name)), None) or by_kind.of(name, metric)


def time_beside(name: str) -> TimeBeside:
    """The object of a time that lockstep takes beside the latency."""
    from perfgate.compare.metrics import by_kind

    found = of(name)
    return found if isinstance(found, TimeBeside) else by_kind.OwnTime()
