"""A case: one parameter combination of one benchmark, its test id and its baseline key.

A benchmark describes its axes once, as a frozen dataclass::

    @dataclass(frozen=True, kw_only=True)
    class LinearCase(Case):
        benchmark: ClassVar[str] = "linear"
        version: ClassVar[int] = 1
        scheme: str = part()
        num_tokens: int = part("t{}", default=1)

The order of the fields is the order of the id; a field at its default is left out of the id, so that a new axis
with a default orphans no stored baseline.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Scalar = str | int | float | bool

THREADS, ALL_CORES = "threads", "all"
"""The field, and its value, of a case that a comparison in lockstep runs on all cores instead of one."""


_ID = re.compile(r"[a-z0-9_.-]+")
_NOT_ID = re.compile(r"[^a-z0-9_.-]+")


def part(pattern: str = "{}", *, default: Any = dataclasses.MISSING, render: Callable[[Any], str] | None = None) -> Any:
    """Declare a field of a case.

    ``pattern`` formats the value inside the id (``"b{}"`` gives ``b8``); ``render`` turns the value into text first;
    a value equal to ``default`` is left out of the id.
    """
    return dataclasses.field(default=default, metadata={"pattern": pattern, "render": render or str})


def slug(text: str) -> str:
    """``text`` in the alphabet of ids, ``[a-z0-9_.-]``: lower case, every other run of characters one hyphen."""
    return _NOT_ID.sub("-", text.lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Base of all cases. Subclasses set ``benchmark`` and ``version`` and declare their fields with :func:`part`."""

    benchmark: ClassVar[str]
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"case id {self.id!r} of benchmark {self.benchmark!r} has characters outside [a-z0-9_.-]; "
                "render the field through perfgate.slug"
            )

    @property
    def fields(self) -> dict[str, Scalar]:
        """Every field by name, defaults included."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def id(self) -> str:
        """The test id: the formatted fields that differ from their default, joined by hyphens."""
        parts = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                parts.append(f.metadata["pattern"].format(f.metadata["render"](value)))
        return "-".join(parts) or "default"

    @property
    def key(self) -> str:
        """The baseline key, ``benchmark/id``."""
        return f"{self.benchmark}/{self.id}"


def split_key(key: str) -> tuple[str, str]:
    """A baseline key's benchmark, and which of its cases it is. A test that was not written for perfgate has pytest's
    own name for it as its key, ``folder/file.py::test[case]``; every other key is ``benchmark/case``."""
    if "::" in key:
        name, _, rest = key.partition("[")
        return name, rest.removesuffix("]")
    name, _, rest = key.partition("/")
    return name, rest


def benchmark_of(key: str) -> str:
    """The benchmark of a baseline key."""
    return split_key(key)[0]


def on_all_cores(fields: Mapping[str, Any]) -> bool:
    """Whether a case, told by its fields, is about all cores."""
    return fields.get(THREADS) == ALL_CORES


@dataclass(frozen=True)
class Row:
    """One line of a case table.

    ``quick``: part of the ``--perfgate-quick`` subset. ``extra``: runs with ``--perfgate-all-cases`` only.
    ``selected``: False deselects the row (it is then not "missing"). ``unavailable``: why this machine cannot run the
    row; it becomes the skip reason. ``expected_s``: a rough guess of the row's duration in seconds on a first run,
    before this machine has told.
    """

    case: Case
    quick: bool = False
    extra: bool = False
    selected: bool = True
    unavailable: str | None = None
    expected_s: float | None = None

    def chosen(self, *, quick: bool, all_cases: bool) -> bool:
        """Whether a run with these options runs the row."""
        return self.selected and (self.quick if quick else all_cases or not self.extra)
