"""What was measured: metrics, the record of one case, and their JSON.

The JSON is data from outside as soon as it was written: :meth:`Record.from_json` validates every field, so that a
damaged or hand-edited file is an error and never a pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from perfgate.records.validate import RecordError, finite, free_form, items, mapping, one_of, text, whole

__all__ = ["SCHEMA", "Metric", "Record", "RecordError"]

SCHEMA = 1
OWN = "perfgate"
"""The key of perfgate's part in pytest-benchmark's JSON: beside its ``benchmarks``, and in each one's extra info."""

Kind = Literal["exact", "sampled", "bounded"]
Better = Literal["lower", "higher", "none"]
RecordStatus = Literal["measured", "failed", "skipped", "fell_back"]
StoppedBy = Literal["precision", "budget", "inputs"]


@dataclass(frozen=True)
class Metric:
    """One number of a record, in SI units or bytes.

    ``kind`` says how it is judged (DESIGN: exact at once, sampled by statistics, bounded by absolute bounds);
    ``samples`` are kept for sampled metrics; ``interval`` is the confidence interval of ``value``.
    """

    kind: Kind
    unit: str
    better: Better
    value: float | int
    samples: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, get_args(Kind))
        one_of("better", self.better, get_args(Better))
        finite("value", self.value)
        for sample in self.samples:
            finite("samples", sample)
        for bound in self.interval or ():
            finite("interval", bound)
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise RecordError(f"interval: got {list(self.interval)}, expected [low, high]")

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"kind": self.kind, "unit": self.unit, "better": self.better, "value": self.value}
        if self.samples:
            out["samples"] = list(self.samples)
        if self.interval is not None:
            out["interval"] = list(self.interval)
        return out

    @classmethod
    def from_json(cls, name: str, data: Any) -> Metric:
        """Read one metric.

        Raises:
            RecordError: a field is missing, of the wrong type, not finite or not among the allowed values.
        """
        fields = mapping(f"metric {name}", data)
        try:
            interval = fields.get("interval")
            if interval is not None and len(items("interval", interval)) != 2:
                raise RecordError(f"interval: got {interval!r}, expected [low, high]")
            return cls(
                kind=fields["kind"],
                unit=text("unit", fields["unit"]),
                better=fields["better"],
                value=fields["value"],
                samples=tuple(items("samples", fields.get("samples", []))),
                interval=None if interval is None else (interval[0], interval[1]),
            )
        except KeyError as missing:
            raise RecordError(f"metric {name}: field {missing} is missing") from None
        except RecordError as wrong:
            raise RecordError(f"metric {name}: {wrong}") from None


@dataclass
class Record:
    """Everything one case produced. ``operators`` counts dispatched operator calls by name; ``doubts`` say why its
    times cannot be trusted (a throttled device, one that others used)."""

    name: str
    version: int
    fields: dict[str, Any]
    key: str
    status: RecordStatus = "measured"
    reason: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    pins: dict[str, Any] = field(default_factory=dict)
    stopped_by: StoppedBy | None = None
    clock: str | None = None
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def value(self, metric: str) -> float | None:
        """The value of a metric, or None where it was not measured."""
        found = self.metrics.get(metric)
        return None if found is None else found.value

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "case": {"name": self.name, "version": self.version, "fields": self.fields, "key": self.key},
            "status": self.status,
            "reason": self.reason,
            "provenance": self.provenance,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "operators": self.operators,
            "pins": self.pins,
            "stopped_by": self.stopped_by,
            "clock": self.clock,
            "notes": self.notes,
        } | ({"doubts": self.doubts} if self.doubts else {})

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Read one record.

        Raises:
            RecordError: the schema is newer than this perfgate knows, or a field is missing or wrong.
        """
        fields = mapping("record", data)
        schema = fields.get("schema")
        if type(schema) is not int or schema != SCHEMA:
            raise RecordError(f"schema: got {schema!r}, this perfgate reads {SCHEMA}")
        try:
            case = mapping("case", fields["case"])
            operators = {
                name: whole(f"operators.{name}", n) for name, n in mapping("operators", fields["operators"]).items()
            }
            metrics = mapping("metrics", fields["metrics"])
            if fields["stopped_by"] is not None:
                one_of("stopped_by", fields["stopped_by"], get_args(StoppedBy))
            return cls(
                name=text("case.name", case["name"]),
                version=whole("case.version", case["version"]),
                fields=free_form("case.fields", case["fields"]),
                key=text("case.key", case["key"]),
                status=one_of("status", fields["status"], get_args(RecordStatus)),  # type: ignore[arg-type]  # just checked
                reason=None if fields["reason"] is None else text("reason", fields["reason"]),
                provenance=free_form("provenance", fields["provenance"]),
                metrics={name: Metric.from_json(name, metric) for name, metric in metrics.items()},
                operators=operators,
                pins=free_form("pins", fields["pins"]),
                stopped_by=fields["stopped_by"],
                clock=None if fields["clock"] is None else text("clock", fields["clock"]),
                notes=[text("notes", note) for note in items("notes", fields["notes"])],
                doubts=[text("doubts", one) for one in items("doubts", fields.get("doubts", []))],
            )
        except KeyError as missing:
            raise RecordError(f"record: field {missing} is missing") from None
