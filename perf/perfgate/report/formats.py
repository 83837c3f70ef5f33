"""How a number becomes text for people, once for the terminal, Markdown and HTML; a format is data, so that a stored
report can be shown again."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, get_args

from perfgate.records.validate import finite, mapping, one_of, text, whole

Kind = Literal["text", "fixed", "significant", "latency"]

UNITS_S = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories that are not seen and may change what is: control, format (bidirectional marks, zero width),
private use, surrogates, line separators."""
JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiner: emoji and several scripts need them, and they do no harm."""


@dataclass(frozen=True)
class Format:
    """``fixed``: ``scale`` times the value with ``digits`` decimals, then ``suffix``; ``significant``: with so many
    significant digits; ``latency``: seconds in the unit that suits them; ``text``: as it is."""

    kind: Kind = "text"
    scale: float = 1.0
    digits: int = 0
    suffix: str = ""

    def __call__(self, value: Any) -> str:
        if self.kind == "fixed":
            return f"{value * self.scale:,.{self.digits}f}{self.suffix}"
        if self.kind == "significant":
            return f"{value * self.scale:.{self.digits}g}{self.suffix}"
        if self.kind == "latency":
            unit, size = next((one for one in UNITS_S if value >= one[1]), UNITS_S[-1])
            return f"{value / size:.3g} {unit}"
        return str(value)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "scale": self.scale, "digits": self.digits, "suffix": self.suffix}

    @classmethod
    def from_json(cls, data: Any) -> Format:
        """Read one format.

        Raises:
            RecordError: a field is of the wrong type or not among the allowed values.
            KeyError: a field is missing.
        """
        fields = mapping("format", data)
        kind = one_of("kind", fields["kind"], get_args(Kind))
        scale, digits = finite("scale", fields["scale"]), whole("digits", fields["digits"])
        one_of("digits", str(digits), tuple(map(str, range(16))))
        return cls(kind, scale, digits, text("suffix", fields["suffix"]))  # type: ignore[arg-type]  # just checked


TEXT = Format()
mebibytes = Format("fixed", 2**-20, 1)
milliseconds = Format("fixed", 1e3, 1)
seconds = Format("fixed", 1.0, 2)
percent = Format("fixed", 100.0, 1, "%")
latency = Format("latency")


def decimals(digits: int, scale: float = 1.0) -> Format:
    """``scale`` times the value with a fixed number of decimals."""
    return Format("fixed", scale, digits)


def significant(digits: int) -> Format:
    """So many significant digits."""
    return Format("significant", digits=digits)


def duration(value: float) -> str:
    """Seconds for people: ``8 s``, ``3 min 20 s``."""
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def counted(cases: int) -> str:
    """``1 case``, ``2 cases``."""
    return f"{cases} case{'' if cases == 1 else 's'}"


def printable(value: str) -> str:
    """``value`` on one line, with what is not seen made visible: what a model, a prompt or an exception says must not
    move a terminal's cursor or turn the text around it."""
    flat = " ".join(value.split())
    return flat if flat.isprintable() else visible(flat)


def visible(value: str, keep: str = "") -> str:
    """``value`` with each hidden character (see :data:`HIDDEN`) named as ``<U+202E>``, but for those of ``keep``."""
    return "".join(one if one in keep else _visible(one) for one in value)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN or character in JOINERS:
        return character
    return f"<U+{ord(character):04X}>"
