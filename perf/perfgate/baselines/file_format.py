"""The text of a stored baseline: what repeats stands once in the head, and each case is one line.

A file is pytest-benchmark's JSON. Its head is pretty-printed and holds tables (:data:`TABLES`) of what many cases
share; a case refers to a table's rows by their number. Samples are left out: a verdict needs each process's median and
the exact numbers, and the report of the run that measured (``results.json``) has the rest. Numbers that a verdict uses
are written with all their digits.

:func:`pack` and :func:`unpack` turn benchmarks as a session's JSON has them into those of the file and back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perfgate.records.case import benchmark_of
from perfgate.records.record import OWN, SCHEMA
from perfgate.records.validate import RecordError, items, mapping, text, whole

TABLES = "tables"
"""Key of perfgate's part of the head: ``fields``, the names of each benchmark's fields; ``metrics``, the kind, unit and
direction of each metric; ``operators``, whose names stand once and whose ``counts`` have one column for each of them
(0: not called); ``versions``, to which the rows of ``provenance`` refer; and a table for each of :data:`SHARED`."""
SHARED = ("pins", "notes")
"""Parts of a record that are a row of a table of their own."""
OPTIONAL: Mapping[str, Any] = {"status": "measured", "reason": None, "doubts": []}
"""Parts of a record that a case leaves out where they are as here."""
PLAIN = ("stopped_by", "clock")
"""Parts of a record that are written as they are."""
VERSIONS = "package_versions"
"""Part of a record's provenance that is a row of the table ``versions``, where it has one."""
STATS = (
    *("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "outliers"),
    *("ld15iqr", "hd15iqr", "ops", "iterations"),
)
"""What pytest-benchmark's tables, charts and CSV files show of a benchmark; its other statistics follow from these."""
DIGITS = 12
"""Significant digits of these statistics, which no verdict uses: the rest is noise of the clock's subtraction."""
INPUT_DIGITS = 6
"""Significant digits of a quality's values for the single inputs: what a verdict makes of them are ranks."""
UNSERIALIZABLE = "UNSERIALIZABLE"
"""How pytest-benchmark's JSON begins the text of a parameter that is no JSON."""


class Rows:
    """A table being filled: equal rows are one."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, row: Any) -> int:
        """The number of this row, added where it is new."""
        found = self._numbers.setdefault(json.dumps(row), len(self.rows))
        if found == len(self.rows):
            self.rows.append(row)
        return found


def pack(benchmarks: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The file's benchmarks, in this order, and its tables, from benchmarks as a session's JSON has them."""
    names = sorted({name for one in benchmarks for name in one["extra_info"][OWN]["operators"]})
    fields: dict[str, list[str]] = {}
    metrics: dict[str, list[str]] = {}
    rows = {name: Rows() for name in ("counts", "provenance", "versions", *SHARED)}
    packed = []
    for one in benchmarks:
        record = one["extra_info"][OWN]
        case, operators = record["case"], record["operators"]
        own = {
            "key": case["key"],
            "version": case["version"],
            "fields": _pack_fields(case, fields),
            "metrics": {name: _pack_metric(name, metric, metrics) for name, metric in record["metrics"].items()},
            "operators": rows["counts"].number([operators.get(name, 0) for name in names]),
            "provenance": rows["provenance"].number(_pack_provenance(record["provenance"], rows["versions"])),
            **{name: rows[name].number(record[name]) for name in SHARED},
            **{name: record[name] for name in PLAIN},
            **{name: record[name] for name, usual in OPTIONAL.items() if record.get(name, usual) != usual},
        }
        if case["name"] != benchmark_of(case["key"]):
            own["name"] = case["name"]
        packed.append({**_pack_benchmark(one), "extra_info": {**one["extra_info"], OWN: own}})
    tables = {
        "fields": fields,
        "metrics": metrics,
        "operators": {"names": names, "counts": rows.pop("counts").rows},
        **{name: one.rows for name, one in rows.items()},
    }
    return packed, tables


def _pack_fields(case: Mapping[str, Any], table: dict[str, list[str]]) -> Any:
    """The values alone where the benchmark's fields are those of its first case."""
    fields = case["fields"]
    names = table.setdefault(case["name"], list(fields))
    return list(fields.values()) if names == list(fields) else fields


def _pack_metric(name: str, metric: Mapping[str, Any], table: dict[str, list[str]]) -> Any:
    """The value alone where the metric is of the kind, unit and direction that the first of this name has; the value
    and what the single inputs gave where a comparison needs them, as of a quality."""
    samples = [_rounded(one, INPUT_DIGITS) for one in metric.get("samples", ())] if metric["kind"] == "bounded" else []
    about = [metric["kind"], metric["unit"], metric["better"]]
    if "interval" not in metric and table.setdefault(name, about) == about:
        return [metric["value"], *samples] if samples else metric["value"]
    without = {key: value for key, value in metric.items() if key != "samples"}
    return without | ({"samples": samples} if samples else {})


def _pack_provenance(provenance: Mapping[str, Any], versions: Rows) -> dict[str, Any]:
    packed = dict(provenance)
    if VERSIONS in packed:
        packed[VERSIONS] = versions.number(packed[VERSIONS])
    return packed


def _pack_benchmark(one: Mapping[str, Any]) -> dict[str, Any]:
    """What pytest-benchmark's own tools need; a parameter that is no JSON is named by the test's id."""
    params = one.get("params")
    if isinstance(params, Mapping):
        params = {name: one.get("param") if _unserializable(value) else value for name, value in params.items()}
    stats = {name: _rounded(value) for name, value in one["stats"].items() if name in STATS}
    kept = {name: one.get(name) for name in ("group", "name", "fullname", "param")}
    return {**kept, "params": params, "stats": stats}


def _unserializable(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(UNSERIALIZABLE)


def _rounded(value: Any, digits: int = DIGITS) -> Any:
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def unpack(benchmark: Any, tables: Any) -> dict[str, Any]:
    """A benchmark of a file as a session's JSON has it, without its samples.

    Raises:
        RecordError: something in it, or in what it refers to, is of the wrong type, or not there.
        KeyError: a field is missing.
    """
    one = mapping("benchmark", benchmark)
    extra = mapping("extra_info", one["extra_info"])
    own = mapping(OWN, extra[OWN])
    shared = mapping(TABLES, tables)
    key = text("key", own["key"])
    try:
        name = text("name", own.get("name", benchmark_of(key)))
        metrics = mapping("metrics", own["metrics"])
        record = {
            "schema": SCHEMA,
            "case": {
                "name": name,
                "version": own["version"],
                "fields": _unpack_fields(name, own["fields"], shared),
                "key": key,
            },
            "metrics": {metric: _unpack_metric(metric, value, shared) for metric, value in metrics.items()},
            "operators": _unpack_operators(own["operators"], shared),
            "provenance": _unpack_provenance(own["provenance"], shared),
            **{part: _row(part, shared[part], own[part]) for part in SHARED},
            **{plain: own[plain] for plain in PLAIN},
            **{part: own.get(part, usual) for part, usual in OPTIONAL.items()},
        }
    except RecordError as wrong:
        raise RecordError(f"{key}: {wrong}") from None
    return {**one, "extra_info": {**extra, OWN: record}}


def _row(what: str, table: Any, number: Any) -> Any:
    rows = items(f"{TABLES}.{what}", table)
    if not 0 <= whole(what, number) < len(rows):
        raise RecordError(f"{what}: got {number}, {TABLES}.{what} has {len(rows)} rows")
    return rows[number]


def _unpack_fields(name: str, values: Any, shared: Mapping[str, Any]) -> Any:
    if not isinstance(values, list):
        return values
    names = items(f"{TABLES}.fields", mapping(f"{TABLES}.fields", shared["fields"])[name])
    return dict(zip((text("field", one) for one in names), _as_many("fields", values, names), strict=True))


def _unpack_metric(name: str, value: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return value
    about = items(f"{TABLES}.metrics", mapping(f"{TABLES}.metrics", shared["metrics"])[name])
    names = ("kind", "unit", "better")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise RecordError(f"{name}: got no value")
    found = {**dict(zip(names, _as_many(name, about, names), strict=True)), "value": values[0]}
    return found | ({"samples": values[1:]} if len(values) > 1 else {})


def _unpack_provenance(number: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(mapping("provenance", _row("provenance", shared["provenance"], number)))
    if VERSIONS in found:
        found[VERSIONS] = _row("versions", shared["versions"], found[VERSIONS])
    return found


def _unpack_operators(number: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    table = mapping(f"{TABLES}.operators", shared["operators"])
    names = [text("operator", one) for one in items(f"{TABLES}.operators.names", table["names"])]
    row = items("operators", _row("operators", table["counts"], number))
    pairs = zip(names, _as_many("operators", row, names), strict=True)
    return {name: whole(f"operators.{name}", count) for name, count in pairs if count != 0}


def _as_many(what: str, values: list[Any], names: Sequence[Any]) -> list[Any]:
    if len(values) != len(names):
        raise RecordError(f"{what}: got {len(values)} values, expected {len(names)}")
    return values


def written(data: Mapping[str, Any]) -> str:
    """The file's content: ``data`` as JSON with its benchmarks last, one to a line.

    Raises:
        ValueError: a number is not finite.
    """
    head = [f" {json.dumps(key)}: {_spread(value, 1)}" for key, value in data.items() if key != "benchmarks"]
    cases = ",\n".join(f"  {_compact(one)}" for one in data["benchmarks"])
    return "{\n" + ",\n".join([*head, f' "benchmarks": [\n{cases}\n ]']) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _spread(value: Any, level: int) -> str:
    """JSON over lines; what has neither lists nor objects inside is on one."""
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if not any(isinstance(one, (Mapping, list)) for one in inside):
        return _compact(value)
    pad = " " * (level + 1)
    if isinstance(value, list):
        lines, marks = [pad + _spread(one, level + 1) for one in value], "[]"
    else:
        lines = [f"{pad}{json.dumps(key)}: {_spread(one, level + 1)}" for key, one in value.items()]
        marks = "{}"
    return f"{marks[0]}\n" + ",\n".join(lines) + f"\n{' ' * level}{marks[1]}"
