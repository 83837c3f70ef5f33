"""What is told of a run beside its numbers: how its cases ended, and with what it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfgate.records.record import Record
from perfgate.report import grouping
from perfgate.report.section import Column, Section, Table, Value

LEFT_OUT = ("overrides", "faults", "aliases")
"""Settings that are shown only where they are set."""


def outcome(session: Mapping[str, Any], records: Sequence[Record]) -> Section:
    """How the run's cases ended; the first section."""
    counted = ", ".join(f"{len(keys)} {status}" for status, keys in session["ledger"].items()) or "none"
    lead = [f"Cases: {counted}."]
    if session["interrupted"]:
        lead.insert(0, "Interrupted: only the cases below were measured.")
    told = [(record, f"{record.status}: {record.reason}") for record in records if record.status != "measured"]
    told += [(record, f"INCONCLUSIVE: {'; '.join(record.doubts)}") for record in records if record.doubts]
    notes = [f"{record.key}: {text}" for record, text in told if record.status != "skipped"]
    notes += grouping.lines((record.key, text) for record, text in told if record.status == "skipped")
    return Section("outcome", "Results", lead=lead, notes=notes)


def about(session: Mapping[str, Any]) -> Section:
    """Machine, versions, health and settings; the last section."""
    fingerprint = session["fingerprint"]
    versions = ", ".join(f"{name} {version}" for name, version in fingerprint["versions"].items())
    commit = fingerprint["commit"][:12] if fingerprint["commit"] else "unknown"
    before, after = session["health"]["before"], session["health"]["after"]
    paragraphs = [
        f"Machine: {session['machine_key']}, on {session['machine']['device']}; {session['started']}.",
        f"Versions: {versions}; commit {commit}{', with changes' if fingerprint['dirty'] else ''}.",
        f"Load before {before['load_1min']}, after {after['load_1min']}.",
    ]
    rows: list[Mapping[str, Value]] = [
        *({"what": f"machine: {name}", "value": _words(value)} for name, value in session["machine"].items()),
        *(
            {"what": f"health: {name}", "value": f"{_words(value)}, after {_words(after.get(name))}"}
            for name, value in before.items()
        ),
        *(
            {"what": f"setting: {name}", "value": "not set" if value is None else _words(value)}
            for name, value in session["settings"].items()
            if value or name not in LEFT_OUT
        ),
    ]
    if fingerprint.get("driver"):
        rows.append({"what": "driver", "value": _words(fingerprint["driver"])})
    table = Table([Column("what", "what"), Column("value", "value", words=True)], rows)
    return Section("run", "This run", paragraphs, table, folded=True)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return "unknown" if value is None else f"{value:,}" if isinstance(value, int) and value > 10_000 else str(value)
